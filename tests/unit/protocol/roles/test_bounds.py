"""The chain's events about others are kept only as far as they count here, however long a node runs."""

from protocol.events import AccountSeen, LaneSeen, SeedRevealed
from protocol.roles.machine import Machine
from protocol.roles.settler.batches import SEEDS_KEPT
from protocol.stages.assignment import Account, Lane
from protocol.wire.ids import Address, TimestampMs, Wei, checksum
from tests.simulation.world import World

NOW = TimestampMs(1)


def machine() -> Machine:
    return World().add("node", {"requester", "provider"}).machine


def address(number: int) -> Address:
    return checksum("0x" + number.to_bytes(20, "big").hex())


def lane(machine: Machine, client: Address, node: Address, left: int) -> None:
    machine.handle(LaneSeen(Lane(client, client, node, left, 0, 0)), NOW)


def test_empty_lane_between_others_is_forgotten_with_its_sums() -> None:
    node = machine()
    deposit = node.rules.min_deposit
    lane(node, address(1), address(2), deposit)
    lane(node, address(1), address(3), deposit)
    assert node.member.money.is_client(address(1))
    lane(node, address(1), address(2), 0)
    assert node.member.money.deposits_of(address(1)) == 1
    lane(node, address(1), address(3), 0)
    assert (node.member.money._elsewhere, node.member.money.deposits_of(address(1))) == ({}, 0)
    assert node.member.money.lanes == {}
    assert not node.member.money.may_spend(address(9), address(1))
    # Filled again, it counts as before.
    lane(node, address(1), address(2), deposit)
    assert node.member.money.is_client(address(1))


def test_empty_lane_of_this_node_is_kept() -> None:
    node = machine()
    own, client = node.identity.node_id, node.identity.client
    assert client is not None
    lane(node, address(1), own, 0)
    lane(node, client, address(2), 0)
    assert len(node.member.money.lanes) == 2


def test_account_of_another_without_money_is_forgotten() -> None:
    node = machine()
    node.handle(AccountSeen(Account(address(1), Wei(5))), NOW)
    node.handle(AccountSeen(Account(address(1), Wei(0))), NOW)
    assert node.member.money.accounts == {}


def test_only_the_newest_seeds_are_kept() -> None:
    node = machine()
    for epoch in range(SEEDS_KEPT + 5):
        node.handle(SeedRevealed(epoch, epoch.to_bytes(32, "big")), NOW)
    assert list(node.settler.own._seeds) == list(range(5, SEEDS_KEPT + 5))
