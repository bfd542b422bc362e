// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Money held by shares: a slash lowers the total and so reaches every share at once.
/// @dev Every rounding is against the one who moves: minting rounds down, redeeming rounds up.
library PoolLib {
    /// @notice Shares for `amount` paid into a pool. An empty pool starts over at one share a wei.
    function minted(uint256 amount, uint256 total, uint256 shares) internal pure returns (uint256) {
        return total == 0 || shares == 0 ? amount : amount * shares / total;
    }

    /// @notice Shares that `amount` taken out of a pool costs.
    function redeemed(uint256 amount, uint256 total, uint256 shares) internal pure returns (uint256) {
        return (amount * shares + total - 1) / total;
    }

    /// @notice What a slash of `bps` takes from a total; rounded up, so that dust cannot dodge it.
    function slashOf(uint256 total, uint256 bps) internal pure returns (uint256) {
        return (total * bps + 9_999) / 10_000;
    }
}
