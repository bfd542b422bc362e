// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The split of a batch's money.
/// @dev A client, a node and every seat in one hand still lose the burn: m is never above 1, seats never get more than
///      the fee over the rate. Twin of protocol/stages/settlement.py; tests/vectors/split.json.
library SplitLib {
    uint256 internal constant FEE_DIVISOR = 20;
    /// @dev Of a batch that is checked because its clients pay for it: what seats get for a drawn leaf at the rate of a tenth.
    uint256 internal constant CHECKED_FEE_DIVISOR = 2;
    uint256 internal constant BURN_DIVISOR = 10;
    uint256 internal constant SCORE_MAX = 10_000;
    uint256 internal constant CONVENE_DIVISOR = 5;
    /// @dev Of a case's pay this much, in VCN wei, is the seats' alone.
    uint256 internal constant COURT_FEE = 0.05 ether;

    /// @notice The verify fee on top of a claim's charge: 5%, rounded up.
    function feeOf(uint96 charge) internal pure returns (uint96) {
        return feeOf(charge, FEE_DIVISOR);
    }

    /// @notice A verify fee: its part of the charge, rounded up.
    /// @param divisor FEE_DIVISOR or CHECKED_FEE_DIVISOR
    function feeOf(uint96 charge, uint256 divisor) internal pure returns (uint96) {
        return uint96((uint256(charge) + divisor - 1) / divisor);
    }

    /// @notice Splits the charges of a batch; burned + reward + pooled = charge.
    /// @param scoreHundredths the node's score when it submitted; m = 0.5 + 0.5 x score / 100
    /// @return burned a tenth, rounded up
    /// @return reward (charge - burned) x m, rounded down
    /// @return pooled the rest
    function split(uint96 charge, uint256 scoreHundredths)
        internal
        pure
        returns (uint96 burned, uint96 reward, uint96 pooled)
    {
        uint256 score = scoreHundredths > SCORE_MAX ? SCORE_MAX : scoreHundredths;
        burned = uint96((uint256(charge) + BURN_DIVISOR - 1) / BURN_DIVISOR);
        // In 20,000ths, not 10,000ths: an odd hundredth keeps its half.
        reward = uint96(uint256(charge - burned) * (SCORE_MAX + score) / (2 * SCORE_MAX));
        pooled = charge - burned - reward;
    }

    /// @notice The part of the account that convened a case: a fifth of the batch's fee, rounded down, but nothing of the first COURT_FEE.
    /// @dev Always less than seatPay, which is at least half of the fee.
    function convenePay(uint256 fee) internal pure returns (uint256) {
        if (fee <= COURT_FEE) return 0;
        uint256 above = fee - COURT_FEE;
        return fee / CONVENE_DIVISOR < above ? fee / CONVENE_DIVISOR : above;
    }

    /// @notice The pay that the seats of a case share: the fees of the drawn leaves over the rate of the draw, rounded down.
    /// @dev Never above the fee over the rate, and in the mean over all draws the fee: else the pool would pay an owner of
    ///      client, node and seat at once.
    function seatPay(uint96 fee, uint256 drawn, uint256 leafCount, uint256 ratePercent)
        internal
        pure
        returns (uint256)
    {
        return uint256(fee) * drawn * 100 / (leafCount * ratePercent);
    }
}
