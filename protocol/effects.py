"""What a role wants, imperative. An adapter performs each one and answers with one event; each is safe to do twice.

`about` of an effect is the job, batch or content that it is for: it names the effect in its failure.
"""

import hashlib
from typing import Annotated

from protocol.judging.fraud_proofs import Lie, OpenedLeaf, Papers
from protocol.messages import Message, Signable
from protocol.params import MAX_ANSWER_BYTES, MAX_INLINE_BYTES
from protocol.stages.assignment import Assignment, LaneOpen
from protocol.stages.commitment import (
    Batch,
    BatchContents,
    SettledJob,
)
from protocol.stages.execution import RunSpec
from protocol.stages.heartbeat import Heartbeat
from protocol.stages.request import Request, SignedRequest
from protocol.timers import Timer
from protocol.wire.codec import U8, U16, U24, U32, U64, Bytes32, Signature, Size, Text, encode_named
from protocol.wire.ids import Address, PeerId, address_bytes
from protocol.wire.names import wire_class


# --- time -----------------------------------------------------------------------------------------------------------
@wire_class("AwaitDeadline")
class AwaitDeadline:
    """> driver > DeadlinePassed, at `at_ms` or at once where that has passed."""

    timer: Timer
    at_ms: U64


# --- peers ----------------------------------------------------------------------------------------------------------
@wire_class("PublishHeartbeat")
class PublishHeartbeat:
    """> p2p/gossip > HeartbeatPublished here, HeartbeatReceived elsewhere."""

    heartbeat: Heartbeat


@wire_class("PublishRequest")
class PublishRequest:
    """> p2p/gossip > RequestPublished here, RequestReceived elsewhere."""

    signed: SignedRequest


@wire_class("Send")
class Send:
    """> p2p/calls > MessageSent here, MessageReceived there. `to` is a peer id or a multiaddr that ends in one."""

    to: Text
    message: Message


@wire_class("FetchBlob")
class FetchBlob:
    """> p2p/blobs > BlobFetched: into the content store, from any of the peers, checked against its hash."""

    cid: Bytes32
    peers: tuple[PeerId, ...]


@wire_class("FetchModel")
class FetchModel:
    """> p2p/blobs > ModelAdded: its manifest and every file of it."""

    manifest: Bytes32
    peers: tuple[PeerId, ...]


# --- wallet and sealing ---------------------------------------------------------------------------------------------
@wire_class("SignMessage")
class SignMessage:
    """> chain/tx/signer > MessageSigned, by the operator key or the client's signer, as the kind of message says."""

    message: Signable


@wire_class("SealKey")
class SealKey:
    """> node/sealing > KeySealed: our content key of an input, for one node."""

    input_cid: Bytes32
    hpke_key: Bytes32


@wire_class("OpenInput")
class OpenInput:
    """> node/sealing > InputOpened: key and input of an assignment, checked and put into the job's workspace.

    An empty `sealed_input` lies in the content store under its id.
    """

    job_id: Bytes32
    input_cid: Bytes32
    content_key_hash: Bytes32
    sealed_key: Annotated[bytes, Size(128)]
    sealed_input: Annotated[bytes, Size(MAX_INLINE_BYTES)]


@wire_class("SealFrame")
class SealFrame:
    """> node/sealing > FrameSealed."""

    job_id: Bytes32
    input_cid: Bytes32
    seq: U32
    ids: tuple[U32, ...]


@wire_class("OpenFrame")
class OpenFrame:
    """> node/sealing > FrameOpened."""

    job_id: Bytes32
    input_cid: Bytes32
    seq: U32
    sealed: Annotated[bytes, Size(16_384)]


@wire_class("SealResult")
class SealResult:
    """> node/sealing > ResultSealed: result.json of the job's workspace."""

    job_id: Bytes32
    input_cid: Bytes32


@wire_class("OpenResult")
class OpenResult:
    """> node/sealing > ResultOpened: opened, validated, and kept for the user."""

    job_id: Bytes32
    input_cid: Bytes32
    manifest: Bytes32
    kind: U8
    max_new_tokens: U32
    blob_cid: Bytes32
    sealed_result: Annotated[bytes, Size(MAX_INLINE_BYTES)]


@wire_class("OpenSample")
class OpenSample:
    """> node/sealing > SampleOpened: a drawn leaf's key, input and result, into a workspace of the case."""

    batch_id: Bytes32
    leaf_index: U24
    job: SettledJob
    sealed_key: Annotated[bytes, Size(128)]
    sealed_input: Annotated[bytes, Size(MAX_INLINE_BYTES)]
    sealed_result: Annotated[bytes, Size(MAX_INLINE_BYTES)]


