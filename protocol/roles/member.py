"""The member: what every node does and knows, whatever work it takes: beats, liveness, its own view of the network.

The other roles read this view; only events change it. A node's rank comes from the chain; what it says of itself
(models, queue, addresses) from its newest heartbeat.
"""

import hashlib
from dataclasses import dataclass, field
from typing import TypeVar

from protocol import events as ev
from protocol.effects import CheckIn, Effect, PublishHeartbeat
from protocol.judging.kinds import is_calibrated
from protocol.params import PROTOCOL_HIGHEST, PROTOCOL_LOWEST, ChainRules
from protocol.roles.client_money import ClientMoney
from protocol.roles.holds import Holds
from protocol.roles.identity import Identity, Settings
from protocol.roles.latency import LatencyTracker
from protocol.stages.blob import ModelManifest
from protocol.stages.heartbeat import DeviceStatus, Heartbeat, is_offline, model_prefix, pauses
from protocol.stages.offer import NodeRecord
from protocol.stages.verification import UNCALIBRATED, Calibration
from protocol.wire.ids import Address, Cid, PeerId, TimestampMs, operator_of

Key = TypeVar("Key")
NODES_KEPT = 65_536
OVERDUE_BLOCKS = 20
QUIET_TICKS = 3
LISTEN_BEATS = 2
MAX_SLOTS = 255
"""That a beat can tell."""
NO_DEVICE = DeviceStatus(class_ids=(), gpus=(), memory_bytes=0, slots=0, ms_per_token=())

_HEARD = (
    *("peers", "device", "no_room", "measured", "paused", "queue", "head", "final", "timestamp", "latency"),
    *("_beat_at", "_up_ms", "_checked_in", "_ticks", "_hot"),
)


@dataclass(slots=True)
class Peer:
    """A node as this one hears it: its newest heartbeat, when, and the round trips to it in ms."""

    peer_id: PeerId
    heartbeat: Heartbeat
    heard_ms: TimestampMs


