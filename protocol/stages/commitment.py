"""Commitments: a node's signed result, the client's receipt, and the leaves of a batch."""

import hashlib
from dataclasses import astuple, dataclass, fields, replace
from enum import IntEnum
from operator import attrgetter
from typing import Annotated

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from protocol.errors import Malformed
from protocol.params import MAX_INLINE_BYTES, RETRY_AFTER_DEADLINE_S
from protocol.stages.assignment import Assignment, AssignmentOrder, JobDetails, bonus_of, charge_of, verify_fee
from protocol.wire.codec import U8, U24, U32, U40, U48, U96, Bytes32, Signature, Size
from protocol.wire.envelope import struct_hash, typed
from protocol.wire.ids import ZERO_HASH, Address, BatchId, JobId, address_bytes
from protocol.wire.merkle import SumNode
from protocol.wire.names import wire_class


@typed("Result(bytes32 jobId,bytes32 resultHash,bytes32 outputCommit,bytes32 blobCid)")
@wire_class("Result")
class Result:
    """The result that the node answers for: a later leaf that differs is provable fraud. Signed by the operator."""

    job_id: Bytes32
    result_hash: Bytes32
    output_commit: Bytes32
    blob_cid: Bytes32


@typed("Receipt(bytes32 jobId,bytes32 resultHash,uint96 charge,uint32 actualMs)")
@wire_class("Receipt")
class Receipt:
    """The client has the result, owes `charge` wei, and waited `actual_ms` by its own clock. Signed by the signer."""

    job_id: Bytes32
    result_hash: Bytes32
    charge: U96
    actual_ms: U32


@wire_class("ResultDelivery")
class ResultDelivery:
    """A Result as it is sent, with result.json sealed to the client."""

    result: Result
    signature: Signature
    sealed_result: Annotated[bytes, Size(MAX_INLINE_BYTES)]


@wire_class("SignedReceipt")
class SignedReceipt:
    """A Receipt as it is sent."""

    receipt: Receipt
    signature: Signature


@wire_class("TokenFrame")
class TokenFrame:
    """Streamed tokens: `sealed` holds the ids; seq counts from 0."""

    job_id: Bytes32
    seq: U32
    sealed: Annotated[bytes, Size(16_384)]


@wire_class("ResultQuery")
class ResultQuery:
    """Ask a node for a result again, after an absence."""

    job_id: Bytes32


class LeafStatus(IntEnum):
    """The claim of a leaf: paid work, a failure of the node, or a client's bad input."""

    OK = 0
    FAILED = 1
    CLIENT_FAULT = 2


@dataclass(frozen=True, slots=True)
class Leaf:
    """One job in a batch: amounts in wei, time in ms."""

    client: Address
    signer: Address
    index: U24
    details: Bytes32
    charge: U96
    bonus: U96
    actual_ms: U32
    result_hash: Bytes32
    output_commit: Bytes32
    receipt_hash: Bytes32
    status: U8

    @property
    def node(self) -> SumNode:
        """The leaf as a node of the sum tree."""
        return SumNode(leaf_hash(self), self.charge, self.bonus, self.actual_ms)


@dataclass(frozen=True, slots=True)
class SettledJob:
    """The signed papers of a job, which a seat will ask for: order, result, receipt and the salt of its commitment."""

    job_id: Bytes32
    assignment: Assignment
    details: JobDetails
    signature: Signature
    receipt: SignedReceipt | None
    result: Result
    salt: Bytes32


@dataclass(frozen=True, slots=True)
class LeafEntry:
    """A leaf with its papers. A number of the lane whose order never arrived has none, and charges nothing."""

    leaf: Leaf
    job: SettledJob | None


@dataclass(frozen=True, slots=True)
class LaneClaim:
    """The debit of a batch on one lane: sums in wei over its leaves, and the newest order that covers them."""

    client: Address
    signer: Address
    charge: U96
    bonus: U96
    cumulative: U96
    jobs: U24
    details: Bytes32
    signature: Signature
    leaves: U24


@dataclass(frozen=True, slots=True)
class LaneDebit:
    """The debit of a mined batch on one lane, in wei, for so many leaves; the last of them has number `index`."""

    client: Address
    signer: Address
    leaves: U24
    amount: U96
    index: U24


@dataclass(frozen=True, slots=True)
class BatchContents:
    """The part of a mined batch of which the chain keeps only the hash; later calls give it again.

    The debits stand in the order of the leaves; max_leaf is the largest charge, in wei.
    """

    root: Bytes32
    max_leaf: U96
    debits: tuple[LaneDebit, ...]


@dataclass(frozen=True, slots=True)
class BatchSums:
    """The sums of a mined batch over all its leaves: charges and bonuses in wei, time in ms, leaves by status."""

    charge: U96
    bonus: U96
    ms: U48
    ok_count: U24
    failed_count: U24


@dataclass(frozen=True, slots=True)
class Batch:
    """Jobs that a node settles together, as it goes on chain."""

    node: Address
    slot: U8
    class_id: U8
    uncalibrated: bool
    checked: bool
    """Whether its clients pay to have every leaf of it checked."""
    root: Bytes32
    price_sum: U96
    bonus_sum: U96
    ms_sum: U48
    ok_count: U24
    failed_count: U24
    max_leaf: U96
    mine_by: U40
    """When it is too late for a batch without receipts, in seconds since 1970; 0 for one with them."""
    claims: tuple[LaneClaim, ...]

    @property
    def unreceipted(self) -> bool:
        """Whether its paid leaves have no receipts."""
        return self.mine_by != 0

    @property
    def debits(self) -> tuple[int, ...]:
        """The debit of each of its lanes, in wei: charges, their fee, bonuses."""
        return tuple(debit_of(claim.charge, claim.bonus, checked=self.checked) for claim in self.claims)


