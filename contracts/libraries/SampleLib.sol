// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Which leaves of a batch are checked: one of every stratum of 10000 / rateBps leaves.
/// @dev The last, partial stratum r of s is hit with probability r / s, so every leaf has exactly the rate, a batch of one
///      leaf included. Twin of protocol/stages/sampling.py; tests/vectors/sampling.json.
library SampleLib {
    /// @dev One in twenty.
    uint256 internal constant AUDIT_RATE_BPS = 500;

    /// @notice Whether a case that passed is checked once more.
    /// @param epochSeed that of the epoch in which it passed
    function isAudited(bytes32 epochSeed, bytes32 caseId) internal pure returns (bool) {
        return uint256(keccak256(abi.encode(epochSeed, caseId))) % 10_000 < AUDIT_RATE_BPS;
    }

    /// @notice The drawn leaves, ascending.
    /// @param rateBps 10000, 5000 or 1000; any divisor of 10000
    function draw(bytes32 seed, uint256 leafCount, uint256 rateBps) internal pure returns (uint256[] memory drawn) {
        uint256 size = 10_000 / rateBps;
        uint256 strata = (leafCount + size - 1) / size;
        drawn = new uint256[](strata);
        for (uint256 stratum; stratum < strata; ++stratum) {
            drawn[stratum] = _pick(seed, stratum, size);
        }
        // Only the last stratum can be partial; its pick counts if there is such a leaf.
        if (strata != 0 && drawn[strata - 1] >= leafCount) {
            assembly ("memory-safe") {
                mstore(drawn, sub(strata, 1))
            }
        }
    }

    /// @notice How many leaves `draw` returns, at the price of one hash.
    function count(bytes32 seed, uint256 leafCount, uint256 rateBps) internal pure returns (uint256) {
        uint256 size = 10_000 / rateBps;
        uint256 full = leafCount / size;
        if (leafCount % size == 0) return full;
        return _pick(seed, full, size) < leafCount ? full + 1 : full;
    }

    /// @notice How many of the drawn leaves stand before leaf `end`.
    /// @dev One of each stratum that ends before, and perhaps that of the next.
    function countBefore(uint256[] memory drawn, uint256 end, uint256 rateBps) internal pure returns (uint256 before) {
        before = end * rateBps / 10_000;
        if (before >= drawn.length) return drawn.length;
        if (drawn[before] < end) ++before;
    }

    /// @dev keccak256(abi.encode(seed, stratum)) without taking memory for it: a batch may have 2,560 of them.
    function _pick(bytes32 seed, uint256 stratum, uint256 size) private pure returns (uint256) {
        uint256 hash;
        assembly ("memory-safe") {
            mstore(0, seed)
            mstore(32, stratum)
            hash := keccak256(0, 64)
        }
        // Both are far below a word.
        unchecked {
            return stratum * size + hash % size;
        }
    }
}
