"""This machine's clock against the times of blocks: an hour off, every deadline that it signs would be nonsense."""

import logging
import time
from collections.abc import Callable

import trio

from chain.rpc.ethereum import Block

log = logging.getLogger(__name__)
MAX_SKEW_S = 120
"""Peers refuse what is a minute off; blocks are seconds old when they are heard of."""
LATE_HEADS = 3
"""So many heads in a row that came late mean a clock that is ahead: one may have been late itself."""
HINT = "set the clock of this machine (timedatectl set-ntp true), nothing has to be restarted"


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


class ChainClock:
    """Compares. Args: clock_ms, this machine's clock, milliseconds since 1970."""

    def __init__(self, clock_ms: Callable[[], int] = now_ms) -> None:
        self._clock_ms = clock_ms
        self._number: int | None = None
        self._looked_at = 0.0
        self._late = 0
        self.skew_s = 0
        """How far this machine is ahead of the chain, in seconds, negative where it is behind; 0 while it is right."""

    @property
    def trouble(self) -> str:
        """The fault in a sentence; empty while there is none."""
        if not self.skew_s:
            return ""
        side = "ahead of" if self.skew_s > 0 else "behind"
        return f"this machine's clock is {abs(self.skew_s)} s {side} the chain: nothing with a deadline is signed"

    def observe(self, head: Block) -> None:
        """Take notice of the newest block, at every look at the chain."""
        age_s = self._clock_ms() // 1000 - head.timestamp
        looked_at, self._looked_at = self._looked_at, trio.current_time()
        before, self._number = self._number, head.number
        if age_s < -MAX_SKEW_S:
            # No block is made so far in the future.
            self._found(age_s)
        elif before is not None and head.number == before + 1:
            # It came since the last look, so it cannot be older. A chain that rests, or one that is caught up with,
            # shows old blocks and proves nothing.
            if age_s - (trio.current_time() - looked_at) <= MAX_SKEW_S:
                self._late = 0
                self._found(0)
            else:
                self._late += 1
                if self._late >= LATE_HEADS:
                    self._found(age_s)
        elif self.skew_s < 0:
            self._found(0)

    def _found(self, skew_s: int) -> None:
        was = self.trouble
        self.skew_s = skew_s
        if self.trouble and not was:
            log.error("%s", self.trouble, extra={"hint": HINT})
        elif was and not self.trouble:
            log.info("this machine's clock is right again")
