// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice What is asked of a governor: that everybody sees for some time what it is going to do. The rest is
///         OpenZeppelin's TimelockController.
interface ITimelock {
    /// @dev The delay never falls below the one of deployment: rules may not change faster than a stake can leave.
    error DelayTooShort(uint256 asked, uint256 shortest);

    /// @notice Seconds between a proposal and the earliest moment at which it can be carried out.
    function getMinDelay() external view returns (uint256);

    /// @notice What `getMinDelay` can never fall below, seconds.
    function shortestDelay() external view returns (uint256);
}
