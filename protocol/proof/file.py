"""The file: what it holds, and its one form as JSON. docs/verify.md describes it for people.

A part that is not there yet, or that its writer does not have, is left out. Amounts in wei, scores in basis points,
times in seconds unless a name says otherwise.
"""

from dataclasses import dataclass
from typing import Annotated

from protocol.params import MAX_FINGERPRINT_BYTES, MAX_INPUT_BYTES
from protocol.stages.assignment import Assignment, JobDetails, SignedAccept
from protocol.stages.blob import ModelManifest
from protocol.stages.commitment import BatchContents, BatchSums, Leaf, Result, SignedReceipt
from protocol.stages.offer import Offer
from protocol.stages.request import Request
from protocol.stages.verification import Calibration, Verdict
from protocol.wire.codec import U8, U16, U24, U32, U40, U64, U96, U128, Bytes32, Signature, Size
from protocol.wire.document import Document, read, write
from protocol.wire.envelope import Domain
from protocol.wire.ids import Address
from protocol.wire.merkle import SumNode

VERSION = 1
MAX_FILE_BYTES = 24 * 2**20
"""An input of the largest size in hex, and room for the rest; without content a file has some ten kilobytes."""
MAX_RESULT_BYTES = 2**20
"""A result.json of as many tokens as an answer may have is a tenth of it."""
MAX_LISTED = 1_024
"""Verifiers that a file lists; of a longer list it says nothing, and who sat is then not drawn again here."""


@dataclass(frozen=True, slots=True)
class Place:
    """The network: where signatures count, and how its epochs go, in blocks."""

    chain_id: U64
    settlement: Address
    epoch_blocks: U32
    lag_blocks: U32

    @property
    def domain(self) -> Domain:
        """The domain of the signatures."""
        return Domain(self.chain_id, self.settlement)


@dataclass(frozen=True, slots=True)
class Worker:
    """The node that did the job: its id, its owner, and the key that signed for it."""

    node: Address
    owner: Address
    operator: Address


@dataclass(frozen=True, slots=True)
class ResultPaper:
    """A Result with its operator's signature."""

    result: Result
    signature: Signature


@dataclass(frozen=True, slots=True)
class JobPapers:
    """The messages that both sides signed. The last two open the output's commitment; the requester lacks them."""

    request: Request
    request_signature: Signature
    offer: Offer
    offer_signature: Signature
    order: Assignment
    order_signature: Signature
    details: JobDetails
    promise: SignedAccept | None = None
    result: ResultPaper | None = None
    receipt: SignedReceipt | None = None
    fingerprint_hash: Bytes32 | None = None
    salt: Bytes32 | None = None


@dataclass(frozen=True, slots=True)
class LeafPath:
    """The job as the batch has it: its place, and the siblings up to the root; the last only where they are known."""

    position: U24
    leaf: Leaf
    siblings: tuple[SumNode, ...] | None = None


@dataclass(frozen=True, slots=True)
class BatchPaper:
    """The batch as the chain stored it. score: of the node at that block, in hundredths, which its pay goes by."""

    batch_id: Bytes32
    slot: U8
    class_id: U8
    block: U64
    timestamp: U40
    rate_bps: U16
    leaf_count: U24
    unreceipted: bool
    uncalibrated: bool
    checked: bool
    fee: U96
    score: U16
    sums: BatchSums
    contents: BatchContents
    contents_hash: Bytes32


@dataclass(frozen=True, slots=True)
class DrawPaper:
    """The draw: by the hash of the seed block, at a rate that a challenge or an accusation may have raised."""

    epoch: U64
    seed_block: U64
    rearmed: bool
    seed: Bytes32
    rate_bps: U16
    leaves: tuple[U24, ...]


@dataclass(frozen=True, slots=True)
class SeatPaper:
    """A seat, in the order of the case: what it bound itself to, and what it then showed; scores, one a drawn leaf.

    silent: it was replaced, or has stepped down. llr_millinats: what it said of the margins, in thousandths of a nat.
    """

    node: Address
    silent: bool
    commitment: Bytes32 | None = None
    digest: Bytes32 | None = None
    salt: Bytes32 | None = None
    scores: tuple[U16, ...] | None = None
    llr_millinats: int | None = None


@dataclass(frozen=True, slots=True)
class MarginPaper:
    """The case's last addition to the sequential test of its node, and the sums after it, in thousandths of a nat."""

    llr_millinats: int
    told: U32
    confirmed: U32


@dataclass(frozen=True, slots=True)
class Finding:
    """The finding of a round of seats: verdict and median, before the case went on."""

    verdict: Verdict
    median: U16


@dataclass(frozen=True, slots=True)
class Listed:
    """A place in the verifier list, and who owns and operates the node."""

    node: Address
    owner: Address
    operator: Address
    from_block: U64
    until_block: U64
    weight_bps: U16


@dataclass(frozen=True, slots=True)
class CasePaper:
    """The case about the batch.

    first_seat: of the second round, whose seats decide alone, where there was one; found: by the round before it, or
    before arbiters, an appeal or a demand for data. proven: code, or an audit, has condemned the batch. verdict and
    median: the last word, where there is one.
    """

    seats: tuple[SeatPaper, ...]
    appealed: bool
    arbiters: bool
    demanded: bool
    answered: bool
    proven: bool
    found: Finding | None = None
    first_seat: U8 | None = None
    verdict: Verdict | None = None
    median: U16 | None = None
    margin: MarginPaper | None = None
    verifiers: tuple[Listed, ...] | None = None


@dataclass(frozen=True, slots=True)
class PayPaper:
    """How the batch ended: paid, by the split of its charges, or given back to its clients."""

    price: U128 | None = None
    burned: U128 | None = None
    reward: U128 | None = None
    bonus: U128 | None = None
    pooled: U128 | None = None
    refunded: U128 | None = None


@dataclass(frozen=True, slots=True)
class Step:
    """A log of the chain about the batch: its name, its transaction and its block."""

    event: Annotated[str, Size(32)]
    transaction: Bytes32
    block: U64


@dataclass(frozen=True, slots=True)
class NoisePaper:
    """The row of the calibration table that the seats' scores go by."""

    calibration: Calibration
    act_weights_hash: Bytes32
    margin_scores_hash: Bytes32


@dataclass(frozen=True, slots=True)
class ContentPaper:
    """Question and answer in the clear: each reader of the file can read it, and the key opens all of it."""

    key: Bytes32
    input: Annotated[bytes, Size(MAX_INPUT_BYTES)]
    result: Annotated[bytes, Size(MAX_RESULT_BYTES)] | None = None
    fingerprint: Annotated[bytes, Size(MAX_FINGERPRINT_BYTES)] | None = None


@dataclass(frozen=True, slots=True)
class Proof:
    """A job, as far as it has come."""

    v: U8
    place: Place
    worker: Worker
    papers: JobPapers
    leaf: LeafPath | None = None
    batch: BatchPaper | None = None
    draw: DrawPaper | None = None
    case: CasePaper | None = None
    pay: PayPaper | None = None
    steps: tuple[Step, ...] | None = None
    noise: NoisePaper | None = None
    model: ModelManifest | None = None
    content: ContentPaper | None = None

    def encode(self) -> bytes:
        """The file."""
        return write(self)


def read_proof(data: bytes) -> Document[Proof]:
    """A proof that came from anywhere, and the members in it that this version does not know.

    Raises: TooLarge, Malformed.
    """
    return read(Proof, data, MAX_FILE_BYTES, VERSION)
