"""The cards as their keeper last saw them, and shares of their memory lent to runs. `lend` is called in threads."""

from collections.abc import Set as AbstractSet
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field

from executor.cards.card import Card, CardFault
from executor.cards.card_book import CardBook, CardHold
from executor.cards.care import CardTrouble, OwnerLimits, TroubleKind
from executor.cards.choice import CardRoom, CardWish, NoCardFits, choose, most_of

TRIES = 4
"""Another node of the machine may take what was just seen to be free."""


@dataclass(frozen=True, slots=True)
class CardReport:
    """One card and what its keeper found: whether new runs may have it, and whether those on it are paused."""

    card: Card
    is_usable: bool = True
    is_stopped: bool = False
    troubles: tuple[CardTrouble, ...] = ()

    def has(self, kind: TroubleKind | CardFault) -> bool:
        return any(trouble.kind is kind for trouble in self.troubles)


@dataclass(frozen=True, slots=True)
class CardsReport:
    """All cards of this machine. fault, words: why none could be read."""

    cards: tuple[CardReport, ...] = ()
    cuda: str = ""
    driver: str = ""
    fault: CardFault | None = None
    words: str = ""

    @property
    def is_held(self) -> bool:
        """Whether the owner's own use leaves no card to jobs."""
        is_any = any(report.is_usable for report in self.cards)
        return not is_any and any(report.has(TroubleKind.BUSY) for report in self.cards)


@dataclass(frozen=True, slots=True)
class CardLease:
    """The cards of one run, with its share of the memory of each, until `release`."""

    uuids: tuple[str, ...] = ()
    share_bytes: int = 0
    _holds: tuple[CardHold, ...] = field(default=(), repr=False)

    def release(self) -> None:
        """Give the memory back."""
        for hold in self._holds:
            hold.release()


NO_LEASE = CardLease()
"""Of a run that computes on the processor."""


@dataclass(eq=False, slots=True)
class CardDesk:
    """Lends cards. `report` and `ours`, the processes of this machine's runs, are its keeper's."""

    limits: OwnerLimits = field(default_factory=OwnerLimits)
    book: CardBook = field(default_factory=CardBook)
    report: CardsReport = field(default_factory=CardsReport)
    ours: frozenset[int] = frozenset()

    def lend(self, wish: CardWish, avoid: AbstractSet[str] = frozenset()) -> CardLease:
        """Take cards for a run. Args: avoid, cards that it was taken off.

        Raises: NoCardFits; ExecutorError if this machine cannot share cards.
        """
        for _ in range(TRIES):
            most = {
                report.card.uuid: most_of(report.card, self.ours, self.limits.reserve_bytes)
                for report in self.report.cards
                if report.is_usable
            }
            rooms = [
                CardRoom(report.card, most[report.card.uuid] - self.book.held(report.card.uuid))
                for report in self.report.cards
                if report.card.uuid in most
            ]
            uuids = choose(rooms, wish, avoid)
            with ExitStack() as taken, suppress(NoCardFits):
                holds = tuple(self._hold(uuid, wish, most[uuid], taken) for uuid in uuids)
                taken.pop_all()
                return CardLease(uuids, wish.share_bytes, holds)
        raise NoCardFits("other nodes of this machine take its cards as soon as they are free", transient=True)

    def _hold(self, uuid: str, wish: CardWish, most_bytes: int, taken: ExitStack) -> CardHold:
        hold = self.book.hold(uuid, wish.share_bytes, most_bytes)
        taken.callback(hold.release)
        return hold
