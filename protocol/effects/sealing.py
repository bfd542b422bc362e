"""Effects of this node's keys: to sign, to seal and to open."""

from dataclasses import dataclass
from typing import Annotated

from protocol.messages import Signable
from protocol.params import MAX_INLINE_BYTES
from protocol.stages.commitment import SettledJob
from protocol.wire.codec import U8, U24, U32, Bytes32, Size
from protocol.wire.names import wire_class


@wire_class("SignMessage")
class SignMessage:
    """> chain/tx/signer > MessageSigned, by the operator key or the client's signer, as the kind of message says."""

    message: Signable


@wire_class("SealKey")
class SealKey:
    """> node/sealing > KeySealed: our content key of an input, for one node."""

    input_cid: Bytes32
    hpke_key: Bytes32


@dataclass(frozen=True, slots=True)
class _ForInput:
    """About a job, and the input that its content key belongs to."""

    job_id: Bytes32
    input_cid: Bytes32


@wire_class("OpenInput")
class OpenInput(_ForInput):
    """> node/sealing > InputOpened: key and input of an assignment, checked and put into the job's workspace.

    An empty `sealed_input` lies in the content store under its id.
    """

    content_key_hash: Bytes32
    sealed_key: Annotated[bytes, Size(128)]
    sealed_input: Annotated[bytes, Size(MAX_INLINE_BYTES)]


@wire_class("SealFrame")
class SealFrame(_ForInput):
    """> node/sealing > FrameSealed."""

    seq: U32
    ids: tuple[U32, ...]


@wire_class("OpenFrame")
class OpenFrame(_ForInput):
    """> node/sealing > FrameOpened."""

    seq: U32
    sealed: Annotated[bytes, Size(16_384)]


@wire_class("SealResult")
class SealResult(_ForInput):
    """> node/sealing > ResultSealed: result.json of the job's workspace."""


@wire_class("OpenResult")
class OpenResult(_ForInput):
    """> node/sealing > ResultOpened: opened, validated, and kept for the user."""

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
