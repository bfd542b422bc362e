// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {PoolLib} from "../../../contracts/libraries/PoolLib.sol";
import {SplitLib} from "../../../contracts/libraries/SplitLib.sol";

/// @notice Every rounding is by less than one, and against the one who moves.
/// @dev For every amount of two or three bytes, and for single rates, totals and shares: a solver does not get through the
///      division of one unknown by another, nor of wide ones. No rule here knows a width; fuzzing goes over the wide ones.
/// @custom:halmos --solver z3
contract Rounding {
    function prove_a_tenth_is_burned_rounded_up(uint24 charge) external pure {
        (uint96 burned,,) = SplitLib.split(charge, 0);
        assert(uint256(burned) * 10 >= charge && uint256(burned) * 10 < uint256(charge) + 10);
    }

    function prove_a_fee_is_a_twentieth_rounded_up(uint24 charge) external pure {
        uint256 fee = SplitLib.feeOf(charge);
        assert(fee * 20 >= charge && fee * 20 < uint256(charge) + 20);
    }

    function prove_seats_share_the_fee_over_the_rate(uint16 fee) external pure {
        assert(SplitLib.seatPay(fee, 7, 7, 100) == fee);
        assert(SplitLib.seatPay(fee, 1, 1, 50) == uint256(fee) * 2);
        assert(SplitLib.seatPay(fee, 1, 1, 10) == uint256(fee) * 10);
        assert(SplitLib.seatPay(fee, 2, 20, 10) == fee);
    }

    function prove_a_slash_is_rounded_up(uint16 total) external pure {
        uint256 lost = PoolLib.slashOf(total, 5_000);
        unchecked {
            assert(lost <= total && lost * 2 >= total && lost * 2 <= uint256(total) + 1);
        }
    }

    function prove_minting_rounds_down(uint16 amount) external pure {
        uint256 minted = PoolLib.minted(amount, 10, 7);
        unchecked {
            assert(minted * 10 <= uint256(amount) * 7 && (minted + 1) * 10 > uint256(amount) * 7);
        }
    }

    function prove_redeeming_rounds_up(uint16 amount) external pure {
        uint256 cost = PoolLib.redeemed(amount, 10, 7);
        unchecked {
            assert(cost * 10 >= uint256(amount) * 7 && cost * 10 < uint256(amount) * 7 + 10);
        }
    }
}
