// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Verifiers} from "./Verifiers.sol";
import {IParams} from "./interfaces/IParams.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {IStakeManager} from "./interfaces/IStakeManager.sol";
import {MedianLib} from "./libraries/MedianLib.sol";
import {Draw} from "./libraries/SeatLib.sol";
import {Batch, BatchState, Contents} from "./types/BatchTypes.sol";
import {CaseState, CaseView, Seat, SeatState, Verdict} from "./types/CaseTypes.sol";
import {Profile} from "./types/ParamTypes.sol";

/// @notice Drawn verifiers re-check the drawn leaves of a batch; the median of three decides. See ICourt.
contract Court is Verifiers {
    struct Case {
        address node;
        uint8 slot;
        uint8 classId;
        CaseState state;
        Verdict verdict;
        uint8 seatsWanted;
        uint8 seatCount;
        uint16 nextTry;
        uint16 drawnCount;
    }

    /// @dev Cases do not grow past three seats yet, so every seat sits in round 0.
    uint8 private constant ROUND = 0;
    uint256 private constant FULL_BENCH = 3;
    uint256 private constant PASS_ABOVE = 9_500;
    uint256 private constant REVIEW_ABOVE = 8_500;
    uint256 private constant SCORE_MAX = 10_000;
    uint16 private constant LIGHT = 50;
    uint16 private constant MEDIUM = 150;
    uint16 private constant SEVERE = 300;
    uint8 private constant UNCALIBRATED = 2;

    uint96 private immutable _courtValue;
    uint32 private immutable _seatSeconds;
    uint32 private immutable _starvedSeconds;
    uint16 private immutable _slashBps;
    address public immutable evidence;

    mapping(bytes32 caseId => Case) private _cases;
    mapping(bytes32 caseId => mapping(uint256 seat => Seat)) private _seats;

    constructor(IParams params_, IStakeManager stakes_, ISettlement settlement_, address evidence_)
        Verifiers(stakes_, settlement_, params_.profile())
    {
        evidence = evidence_;
        // Three contracts name each other: their addresses were foretold from the deployer's nonce.
        bool wired = settlement_.court() == address(this) && stakes_.court() == address(this)
            && stakes_.settlement() == address(settlement_);
        if (!wired) revert BadWiring();
        Profile memory profile = params_.profile();
        _courtValue = profile.courtValue;
        _seatSeconds = profile.seatSeconds;
        _starvedSeconds = profile.starvedSeconds;
        _slashBps = profile.slashBps;
    }
    // ---- a case

    function convene(address node, uint8 slot, Contents calldata contents) external returns (bytes32 caseId) {
        (Batch memory batch, Draw memory draw, uint256[] memory drawn) = _drawFor(node, slot, contents);
        if (batch.state != BatchState.Pending) revert WrongState(batch.state);
        uint256 until = uint256(batch.commitTime) + _starvedSeconds;
        if (block.timestamp > until) revert TooLate(until);
        uint256 wanted = _seatsWanted(batch, contents.maxLeaf, drawn.length);
        address[] memory found = _drawSeats(draw, new address[](0), wanted);
        if (found.length == 0) revert NoSeats();
        caseId = draw.batchId;
        Case memory opened;
        opened.node = node;
        opened.slot = slot;
        opened.classId = batch.classId;
        opened.state = CaseState.Open;
        opened.seatsWanted = uint8(wanted);
        opened.seatCount = uint8(found.length);
        opened.nextTry = uint16(draw.nextTry);
        opened.drawnCount = uint16(drawn.length);
        _cases[caseId] = opened;
        for (uint256 i; i < found.length; ++i) {
            _seat(caseId, i, found[i]);
        }
        emit CaseConvened(caseId, node, slot, batch.classId, found, drawn);
        _settlement.openCase(node, slot);
    }

    function commitSeat(bytes32 caseId, uint8 seat, bytes32 commitment) external {
        Seat storage sitting = _ownSeat(caseId, seat);
        if (commitment == 0) revert ZeroCommitment();
        if (sitting.state != SeatState.Drawn) revert AlreadyCommitted(caseId, seat);
        sitting.state = SeatState.Committed;
        sitting.since = uint40(block.timestamp);
        sitting.commitment = commitment;
        emit SeatCommitted(caseId, seat, sitting.node, commitment);
    }

    function revealSeat(bytes32 caseId, uint8 seat, bytes32 digest, uint16[] calldata scores, bytes32 salt) external {
        Seat storage sitting = _ownSeat(caseId, seat);
        if (sitting.state != SeatState.Committed) revert NotCommitted(caseId, seat);
        _requireAllCommitted(caseId);
        if (sitting.commitment != keccak256(abi.encode(caseId, ROUND, seat, digest, salt))) {
            revert CommitmentMismatch(caseId, seat);
        }
        if (scores.length != _cases[caseId].drawnCount) {
            revert WrongScoreCount(scores.length, _cases[caseId].drawnCount);
        }
        sitting.state = SeatState.Revealed;
        sitting.score = _minimumOf(scores);
        emit SeatRevealed(caseId, seat, sitting.node, scores, digest);
    }

    function replaceSeat(bytes32 caseId, uint8 seat, Contents calldata contents) external {
        Case storage open = _openCase(caseId);
        uint256 until = _turnEnd(caseId, open, seat);
        if (block.timestamp <= until) revert SeatStillHasTime(until);
        Seat storage sitting = _seats[caseId][seat];
        sitting.state = SeatState.Silent;
        emit SeatReplaced(caseId, seat, sitting.node);
        _seatMore(caseId, open, contents, 1);
        _stakes.penalise(sitting.node, LIGHT, false);
    }

    function resolve(bytes32 caseId, Contents calldata contents) external returns (Verdict verdict) {
        Case storage open = _openCase(caseId);
        (address[] memory nodes, uint16[] memory scores) = _revealed(caseId, open);
        if (nodes.length == 0 || nodes.length != _sitting(caseId, open)) revert NotAllRevealed(caseId);
        uint16 median = _median(scores);
        verdict = _verdictOf(median);
        if (verdict != Verdict.Pass && nodes.length < FULL_BENCH) {
            // Fewer than three can only pass.
            if (_seatMore(caseId, open, contents, FULL_BENCH - nodes.length) != 0) return Verdict.None;
            verdict = Verdict.Short;
        }
        return _close(caseId, open, verdict, median, nodes);
    }

    function voidStarved(address node, uint8 slot, Contents calldata contents) external {
        Batch memory batch = _settlement.batchOf(node, slot);
        bytes32 caseId = _settlement.batchIdOf(node, slot);
        // A case may take as long again as the batch may wait for one.
        uint256 factor = batch.state == BatchState.InCourt ? 2 : 1;
        uint256 until = uint256(batch.commitTime) + factor * _starvedSeconds;
        if (batch.state != BatchState.InCourt && batch.state != BatchState.Pending) revert WrongState(batch.state);
        if (block.timestamp <= until) revert NotStarved(until);
        if (batch.state == BatchState.Pending) return _voidUnheard(caseId, node, slot, contents);
        Case storage open = _openCase(caseId);
        (address[] memory nodes, uint16[] memory scores) = _revealed(caseId, open);
        uint16 lowest = _lowest(scores);
        bool found = nodes.length != 0 && _verdictOf(lowest) != Verdict.Pass;
        _close(caseId, open, found ? Verdict.Short : Verdict.Starved, lowest, nodes);
    }

    // ---- what code has judged

    function condemn(address node, uint8 slot) external returns (bytes32 caseId) {
        if (msg.sender != evidence) revert NotEvidence(msg.sender);
        caseId = _settlement.batchIdOf(node, slot);
        Case storage judged = _cases[caseId];
        (judged.node, judged.slot) = (node, slot);
        (judged.state, judged.verdict) = (CaseState.Closed, Verdict.Severe);
        emit CaseResolved(caseId, node, slot, Verdict.Severe, 0);
        // The slash comes first: its share of the pool makes sure that a fee which went there can go back.
        _punish(caseId, node, Verdict.Severe, false);
        _settlement.voidProven(node, slot);
    }

    // ---- views

    function caseOf(bytes32 caseId) external view returns (CaseView memory) {
        Case memory one = _cases[caseId];
        return CaseView({
            node: one.node,
            slot: one.slot,
            classId: one.classId,
            state: one.state,
            verdict: one.verdict,
            round: ROUND,
            seatsWanted: one.seatsWanted,
            seatCount: one.seatCount,
            nextTry: one.nextTry,
            drawnCount: one.drawnCount
        });
    }

    function seatsOf(bytes32 caseId) external view returns (Seat[] memory seats) {
        seats = new Seat[](_cases[caseId].seatCount);
        for (uint256 i; i < seats.length; ++i) {
            seats[i] = _seats[caseId][i];
        }
    }

    function previewSeats(address node, uint8 slot, Contents calldata contents)
        external
        view
        returns (address[] memory)
    {
        (Batch memory batch, Draw memory draw, uint256[] memory drawn) = _drawFor(node, slot, contents);
        return _drawSeats(draw, new address[](0), _seatsWanted(batch, contents.maxLeaf, drawn.length));
    }

    // ---- inside: seats

    /// @dev All that a draw of seats for this batch depends on. Reverts unless leaves are drawn and the contents are its own.
    function _drawFor(address node, uint8 slot, Contents calldata contents)
        private
        view
        returns (Batch memory batch, Draw memory draw, uint256[] memory drawn)
    {
        (batch, draw.batchId, draw.seed, drawn) = _settlement.drawOf(node, slot);
        if (keccak256(abi.encode(contents)) != batch.contentsHash) revert WrongContents();
        if (drawn.length == 0) revert NotDrawn();
        draw.round = ROUND;
        draw.classId = batch.classId;
        draw.commitBlock = batch.commitBlock;
        (draw.owner,) = _stakes.keysOf(node);
        draw.parties = _partiesOf(contents, drawn);
    }

    function _seatsWanted(Batch memory batch, uint96 maxLeaf, uint256 drawnCount) private view returns (uint256) {
        uint256 value = uint256(maxLeaf) * drawnCount;
        if (batch.charge < value) value = batch.charge;
        return value < _courtValue ? 1 : FULL_BENCH;
    }

    /// @dev Goes on in the draw order; returns how many seats it could fill.
    function _seatMore(bytes32 caseId, Case storage open, Contents calldata contents, uint256 wanted)
        private
        returns (uint256)
    {
        (, Draw memory draw,) = _drawFor(open.node, open.slot, contents);
        draw.nextTry = open.nextTry;
        uint256 count = open.seatCount;
        address[] memory seated = new address[](count);
        for (uint256 i; i < count; ++i) {
            seated[i] = _seats[caseId][i].node;
        }
        address[] memory found = _drawSeats(draw, seated, wanted);
        open.nextTry = uint16(draw.nextTry);
        open.seatCount = uint8(count + found.length);
        for (uint256 i; i < found.length; ++i) {
            _seat(caseId, count + i, found[i]);
            emit SeatAdded(caseId, uint8(count + i), found[i]);
        }
        return found.length;
    }

    /// @dev Leaves the commitment alone: writing its zero would cost as much as reading it.
    function _seat(bytes32 caseId, uint256 seat, address node) private {
        Seat storage drawn = _seats[caseId][seat];
        drawn.node = node;
        drawn.state = SeatState.Drawn;
        drawn.since = uint40(block.timestamp);
    }

    /// @dev When a seat's present turn is over. While a seat has not committed it is that seat's turn; when all have, it is
    ///      the turn of all who have not revealed, from the last commitment on.
    function _turnEnd(bytes32 caseId, Case storage open, uint8 seat) private view returns (uint256) {
        SeatState state = _seats[caseId][seat].state;
        if (state == SeatState.Drawn) return uint256(_seats[caseId][seat].since) + _seatSeconds;
        if (state != SeatState.Committed) revert SeatNotSilent(caseId, seat);
        uint256 last;
        for (uint256 i; i < open.seatCount; ++i) {
            Seat storage other = _seats[caseId][i];
            if (other.state == SeatState.Drawn) revert SeatNotSilent(caseId, seat);
            if (other.state != SeatState.Silent && other.since > last) last = other.since;
        }
        return last + _seatSeconds;
    }

    function _ownSeat(bytes32 caseId, uint8 seat) private view returns (Seat storage sitting) {
        _openCase(caseId);
        sitting = _seats[caseId][seat];
        (, address operator) = _stakes.keysOf(sitting.node);
        if (sitting.state == SeatState.None || sitting.state == SeatState.Silent || msg.sender != operator) {
            revert NotSeated(caseId, seat, msg.sender);
        }
    }

    /// @dev Else a seat could echo what another has revealed.
    function _requireAllCommitted(bytes32 caseId) private view {
        uint256 count = _cases[caseId].seatCount;
        for (uint256 i; i < count; ++i) {
            if (_seats[caseId][i].state == SeatState.Drawn) revert SeatsMissing(caseId, uint8(i));
        }
    }

    function _sitting(bytes32 caseId, Case storage open) private view returns (uint256 count) {
        for (uint256 i; i < open.seatCount; ++i) {
            if (_seats[caseId][i].state != SeatState.Silent) ++count;
        }
    }

    function _revealed(bytes32 caseId, Case storage open)
        private
        view
        returns (address[] memory nodes, uint16[] memory scores)
    {
        uint256 count;
        nodes = new address[](open.seatCount);
        scores = new uint16[](open.seatCount);
        for (uint256 i; i < open.seatCount; ++i) {
            Seat storage seat = _seats[caseId][i];
            if (seat.state != SeatState.Revealed) continue;
            nodes[count] = seat.node;
            scores[count++] = seat.score;
        }
        assembly ("memory-safe") {
            mstore(nodes, count)
            mstore(scores, count)
        }
    }

    // ---- inside: verdicts

    function _close(bytes32 caseId, Case storage open, Verdict verdict, uint16 median, address[] memory seats)
        private
        returns (Verdict)
    {
        address node = open.node;
        if (verdict > Verdict.Review && verdict != Verdict.Starved && _isUncalibrated(open)) verdict = Verdict.Review;
        open.state = CaseState.Closed;
        open.verdict = verdict;
        emit CaseResolved(caseId, node, open.slot, verdict, median);
        // The slash comes first: its share of the pool helps to pay the seats that found the fraud.
        _punish(caseId, node, verdict, _isUncalibrated(open));
        _settlement.closeCase(node, open.slot, verdict == Verdict.Pass, seats);
        return verdict;
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
    function _voidUnheard(bytes32 caseId, address node, uint8 slot, Contents calldata contents) private {
        (Batch memory batch, Draw memory draw, uint256[] memory drawn) = _drawFor(node, slot, contents);
        uint256 wanted = _seatsWanted(batch, contents.maxLeaf, drawn.length);
        bool drawable = _drawSeats(draw, new address[](0), wanted).length != 0;
        _cases[caseId].state = CaseState.Closed;
        _cases[caseId].verdict = Verdict.Starved;
        emit CaseResolved(caseId, node, slot, Verdict.Starved, 0);
        if (drawable) _stakes.penalise(node, MEDIUM, true);
        _settlement.voidUnheard(node, slot);
    }

    function _isUncalibrated(Case storage open) private view returns (bool) {
        return _settlement.batchOf(open.node, open.slot).flags & UNCALIBRATED != 0;
    }

    function _openCase(bytes32 caseId) private view returns (Case storage open) {
        open = _cases[caseId];
        if (open.state == CaseState.None) revert NoSuchCase(caseId);
        if (open.state != CaseState.Open) revert CaseClosed(caseId);
    }

    function _verdictOf(uint16 score) private pure returns (Verdict) {
        if (score > PASS_ABOVE) return Verdict.Pass;
        return score > REVIEW_ABOVE ? Verdict.Review : Verdict.Severe;
    }

    function _median(uint16[] memory scores) private pure returns (uint16) {
        return scores.length == FULL_BENCH ? MedianLib.medianOf(scores[0], scores[1], scores[2]) : _lowest(scores);
    }

    function _lowest(uint16[] memory scores) private pure returns (uint16 lowest) {
        if (scores.length == 0) return 0;
        lowest = scores[0];
        for (uint256 i = 1; i < scores.length; ++i) {
            if (scores[i] < lowest) lowest = scores[i];
        }
    }

    /// @dev A seat's score is that of the worst leaf.
    function _minimumOf(uint16[] calldata scores) private pure returns (uint16 lowest) {
        lowest = uint16(SCORE_MAX);
        for (uint256 i; i < scores.length; ++i) {
            if (scores[i] > SCORE_MAX) revert ScoreOutOfRange(scores[i]);
            if (scores[i] < lowest) lowest = scores[i];
        }
    }
}
