"""Who is let in from outside: by address, by network, by how slow it is, and by what was banned from there."""

import pytest

from p2p import door
from p2p.door import AcceptBudget, ConnectionGate, Visit, group_of

HOME = "192.0.2.1"


class Callers:
    """Counts the connections that a door shuts."""

    def __init__(self) -> None:
        self.door = ConnectionGate()
        self.shut: list[str] = []

    def enter(self, ip: str, now: float = 0.0) -> Visit | None:
        return self.door.enter(ip, lambda: self.shut.append(ip), now)

    def served(self, ip: str, now: float = 0.0) -> Visit:
        """A connection whose handshake is over."""
        visit = self.enter(ip, now)
        assert visit is not None
        self.door.settle(visit)
        return visit


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
    for index in range(2 * door.MAX_TRACKED_IPS):
        budget.admit(f"10.{index >> 16}.{index >> 8 & 255}.{index & 255}", 0.0)
    assert len(budget._accepted) == door.MAX_TRACKED_IPS


def test_slow_handshakes_of_one_address_take_eight_places_and_the_oldest_gives_way() -> None:
    at = Callers()
    visits = [at.enter(HOME) for _ in range(door.PENDING_PER_IP + 3)]
    assert None not in visits
    assert at.door.pending == door.PENDING_PER_IP
    assert at.shut == [HOME] * 3


def test_an_honest_dial_from_the_address_of_a_slow_one_is_let_in() -> None:
    at = Callers()
    for _ in range(door.PENDING_PER_IP):
        at.enter(HOME)
    honest = at.enter(HOME)
    assert honest is not None
    assert honest in at.door._visits


def test_slow_handshakes_from_everywhere_leave_a_place_for_the_next() -> None:
    at = Callers()
    for index in range(door.MAX_PENDING):
        at.enter(far(index))
    assert at.shut == []
    assert at.enter(HOME) is not None
    assert at.shut == [far(0)]
    assert at.door.pending == door.MAX_PENDING


def test_the_network_with_the_most_slow_handshakes_gives_way_first() -> None:
    at = Callers()
    for index in range(door.MAX_PENDING - door.PENDING_PER_IP):
        at.enter(far(index))
    for host in range(door.PENDING_PER_IP):
        at.enter(f"198.51.100.{host}")
    at.enter(HOME)
    assert at.shut == ["198.51.100.0"]


def test_who_has_shaken_hands_is_not_shut_for_others() -> None:
    at = Callers()
    old = at.served(far(0))
    for index in range(1, door.MAX_PENDING + 10):
        at.enter(far(index))
    assert far(0) not in at.shut
    assert old in at.door._visits


@pytest.mark.parametrize("addresses", ["192.0.2.{}", "2001:db8:1:{}::1", "::ffff:192.0.2.{}"])
def test_one_network_holds_sixteen_connections_and_gets_the_place_of_one_that_left(addresses: str) -> None:
    at = Callers()
    visits = [at.served(addresses.format(host)) for host in range(door.MAX_PER_GROUP)]
    assert at.enter(addresses.format(99)) is None
    assert at.enter("203.0.113.9") is not None
    at.door.leave(visits[0])
    assert at.enter(addresses.format(99)) is not None


def test_the_nodes_of_this_machine_are_no_network_of_one_person() -> None:
    at = Callers()
    for _ in range(5 * door.MAX_PER_GROUP):
        at.served("127.0.0.1")
    assert at.shut == []


def test_three_banned_peers_close_the_door_to_their_address_for_ten_minutes() -> None:
    at = Callers()
    for name in ("one", "two", "two", "one"):
        at.door.blame(HOME, name, 0.0)
    assert at.enter(HOME, 1.0) is not None
    at.door.blame(HOME, "three", 1.0)
    assert at.enter(HOME, 2.0) is None
    assert at.enter("192.0.2.2", 2.0) is not None
    assert at.enter(HOME, 0.9 + door.REFUSE_S) is None
    assert at.enter(HOME, 1.0 + door.REFUSE_S) is not None


def test_bans_that_are_old_and_bans_on_this_machine_close_nothing() -> None:
    at = Callers()
    for index in range(10):
        at.door.blame(HOME, f"peer{index}", index * door.BAN_WINDOW_S / 2)
        at.door.blame("127.0.0.1", f"peer{index}", 0.0)
    assert at.enter(HOME, 5 * door.BAN_WINDOW_S) is not None
    assert at.enter("127.0.0.1") is not None


def test_what_the_door_remembers_is_bounded() -> None:
    at = Callers()
    for index in range(door.MAX_TRACKED_IPS + 50):
        for name in ("one", "two", "three"):
            at.door.blame(far(index), name, 0.0)
        at.door.blame(far(index), "four", 0.0)
    assert len(at.door._refused) == len(at.door._banned) == door.MAX_TRACKED_IPS


def test_what_is_no_address_is_a_network_of_its_own() -> None:
    assert group_of("somewhere") == "somewhere"
    assert group_of("fe80::1%eth0") == "fe80::/48"
