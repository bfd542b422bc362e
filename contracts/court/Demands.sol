// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Appeals} from "./Appeals.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {SampleLib} from "../libraries/SampleLib.sol";
import {SeatLib} from "../libraries/SeatLib.sol";
import {Docket} from "../types/BatchTypes.sol";
import {Case, CaseState, Ruling, SeatState, Sitting} from "../types/CaseTypes.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice A node must show on chain what it did not show a seat. There its answer is undeniable.
/// @dev The chain counts the bytes and leaves what is in them to the seats: to answer with rubbish is to be scored for rubbish.
abstract contract Demands is Appeals {
    uint256 private constant ANSWER_MAX = 16 * 1024;

    uint32 internal immutable _dataSeconds;

    constructor(IStakeManager stakes_, ISettlement settlement_, Profile memory profile)
        Appeals(stakes_, settlement_, profile)
    {
        _dataSeconds = profile.dataSeconds;
    }

    function demandData(bytes32 caseId, uint8 seat, uint24 leaf, bytes32 key) external {
        (Sitting storage sitting,) = _ownSeat(caseId, seat);
        Case storage open = _cases[caseId];
        if (sitting.state == SeatState.Revealed) revert AlreadyRevealed(caseId, seat);
        // Fingerprints are for those who have bound themselves, and this shows them to all seats.
        if (sitting.state == SeatState.Committed) _requireAllCommitted(caseId, open);
        Ruling storage ruling = _rulings[caseId];
        if (ruling.demandedAt != 0) revert DemandedBefore(caseId);
        _requireDrawn(open, leaf);
        ruling.demandedAt = uint40(block.timestamp);
        open.state = CaseState.DataChallenge;
        emit DataDemanded(caseId, seat, leaf, key, block.timestamp + _dataSeconds);
    }

    function answerData(bytes32 caseId, bytes calldata data) external {
        Case storage waiting = _cases[caseId];
        if (waiting.state != CaseState.DataChallenge) revert NothingDemanded(caseId);
        _requireNodes(waiting.node);
        Ruling storage ruling = _rulings[caseId];
        uint256 until = uint256(ruling.demandedAt) + _dataSeconds;
        if (block.timestamp > until) revert TooLate(until);
        if (data.length == 0 || data.length > ANSWER_MAX) revert BadAnswer(data.length);
        waiting.state = CaseState.Open;
        ruling.resumedAt = uint40(block.timestamp);
        emit DataAnswered(caseId, data);
    }

    function _requireDrawn(Case storage open, uint24 leaf) private view {
        Docket memory docket = _docketOf(open.node, open.slot);
        uint256[] memory drawn = SampleLib.draw(docket.seed, docket.leafCount, docket.rateBps);
        if (!SeatLib.isAmong(leaf, drawn, drawn.length)) revert LeafNotDrawn(leaf);
    }
}
