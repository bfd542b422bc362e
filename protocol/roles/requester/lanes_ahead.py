"""Lanes ahead: opened for nodes that this client is likely to hire, and topped up before they run dry.

A first job with such a node waits for no block. The money is locked until the client takes it back, so lanes that no
job has used are few, and one more hire stays possible.
"""

from dataclasses import dataclass

from protocol.effects import AwaitDeadline, Effect, SignMessage
from protocol.roles.member import Member, Peer
from protocol.roles.requester.cooldown import ProviderCooldown
from protocol.roles.requester.lanes import Lanes
from protocol.roles.requester.request_book import RequestBook
from protocol.stages.heartbeat import model_prefix
from protocol.stages.offer import NodeRecord
from protocol.timers import AheadTimer
from protocol.wire.bounded import keep_newest
from protocol.wire.ids import Address, Cid, TimestampMs

TOP_UP_DIVISOR = 4
"""A lane is topped up once less than this part of `Settings.lane_amount` is left in it, or than one more job needs."""
ASK_AGAIN_MS = 3_600_000
"""Before a lane is opened ahead again for a node for which that failed."""
NODES_KEPT = 1_024


@dataclass(slots=True)
class LanesAhead:
    """Looks for lanes to open before a job needs them: a view of the requester's books."""

    member: Member
    lanes: Lanes
    book: RequestBook
    cooldown: ProviderCooldown

    def look(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Ask for the moment at which a lane is opened for the likeliest node, if there are too few unused ones.

        Which node that is follows from beats, which no journal keeps; the timer is kept.
        """
        identity, wanted = self.member.identity, self.member.settings.lanes_ahead
        if not wanted or identity.client is None or identity.signer is None or self.member.is_intake_stopped(now_ms):
            return ()
        if self._unused() >= wanted or not self._can_afford():
            return ()
        node = self._likeliest(now_ms)
        if node is None:
            return ()
        keep_newest(self.lanes.ahead_ms, node, now_ms, NODES_KEPT)
        return (AwaitDeadline(AheadTimer(node), now_ms),)

    def begin(self, node: Address, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Have an order for a lane signed, as long as the deposit allows."""
        if node in self.lanes.opening or not self._can_afford():
            return ()
        order = self.lanes.order_to_open(node, self.member.settings.lane_amount, now_ms)
        self.lanes.opening[node] = order
        return (SignMessage(order),)

    def top_up(self, node: Address, total: int, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Lock more for a node that is hired again and again, before its lane runs dry.

        Args: total, the wei of its newest order: there is room for another one like it.
        """
        book, lane = self.lanes.book(node), self.lanes.lane(node)
        left = -self.lanes.missing(node, 0)
        enough = max(total, self.member.settings.lane_amount // TOP_UP_DIVISOR)
        if book.index < 2 or lane.closing or left >= enough:
            return ()
        return () if self.member.is_intake_stopped(now_ms) else self.begin(node, now_ms)

    def _can_afford(self) -> bool:
        """Whether a node without a lane could still be hired after one more lane."""
        return self.lanes.free() >= 2 * self.member.settings.lane_amount

    def _unused(self) -> int:
        """Lanes with money that no job has used, those that are being opened among them."""
        ours = (lane for lane in self.member.money.lanes.values() if self.lanes.is_ours(lane))
        nodes = {lane.node for lane in ours if lane.left and not lane.closing} | self.lanes.opening.keys()
        return sum(not self.lanes.book(node).index for node in nodes)

    def _likeliest(self, now_ms: TimestampMs) -> Address | None:
        """The node that would be hired first of those without a lane; None if there is none."""
        newest = next(reversed(self.book.jobs.values()), None)
        manifest = Cid(newest.ask.manifest) if newest is not None else None
        able: list[tuple[tuple[bool, int, int, int, Address], Address]] = []
        for node, peer in self.member.peers.items():
            record = self.member.nodes.get(node)
            if record is not None and self._may_hire(record, peer, manifest, now_ms):
                slow = self.member.latency.is_slow(peer.peer_id)
                able.append(((slow, -(record.score // 100), -record.stake, peer.heartbeat.price, node), node))
        return min(able)[1] if able else None

    def _may_hire(self, record: NodeRecord, peer: Peer, manifest: Cid | None, now_ms: TimestampMs) -> bool:
        node, beat, identity = record.node_id, peer.heartbeat, self.member.identity
        if node == identity.node_id or record.operator in (identity.client, identity.signer) or not record.active:
            return False
        if beat.draining or beat.paused or not beat.slots or not self.member.is_alive(node, now_ms):
            return False
        if node in self.lanes.opening or self.lanes.missing(node, 1) <= 0 or self.cooldown.bars(node, now_ms):
            return False
        if self.lanes.ahead_ms.get(node, -ASK_AGAIN_MS) + ASK_AGAIN_MS > now_ms:
            return False
        return bool(beat.models) if manifest is None else model_prefix(manifest) in beat.models
