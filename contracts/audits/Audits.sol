// This contract is deployed.
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAudits} from "../interfaces/IAudits.sol";
import {ICourt} from "../interfaces/ICourt.sol";
import {IEpochBeacon} from "../interfaces/IEpochBeacon.sol";
import {IParams} from "../interfaces/IParams.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {SampleLib} from "../libraries/SampleLib.sol";
import {Audit, Auditor} from "../types/AuditTypes.sol";
import {BatchState, Contents} from "../types/BatchTypes.sol";
import {CaseView, Seat, SeatState, Verdict} from "../types/CaseTypes.sol";
import {NodeView} from "../types/NodeTypes.sol";

/// @notice Passed cases that are checked once more, and with them their seats. See IAudits.
/// @dev Holds no coins. Court acts on an audit's result, and Settlement pays.
contract Audits is IAudits {
    /// @dev The result, once all have revealed or the time is over.
    struct Findings {
        address[] heard;
        /// @dev Bit i: two auditors at least, and more than half, say so of seat i.
        uint256 off;
        bool fraud;
    }

    uint16 public constant NOTHING_SHOWN = type(uint16).max;
    uint256 private constant AUDITORS = 3;
    uint256 private constant SCORE_MAX = 10_000;
    /// @dev As in Rounds: up to here it is fraud.
    uint16 private constant REVIEW_ABOVE = 8_500;
    uint256 private constant LATEST_EPOCHS = 32;
    /// @dev As in Seats.
    uint16 private constant NO_SHOW_BPS = 50;
    /// @dev A seat that lies costs itself a tenth of what fraud costs a node, and at least forty times its pay: one case in twenty
    ///      is audited, so who never looks loses twice what it gets.
    uint16 private constant LIE_DIVISOR = 10;
    uint256 private constant LIE_PAYS = 40;

    IStakeManager private immutable _stakes;
    ISettlement private immutable _settlement;
    ICourt private immutable _court;
    IEpochBeacon private immutable _beacon;
    uint32 private immutable _seatSeconds;
    uint32 private immutable _unbondingSeconds;
    uint16 private immutable _slashBps;

    mapping(bytes32 caseId => Audit) private _audits;
    mapping(bytes32 caseId => Auditor[AUDITORS]) private _auditors;

    constructor(IParams params_, IStakeManager stakes_, ISettlement settlement_, ICourt court_, IEpochBeacon beacon_) {
        if (court_.audits() != address(this) || settlement_.court() != address(court_)) revert BadWiring();
        _stakes = stakes_;
        _settlement = settlement_;
        _court = court_;
        _beacon = beacon_;
        _seatSeconds = params_.profile().seatSeconds;
        _unbondingSeconds = params_.profile().unbondingSeconds;
        _slashBps = params_.profile().slashBps;
    }

    function convene(address node, uint8 slot, Contents calldata contents) external returns (bytes32 caseId) {
        caseId = _settlement.batchIdOf(node, slot);
        if (_audits[caseId].since != 0) revert AlreadyConvened(caseId);
        address[] memory nodes = _draw(caseId, contents);
        (uint96 due, uint40 commitTime) = _settlement.openAudit(node, slot, _court.caseOf(caseId).drawnCount);
        // A seat may have begun to leave after it revealed: its stake must outlast the audit.
        uint256 latest = uint256(commitTime) + _unbondingSeconds - 2 * uint256(_seatSeconds);
        if (block.timestamp > latest) revert TooLate(latest);
        _audits[caseId] = Audit(node, slot, uint40(block.timestamp), false, due);
        for (uint256 i; i < AUDITORS; ++i) {
            (_auditors[caseId][i].node, _auditors[caseId][i].state) = (nodes[i], SeatState.Drawn);
        }
        emit AuditConvened(caseId, node, slot, nodes);
    }

    function commit(bytes32 caseId, uint8 auditor, bytes32 commitment) external {
        (Audit storage audit, Auditor storage own) = _ownPlace(caseId, auditor);
        if (commitment == 0) revert ZeroCommitment();
        if (own.state != SeatState.Drawn) revert AlreadyCommitted(caseId, auditor);
        uint256 until = _turnEnd(audit);
        if (block.timestamp > until) revert TooLate(until);
        own.state = SeatState.Committed;
        own.commitment = commitment;
        emit AuditCommitted(caseId, auditor, own.node, commitment);
    }

    function reveal(bytes32 caseId, uint8 auditor, uint256 off, uint16 score, bytes32 salt) external {
        (Audit storage audit, Auditor storage own) = _ownPlace(caseId, auditor);
        if (own.state != SeatState.Committed) revert NotCommitted(caseId, auditor);
        // Else one could echo what another has revealed.
        if (block.timestamp <= _turnEnd(audit) && _countOf(caseId, SeatState.Drawn) != 0) {
            revert TurnNotOver(_turnEnd(audit));
        }
        if (own.commitment != keccak256(abi.encode(caseId, auditor, off, score, salt))) {
            revert CommitmentMismatch(caseId, auditor);
        }
        if (score > SCORE_MAX && score != NOTHING_SHOWN) revert ScoreOutOfRange(score);
        own.state = SeatState.Revealed;
        own.score = score;
        own.off = off;
        emit AuditRevealed(caseId, auditor, own.node, off, score);
    }

    function close(bytes32 caseId) external {
        Audit storage audit = _requireRunning(caseId);
        uint256 until = _turnEnd(audit) + _seatSeconds;
        if (block.timestamp <= until && _countOf(caseId, SeatState.Revealed) != AUDITORS) revert TurnNotOver(until);
        audit.ended = true;
        Findings memory found = _findings(caseId);
        // A batch that is final by now is final; its seats answer for it.
        bool held = _settlement.batchIdOf(audit.node, audit.slot) == caseId
            && _settlement.batchOf(audit.node, audit.slot).state == BatchState.Audited;
        found.fraud = found.fraud && held;
        // First what brings money into the pool, then what takes it out.
        if (found.fraud) _court.condemn(audit.node, audit.slot);
        uint256 off = _fineSeats(caseId, found.off);
        _fineSilent(caseId);
        emit AuditEnded(caseId, off, found.fraud);
        _settlement.closeAudit(audit.node, audit.slot, caseId, audit.due, found.heard);
    }

    // ---- views

    function isDrawn(bytes32 caseId) external view returns (bool) {
        return SampleLib.isAudited(_seedOf(caseId), caseId);
    }

    function preview(address node, uint8 slot, Contents calldata contents) external view returns (address[] memory) {
        return _draw(_settlement.batchIdOf(node, slot), contents);
    }

    function auditOf(bytes32 caseId) external view returns (Audit memory) {
        return _audits[caseId];
    }

    function auditorsOf(bytes32 caseId) external view returns (Auditor[] memory auditors) {
        if (_audits[caseId].since == 0) return auditors;
        auditors = new Auditor[](AUDITORS);
        for (uint256 i; i < AUDITORS; ++i) {
            auditors[i] = _auditors[caseId][i];
        }
    }

    // ---- inside: the draw

    function _draw(bytes32 caseId, Contents calldata contents) private view returns (address[] memory nodes) {
        bytes32 seed = _seedOf(caseId);
        if (!SampleLib.isAudited(seed, caseId)) revert NotDrawn(caseId);
        nodes = _court.drawAuditors(caseId, seed, contents);
        if (nodes.length < AUDITORS) revert TooFewAuditors(nodes.length);
    }

    /// @dev Of the epoch in which it passed, of which Court keeps the lowest 16 bits: the latest such epoch that has begun.
    function _seedOf(bytes32 caseId) private view returns (bytes32 seed) {
        CaseView memory passed = _court.caseOf(caseId);
        if (passed.verdict != Verdict.Pass) revert NotPassed(caseId);
        uint256 now_ = _beacon.epochOf(block.number);
        uint256 ago;
        unchecked {
            ago = uint16(now_ - passed.nextTry);
        }
        if (ago > LATEST_EPOCHS) revert TooLate(now_ - ago + LATEST_EPOCHS);
        (seed,) = _beacon.seedOf(now_ - ago);
        if (seed == 0) revert NoSeed(now_ - ago);
    }

    // ---- inside: a turn

    function _ownPlace(bytes32 caseId, uint8 auditor) private view returns (Audit storage audit, Auditor storage own) {
        audit = _requireRunning(caseId);
        own = _auditors[caseId][auditor < AUDITORS ? auditor : 0];
        (, address operator) = _stakes.keysOf(own.node);
        if (auditor >= AUDITORS || msg.sender != operator) revert NotAuditor(caseId, auditor, msg.sender);
    }

    function _requireRunning(bytes32 caseId) private view returns (Audit storage audit) {
        audit = _audits[caseId];
        if (audit.since == 0) revert NoSuchAudit(caseId);
        if (audit.ended) revert AuditOver(caseId);
    }

    /// @dev Until when auditors commit; as long again they reveal.
    function _turnEnd(Audit storage audit) private view returns (uint256) {
        return uint256(audit.since) + _seatSeconds;
    }

    function _countOf(bytes32 caseId, SeatState state) private view returns (uint256 count) {
        for (uint256 i; i < AUDITORS; ++i) {
            if (_auditors[caseId][i].state == state) ++count;
        }
    }

    // ---- inside: the end

    function _findings(bytes32 caseId) private view returns (Findings memory found) {
        found.heard = new address[](_countOf(caseId, SeatState.Revealed));
        uint256 count;
        uint256 once;
        uint256 twice;
        bool fraud = true;
        for (uint256 i; i < AUDITORS; ++i) {
            Auditor storage auditor = _auditors[caseId][i];
            if (auditor.state != SeatState.Revealed) continue;
            found.heard[count++] = auditor.node;
            twice |= once & auditor.off;
            once |= auditor.off;
            if (auditor.score > REVIEW_ABOVE) fraud = false;
        }
        found.off = twice;
        found.fraud = fraud && count == AUDITORS;
    }

    /// @dev Only who has revealed has bound itself to anything. No seat pays twice: one sat in both rounds only because there
    ///      was no other verifier, and then there are no auditors.
    /// @return off the seats that were fined for
    function _fineSeats(bytes32 caseId, uint256 caught) private returns (uint256 off) {
        if (caught == 0) return 0;
        Seat[] memory seats = _court.seatsOf(caseId);
        uint256 heard;
        for (uint256 i; i < seats.length; ++i) {
            if (seats[i].state == SeatState.Revealed) ++heard;
        }
        for (uint256 i; i < seats.length; ++i) {
            if ((caught >> i) & 1 == 0 || seats[i].state != SeatState.Revealed) continue;
            off |= 1 << i;
            _court.fine(seats[i].node, _lieBps(seats[i].node, _audits[caseId].due / heard), caseId);
        }
    }

    /// @dev Rounded up, and never more than fraud costs: nothing in shadow mode.
    function _lieBps(address seat, uint256 pay) private view returns (uint16) {
        NodeView memory shown = _stakes.nodeOf(seat);
        uint256 stake = uint256(shown.activeStake) + shown.unbondingStake;
        uint256 loss = LIE_PAYS * pay * 10_000;
        if (loss * LIE_DIVISOR <= _slashBps * stake) return _slashBps / LIE_DIVISOR;
        return loss >= _slashBps * stake ? _slashBps : uint16((loss + stake - 1) / stake);
    }

    /// @dev If no auditor has committed, perhaps none was able to.
    function _fineSilent(bytes32 caseId) private {
        if (_countOf(caseId, SeatState.Drawn) == AUDITORS) return;
        for (uint256 i; i < AUDITORS; ++i) {
            Auditor storage auditor = _auditors[caseId][i];
            if (auditor.state != SeatState.Revealed) _court.fine(auditor.node, NO_SHOW_BPS, caseId);
        }
    }
}
