// This contract is deployed.
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Verdicts} from "./Verdicts.sol";
import {IParams} from "../interfaces/IParams.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {MedianLib} from "../libraries/MedianLib.sol";
import {Batch, BatchState, Contents, Docket} from "../types/BatchTypes.sol";
import {Case, CaseState, CaseView, Ruling, Verdict} from "../types/CaseTypes.sol";

/// @notice Drawn verifiers re-check the drawn leaves of a batch; their median decides. See ICourt.
/// @dev From the seats up: Verifiers (who may sit), Cases (what is kept, how it is drawn), Seats (a turn), Rounds (how a case
///      grows), Appeals, Verdicts (what follows). Here a case begins and ends. Panel is a contract of its own.
contract Court is Verdicts {
    uint32 private immutable _starvedSeconds;

    constructor(IParams params_, IStakeManager stakes_, ISettlement settlement_, address fraudProofs_, address audits_)
        Verdicts(params_, stakes_, settlement_, fraudProofs_, audits_, params_.profile())
    {
        // Three contracts name each other: their addresses were foretold from the deployer's nonce.
        bool wired = settlement_.court() == address(this) && stakes_.court() == address(this)
            && stakes_.settlement() == address(settlement_);
        if (!wired) revert BadWiring();
        _starvedSeconds = params_.profile().starvedSeconds;
    }

    function convene(address node, uint8 slot, Contents calldata contents) external returns (bytes32 caseId) {
        // It asks whether the batch may be convened, calls no stranger, and tells what is drawn, so that it is drawn once.
        Docket memory docket = _settlement.openCase(node, slot, msg.sender);
        FirstBench memory first = _firstBench(docket, node, contents);
        uint256 until = docket.commitTime + _starvedSeconds;
        if (block.timestamp > until) revert TooLate(until);
        if (first.places.length == 0) revert NoSeats();
        caseId = docket.batchId;
        _openCase(node, slot, docket, first);
        emit CaseConvened(caseId, node, slot, uint8(docket.classId), first.nodes, first.drawn);
    }

    function resolve(bytes32 caseId, Contents calldata contents) external returns (Verdict) {
        Case storage held = _cases[caseId];
        if (held.state > CaseState.Closed) return _endWaiting(caseId, held);
        Case storage open = _requireOpen(caseId);
        Hearing memory heard = _heard(caseId, open, open.firstSeat);
        uint256 count = heard.nodes.length;
        if (count == 0 || !heard.all) revert NotAllRevealed(caseId);
        uint16 median = _medianOf(heard);
        Verdict verdict = _verdictOf(median);
        int256 llrMillinats_ = MedianLib.medianOf(heard.llrMillinats);
        if (open.round != 0) return _endRound(caseId, open, verdict, median, llrMillinats_, count);
        if (count >= FULL_BENCH) return _endFullBench(caseId, open, contents, verdict, median, llrMillinats_, heard);
        // Fewer than three can only pass.
        if (verdict != Verdict.Pass || _isSuspect(open, llrMillinats_)) {
            if (_seatMore(caseId, open, contents, FULL_BENCH - count) != 0) return Verdict.None;
            if (verdict != Verdict.Pass) verdict = Verdict.Short;
        }
        if (verdict == Verdict.Pass) _weigh(caseId, open, llrMillinats_, false);
        return _close(caseId, open, verdict, median, heard.nodes);
    }

    function voidStarved(address node, uint8 slot, Contents calldata contents) external {
        Batch memory batch = _batchOf(node, slot);
        bytes32 caseId = _settlement.batchIdOf(node, slot);
        if (batch.state != BatchState.InCourt && batch.state != BatchState.Pending) revert WrongState(batch.state);
        uint256 until = batch.state == BatchState.Pending
            ? uint256(batch.commitTime) + _starvedSeconds
            : _untilOf(caseId, batch.commitTime);
        if (block.timestamp <= until) revert NotStarved(until);
        if (batch.state == BatchState.Pending) {
            FirstBench memory first = _firstBench(_docketOf(node, slot), node, contents);
            return _closeUnheard(caseId, node, slot, first.places.length != 0);
        }
        Case storage held = _cases[caseId];
        if (held.state != CaseState.Open) _endWaiting(caseId, held);
        else if (held.round == 0) _starve(caseId, held);
        else _starveGrown(caseId, held);
    }

    function caseOf(bytes32 caseId) external view returns (CaseView memory shown) {
        Case storage one = _cases[caseId];
        Ruling storage ruling = _rulings[caseId];
        // By hand, as the compiler takes 400 bytes of the 24 KiB for it: the members of Case in their order, each as wide as
        // it is, and below the view as it lies in memory, which is as it is encoded.
        assembly ("memory-safe") {
            let word := sload(one.slot)
            let at := shown
            for { let widths := 0x08101008080808080808a0 } widths { widths := shr(8, widths) } {
                let width := and(widths, 0xff)
                mstore(at, and(word, sub(shl(width, 1), 1)))
                word := shr(width, word)
                at := add(at, 32)
            }
        }
        shown.standing = ruling.verdict;
        shown.median = ruling.median;
        shown.appellant = ruling.appellant;
        shown.bond = ruling.bond;
        if (one.state != CaseState.None && one.state != CaseState.Closed) {
            shown.until = uint40(_untilOf(caseId, _batchOf(one.node, one.slot).commitTime));
        }
        assembly ("memory-safe") {
            return(shown, 512)
        }
    }

    // ---- inside

    /// @dev Three have revealed in the first round. A doubt or a quarrel is for a larger bench; a finding of fraud waits for
    ///      an appeal, if there is a larger bench to appeal to.
    function _endFullBench(
        bytes32 caseId,
        Case storage open,
        Contents calldata contents,
        Verdict verdict,
        uint16 median,
        int256 llrMillinats_,
        Hearing memory heard
    ) private returns (Verdict) {
        bool doubtful = verdict == Verdict.Review || _differ(heard.scores);
        if (doubtful && _grow(caseId, open, contents, verdict, median)) return Verdict.None;
        if (verdict == Verdict.Pass && _weigh(caseId, open, llrMillinats_, true)) verdict = Verdict.Severe;
        if (!doubtful && verdict == Verdict.Severe && !_isUncalibrated(open) && _canGrow(caseId, open, contents)) {
            open.state = CaseState.Decided;
            _keep(caseId, verdict, median);
            emit CaseDecided(caseId, verdict, median, block.timestamp + _appealSeconds);
            _settlement.accuse(open.node, open.slot);
            return Verdict.None;
        }
        return _conclude(caseId, open, verdict, median, heard.nodes);
    }

    /// @dev The second round has spoken. Fewer than three of it change nothing.
    function _endRound(
        bytes32 caseId,
        Case storage open,
        Verdict verdict,
        uint16 median,
        int256 llrMillinats_,
        uint256 count
    ) private returns (Verdict) {
        if (count < FULL_BENCH) {
            (verdict, median) = (_rulings[caseId].verdict, _rulings[caseId].median);
        } else if (verdict == Verdict.Pass && _weigh(caseId, open, llrMillinats_, true)) {
            verdict = Verdict.Severe;
        }
        return _conclude(caseId, open, verdict, median, _heard(caseId, open, 0).nodes);
    }

    /// @dev No appeal came, the arbiters have not decided, or the node has not answered: what was found stands, or it withheld
    ///      its data. A node that was found guilty of fraud gains nothing by hiding.
    function _endWaiting(bytes32 caseId, Case storage held) private returns (Verdict) {
        Ruling storage ruling = _rulings[caseId];
        uint256 until = _waitsUntil(held.state, ruling);
        if (block.timestamp <= until) revert RulingWaits(until);
        Verdict verdict = ruling.verdict;
        if (held.state == CaseState.DataChallenge && verdict != Verdict.Severe) verdict = Verdict.Withheld;
        if (held.state == CaseState.DataChallenge) _settleBond(caseId, verdict);
        return _closeGrown(caseId, held, verdict, ruling.median);
    }

    /// @dev A first round that never ended. An unconfirmed doubt is not dropped.
    function _starve(bytes32 caseId, Case storage open) private {
        Hearing memory heard = _heard(caseId, open, 0);
        bool any = heard.nodes.length != 0;
        uint16 lowest = any ? uint16(uint256(heard.scores[0])) : 0;
        bool found = any && _verdictOf(lowest) != Verdict.Pass;
        _close(caseId, open, found ? Verdict.Short : Verdict.Starved, lowest, heard.nodes);
    }

    /// @dev A second round that never ended: what the first has found stands, or what at least three have seen if that is worse.
    function _starveGrown(bytes32 caseId, Case storage open) private {
        Hearing memory heard = _heard(caseId, open, open.firstSeat);
        uint16 median = _medianOf(heard);
        Verdict verdict = _verdictOf(median);
        bool worse = verdict > _rulings[caseId].verdict;
        _endRound(caseId, open, verdict, median, 0, worse ? heard.nodes.length : 0);
    }

    /// @dev When a case may be ended by anyone. Its first round may take as long again as the batch may wait for one.
    function _untilOf(bytes32 caseId, uint256 commitTime) private view returns (uint256) {
        Case storage held = _cases[caseId];
        Ruling storage ruling = _rulings[caseId];
        if (held.state != CaseState.Open) return _waitsUntil(held.state, ruling);
        uint256 until = _starvedSeconds + (held.round == 0 ? commitTime + _starvedSeconds : ruling.since);
        return ruling.demandedAt == 0 ? until : until + _dataSeconds;
    }

    function _waitsUntil(CaseState state, Ruling storage ruling) private view returns (uint256) {
        if (state == CaseState.DataChallenge) return uint256(ruling.demandedAt) + _dataSeconds;
        return uint256(ruling.since) + (state == CaseState.Decided ? _appealSeconds : _arbiterSeconds);
    }

    function _medianOf(Hearing memory heard) private pure returns (uint16) {
        return uint16(uint256(MedianLib.medianOf(heard.scores)));
    }
}
