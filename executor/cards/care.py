"""What is done about a card as it is now: pure decisions, with time as an argument.

A card is stopped while it is hot, or while its owner uses it and wants it idle for that: containers on it are paused,
and nothing new is given to it. A job that cannot wait that long moves. A card that computes wrong, or not at all, loses
its jobs at once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from enum import StrEnum

from executor.cards.card import FIXES, Card, CardFault, CardProcess, Throttle
from protocol.params import PAUSE_ABOVE_C, RESUME_BELOW_C

MIB = 1 << 20
MOVE_AFTER_S = 15.0
"""A job that has been stopped for so long moves; its end and its new start take the rest of 20 s."""
IDLE_BELOW_PERCENT = 10
"""A card that nothing of ours works on is idle below that."""
LEAK_BYTES = 1024 * MIB
"""More than the driver itself and contexts that are about to end hold on a card."""
LEAK_AFTER_S = 30.0


class TroubleKind(StrEnum):
    """What may be wrong with a card, beside the faults of CardFault."""

    HOT = "hot"
    BUSY = "busy"
    """Its owner uses it, and wants it idle for jobs."""
    THROTTLED = "throttled"
    POWER_CAPPED = "power_capped"
    ECC = "ecc"
    LEAK = "leak"
    FOREIGN = "foreign"
    RESERVE = "reserve"
    CAP_REFUSED = "cap_refused"
    """The owner's power cap could not be set."""
    UNWATCHED = "unwatched"
    """The Docker Engine does not say what runs on the cards."""


@dataclass(frozen=True, slots=True)
class CardTrouble:
    """One trouble of a card, for its owner: what is, what is done about it, and what the owner can do."""

    kind: TroubleKind | CardFault
    words: str
    fix: str = ""


@dataclass(frozen=True, slots=True)
class OwnerLimits:
    """What the owner leaves to jobs. reserve_bytes stay free on each card; power_watts 0 is no cap."""

    reserve_bytes: int = 0
    only_idle: bool = False
    power_watts: int = 0


@dataclass(frozen=True, slots=True)
class CardContainer:
    """A container of ours on a card: its job, its share of the card's memory, and what it holds of it now."""

    container: str
    job: str
    share_bytes: int
    used_bytes: int = 0
    is_paused: bool = False


@dataclass(frozen=True, slots=True)
class CardState:
    """What is remembered of a card from one look to the next."""

    is_hot: bool = False
    stopped_s: float | None = None
    """Since when it is stopped or cannot be read."""
    ecc_seen: int = 0
    leak_s: float | None = None
    """Since when memory is held that no process has."""


FRESH = CardState()


class JobEnd(StrEnum):
    """Why a job is taken off a card; see executor/containers/ending.py for who is to blame."""

    STOPPED = "stopped"
    """The card was hot, busy or unreadable for longer than the job can wait."""
    LOST = "lost"
    """The card is gone, or its memory has errors."""
    OVER_SHARE = "over_share"


@dataclass(frozen=True, slots=True)
class CardDecision:
    """is_usable: for new work. is_stopped: its containers are paused. ended: jobs to end, and why."""

    state: CardState
    troubles: tuple[CardTrouble, ...]
    is_usable: bool
    is_stopped: bool
    ended: tuple[tuple[str, JobEnd], ...] = ()


def decide(
    state: CardState,
    card: Card,
    containers: Sequence[CardContainer],
    foreign: Sequence[CardProcess],
    limits: OwnerLimits,
    now_s: float,
) -> CardDecision:
    """What to do about a card. Args: foreign, its processes that are in no container of ours."""
    if card.fault is not None:
        return _at_fault(state, card.fault, containers, now_s)
    is_hot = _is_hot(state, card)
    is_busy = limits.only_idle and _is_used_by_others(card, containers, foreign)
    is_stopped = is_hot or is_busy
    stopped_s = (now_s if state.stopped_s is None else state.stopped_s) if is_stopped else None
    leak_bytes = _leaked_bytes(card)
    leak_s = (now_s if state.leak_s is None else state.leak_s) if leak_bytes > LEAK_BYTES else None
    ecc = card.ecc_uncorrected or 0
    after = CardState(is_hot, stopped_s, ecc, leak_s)
    troubles = [
        *_of_heat(card, is_hot=is_hot),
        *_of_others(foreign, containers, limits, is_busy=is_busy),
        *_of_memory(card, limits, ecc, leak_bytes if leak_s is not None and now_s - leak_s >= LEAK_AFTER_S else 0),
    ]
    over = [(each.job, JobEnd.OVER_SHARE) for each in containers if each.used_bytes > each.share_bytes]
    if ecc > state.ecc_seen:
        ended = [(each.job, JobEnd.LOST) for each in containers]
    elif stopped_s is not None and now_s - stopped_s >= MOVE_AFTER_S:
        ended = [(each.job, JobEnd.STOPPED) for each in containers]
    else:
        ended = over
    return CardDecision(after, tuple(troubles), not is_stopped and not ecc, is_stopped, tuple(ended))


