// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Verifiers} from "./Verifiers.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {IStakeManager} from "./interfaces/IStakeManager.sol";
import {Draw} from "./libraries/SeatLib.sol";
import {Batch, Contents} from "./types/BatchTypes.sol";
import {Case, CaseState, Ruling, Seat, SeatState, Verdict} from "./types/CaseTypes.sol";
import {Profile} from "./types/ParamTypes.sol";

/// @notice The cases, their seats, and how seats are drawn for them.
/// @dev A seat in round 0 is drawn as for the seats of round 1: by the next tickets of one order, so nobody chooses any.
abstract contract Cases is Verifiers {
    /// @dev How a case would begin.
    struct FirstBench {
        bytes32 caseId;
        Batch batch;
        uint256[] drawn;
        uint256 wanted;
        address[] found;
        uint256 nextTry;
    }

    uint256 internal constant FULL_BENCH = 3;
    uint8 internal constant UNCALIBRATED = 2;
    /// @dev All rounds draw from the order of this one.
    uint8 private constant ORDER = 0;

    uint96 private immutable _courtValue;

    mapping(bytes32 caseId => Case) internal _cases;
    mapping(bytes32 caseId => Ruling) internal _rulings;
    /// @dev Meanwhile everything else that the node has open is drawn in full, as that of a jailed one.
    mapping(address node => uint256) public accusations;
    mapping(bytes32 caseId => mapping(uint256 seat => Seat)) internal _seats;

    constructor(IStakeManager stakes_, ISettlement settlement_, Profile memory profile)
        Verifiers(stakes_, settlement_, profile)
    {
        _courtValue = profile.courtValue;
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
        return _firstBench(node, slot, contents).found;
    }

    // ---- inside: drawing

    /// @dev All that a draw of seats for this batch depends on. Reverts unless leaves are drawn and the contents are its own.
    function _drawFor(address node, uint8 slot, Contents calldata contents)
        private
        view
        returns (Batch memory batch, Draw memory draw, uint256[] memory drawn)
    {
        (batch, draw.batchId, draw.seed, drawn) = _settlement.drawOf(node, slot);
        if (keccak256(abi.encode(contents)) != batch.contentsHash) revert WrongContents();
        if (drawn.length == 0) revert NotDrawn();
        draw.round = ORDER;
        draw.classId = batch.classId;
        draw.commitBlock = batch.commitBlock;
        (draw.owner,) = _keysOf(node);
        draw.parties = _partiesOf(contents, drawn);
    }

    /// @dev The seats that a case over this batch begins with: one where the drawn value is small, else three.
    function _firstBench(address node, uint8 slot, Contents calldata contents)
        internal
        view
        returns (FirstBench memory first)
    {
        Draw memory draw;
        (first.batch, draw, first.drawn) = _drawFor(node, slot, contents);
        uint256 value = uint256(contents.maxLeaf) * first.drawn.length;
        if (first.batch.charge < value) value = first.batch.charge;
        first.wanted = value < _courtValue ? 1 : FULL_BENCH;
        first.found = _drawSeats(draw, new address[](0), first.wanted);
        (first.caseId, first.nextTry) = (draw.batchId, draw.nextTry);
    }

    /// @dev Goes on in the draw order; returns how many seats it could fill.
    function _seatMore(bytes32 caseId, Case storage open, Contents calldata contents, uint256 wanted)
        internal
        returns (uint256)
    {
        (address[] memory found, uint256 nextTry) = _drawMore(caseId, open, contents, wanted);
        open.nextTry = uint16(nextTry);
        _addSeats(caseId, open, found);
        return found.length;
    }

    /// @dev The next of the order who have not sat in this case.
    function _drawMore(bytes32 caseId, Case storage open, Contents calldata contents, uint256 wanted)
        internal
        view
        returns (address[] memory found, uint256 nextTry)
    {
        (, Draw memory draw,) = _drawFor(open.node, open.slot, contents);
        draw.nextTry = open.nextTry;
        if (open.round == 0) {
            // Everybody has sat once at most: tickets for more seats than there are places would find nobody.
            uint256 left = _listLength(open.classId, draw.commitBlock) - open.seatCount;
            if (wanted > left) wanted = left;
        }
        found = _drawSeats(draw, _nodesOf(caseId, open.seatCount), wanted);
        nextTry = draw.nextTry;
    }

    function _addSeats(bytes32 caseId, Case storage open, address[] memory found) internal {
        uint256 count = open.seatCount;
        open.seatCount = uint8(count + found.length);
        for (uint256 i; i < found.length; ++i) {
            _seat(caseId, count + i, found[i]);
            emit SeatAdded(caseId, uint8(count + i), found[i]);
        }
    }

    /// @dev Leaves the commitment alone: writing its zero would cost as much as reading it.
    function _seat(bytes32 caseId, uint256 seat, address node) internal {
        Seat storage drawn = _seats[caseId][seat];
        drawn.node = node;
        drawn.state = SeatState.Drawn;
        drawn.since = uint40(block.timestamp);
    }

    // ---- inside: reading

    /// @dev Who sits or sat on the first `count` seats.
    function _nodesOf(bytes32 caseId, uint256 count) internal view returns (address[] memory nodes) {
        nodes = new address[](count);
        for (uint256 i; i < count; ++i) {
            nodes[i] = _seats[caseId][i].node;
        }
    }

    /// @dev Seats that count, from `first` on: all but the silent ones.
    function _sitting(bytes32 caseId, Case storage open, uint256 first) internal view returns (uint256 count) {
        for (uint256 i = first; i < open.seatCount; ++i) {
            if (_seats[caseId][i].state != SeatState.Silent) ++count;
        }
    }

    /// @dev Who has revealed what, from seat `first` on.
    function _revealed(bytes32 caseId, Case storage open, uint256 first)
        internal
        view
        returns (address[] memory nodes, uint16[] memory scores)
    {
        uint256 count;
        nodes = new address[](open.seatCount);
        scores = new uint16[](open.seatCount);
        for (uint256 i = first; i < open.seatCount; ++i) {
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

    function _isUncalibrated(Case storage open) internal view returns (bool) {
        return _batchOf(open.node, open.slot).flags & UNCALIBRATED != 0;
    }

    /// @dev A case in which seats may act.
    function _openCase(bytes32 caseId) internal view returns (Case storage open) {
        open = _cases[caseId];
        if (open.state == CaseState.None) revert NoSuchCase(caseId);
        if (open.state == CaseState.Closed) revert CaseClosed(caseId);
        if (open.state != CaseState.Open) revert CaseWaits(caseId, open.state);
    }
}
