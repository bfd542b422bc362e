"""The peer book: points and bans, whom to dial when, and what outlives a restart."""

import itertools
import json

import pytest

from protocol.network.peers import (
    BAN_MS,
    HALF_LIFE_MS,
    HINT_TRIES,
    HINTS_PER_SOURCE,
    LAST_RETRY_MS,
    MAX_BANS,
    MAX_HINTS,
    MAX_PEERS,
    MAX_SAVED,
    PeerBook,
    PeerStanding,
    group_of,
)
from protocol.wire.ids import PeerId, peer_id_of
from tests.unit.protocol.network.nodes import START_MS, key

NOW = START_MS
OWN = peer_id_of(key(0).public_key.format())


def peer(index: int) -> PeerId:
    return peer_id_of(key(index).public_key.format())


def address(index: int) -> str:
    return f"/ip4/192.0.2.{index}/tcp/4001/p2p/{peer(index)}"


def book(*known: int) -> PeerBook:
    made = PeerBook(OWN, b"seed")
    for index in known:
        made.learn(peer(index), (address(index),))
    return made


# --- points ---------------------------------------------------------------------------------------------------------
def test_faults_add_up_to_being_avoided_and_then_banned() -> None:
    made = book()
    standings = [made.punish(peer(1), 20, NOW) for _ in range(6)]
    assert standings == [PeerStanding.GOOD, PeerStanding.GOOD, *[PeerStanding.AVOIDED] * 3, PeerStanding.BANNED]


def test_half_of_the_points_is_forgotten_in_ten_minutes() -> None:
    made = book()
    made.punish(peer(1), 80, NOW)
    assert made.score(peer(1), NOW + HALF_LIFE_MS) == pytest.approx(-40)
    assert made.standing(peer(1), NOW + HALF_LIFE_MS - 1_000) is PeerStanding.AVOIDED
    assert made.standing(peer(1), NOW + HALF_LIFE_MS + 1_000) is PeerStanding.GOOD


def test_new_faults_come_on_top_of_what_is_left_of_the_old_ones() -> None:
    made = book()
    made.punish(peer(1), 80, NOW)
    made.punish(peer(1), 5, NOW + HALF_LIFE_MS)
    assert made.score(peer(1), NOW + HALF_LIFE_MS) == pytest.approx(-45)


def test_a_ban_lasts_an_hour_whatever_is_forgotten_meanwhile() -> None:
    made = book()
    made.punish(peer(1), 101, NOW)
    assert made.standing(peer(1), NOW + BAN_MS - 1) is PeerStanding.BANNED
    assert made.standing(peer(1), NOW + BAN_MS) is PeerStanding.GOOD


def test_being_forgotten_is_no_way_out_of_a_ban() -> None:
    made = book()
    made.punish(peer(1), 101, NOW)
    made.entries.clear()
    assert made.standing(peer(1), NOW) is PeerStanding.BANNED


def test_bans_are_bounded_and_the_oldest_goes() -> None:
    made = book()
    for index in range(MAX_BANS + 1):
        made.punish(PeerId(f"peer{index}"), 101, NOW)
    assert len(made.bans) == MAX_BANS
    assert PeerId("peer0") not in made.bans


def test_useful_peers_earn_up_to_a_cap() -> None:
    made = book()
    made.reward(peer(1), 5, NOW)
    assert made.score(peer(1), NOW) == pytest.approx(0.5)
    made.reward(peer(1), 10_000, NOW)
    assert made.score(peer(1), NOW) == pytest.approx(20)


# --- dialling -------------------------------------------------------------------------------------------------------
def test_the_peers_met_last_are_dialled_first() -> None:
    made = book(1, 2, 3)
    made.on_connected(peer(2), NOW)
    made.on_connected(peer(3), NOW + 1)
    assert made.to_dial((), 3, NOW + 2) == ((peer(3), address(3)), (peer(2), address(2)), (peer(1), address(1)))
    assert made.to_dial({peer(3)}, 1, NOW + 2) == ((peer(2), address(2)),)


def test_dials_that_fail_wait_longer_and_longer() -> None:
    made = book(1)
    waits: list[int] = []
    now_ms = NOW
    for _ in range(14):
        made.on_dial_failed(peer(1), now_ms)
        waits.append(made.entries[peer(1)].retry_ms - now_ms)
        assert made.to_dial((), 1, now_ms + waits[-1] - 1) == ()
        now_ms += waits[-1]
        assert made.to_dial((), 1, now_ms) == ((peer(1), address(1)),)
    assert 1_000 <= waits[0] <= 1_250
    assert all(later > earlier for earlier, later in itertools.pairwise(waits[:9]))
    assert LAST_RETRY_MS <= waits[-1] <= LAST_RETRY_MS * 5 // 4