def _at_fault(state: CardState, fault: CardFault, containers: Sequence[CardContainer], now_s: float) -> CardDecision:
    """A card that cannot be watched takes no new job, and keeps those that it has only for a while."""
    since_s = now_s if state.stopped_s is None else state.stopped_s
    after = replace(state, stopped_s=since_s)
    trouble = CardTrouble(fault, _FAULT_WORDS[fault], FIXES[fault])
    ended: tuple[tuple[str, JobEnd], ...] = ()
    if fault is CardFault.LOST:
        ended = tuple((each.job, JobEnd.LOST) for each in containers)
    elif now_s - since_s >= MOVE_AFTER_S:
        ended = tuple((each.job, JobEnd.STOPPED) for each in containers)
    # What could not be read may be as hot as it was: containers stay as they are.
    return CardDecision(after, (trouble,), is_usable=False, is_stopped=state.is_hot, ended=ended)


_FAULT_WORDS: dict[CardFault, str] = {
    CardFault.NO_DRIVER: "the driver is not loaded: no job runs on it",
    CardFault.OLD_DRIVER: "the driver is too old: no job runs on it",
    CardFault.NO_PERMISSION: "the driver lets this user read nothing: no job runs on it",
    CardFault.HANGS: "the driver does not answer: no new job runs on it, and jobs on it move",
    CardFault.LOST: "the card is lost: its jobs have moved",
    CardFault.MIG_HALF: "MIG is set up by half: no job runs on it",
    CardFault.UNREADABLE: "the driver gives an error for it: no new job runs on it, and jobs on it move",
}


def _is_hot(state: CardState, card: Card) -> bool:
    if card.temperature_c is None:
        return False
    return card.temperature_c >= RESUME_BELOW_C if state.is_hot else card.temperature_c > PAUSE_ABOVE_C


def _is_used_by_others(card: Card, containers: Sequence[CardContainer], foreign: Sequence[CardProcess]) -> bool:
    """Whether somebody else works on it. Its utilisation says so only while nothing of ours runs there."""
    is_ours = any(not each.is_paused for each in containers)
    return bool(foreign) or (not is_ours and (card.utilisation or 0) >= IDLE_BELOW_PERCENT)


def _leaked_bytes(card: Card) -> int:
    """Memory in use that no process has; 0 where the driver does not tell what each has."""
    held = [process.used_bytes for process in card.processes]
    return 0 if None in held else card.used_bytes - sum(each or 0 for each in held)


def _of_heat(card: Card, *, is_hot: bool) -> list[CardTrouble]:
    found = []
    if is_hot:
        words = f"{card.temperature_c} C: its containers are paused until it is under {RESUME_BELOW_C} C"
        found.append(CardTrouble(TroubleKind.HOT, words, "let more air through, or lower executor.gpu_power"))
    if card.throttles & {Throttle.HEAT, Throttle.HARDWARE}:
        words = "its clocks are lowered by heat or by its hardware: other cards are chosen before it"
        found.append(CardTrouble(TroubleKind.THROTTLED, words, "nvidia-smi -q -d PERFORMANCE says why"))
    if Throttle.POWER_CAP in card.throttles:
        limit = "" if card.power_limit_mw is None else f" of {card.power_limit_mw // 1000} W"
        words = f"its clocks are lowered by its power limit{limit}"
        found.append(CardTrouble(TroubleKind.POWER_CAPPED, words, "nothing to do if you have set that limit"))
    return found


def _of_others(
    foreign: Sequence[CardProcess], containers: Sequence[CardContainer], limits: OwnerLimits, *, is_busy: bool
) -> list[CardTrouble]:
    found = []
    if foreign:
        held = sum(process.used_bytes or 0 for process in foreign)
        pids = ", ".join(str(process.pid) for process in foreign[:4])
        words = f"processes that are not of this node hold {held // MIB} MiB of it (pid {pids})"
        fix = "" if limits.only_idle else "executor.only_idle = true leaves the card to them while they run"
        found.append(CardTrouble(TroubleKind.FOREIGN, words, fix))
    if is_busy:
        words = "it is in use, and executor.only_idle leaves it to that use"
        found.append(CardTrouble(TroubleKind.BUSY, words, "" if not containers else "its jobs are paused, and move"))
    return found


def _of_memory(card: Card, limits: OwnerLimits, ecc: int, leak_bytes: int) -> list[CardTrouble]:
    found = []
    if ecc:
        words = f"its memory had {ecc} errors that could not be corrected: no job runs on it"
        found.append(CardTrouble(TroubleKind.ECC, words, "reset it: sudo nvidia-smi --gpu-reset, or restart"))
    if leak_bytes:
        words = f"{leak_bytes // MIB} MiB of it are held by no process, and count as used"
        found.append(CardTrouble(TroubleKind.LEAK, words, "reset it once it is idle: sudo nvidia-smi --gpu-reset"))
    if limits.reserve_bytes and card.free_bytes < limits.reserve_bytes:
        words = f"{card.free_bytes // MIB} MiB are free, less than executor.gpu_reserve: it takes no new job"
        found.append(CardTrouble(TroubleKind.RESERVE, words, "end what holds its memory: nvidia-smi"))
    return found
