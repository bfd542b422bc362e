"""What a node's record is made of: each change of it from the logs, with the batch, case or duty behind it."""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise

from chain.contract import Entry
from chain.network import Network
from chain.settlement import StoredBatch
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address, BatchId, Hash32, Wei

_STAKES = ("ReputationChanged", "Slashed", "CheckedIn", "OfflinePenalized", "ClassesChanged", "LivenessMissed")
_COURT = ("CaseResolved", "SeatReplaced")
_SETTLEMENT = ("BatchSubmitted", "BatchFinal")


class Cause(StrEnum):
    """Why a record changed."""

    BATCH = "batch"
    """A batch of the node became final."""
    CASE = "case"
    """A case about a batch of the node ended badly for it."""
    SEAT = "seat"
    """The node sat in a case of somebody else and stayed silent."""
    CLASSES = "classes"
    """Its owner changed its device classes."""
    OFFLINE = "offline"
    """It missed two signs that it was asked for."""
    CHECK_IN = "check_in"
    """A day was counted on which it was there."""
    ABSENCE = "absence"
    """Its stake was charged for days on which it was not."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a record.

    batch_id: the batch, which names its case, too; None where there is none. seat: which one was silent, else 0.
    counted: jobs that count as successes. lost: jobs that count as failed. response_ms: what the counted took together.
    penalty_tenths: added, below 0 where some healed. lost_wei: stake that went with it. score: in hundredths, after it;
    0 where the log does not say. day: that was counted, since 1970.
    """

    block: int
    transaction: Hash32
    cause: Cause
    score: int = 0
    batch_id: BatchId | None = None
    verdict: Verdict = Verdict.NONE
    seat: int = 0
    counted: int = 0
    lost: int = 0
    response_ms: int = 0
    penalty_tenths: int = 0
    lost_wei: Wei = Wei(0)
    day: int = 0


async def read_record(network: Network, node: Address, first: int, last: int) -> list[Change]:
    """Every change of a node's record in these blocks, in order.

    Args: first, a block before the node was registered: a change is what differs from the one before.
    Raises: ChainError.
    """
    told = [
        *await network.stakes.entries(_STAKES, first, last, id=node),
        *await network.court.entries(_COURT, first, last, node=node),
        *await network.settlement.entries(_SETTLEMENT, first, last, node=node),
    ]
    told.sort(key=lambda entry: (entry.log.block, entry.log.index))
    return _Fold().changes(told)


class _Fold:
    """Goes through the logs of one node in their order: what leads to a change stands before it, but for a batch."""

    def __init__(self) -> None:
        self._counts = (0, 0, 0)
        self._times: dict[bytes, tuple[int, int]] = {}
        self._reason: Entry | None = None
        self._lost = 0

    def changes(self, told: Sequence[Entry]) -> list[Change]:
        """The changes that these logs tell."""
        return [
            change for entry, following in pairwise((*told, None)) if entry and (change := self._next(entry, following))
        ]

    def _next(self, entry: Entry, following: Entry | None) -> Change | None:
        log = entry.log
        match entry.event, entry.values:
            case "BatchSubmitted", (_, _, batch_id, batch, _):
                stored = StoredBatch(*batch)
                self._times[batch_id] = (stored.ok_count, stored.response_ms)
            case "CaseResolved" | "SeatReplaced" | "ClassesChanged" | "LivenessMissed", _:
                self._reason = entry
            case "Slashed", (_, _, active, unbonding, *_):
                self._lost += active + unbonding
            case "CheckedIn", (_, day, _):
                return Change(log.block, log.transaction, Cause.CHECK_IN, day=day)
            case "OfflinePenalized", (_, _, burned):
                return Change(log.block, log.transaction, Cause.ABSENCE, lost_wei=Wei(burned))
            case "ReputationChanged", (_, score, *counts, _, _):
                return self._changed(entry, following, score, (counts[0], counts[1], counts[2]))
        return None

    def _changed(self, entry: Entry, following: Entry | None, score: int, counts: tuple[int, int, int]) -> Change:
        successes, total, penalty = (new - old for new, old in zip(counts, self._counts, strict=True))
        lost, self._lost, self._counts = self._lost, 0, counts
        cause, batch_id, verdict, seat = _cause(self._reason, following)
        ok, ms = self._times.get(batch_id or b"", (0, 0)) if cause is Cause.BATCH else (0, 0)
        return Change(
            block=entry.log.block,
            transaction=entry.log.transaction,
            cause=cause,
            score=score,
            batch_id=batch_id,
            verdict=verdict,
            seat=seat,
            counted=successes,
            lost=total - successes,
            response_ms=ms * successes // ok if ok else 0,
            penalty_tenths=penalty,
            lost_wei=Wei(lost),
        )


def _cause(reason: Entry | None, following: Entry | None) -> tuple[Cause, BatchId | None, Verdict, int]:
    """What is behind a change: the batch that ends right after it, else the last of what led to it."""
    match following:
        case Entry("BatchFinal", (_, _, batch_id, *_)):
            return Cause.BATCH, BatchId(batch_id), Verdict.NONE, 0
    match reason:
        case Entry("CaseResolved", (case, _, _, verdict, _)):
            return Cause.CASE, BatchId(case), Verdict(verdict), 0
        case Entry("SeatReplaced", (case, seat, _)):
            return Cause.SEAT, BatchId(case), Verdict.NONE, seat
        case Entry("LivenessMissed"):
            return Cause.OFFLINE, None, Verdict.NONE, 0
        case _:
            return Cause.CLASSES, None, Verdict.NONE, 0