def test_nodes_do_not_come_back_all_at_once() -> None:
    waits = set()
    for seed in range(20):
        made = PeerBook(OWN, bytes([seed]))
        made.learn(peer(1), (address(1),))
        for _ in range(8):
            made.on_dial_failed(peer(1), NOW)
        waits.add(made.entries[peer(1)].retry_ms)
    assert len(waits) > 15


def test_a_connection_ends_the_waiting() -> None:
    made = book(1)
    made.on_dial_failed(peer(1), NOW)
    made.on_connected(peer(1), NOW)
    assert made.to_dial((), 1, NOW) == ((peer(1), address(1)),)


def test_every_address_of_a_peer_gets_its_turn() -> None:
    made = book(1)
    made.learn(peer(1), ("/second",))
    turns = set()
    for step in range(4):
        turns.add(made.to_dial((), 1, NOW + step * LAST_RETRY_MS)[0][1])
        made.on_dial_failed(peer(1), NOW + step * LAST_RETRY_MS)
    assert turns == {address(1), "/second"}


def test_the_banned_and_ourselves_are_not_dialled() -> None:
    made = book(1)
    made.learn(OWN, (address(0),))
    made.punish(peer(1), 101, NOW)
    assert made.to_dial((), 5, NOW) == ()


def test_the_newest_addresses_stand_first_and_are_few() -> None:
    made = book(1)
    made.learn(peer(1), ["x" * 600] + [f"/new{index}" for index in range(9)])
    assert made.entries[peer(1)].addresses == ("/new0", "/new1", "/new2", "/new3")


def test_strangers_push_out_strangers_and_never_a_bootnode() -> None:
    made = PeerBook(OWN)
    made.learn(peer(1), (address(1),), bootnode=True)
    made.on_connected(peer(2), NOW)
    for index in range(2 * MAX_PEERS):
        made.learn(PeerId(f"stranger{index}"), ("/x",))
    assert len(made.entries) == MAX_PEERS
    assert {peer(1), peer(2)} <= made.entries.keys()


# --- over a restart -------------------------------------------------------------------------------------------------
def test_the_peers_met_last_and_the_bans_outlive_a_restart() -> None:
    made = book(*range(1, MAX_SAVED + 20))
    for index in range(1, MAX_SAVED + 20):
        made.on_connected(peer(index), NOW + index)
    made.learn(peer(900), (address(1),))
    made.punish(peer(901), 101, NOW)
    saved = json.loads(json.dumps(made.save()))
    again = PeerBook(OWN)
    assert again.load(saved, NOW + 1_000) == MAX_SAVED
    assert {peer(index) for index in range(20, MAX_SAVED + 20)} == again.entries.keys()
    assert again.standing(peer(901), NOW + 1_000) is PeerStanding.BANNED


@pytest.mark.parametrize(
    "saved",
    [
        None,
        [],
        {},
        {"peers": 3, "bans": 4},
        {"peers": [None, {}, {"peer": "no id", "addresses": [], "seen_ms": NOW}]},
        {"peers": [{"peer": str(peer(1)), "addresses": 5, "seen_ms": NOW}], "bans": {"x": "soon"}},
        {"peers": [{"peer": str(peer(1)), "addresses": ["/a"], "seen_ms": NOW - 8 * 86_400_000}]},
        {"peers": [{"peer": str(OWN), "addresses": ["/a"], "seen_ms": NOW}]},
    ],
)
def test_a_spoilt_or_old_cache_gives_nobody(saved: object) -> None:
    made = PeerBook(OWN)
    assert made.load(saved, NOW) == 0
    assert (made.entries, made.bans) == ({}, {})


def test_a_ban_in_the_file_lasts_no_longer_than_any_other() -> None:
    made = PeerBook(OWN)
    made.load({"bans": {str(peer(1)): NOW + 100 * BAN_MS}}, NOW)
    assert made.standing(peer(1), NOW + BAN_MS) is PeerStanding.GOOD


