"""Gossip in any network, with any losses: everything fresh arrives everywhere, once, and nothing forged does."""

from dataclasses import dataclass
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.network.frames import (
    MAX_BATCH_BYTES,
    Content,
    Digest,
    Frames,
    Signed,
    Topic,
    Want,
    decode_batch,
    encode_batch,
    read_content,
    require_signed,
    sign_content,
)
from protocol.network.mesh import DEGREE_HIGH, Mesh
from protocol.wire.ids import PeerId
from tests.support.strategies import instances
from tests.unit.protocol.network.nodes import START_MS, Node, key, link, run

TOPICS = st.sampled_from([Topic.REQUEST, Topic.HEARTBEAT])


@dataclass(frozen=True)
class Publication:
    """The author's index, and when it publishes in ms after the start."""

    author: int
    after_ms: int


@st.composite
def networks(draw: st.DrawFn) -> tuple[int, set[tuple[int, int]]]:
    """A connected graph of 2 to 7 nodes."""
    count = draw(st.integers(2, 7))
    edges = {(draw(st.integers(0, node - 1)), node) for node in range(1, count)}
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1)).filter(lambda pair: pair[0] < pair[1])
    return count, edges | draw(st.sets(pairs, max_size=6))


@settings(max_examples=40)
@given(
    networks(),
    st.lists(st.builds(Publication, st.integers(0, 6), st.integers(0, 3_000)), min_size=1, max_size=6),
    st.randoms(use_true_random=False),
    st.floats(0, 0.7),
)
def test_every_request_reaches_every_node_once_despite_losses(
    network: tuple[int, set[tuple[int, int]]], publications: list[Publication], chance: Random, loss: float
) -> None:
    count, edges = network
    nodes = [Node(index) for index in range(count)]
    for one, two in edges:
        link(nodes[one], nodes[two], START_MS)
    sent: list[tuple[int, bytes]] = []
    now_ms = START_MS
    for number, publication in enumerate(sorted(publications, key=lambda made: made.after_ms)):
        until_ms = START_MS + publication.after_ms // 50 * 50
        lossy(nodes, now_ms, until_ms, chance, loss)
        now_ms = until_ms
        author = publication.author % count
        nodes[author].publish(b"%d" % number, now_ms)
        sent.append((author, b"%d" % number))
    lossy(nodes, now_ms, START_MS + 4_000, chance, loss)
    # From here on nothing is lost, and half a minute later every pair of neighbours has compared digests.
    run(nodes, START_MS + 4_000, START_MS + 55_000, step_ms=50)
    for node in nodes:
        expected = sorted(body for author, body in sent if author != node.index)
        heard = sorted(node.bodies)
        assert heard == expected
    assert all(node.faults == [] for node in nodes)


def lossy(nodes: list[Node], from_ms: int, until_ms: int, chance: Random, loss: float) -> None:
    run(nodes, from_ms, until_ms, step_ms=50, passes=lambda source, target, data: chance.random() >= loss)


@settings(max_examples=40)
@given(networks(), st.lists(st.tuples(st.integers(0, 6), TOPICS), min_size=1, max_size=8))
def test_without_losses_everything_arrives_within_a_tick_a_hop(
    network: tuple[int, set[tuple[int, int]]], publications: list[tuple[int, Topic]]
) -> None:
    count, edges = network
    nodes = [Node(index) for index in range(count)]
    for one, two in edges:
        link(nodes[one], nodes[two], START_MS)
    newest: dict[tuple[int, Topic], bytes] = {}
    for number, (author, topic) in enumerate(publications):
        nodes[author % count].publish(b"%d" % number, START_MS, topic)
        newest[author % count, topic] = b"%d" % number
    run(nodes, START_MS, START_MS + 1_100 * count, step_ms=25)
    for node in nodes:
        for (author, _), body in newest.items():
            assert (body in node.bodies) == (author != node.index)


@settings(max_examples=60)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=400),
            st.builds(Frames, st.lists(instances(Signed), max_size=3).map(tuple)).map(encode_batch),
            instances(Digest).map(encode_batch),
            instances(Want).map(encode_batch),
        ),
        max_size=8,
    )
)
def test_no_bytes_of_a_neighbour_break_the_machine(batches: list[bytes]) -> None:
    one, two = Node(1), Node(2)
    link(one, two, START_MS)
    for data in batches:
        received = two.receive(one.peer_id, data, START_MS)
        assert received.delivered == ()
        two.gossip.take(one.peer_id, START_MS + 5_000)


@settings(max_examples=60)
@given(st.integers(0, 2_000), st.integers(1, 255))
def test_a_frame_with_any_byte_changed_is_not_delivered(position: int, flip: int) -> None:
    author = key(9)
    content = Content(31337, bytes(range(20)), Topic.REQUEST, author.public_key.format(), 1, START_MS, b"body")
    signed = sign_content(content, author.sign)
    whole = bytearray(signed.content + signed.signature)
    whole[position % len(whole)] ^= flip
    changed = Signed(bytes(whole[: len(signed.content)]), bytes(whole[len(signed.content) :]))
    one, two = Node(1), Node(2)
    link(one, two, START_MS)
    assert two.receive(one.peer_id, encode_batch(Frames((changed,))), START_MS).delivered == ()


@settings(max_examples=60)
@given(instances(Content))
def test_what_is_signed_is_read_back_and_verified(content: Content) -> None:
    author = key(5)
    signed = sign_content(content, author.sign)
    assert read_content(signed) == content
    require_signed(signed, author.public_key.format())


@given(st.lists(instances(Signed), max_size=20).map(tuple))
def test_batches_round_trip(frames: tuple[Signed, ...]) -> None:
    data = encode_batch(Frames(frames))
    assert decode_batch(data) == Frames(frames)
    assert len(data) <= 16 + sum(signed.size for signed in frames) <= MAX_BATCH_BYTES


@given(st.binary(max_size=200))
def test_reading_a_batch_only_ever_raises_what_a_peer_pays_for(data: bytes) -> None:
    try:
        decode_batch(data)
    except RemoteProtocolError:
        return


@given(st.lists(st.tuples(st.sampled_from(["invited", "left", "balance", "gone"]), st.integers(0, 24)), max_size=60))
def test_the_mesh_stays_in_its_bounds(steps: list[tuple[str, int]]) -> None:
    mesh = Mesh(b"seed")
    eligible = {PeerId(f"peer{index}") for index in range(25)}
    for now_ms, (step, index) in enumerate(steps):
        peer = PeerId(f"peer{index}")
        if step == "invited":
            mesh.invited_by(peer)
        elif step == "left":
            mesh.left_by(peer, now_ms)
        elif step == "gone":
            eligible ^= {peer}
        else:
            before = mesh.neighbours
            changes = mesh.balance(eligible, now_ms)
            assert mesh.neighbours <= eligible
            assert mesh.neighbours == (before | set(changes.invite)) - set(changes.leave)
            assert set(changes.invite).isdisjoint(before)
        assert len(mesh.neighbours) <= DEGREE_HIGH
