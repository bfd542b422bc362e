// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Appeals} from "./Appeals.sol";
import {Panel} from "./Panel.sol";
import {IParams} from "./interfaces/IParams.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {IStakeManager} from "./interfaces/IStakeManager.sol";
import {Case, CaseState, Ruling, Verdict} from "./types/CaseTypes.sol";
import {Profile} from "./types/ParamTypes.sol";

/// @notice What a verdict does to the node, the batch and the seats.
abstract contract Verdicts is Appeals {
    uint16 private constant MEDIUM = 150;
    uint16 private constant SEVERE = 300;

    Panel private immutable _panel;
    uint32 internal immutable _arbiterSeconds;
    uint16 private immutable _slashBps;

    constructor(IParams params_, IStakeManager stakes_, ISettlement settlement_, Profile memory profile)
        Appeals(stakes_, settlement_, profile)
    {
        _panel = new Panel(params_);
        _arbiterSeconds = profile.arbiterSeconds;
        _slashBps = profile.slashBps;
    }

    function rule(bytes32 caseId, bool passes) external {
        if (msg.sender != address(_panel)) revert NotPanel(msg.sender);
        Case storage asked = _cases[caseId];
        Ruling storage ruling = _rulings[caseId];
        uint256 until = uint256(ruling.since) + _arbiterSeconds;
        if (block.timestamp > until) revert PanelOver(until);
        // The panel has seen that the case waits for it.
        _closeGrown(caseId, asked, passes ? Verdict.Pass : Verdict.Review, ruling.median);
    }

    function panel() external view returns (address) {
        return address(_panel);
    }

    /// @dev The last round has spoken: a doubt goes to the arbiters if there are any, everything else is final.
    function _conclude(bytes32 caseId, Case storage open, Verdict verdict, uint16 median, address[] memory seats)
        internal
        returns (Verdict)
    {
        _settleBond(caseId, verdict);
        bool doubtful = verdict == Verdict.Review && _panel.quorum() != 0;
        if (!doubtful || _isUncalibrated(open)) return _close(caseId, open, verdict, median, seats);
        open.state = CaseState.Arbiter;
        _keep(caseId, verdict, median);
        emit PanelCalled(caseId, median, block.timestamp + _arbiterSeconds);
        return Verdict.None;
    }

    /// @param seats who is paid: everyone who revealed, once a seat
    function _close(bytes32 caseId, Case storage open, Verdict verdict, uint16 median, address[] memory seats)
        internal
        returns (Verdict)
    {
        address node = open.node;
        bool uncalibrated = verdict != Verdict.Pass && _isUncalibrated(open);
        if (uncalibrated && (verdict == Verdict.Severe || verdict == Verdict.Short)) verdict = Verdict.Review;
        open.state = CaseState.Closed;
        open.verdict = verdict;
        emit CaseResolved(caseId, node, open.slot, verdict, median);
        // The slash comes first: its share of the pool helps to pay the seats that found the fraud.
        _punish(caseId, node, verdict, uncalibrated);
        _settlement.closeCase(node, open.slot, verdict == Verdict.Pass, seats);
        return verdict;
    }

    /// @dev As `_close`, for a case that had rounds: the seats of all of them are paid.
    function _closeGrown(bytes32 caseId, Case storage open, Verdict verdict, uint16 median) internal returns (Verdict) {
        (address[] memory seats,) = _revealed(caseId, open, 0);
        return _close(caseId, open, verdict, median, seats);
    }

    function _punish(bytes32 caseId, address node, Verdict verdict, bool uncalibrated) private {
        if (verdict == Verdict.Review) _stakes.penalise(node, LIGHT, !uncalibrated);
        if (verdict == Verdict.Short) _stakes.penalise(node, MEDIUM, true);
        if (verdict == Verdict.Severe) {
            if (_slashBps != 0) _stakes.slash(node, _slashBps, caseId);
            _stakes.penalise(node, SEVERE, true);
        }
        if (verdict == Verdict.Short || verdict == Verdict.Severe) {
            _stakes.jail(node, caseId);
            _dismiss(node);
        }
    }

    /// @dev Nobody convened. That is the node's to do, unless there was nobody to be drawn.
    function _closeUnheard(bytes32 caseId, address node, uint8 slot, bool drawable) internal {
        _cases[caseId].state = CaseState.Closed;
        _cases[caseId].verdict = Verdict.Starved;
        emit CaseResolved(caseId, node, slot, Verdict.Starved, 0);
        if (drawable) _stakes.penalise(node, MEDIUM, true);
        _settlement.voidUnheard(node, slot);
    }
}
