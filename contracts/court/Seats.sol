// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Cases} from "./Cases.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {Contents} from "../types/BatchTypes.sol";
import {Case, SeatState, Sitting} from "../types/CaseTypes.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice A seat's turn: it binds itself, then shows its scores; who does neither is replaced.
abstract contract Seats is Cases {
    uint256 private constant SCORE_MAX = 10_000;
    uint16 internal constant LIGHT = 50;
    /// @dev The part of its stake that a no-show loses: enough that silence is no way to shape a bench.
    uint16 private constant NO_SHOW_BPS = 50;
    /// @dev A seat may step down within this part of its first turn.
    uint256 private constant ABSTAIN_DIVISOR = 4;

    uint32 internal immutable _seatSeconds;

    /// @dev The last day, counted from 1970, on which a node stepped down.
    mapping(address node => uint256) private _abstainedOn;

    constructor(IStakeManager stakes_, ISettlement settlement_, Profile memory profile)
        Cases(stakes_, settlement_, profile)
    {
        _seatSeconds = profile.seatSeconds;
    }

    function commitSeat(bytes32 caseId, uint8 seat, bytes32 commitment) external {
        (Sitting storage sitting, address node) = _ownSeat(caseId, seat);
        if (commitment == 0) revert ZeroCommitment();
        if (sitting.state != SeatState.Drawn) revert AlreadyCommitted(caseId, seat);
        sitting.state = SeatState.Committed;
        sitting.since = uint32(block.timestamp);
        sitting.held = bytes21(commitment);
        emit SeatCommitted(caseId, seat, node, commitment);
    }

    function revealSeat(
        bytes32 caseId,
        uint8 seat,
        bytes32 digest,
        uint16[] calldata scores,
        bytes32 salt,
        int32 llrMillinats_
    ) external {
        (Sitting storage sitting, address node) = _ownSeat(caseId, seat);
        if (sitting.state != SeatState.Committed) revert NotCommitted(caseId, seat);
        Case storage open = _cases[caseId];
        _requireAllCommitted(caseId, open);
        if (sitting.held != bytes21(keccak256(abi.encode(caseId, open.round, seat, digest, llrMillinats_, salt)))) {
            revert CommitmentMismatch(caseId, seat);
        }
        if (scores.length != open.drawnCount) revert WrongScoreCount(scores.length, open.drawnCount);
        uint16 score = _minimumOf(scores);
        sitting.state = SeatState.Revealed;
        sitting.score = score;
        sitting.held = bytes21(bytes20(node));
        // Its node is known again without its place.
        sitting.placeOrLlr = uint32(llrMillinats_);
        emit SeatRevealed(caseId, seat, node, scores, digest, llrMillinats_);
    }

    function replaceSeat(bytes32 caseId, uint8 seat, Contents calldata contents) external {
        Case storage open = _requireOpen(caseId);
        uint256 until = _turnEnd(caseId, open, seat);
        if (block.timestamp <= until) revert SeatStillHasTime(until);
        bool shown = _isAnyBound(caseId, open);
        address node = _vacate(caseId, open, seat, contents);
        _fine(node, shown ? NO_SHOW_BPS : 0, caseId);
    }

    function abstain(bytes32 caseId, uint8 seat, Contents calldata contents) external {
        (Sitting storage sitting, address node) = _ownSeat(caseId, seat);
        if (sitting.state != SeatState.Drawn) revert AlreadyCommitted(caseId, seat);
        uint256 until = uint256(sitting.since) + _seatSeconds / ABSTAIN_DIVISOR;
        if (block.timestamp > until) revert TooLateToAbstain(until);
        uint256 today = block.timestamp / 1 days;
        if (_abstainedOn[node] == today) revert AbstainedToday(node);
        _abstainedOn[node] = today;
        emit SeatAbstained(caseId, seat, node);
        _vacate(caseId, _cases[caseId], seat, contents);
    }

    // ---- inside

    function _fine(address node, uint16 bps, bytes32 caseId) internal {
        _slash(node, bps, caseId);
        _penalise(node, LIGHT, false);
    }

    /// @dev Empties a seat and fills it by the next verifier of the order, if there is one.
    function _vacate(bytes32 caseId, Case storage open, uint8 seat, Contents calldata contents)
        private
        returns (address node)
    {
        Sitting storage sitting = _seats[caseId][seat];
        node = _nodeOf(sitting, open.classId);
        sitting.state = SeatState.Silent;
        sitting.held = bytes21(bytes20(node));
        emit SeatReplaced(caseId, seat, node);
        _seatMore(caseId, open, contents, 1);
    }

    /// @dev When a seat's present turn is over. While a seat has not committed it is that seat's turn; when all have, it is
    ///      the turn of all who have not revealed, from the last commitment on.
    function _turnEnd(bytes32 caseId, Case storage open, uint8 seat) private view returns (uint256) {
        Sitting storage sitting = _seats[caseId][seat];
        // A demand for data has stopped every seat's turn.
        uint256 last = _rulings[caseId].resumedAt;
        if (sitting.state == SeatState.Drawn) {
            return (sitting.since > last ? sitting.since : last) + _seatSeconds;
        }
        if (sitting.state != SeatState.Committed) revert SeatNotSilent(caseId, seat);
        for (uint256 i = open.firstSeat; i < open.seatCount; ++i) {
            Sitting storage other = _seats[caseId][i];
            if (other.state == SeatState.Drawn) revert SeatNotSilent(caseId, seat);
            if (other.state != SeatState.Silent && other.since > last) last = other.since;
        }
        return last + _seatSeconds;
    }

    function _ownSeat(bytes32 caseId, uint8 seat) internal view returns (Sitting storage sitting, address node) {
        Case storage open = _requireOpen(caseId);
        sitting = _seats[caseId][seat];
        address operator;
        if (sitting.state != SeatState.None && sitting.state != SeatState.Silent) {
            node = _nodeOf(sitting, open.classId);
            (, operator) = _keysOf(node);
        }
        if (msg.sender != operator) revert NotSeated(caseId, seat, msg.sender);
    }

    /// @dev Whether any seat of this round has committed. If none could, the node may have shown nothing to anybody: it must not
    ///      be able to have its judges fined for that.
    function _isAnyBound(bytes32 caseId, Case storage open) private view returns (bool) {
        for (uint256 i = open.firstSeat; i < open.seatCount; ++i) {
            SeatState state = _seats[caseId][i].state;
            if (state == SeatState.Committed || state == SeatState.Revealed) return true;
        }
        return false;
    }

    /// @dev Else a seat could echo what another has revealed.
    function _requireAllCommitted(bytes32 caseId, Case storage open) internal view {
        for (uint256 i = open.firstSeat; i < open.seatCount; ++i) {
            if (_seats[caseId][i].state == SeatState.Drawn) revert SeatsMissing(caseId, uint8(i));
        }
    }

    /// @dev A seat's score is that of the worst leaf.
    function _minimumOf(uint16[] calldata scores) private pure returns (uint16 lowest) {
        lowest = uint16(SCORE_MAX);
        for (uint256 i; i < scores.length; ++i) {
            uint16 score = scores[i];
            if (score > SCORE_MAX) revert ScoreOutOfRange(score);
            if (score < lowest) lowest = score;
        }
    }
}
