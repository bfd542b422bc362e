// This contract is deployed.
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

import {ITimelock} from "../interfaces/ITimelock.sol";

/// @notice The governor of a network: OpenZeppelin's TimelockController, whose delay cannot be shortened and which no account
///         administers but itself. See ITimelock.
contract Timelock is TimelockController, ITimelock {
    uint256 public immutable shortestDelay;

    /// @param delay seconds between a proposal and its execution
    /// @param proposers may propose, and cancel
    /// @param executors may carry out what has waited; the zero address lets every account
    /// @param cancellers may cancel and nothing else
    constructor(uint256 delay, address[] memory proposers, address[] memory executors, address[] memory cancellers)
        TimelockController(delay, proposers, executors, address(0))
    {
        shortestDelay = delay;
        for (uint256 i; i < cancellers.length; ++i) {
            _grantRole(CANCELLER_ROLE, cancellers[i]);
        }
    }

    function updateDelay(uint256 newDelay) public override {
        if (newDelay < shortestDelay) revert DelayTooShort(newDelay, shortestDelay);
        super.updateDelay(newDelay);
    }

    function getMinDelay() public view override(TimelockController, ITimelock) returns (uint256) {
        return super.getMinDelay();
    }
}
