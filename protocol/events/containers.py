"""Events of containers."""

from typing import Annotated

from protocol.params import MAX_FINGERPRINT_BYTES
from protocol.stages.execution import RunResult
from protocol.stages.verification import MAX_CHECK_BYTES
from protocol.wire.codec import U24, U32, Bytes32, Size, Text
from protocol.wire.names import wire_class


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
    fingerprint: Annotated[bytes, Size(MAX_FINGERPRINT_BYTES)]


@wire_class("RunShortened")
class RunShortened:
    """A job's run ends at its next token, also one that begins again after a crash."""

    job_id: Bytes32


@wire_class("ContainersHeld")
class ContainersHeld:
    """All containers of this node stand still, or go on."""

    is_held: bool


@wire_class("SampleReplayed")
class SampleReplayed:
    """Our own pass over a drawn leaf: check.bin, or the problem that there is none."""

    batch_id: Bytes32
    leaf_index: U24
    check: Annotated[bytes, Size(MAX_CHECK_BYTES)]
    problem: Text
