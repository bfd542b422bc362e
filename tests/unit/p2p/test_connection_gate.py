"""Connections that are let in from outside: by address, by network, by speed, and by bans from there."""

import pytest

from p2p import connection_gate
from p2p.connection_gate import AcceptBudget, ConnectionGate, InboundConnection, group_of

HOME = "192.0.2.1"


class Callers:
    """Counts the connections that a gate shuts."""

    def __init__(self) -> None:
        self.gate = ConnectionGate()
        self.shut: list[str] = []

    def enter(self, ip: str, now: float = 0.0) -> InboundConnection | None:
        return self.gate.enter(ip, lambda: self.shut.append(ip), now)

    def served(self, ip: str, now: float = 0.0) -> InboundConnection:
        """A connection whose handshake is over."""
        connection = self.enter(ip, now)
        assert connection is not None
        self.gate.settle(connection)
        return connection


def far(index: int) -> str:
    """An address of the n-th network."""
    return f"10.{index >> 8}.{index & 255}.1"


def test_an_address_gets_its_budget_back_when_the_window_has_passed() -> None:
    budget = AcceptBudget()
    assert [budget.admit(HOME, 100.0) for _ in range(21)] == [True] * 20 + [False]
    assert budget.admit("192.0.2.2", 100.0)
    assert not budget.admit(HOME, 109.9)
    assert budget.admit(HOME, 110.0)


def test_the_budget_forgets_old_addresses() -> None:
    budget = AcceptBudget()
    for index in range(2 * connection_gate.MAX_TRACKED_IPS):
        budget.admit(f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}", 0.0)
    assert len(budget._accepted) == connection_gate.MAX_TRACKED_IPS


def test_slow_handshakes_of_one_address_take_eight_places_and_the_oldest_gives_way() -> None:
    at = Callers()
    connections = [at.enter(HOME) for _ in range(connection_gate.PENDING_PER_IP + 3)]
    assert None not in connections
    assert at.gate.pending == connection_gate.PENDING_PER_IP
    assert at.shut == [HOME] * 3


def test_an_honest_dial_from_the_address_of_a_slow_one_is_let_in() -> None:
    at = Callers()
    for _ in range(connection_gate.PENDING_PER_IP):
        at.enter(HOME)
    honest = at.enter(HOME)
    assert honest is not None
    assert honest in at.gate._connections


def test_slow_handshakes_from_everywhere_leave_a_place_for_the_next() -> None:
    at = Callers()
    for index in range(connection_gate.MAX_PENDING):
        at.enter(far(index))
    assert at.shut == []
    assert at.enter(HOME) is not None
    assert at.shut == [far(0)]
    assert at.gate.pending == connection_gate.MAX_PENDING


def test_the_network_with_the_most_slow_handshakes_gives_way_first() -> None:
    at = Callers()
    for index in range(connection_gate.MAX_PENDING - connection_gate.PENDING_PER_IP):
        at.enter(far(index))
    for host in range(connection_gate.PENDING_PER_IP):
        at.enter(f"198.51.100.{host}")
    at.enter(HOME)
    assert at.shut == ["198.51.100.0"]


def test_who_has_shaken_hands_is_not_shut_for_others() -> None:
    at = Callers()
    old = at.served(far(0))
    for index in range(1, connection_gate.MAX_PENDING + 10):
        at.enter(far(index))
    assert far(0) not in at.shut
    assert old in at.gate._connections


@pytest.mark.parametrize("addresses", ["192.0.2.{}", "2001:db8:1:{}::1", "::ffff:192.0.2.{}"])
def test_one_network_holds_sixteen_connections_and_gets_the_place_of_one_that_left(addresses: str) -> None:
    at = Callers()
    connections = [at.served(addresses.format(host)) for host in range(connection_gate.MAX_PER_GROUP)]
    assert at.enter(addresses.format(99)) is None
    assert at.enter("203.0.113.9") is not None
    at.gate.leave(connections[0])
    assert at.enter(addresses.format(99)) is not None


def test_the_nodes_of_this_machine_are_no_network_of_one_person() -> None:
    at = Callers()
    for _ in range(5 * connection_gate.MAX_PER_GROUP):
        at.served("127.0.0.1")
    assert at.shut == []


def test_three_banned_peers_close_the_gate_to_their_address_for_ten_minutes() -> None:
    at = Callers()
    for name in ("one", "two", "two", "one"):
        at.gate.blame(HOME, name, 0.0)
    assert at.enter(HOME, 1.0) is not None
    at.gate.blame(HOME, "three", 1.0)
    assert at.enter(HOME, 2.0) is None
    assert at.enter("192.0.2.2", 2.0) is not None
    assert at.enter(HOME, 0.9 + connection_gate.REFUSE_S) is None
    assert at.enter(HOME, 1.0 + connection_gate.REFUSE_S) is not None


def test_bans_that_are_old_and_bans_on_this_machine_close_nothing() -> None:
    at = Callers()
    for index in range(10):
        at.gate.blame(HOME, f"peer{index}", index * connection_gate.BAN_WINDOW_S / 2)
        at.gate.blame("127.0.0.1", f"peer{index}", 0.0)
    assert at.enter(HOME, 5 * connection_gate.BAN_WINDOW_S) is not None
    assert at.enter("127.0.0.1") is not None


def test_what_the_gate_remembers_is_bounded() -> None:
    at = Callers()
    for index in range(connection_gate.MAX_TRACKED_IPS + 50):
        for name in ("one", "two", "three"):
            at.gate.blame(far(index), name, 0.0)
        at.gate.blame(far(index), "four", 0.0)
    assert len(at.gate._refused) == len(at.gate._banned) == connection_gate.MAX_TRACKED_IPS


def test_what_is_no_address_is_a_network_of_its_own() -> None:
    assert group_of("somewhere") == "somewhere"
    assert group_of("fe80::1%eth0") == "fe80::/48"