# --- containers -----------------------------------------------------------------------------------------------------
@wire_class("RunContainer")
class RunContainer:
    """> executor/containers > TokensProduced any number of times, then ContainerExited."""

    spec: RunSpec


@wire_class("StopContainer")
class StopContainer:
    """> executor/containers > ContainerExited, and another one in answer to its RunContainer: it is not wanted now."""

    job_id: Bytes32


@wire_class("ReplaySample")
class ReplaySample:
    """> executor/replay > SampleReplayed: one teacher-forced pass over a drawn leaf."""

    batch_id: Bytes32
    leaf_index: U24
    spec: RunSpec


# --- chain ----------------------------------------------------------------------------------------------------------
@wire_class("OpenLane")
class OpenLane:
    """> chain/settlement > TransactionMined, and LaneSeen at final depth."""

    order: LaneOpen
    signature: Signature


@wire_class("SubmitBatch")
class SubmitBatch:
    """> chain/settlement > BatchMined, and BatchSubmitted at final depth."""

    batch: Batch


@wire_class("SealEpoch")
class SealEpoch:
    """> chain/beacon > TransactionMined, and SeedRevealed at final depth."""

    epoch: U64


@wire_class("ConveneCourt")
class ConveneCourt:
    """> chain/court > TransactionMined, and CaseConvened at final depth."""

    batch_id: Bytes32
    node: Address
    slot: U8
    contents: BatchContents


@wire_class("CommitSeat")
class CommitSeat:
    """> chain/court > TransactionMined, and SeatCommitted at final depth."""

    batch_id: Bytes32
    seat: U8
    commitment: Bytes32


@wire_class("RevealSeat")
class RevealSeat:
    """> chain/court > TransactionMined, and SeatRevealed at final depth."""

    batch_id: Bytes32
    seat: U8
    digest: Bytes32
    scores: tuple[U16, ...]
    salt: Bytes32
    evidence: int = 0
    """What the margins of all drawn leaves say, in thousandths of a nat; see stages/margins."""


@wire_class("AbstainSeat")
class AbstainSeat:
    """> chain/court > TransactionMined, SeatSilenced and SeatAdded: this node steps down for the next of the order."""

    batch_id: Bytes32
    seat: U8
    contents: BatchContents


@wire_class("ReplaceSeat")
class ReplaceSeat:
    """> chain/court > TransactionMined, and SeatAdded: the next of the order for a seat that stayed silent."""

    batch_id: Bytes32
    seat: U8
    contents: BatchContents


@wire_class("ResolveCase")
class ResolveCase:
    """> chain/court > TransactionMined, and SeatAdded, CaseGrown, CaseDecided or CaseResolved."""

    batch_id: Bytes32
    contents: BatchContents


@wire_class("ConveneAudit")
class ConveneAudit:
    """> chain/audits > TransactionMined and AuditConvened, or AuditNotDrawn: this node would be one of the auditors."""

    batch_id: Bytes32
    node: Address
    slot: U8
    contents: BatchContents
    auditor: Address


@wire_class("CommitAudit")
class CommitAudit:
    """> chain/audits > TransactionMined, and AuditCommitted."""

    batch_id: Bytes32
    auditor: U8
    commitment: Bytes32


@wire_class("RevealAudit")
class RevealAudit:
    """> chain/audits > TransactionMined, and AuditRevealed: the seats that did not compute, and the batch's score."""

    batch_id: Bytes32
    auditor: U8
    off: tuple[U8, ...]
    score: U16
    salt: Bytes32


@wire_class("CloseAudit")
class CloseAudit:
    """> chain/audits > TransactionMined, and AuditEnded."""

    batch_id: Bytes32


@wire_class("DemandData")
class DemandData:
    """> chain/court > TransactionMined, and DataDemanded: a drawn leaf is to be shown to everybody.

    Its content key is to be sealed to `hpke_key`. Done as well where another seat was faster: a case has one demand.
    """

    batch_id: Bytes32
    seat: U8
    leaf_index: U24
    hpke_key: Bytes32


@wire_class("AnswerDemand")
class AnswerDemand:
    """> chain/court > TransactionMined, and DataAnswered: what a seat asked for, for all to see."""

    batch_id: Bytes32
    data: Annotated[bytes, Size(MAX_ANSWER_BYTES)]


