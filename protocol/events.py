"""What happened, past tense. Every event is either the answer to an effect of this node or a fact from outside.

Durable events are written to the journal before a role sees them; folding them again gives the same state, and so
every decision about a job rests on durable events alone. The others come again by themselves: beats, blocks, tokens.
"""

from typing import Annotated

from protocol.effects import Effect
from protocol.messages import Message, Signable
from protocol.params import MAX_ANSWER_BYTES, MAX_INLINE_BYTES, MAX_PROOF_BYTES
from protocol.stages.assignment import (
    Account,
    Lane,
    Refuse,
)
from protocol.stages.blob import ModelManifest
from protocol.stages.commitment import (
    BatchContents,
    BatchSums,
    TokenFrame,
)
from protocol.stages.execution import RunResult
from protocol.stages.heartbeat import DeviceStatus, Heartbeat
from protocol.stages.offer import NodeRecord, Offer
from protocol.stages.request import Request, SignedRequest
from protocol.stages.verification import (
    MAX_CHECK_BYTES,
    Calibration,
    Verdict,
)
from protocol.timers import Timer
from protocol.wire.codec import U8, U16, U24, U32, U40, U64, U96, U128, Bytes32, Signature, Size, Text
from protocol.wire.ids import Address, PeerId
from protocol.wire.names import wire_class


# --- time and this machine ------------------------------------------------------------------------------------------
@wire_class("Tick")
class Tick:
    """About a second has passed."""


@wire_class("DeadlinePassed")
class DeadlinePassed:
    """A timer that a role asked for has run out."""

    timer: Timer


@wire_class("DeviceReported")
class DeviceReported:
    """The executor measured this machine."""

    status: DeviceStatus


@wire_class("HpkeKeyRotated")
class HpkeKeyRotated:
    """The public key that content for this node is sealed to from now on."""

    public_key: Bytes32


@wire_class("ModelAdded")
class ModelAdded:
    """A model is in the content store, every file checked."""

    manifest: ModelManifest


@wire_class("JobAsked")
class JobAsked:
    """The user wants a job. The sealed input and its content key are already stored here.

    kind as in a Request; temperature in thousandths; max_price in wei for all tokens; deadline in seconds for all
    attempts; an empty sealed_input is in the store. `checked`: it is checked for certain, for half of the price more.
    """

    ask_id: Annotated[bytes, Size(16, exact=True)]
    manifest: Bytes32
    kind: U8
    max_new_tokens: U32
    temperature: U32
    input_cid: Bytes32
    input_bytes: U32
    content_key_hash: Bytes32
    max_price: U96
    max_memory: U64
    classes: U32
    timeout_ms: U32
    deadline: U40
    min_reputation: U16
    with_bonus: bool
    uncalibrated: bool
    checked: bool
    nonce: U64
    sealed_input: Annotated[bytes, Size(MAX_INLINE_BYTES)]


@wire_class("EffectFailed")
class EffectFailed:
    """An adapter gave up on an effect. `effect` is its class, `about` the job, batch or content it was for."""

    effect: type[Effect]
    about: Annotated[bytes, Size(32)]
    reason: Text
    transient: bool


# --- peers ----------------------------------------------------------------------------------------------------------
@wire_class("HeartbeatPublished")
class HeartbeatPublished:
    """The beat is on its way."""

    counter: U64


@wire_class("RequestPublished")
class RequestPublished:
    """The request is on its way."""

    request: Request


@wire_class("HeartbeatReceived")
class HeartbeatReceived:
    """A registered node's beat; `peer_id` is the id of its operator key, not of the peer that relayed it."""

    peer_id: PeerId
    heartbeat: Heartbeat


@wire_class("RequestReceived")
class RequestReceived:
    """A request was gossiped; its signature is not checked yet."""

    signed: SignedRequest


@wire_class("MessageReceived")
class MessageReceived:
    """A peer, known by its connection, sent a message; signatures inside are not checked yet."""

    peer_id: PeerId
    message: Message


