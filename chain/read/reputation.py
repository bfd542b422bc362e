"""The changes of a node's reputation record from the logs, each with the batch, case or duty behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import pairwise

from chain.contracts.contract import DecodedLog
from chain.contracts.network import Network
from chain.contracts.settlement import StoredBatch
from protocol.params import PROBATION_JOBS
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address, BatchId, Hash32, Wei

_STAKES = (
    "ReputationChanged",
    "Slashed",
    "CheckedIn",
    "OfflinePenalized",
    "ClassesChanged",
    "LivenessMissed",
    "Unjailed",
)
_REASONS = frozenset({"CaseResolved", "SeatReplaced", "ClassesChanged", "LivenessMissed"})
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
    AUDIT = "audit"
    """An audit found that it had said yes on a seat without looking, or it was silent as an auditor."""
    RELEASE = "release"
    """It left jail: its probation begins anew."""


@dataclass(frozen=True, slots=True)
class Change:
    """One change of a record.

    batch_id: the batch, which names its case, too; None where there is none. seat: which one was silent, else 0.
    counted: jobs that count as successes. lost: jobs that count as failed. response_ms: what the counted took together.
    penalty_tenths: added, below 0 where some healed. lost_wei: stake that went with it. score: in hundredths, after it;
    0 where the log does not say. day: that was counted, since 1970. samples_left, recent_failures: after it, jobs of
    its probation still to come and failed ones of the last fifty; None where the log does not say.
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
    samples_left: int | None = None
    recent_failures: int | None = None


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
    # An audit's log names no seat, so it is looked for where nothing else is behind a change.
    ends = [entry for block in _unexplained(told) for entry in await network.audits.entries("AuditEnded", block, block)]
    return _Fold({entry.log.transaction: BatchId(entry.values[0]) for entry in ends}).changes(told)


def _unexplained(told: Sequence[DecodedLog]) -> list[int]:
    """The blocks of changes that no log of the node itself, its cases, seats and batches explains."""
    explained = {entry.log.transaction for entry in told if entry.event in (*_REASONS, "BatchFinal")}
    changed = (entry.log for entry in told if entry.event == "ReputationChanged")
    return sorted({log.block for log in changed if log.transaction not in explained})


class _Fold:
    """Goes through the logs of one node in their order: what leads to a change stands before it, but for a batch."""

    def __init__(self, audits: Mapping[Hash32, BatchId]) -> None:
        self._audits = audits
        self._counts = (0, 0, 0)
        self._times: dict[bytes, tuple[int, int]] = {}
        self._reason: DecodedLog | None = None
        self._ahead: dict[Hash32, DecodedLog] = {}
        """The first reason in a transaction: of a batch not brought to court it comes after the penalty."""
        self._lost = 0

    def changes(self, told: Sequence[DecodedLog]) -> list[Change]:
        """The changes that these logs tell."""
        self._ahead = {entry.log.transaction: entry for entry in reversed(told) if entry.event in _REASONS}
        return [
            change for entry, following in pairwise((*told, None)) if entry and (change := self._next(entry, following))
        ]

    def _next(self, entry: DecodedLog, following: DecodedLog | None) -> Change | None:
        log = entry.log
        match entry.event, entry.values:
            case "BatchSubmitted", (_, _, batch_id, batch, _):
                stored = StoredBatch(*batch)
                self._times[batch_id] = (stored.ok_count, stored.response_ms)
            case event, _ if event in _REASONS:
                self._reason = entry
            case "Slashed", (_, _, active, unbonding, *_):
                self._lost += active + unbonding
            case "CheckedIn", (_, day, _):
                return Change(log.block, log.transaction, Cause.CHECK_IN, day=day)
            case "Unjailed", _:
                return Change(log.block, log.transaction, Cause.RELEASE, samples_left=PROBATION_JOBS)
            case "OfflinePenalized", (_, _, burned):
                return Change(log.block, log.transaction, Cause.ABSENCE, lost_wei=Wei(burned))
            case "ReputationChanged", (_, score, *counts, samples_left, failures):
                change = self._changed(entry, following, score, (counts[0], counts[1], counts[2]))
                return replace(change, samples_left=samples_left, recent_failures=failures)
        return None

    def _changed(
        self, entry: DecodedLog, following: DecodedLog | None, score: int, counts: tuple[int, int, int]
    ) -> Change:
        successes, total, penalty = (new - old for new, old in zip(counts, self._counts, strict=True))
        lost, self._lost, self._counts = self._lost, 0, counts
        change = self._cause(entry, following)
        ok, ms = self._times.get(change.batch_id or b"", (0, 0)) if change.cause is Cause.BATCH else (0, 0)
        return replace(
            change,
            score=score,
            counted=successes,
            lost=total - successes,
            response_ms=ms * successes // ok if ok else 0,
            penalty_tenths=penalty,
            lost_wei=Wei(lost),
        )

    def _cause(self, entry: DecodedLog, following: DecodedLog | None) -> Change:
        """A change with its cause: the batch that ends right after it, an audit, else the last of what led to it."""
        transaction = entry.log.transaction
        change = Change(entry.log.block, transaction, Cause.CLASSES)
        match following:
            case DecodedLog("BatchFinal", (_, _, batch_id, *_)):
                return replace(change, cause=Cause.BATCH, batch_id=BatchId(batch_id))
        known = self._reason is not None and self._reason.log.transaction == transaction
        reason = self._reason if known else self._ahead.get(transaction)
        if reason is None and transaction in self._audits:
            return replace(change, cause=Cause.AUDIT, batch_id=self._audits[transaction])
        match reason:
            case DecodedLog("CaseResolved", (case, _, _, verdict, _)):
                return replace(change, cause=Cause.CASE, batch_id=BatchId(case), verdict=Verdict(verdict))
            case DecodedLog("SeatReplaced", (case, seat, _)):
                return replace(change, cause=Cause.SEAT, batch_id=BatchId(case), seat=seat)
            case DecodedLog("LivenessMissed"):
                return replace(change, cause=Cause.OFFLINE)
        return change
