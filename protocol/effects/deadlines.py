"""Effects that ask for a deadline."""

from protocol.timers import Timer
from protocol.wire.codec import U64
from protocol.wire.names import wire_class


@wire_class("AwaitDeadline")
class AwaitDeadline:
    """> driver > DeadlinePassed, at `at_ms` or at once where that has passed."""

    timer: Timer
    at_ms: U64
