// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Batch, Debit} from "../types/BatchTypes.sol";
import {Assignment, JobDetails, Receipt, Result} from "../types/FraudTypes.sol";
import {Leaf, SumNode, SumTreeLib} from "./SumTreeLib.sol";

/// @notice Faults that an honest leaf never has. Each rule covers a gain of the node, or a fact fixed by its papers.
/// @dev Twin of protocol/judging/fraud_proofs.py; tests/vectors/fraud.json. Papers are taken as given here: that they are those
///      of the leaf is FraudProofs's part.
library FraudLib {
    uint8 internal constant UNRECEIPTED = 1;
    uint8 internal constant UNCALIBRATED = 2;
    uint8 internal constant CHECKED = 32;
    /// @dev Of a job's details: its client takes a node whose class has no constants for the model.
    uint32 internal constant UNCALIBRATED_ACCEPTED = 1;
    /// @dev Of a job's details: its client pays to have it checked, whatever the draw.
    uint32 internal constant CHECK_ORDERED = 2;
    uint8 internal constant OK = 0;
    uint8 internal constant FAILED = 1;
    uint8 internal constant CLIENT_FAULT = 2;
    uint256 internal constant BONUS_PERCENT = 9;
    uint256 internal constant BONUS_BELOW_PERCENT = 80;
    /// @dev So long after a job's deadline its client may pay another node, if it gave no receipt.
    uint256 internal constant RETRY_AFTER_SECONDS = 120;

    // ---- the tree and the place

    function hasFalseSums(SumNode memory top, Batch memory batch) internal pure returns (bool) {
        return top.charge != batch.charge || top.bonus != batch.bonus || top.ms != batch.responseMs;
    }

    /// @notice Whether a sibling on the way from `position` stands for places beyond the last leaf and is not empty.
    function hasStuffedPadding(uint256 position, SumNode[] memory path, uint256 leafCount)
        internal
        pure
        returns (bool)
    {
        SumNode memory empty;
        for (uint256 level; level < path.length; ++level) {
            uint256 first = ((position >> level) ^ 1) << level;
            if (first >= leafCount && !_same(path[level], empty)) return true;
            empty = SumTreeLib.join(empty, empty);
        }
        return false;
    }

    /// @notice Whether a leaf is another than the one of its place: leaves stand in the order of the debits and their numbers.
    function isMisplaced(Leaf memory leaf, uint256 position, Debit[] memory debits) internal pure returns (bool) {
        uint256 end;
        for (uint256 i; i < debits.length; ++i) {
            Debit memory debit = debits[i];
            end += debit.leaves;
            if (position >= end) continue;
            return leaf.client != debit.client || leaf.signer != debit.signer
                || leaf.index + (end - 1 - position) != debit.index;
        }
        return false;
    }

    // ---- the leaf alone

    function isPaidForNothing(Leaf memory leaf) internal pure returns (bool) {
        if (leaf.status == OK) return false;
        return leaf.status > CLIENT_FAULT || leaf.charge != 0 || leaf.bonus != 0 || leaf.actualMs != 0;
    }

    function lacksReceipt(Leaf memory leaf, uint8 flags) internal pure returns (bool) {
        return flags & UNRECEIPTED == 0 && leaf.status == OK && leaf.receiptHash == 0;
    }

    /// @notice How many leaves of a status a batch declared.
    function declared(Batch memory batch, uint8 status) internal pure returns (uint256) {
        if (status == OK) return batch.okCount;
        if (status == FAILED) return batch.failedCount;
        if (status == CLIENT_FAULT) return uint256(batch.leafCount) - batch.okCount - batch.failedCount;
        return 0;
    }

    // ---- the leaf and what was agreed

    function isOverpriced(Leaf memory leaf, JobDetails memory details) internal pure returns (bool) {
        return leaf.charge > details.price;
    }

    function hasFalseBonus(Leaf memory leaf, uint8 flags, JobDetails memory details) internal pure returns (bool) {
        if (leaf.bonus == 0) return false;
        if (flags & UNRECEIPTED != 0 || leaf.receiptHash == 0) return true;
        if (leaf.bonus > details.bonusCap || leaf.bonus > uint256(leaf.charge) * BONUS_PERCENT / 100) return true;
        return uint256(leaf.actualMs) * 100 >= uint256(details.expectedMs) * BONUS_BELOW_PERCENT;
    }

    function isTooLate(Leaf memory leaf, uint8 flags, uint256 commitTime, JobDetails memory details)
        internal
        pure
        returns (bool)
    {
        return flags & UNRECEIPTED != 0 && leaf.status == OK
            && commitTime > uint256(details.deadline) + RETRY_AFTER_SECONDS;
    }

    function hasFalseTime(Leaf memory leaf, uint8 flags, JobDetails memory details) internal pure returns (bool) {
        return flags & UNRECEIPTED != 0 && leaf.status == OK && leaf.actualMs < details.expectedMs;
    }

    function isOfWrongClass(Leaf memory leaf, uint8 classId, JobDetails memory details) internal pure returns (bool) {
        return leaf.status == OK && (details.classes >> classId) & 1 == 0;
    }

    /// @dev The flag is the node's own word, and a batch with it fears no slash.
    function isNotAgreed(Leaf memory leaf, uint8 flags, JobDetails memory details) internal pure returns (bool) {
        return leaf.status == OK && flags & UNCALIBRATED != 0 && details.flags & UNCALIBRATED_ACCEPTED == 0;
    }

    /// @dev One order covers all of a lane: without this, what others have left in it would pay for the check.
    function hasFeeNotAgreed(Leaf memory leaf, uint8 flags, JobDetails memory details) internal pure returns (bool) {
        return leaf.status == OK && flags & CHECKED != 0 && details.flags & CHECK_ORDERED == 0;
    }

    function isNotChecked(Leaf memory leaf, uint8 flags, JobDetails memory details) internal pure returns (bool) {
        return leaf.status == OK && flags & CHECKED == 0 && details.flags & CHECK_ORDERED != 0;
    }

    // ---- the leaf, its receipt and the node's own word

    function differsFromReceipt(Leaf memory leaf, Receipt memory receipt) internal pure returns (bool) {
        return
            leaf.charge != receipt.charge || leaf.resultHash != receipt.resultHash || leaf.actualMs != receipt.actualMs;
    }

    function differsFromResult(Leaf memory leaf, Result memory result) internal pure returns (bool) {
        return leaf.status == OK && (leaf.resultHash != result.resultHash || leaf.outputCommit != result.outputCommit);
    }

    /// @notice Whether an order is the one that a leaf of this node settles.
    function isOrderOf(Assignment memory order, address node, Leaf memory leaf) internal pure returns (bool) {
        return order.node == node && order.client == leaf.client && order.signer == leaf.signer
            && order.index == leaf.index && order.details == leaf.details;
    }

    function _same(SumNode memory a, SumNode memory b) private pure returns (bool) {
        return a.hash == b.hash && a.charge == b.charge && a.bonus == b.bonus && a.ms == b.ms;
    }
}
