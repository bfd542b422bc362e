"""The mesh: which connected peers are gossip neighbours. About six, mutual, and picked at random, so that no
party surrounds a node by asking first.

A node opens a gossip stream to a peer that it picks; the peer answers with one of its own, or resets it.
"""

import hashlib
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from protocol.wire.ids import PeerId

DEGREE = 6
DEGREE_LOW = 4
DEGREE_HIGH = 10
PICKED_LOW = 2
"""Neighbours of this node's own choice, at least; all the others may belong to one party."""
REFUSED_MS = 60_000
"""A peer that refused or left is not asked again for so long."""


@dataclass(frozen=True, slots=True)
class MeshChanges:
    """Peers to invite, and neighbours to leave."""

    invite: tuple[PeerId, ...] = ()
    leave: tuple[PeerId, ...] = ()


class Mesh:
    """The neighbours of one node."""

    def __init__(self, seed: bytes) -> None:
        """Args: seed, this node's own chance."""
        self._seed = seed
        self._turn = 0
        self._neighbours: dict[PeerId, bool] = {}
        self._refused_until: dict[PeerId, int] = {}

    @property
    def neighbours(self) -> frozenset[PeerId]:
        return frozenset(self._neighbours)

    def invited_by(self, peer_id: PeerId) -> bool:
        """A peer picked us: whether there is room for it. It is a neighbour from now on."""
        if peer_id in self._neighbours:
            return True
        if len(self._neighbours) >= DEGREE_HIGH:
            return False
        self._neighbours[peer_id] = False
        return True

    def met(self, peer_id: PeerId) -> None:
        """A new connection to the peer is open: it may be invited again at once."""
        self._refused_until.pop(peer_id, None)

    def left_by(self, peer_id: PeerId, now_ms: int) -> None:
        """A neighbour refused, left or is gone."""
        if self._neighbours.pop(peer_id, None) is not None:
            self._refused_until[peer_id] = now_ms + REFUSED_MS

    @property
    def is_short(self) -> bool:
        """Whether the last look found fewer neighbours than a node should have."""
        return len(self._neighbours) < DEGREE_LOW

    def balance(self, eligible: Collection[PeerId], now_ms: int, preferred: Collection[PeerId] = ()) -> MeshChanges:
        """Bring the mesh back into its bounds.

        Args: eligible, the connected peers in good standing; neighbours that are not among them are left; preferred,
            those that are invited before others are chosen, however many neighbours there are.
        """
        self._refused_until = {peer: until for peer, until in self._refused_until.items() if until > now_ms}
        unfit = tuple(peer for peer in self._neighbours if peer not in eligible)
        for peer in unfit:
            del self._neighbours[peer]
        picked = sum(self._neighbours.values())
        wanted = DEGREE - len(self._neighbours) if len(self._neighbours) < DEGREE_LOW else 0
        wanted = max(wanted, PICKED_LOW - picked)
        others = [peer for peer in eligible if peer not in self._neighbours and peer not in self._refused_until]
        first = tuple(peer for peer in preferred if peer in others)
        invite = first + self._choose((peer for peer in others if peer not in first), wanted - len(first))
        for peer in invite:
            self._neighbours[peer] = True
        surplus = len(self._neighbours) - DEGREE_HIGH
        leave = self._choose((peer for peer, ours in self._neighbours.items() if not ours), surplus)
        for peer in leave:
            del self._neighbours[peer]
        return MeshChanges(invite, unfit + leave)

    def _choose(self, peers: Iterable[PeerId], count: int) -> tuple[PeerId, ...]:
        """Choose so many of the peers at random; each call chooses anew."""
        self._turn += 1
        salt = self._seed + self._turn.to_bytes(8, "big")
        return tuple(sorted(peers, key=lambda peer: hashlib.sha256(salt + peer.encode()).digest())[: max(count, 0)])
