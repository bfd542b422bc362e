"""Every coin of the network: who holds it, before and after, and that none is missing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import trio

from chain.contracts.network import Network, read_deployment
from chain.rpc.endpoints import open_rpc
from chain.rpc.ethereum import Ethereum
from node.localnet.record import LocalnetRecord
from protocol.params import VCN
from protocol.wire.ids import Address
from scripts.story import screen

SUPPLY = 10**9 * VCN


@dataclass(frozen=True)
class Books:
    """All balances in wei at one moment: `people` by what they own, `pools` of the contracts, coins by holder."""

    people: Mapping[str, int]
    pools: Mapping[str, int]
    holdings: Mapping[str, int]
    supply: int

    @property
    def burned(self) -> int:
        """Coins that are gone."""
        return SUPPLY - self.supply


def read(record: LocalnetRecord) -> Books:
    """The books as the chain has them now."""
    return trio.run(_read, record)


async def _read(record: LocalnetRecord) -> Books:
    async with open_rpc([record.rpc], record.chain_id) as rpc:
        ethereum = Ethereum(rpc)
        network = Network(ethereum, read_deployment(Path(record.deployment)).addresses)
        people: dict[str, int] = {}
        holdings: dict[str, int] = {}
        for member in record.nodes:
            for what, holder in (("owner", member.owner), ("operator", member.node_id), ("client", member.client)):
                holdings[f"{member.name} {what}"] = await network.token.balance_of(Address(holder))
            node = await network.stakes.node_of(Address(member.node_id))
            book = await network.settlement.book_of(Address(member.node_id))
            people[f"{member.name}: stake"] = (node.active_stake + node.unbonding_stake) if node else 0
            people[f"{member.name}: rewards"] = book.rewards
            people[f"{member.name}: wallets"] = sum(
                held for name, held in holdings.items() if name.startswith(f"{member.name} ")
            )
            if member.deposit_wei:
                account = await network.settlement.account_of(Address(member.client))
                people[f"{member.name}: account"] = account.free
                lanes = [
                    await network.settlement.lane_of(
                        Address(member.client), Address(member.client), Address(other.node_id)
                    )
                    for other in record.nodes
                ]
                people[f"{member.name}: lanes"] = sum(lane.left for lane in lanes)
        holdings["deployer"] = await network.token.balance_of(Address(record.deployer))
        for name, contract in (("settlement", network.settlement), ("stakes", network.stakes)):
            holdings[f"contract {name}"] = await network.token.balance_of(contract.address)
        pools = {
            "pool for seats": await network.settlement.pool(),
            "to be burned": await network.settlement.burn_pending(),
        }
        return Books(people, pools, holdings, await network.token.total_supply())


def show(before: Books, after: Books) -> None:
    """Both moments side by side; what did not change and is nothing is left out."""
    rows = []
    lines = {**before.people, **before.pools, "burned": before.burned}
    now = {**after.people, **after.pools, "burned": after.burned}
    for name in lines | now:
        old, new = lines.get(name, 0), now.get(name, 0)
        if old or new:
            rows.append((name, screen.vcn(old), screen.vcn(new), screen.vcn(new - old, sign=True)))
    screen.table(("VCN", "before", "after", "change"), rows)


def prove(books: Books) -> None:
    """Balances, contract holdings and burned coins are the initial supply, to the wei."""
    held = sum(books.holdings.values())
    screen.say(
        f"\n  {screen.vcn(held)} held + {screen.vcn(books.burned)} burned = {screen.vcn(held + books.burned)} VCN"
    )
    screen.must(held + books.burned == SUPPLY, f"that is the initial supply of {screen.vcn(SUPPLY)} VCN, to the wei")
    contracts = sum(held for name, held in books.holdings.items() if name.startswith("contract "))
    booked = sum(amount for name, amount in books.people.items() if not name.endswith(": wallets")) + sum(
        books.pools.values()
    )
    screen.must(contracts == booked, "what the contracts hold is what their books say they owe, to the wei")
