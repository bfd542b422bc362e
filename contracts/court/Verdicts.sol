// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Demands} from "./Demands.sol";
import {Panel} from "./Panel.sol";
import {IParams} from "../interfaces/IParams.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {Batch} from "../types/BatchTypes.sol";
import {Case, CaseState, Ruling, Verdict} from "../types/CaseTypes.sol";
import {NodeView} from "../types/NodeTypes.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice The effects of a verdict on the node, the batch and the seats.
abstract contract Verdicts is Demands {
    uint16 private constant MEDIUM = 150;
    uint16 private constant SEVERE = 300;
    /// @dev Data withheld costs ten times what the batch was worth, and never more than fraud.
    uint256 private constant WITHHELD_FACTOR = 10;

    Panel private immutable _panel;
    address public immutable fraudProofs;
    address public immutable audits;
    uint32 internal immutable _arbiterSeconds;
    uint32 private immutable _epochBlocks;
    uint16 private immutable _slashBps;

    constructor(
        IParams params_,
        IStakeManager stakes_,
        ISettlement settlement_,
        address fraudProofs_,
        address audits_,
        Profile memory profile
    ) Demands(stakes_, settlement_, profile) {
        _panel = new Panel(params_);
        fraudProofs = fraudProofs_;
        audits = audits_;
        _arbiterSeconds = profile.arbiterSeconds;
        _epochBlocks = profile.epochBlocks;
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

    function condemn(address node, uint8 slot) external returns (bytes32 caseId) {
        if (msg.sender != fraudProofs && msg.sender != audits) revert NotFraudProofs(msg.sender);
        caseId = _settlement.batchIdOf(node, slot);
        Case storage judged = _caseOver(caseId, node, slot);
        judged.state = CaseState.Proven;
        _settleBond(caseId, Verdict.Severe);
        _closeGrown(caseId, judged, Verdict.Severe, 0);
    }

    function fine(address node, uint16 bps, bytes32 caseId) external {
        if (msg.sender != audits) revert NotFraudProofs(msg.sender);
        _fine(node, bps, caseId);
    }

    function panel() external view returns (address) {
        return address(_panel);
    }

    /// @dev The last round has spoken: a doubt goes to the arbiters if there are any, everything else is final.
    function _conclude(bytes32 caseId, Case storage open, Verdict verdict, uint16 median, address[] memory seats)
        internal
        returns (Verdict)
    {
        if (open.round != 0) _settleBond(caseId, verdict);
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
        Batch memory batch;
        if (verdict != Verdict.Pass) {
            if (verdict == Verdict.Severe) _forget(open);
            batch = _batchOf(node, open.slot);
            bool found = verdict == Verdict.Severe || verdict == Verdict.Short;
            // A fraud that code has proved is no noise, whatever the class.
            bool noisy = found && open.state != CaseState.Proven && batch.flags & UNCALIBRATED != 0;
            if (noisy) verdict = Verdict.Review;
        }
        open.state = CaseState.Closed;
        open.verdict = verdict;
        // Its seed comes later, so no party knows yet which cases will be audited.
        if (verdict == Verdict.Pass) open.nextTry = uint16(block.number / _epochBlocks);
        emit CaseResolved(caseId, node, open.slot, verdict, median);
        // The slash comes first: its share of the pool helps to pay the seats that found the fraud.
        if (verdict != Verdict.Pass) _punish(caseId, node, verdict, batch);
        _settlement.closeCase(node, open.slot, verdict == Verdict.Pass, open.drawnCount, seats);
        return verdict;
    }

    /// @dev As `_close`, for a case that had rounds: the seats of all of them are paid.
    function _closeGrown(bytes32 caseId, Case storage open, Verdict verdict, uint16 median) internal returns (Verdict) {
        return _close(caseId, open, verdict, median, _heard(caseId, open, 0).nodes);
    }

    function _caseOver(bytes32 caseId, address node, uint8 slot) private returns (Case storage one) {
        one = _cases[caseId];
        (one.node, one.slot) = (node, slot);
    }

    function _punish(bytes32 caseId, address node, Verdict verdict, Batch memory batch) private {
        if (verdict == Verdict.Starved) return;
        if (verdict == Verdict.Review) return _penalise(node, LIGHT, batch.flags & UNCALIBRATED == 0);
        uint16 bps = verdict == Verdict.Severe ? _slashBps : verdict == Verdict.Withheld ? _withheldBps(node, batch) : 0;
        _slash(node, bps, caseId);
        _penalise(node, verdict == Verdict.Severe ? SEVERE : MEDIUM, true);
        _stakes.jail(node, caseId);
        _dismiss(node);
    }

    /// @dev Rounded up. Noise has no part in it, so a class need not be calibrated.
    function _withheldBps(address node, Batch memory batch) private view returns (uint16) {
        NodeView memory shown = _nodeOf(node);
        uint256 stake = uint256(shown.activeStake) + shown.unbondingStake;
        uint256 loss = WITHHELD_FACTOR * (uint256(batch.charge) + batch.fee + batch.bonus) * 10_000;
        return loss >= uint256(_slashBps) * stake ? _slashBps : uint16((loss + stake - 1) / stake);
    }

    /// @dev The case was not convened. That is the node's duty, unless no verifier could be drawn.
    function _closeUnheard(bytes32 caseId, address node, uint8 slot, bool drawable) internal {
        Case storage unheard = _caseOver(caseId, node, slot);
        if (drawable) _penalise(node, MEDIUM, true);
        _closeGrown(caseId, unheard, Verdict.Starved, 0);
    }
}
