"""Events of this node's keys: signed, sealed and opened."""

from typing import Annotated

from protocol.messages import Signable
from protocol.params import MAX_INLINE_BYTES
from protocol.wire.codec import U24, U32, Bytes32, Signature, Size, Text
from protocol.wire.names import wire_class


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
