// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SampleLib} from "../../../contracts/libraries/SampleLib.sol";
import {SumNode, SumTreeLib} from "../../../contracts/libraries/SumTreeLib.sol";

/// @notice What holds of every draw and every tree, for all seeds and all hashes.
contract Draws {
    /// @dev A full stratum and a partial one; more only repeat them.
    uint256 private constant MOST = 12;

    function prove_the_count_is_that_of_the_draw(bytes32 seed) external pure {
        for (uint256 leaves; leaves <= MOST; ++leaves) {
            assert(SampleLib.count(seed, leaves, 1_000) == SampleLib.draw(seed, leaves, 1_000).length);
        }
    }

    function prove_the_count_is_that_of_the_draw_at_half(bytes32 seed) external pure {
        for (uint256 leaves; leaves < 6; ++leaves) {
            assert(SampleLib.count(seed, leaves, 5_000) == SampleLib.draw(seed, leaves, 5_000).length);
        }
    }

    function prove_everything_is_drawn_at_the_full_rate(bytes32 seed) external pure {
        for (uint256 leaves; leaves < 6; ++leaves) {
            uint256[] memory drawn = SampleLib.draw(seed, leaves, 10_000);
            assert(drawn.length == leaves && SampleLib.count(seed, leaves, 10_000) == leaves);
            for (uint256 i; i < leaves; ++i) {
                assert(drawn[i] == i);
            }
        }
    }

    /// @dev One residue of ten draws a leaf, in a partial stratum as in a full one: so each has exactly the rate.
    function prove_every_leaf_has_exactly_the_rate(bytes32 seed) external pure {
        for (uint256 leaves = 1; leaves <= MOST; ++leaves) {
            uint256[] memory drawn = SampleLib.draw(seed, leaves, 1_000);
            uint256 next;
            for (uint256 stratum; stratum * 10 < leaves; ++stratum) {
                uint256 picked = stratum * 10 + uint256(keccak256(abi.encode(seed, stratum))) % 10;
                if (picked < leaves) assert(next < drawn.length && drawn[next++] == picked);
            }
            assert(next == drawn.length);
        }
    }

    function prove_a_parent_adds_its_children(SumNode memory l, SumNode memory r) external pure {
        SumNode memory parent = SumTreeLib.join(l, r);
        assert(parent.charge == l.charge + r.charge && parent.bonus == l.bonus + r.bonus);
        assert(parent.ms == l.ms + r.ms);
        assert(parent.charge >= l.charge && parent.charge >= r.charge);
    }

    function prove_a_parent_has_one_pair_of_children(
        SumNode memory l,
        SumNode memory r,
        SumNode memory other,
        SumNode memory one
    ) external pure {
        if (SumTreeLib.join(l, r).hash != SumTreeLib.join(other, one).hash) return;
        assert(l.hash == other.hash && l.charge == other.charge && l.bonus == other.bonus && l.ms == other.ms);
        assert(r.hash == one.hash && r.charge == one.charge && r.bonus == one.bonus && r.ms == one.ms);
    }

    /// @dev A false leaf at the place of a true one would need another root.
    function prove_a_path_opens_one_leaf(SumNode memory leaf, SumNode memory fraudKind, SumNode memory a, SumNode memory b)
        external
        pure
    {
        SumNode[] memory siblings = new SumNode[](2);
        (siblings[0], siblings[1]) = (a, b);
        for (uint256 index; index < 4; ++index) {
            if (SumTreeLib.climb(leaf, index, siblings).hash != SumTreeLib.climb(fraudKind, index, siblings).hash) continue;
            assert(leaf.hash == fraudKind.hash && leaf.charge == fraudKind.charge && leaf.bonus == fraudKind.bonus && leaf.ms == fraudKind.ms);
        }
    }
}
