"""The Merkle-sum tree of a batch: one root for its leaves and, proved with it, three sums.

Leaves are padded on the right to a power of two with empty nodes; a parent hashes both children with their sums, so a
path that opens a leaf also proves what share of the sums it has. Twin of SumTreeLib; tests/vectors/sumtree.json.
"""

from dataclasses import dataclass

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from protocol.wire.codec import U64, U96, Bytes32


@dataclass(frozen=True, slots=True)
class SumNode:
    """A node of the tree: its hash and the sums below it, charge and bonus in wei, time in ms."""

    hash: Bytes32
    charge: U96
    bonus: U96
    ms: U64


EMPTY = SumNode(bytes(32), 0, 0, 0)


def join(left: SumNode, right: SumNode) -> SumNode:
    """The parent of two nodes."""
    hashed = keccak(
        encode(
            ["bytes32", "uint256", "uint256", "uint256", "bytes32", "uint256", "uint256", "uint256"],
            [left.hash, left.charge, left.bonus, left.ms, right.hash, right.charge, right.bonus, right.ms],
        )
    )
    return SumNode(hashed, left.charge + right.charge, left.bonus + right.bonus, left.ms + right.ms)


def root(leaves: list[SumNode]) -> SumNode:
    """The root of at least one leaf."""
    return _levels(leaves)[-1][0]


def path(leaves: list[SumNode], index: int) -> tuple[SumNode, ...]:
    """The siblings of a leaf, bottom up."""
    siblings = []
    for level in _levels(leaves)[:-1]:
        siblings.append(level[index ^ 1])
        index >>= 1
    return tuple(siblings)


def climb(leaf: SumNode, index: int, siblings: tuple[SumNode, ...]) -> SumNode:
    """The root that a leaf and its siblings lead to; the bits of `index` say on which side each sibling stands."""
    node = leaf
    for sibling in siblings:
        node = join(sibling, node) if index & 1 else join(node, sibling)
        index >>= 1
    return node


def has_no_leaf(index: int, siblings: tuple[SumNode, ...], wanted: int) -> bool:
    """Whether the path of the leaf at `index` shows that the tree ends before the place `wanted`."""
    if wanted >> len(siblings):
        return True
    # At the fork of the two ways, the side of `wanted` is one node of the path.
    level = (index ^ wanted).bit_length() - 1
    if level < 0:
        return False
    empty = EMPTY
    for _ in range(level):
        empty = join(empty, empty)
    return siblings[level] == empty


def _levels(leaves: list[SumNode]) -> list[list[SumNode]]:
    if not leaves:
        raise ValueError("a tree has at least one leaf")
    size = 1 << (len(leaves) - 1).bit_length()
    levels = [leaves + [EMPTY] * (size - len(leaves))]
    while len(levels[-1]) > 1:
        below = levels[-1]
        levels.append([join(below[i], below[i + 1]) for i in range(0, len(below), 2)])
    return levels
