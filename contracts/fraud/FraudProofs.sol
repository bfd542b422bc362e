// This contract is deployed.
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";

import {LeafChallenges} from "./LeafChallenges.sol";
import {ICourt} from "../interfaces/ICourt.sol";
import {IParams} from "../interfaces/IParams.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {ContentsLib} from "../libraries/ContentsLib.sol";
import {EnvelopeLib} from "../libraries/EnvelopeLib.sol";
import {FraudLib} from "../libraries/FraudLib.sol";
import {Leaf, SumNode, SumTreeLib} from "../libraries/SumTreeLib.sol";
import {Batch, BatchState} from "../types/BatchTypes.sol";
import {Assignment, JobDetails, FraudKind, OpenedLeaf, Proof, Receipt, Result} from "../types/FraudTypes.sol";

/// @notice Condemns a node whose batch contradicts itself, the papers that its leaves name, or the node's own signature.
///         See IFraudProofs.
/// @dev Keeps nothing of a proof: what it has proved is in Settlement's batch and Court's case.
contract FraudProofs is LeafChallenges {
    IStakeManager private immutable _stakes;

    constructor(IParams params_, IStakeManager stakes_, ISettlement settlement_, ICourt court_)
        LeafChallenges(settlement_, court_, params_.profile())
    {
        bool wired = court_.fraudProofs() == address(this) && settlement_.fraudProofs() == address(this)
            && settlement_.court() == address(court_);
        if (!wired) revert BadWiring();
        _stakes = stakes_;
    }

    function proveFraud(Proof calldata proof) external {
        Batch memory batch = _openBatch(proof);
        SumNode memory top = _openLeaves(proof, batch.leafCount);
        if (!_shows(proof, batch, top)) revert NoFraud(proof.fraudKind);
        bytes32 batchId = _court.condemn(proof.node, proof.slot);
        emit FraudProven(proof.node, proof.slot, batchId, proof.fraudKind, proof.leaves[0].position, msg.sender);
    }

    // ---- inside: what was submitted

    function _openBatch(Proof calldata proof) private view returns (Batch memory batch) {
        batch = _settlement.batchOf(proof.node, proof.slot);
        BatchState state = batch.state;
        bool open = state == BatchState.Pending || state == BatchState.InCourt || state == BatchState.Passed
            || state == BatchState.Audited;
        if (!open) revert WrongState(state);
        if (ContentsLib.hashOf(proof.contents) != batch.contentsHash) revert WrongContents();
    }

    /// @dev Reverts unless every leaf is in the batch, each once.
    /// @return top the sums under the root
    function _openLeaves(Proof calldata proof, uint256 leafCount) private pure returns (SumNode memory top) {
        uint256 count = proof.leaves.length;
        if (count == 0 || (count != 1 && proof.fraudKind != FraudKind.Miscounted)) revert WrongLeafCount(count);
        for (uint256 i; i < count; ++i) {
            uint256 position = proof.leaves[i].position;
            if (i != 0 && position <= proof.leaves[i - 1].position) revert PositionsNotAscending(position);
            top = _openLeaf(proof.leaves[i], leafCount, proof.contents.root);
        }
    }

    function _openLeaf(OpenedLeaf memory opened, uint256 leafCount, bytes32 root)
        private
        pure
        returns (SumNode memory top)
    {
        if (opened.position >= leafCount) revert PositionOutOfRange(opened.position, leafCount);
        uint256 depth = SumTreeLib.depthOf(leafCount);
        if (opened.path.length != depth) revert WrongDepth(opened.path.length, depth);
        top = SumTreeLib.climb(SumTreeLib.nodeOf(opened.leaf), opened.position, opened.path);
        if (top.hash != root) revert WrongRoot(top.hash, root);
    }

    // ---- inside: what is wrong with it

    function _shows(Proof calldata proof, Batch memory batch, SumNode memory top) private view returns (bool) {
        FraudKind fraudKind = proof.fraudKind;
        if (fraudKind == FraudKind.FalseSums) return FraudLib.hasFalseSums(top, batch);
        if (fraudKind == FraudKind.Miscounted) return _areMiscounted(proof.leaves, batch);
        if (fraudKind < FraudKind.Overpriced) return _showsAlone(proof, batch);
        if (fraudKind < FraudKind.ReceiptDiffers) return _showsDetails(proof, batch);
        if (fraudKind == FraudKind.ResultDiffers) return _showsResult(proof, batch.commitTime);
        return _showsReceipt(proof);
    }

    function _showsAlone(Proof calldata proof, Batch memory batch) private pure returns (bool) {
        OpenedLeaf memory opened = proof.leaves[0];
        FraudKind fraudKind = proof.fraudKind;
        if (fraudKind == FraudKind.StuffedPadding) {
            return FraudLib.hasStuffedPadding(opened.position, opened.path, batch.leafCount);
        }
        if (fraudKind == FraudKind.WrongPlace) {
            return FraudLib.isMisplaced(opened.leaf, opened.position, proof.contents.debits);
        }
        if (fraudKind == FraudKind.AboveLargest) return opened.leaf.charge > proof.contents.maxLeaf;
        if (fraudKind == FraudKind.PaidForNothing) return FraudLib.isPaidForNothing(opened.leaf);
        if (fraudKind == FraudKind.NoReceipt) return FraudLib.lacksReceipt(opened.leaf, batch.flags);
        return false;
    }

    function _areMiscounted(OpenedLeaf[] calldata leaves, Batch memory batch) private pure returns (bool) {
        uint8 status = leaves[0].leaf.status;
        for (uint256 i = 1; i < leaves.length; ++i) {
            if (leaves[i].leaf.status != status) revert MixedStatus(leaves[i].position);
        }
        return leaves.length > FraudLib.declared(batch, status);
    }

    function _showsDetails(Proof calldata proof, Batch memory batch) private pure returns (bool) {
        Leaf memory leaf = proof.leaves[0].leaf;
        FraudKind fraudKind = proof.fraudKind;
        JobDetails memory details = abi.decode(proof.papers, (JobDetails));
        if (EnvelopeLib.jobDetailsHash(details) != leaf.details) revert WrongPapers(fraudKind);
        if (fraudKind == FraudKind.Overpriced) return FraudLib.isOverpriced(leaf, details);
        if (fraudKind == FraudKind.FalseBonus) return FraudLib.hasFalseBonus(leaf, batch.flags, details);
        if (fraudKind == FraudKind.TooLate) return FraudLib.isTooLate(leaf, batch.flags, batch.commitTime, details);
        if (fraudKind == FraudKind.FalseTime) return FraudLib.hasFalseTime(leaf, batch.flags, details);
        if (fraudKind == FraudKind.WrongClass) return FraudLib.isOfWrongClass(leaf, batch.classId, details);
        if (fraudKind == FraudKind.NotAgreed) return FraudLib.isNotAgreed(leaf, batch.flags, details);
        if (fraudKind == FraudKind.FeeNotAgreed) return FraudLib.hasFeeNotAgreed(leaf, batch.flags, details);
        return FraudLib.isNotChecked(leaf, batch.flags, details);
    }

    function _showsReceipt(Proof calldata proof) private view returns (bool) {
        Leaf memory leaf = proof.leaves[0].leaf;
        if (proof.fraudKind == FraudKind.ReceiptDiffers) {
            Receipt memory only = abi.decode(proof.papers, (Receipt));
            _requireReceipt(only, leaf, proof.fraudKind);
            return FraudLib.differsFromReceipt(leaf, only);
        }
        (Receipt memory receipt, Assignment memory order) = abi.decode(proof.papers, (Receipt, Assignment));
        _requireReceipt(receipt, leaf, proof.fraudKind);
        if (_digest(EnvelopeLib.hashOf(order)) != receipt.jobId) revert WrongPapers(proof.fraudKind);
        return !FraudLib.isOrderOf(order, proof.node, leaf);
    }

    function _requireReceipt(Receipt memory receipt, Leaf memory leaf, FraudKind fraudKind) private pure {
        if (EnvelopeLib.receiptHash(receipt) != leaf.receiptHash) revert WrongPapers(fraudKind);
    }

    /// @dev A node takes one order for a number of a lane, so a result for such an order is a result for this leaf. A key that
    ///      was rotated away after the batch came still binds the node, or a liar would rotate. Later batches it does not
    ///      touch: rotating is how an owner gets rid of a thief.
    function _showsResult(Proof calldata proof, uint256 commitTime) private view returns (bool) {
        Leaf memory leaf = proof.leaves[0].leaf;
        (Result memory result, bytes memory signature, Assignment memory order) =
            abi.decode(proof.papers, (Result, bytes, Assignment));
        bool fits = _digest(EnvelopeLib.hashOf(order)) == result.jobId && FraudLib.isOrderOf(order, proof.node, leaf);
        if (!fits) revert WrongPapers(proof.fraudKind);
        (address recovered,,) = ECDSA.tryRecover(_digest(EnvelopeLib.resultHash(result)), signature);
        (address signed, uint40 until) = _stakes.nodeOfOperator(recovered);
        if (signed != proof.node || commitTime > until) revert BadSignature(proof.node);
        return FraudLib.differsFromResult(leaf, result);
    }

    /// @dev Papers count where Settlement is: there the client's orders are worth something.
    function _digest(bytes32 structHash) private view returns (bytes32) {
        return EnvelopeLib.digest(address(_settlement), structHash);
    }
}
