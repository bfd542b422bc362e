"""Holds: the reasons for which this node takes no new work, and what each of them means for work under way.

Holds are in the journal, so a restart keeps them. A node with one makes no offers. Its lanes are settled, and its open
batches and cases go on. A hold that stops runs stops its containers, too: jobs wait for HELD_RUN_WAITS_MS, then other
nodes do them.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

from protocol.effects import Effect, HoldContainers
from protocol.events import ContainersHeld, Hold, HoldBegun, HoldEnded
from protocol.stages.assignment import RefuseCode
from protocol.wire.ids import TimestampMs

HELD_RUN_WAITS_MS = 15_000
"""How long a job waits in a container that stands still. A client that reads along takes more silence for an end."""


@dataclass(frozen=True, slots=True)
class HoldRule:
    """The meaning of a hold: its words for people, the answer to an order, and whether containers stand still."""

    words: str
    code: RefuseCode
    stops_runs: bool


HOLD_RULES: Mapping[Hold, HoldRule] = MappingProxyType(
    {
        Hold.DRAIN: HoldRule("drained by the owner", RefuseCode.DRAINING, stops_runs=False),
        Hold.PAUSE: HoldRule("paused by the owner", RefuseCode.PAUSED, stops_runs=True),
        Hold.HOURS: HoldRule("outside of the owner's hours", RefuseCode.DRAINING, stops_runs=False),
    }
)


@dataclass(slots=True)
class Holds:
    """The holds of one node. `is_standing`: whether its containers stand still; None before that is known."""

    _from_ms: dict[Hold, TimestampMs] = field(default_factory=dict)
    is_standing: bool | None = None

    def __iter__(self) -> Iterator[tuple[Hold, TimestampMs]]:
        """Each hold, and from when on it refuses orders, oldest first."""
        return iter(self._from_ms.items())

    @property
    def is_offering(self) -> bool:
        """Whether offers may be made, as far as holds go."""
        return not self._from_ms

    @property
    def stops_runs(self) -> bool:
        """Whether containers have to stand still."""
        return any(HOLD_RULES[hold].stops_runs for hold in self._from_ms)

    def from_ms(self, hold: Hold) -> TimestampMs | None:
        """From when on a hold refuses orders, in ms since 1970; None for one that is not there."""
        return self._from_ms.get(hold)

    def objection(self, now_ms: TimestampMs) -> RefuseCode | None:
        """The answer to an order now; None if no hold is against it."""
        codes = (HOLD_RULES[hold].code for hold, from_ms in self._from_ms.items() if from_ms <= now_ms)
        return max(codes, default=None)

    def handle(self, event: HoldBegun | HoldEnded | ContainersHeld) -> tuple[Effect, ...]:
        """Take a hold into account. Returns: the effect on containers that it asks for."""
        before = self.stops_runs
        match event:
            case HoldBegun(hold, from_ms):
                # Told twice, it counts from its first moment on.
                self._from_ms[hold] = TimestampMs(min(from_ms, self._from_ms.get(hold, from_ms)))
            case HoldEnded(hold):
                self._from_ms.pop(hold, None)
            case ContainersHeld(is_held):
                self.is_standing = is_held
                return self.look()
        return (HoldContainers(self.stops_runs),) if self.stops_runs != before else ()

    def look(self) -> tuple[Effect, ...]:
        """Ask again for what the executor has not done, or did before it was told otherwise."""
        return (HoldContainers(self.stops_runs),) if self.stops_runs != bool(self.is_standing) else ()