@wire_class("MessageSent")
class MessageSent:
    """A message was acknowledged by its receiver after `round_trip_ms`."""

    peer_id: PeerId
    round_trip_ms: U32


@wire_class("MessageUnanswered")
class MessageUnanswered:
    """A connected peer did not acknowledge a message in time."""

    peer_id: PeerId


@wire_class("BlobFetched")
class BlobFetched:
    """A blob is in the content store."""

    cid: Bytes32


# --- wallet and sealing ---------------------------------------------------------------------------------------------
@wire_class("MessageSigned")
class MessageSigned:
    """Our own signature: in the journal before it leaves the machine."""

    message: Signable
    signature: Signature


@wire_class("KeySealed")
class KeySealed:
    """The content key of an input, sealed to one node."""

    input_cid: Bytes32
    hpke_key: Bytes32
    sealed_key: Annotated[bytes, Size(128)]


@wire_class("InputOpened")
class InputOpened:
    """The input of a job lies in its workspace, its hash and key as the assignment says."""

    job_id: Bytes32


@wire_class("FrameSealed")
class FrameSealed:
    """Streamed tokens, ready to be sent."""

    job_id: Bytes32
    seq: U32
    sealed: Annotated[bytes, Size(16_384)]


@wire_class("FrameOpened")
class FrameOpened:
    """Streamed tokens of one of our requests."""

    job_id: Bytes32
    seq: U32
    ids: tuple[U32, ...]


@wire_class("ResultSealed")
class ResultSealed:
    """result.json of a job, sealed to its client; `salt` hides the output commitment."""

    job_id: Bytes32
    blob_cid: Bytes32
    sealed_result: Annotated[bytes, Size(MAX_INLINE_BYTES)]
    salt: Bytes32


@wire_class("ResultOpened")
class ResultOpened:
    """A result that we paid for was opened and validated; `problem` says why it is not accepted, or is empty."""

    job_id: Bytes32
    result_hash: Bytes32
    new_tokens: U32
    finish: Text
    problem: Text


@wire_class("SampleOpened")
class SampleOpened:
    """A drawn leaf's content lies in our workspace; `problem` says what about it contradicts its leaf, or is empty.

    new_tokens: the hidden states that a check of it has, one for each token or for each text that was read.
    """

    batch_id: Bytes32
    leaf_index: U24
    new_tokens: U32
    problem: Text


# --- containers -----------------------------------------------------------------------------------------------------
@wire_class("TokensProduced")
class TokensProduced:
    """A container produced tokens."""

    job_id: Bytes32
    ids: tuple[U32, ...]


@wire_class("ContainerExited")
class ContainerExited:
    """A job's container ended and is gone; its result.json lies in the workspace, `proof` is its fingerprint."""

    job_id: Bytes32
    result: RunResult
    proof: Annotated[bytes, Size(MAX_PROOF_BYTES)]


@wire_class("SampleReplayed")
class SampleReplayed:
    """Our own pass over a drawn leaf: check.bin, or the problem that there is none."""

    batch_id: Bytes32
    leaf_index: U24
    check: Annotated[bytes, Size(MAX_CHECK_BYTES)]
    problem: Text


# --- chain: answers to our transactions -----------------------------------------------------------------------------
@wire_class("TransactionMined")
class TransactionMined:
    """A transaction of ours, or one that did the same, is in a block. `effect` and `about` as in EffectFailed."""

    effect: type[Effect]
    about: Annotated[bytes, Size(32)]
    block: U64


@wire_class("BatchMined")
class BatchMined:
    """A batch of ours is in a block."""

    batch_id: Bytes32
    slot: U8
    block: U64
    root: Bytes32


# --- chain: what the watcher saw at final depth ---------------------------------------------------------------------
@wire_class("BlockSeen")
class BlockSeen:
    """A new head; `final` is the newest block that counts as final, time in seconds."""

    head: U64
    final: U64
    timestamp: U40


