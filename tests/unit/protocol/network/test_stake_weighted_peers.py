"""The peers: by stake, anew for every node, and kept as long as who was drawn is there."""

from collections import Counter

from protocol.network.stake_weighted_peers import CHOSEN, StakeWeightedPeers
from protocol.wire.ids import PeerId

PEERS = [PeerId(f"peer{index}") for index in range(20)]
EQUAL = dict.fromkeys(PEERS, 10**21)


def test_two_are_drawn_and_every_node_draws_its_own() -> None:
    drawn = {StakeWeightedPeers(bytes([seed])).choose(EQUAL) for seed in range(20)}
    assert all(len(set(pair)) == CHOSEN for pair in drawn)
    assert len(drawn) > 15


def test_who_has_more_at_stake_is_drawn_more_often() -> None:
    stakes = {PEERS[0]: 8 * 10**21, PEERS[1]: 10**21, PEERS[2]: 10**21}
    first = Counter(StakeWeightedPeers(seed.to_bytes(4, "big")).choose(stakes)[0] for seed in range(2_000))
    assert 1_500 < first[PEERS[0]] < 1_700
    assert 140 < first[PEERS[1]] < 260


def test_names_without_stake_are_never_drawn() -> None:
    stakes = {**dict.fromkeys(PEERS, 0), PEERS[7]: 1}
    assert StakeWeightedPeers(b"seed").choose(stakes) == (PEERS[7],)
    assert StakeWeightedPeers(b"seed").choose({}) == ()


def test_a_drawn_node_keeps_its_place_while_others_come_and_go() -> None:
    peers = StakeWeightedPeers(b"seed")
    drawn = peers.choose(dict.fromkeys(PEERS[:5], 1))
    assert peers.choose({**dict.fromkeys(PEERS, 10**30), **dict.fromkeys(drawn, 1)}) == drawn


def test_who_is_gone_or_no_longer_registered_gives_its_place_away() -> None:
    peers = StakeWeightedPeers(b"seed")
    one, two = peers.choose(EQUAL)
    again = peers.choose(EQUAL, gone=(one,))
    assert two in again
    assert one not in again
    assert len(again) == CHOSEN
    last = peers.choose({peer: stake for peer, stake in EQUAL.items() if peer != two})
    assert two not in last
    assert len(last) == CHOSEN


def test_those_that_are_gone_may_be_drawn_again_later() -> None:
    peers = StakeWeightedPeers(b"seed")
    assert peers.choose({PEERS[0]: 1}, gone=PEERS[:1]) == ()
    assert peers.choose({PEERS[0]: 1}) == (PEERS[0],)
