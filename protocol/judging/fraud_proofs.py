"""Fraud proofs: what code alone can find wrong in a batch. Twin of FraudLib; tests/vectors/fraud.json.

No lie rests on a paper that a client can make up later: each is one that the leaf names by its hash, or one that the
node signed. So a node that settles what it was given never has to fear this.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from protocol.params import BONUS_BELOW_PERCENT, BONUS_PERCENT, RETRY_AFTER_DEADLINE_S
from protocol.stages.assignment import UNCALIBRATED_ACCEPTED, Assignment, JobDetails
from protocol.stages.commitment import BatchContents, BatchSums, Leaf, LeafStatus, Receipt, Result
from protocol.stages.request import accepts_class
from protocol.wire.envelope import Domain, digest, is_signed_by, struct_hash
from protocol.wire.ids import Address
from protocol.wire.merkle import EMPTY, SumNode, climb, join


class FraudKind(IntEnum):
    """One way in which a batch is provably false, in the contract's numbers."""

    NONE = 0
    FALSE_SUMS = 1
    STUFFED_PADDING = 2
    WRONG_PLACE = 3
    ABOVE_LARGEST = 4
    PAID_FOR_NOTHING = 5
    NO_RECEIPT = 6
    MISCOUNTED = 7
    OVERPRICED = 8
    FALSE_BONUS = 9
    TOO_LATE = 10
    FALSE_TIME = 11
    WRONG_CLASS = 12
    NOT_AGREED = 13
    FEE_NOT_AGREED = 14
    NOT_CHECKED = 15
    RECEIPT_DIFFERS = 16
    RECEIPT_OF_ANOTHER = 17
    RESULT_DIFFERS = 18


class BatchView(Protocol):
    """A batch as its log tells it, or a proof of one of its jobs; `timestamp` of its block, in seconds."""

    @property
    def contents(self) -> BatchContents: ...

    @property
    def sums(self) -> BatchSums: ...

    @property
    def leaf_count(self) -> int: ...

    @property
    def unreceipted(self) -> bool: ...

    @property
    def uncalibrated(self) -> bool: ...

    @property
    def checked(self) -> bool: ...

    @property
    def class_id(self) -> int: ...

    @property
    def timestamp(self) -> int: ...


@dataclass(frozen=True, slots=True)
class OpenedLeaf:
    """A leaf with its way to the root: its place from 0 over the whole batch, its siblings bottom up."""

    position: int
    leaf: Leaf
    siblings: tuple[SumNode, ...]


@dataclass(frozen=True, slots=True)
class SignedResult:
    """A node's result with its operator's signature."""

    result: Result
    signature: bytes


@dataclass(frozen=True, slots=True)
class Papers:
    """The papers of a job that a party holds; each proves only its own content."""

    order: Assignment | None = None
    details: JobDetails | None = None
    receipt: Receipt | None = None
    result: SignedResult | None = None


def depth_of(leaf_count: int) -> int:
    """How many siblings lead from a leaf to the root."""
    return (leaf_count - 1).bit_length()


def is_in_batch(opened: OpenedLeaf, batch: BatchView) -> bool:
    """Whether a leaf with its siblings leads to the batch's root."""
    return (
        0 <= opened.position < batch.leaf_count
        and len(opened.siblings) == depth_of(batch.leaf_count)
        and _top(opened).hash == batch.contents.root
    )


def fraud_kinds_in(
    opened: OpenedLeaf, batch: BatchView, papers: Papers, node: Address, operator: Address, domain: Domain
) -> tuple[FraudKind, ...]:
    """Every lie that a leaf and its papers prove, in the order of their numbers; none for a leaf of another batch.

    Args: node, whose batch it is; operator, whose signature the node's results bear.
    """
    if not is_in_batch(opened, batch):
        return ()
    leaf = opened.leaf
    found = [
        (FraudKind.FALSE_SUMS, _has_false_sums(opened, batch)),
        (FraudKind.STUFFED_PADDING, _has_stuffed_padding(opened, batch.leaf_count)),
        (FraudKind.WRONG_PLACE, _is_misplaced(opened, batch.contents)),
        (FraudKind.ABOVE_LARGEST, leaf.charge > batch.contents.max_leaf),
        (FraudKind.PAID_FOR_NOTHING, _is_paid_for_nothing(leaf)),
        (FraudKind.NO_RECEIPT, not batch.unreceipted and leaf.status == LeafStatus.OK and not any(leaf.receipt_hash)),
        (FraudKind.MISCOUNTED, declared(batch, leaf.status) == 0),
    ]
    if papers.details is not None and struct_hash(papers.details) == leaf.details:
        found += _against_details(leaf, batch, papers.details)
    if papers.receipt is not None and struct_hash(papers.receipt) == leaf.receipt_hash:
        found += _against_receipt(leaf, node, papers.receipt, papers.order, domain)
    if papers.result is not None and papers.order is not None:
        differs = _differs(leaf, node, papers.result, papers.order, operator, domain)
        found.append((FraudKind.RESULT_DIFFERS, differs))
    return tuple(fraud_kind for fraud_kind, holds in found if holds)


def declared(batch: BatchView, status: int) -> int:
    """How many leaves of a status a batch says it has."""
    sums = batch.sums
    counts: dict[int, int] = {
        LeafStatus.OK: sums.ok_count,
        LeafStatus.FAILED: sums.failed_count,
        LeafStatus.CLIENT_FAULT: batch.leaf_count - sums.ok_count - sums.failed_count,
    }
    return counts.get(status, 0)


