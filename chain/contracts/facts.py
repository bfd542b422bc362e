"""Facts in logs: a protocol event if the log holds all of it, else the name of the state to read again."""

from dataclasses import dataclass

from protocol import events as ev
from protocol.court.docket import BatchEvent
from protocol.wire.ids import Address


@dataclass(frozen=True, slots=True)
class NodeTouched:
    """Something about a node changed."""

    node: Address


@dataclass(frozen=True, slots=True)
class ClientTouched:
    """A client's free balance changed in a way that the log does not show."""

    client: Address


Reported = ev.LaneSeen | ev.AccountSeen | ev.CalibrationSeen | ev.SeedRevealed | ev.IntakeStopped | ev.BatchSubmitted
Fact = NodeTouched | ClientTouched | Reported | BatchEvent
