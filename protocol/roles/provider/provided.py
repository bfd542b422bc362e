"""A job that this node took, and where it stands."""

from dataclasses import dataclass, field

from protocol.effects import OpenInput
from protocol.job import Stage
from protocol.roles.provider.run_queue import StreamedTokens
from protocol.stages.assignment import AssignmentOrder, RefuseCode, SignedAccept
from protocol.stages.commitment import Result, ResultDelivery
from protocol.stages.execution import RunResult, RunSpec
from protocol.stages.stop_order import SignedStopOrder
from protocol.wire.ids import Address, JobId, PeerId, TimestampMs


@dataclass(slots=True)
class ProvidedJob:
    """One assignment that this node took."""

    job_id: JobId
    order: AssignmentOrder
    peer_id: PeerId
    asked_ms: TimestampMs
    stage: Stage = Stage.ASSIGNED
    accepted: bool = False
    running: bool = False
    stop_ms: TimestampMs = TimestampMs(0)
    """When its container is stopped, if that began at once."""
    frames: int = 0
    progress: StreamedTokens = field(default_factory=StreamedTokens)
    run: RunResult | None = None
    fingerprint: bytes = b""
    sealed_result: bytes = b""
    salt: bytes = bytes(32)
    result: Result | None = None
    promise: SignedAccept | None = None
    promised_ms: TimestampMs = TimestampMs(0)
    promise_tries: int = 0
    delivery: ResultDelivery | None = None
    refusal: RefuseCode | None = None
    receipted: bool = False
    stop_order: SignedStopOrder | None = None
    """Its client's order to stop, once its run was told."""
    forgone: bool = False
    """Whether its lane never came on chain, so that it charges nothing."""
    sent_ms: TimestampMs = TimestampMs(0)
    """When its result was last sent; not in the journal, so nothing but sending it again may rest on it."""
    reason: str = ""
    history: list[tuple[Stage, TimestampMs]] = field(default_factory=list)

    @property
    def reply_to(self) -> str:
        """The addresses at which the requester is dialled."""
        return reply_to(self.order, self.peer_id)

    @property
    def is_open(self) -> bool:
        """Whether it has not ended and has no result yet."""
        return self.stage in (Stage.ASSIGNED, Stage.RUNNING)

    @property
    def waits(self) -> bool:
        """Whether it waits for a container, now or once it is promised."""
        return self.is_open and not self.running and self.run is None

    @property
    def is_queued(self) -> bool:
        """Whether it is promised and waits for a container."""
        return self.stage is Stage.RUNNING and self.waits

    @property
    def open_input(self) -> OpenInput:
        """The effect that opens its input."""
        details = self.order.details
        return OpenInput(
            job_id=self.job_id,
            input_cid=details.input_cid,
            content_key_hash=details.content_key_hash,
            sealed_key=self.order.sealed_key,
            sealed_input=self.order.sealed_input,
        )

    @property
    def spec(self) -> RunSpec:
        """The run that a container is asked for."""
        return spec_of(self.order, self.job_id)


Jobs = dict[JobId, ProvidedJob]
LaneKey = tuple[Address, Address]


def spec_of(order: AssignmentOrder, job: JobId) -> RunSpec:
    """The run that an order asks of a container."""
    request = order.request.request
    return RunSpec.of(job, order.details, order.offer.offer.class_id, request.max_memory, request.timeout_ms)


def lane_key(order: AssignmentOrder) -> LaneKey:
    """The lane that an order is on: its client and signer."""
    return order.assignment.client, order.assignment.signer


def reply_to(order: AssignmentOrder, peer_id: PeerId) -> str:
    """The requester's full address where it is the one that it signed, so that it is found after a restart, too."""
    address = order.request.request.requester_peer
    return address if address.endswith(f"/p2p/{peer_id}") else peer_id