@wire_class("ProveFraud")
class ProveFraud:
    """> chain/fraud_proofs > TransactionMined, CaseResolved and BatchVoided: code alone condemns what a batch shows.

    Several leaves only for MISCOUNTED, by their places.
    """

    batch_id: Bytes32
    node: Address
    slot: U8
    contents: BatchContents
    lie: Lie
    leaves: tuple[OpenedLeaf, ...]
    papers: Papers


@wire_class("VoidStarved")
class VoidStarved:
    """> chain/court > TransactionMined, and BatchVoided: the batch was not judged in time."""

    batch_id: Bytes32
    node: Address
    slot: U8
    contents: BatchContents


@wire_class("FinalizeBatch")
class FinalizeBatch:
    """> chain/settlement > TransactionMined, and BatchSettled."""

    batch_id: Bytes32
    node: Address
    slot: U8


@wire_class("RefundBatch")
class RefundBatch:
    """> chain/settlement > TransactionMined, and BatchRefunded."""

    batch_id: Bytes32
    node: Address
    slot: U8
    contents: BatchContents


@wire_class("ChallengeLeaf")
class ChallengeLeaf:
    """> chain/fraud_proofs > TransactionMined, and BatchChallenged: a batch is checked, for a bond of its client."""

    batch_id: Bytes32
    node: Address
    slot: U8
    contents: BatchContents
    position: U24


@wire_class("EndChallenge")
class EndChallenge:
    """> chain/fraud_proofs > TransactionMined: the bond goes back, or to the pool where the batch had passed."""

    batch_id: Bytes32
    node: Address
    slot: U8
    block: U64


@wire_class("CheckIn")
class CheckIn:
    """> chain/stakes > TransactionMined: this node was up today."""

    node: Address
    day: U32


PeerEffect = PublishHeartbeat | PublishRequest | Send | FetchBlob | FetchModel
SealingEffect = SealKey | OpenInput | SealFrame | OpenFrame | SealResult | OpenResult | OpenSample
ContainerEffect = RunContainer | StopContainer | ReplaySample
ChainEffect = (
    OpenLane
    | SubmitBatch
    | SealEpoch
    | ConveneCourt
    | CommitSeat
    | RevealSeat
    | AbstainSeat
    | ReplaceSeat
    | ResolveCase
    | ConveneAudit
    | CommitAudit
    | RevealAudit
    | CloseAudit
    | DemandData
    | AnswerDemand
    | ProveFraud
    | VoidStarved
    | FinalizeBatch
    | RefundBatch
    | ChallengeLeaf
    | EndChallenge
    | CheckIn
)
WalletEffect = SignMessage
Effect = AwaitDeadline | PeerEffect | SealingEffect | ContainerEffect | ChainEffect | WalletEffect


def effect_key(effect: Effect) -> bytes:
    """Names an effect by its content, 16 bytes: the same wish again is the same effect."""
    return hashlib.blake2b(encode_named(effect), digest_size=16).digest()


def about(effect: Effect) -> bytes:
    """The job, batch, content, epoch or lane's node that an effect is for, at most 32 bytes; empty for none."""
    for field in ("job_id", "batch_id", "input_cid", "cid", "manifest"):
        value = getattr(effect, field, None)
        if isinstance(value, bytes):
            return value
    if isinstance(effect, RunContainer):
        return effect.spec.job_id
    if isinstance(effect, SubmitBatch):
        return effect.batch.root
    if isinstance(effect, SealEpoch):
        return effect.epoch.to_bytes(8, "big")
    if isinstance(effect, OpenLane):
        return address_bytes(effect.order.node)
    if isinstance(effect, SignMessage):
        return _about_message(effect.message)
    if isinstance(effect, Send):
        return _job_of(effect.message)
    return b""


def _about_message(message: object) -> bytes:
    """What tells a message that is to be signed from others of its kind, at most 32 bytes."""
    match message:
        case Request(nonce=nonce):
            return nonce.to_bytes(8, "big")
        case LaneOpen(node=node):
            return address_bytes(node)
        case Assignment(details=details):
            return details
        case _:
            return _job_of(message)


def _job_of(message: object) -> bytes:
    for holder in (message, getattr(message, "accept", None), getattr(message, "result", None)):
        for field in ("job_id", "batch_id"):
            value = getattr(holder, field, None)
            if isinstance(value, bytes):
                return value
    return b""
