"""Sampling: which leaves of a batch are checked, and by whom. The contract decides; these twins let anyone foresee it.

The seed is the hash of a block that did not exist when the batch was committed, so neither side can choose or grind.
Twins of SampleLib and SeatLib; tests/vectors/sampling.json and seats.json.
"""

from dataclasses import dataclass

from eth_utils.crypto import keccak

from protocol.params import AUDIT_RATE_BPS, BPS
from protocol.wire.ids import Address, BatchId

ROUND = 0
"""The round whose tickets every seat is drawn by: a later round goes on where the first one stopped."""


@dataclass(frozen=True, slots=True)
class ListSlot:
    """A place in the verifier list of a class: since and until which block it counts, weight in basis points."""

    node: Address
    from_block: int
    until_block: int
    weight_bps: int


def epoch_of(block: int, epoch: int) -> int:
    """The epoch of a block; `epoch` is its length in blocks."""
    return block // epoch


def seed_block(epoch_number: int, epoch: int, lag: int) -> int:
    """The block whose hash is the seed of an epoch: the first after it, and `lag` more."""
    return (epoch_number + 1) * epoch + lag


def batch_seed(epoch_seed: bytes, batch: BatchId) -> bytes:
    """The seed of one batch, 32 bytes."""
    return keccak(_words(epoch_seed, batch))


def draw_samples(seed: bytes, leaf_count: int, rate_bps: int) -> tuple[int, ...]:
    """Choose the leaves to check: one of every stratum of 10000 / rate_bps leaves, the last one with its share.

    Args: seed, 32 bytes; leaf_count, at least 1; rate_bps, a divisor of 10000.
    Returns: distinct indices, ascending; every leaf is in it with probability rate_bps / 10000.
    Raises: ValueError if an argument is out of range.
    """
    if len(seed) != 32 or leaf_count < 1 or rate_bps < 1 or BPS % rate_bps:
        raise ValueError("draw: argument out of range")
    size = BPS // rate_bps
    drawn = []
    for stratum in range(-(-leaf_count // size)):
        index = stratum * size + _number(keccak(_words(seed, stratum))) % size
        if index < leaf_count:
            drawn.append(index)
    return tuple(drawn)


def is_audited(epoch_seed: bytes, case: BatchId) -> bool:
    """Whether a case that passed is checked once more; `epoch_seed` is that of the epoch in which it did."""
    return _number(keccak(_words(epoch_seed, case))) % BPS < AUDIT_RATE_BPS


def draw_order(
    seed: bytes,
    batch: BatchId,
    commit_block: int,
    slots: list[ListSlot],
    excluded: frozenset[Address],
    tries: int,
    first: int = 0,
) -> list[Address]:
    """The nodes that `tries` tickets seat, from number `first` on, in order; a case takes them from the front.

    Args: slots, the whole list of the class, tombstones included, in the order of joining; excluded, node ids that may
    not judge; tries, 64 for every seat wanted.
    """
    # A verifier that joined at or after the commit is not in the draw: its seed could have been known by then.
    joined = [slot for slot in slots if slot.from_block < commit_block]
    able = {slot.node for slot in joined if slot.weight_bps and commit_block <= slot.until_block} - excluded
    seated: list[Address] = []
    drawn_from = _words(seed, batch, ROUND)
    for ticket in range(first, first + tries):
        if len(seated) == len(able):
            break
        number = _number(keccak(drawn_from + _words(ticket)))
        slot = joined[(number & (1 << 64) - 1) % len(joined)]
        drawn = ((number >> 64) & (1 << 64) - 1) % BPS < slot.weight_bps
        if drawn and commit_block <= slot.until_block and slot.node in able and slot.node not in seated:
            seated.append(slot.node)
    return seated


def _words(*values: bytes | int) -> bytes:
    """abi.encode of bytes32 and uint256 values, a word each. Raises: ValueError for bytes that are no word."""
    words = [value.to_bytes(32, "big") if isinstance(value, int) else value for value in values]
    if any(len(word) != 32 for word in words):
        raise ValueError("a word has 32 bytes")
    return b"".join(words)


def _number(digest: bytes) -> int:
    return int.from_bytes(digest, "big")
