"""Heartbeats: what a node says of itself every 30 seconds, and when it counts as gone.

A heartbeat is state, not an event: the newest counter of an author replaces the one before. Reputation and stake in it
are claims; what ranks a node is the reader's own view of the chain.
"""

from dataclasses import dataclass
from typing import Annotated

from protocol.params import FAST_HEARTBEAT_INTERVAL_MS, OFFLINE_AFTER_MS, PAUSE_ABOVE_C, RESUME_BELOW_C
from protocol.wire.codec import U8, U16, U32, U64, U96, Bytes32, Size, Text
from protocol.wire.ids import Address, Cid

MODEL_PREFIX_BYTES = 8
FAST_OFFLINE_AFTER_MS = 14_000
"""In fast mode: the third beat in a row is about to be missed. So a node that dies right after a beat is noticed within
three intervals although gossip takes its time, and of a living one a beat may be lost and the next be 4 s late.
"""
FIRST_MS_PER_TOKEN = 60
"""A first guess at the time of a token, until this machine has measured it."""


@dataclass(frozen=True, slots=True)
class GpuGroup:
    """GPUs of one model: hottest temperature in C, least free and whole memory in bytes, mean use in percent."""

    model: Annotated[str, Size(64)]
    count: U8
    temperature_c: U8
    free_bytes: U64
    total_bytes: U64
    utilisation: U8
    cuda: Annotated[str, Size(16)]
    driver: Annotated[str, Size(24)]


@dataclass(frozen=True, slots=True)
class Heartbeat:
    """A node's state, signed by its operator key as part of the gossip frame that carries it."""

    node_id: Address
    counter: U64
    time_ms: U64
    class_ids: tuple[U16, ...]
    gpus: tuple[GpuGroup, ...]
    reputation: U16
    stake: U96
    models: tuple[Annotated[bytes, Size(MODEL_PREFIX_BYTES, exact=True)], ...]
    queue: U16
    slots: U8
    price: U96
    draining: bool
    paused: bool
    addresses: tuple[Text, ...]
    hpke_key_hash: Bytes32
    agent: Annotated[str, Size(32)]
    protocol_lowest: U8
    protocol_highest: U8

    def __post_init__(self) -> None:
        """Raises: ValueError if a list is longer than a heartbeat may hold."""
        if len(self.class_ids) > 8 or len(self.gpus) > 4 or len(self.models) > 8 or len(self.addresses) > 4:
            raise ValueError("a list is too long")


@dataclass(frozen=True, slots=True)
class DeviceStatus:
    """This machine as the executor measured it: its classes, its cards and room for containers; memory in bytes.

    class_ids: the fastest first; ms_per_token: of an answer by itself, of each of them. held: whether its owner uses
    the cards, and wants them idle for jobs.
    """

    class_ids: tuple[U16, ...]
    gpus: tuple[GpuGroup, ...]
    memory_bytes: U64
    slots: U8
    ms_per_token: tuple[U32, ...]
    held: bool = False

    def ms_of(self, class_id: int) -> int:
        """Milliseconds a token of an answer by itself in this class."""
        return dict(zip(self.class_ids, self.ms_per_token, strict=True)).get(class_id, FIRST_MS_PER_TOKEN)


def model_prefix(manifest: Cid) -> bytes:
    """How a heartbeat names a cached model."""
    return manifest[:MODEL_PREFIX_BYTES]


def is_offline(last_heard_ms: int, now_ms: int, heartbeat_ms: int) -> bool:
    """Whether a node has been silent for too long to be given work, where nodes beat every `heartbeat_ms`."""
    fast = heartbeat_ms <= FAST_HEARTBEAT_INTERVAL_MS
    return now_ms - last_heard_ms > (FAST_OFFLINE_AFTER_MS if fast else OFFLINE_AFTER_MS)


def pauses(gpus: tuple[GpuGroup, ...], *, paused: bool) -> bool:
    """Whether the GPUs are too hot for new work: from 85 C up, and until all are under 75 C again."""
    hottest = max((gpu.temperature_c for gpu in gpus), default=0)
    return hottest >= RESUME_BELOW_C if paused else hottest > PAUSE_ABOVE_C