# --- strangers, networks and anchors --------------------------------------------------------------------------------
def test_a_hint_changes_nothing_that_is_known() -> None:
    made = book(1)
    made.punish(peer(2), 30, NOW)
    before = made.entries[peer(1)].addresses
    assert not made.hint(peer(1), (address(9),), peer(5))
    assert not made.hint(peer(2), (address(9),), peer(5))
    assert not made.hint(OWN, (address(9),), peer(5))
    assert not made.hint(peer(3), (), peer(5))
    assert made.entries[peer(1)].addresses == before
    assert made.score(peer(2), NOW) == -30


def test_one_source_fills_its_share_of_hints_and_all_together_theirs() -> None:
    made = book()
    for source in range(1, 20):
        for index in range(60):
            made.hint(PeerId(f"stranger{source}.{index}"), ("/ip4/192.0.2.1/tcp/1",), peer(source))
    counts = [sum(entry.source == peer(source) for entry in made.entries.values()) for source in range(1, 20)]
    assert max(counts) == HINTS_PER_SOURCE
    assert sum(counts) == MAX_HINTS


def test_hints_push_nobody_out() -> None:
    made = book()
    for index in range(MAX_PEERS):
        made.learn(PeerId(f"peer{index}"), ("/ip4/192.0.2.1/tcp/1",))
    assert not made.hint(peer(1), (address(1),), peer(5))
    assert len(made.entries) == MAX_PEERS


def test_a_stranger_is_dialled_after_those_that_were_met_and_soon_forgotten() -> None:
    made = book(1)
    made.on_connected(peer(1), NOW)
    made.hint(peer(2), (address(2),), peer(5))
    assert [chosen for chosen, _ in made.to_dial((), 5, NOW)] == [peer(1), peer(2)]
    for _ in range(HINT_TRIES):
        assert peer(2) in made.entries
        made.on_dial_failed(peer(2), NOW)
    assert peer(2) not in made.entries


def test_a_stranger_that_was_met_or_spoke_for_itself_is_none() -> None:
    made = book()
    for index, meet in ((1, True), (2, False)):
        made.hint(peer(index), (address(index),), peer(5))
        if meet:
            made.on_connected(peer(index), NOW)
        else:
            made.learn(peer(index), (address(index),))
        for _ in range(2 * HINT_TRIES):
            made.on_dial_failed(peer(index), NOW)
        assert made.entries[peer(index)].addresses


def test_peers_of_other_networks_are_dialled_first() -> None:
    made = book()
    places = ["10.1.0.1", "10.1.0.2", "10.1.0.3", "10.2.0.1", "10.3.0.1"]
    for index, ip in enumerate(places, start=1):
        made.learn(peer(index), (f"/ip4/{ip}/tcp/1/p2p/{peer(index)}",))
        made.on_connected(peer(index), NOW - index)
    chosen = [index for chosen, _ in made.to_dial((), 3, NOW) for index in range(6) if peer(index) == chosen]
    assert chosen == [1, 4, 5]
    chosen = [index for chosen, _ in made.to_dial((), 5, NOW, ["10.1"]) for index in range(6) if peer(index) == chosen]
    assert chosen == [4, 5, 1, 2, 3]


@pytest.mark.parametrize(
    ("where", "group"),
    [
        ("/ip4/10.1.2.3/tcp/1", "10.1"),
        ("/ip6/2001:db8:1::1/tcp/1", "2001:db8"),
        ("/ip4/127.0.0.1/tcp/1", ""),
        ("/ip6/::1/tcp/1", ""),
        ("/dns/node.example/tcp/1", ""),
        ("nonsense", ""),
    ],
)
def test_the_network_of_an_address(where: str, group: str) -> None:
    assert group_of(where) == group


def test_anchors_outlive_a_restart_and_are_dialled_first() -> None:
    made = book(1, 2, 3)
    for index in (1, 2, 3):
        made.on_connected(peer(index), NOW + index)
    made.anchors = (peer(1), peer(2), peer(3))
    again = book()
    again.load(json.loads(json.dumps(made.save())), NOW + 10)
    assert [entry.anchor for entry in map(again.entries.get, (peer(1), peer(2), peer(3))) if entry] == [
        True,
        True,
        False,
    ]
    assert [chosen for chosen, _ in again.to_dial((), 3, NOW + 10)] == [peer(2), peer(1), peer(3)]


@pytest.mark.parametrize("anchors", [5, "x", [5], [["x"]], ["no id"], None])
def test_anchors_that_make_no_sense_are_left_out(anchors: object) -> None:
    made = book()
    assert made.load({"peers": [], "anchors": anchors}, NOW) == 0
