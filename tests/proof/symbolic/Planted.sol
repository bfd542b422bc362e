// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SplitLib} from "../../../contracts/libraries/SplitLib.sol";

/// @notice A statement that is false for one amount only, so that a proof that looks at nothing is noticed.
contract Planted {
    function prove_no_charge_is_like_another(uint96 charge) external pure {
        (uint96 burned, uint96 reward, uint96 pooled) = SplitLib.split(charge, 0);
        assert(uint256(burned) + reward + pooled != 123_456_789);
    }
}
