"""Reads the cards beside the event loop, within a deadline.

Python cannot end a thread. So one that hangs in the library is left to itself, and as long as it hangs every reading
says so at once instead of sending another thread after it.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

import trio

from executor.cards.card import NO_CARDS, CardFault, CardsReading, with_fault
from executor.cards.nvml import LibraryAbsent, NvmlClient, NvmlFault

T = TypeVar("T")

DEADLINE_S = 5.0
"""More than one card that hangs may cost; see CARD_DEADLINE_S."""


class CardLibrary(Protocol):
    """What reads cards; see NvmlClient. Its calls block."""

    def read(self) -> CardsReading: ...
    def cap_power(self, uuid: str, watts: int) -> None: ...


@dataclass(eq=False, slots=True)
class CardReader:
    """The newest reading of the cards, and the thread that makes the next one."""

    library: CardLibrary = field(default_factory=NvmlClient)
    deadline_s: float = DEADLINE_S
    newest: CardsReading = NO_CARDS
    _thread: trio.CapacityLimiter = field(default_factory=lambda: trio.CapacityLimiter(1))

    async def read(self) -> CardsReading:
        """Read all cards. A machine without the library has none; whatever else is wrong stands in the reading."""
        try:
            self.newest = await self._beside(self.library.read)
        except LibraryAbsent:
            self.newest = NO_CARDS
        except NvmlFault as error:
            known = tuple(card.facts for card in self.newest.cards)
            cuda, driver = self.newest.cuda, self.newest.driver
            self.newest = CardsReading(with_fault(known, error.fault), cuda, driver, error.fault, str(error))
        return self.newest

    async def cap_power(self, uuid: str, watts: int) -> None:
        """Let a card draw no more. Raises: NvmlFault."""
        await self._beside(lambda: self.library.cap_power(uuid, watts))

    async def _beside(self, call: Callable[[], T]) -> T:
        """Call in the one thread. Raises: NvmlFault if it hangs."""
        if not self._thread.available_tokens:
            raise NvmlFault(CardFault.HANGS, "an earlier call of the driver has not come back")
        with trio.move_on_after(self.deadline_s):
            # Abandoned, the thread keeps its place in the limiter until it comes back.
            return await trio.to_thread.run_sync(call, limiter=self._thread, abandon_on_cancel=True)  # type: ignore[call-arg]
        raise NvmlFault(CardFault.HANGS, f"the driver has not answered for {self.deadline_s:g} s")
