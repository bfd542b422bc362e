// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Money held by shares: a slash lowers the total and so reaches every share at once.
/// @dev Every rounding is against the one who moves: minting rounds down, redeeming rounds up. An empty pool starts at one
///      share a wei and no rounding ever takes it above that: a share is worth a wei at most, so a rounding costs a wei at
///      most, and no delegator can make shares dear before others come.
library PoolLib {
    /// @dev A pool of all coins there are has fewer than 2^90 wei, so its shares stay below 2^112.
    uint256 private constant SHARES_PER_WEI_MAX = 2 ** 22;
    /// @dev 0.99 times 2^128.
    uint256 private constant DAY_FACTOR = uint256(99 << 128) / 100;

    /// @notice The worth of `part` of the shares; rounded down.
    function worth(uint256 part, uint256 total, uint256 shares) internal pure returns (uint256) {
        return shares == 0 ? 0 : part * total / shares;
    }

    /// @notice Whether slashes have left so little of each share that the pool ends: nothing, or below a four-millionth.
    /// @dev Else shares could outgrow their word, and then none could move any more.
    function isSpent(uint256 total, uint256 shares) internal pure returns (bool) {
        return total * SHARES_PER_WEI_MAX < shares;
    }

    /// @notice Shares for `amount` paid into a pool. An empty pool starts over at one share a wei.
    function minted(uint256 amount, uint256 total, uint256 shares) internal pure returns (uint256) {
        return total == 0 || shares == 0 ? amount : amount * shares / total;
    }

    /// @notice Shares that `amount` taken out of a pool costs.
    function redeemed(uint256 amount, uint256 total, uint256 shares) internal pure returns (uint256) {
        return (amount * shares + total - 1) / total;
    }

    /// @notice The amount that a slash of `bps` takes from a total; rounded up, so that dust cannot dodge it.
    function slashOf(uint256 total, uint256 bps) internal pure returns (uint256) {
        return (total * bps + 9_999) / 10_000;
    }

    /// @notice The rest of a total that loses a hundredth a day; rounded down. Days may be taken in any steps: each step
    ///         costs a wei at most.
    function decayed(uint256 total, uint256 daysPassed) internal pure returns (uint256) {
        uint256 left = 1 << 128;
        for (uint256 factor = DAY_FACTOR; daysPassed != 0; daysPassed >>= 1) {
            if (daysPassed & 1 == 1) left = (left * factor) >> 128;
            factor = (factor * factor) >> 128;
        }
        return (total * left) >> 128;
    }
}
