// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IIntake} from "../interfaces/IIntake.sol";

/// @notice Whether new obligations are taken. How long and how often they may be refused is the Guardian's rule. See IIntake.
/// @dev Lives in StakeManager, which every submit asks anyway: so a pause costs a transaction one slot, not one more account.
abstract contract Intake is IIntake {
    address public immutable guardian;

    uint40 public intakePausedUntil;

    constructor(address guardian_) {
        guardian = guardian_;
    }

    function pauseIntake(uint40 until) external {
        if (msg.sender != guardian) revert NotGuardian(msg.sender);
        intakePausedUntil = until;
        emit IntakeStopped(until);
    }

    function requireIntake() public view {
        uint40 until = intakePausedUntil;
        if (block.timestamp < until) revert IntakePaused(until);
    }
}
