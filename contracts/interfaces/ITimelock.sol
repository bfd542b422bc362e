// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The demand on a governor: its coming acts are public for some time. The rest is
///         OpenZeppelin's TimelockController.
interface ITimelock {
    /// @dev The delay never falls below the one of deployment: rules may not change faster than a stake can leave.
    error DelayTooShort(uint256 asked, uint256 shortest);

    /// @notice Seconds between a proposal and the earliest moment at which it can be carried out.
    function getMinDelay() external view returns (uint256);

    /// @notice The floor of `getMinDelay`, seconds.
    function shortestDelay() external view returns (uint256);
}
