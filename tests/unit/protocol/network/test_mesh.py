"""The mesh: how many neighbours, who picked whom, and who is asked again when."""

import pytest

from protocol.network.mesh import DEGREE, DEGREE_HIGH, PICKED_LOW, REFUSED_MS, Mesh
from protocol.wire.ids import PeerId

PEERS = [PeerId(f"peer{index}") for index in range(20)]


def test_few_peers_are_all_invited() -> None:
    mesh = Mesh(b"seed")
    assert set(mesh.balance(PEERS[:3], 0).invite) == set(PEERS[:3])
    assert mesh.balance(PEERS[:3], 0).invite == ()


def test_of_many_peers_six_are_invited_by_lot() -> None:
    drawn = {Mesh(bytes([seed])).balance(PEERS, 0).invite for seed in range(10)}
    assert {len(invite) for invite in drawn} == {DEGREE}
    assert len(drawn) == 10


def test_nothing_changes_between_the_bounds() -> None:
    mesh = Mesh(b"seed")
    for peer in mesh.balance(PEERS, 0).invite[:2]:
        mesh.left_by(peer, 0)
    assert mesh.balance(PEERS, 0).invite == ()


def test_a_mesh_below_its_bound_is_filled_up() -> None:
    mesh = Mesh(b"seed")
    for peer in mesh.balance(PEERS, 0).invite[:3]:
        mesh.left_by(peer, 0)
    assert len(mesh.balance(PEERS, 0).invite) == 3


def test_there_is_room_for_ten_and_a_neighbour_may_come_again() -> None:
    mesh = Mesh(b"seed")
    assert [mesh.invited_by(peer) for peer in PEERS[:11]] == [True] * 10 + [False]
    assert mesh.invited_by(PEERS[0])


@pytest.mark.parametrize("seed", range(8))
def test_those_who_picked_us_are_never_all_our_neighbours(seed: int) -> None:
    mesh = Mesh(bytes([seed]))
    attackers, others = PEERS[:DEGREE_HIGH], PEERS[DEGREE_HIGH:]
    for peer in attackers:
        mesh.invited_by(peer)
    changes = mesh.balance(PEERS, 0)
    assert len(changes.invite) == PICKED_LOW
    assert set(changes.invite) <= set(others)
    assert len(changes.leave) == PICKED_LOW
    assert set(changes.leave) <= set(attackers)
    assert len(mesh.neighbours) == DEGREE_HIGH


def test_the_lot_falls_anew_every_time() -> None:
    mesh = Mesh(b"seed")
    drawn = set()
    for turn in range(5):
        drawn.add(frozenset(mesh.balance(PEERS, turn).invite))
        mesh.balance((), turn)
    assert len(drawn) == 5


def test_who_refused_or_left_is_not_asked_for_a_minute_unless_it_comes_anew() -> None:
    mesh = Mesh(b"seed")
    mesh.balance(PEERS[:1], 0)
    mesh.left_by(PEERS[0], 0)
    assert mesh.balance(PEERS[:1], REFUSED_MS - 1).invite == ()
    assert mesh.balance(PEERS[:1], REFUSED_MS).invite == (PEERS[0],)
    mesh.left_by(PEERS[0], REFUSED_MS)
    mesh.met(PEERS[0])
    assert mesh.balance(PEERS[:1], REFUSED_MS).invite == (PEERS[0],)


def test_a_neighbour_that_is_gone_or_misbehaved_is_left() -> None:
    mesh = Mesh(b"seed")
    mesh.balance(PEERS[:4], 0)
    assert mesh.balance(PEERS[1:4], 0).leave == (PEERS[0],)
    assert PEERS[0] not in mesh.neighbours


def test_preferred_peers_are_invited_though_there_are_neighbours_enough() -> None:
    mesh = Mesh(b"seed")
    mesh.balance(PEERS[:DEGREE], 0)
    assert mesh.balance(PEERS, 0, PEERS[18:]).invite == tuple(PEERS[18:])
    mesh.left_by(PEERS[18], 0)
    assert mesh.balance(PEERS, 0, PEERS[18:]).invite == (), "who refused is left in peace"
