"""Events of holds: reasons for which this node takes no new work."""

from enum import StrEnum

from protocol.wire.codec import U64
from protocol.wire.names import wire_class


class Hold(StrEnum):
    """A reason, by the word that commands and the journal have for it; see `protocol.roles.holds.HOLD_RULES`."""

    DRAIN = "drain"
    PAUSE = "pause"
    HOURS = "hours"


@wire_class("HoldBegun")
class HoldBegun:
    """A hold has begun: this node makes no offers from now on, and takes no orders from `from_ms` on."""

    hold: Hold
    from_ms: U64


@wire_class("HoldEnded")
class HoldEnded:
    """A hold is over."""

    hold: Hold
