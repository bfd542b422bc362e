// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Verifiers} from "./Verifiers.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {ContentsLib} from "../libraries/ContentsLib.sol";
import {MedianLib} from "../libraries/MedianLib.sol";
import {SampleLib} from "../libraries/SampleLib.sol";
import {Draw} from "../libraries/SeatLib.sol";
import {Contents, Docket} from "../types/BatchTypes.sol";
import {Case, CaseState, Ruling, Seat, SeatState, Sitting} from "../types/CaseTypes.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice The cases, their seats, and how seats are drawn for them.
/// @dev A seat in round 0 is drawn as for the seats of round 1: by the next tickets of one order, so no account chooses any.
abstract contract Cases is Verifiers {
    /// @dev How a case would begin.
    struct FirstBench {
        uint256[] drawn;
        uint256 wanted;
        uint256[] places;
        address[] nodes;
        uint256 nextTry;
    }

    /// @dev The reveals of the seats of one round, or of all.
    struct Hearing {
        address[] nodes;
        /// @dev Ascending, as are the ratios: not in the order of the nodes.
        int256[] scores;
        int256[] llrMillinats;
        /// @dev Whether that is everyone but the silent.
        bool all;
    }

    uint256 internal constant FULL_BENCH = 3;
    uint8 internal constant UNCALIBRATED = 2;
    /// @dev All rounds draw from the order of this one.
    uint8 private constant ORDER = 0;

    uint96 private immutable _courtValue;

    mapping(bytes32 caseId => Case) internal _cases;
    mapping(bytes32 caseId => Ruling) internal _rulings;
    mapping(bytes32 caseId => mapping(uint256 seat => Sitting)) internal _seats;

    constructor(IStakeManager stakes_, ISettlement settlement_, Profile memory profile)
        Verifiers(stakes_, settlement_, profile)
    {
        _courtValue = profile.courtValue;
    }

    function seatsOf(bytes32 caseId) external view returns (Seat[] memory seats) {
        Case storage shown = _cases[caseId];
        seats = new Seat[](shown.seatCount);
        for (uint256 i; i < seats.length; ++i) {
            Sitting storage sitting = _seats[caseId][i];
            Seat memory seat = seats[i];
            seat.node = _nodeOf(sitting, shown.classId);
            seat.state = sitting.state;
            seat.score = sitting.score;
            seat.since = sitting.since;
            if (seat.state == SeatState.Committed) seat.commitment = sitting.held;
            if (seat.state == SeatState.Revealed) seat.llrMillinats = int32(sitting.placeOrLlr);
        }
    }

    function previewSeats(address node, uint8 slot, Contents calldata contents)
        external
        view
        returns (address[] memory)
    {
        Docket memory docket = _docketOf(node, slot);
        return _firstBench(docket, node, contents).nodes;
    }

    function drawAuditors(bytes32 caseId, bytes32 seed, Contents calldata contents)
        external
        view
        returns (address[] memory)
    {
        Case storage passed = _cases[caseId];
        (uint256[] memory places,) = _drawMore(caseId, passed, contents, FULL_BENCH, seed);
        return _nodesAt(passed.classId, places);
    }

    // ---- inside: drawing

    /// @dev All that a draw of seats for this batch depends on. Reverts unless leaves are drawn and the contents are its own.
    function _drawFor(Docket memory docket, address node, Contents calldata contents)
        private
        view
        returns (Draw memory draw, uint256[] memory drawn)
    {
        if (ContentsLib.hashOf(contents) != docket.contentsHash) revert WrongContents();
        drawn = SampleLib.draw(docket.seed, docket.leafCount, docket.rateBps);
        if (drawn.length == 0) revert NotDrawn();
        draw.batchId = docket.batchId;
        draw.seed = docket.seed;
        draw.round = ORDER;
        draw.classId = uint8(docket.classId);
        draw.commitBlock = docket.commitBlock;
        (draw.owner,) = _keysOf(node);
        draw.parties = _partiesOf(contents, drawn, docket.rateBps);
    }

    /// @dev The seats that a case over this batch begins with: one where the drawn value is small, else three.
    function _firstBench(Docket memory docket, address node, Contents calldata contents)
        internal
        view
        returns (FirstBench memory first)
    {
        Draw memory draw;
        (draw, first.drawn) = _drawFor(docket, node, contents);
        uint256 value = uint256(contents.maxLeaf) * first.drawn.length;
        if (docket.charge < value) value = docket.charge;
        first.wanted = value < _courtValue ? 1 : FULL_BENCH;
        first.places = _drawSeats(draw, new address[](0), first.wanted);
        first.nodes = _nodesAt(draw.classId, first.places);
        first.nextTry = draw.nextTry;
    }

    /// @dev Goes on in the draw order; returns how many seats it could fill.
    function _seatMore(bytes32 caseId, Case storage open, Contents calldata contents, uint256 wanted)
        internal
        returns (uint256)
    {
        (uint256[] memory places, uint256 nextTry) = _drawMore(caseId, open, contents, wanted, 0);
        open.nextTry = uint16(nextTry);
        _addSeats(caseId, open, places);
        return places.length;
    }

    /// @dev Places of the next of the order who have not sat in this case.
    /// @param seed 0 for that of the batch
    function _drawMore(bytes32 caseId, Case storage open, Contents calldata contents, uint256 wanted, bytes32 seed)
        internal
        view
        returns (uint256[] memory places, uint256 nextTry)
    {
        (Draw memory draw,) = _drawFor(_docketOf(open.node, open.slot), open.node, contents);
        if (seed != 0) draw.seed = seed;
        draw.nextTry = open.nextTry;
        if (open.round == 0) {
            // Each verifier sits once at most: tickets for more seats than places would find no verifier.
            uint256 left = _listLength(open.classId, draw.commitBlock) - open.seatCount;
            if (wanted > left) wanted = left;
        }
        places = _drawSeats(draw, _satOn(caseId, open), wanted);
        nextTry = draw.nextTry;
    }

    function _addSeats(bytes32 caseId, Case storage open, uint256[] memory places) internal {
        uint256 count = open.seatCount;
        open.seatCount = uint8(count + places.length);
        for (uint256 i; i < places.length; ++i) {
            address node = _nodeAt(open.classId, places[i]);
            _seat(caseId, count + i, places[i], node);
            emit SeatAdded(caseId, uint8(count + i), node);
        }
    }

    /// @dev A new case and its seats.
    function _openCase(address node, uint8 slot, Docket memory docket, FirstBench memory first) internal {
        Case storage opened = _cases[docket.batchId];
        // Every member of Case that is not zero, at once: the compiler would write each of them.
        uint256 word = uint160(node) | uint256(slot) << 160 | docket.classId << 168 | uint256(CaseState.Open) << 176
            | first.wanted << 200 | first.places.length << 208 | first.nextTry << 216 | first.drawn.length << 232;
        assembly ("memory-safe") {
            sstore(opened.slot, word)
        }
        for (uint256 i; i < first.places.length; ++i) {
            _seat(docket.batchId, i, first.places[i], first.nodes[i]);
        }
    }

    function _seat(bytes32 caseId, uint256 seat, uint256 place, address node) private {
        Sitting storage drawn = _seats[caseId][seat];
        drawn.placeOrLlr = uint32(place);
        drawn.state = SeatState.Drawn;
        drawn.since = uint32(block.timestamp);
        drawn.held = bytes21(bytes20(node));
    }

    // ---- inside: reading

    function _nodeOf(Sitting storage sitting, uint8 classId) internal view returns (address) {
        return
            sitting.state == SeatState.Committed ? _nodeAt(classId, sitting.placeOrLlr) : address(bytes20(sitting.held));
    }

    /// @dev The nodes that sit or sat in a case.
    function _satOn(bytes32 caseId, Case storage open) private view returns (address[] memory nodes) {
        nodes = new address[](open.seatCount);
        for (uint256 i; i < nodes.length; ++i) {
            nodes[i] = _nodeOf(_seats[caseId][i], open.classId);
        }
    }

    /// @dev The reveals from seat `first` on.
    function _heard(bytes32 caseId, Case storage open, uint256 first) internal view returns (Hearing memory heard) {
        uint256 seatCount = open.seatCount;
        uint256 count;
        address[] memory nodes = new address[](seatCount);
        int256[] memory scores = new int256[](seatCount);
        int256[] memory llrMillinats = new int256[](seatCount);
        heard.all = true;
        for (uint256 i = first; i < seatCount; ++i) {
            Sitting storage seat = _seats[caseId][i];
            if (seat.state == SeatState.Revealed) {
                nodes[count] = address(bytes20(seat.held));
                MedianLib.insert(scores, count, int256(uint256(seat.score)));
                MedianLib.insert(llrMillinats, count++, int32(seat.placeOrLlr));
            } else if (seat.state != SeatState.Silent) {
                heard.all = false;
            }
        }
        assembly ("memory-safe") {
            mstore(nodes, count)
            mstore(scores, count)
            mstore(llrMillinats, count)
        }
        (heard.nodes, heard.scores, heard.llrMillinats) = (nodes, scores, llrMillinats);
    }

    function _isUncalibrated(Case storage open) internal view returns (bool) {
        return _batchOf(open.node, open.slot).flags & UNCALIBRATED != 0;
    }

    /// @dev A case in which seats may act.
    function _requireOpen(bytes32 caseId) internal view returns (Case storage open) {
        open = _cases[caseId];
        if (open.state == CaseState.None) revert NoSuchCase(caseId);
        if (open.state == CaseState.Closed) revert CaseClosed(caseId);
        if (open.state != CaseState.Open) revert CaseWaits(caseId, open.state);
    }
}
