// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Seats} from "./Seats.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {Contents} from "../types/BatchTypes.sol";
import {Case, CaseState, Ruling, Verdict} from "../types/CaseTypes.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice The meaning of a round's scores, and the growth of a case to its second and last round.
/// @dev Seven new seats decide alone: a share q of bribed verifiers then has to win two draws, not one.
abstract contract Rounds is Seats {
    uint256 private constant PASS_ABOVE = 9_500;
    uint256 private constant REVIEW_ABOVE = 8_500;
    /// @dev Honest seats differ by noise; above this one of them must be wrong.
    int256 private constant SPREAD_MAX = 1_000;
    uint256 private constant LARGEST_BENCH = 7;

    constructor(IStakeManager stakes_, ISettlement settlement_, Profile memory profile)
        Seats(stakes_, settlement_, profile)
    {}

    /// @dev Seats the second round and keeps what the first has found; false if the bench cannot grow.
    function _grow(bytes32 caseId, Case storage open, Contents calldata contents, Verdict verdict, uint16 median)
        internal
        returns (bool)
    {
        (uint256[] memory bench, uint256 nextTry) = _largerBench(caseId, open, contents);
        if (bench.length == 0) return false;
        open.state = CaseState.Open;
        open.nextTry = uint16(nextTry);
        open.seatsWanted = uint8(bench.length);
        open.round = 1;
        open.firstSeat = open.seatCount;
        _keep(caseId, verdict, median);
        emit CaseGrown(caseId, 1, open.firstSeat, verdict, median);
        _addSeats(caseId, open, bench);
        return true;
    }

    function _canGrow(bytes32 caseId, Case storage open, Contents calldata contents) internal view returns (bool) {
        (uint256[] memory bench,) = _largerBench(caseId, open, contents);
        return bench.length != 0;
    }

    function _keep(bytes32 caseId, Verdict verdict, uint16 median) internal {
        Ruling storage ruling = _rulings[caseId];
        ruling.since = uint40(block.timestamp);
        ruling.verdict = verdict;
        ruling.median = median;
    }

    function _differ(int256[] memory ascending) internal pure returns (bool) {
        return ascending[ascending.length - 1] - ascending[0] > SPREAD_MAX;
    }

    function _verdictOf(uint16 score) internal pure returns (Verdict) {
        if (score > PASS_ABOVE) return Verdict.Pass;
        return score > REVIEW_ABOVE ? Verdict.Review : Verdict.Severe;
    }

    /// @dev The largest odd number of seats up to seven, new verifiers first, then those who revealed in the first round; none
    ///      if that is no more than sat there.
    function _largerBench(bytes32 caseId, Case storage open, Contents calldata contents)
        private
        view
        returns (uint256[] memory bench, uint256 nextTry)
    {
        // Cheap bound before any draw: the list must hold two more places than the case has used.
        bool may = open.round == 0 && _listLength(open.classId, block.number) >= uint256(open.seatCount) + 2;
        if (!may) return (bench, 0);
        address[] memory old = _heard(caseId, open, 0).nodes;
        uint256[] memory fresh;
        (fresh, nextTry) = _drawMore(caseId, open, contents, LARGEST_BENCH, 0);
        uint256 size = fresh.length + old.length;
        if (size > LARGEST_BENCH) size = LARGEST_BENCH;
        if (size & 1 == 0) --size;
        if (size <= old.length) return (new uint256[](0), nextTry);
        bench = new uint256[](size);
        for (uint256 i; i < size; ++i) {
            bench[i] = i < fresh.length ? fresh[i] : _placeOf(old[i - fresh.length], open.classId);
        }
    }
}
