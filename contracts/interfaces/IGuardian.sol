// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IIntake} from "./IIntake.sol";

/// @notice The brake of a network: its keeper may stop new obligations for a few days, and nothing else.
interface IGuardian {
    event Paused(address indexed keeper, uint40 until, uint40 nextPauseAt);
    event Resumed(address indexed by);
    event KeeperChanged(address indexed before, address indexed keeper);

    error NotKeeper(address caller);
    error NotGovernor(address caller);
    /// @param asked seconds
    error BadPause(uint256 asked, uint256 longest);
    error PausedLately(uint40 nextPauseAt);
    error NotPaused();
    /// @dev The intake names another guardian: the contracts were deployed with other addresses than they have.
    error BadWiring();

    /// @notice Stops register, openLane and submit for `duration` seconds, at most MAX_PAUSE; only the keeper.
    /// @dev Between the starts of two pauses lies PAUSE_INTERVAL, whatever became of the first.
    function pause(uint40 duration) external;

    /// @notice Ends a pause before its time; the keeper or the governor.
    function resume() external;

    /// @notice Names the account that may pause, 0 for none; only the governor. A pause that runs goes on to its end.
    function setKeeper(address keeper) external;

    /// @notice The account that may pause: a contract of k of n signers on networks that live.
    function keeper() external view returns (address);

    /// @notice The timelock.
    function governor() external view returns (address);

    /// @notice The contract that stops new obligations.
    function intake() external view returns (IIntake);

    /// @notice From when on the keeper may pause again, seconds.
    function nextPauseAt() external view returns (uint40);

    function MAX_PAUSE() external view returns (uint40);

    function PAUSE_INTERVAL() external view returns (uint40);
}
