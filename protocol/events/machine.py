"""Events of this machine: time, its user, its devices, and effects that failed."""

from typing import Annotated

from protocol.effects import Effect
from protocol.params import MAX_INLINE_BYTES
from protocol.stages.blob import ModelManifest
from protocol.stages.heartbeat import DeviceStatus
from protocol.timers import Timer
from protocol.wire.codec import U8, U16, U32, U40, U64, U96, Bytes32, Size, Text
from protocol.wire.names import wire_class


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


@wire_class("ModelRemoved")
class ModelRemoved:
    """A model is whole in the content store no more."""

    manifest: Bytes32


@wire_class("RoomReported")
class RoomReported:
    """The models, of those described in the content store, that it has no room for: they cannot be fetched now."""

    lacking: tuple[Bytes32, ...]


@wire_class("JobAsked")
class JobAsked:
    """The user wants a job. The sealed input and its content key are already stored here.

    kind as in a Request; temperature as in JobDetails; max_price in wei for all tokens; deadline in seconds for all
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


@wire_class("JobStopAsked")
class JobStopAsked:
    """The user wants no more of a job. written: its tokens that had come by then, which no journal keeps."""

    ask_id: Annotated[bytes, Size(16, exact=True)]
    written: U32


@wire_class("EffectFailed")
class EffectFailed:
    """An adapter gave up on an effect. `effect` is its class, `about` the job, batch or content it was for."""

    effect: type[Effect]
    about: Annotated[bytes, Size(32)]
    reason: Text
    transient: bool
