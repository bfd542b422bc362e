"""The gossip machine: what it passes on, what it refuses, in which order it checks, and what it keeps."""

import dataclasses
import itertools

import pytest

import protocol.network.gossip as gossip_module
from protocol.errors import BadSignature, LocalProtocolError, Malformed, OutOfTurn, TooLarge
from protocol.network.budgets import Budgets, OverBudget, Rate
from protocol.network.frames import (
    MAX_BATCH_BYTES,
    MAX_IDS,
    Content,
    Digest,
    Frames,
    Signed,
    Topic,
    Want,
    decode_batch,
    encode_batch,
    frame_id,
    read_content,
    split_ids,
)
from protocol.network.gossip import MAX_UNKNOWN, Admission
from protocol.network.neighbour import EVENT_GAP_MS, MAX_PENDING, STRANGERS
from protocol.network.peers import BAN_BELOW
from protocol.wire.codec import encode
from tests.support.scenes.gossips import NOW, made_by
from tests.unit.protocol.network.nodes import Node, key, link, run


def pair() -> tuple[Node, Node]:
    one, two = Node(1), Node(2)
    link(one, two, NOW)
    return one, two


def batch(*frames: Signed) -> bytes:
    return encode_batch(Frames(frames))


def count_checks(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The authors whose signatures are looked at from now on."""
    checked: list[bytes] = []
    check = gossip_module.require_signed

    def counted(signed: Signed, author: bytes) -> None:
        checked.append(author)
        check(signed, author)

    monkeypatch.setattr(gossip_module, "require_signed", counted)
    return checked


def frames_for(node: Node, other: Node, now_ms: int) -> list[Content]:
    batches = [decode_batch(data) for data in node.gossip.take(other.peer_id, now_ms)]
    return [read_content(signed) for sent in batches if isinstance(sent, Frames) for signed in sent.frames]


# --- passing on -----------------------------------------------------------------------------------------------------
def test_a_frame_reaches_nodes_that_are_no_neighbours_of_its_author() -> None:
    nodes = [Node(index) for index in range(5)]
    for one, two in itertools.pairwise(nodes):
        link(one, two, NOW)
    nodes[0].publish(b"hello", NOW)
    run(nodes, NOW, NOW + 200)
    assert [node.bodies for node in nodes] == [[], *[[b"hello"]] * 4]


def test_a_frame_is_delivered_once_though_it_comes_from_every_side() -> None:
    nodes = [Node(index) for index in range(4)]
    for one in nodes:
        for two in nodes[one.index + 1 :]:
            link(one, two, NOW)
    nodes[0].publish(b"hello", NOW)
    run(nodes, NOW, NOW + 2_000)
    assert [node.bodies for node in nodes] == [[], *[[b"hello"]] * 3]


def test_a_frame_is_not_sent_back_to_whoever_sent_it() -> None:
    one, two = pair()
    two.receive(one.peer_id, batch(made_by(key(9))), NOW)
    assert frames_for(two, one, NOW + 5_000) == []


def test_a_neighbour_that_sends_a_frame_first_is_not_sent_it() -> None:
    one, two = pair()
    signed = made_by(key(9))
    one.gossip.join(Node(3).peer_id, NOW)
    one.receive(Node(3).peer_id, batch(signed), NOW)
    one.receive(two.peer_id, batch(signed), NOW)
    assert frames_for(one, two, NOW + 5_000) == []


def test_events_go_at_once_and_then_with_a_gap() -> None:
    one, two = pair()
    one.gossip.take(two.peer_id, NOW)
    one.publish(b"first", NOW)
    assert one.gossip.due_ms(two.peer_id) <= NOW
    assert [content.body for content in frames_for(one, two, NOW)] == [b"first"]
    one.publish(b"second", NOW + 10)
    one.publish(b"third", NOW + 20)
    assert frames_for(one, two, NOW + 20) == []
    assert one.gossip.due_ms(two.peer_id) == NOW + EVENT_GAP_MS
    assert [content.body for content in frames_for(one, two, NOW + EVENT_GAP_MS)] == [b"second", b"third"]


def test_heartbeats_wait_for_the_tick_and_the_newest_replaces_the_older() -> None:
    one, two = pair()
    one.gossip.take(two.peer_id, NOW)
    one.publish(b"old", NOW, Topic.HEARTBEAT)
    one.publish(b"new", NOW + 1, Topic.HEARTBEAT)
    due_ms = one.gossip.due_ms(two.peer_id)
    assert NOW < due_ms <= NOW + 1_000
    assert frames_for(one, two, due_ms - 1) == []
    assert [content.body for content in frames_for(one, two, due_ms)] == [b"new"]


def test_an_older_heartbeat_that_comes_late_is_dropped() -> None:
    one, two = pair()
    author = key(9)
    newer = made_by(author, b"new", topic=Topic.HEARTBEAT, seq=6)
    older = made_by(author, b"old", topic=Topic.HEARTBEAT, seq=5)
    two.receive(one.peer_id, batch(newer, older), NOW)
    assert two.bodies == [b"new"]
    assert two.faults == []


def test_sequence_numbers_rise_within_a_millisecond_and_over_a_restart() -> None:
    before = [Node(1).publish(b"x", NOW).seq, Node(1).publish(b"x", NOW + 1).seq]
    node = Node(1)
    same_moment = [node.publish(b"x", NOW).seq for _ in range(3)]
    assert before == [NOW, NOW + 1]
    assert same_moment == [NOW, NOW + 1, NOW + 2]


# --- repair ---------------------------------------------------------------------------------------------------------
def test_what_was_lost_is_found_again_by_the_digest() -> None:
    one, two = pair()
    run([one, two], NOW, NOW + 100)
    one.publish(b"lost", NOW + 100)
    run([one, two], NOW + 100, NOW + 1_000, passes=lambda source, target, data: False)
    assert two.bodies == []
    run([one, two], NOW + 1_000, NOW + 40_000, step_ms=50)
    assert two.bodies == [b"lost"]


def test_a_node_that_joins_late_catches_up_at_once() -> None:
    one, two = pair()
    one.publish(b"beat", NOW, Topic.HEARTBEAT)
    late = Node(3)
    link(one, late, NOW + 20_000)
    run([one, two, late], NOW + 20_000, NOW + 22_000)
    assert late.bodies == [b"beat"]


def test_a_digest_names_nothing_that_is_too_old_to_be_accepted() -> None:
    one, two = pair()
    one.publish(b"old", NOW)
    named = [decode_batch(one.gossip.take(two.peer_id, now_ms)[0]) for now_ms in (NOW, NOW + 61_000)]
    assert [len(digest.ids) for digest in named if isinstance(digest, Digest)] == [16, 0]


def test_a_digest_names_only_the_newest_heartbeat_of_an_author() -> None:
    one, two = pair()
    one.publish(b"old", NOW, Topic.HEARTBEAT)
    one.publish(b"new", NOW, Topic.HEARTBEAT)
    digest = decode_batch(one.gossip.take(two.peer_id, NOW)[0])
    assert isinstance(digest, Digest)
    assert len(split_ids(digest.ids)) == 1


def test_what_a_neighbour_names_in_its_digest_is_not_sent_to_it() -> None:
    one, two = pair()
    signed = made_by(key(9))
    one.gossip.join(Node(3).peer_id, NOW)
    one.receive(Node(3).peer_id, batch(signed), NOW)
    one.receive(two.peer_id, encode_batch(Digest(frame_id(signed.content))), NOW)
    assert frames_for(one, two, NOW + 5_000) == []


def test_endless_wishes_take_bounded_room() -> None:
    one, two = pair()
    for turn in range(3):
        wanted = b"".join((turn * MAX_IDS + index).to_bytes(16, "big") for index in range(MAX_IDS))
        one.receive(two.peer_id, encode_batch(Want(wanted)), NOW)
    assert len(one.gossip._neighbours[two.peer_id].repairs) == MAX_IDS


def test_wishes_are_answered_within_a_budget_a_tick() -> None:
    one, two = pair()
    bodies = [bytes([index]) * 1_000 for index in range(200)]
    for index, body in enumerate(bodies):
        one.publish(body, NOW + index)
    one.gossip.leave(two.peer_id)
    one.gossip.join(two.peer_id, NOW + 300)
    (digest,) = [decode_batch(data) for data in one.gossip.take(two.peer_id, NOW + 300)]
    assert isinstance(digest, Digest)
    one.receive(two.peer_id, encode_batch(Want(digest.ids)), NOW + 300)
    got: list[bytes] = []
    for now_ms in range(NOW + 300, NOW + 10_300, 100):
        sent = [content.body for content in frames_for(one, two, now_ms)]
        assert sum(map(len, sent)) <= 64 * 1024
        got += sent
    assert sorted(got) == sorted(bodies)


# --- refusing -------------------------------------------------------------------------------------------------------
def test_a_signature_by_another_key_is_the_neighbours_fault() -> None:
    one, two = pair()
    honest = made_by(key(9))
    forged = Signed(honest.content, key(8).sign(b"something else"))
    two.receive(one.peer_id, batch(forged), NOW)
    ((peer_id, fault),) = two.faults
    assert (peer_id, type(fault)) == (one.peer_id, BadSignature)
    two.receive(one.peer_id, batch(honest), NOW)
    assert len(two.heard) == 1, "a forgery must not make the real frame look seen"


@pytest.mark.parametrize("junk", [b"", b"\x30\x00", b"\x00" * 70, b"\xff" * 72])
def test_a_signature_that_is_none_is_the_neighbours_fault(junk: bytes) -> None:
    one, two = pair()
    two.receive(one.peer_id, batch(Signed(made_by(key(9)).content, junk)), NOW)
    assert [type(fault) for _, fault in two.faults] == [BadSignature]


def test_an_author_that_is_no_key_is_the_neighbours_fault() -> None:
    one, two = pair()
    content = dataclasses.replace(read_content(made_by(key(9))), author=b"\x02" + b"\xff" * 32)
    two.receive(one.peer_id, batch(Signed(encode(content), key(9).sign(b""))), NOW)
    assert [type(fault) for _, fault in two.faults] == [BadSignature]


def test_a_frame_of_another_network_is_malformed() -> None:
    one, two = pair()
    two.receive(one.peer_id, batch(made_by(key(9), chain_id=1)), NOW)
    assert [type(fault) for _, fault in two.faults] == [Malformed]
    assert two.heard == []


def test_a_batch_of_forgeries_is_enough_for_a_ban_and_is_checked_no_further(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = count_checks(monkeypatch)
    one, two = pair()
    forged = [Signed(made_by(key(index)).content, key(8).sign(b"")) for index in range(20, 60)]
    two.receive(one.peer_id, batch(*forged, made_by(key(7))), NOW)
    assert two.heard == []
    assert sum(fault.penalty for _, fault in two.faults) > -BAN_BELOW
    assert len(checked) == len(two.faults) == 6


def test_signatures_of_invented_names_are_checked_within_a_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    checked = count_checks(monkeypatch)
    one, two = pair()
    known = key(9)
    two.admit = lambda content: Admission.ADMIT if content.author == known.public_key.format() else Admission.UNKNOWN
    two.receive(one.peer_id, batch(made_by(known, seq=1)), NOW)
    invented = [made_by(key(index)) for index in range(100, 300)]
    two.receive(one.peer_id, batch(*invented, made_by(known, b"still", seq=2)), NOW)
    assert len(checked) == 1 + int(STRANGERS.burst) + 1
    assert two.bodies == [b"x", b"still"]
    assert two.faults == [], "a node that has not seen the newest blocks knows few itself"


@pytest.mark.parametrize("skew_ms", [-60_001, 60_001])
def test_stale_frames_are_ignored_without_blame(skew_ms: int) -> None:
    one, two = pair()
    two.receive(one.peer_id, batch(made_by(key(9), ts_ms=NOW + skew_ms)), NOW)
    assert (two.heard, two.faults) == ([], [])


@pytest.mark.parametrize("skew_ms", [-60_000, 60_000])
def test_a_minute_of_skew_is_allowed(skew_ms: int) -> None:
    one, two = pair()
    two.receive(one.peer_id, batch(made_by(key(9), ts_ms=NOW + skew_ms)), NOW)
    assert len(two.heard) == 1


def test_a_frame_from_a_fast_clock_does_not_come_back_when_it_was_forgotten() -> None:
    one, two = pair()
    signed = made_by(key(9), ts_ms=NOW + 60_000)
    for now_ms in range(NOW, NOW + 200_000, 1_000):
        two.receive(one.peer_id, batch(signed), now_ms)
        two.gossip.tick(now_ms)
    assert len(two.heard) == 1


def test_a_batch_that_is_too_large_or_none_is_a_fault() -> None:
    one, two = pair()
    two.receive(one.peer_id, bytes(MAX_BATCH_BYTES + 1), NOW)
    two.receive(one.peer_id, b"\xff", NOW)
    assert [type(fault) for _, fault in two.faults] == [TooLarge, Malformed]


def test_a_body_over_the_limit_cannot_be_published() -> None:
    with pytest.raises(LocalProtocolError):
        Node(1).publish(bytes(1_025), NOW)


# --- budgets --------------------------------------------------------------------------------------------------------
def test_an_author_in_haste_is_cut_to_its_budget_and_its_relay_is_not_blamed() -> None:
    one, two = pair()
    author = key(9)
    two.receive(one.peer_id, batch(*(made_by(author, b"%d" % seq, seq=seq) for seq in range(30))), NOW)
    assert len(two.heard) == 10
    assert two.faults == []
    two.receive(one.peer_id, batch(*(made_by(author, b"%d" % seq, seq=seq) for seq in range(30, 60))), NOW + 1_000)
    assert len(two.heard) == 12


def test_a_neighbour_that_is_in_haste_itself_is_blamed() -> None:
    one, two = pair()
    two.receive(one.peer_id, batch(*(made_by(one.key, b"%d" % seq, seq=seq) for seq in range(11))), NOW)
    assert [type(fault) for _, fault in two.faults] == [OverBudget]


def test_heartbeats_come_at_most_once_in_half_an_interval() -> None:
    one, two = pair()
    for second in range(60):
        beat = made_by(key(9), b"%d" % second, topic=Topic.HEARTBEAT, seq=second, ts_ms=NOW + 1_000 * second)
        two.receive(one.peer_id, batch(beat), NOW + 1_000 * second)
    assert two.bodies == [b"0", b"1", b"15", b"30", b"45"]


def test_forgeries_do_not_use_up_the_budget_of_the_author_they_name() -> None:
    one, two = pair()
    victim = key(9)
    for seq in range(50):
        two.receive(one.peer_id, batch(Signed(made_by(victim, seq=seq).content, key(8).sign(b""))), NOW)
    two.receive(one.peer_id, batch(made_by(victim, b"real", seq=100)), NOW)
    assert two.bodies == [b"real"]


def test_the_signature_of_a_frame_over_budget_or_seen_is_not_checked(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = pair()
    checked: list[bytes] = []
    monkeypatch.setattr(gossip_module, "require_signed", lambda signed, author: checked.append(signed.content))
    frames = [made_by(key(9), seq=seq) for seq in range(30)]
    two.receive(one.peer_id, batch(*frames), NOW)
    two.receive(one.peer_id, batch(*frames), NOW)
    assert checked == [signed.content for signed in frames[:10]]


def test_bytes_over_the_budget_of_a_neighbour_are_not_even_decoded() -> None:
    one, two = pair()
    junk = bytes(MAX_BATCH_BYTES)
    for _ in range(17):
        two.receive(one.peer_id, junk, NOW)
    assert [type(fault) for _, fault in two.faults] == [Malformed] * 16 + [OverBudget]


# --- unknown authors ------------------------------------------------------------------------------------------------
def test_a_frame_of_an_unknown_author_waits_unrelayed_until_the_author_is_known() -> None:
    known = False
    one, three = Node(1), Node(3)
    two = Node(2, admit=lambda content: Admission.ADMIT if known else Admission.UNKNOWN)
    link(one, two, NOW)
    link(two, three, NOW)
    one.publish(b"early", NOW)
    run([one, two, three], NOW, NOW + 5_000)
    assert (two.bodies, three.bodies) == ([], [])
    known = True
    run([one, two, three], NOW + 5_000, NOW + 10_000)
    assert (two.bodies, three.bodies) == ([b"early"], [b"early"])


def test_an_author_that_stays_unknown_is_forgotten_after_a_minute() -> None:
    asked: list[int] = []
    one = Node(1)
    two = Node(2, admit=lambda content: asked.append(content.seq) or Admission.UNKNOWN)  # type: ignore[func-returns-value]
    link(one, two, NOW)
    two.receive(one.peer_id, batch(made_by(key(9))), NOW)
    for now_ms in range(NOW, NOW + 120_000, 1_000):
        two.gossip.tick(now_ms)
    assert len(asked) == 31
    assert two.heard == []


def test_a_neighbour_brings_few_strangers() -> None:
    one = Node(1)
    two = Node(2, admit=lambda content: Admission.UNKNOWN)
    link(one, two, NOW)
    for index in range(100, 130):
        two.receive(one.peer_id, batch(made_by(key(index))), NOW)
    assert len(two.gossip._unknown) == 10


def test_the_room_for_strangers_is_bounded() -> None:
    two = Node(2, admit=lambda content: Admission.UNKNOWN)
    author = 1_000
    for index in range(MAX_UNKNOWN // 10 + 5):
        peer = Node(10 + index)
        two.gossip.join(peer.peer_id, NOW)
        for _ in range(10):
            author += 1
            two.receive(peer.peer_id, batch(made_by(key(author))), NOW)
    assert len(two.gossip._unknown) == MAX_UNKNOWN


def test_a_refused_frame_is_the_neighbours_fault_once_and_is_not_passed_on() -> None:
    one, three = Node(1), Node(3)
    two = Node(2, admit=lambda content: Admission.REFUSE)
    link(one, two, NOW)
    link(two, three, NOW)
    signed = made_by(key(9))
    two.receive(one.peer_id, batch(signed), NOW)
    two.receive(one.peer_id, batch(signed), NOW)
    assert [type(fault) for _, fault in two.faults] == [OutOfTurn]
    assert frames_for(two, three, NOW + 5_000) == []


# --- bounds ---------------------------------------------------------------------------------------------------------
def test_what_waits_for_a_neighbour_is_bounded_and_heartbeats_go_first() -> None:
    one, two = pair()
    one.publish(b"beat", NOW, Topic.HEARTBEAT)
    for index in range(MAX_PENDING + 10):
        one.publish(b"%d" % index, NOW)
    waiting = one.gossip._neighbours[two.peer_id]
    assert len(waiting.events) == MAX_PENDING
    assert not waiting.beats
    assert read_content(next(iter(waiting.events.values()))).body == b"10"


def test_no_batch_is_over_the_limit_however_much_waits() -> None:
    one, two = pair()
    third = Node(3)
    one.gossip.join(third.peer_id, NOW)
    for index in range(600):
        author = key(100 + index)
        one.receive(third.peer_id, batch(made_by(author, bytes(1_024), topic=Topic.HEARTBEAT)), NOW)
        one.receive(third.peer_id, batch(made_by(author, bytes(1_024))), NOW)
    one.receive(two.peer_id, encode_batch(Want(b"".join(one.gossip._held))), NOW)
    got = 0
    for now_ms in range(NOW, NOW + 20_000, 50):
        for data in one.gossip.take(two.peer_id, now_ms):
            assert len(data) <= MAX_BATCH_BYTES
            sent = decode_batch(data)
            got += len(sent.frames) if isinstance(sent, Frames) else 0
    assert got >= 1_200


def test_what_is_remembered_is_bounded_in_time() -> None:
    one, two = pair()
    for index in range(20):
        two.receive(one.peer_id, batch(made_by(key(100 + index))), NOW)
    two.gossip.tick(NOW + 120_000)
    assert (len(two.gossip._seen), len(two.gossip._held)) == (0, 0)


def test_what_is_remembered_is_bounded_in_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gossip_module, "MAX_SEEN", 8)
    monkeypatch.setattr(gossip_module, "MAX_HELD", 5)
    monkeypatch.setattr(gossip_module, "MAX_AUTHORS", 3)
    one, two = pair()
    for index in range(20):
        two.receive(one.peer_id, batch(made_by(key(100 + index), topic=Topic.HEARTBEAT)), NOW)
    assert (len(two.gossip._seen), len(two.gossip._held), len(two.gossip._newest)) == (8, 5, 3)


def test_budgets_are_kept_for_a_bounded_number_of_authors() -> None:
    budgets = Budgets[int](Rate(amount=1, period_ms=1_000, burst=1), most=3)
    assert all(budgets.take(author, NOW) for author in range(10))
    assert [budgets.has(author, NOW) for author in (6, 7, 8, 9)] == [True, False, False, False]


def test_a_budget_used_just_now_is_not_the_one_forgotten() -> None:
    budgets = Budgets[int](Rate(amount=1, period_ms=1_000, burst=2), most=3)
    for author in (1, 2, 3, 1, 4):
        budgets.take(author, NOW)
    assert [budgets.has(author, NOW) for author in (1, 2)] == [False, True]


def test_waiting_saves_up_no_more_than_a_burst() -> None:
    budgets = Budgets[int](Rate(amount=2, period_ms=1_000, burst=10), most=3)
    budgets.take(1, NOW)
    assert [budgets.take(1, NOW + 3_600_000) for _ in range(11)] == [True] * 10 + [False]


def test_an_incomplete_id_is_left_out() -> None:
    assert split_ids(bytes(16) + b"x") == (bytes(16),)


def test_the_id_does_not_depend_on_the_signature() -> None:
    signed = made_by(key(9))
    assert frame_id(signed.content) == frame_id(Signed(signed.content, b"other").content)
    assert len(frame_id(signed.content)) == 16
