"""Effects on containers."""

from protocol.stages.execution import RunSpec
from protocol.wire.codec import U24, Bytes32, Signature
from protocol.wire.names import wire_class


@wire_class("RunContainer")
class RunContainer:
    """> executor/containers > TokensProduced any number of times, then ContainerExited."""

    spec: RunSpec


@wire_class("StopContainer")
class StopContainer:
    """> executor/containers > ContainerExited, and another one in answer to its RunContainer: it is not wanted now."""

    job_id: Bytes32


@wire_class("ShortenRun")
class ShortenRun:
    """> executor/containers > RunShortened; then its ContainerExited, with the answer up to the next token.

    signature: of the client's stop order, which goes into the result.
    """

    job_id: Bytes32
    signature: Signature


@wire_class("HoldContainers")
class HoldContainers:
    """> executor/containers > ContainersHeld: all containers of this node stand still, or go on."""

    is_held: bool


@wire_class("ReplaySample")
class ReplaySample:
    """> executor/replay > SampleReplayed: one teacher-forced pass over a drawn leaf."""

    batch_id: Bytes32
    leaf_index: U24
    spec: RunSpec
