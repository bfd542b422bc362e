"""Which cards a run is given: those with room for its share, the cooler and emptier ones first. Pure."""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from executor.cards.card import Card, Throttle
from protocol.errors import ExecutorError
from protocol.params import RESUME_BELOW_C

MIB = 1 << 20


class NoCardFits(ExecutorError):
    """No card of this machine has room for a run now; the text says how much is wanted and how much there is."""


@dataclass(frozen=True, slots=True)
class CardWish:
    """What a run needs: so many cards of one model, and a share of the memory of each. capability: at least."""

    share_bytes: int
    count: int = 1
    capability: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class CardRoom:
    """A card that may be used, and what of its memory no run has and no other process holds."""

    card: Card
    room_bytes: int

    @property
    def is_tired(self) -> bool:
        """Whether it is warm or slowed: it is taken last."""
        return (self.card.temperature_c or 0) >= RESUME_BELOW_C or bool(
            self.card.throttles & {Throttle.HEAT, Throttle.HARDWARE}
        )


def most_of(card: Card, ours: AbstractSet[int], reserve_bytes: int) -> int:
    """Bytes of a card that all runs of this machine may hold together.

    Args: ours, process ids of those runs, whose memory is within their shares; reserve_bytes, what stays free.
    """
    of_ours = sum(process.used_bytes or 0 for process in card.processes if process.pid in ours)
    held_bytes = max(0, card.used_bytes - of_ours)
    return max(0, card.facts.total_bytes - held_bytes - reserve_bytes)


def choose(rooms: Sequence[CardRoom], wish: CardWish, avoid: AbstractSet[str] = frozenset()) -> tuple[str, ...]:
    """The cards for a run, by UUID. Args: avoid, cards that are taken only if there are no others.

    Raises: NoCardFits.
    """
    able = [room for room in rooms if room.card.facts.compute_capability >= wish.capability]
    fitting = [room for room in able if room.room_bytes >= wish.share_bytes]
    models: dict[str, list[CardRoom]] = {}
    for room in fitting:
        # The parts of one engine wait for each other: they run on cards of one model, and a MIG instance has no peer.
        key = room.card.facts.model if wish.count > 1 and not room.card.facts.parent_uuid else room.card.uuid
        models.setdefault(key, []).append(room)

    def rank(room: CardRoom) -> tuple[bool, bool, int, int]:
        is_avoided = room.card.uuid in avoid
        return is_avoided, room.is_tired, -room.room_bytes // (64 * MIB), room.card.temperature_c or 0

    groups = [sorted(group, key=rank)[: wish.count] for group in models.values() if len(group) >= wish.count]
    if not groups:
        raise NoCardFits(_why_none(rooms, able, wish), transient=True)
    best = min(groups, key=lambda group: [rank(room) for room in reversed(group)])
    return tuple(sorted(room.card.uuid for room in best))


def _why_none(rooms: Sequence[CardRoom], able: Sequence[CardRoom], wish: CardWish) -> str:
    wanted = f"{wish.count} card{'s' * (wish.count > 1)} with {wish.share_bytes // MIB} MiB"
    if not rooms:
        return f"a run needs {wanted}, and no card can be used now: vcoin status says why"
    if not able:
        major, minor = wish.capability
        return f"a run needs a card of compute capability {major}.{minor}, and this machine has none"
    most = max(room.room_bytes for room in able) // MIB
    return f"a run needs {wanted}, and the most that a card has free for jobs is {most} MiB"
