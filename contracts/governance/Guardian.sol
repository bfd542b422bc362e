// This contract is deployed.
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGuardian} from "../interfaces/IGuardian.sol";
import {IIntake} from "../interfaces/IIntake.sol";

/// @notice The brake of a network. A stolen key costs three days a week of standstill until the governor replaces it, and
///         no coin: nothing that pays out asks here. See IGuardian.
contract Guardian is IGuardian {
    uint40 public constant MAX_PAUSE = 72 hours;
    uint40 public constant PAUSE_INTERVAL = 7 days;

    address public immutable governor;
    IIntake public immutable intake;

    address public keeper;
    uint40 public nextPauseAt;

    constructor(address governor_, address keeper_, IIntake intake_) {
        if (intake_.guardian() != address(this)) revert BadWiring();
        governor = governor_;
        intake = intake_;
        keeper = keeper_;
        emit KeeperChanged(address(0), keeper_);
    }

    function pause(uint40 duration) external {
        if (msg.sender != keeper) revert NotKeeper(msg.sender);
        if (duration == 0 || duration > MAX_PAUSE) revert BadPause(duration, MAX_PAUSE);
        if (block.timestamp < nextPauseAt) revert PausedLately(nextPauseAt);
        uint40 until = uint40(block.timestamp) + duration;
        nextPauseAt = uint40(block.timestamp) + PAUSE_INTERVAL;
        emit Paused(msg.sender, until, nextPauseAt);
        intake.pauseIntake(until);
    }

    function resume() external {
        if (msg.sender != keeper && msg.sender != governor) revert NotKeeper(msg.sender);
        if (block.timestamp >= intake.intakePausedUntil()) revert NotPaused();
        emit Resumed(msg.sender);
        intake.pauseIntake(uint40(block.timestamp));
    }

    function setKeeper(address keeper_) external {
        if (msg.sender != governor) revert NotGovernor(msg.sender);
        emit KeeperChanged(keeper, keeper_);
        keeper = keeper_;
    }
}
