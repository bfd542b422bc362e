"""Effects: the wishes of a role, imperative. An adapter performs each one, answers with one event, and may do it twice.

`about` of an effect is the job, batch or content that it is for: it names the effect in its failure.
"""

import hashlib

from protocol.effects.audits import *
from protocol.effects.containers import *
from protocol.effects.court import *
from protocol.effects.deadlines import *
from protocol.effects.fraud import *
from protocol.effects.peers import *
from protocol.effects.sealing import *
from protocol.effects.settlement import *
from protocol.stages.assignment import Assignment, LaneOpen
from protocol.stages.lane_notice import lane_open_id
from protocol.stages.request import Request
from protocol.wire.codec import encode_named
from protocol.wire.ids import address_bytes

PeerEffect = PublishHeartbeat | PublishRequest | Send | FetchBlob | FetchModel
SealingEffect = SealKey | OpenInput | SealFrame | OpenFrame | SealResult | OpenResult | OpenSample
ContainerEffect = RunContainer | StopContainer | ShortenRun | HoldContainers | ReplaySample
ChainEffect = SettlementEffect | CourtEffect | AuditEffect | FraudEffect
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
    if isinstance(effect, TryLane | ConfirmLane | LandLane):
        return lane_open_id(effect.order)
    if isinstance(effect, SignMessage):
        return _about_message(effect.message)
    if isinstance(effect, Send):
        return _job_of(effect.message)
    return b""


def _about_message(message: object) -> bytes:
    """Tells a message to sign from others of its kind, at most 32 bytes."""
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
