"""The draw of seats: what all tickets together seat is what they seat one after the other."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.stages.sampling import ListSlot, draw_order
from protocol.wire.ids import BatchId, checksum

COMMIT, OPEN = 50, 2**40 - 1
NAMES = [checksum("0x" + f"{number:02x}" * 20) for number in range(1, 7)]
slots = st.builds(
    ListSlot,
    st.sampled_from(NAMES),
    st.sampled_from([0, COMMIT - 1, COMMIT]),
    st.sampled_from([0, COMMIT - 1, COMMIT, OPEN]),
    st.sampled_from([0, 1, 5_000, 10_000]),
)


@given(
    seed=st.binary(min_size=32, max_size=32),
    listed=st.lists(slots, max_size=8),
    excluded=st.frozensets(st.sampled_from(NAMES)),
    tries=st.integers(0, 48),
    first=st.integers(0, 200),
)
def test_tickets_seat_the_same_together_and_one_by_one(
    seed: bytes, listed: list[ListSlot], excluded: frozenset, tries: int, first: int
) -> None:
    batch = BatchId(b"b" * 32)
    one_by_one = [
        node
        for ticket in range(first, first + tries)
        for node in draw_order(seed, batch, COMMIT, listed, excluded, 1, ticket)
    ]
    assert draw_order(seed, batch, COMMIT, listed, excluded, tries, first) == list(dict.fromkeys(one_by_one))
