"""Clients' money in the settlement contract, free and in lanes, and the keys that may spend it."""

from dataclasses import dataclass, field
from typing import TypeVar

from protocol.events import AccountSeen, LaneSeen
from protocol.params import ChainRules
from protocol.roles.identity import Identity
from protocol.stages.assignment import Lane
from protocol.wire.ids import Address, Wei, address_bytes

Key = TypeVar("Key")


@dataclass(slots=True)
class ClientMoney:
    """Accounts and lanes at final depth; of lanes between others only what is left in them, which counts here."""

    identity: Identity
    rules: ChainRules
    accounts: dict[Address, Wei] = field(default_factory=dict)
    lanes: dict[tuple[Address, Address, Address], Lane] = field(default_factory=dict)
    _elsewhere: dict[bytes, int] = field(default_factory=dict)
    """The rest of each lane between others that is not empty, in wei, by its three addresses: there are very many."""
    _locked: dict[Address, int] = field(default_factory=dict)
    """The rest of each client in all its lanes, in wei."""
    _entrusted: dict[tuple[Address, Address], int] = field(default_factory=dict)
    """The rest in the lanes of a client and a signer that is not the client, in wei."""

    def see(self, seen: LaneSeen | AccountSeen) -> None:
        """A lane or an account changed."""
        match seen:
            case LaneSeen(lane):
                self._see_lane(lane)
            case AccountSeen(account) if account.free or account.client == self.identity.client:
                self.accounts[account.client] = account.free
            case AccountSeen(account):
                self.accounts.pop(account.client, None)

    def deposits_of(self, client: Address) -> int:
        """How many times the smallest deposit an account holds, free and in lanes."""
        return (self.accounts.get(client, 0) + self._locked.get(client, 0)) // max(self.rules.min_deposit, 1)

    def is_client(self, client: Address) -> bool:
        """Whether an account holds, free or in lanes, what a request's client must have."""
        return self.deposits_of(client) > 0

    def may_spend(self, client: Address, signer: Address) -> bool:
        """Whether a key may spend a client's money: its own, or one that has money left in a lane of the client."""
        return signer == client or self._entrusted.get((client, signer), 0) > 0

    def _see_lane(self, lane: Lane) -> None:
        key = (lane.client, lane.signer, lane.node)
        if lane.node == self.identity.node_id or lane.client == self.identity.client:
            before = self.lanes.get(key)
            more = lane.left - (before.left if before else 0)
            self.lanes[key] = lane
        else:
            addresses = b"".join(map(address_bytes, key))
            more = lane.left - self._elsewhere.pop(addresses, 0)
            if lane.left:
                self._elsewhere[addresses] = lane.left
        _add(self._locked, lane.client, more)
        if lane.signer != lane.client:
            _add(self._entrusted, (lane.client, lane.signer), more)


def _add(sums: dict[Key, int], key: Key, more: int) -> None:
    """Add to one of many sums, and keep none that is 0."""
    if total := sums.pop(key, 0) + more:
        sums[key] = total
