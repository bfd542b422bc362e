// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PoolLib} from "../../../contracts/libraries/PoolLib.sol";
import {SplitLib} from "../../../contracts/libraries/SplitLib.sol";

/// @notice What holds of every split, fee and slash, for all amounts there can be.
contract Money {
    function prove_a_split_conserves_the_charge(uint96 charge, uint256 score) external pure {
        (uint96 burned, uint96 reward, uint96 pooled) = SplitLib.split(charge, score);
        assert(uint256(burned) + reward + pooled == charge);
    }

    function prove_a_node_never_gets_more_than_is_left(uint96 charge, uint256 score) external pure {
        (uint96 burned, uint96 reward,) = SplitLib.split(charge, score);
        assert(reward <= charge - burned);
    }

    function prove_an_empty_pool_starts_at_a_share_a_wei(uint96 amount, uint96 total, uint128 shares) external pure {
        assert(PoolLib.minted(amount, 0, shares) == amount);
        assert(PoolLib.minted(amount, total, 0) == amount);
    }
}