def contents_hash(contents: BatchContents) -> bytes:
    """The chain's record of contents: the keccak of their ABI encoding; twin of ContentsLib."""
    return keccak(encode(["(bytes32,uint96,(address,address,uint24,uint96,uint24)[])"], [astuple(contents)]))


_values_of = attrgetter(*(field.name for field in fields(Leaf)))


def leaf_hash(leaf: Leaf) -> bytes:
    """keccak over the fields of a leaf; twin of LeafLib."""
    kinds = ["address", "address", "uint24", "bytes32", "uint96", "uint96", "uint32", "bytes32", "bytes32", "bytes32"]
    return keccak(encode([*kinds, "uint8"], _values_of(leaf)))


def output_commit(
    node: Address, job: JobId, class_id: int, result_hash: bytes, fingerprint_hash: bytes, blob_cid: bytes, salt: bytes
) -> bytes:
    """Binds everything that the node will have to open: 32 bytes, hiding by `salt`."""
    parts = (b"vcoin/output/1", address_bytes(node), job, class_id.to_bytes(2, "big"), result_hash, fingerprint_hash)
    return hashlib.sha256(b"".join((*parts, blob_cid, salt))).digest()


def leaf_of(order: AssignmentOrder, result: Result, delivered: int, receipt: Receipt | None) -> Leaf:
    """The leaf of a job that ended well.

    With a receipt its time and bonus count; without one the expected time stands and there is no bonus.
    """
    details, assignment = order.details, order.assignment
    charge = receipt.charge if receipt else charge_of(details.price, delivered, details.max_new_tokens)
    actual_ms = receipt.actual_ms if receipt else details.expected_ms
    bonus = bonus_of(charge, details.bonus_cap, actual_ms, details.expected_ms) if receipt else 0
    return Leaf(
        client=assignment.client,
        signer=assignment.signer,
        index=assignment.index,
        details=assignment.details,
        charge=charge,
        bonus=bonus,
        actual_ms=actual_ms,
        result_hash=result.result_hash,
        output_commit=result.output_commit,
        receipt_hash=struct_hash(receipt) if receipt else ZERO_HASH,
        status=LeafStatus.OK,
    )


def unpaid_leaf(assignment: Assignment, status: LeafStatus) -> Leaf:
    """The leaf of a job that gave nothing: it keeps its place in the lane and charges nothing."""
    leaf = missing_leaf(assignment.client, assignment.signer, assignment.index)
    return replace(leaf, details=assignment.details, status=status)


def mine_by(entry: LeafEntry) -> int:
    """When it is too late to bring a paid leaf without a receipt on chain, in seconds since 1970; 0 for any other.

    From then on its client may pay another node for the job.
    """
    job = entry.job
    if job is None or job.receipt is not None or entry.leaf.status != LeafStatus.OK:
        return 0
    return job.details.deadline + RETRY_AFTER_DEADLINE_S


def require_receipt(receipt: Receipt, result: Result, details: JobDetails, delivered: int) -> None:
    """Raises: Malformed if a receipt is not for this result or not for its price."""
    if receipt.job_id != result.job_id or receipt.result_hash != result.result_hash:
        raise Malformed("the receipt is for another result")
    if receipt.charge < charge_of(details.price, delivered, details.max_new_tokens) or receipt.charge > details.price:
        raise Malformed("the receipt charges too little")


def debit_of(charge: int, bonus: int, *, checked: bool = False) -> int:
    """The debit of a lane for charges and bonuses: the fee for checks comes on top, once for their sum. In wei."""
    return charge + verify_fee(charge, checked=checked) + bonus


def missing_leaf(client: Address, signer: Address, index: int) -> Leaf:
    """The leaf of an order that the lane counts but this node never saw."""
    return Leaf(client, signer, index, ZERO_HASH, 0, 0, 0, ZERO_HASH, ZERO_HASH, ZERO_HASH, LeafStatus.CLIENT_FAULT)


def claim_of(entries: list[LeafEntry]) -> LaneClaim:
    """The claim of one lane over its leaves in order of index; the last one has its papers."""
    newest = entries[-1].job
    assert newest is not None
    return LaneClaim(
        client=newest.assignment.client,
        signer=newest.assignment.signer,
        charge=sum(entry.leaf.charge for entry in entries),
        bonus=sum(entry.leaf.bonus for entry in entries),
        cumulative=newest.assignment.cumulative,
        jobs=newest.assignment.index,
        details=newest.assignment.details,
        signature=newest.signature,
        leaves=len(entries),
    )


def require_papers(entry: LeafEntry) -> None:
    """Raises: Malformed if a leaf is not the one that its papers give."""
    leaf, job = entry.leaf, entry.job
    if job is None:
        if leaf != missing_leaf(leaf.client, leaf.signer, leaf.index):
            raise Malformed("a leaf without papers must be empty")
        return
    assignment, receipt = job.assignment, job.receipt
    wrong = (
        (leaf.client, leaf.signer, leaf.index) != (assignment.client, assignment.signer, assignment.index)
        or leaf.details != assignment.details
        or assignment.details != struct_hash(job.details)
        or leaf.receipt_hash != (struct_hash(receipt.receipt) if receipt else ZERO_HASH)
        or (leaf.status == LeafStatus.OK and leaf.result_hash != job.result.result_hash)
        or (leaf.status == LeafStatus.OK and leaf.output_commit != job.result.output_commit)
    )
    if wrong:
        raise Malformed("a leaf contradicts its papers")


def batch_id(node: Address, slot: int, commit_block: int) -> BatchId:
    """The name of a mined batch, and of the case about it."""
    return BatchId(keccak(encode(["address", "uint256", "uint256"], [node, slot, commit_block])))
