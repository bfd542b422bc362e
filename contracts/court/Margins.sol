// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Rounds} from "./Rounds.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {Case} from "../types/CaseTypes.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice The running margin: what the margins of a node's answers add up to over its cases, each too small to show anything.
/// @dev A case adds the log-likelihood ratio that its seats told, in thousandths of a nat: against honest
///      answers on a class of devices, so that e to it has a mean of at most 1 over those. A sum that never falls below 0
///      and takes no more than that from a case stays honest's, with a head start as well: see tests/contracts/PROPERTIES.md. Twin of protocol/stages/margins.py.
abstract contract Margins is Rounds {
    /// @dev ln(10^5 cases x 2 x 10^4): of ten thousand honest nodes one is ever hurt within a hundred thousand cases. Half of
    ///      that is for cases after the sum was 0; the other half is for the head start.
    int256 private constant ALARM = 21_417;
    /// @dev ln(10^5): where sums begin. Those who have no cases behind them cannot have been driven up by chance in any of
    ///      them, so less is needed against them, and who cheats from its first day is found in half of the time.
    uint256 private constant HEAD = 11_512;
    /// @dev A quarter of the alarm: a bench that is bribed once, or that errs once, is not enough.
    int256 private constant MOST_A_CASE = 5_355;
    /// @dev ln(100): from here on two more look at what one seat saw. It happens to the honest, and costs them nothing.
    int256 private constant SUSPECT = 4_605;
    /// @dev With which words are kept, exclusive or: one that was never written has the head start, and one whose sums are
    ///      back at nothing is not zero, which would be dear to write again.
    uint256 private constant FRESH = HEAD << 32 | HEAD;

    /// @dev The sum that all seats told, 32 bits; the sum that benches confirmed, 32 bits; xor FRESH.
    mapping(address node => mapping(uint8 classId => uint256 word)) private _margins;

    constructor(IStakeManager stakes_, ISettlement settlement_, Profile memory profile)
        Rounds(stakes_, settlement_, profile)
    {}

    function runningOf(address node, uint8 classId) external view returns (uint32 told, uint32 confirmed) {
        uint256 word = _margins[node][classId] ^ FRESH;
        return (uint32(word), uint32(word >> 32));
    }

    /// @dev Whether fewer than three seats are too few for what they add to what was told.
    function _isSuspect(Case storage open, int256 llrMillinats) internal view returns (bool) {
        return llrMillinats > 0 && _moved(_margins[open.node][open.classId] ^ FRESH, llrMillinats) >= uint256(SUSPECT);
    }

    /// @dev Adds a case that passes, unless that is one too many. A value in favour of the node counts from any seat, or the sum
    ///      would not be honest's any more; what speaks against it only if a bench does.
    /// @return alarm whether the node's answers are not the model's: then nothing is written
    function _weigh(bytes32 caseId, Case storage open, int256 llrMillinats, bool isBench)
        internal
        returns (bool alarm)
    {
        if (llrMillinats == 0) return false;
        if (llrMillinats > MOST_A_CASE) llrMillinats = MOST_A_CASE;
        (address node, uint8 classId) = (open.node, open.classId);
        uint256 word = _margins[node][classId] ^ FRESH;
        // Here honest nodes are most of the time.
        if (llrMillinats < 0 && word == 0) return false;
        uint256 confirmed = isBench || llrMillinats < 0 ? _moved(word >> 32, llrMillinats) : word >> 32;
        uint256 told = _moved(word, llrMillinats);
        alarm = confirmed == uint256(ALARM);
        if (!alarm) _margins[node][classId] = (confirmed << 32 | told) ^ FRESH;
        emit MarginCounted(caseId, node, classId, llrMillinats, told, confirmed);
    }

    /// @dev Fraud was found: what led to it has had its consequence.
    function _forget(Case storage judged) internal {
        delete _margins[judged.node][judged.classId];
    }

    /// @dev From 0 to ALARM; of `sum` the lowest 32 bits count.
    function _moved(uint256 sum, int256 by) private pure returns (uint256) {
        int256 moved = int256(uint256(uint32(sum))) + by;
        if (moved < 0) return 0;
        return uint256(moved > ALARM ? ALARM : moved);
    }
}