@dataclass(slots=True)
class Member:
    """Beats, and the view of the network that the other roles decide by."""

    identity: Identity
    rules: ChainRules
    settings: Settings
    money: ClientMoney
    nodes: dict[Address, NodeRecord] = field(default_factory=dict)
    peers: dict[Address, Peer] = field(default_factory=dict)
    models: dict[Cid, ModelManifest] = field(default_factory=dict)
    no_room: frozenset[Cid] = frozenset()
    """Models that the content store has no room for."""
    calibrations: dict[tuple[Cid, int], Calibration] = field(default_factory=dict)
    device: DeviceStatus = NO_DEVICE
    measured: bool = False
    """Whether the executor has said anything of this machine since this process began."""
    hpke_key: bytes = bytes(32)
    paused: bool = False
    holds: Holds = field(default_factory=Holds)
    intake_until_s: int = 0
    """Before then, in seconds, the network takes no new nodes, lanes and batches."""
    queue: int = 0
    head: int = 0
    final: int = 0
    timestamp: int = 0
    latency: LatencyTracker = field(default_factory=LatencyTracker)
    _beat_at: TimestampMs = TimestampMs(0)
    _up_ms: TimestampMs | None = None
    _checked_in: int = 0
    _ticks: int = 0
    _hot: bool = False
    _operated: dict[Address, Address] = field(default_factory=dict)
    """The node of each operator."""
    ahead: int = 0
    """Active nodes that come before this one by score and stake."""

    def handle(self, event: ev.Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Take one event into the view; a tick may ask for a heartbeat."""
        match event:
            case ev.Tick():
                return self._tick(now_ms)
            case ev.NodeSeen(record) if record.node_id in self.nodes or len(self.nodes) < NODES_KEPT:
                self._see_node(record)
            case ev.HeartbeatReceived(peer_id, heartbeat):
                self._hear(peer_id, heartbeat, now_ms)
            case ev.BlockSeen(head, final, timestamp):
                self.head, self.final, self.timestamp = head, final, timestamp
            case ev.LaneSeen() | ev.AccountSeen():
                self.money.see(event)
            case ev.ModelAdded(manifest):
                self.models[manifest.cid] = manifest
            case ev.ModelRemoved(manifest):
                self.models.pop(Cid(manifest), None)
            case ev.RoomReported(lacking):
                self.no_room = frozenset(map(Cid, lacking))
            case ev.CalibrationSeen(manifest, class_id, calibration):
                self.calibrations[Cid(manifest), class_id] = calibration
            case ev.IntakeStopped(until):
                self.intake_until_s = until
            case ev.HpkeKeyRotated(public_key):
                self.hpke_key = public_key
            case ev.DeviceReported(status):
                self.device, self.measured = status, True
                self._hot = pauses(status.gpus, paused=self._hot)
                self.paused = self._hot or status.held
                return self.holds.look()
            case ev.HoldBegun() | ev.HoldEnded() | ev.ContainersHeld():
                # Peers hear of it with the next tick.
                self._beat_at = TimestampMs(0)
                return self.holds.handle(event)
            case ev.MessageSent() | ev.MessageUnanswered() | ev.DeadlinePassed():
                return self.latency.handle(event, now_ms)
        return ()

    def keep_heard(self, of: "Member") -> None:
        """Take over what comes from events that no journal keeps: peers, this machine, the newest block."""
        for name in _HEARD:
            setattr(self, name, getattr(of, name))

    @property
    def record(self) -> NodeRecord | None:
        """This node as the chain has it; None while it is not registered."""
        return self.nodes.get(self.identity.node_id)

    def node_of_operator(self, operator: Address) -> NodeRecord | None:
        """The node that this key operates."""
        node_id = self._operated.get(operator)
        return None if node_id is None else self.nodes.get(node_id)

    def node_of_peer(self, peer_id: PeerId) -> NodeRecord | None:
        """The node whose operator key a peer holds."""
        operator = operator_of(peer_id)
        return None if operator is None else self.node_of_operator(operator)

    def peer_of(self, node_id: Address) -> PeerId | None:
        """The peer id of a node whose beat was heard."""
        peer = self.peers.get(node_id)
        return peer.peer_id if peer else None

    def operates(self, peer_id: PeerId, node_id: Address) -> bool:
        """Whether a peer holds the operator key of a node: what it says is the node's word.

        Known from the chain and the peer id alone, so that a fold of the journal finds the same.
        """
        record = self.nodes.get(node_id)
        return record is not None and record.operator == operator_of(peer_id)

    def is_alive(self, node_id: Address, now_ms: TimestampMs) -> bool:
        """Whether a node has beaten within the last five minutes; in fast mode, within the last three beats."""
        peer = self.peers.get(node_id)
        return peer is not None and not is_offline(peer.heard_ms, now_ms, self.rules.heartbeat_ms)

    def hears_anybody(self, now_ms: TimestampMs) -> bool:
        """Whether any peer is alive: this node is not cut off."""
        return any(self.is_alive(node, now_ms) for node in self.peers)

    def has_listened(self, now_ms: TimestampMs) -> bool:
        """Whether this node has been up for so long that it would have heard of every present node."""
        return self._up_ms is not None and now_ms >= self._up_ms + LISTEN_BEATS * self.rules.heartbeat_ms

    def is_intake_stopped(self, now_ms: TimestampMs) -> bool:
        """Whether the network takes nothing new, by this machine's clock: a fold of the journal finds the same."""
        return now_ms < self.intake_until_s * 1000

    def is_overdue(self, block: int) -> bool:
        """Whether what was in a block should have been told as final by now.

        If it was not, the block has fallen out, and the one that took it up again refused it: no log tells that.
        """
        return self.head >= block + self.rules.final_depth + OVERDUE_BLOCKS

    def holders(self, manifest: Cid, now_ms: TimestampMs) -> tuple[PeerId, ...]:
        """Live peers that say they hold a model."""
        prefix = model_prefix(manifest)
        return tuple(
            peer.peer_id
            for node_id, peer in self.peers.items()
            if prefix in peer.heartbeat.models and self.is_alive(node_id, now_ms)
        )

    def calibration(self, manifest: Cid, class_id: int) -> Calibration:
        """The noise constants of a model on a class."""
        return self.calibrations.get((manifest, class_id), UNCALIBRATED)

    def calibrated(self, manifest: Cid, class_id: int, kind: int) -> bool:
        """Whether Params has constants for a model on a class and a kind of job."""
        return is_calibrated(kind, self.calibration(manifest, class_id))

    def may_fetch(self, manifest: Cid, class_id: int, kind: int) -> bool:
        """Whether a model that is not here may be fetched: its size is the choice of whoever made it.

        The network chose those with noise constants, the operator those of the settings.
        """
        models = self.settings.models
        return models is None or manifest in models or self.calibrated(manifest, class_id, kind)

    def has_or_may_fetch(self, manifest: Cid, class_id: int, kind: int) -> bool:
        """Whether this node can come to a model."""
        return manifest in self.models or self.may_fetch(manifest, class_id, kind)

    def _see_node(self, record: NodeRecord) -> None:
        before = self.nodes.get(record.node_id)
        if before is not None and self._operated.get(before.operator) == record.node_id:
            del self._operated[before.operator]
        self._operated[record.operator] = record.node_id
        self.nodes[record.node_id] = record
        own = self.record
        if own is record:
            self.ahead = sum(_is_ahead(other, own) for other in self.nodes.values())
        elif own is not None:
            self.ahead += _is_ahead(record, own) - (before is not None and _is_ahead(before, own))

    def _hear(self, peer_id: PeerId, heartbeat: Heartbeat, now_ms: TimestampMs) -> None:
        known = self.peers.get(heartbeat.node_id)
        if known is None or heartbeat.counter > known.heartbeat.counter:
            self.peers[heartbeat.node_id] = Peer(peer_id, heartbeat, now_ms)

    def _tick(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        effects: list[Effect] = []
        self._up_ms = self._up_ms or now_ms
        self._ticks += 1
        # The first beat waits a little for what it has to say of this machine.
        told = bool(self.device.class_ids) or self._ticks > QUIET_TICKS
        if told and now_ms >= self._beat_at:
            self._beat_at = TimestampMs(now_ms + self.rules.heartbeat_ms)
            effects.append(PublishHeartbeat(heartbeat(self, now_ms)))
        day = self.timestamp // 86_400
        if self.record is not None and day > self._checked_in:
            self._checked_in = day
            effects.append(CheckIn(self.identity.node_id, day))
        return tuple(effects)


def _is_ahead(other: NodeRecord, own: NodeRecord) -> bool:
    return other.active and _place(other) < _place(own)


def _place(record: NodeRecord) -> tuple[int, int, Address]:
    """The order of a node among others: points of its score, then stake, then its id."""
    return -(record.score // 100), -record.stake, record.node_id


def heartbeat(member: Member, now_ms: TimestampMs) -> Heartbeat:
    """The heartbeat of this node now."""
    record = member.record
    return Heartbeat(
        node_id=member.identity.node_id,
        # The clock serves as the counter: it goes on rising over a restart, and nothing has to be stored.
        counter=now_ms,
        time_ms=now_ms,
        class_ids=member.device.class_ids[:8],
        gpus=member.device.gpus[:4],
        reputation=record.score if record else 0,
        stake=record.stake if record else 0,
        models=tuple(model_prefix(manifest) for manifest in sorted(member.models))[:8],
        queue=member.queue,
        slots=min(MAX_SLOTS, min(member.settings.slots, member.device.slots) * member.settings.at_once),
        price=member.settings.price,
        draining=not member.holds.is_offering,
        paused=member.paused or member.holds.stops_runs or member.is_intake_stopped(now_ms),
        addresses=member.identity.addresses[:4],
        hpke_key_hash=hashlib.sha256(member.hpke_key).digest(),
        agent=member.settings.agent[:32],
        protocol_lowest=PROTOCOL_LOWEST,
        protocol_highest=PROTOCOL_HIGHEST,
    )
