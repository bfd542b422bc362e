"""Lanes: what this client has signed on each, and what it must still lock before the next order."""

from dataclasses import dataclass, field

from protocol.effects import Effect, OpenLane, Send
from protocol.roles.member import Member
from protocol.stages.assignment import Lane, LaneOpen
from protocol.stages.lane_notice import LaneCounted, SignedLaneOpen, lane_open_id, total_after
from protocol.wire.ids import Address, PeerId, TimestampMs, Wei, address_bytes

LANE_VALID_S = 600


@dataclass(slots=True)
class LaneBook:
    """The newest order that we signed on a lane; a lost order keeps its number, no number is signed twice."""

    index: int = 0
    cumulative: int = 0


@dataclass(slots=True)
class Lanes:
    """The lanes of one client and signer, by node."""

    member: Member
    opening: dict[Address, LaneOpen] = field(default_factory=dict)
    """Amounts being added, by node: signed or sent, and not final."""
    sent: dict[Address, tuple[OpenLane, int]] = field(default_factory=dict)
    """Those that are signed, and the head when they were asked for last."""
    shown: dict[Address, None] = field(default_factory=dict)
    """Nodes that were shown theirs."""
    counted: dict[Address, int] = field(default_factory=dict)
    """What a node counts its lane for before that is final, left and mark together in wei."""
    ahead_ms: dict[Address, TimestampMs] = field(default_factory=dict)
    """When a lane was last asked for ahead; not in the journal, so nothing but asking again may rest on it."""
    _books: dict[Address, LaneBook] = field(default_factory=dict)

    def lane(self, node: Address) -> Lane:
        """The lane with a node as the chain has it."""
        client, signer = self.member.identity.client, self.member.identity.signer
        assert client is not None
        assert signer is not None
        return self.member.money.lanes.get((client, signer, node), Lane(client, signer, node, 0, 0, 0))

    def book(self, node: Address) -> LaneBook:
        """The newest order on the lane with a node, ours or settled."""
        book, lane = self._books.setdefault(node, LaneBook()), self.lane(node)
        book.index, book.cumulative = max(book.index, lane.jobs), max(book.cumulative, lane.mark)
        return book

    def missing(self, node: Address, total: int) -> int:
        """The amount to lock before the lane takes an order of `total` wei; 0 or less where it covers it.

        A lane that its client closes takes none until more is locked in it: that opens it again.
        """
        lane, counted = self.lane(node), self.counted.get(node, 0)
        lacking = self.book(node).cumulative + total - max(lane.mark + lane.left, counted)
        return max(lacking, 1) if lane.closing and not counted else lacking

    def free(self) -> Wei:
        """The amount that the client can still lock, beside amounts being locked."""
        assert self.member.identity.client is not None
        account = self.member.money.accounts.get(self.member.identity.client, Wei(0))
        return Wei(max(account - sum(order.amount for order in self.opening.values()), 0))

    def is_open(self, lane: Lane) -> bool:
        """Whether what was being locked on this lane has counted, as the chain has it now."""
        order = self.opening.get(lane.node)
        # A batch moves the lane, too, but only the order brings it so far.
        return order is not None and lane.left + lane.mark >= order.prev_total + order.amount

    def order_to_open(self, node: Address, amount: int, now_ms: TimestampMs) -> LaneOpen:
        """The message that locks `amount` more for a node."""
        lane = self.lane(node)
        deadline = now_ms // 1000 + LANE_VALID_S
        return LaneOpen(lane.client, lane.signer, node, amount, lane.left + lane.mark, deadline)

    def show(self, node: Address, to: PeerId, needs_wei: int) -> tuple[Effect, ...]:
        """Show a node the order for its lane that is under way, once: it may begin before the chain has it.

        Args: needs_wei, what the job comes to that waits for the lane.
        """
        if node not in self.sent or node in self.shown:
            return ()
        effect, _ = self.sent[node]
        self.shown[node] = None
        return (Send(to, SignedLaneOpen(effect.order, effect.signature, needs_wei)),)

    def is_of(self, peer_id: PeerId, counted: LaneCounted) -> bool:
        """Whether a peer speaks of the order that is under way for its node."""
        node = self._node_of(counted)
        return node is not None and self.member.operates(peer_id, node)

    def count(self, counted: LaneCounted) -> Address | None:
        """Take a node's word for what it counts its lane for. Returns: the node; None for an order that is over."""
        node = self._node_of(counted)
        if node is not None:
            self.counted[node] = min(counted.total, total_after(self.opening[node]))
        return node

    def _node_of(self, counted: LaneCounted) -> Address | None:
        return next((node for node, order in self.opening.items() if lane_open_id(order) == counted.order), None)

    def send(self, order: LaneOpen, signature: bytes) -> OpenLane:
        """Have a signed order sent."""
        effect = OpenLane(order, signature)
        self.sent[order.node] = effect, self.member.head
        return effect

    def send_overdue(self) -> tuple[OpenLane, ...]:
        """Orders whose block has fallen out, and that the new one refused, are sent again."""
        overdue = [effect for effect, head in self.sent.values() if self.member.is_overdue(head)]
        return tuple(self.send(effect.order, effect.signature) for effect in overdue)

    def stop_opening(self, about: bytes) -> Address | None:
        """The node whose lane could not be opened, by what its failed effect was about; None if that was no lane."""
        node = next((node for node in self.opening if address_bytes(node) == about), None)
        if node is not None:
            self.close(node)
        return node

    def close(self, node: Address) -> None:
        """Nothing more is being locked for a node."""
        del self.opening[node]
        self.sent.pop(node, None)
        self.shown.pop(node, None)
        self.counted.pop(node, None)

    def is_ours(self, lane: Lane) -> bool:
        """Whether a lane is one of this client and signer."""
        return (lane.client, lane.signer) == (self.member.identity.client, self.member.identity.signer)