def are_miscounted(leaves: list[Leaf], batch: BatchView) -> bool:
    """Whether leaves at different places of a batch, all of one status, are more than it declared."""
    statuses = {leaf.status for leaf in leaves}
    return len(statuses) == 1 and len(leaves) > declared(batch, statuses.pop())


def stands_early(opened: OpenedLeaf, contents: BatchContents) -> bool:
    """Whether a leaf has a number that the batch debits, in a place before that number's.

    So it is where leaves are left out, and where the chain counts some that a reorganisation took from an honest node.
    """
    leaf, end = opened.leaf, 0
    for debit in contents.debits:
        first, end = end, end + debit.leaves
        place = end - 1 - (debit.index - leaf.index)
        if (leaf.client, leaf.signer) == (debit.client, debit.signer) and first <= place < end:
            return opened.position < place
    return False


def _top(opened: OpenedLeaf) -> SumNode:
    return climb(opened.leaf.node, opened.position, opened.siblings)


def _has_false_sums(opened: OpenedLeaf, batch: BatchView) -> bool:
    top = _top(opened)
    return (top.charge, top.bonus, top.ms) != (batch.sums.charge, batch.sums.bonus, batch.sums.ms)


def _has_stuffed_padding(opened: OpenedLeaf, leaf_count: int) -> bool:
    empty = EMPTY
    for level, sibling in enumerate(opened.siblings):
        first = (opened.position >> level ^ 1) << level
        if first >= leaf_count and sibling != empty:
            return True
        empty = join(empty, empty)
    return False


def _is_misplaced(opened: OpenedLeaf, contents: BatchContents) -> bool:
    leaf, end = opened.leaf, 0
    for debit in contents.debits:
        end += debit.leaves
        if opened.position < end:
            number = debit.index - (end - 1 - opened.position)
            return (leaf.client, leaf.signer, leaf.index) != (debit.client, debit.signer, number)
    return False


def _is_paid_for_nothing(leaf: Leaf) -> bool:
    known = leaf.status in (LeafStatus.FAILED, LeafStatus.CLIENT_FAULT)
    return leaf.status != LeafStatus.OK and (not known or (leaf.charge, leaf.bonus, leaf.actual_ms) != (0, 0, 0))


def _against_details(leaf: Leaf, batch: BatchView, details: JobDetails) -> list[tuple[FraudKind, bool]]:
    good = leaf.status == LeafStatus.OK
    without = batch.unreceipted and good
    agreed = details.flags & UNCALIBRATED_ACCEPTED != 0
    return [
        (FraudKind.OVERPRICED, leaf.charge > details.price),
        (FraudKind.FALSE_BONUS, _has_false_bonus(leaf, batch, details)),
        (FraudKind.TOO_LATE, without and batch.timestamp > details.deadline + RETRY_AFTER_DEADLINE_S),
        (FraudKind.FALSE_TIME, without and leaf.actual_ms < details.expected_ms),
        (FraudKind.WRONG_CLASS, good and not accepts_class(details.classes, batch.class_id)),
        (FraudKind.NOT_AGREED, good and batch.uncalibrated and not agreed),
        (FraudKind.FEE_NOT_AGREED, good and batch.checked and not details.checked),
        (FraudKind.NOT_CHECKED, good and details.checked and not batch.checked),
    ]


def _has_false_bonus(leaf: Leaf, batch: BatchView, details: JobDetails) -> bool:
    if leaf.bonus == 0:
        return False
    return (
        batch.unreceipted
        or not any(leaf.receipt_hash)
        or leaf.bonus > min(details.bonus_cap, leaf.charge * BONUS_PERCENT // 100)
        or leaf.actual_ms * 100 >= details.expected_ms * BONUS_BELOW_PERCENT
    )


def _against_receipt(
    leaf: Leaf, node: Address, receipt: Receipt, order: Assignment | None, domain: Domain
) -> list[tuple[FraudKind, bool]]:
    said = (receipt.charge, receipt.result_hash, receipt.actual_ms)
    of_order = order is not None and digest(order, domain) == receipt.job_id
    return [
        (FraudKind.RECEIPT_DIFFERS, (leaf.charge, leaf.result_hash, leaf.actual_ms) != said),
        (FraudKind.RECEIPT_OF_ANOTHER, of_order and order is not None and not _is_order_of(order, node, leaf)),
    ]


def _differs(
    leaf: Leaf, node: Address, signed: SignedResult, order: Assignment, operator: Address, domain: Domain
) -> bool:
    """A node takes one order for a number of a lane, so a result for such an order is a result for this leaf."""
    result = signed.result
    return (
        leaf.status == LeafStatus.OK
        and digest(order, domain) == result.job_id
        and _is_order_of(order, node, leaf)
        and is_signed_by(result, signed.signature, domain, operator)
        and (leaf.result_hash, leaf.output_commit) != (result.result_hash, result.output_commit)
    )


def _is_order_of(order: Assignment, node: Address, leaf: Leaf) -> bool:
    wanted = (leaf.client, leaf.signer, node, leaf.index, leaf.details)
    return (order.client, order.signer, order.node, order.index, order.details) == wanted
