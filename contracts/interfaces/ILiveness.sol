// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Whether a node is there, by the day.
interface ILiveness {
    /// @param daysMissed for which it was charged: whole days without a sign, beyond the first seven
    event OfflinePenalized(address indexed id, uint24 daysMissed, uint96 burned);

    /// @param lastDay of its last check-in or settled batch, or a week before the last day that was charged
    error NotOffline(address id, uint24 lastDay);

    /// @notice Burns 1% of the active stake for each day without a sign beyond the first seven; anyone, for nothing. However
    ///         often it is called, and by a check-in that comes before it, the same is lost but for a wei a call.
    /// @return lost wei, all of it burned
    function penalizeOffline(address id) external returns (uint96 lost);
}