@wire_class("NodeSeen")
class NodeSeen:
    """A node's record changed."""

    record: NodeRecord


@wire_class("LaneSeen")
class LaneSeen:
    """A lane changed."""

    lane: Lane


@wire_class("AccountSeen")
class AccountSeen:
    """A client's free balance changed."""

    account: Account


@wire_class("CalibrationSeen")
class CalibrationSeen:
    """Params has noise constants for a model on a device class."""

    manifest: Bytes32
    class_id: U16
    calibration: Calibration


@wire_class("BatchSubmitted")
class BatchSubmitted:
    """Some node's batch is final on chain; `lane_jobs` is each debited lane's job count after it."""

    batch_id: Bytes32
    node: Address
    slot: U8
    class_id: U16
    block: U64
    timestamp: U40
    rate_bps: U16
    leaf_count: U24
    unreceipted: bool
    uncalibrated: bool
    checked: bool
    sums: BatchSums
    contents: BatchContents
    lane_jobs: tuple[U24, ...]


@wire_class("SeedRevealed")
class SeedRevealed:
    """An epoch's seed is stored: its batches are drawn."""

    epoch: U64
    seed: Bytes32


@wire_class("CaseConvened")
class CaseConvened:
    """A court sits over a batch: the drawn leaves and the seats, in order."""

    batch_id: Bytes32
    node: Address
    slot: U8
    class_id: U16
    drawn: tuple[U24, ...]
    seats: tuple[Address, ...]
    timestamp: U40


@wire_class("SeatAdded")
class SeatAdded:
    """A case grew by a seat: `node` sits on it from `timestamp` on."""

    batch_id: Bytes32
    seat: U8
    node: Address
    timestamp: U40


@wire_class("SeatSilenced")
class SeatSilenced:
    """A seat let its turn pass: it no longer counts."""

    batch_id: Bytes32
    seat: U8
    node: Address


@wire_class("SeatCommitted")
class SeatCommitted:
    """A seat posted its commitment."""

    batch_id: Bytes32
    seat: U8


@wire_class("SeatRevealed")
class SeatRevealed:
    """A seat revealed its scores, one a drawn leaf, in basis points, and the digest of what it had computed.

    `evidence`: what it says of the margins, in thousandths of a nat.
    """

    batch_id: Bytes32
    seat: U8
    node: Address
    scores: tuple[U16, ...]
    digest: Bytes32
    evidence: int = 0


@wire_class("CaseGrown")
class CaseGrown:
    """A case goes on with a larger bench: the seats from `first_seat` on, each told by a SeatAdded, decide alone."""

    batch_id: Bytes32
    round: U8
    first_seat: U8
    standing: Verdict
    median: U16


@wire_class("CaseDecided")
class CaseDecided:
    """Seats agree on fraud; it has consequences if no appeal came `until` then, in seconds of the chain."""

    batch_id: Bytes32
    verdict: Verdict
    median: U16
    until: U40


@wire_class("DataDemanded")
class DataDemanded:
    """A seat wants a drawn leaf opened on chain, its content key sealed to `hpke_key`, until then in chain seconds."""

    batch_id: Bytes32
    seat: U8
    leaf_index: U24
    hpke_key: Bytes32
    until: U40


@wire_class("DataAnswered")
class DataAnswered:
    """The node has shown on chain what a seat asked for; every turn begins anew at `timestamp`."""

    batch_id: Bytes32
    data: Annotated[bytes, Size(MAX_ANSWER_BYTES)]
    timestamp: U40


@wire_class("CaseResolved")
class CaseResolved:
    """A case ended with a verdict, in this block; `median` in basis points."""

    batch_id: Bytes32
    verdict: Verdict
    median: U16
    block: U64


@wire_class("AuditConvened")
class AuditConvened:
    """A case that passed is checked once more, and who sat in it: by these nodes, from `timestamp` on."""

    batch_id: Bytes32
    node: Address
    auditors: tuple[Address, ...]
    timestamp: U40


