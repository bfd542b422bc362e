"""The lot: two registered nodes, drawn by stake, that a node stays connected to, whichever others it knows.

Who wants to surround a node can invent peers and addresses for nothing, but not stake: a drawn node is the attacker's
with no more chance than its part of all stake.
"""

import hashlib
import math
from collections.abc import Collection, Mapping

from protocol.wire.ids import PeerId

DRAWN = 2


class Lot:
    """The nodes that one node has drawn. A drawn node stays until it is gone."""

    def __init__(self, seed: bytes) -> None:
        """Args: seed, this node's own chance, so that others cannot know who is drawn."""
        self._seed = seed
        self._turn = 0
        self.drawn: tuple[PeerId, ...] = ()

    def draw(self, stakes: Mapping[PeerId, int], gone: Collection[PeerId] = ()) -> tuple[PeerId, ...]:
        """Keep who was drawn, and draw for the places that are free; returns all who are drawn now.

        Args: stakes, of the registered nodes whose address is known, in wei; gone, those that cannot be reached: they
            lose their place and are not drawn this time.
        """
        kept = tuple(peer for peer in self.drawn if stakes.get(peer, 0) > 0 and peer not in gone)
        if len(kept) < DRAWN:
            self._turn += 1
            others = [peer for peer, stake in stakes.items() if stake > 0 and peer not in kept and peer not in gone]
            others.sort(key=lambda peer: self._wait(peer, stakes[peer]))
            kept += tuple(others[: DRAWN - len(kept)])
        self.drawn = kept
        return kept

    def _wait(self, peer: PeerId, stake: int) -> float:
        """When a bell of this peer would first ring that rings once in 1/stake: the first to ring is drawn by stake."""
        digest = hashlib.sha256(self._seed + self._turn.to_bytes(8, "big") + peer.encode()).digest()
        chance = (int.from_bytes(digest[:7], "big") + 1) / (1 << 56)
        return -math.log(chance) / stake
