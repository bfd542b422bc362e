// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A node of the sum tree: its hash and the sums below it, charge and bonus in wei, time in milliseconds.
struct SumNode {
    bytes32 hash;
    uint256 charge;
    uint256 bonus;
    uint256 ms;
}

/// @notice One job in a batch.
struct Leaf {
    address client;
    address signer;
    uint24 index;
    bytes32 details;
    uint96 charge;
    uint96 bonus;
    uint32 actualMs;
    bytes32 resultHash;
    bytes32 outputCommit;
    bytes32 receiptHash;
    uint8 status;
}

/// @notice The Merkle-sum tree of a batch: a path that opens a leaf also proves its share of the sums.
/// @dev Leaves are padded on the right to a power of two with empty nodes. Twin of protocol/wire/merkle.py;
///      tests/vectors/sumtree.json.
library SumTreeLib {
    /// @notice keccak256 over the fields of a leaf, each in a word of its own.
    function leafHash(Leaf memory leaf) internal pure returns (bytes32) {
        return keccak256(abi.encode(leaf));
    }

    /// @notice A leaf as a node of the tree.
    function nodeOf(Leaf memory leaf) internal pure returns (SumNode memory) {
        return SumNode(leafHash(leaf), leaf.charge, leaf.bonus, leaf.actualMs);
    }

    /// @notice The parent of two nodes; sums are checked.
    function join(SumNode memory l, SumNode memory r) internal pure returns (SumNode memory) {
        return SumNode(keccak256(abi.encode(l, r)), l.charge + r.charge, l.bonus + r.bonus, l.ms + r.ms);
    }

    /// @notice The root that a leaf and its siblings, bottom up, lead to; the bits of `index` say which side each stands on.
    function climb(SumNode memory node, uint256 index, SumNode[] memory siblings)
        internal
        pure
        returns (SumNode memory)
    {
        for (uint256 level; level < siblings.length; ++level) {
            node = index & 1 == 0 ? join(node, siblings[level]) : join(siblings[level], node);
            index >>= 1;
        }
        return node;
    }

    /// @notice How many siblings lead from a leaf to the root of a tree of at least one leaf.
    function depthOf(uint256 leafCount) internal pure returns (uint256 depth) {
        while (1 << depth < leafCount) ++depth;
    }

    /// @notice The root of at least one leaf.
    function root(SumNode[] memory leaves) internal pure returns (SumNode memory) {
        uint256 width = 1;
        while (width < leaves.length) width <<= 1;
        SumNode[] memory level = new SumNode[](width);
        for (uint256 i; i < leaves.length; ++i) {
            level[i] = leaves[i];
        }
        for (; width > 1; width >>= 1) {
            for (uint256 i; i < width; i += 2) {
                level[i >> 1] = join(level[i], level[i + 1]);
            }
        }
        return level[0];
    }
}