@wire_class("AuditNotDrawn")
class AuditNotDrawn:
    """A case that passed is not audited, or by others: this node has nothing to convene."""

    batch_id: Bytes32


@wire_class("AuditCommitted")
class AuditCommitted:
    """An auditor has bound itself to what it found."""

    batch_id: Bytes32
    auditor: U8


@wire_class("AuditRevealed")
class AuditRevealed:
    """An auditor has said what it found."""

    batch_id: Bytes32
    auditor: U8


@wire_class("AuditEnded")
class AuditEnded:
    """The seats that an audit has caught; `fraud`: its node was condemned as well."""

    batch_id: Bytes32
    caught: tuple[U8, ...]
    fraud: bool


@wire_class("BatchSettled")
class BatchSettled:
    """A batch is final and paid; amounts in wei."""

    batch_id: Bytes32
    node: Address
    price: U128
    burned: U128
    reward: U128
    bonus: U128
    pooled: U128


@wire_class("BatchChallenged")
class BatchChallenged:
    """A client has put up a bond to have a batch checked with all its leaves, for the one at `position`."""

    batch_id: Bytes32
    node: Address
    client: Address
    position: U24


@wire_class("BatchVoided")
class BatchVoided:
    """A batch is void: its clients get their money back."""

    batch_id: Bytes32
    node: Address


@wire_class("BatchRefunded")
class BatchRefunded:
    """The money of a void batch is back in its lanes and accounts: `amount` wei of what they were debited."""

    batch_id: Bytes32
    node: Address
    amount: U96


@wire_class("NodeSlashed")
class NodeSlashed:
    """A node lost stake; amount in wei."""

    node: Address
    amount: U128
    batch_id: Bytes32


@wire_class("IntakeStopped")
class IntakeStopped:
    """The network takes no new nodes, lanes and batches before `until`, in seconds; 0: it takes them again."""

    until: U40


@wire_class("OrderRefused")
class OrderRefused:
    """An order that this node turns away as it comes, for a RefuseCode: only its sender need know of it."""

    peer_id: PeerId
    job_id: Bytes32
    offer_hash: Bytes32
    reply_to: Text
    code: U16


Durable = (
    DeadlinePassed
    | JobAsked
    | EffectFailed
    | RequestPublished
    | MessageReceived
    | HpkeKeyRotated
    | ModelAdded
    | NodeSeen
    | LaneSeen
    | AccountSeen
    | CalibrationSeen
    | BlobFetched
    | MessageSigned
    | KeySealed
    | InputOpened
    | ResultSealed
    | ResultOpened
    | SampleOpened
    | ContainerExited
    | SampleReplayed
    | TransactionMined
    | BatchMined
    | BatchSubmitted
    | SeedRevealed
    | CaseConvened
    | SeatAdded
    | SeatSilenced
    | SeatCommitted
    | SeatRevealed
    | CaseGrown
    | CaseDecided
    | DataDemanded
    | DataAnswered
    | CaseResolved
    | AuditConvened
    | AuditNotDrawn
    | AuditCommitted
    | AuditRevealed
    | AuditEnded
    | BatchSettled
    | BatchChallenged
    | BatchVoided
    | BatchRefunded
    | NodeSlashed
    | IntakeStopped
)
"""Journalled before they are handled."""

Fleeting = (
    Tick
    | DeviceReported
    | HeartbeatPublished
    | HeartbeatReceived
    | RequestReceived
    | OrderRefused
    | MessageSent
    | MessageUnanswered
    | FrameSealed
    | FrameOpened
    | TokensProduced
    | BlockSeen
)
"""Handled and forgotten; so are TokenFrame messages, and signed offers and refusals: they promise nothing."""

Event = Durable | Fleeting


def is_durable(event: Event) -> bool:
    """Whether the journal keeps it."""
    if isinstance(event, MessageReceived):
        return not isinstance(event.message, TokenFrame)
    if isinstance(event, MessageSigned):
        return not isinstance(event.message, Offer | Refuse)
    return isinstance(event, Durable)
