"""The wealth of parties, to the wei, over all contracts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from chain.contracts.network import Network
from protocol.wire.ids import Address


@dataclass(frozen=True)
class Party:
    """Somebody with a node, an account, or both, and the keys whose coins are its."""

    name: str
    node: Address | None
    client: Address | None
    holders: tuple[Address, ...]


@dataclass(frozen=True)
class Worth:
    """The wealth of a party at one moment, in wei; the score of its node, in hundredths of a point."""

    coins: int
    stake: int
    rewards: int
    account: int
    lanes: int
    score: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.coins + self.stake + self.rewards + self.account + self.lanes


async def worth(network: Network, party: Party, nodes: Iterable[Address]) -> Worth:
    """A party's books as the chain has them now; `nodes`: to whom it may have lanes."""
    coins = [await network.token.balance_of(holder) for holder in dict.fromkeys(party.holders)]
    stake = rewards = account = score = 0
    lanes: list[int] = []
    if party.node is not None:
        shown = await network.stakes.node_of(party.node)
        stake, score = (shown.active_stake + shown.unbonding_stake, shown.score_hundredths) if shown else (0, 0)
        rewards = (await network.settlement.book_of(party.node)).rewards
    if party.client is not None:
        account = (await network.settlement.account_of(party.client)).free
        lanes = [(await network.settlement.lane_of(party.client, party.client, node)).left for node in nodes]
    return Worth(sum(coins), stake, rewards, account, sum(lanes), score)
