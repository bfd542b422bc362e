"""Stake-weighted peers: two registered nodes, chosen by stake, that a node stays connected to.

They bound eclipse attacks: peers and addresses cost an attacker nothing, stake does. A chosen node is the attacker's
with a probability of its share of all stake.
"""

import hashlib
import math
from collections.abc import Collection, Mapping

from protocol.wire.ids import PeerId

CHOSEN = 2


class StakeWeightedPeers:
    """The chosen peers of one node. Each keeps its place until it is gone."""

    def __init__(self, seed: bytes) -> None:
        """Args: seed, this node's own chance, so that others cannot foresee the choice."""
        self._seed = seed
        self._turn = 0
        self.chosen: tuple[PeerId, ...] = ()

    def choose(self, stakes: Mapping[PeerId, int], gone: Collection[PeerId] = ()) -> tuple[PeerId, ...]:
        """Keep the chosen peers, and choose for the free places; returns all chosen now.

        Args: stakes, of the registered nodes whose address is known, in wei; gone, those that cannot be reached: they
            lose their place and are not chosen this time.
        """
        kept = tuple(peer for peer in self.chosen if stakes.get(peer, 0) > 0 and peer not in gone)
        if len(kept) < CHOSEN:
            self._turn += 1
            others = [peer for peer, stake in stakes.items() if stake > 0 and peer not in kept and peer not in gone]
            others.sort(key=lambda peer: self._wait(peer, stakes[peer]))
            kept += tuple(others[: CHOSEN - len(kept)])
        self.chosen = kept
        return kept

    def _wait(self, peer: PeerId, stake: int) -> float:
        """An exponential waiting time of rate `stake`: each peer has the smallest with a chance of its share."""
        digest = hashlib.sha256(self._seed + self._turn.to_bytes(8, "big") + peer.encode()).digest()
        chance = (int.from_bytes(digest[:7], "big") + 1) / (1 << 56)
        return -math.log(chance) / stake
