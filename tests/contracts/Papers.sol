// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {SplitLib} from "../../contracts/libraries/SplitLib.sol";
import {Leaf, SumNode, SumTreeLib} from "../../contracts/libraries/SumTreeLib.sol";
import {Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";
import {
    Assignment,
    JobDetails,
    FraudKind,
    OpenedLeaf,
    Proof,
    Receipt as JobReceipt,
    Result
} from "../../contracts/types/FraudTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice Jobs with all their papers, batches with a real tree, and proofs about them.
abstract contract Papers is Fixture {
    uint8 internal constant SLOT = 7;

    /// @dev A job as both sides signed it, and its leaf.
    struct Job {
        JobDetails details;
        Assignment order;
        JobReceipt receipt;
        Result result;
        Leaf leaf;
    }

    // ---- papers

    function jobOf(Client memory one, address node, uint24 index, uint96 price) internal view returns (Job memory job) {
        job.details.requestId = keccak256(abi.encode("request", one.id, index));
        job.details.price = price;
        job.details.bonusCap = price * 9 / 100;
        job.details.verifyFee = SplitLib.feeOf(price);
        job.details.maxNewTokens = 256;
        job.details.classes = 2;
        job.details.expectedMs = 10_000;
        job.details.deadline = uint40(vm.getBlockTimestamp()) + 100;
        job.details.maxTotal = price + job.details.verifyFee + job.details.bonusCap;
        uint96 cumulative = index * job.details.maxTotal;
        bytes32 details = EnvelopeLib.jobDetailsHash(job.details);
        job.order = Assignment(one.id, one.signer, node, index, cumulative, details);
        bytes32 jobId = paperDigest(EnvelopeLib.hashOf(job.order));
        job.result = Result(
            jobId, keccak256(abi.encode("result", jobId)), keccak256(abi.encode("output", jobId)), keccak256("blob")
        );
        job.receipt = JobReceipt(jobId, job.result.resultHash, price, 9_000);
        settle(job, true);
    }

    /// @notice The job with other flags in its order, and all papers for that.
    function orderWith(Job memory job, uint32 flags) internal view {
        job.details.flags = flags;
        job.order.details = EnvelopeLib.jobDetailsHash(job.details);
        job.result.jobId = paperDigest(EnvelopeLib.hashOf(job.order));
        job.receipt.jobId = job.result.jobId;
        settle(job, true);
    }

    /// @notice Writes the leaf anew from the papers, as an honest node does.
    function settle(Job memory job, bool receipted) internal pure {
        Leaf memory leaf = job.leaf;
        (leaf.client, leaf.signer, leaf.index) = (job.order.client, job.order.signer, job.order.index);
        leaf.details = EnvelopeLib.jobDetailsHash(job.details);
        leaf.charge = receipted ? job.receipt.charge : job.details.price;
        leaf.actualMs = receipted ? job.receipt.actualMs : job.details.expectedMs;
        bool early = receipted && uint256(leaf.actualMs) * 100 < uint256(job.details.expectedMs) * 80;
        uint96 bonus = leaf.charge * 9 / 100;
        leaf.bonus = early ? (bonus < job.details.bonusCap ? bonus : job.details.bonusCap) : 0;
        leaf.resultHash = job.result.resultHash;
        leaf.outputCommit = job.result.outputCommit;
        leaf.receiptHash = receipted ? EnvelopeLib.receiptHash(job.receipt) : bytes32(0);
        leaf.status = 0;
    }

    function jobsOf(Client memory one, address node, uint24 count, uint96 price)
        internal
        view
        returns (Job[] memory jobs)
    {
        uint24 before = settlement.laneOf(one.id, one.signer, node).jobs;
        jobs = new Job[](count);
        for (uint24 i; i < count; ++i) {
            jobs[i] = jobOf(one, node, before + i + 1, price);
        }
    }

    function leavesOf(Job[] memory jobs) internal pure returns (Leaf[] memory leaves) {
        leaves = new Leaf[](jobs.length);
        for (uint256 i; i < jobs.length; ++i) {
            leaves[i] = jobs[i].leaf;
        }
    }

    function paperDigest(bytes32 structHash) internal view returns (bytes32) {
        return digestFor(address(settlement), structHash);
    }

    // ---- a batch of leaves

    function nodesOf(Leaf[] memory leaves) internal pure returns (SumNode[] memory nodes) {
        uint256 width = 1 << SumTreeLib.depthOf(leaves.length);
        nodes = new SumNode[](width);
        for (uint256 i; i < leaves.length; ++i) {
            nodes[i] = SumTreeLib.nodeOf(leaves[i]);
        }
    }

    function submissionFor(Leaf[] memory leaves, SumNode memory top, address node, uint8 flags)
        internal
        view
        returns (Submission memory made)
    {
        made.node = node;
        made.slot = SLOT;
        made.classId = CLASS;
        made.flags = flags;
        made.root = top.hash;
        made.priceSum = uint96(top.charge);
        made.bonusSum = uint96(top.bonus);
        made.msSum = uint48(top.ms);
        for (uint256 i; i < leaves.length; ++i) {
            if (leaves[i].status == 0) ++made.okCount;
            if (leaves[i].status == 1) ++made.failedCount;
            if (leaves[i].charge > made.maxLeaf) made.maxLeaf = leaves[i].charge;
        }
        // A liar says whatever lets its batch in.
        uint96 mean = made.okCount == 0 ? 0 : (made.priceSum + made.okCount - 1) / made.okCount;
        if (made.maxLeaf < mean) made.maxLeaf = mean;
        if (flags & UNRECEIPTED != 0) made.mineBy = uint40(vm.getBlockTimestamp());
    }

    /// @notice Puts one client's leaves on chain as they are.
    function settleLeaves(Client memory one, address node, Leaf[] memory leaves, uint8 flags)
        internal
        returns (Contents memory)
    {
        SumNode memory top = SumTreeLib.root(nodesOf(leaves));
        Submission memory made = submissionFor(leaves, top, node, flags);
        Claim[] memory claims = claimsOf(one, node, uint24(leaves.length), made.priceSum, made.bonusSum, flags);
        return submit(made, claims);
    }

    // ---- proofs

    function pathOf(SumNode[] memory nodes, uint256 position) internal pure returns (SumNode[] memory path) {
        uint256 depth = SumTreeLib.depthOf(nodes.length);
        path = new SumNode[](depth);
        uint256 width = nodes.length;
        SumNode[] memory row = new SumNode[](width);
        for (uint256 i; i < width; ++i) {
            row[i] = nodes[i];
        }
        for (uint256 level; level < depth; ++level) {
            path[level] = row[position ^ 1];
            width >>= 1;
            for (uint256 i; i < width; ++i) {
                row[i] = SumTreeLib.join(row[2 * i], row[2 * i + 1]);
            }
            position >>= 1;
        }
    }

    function opened(Leaf[] memory leaves, uint256 position) internal pure returns (OpenedLeaf memory) {
        return OpenedLeaf(position, leaves[position], pathOf(nodesOf(leaves), position));
    }

    function proofOf(
        address node,
        Contents memory contents,
        Leaf[] memory leaves,
        uint256 position,
        FraudKind fraudKind,
        bytes memory papers
    ) internal pure returns (Proof memory proof) {
        proof.node = node;
        proof.slot = SLOT;
        proof.fraudKind = fraudKind;
        proof.contents = contents;
        proof.leaves = new OpenedLeaf[](1);
        proof.leaves[0] = opened(leaves, position);
        proof.papers = papers;
    }

    /// @notice The papers of a job as a lie asks for them.
    function papersFor(FraudKind fraudKind, Job memory job, uint256 operatorKey) internal view returns (bytes memory) {
        if (fraudKind < FraudKind.Overpriced) return "";
        if (fraudKind < FraudKind.ReceiptDiffers) return abi.encode(job.details);
        if (fraudKind == FraudKind.ReceiptDiffers) return abi.encode(job.receipt);
        if (fraudKind == FraudKind.ReceiptOfAnother) return abi.encode(job.receipt, job.order);
        return abi.encode(job.result, signedResult(job.result, operatorKey), job.order);
    }

    function signedResult(Result memory result, uint256 key) internal view returns (bytes memory) {
        return signature(key, paperDigest(EnvelopeLib.resultHash(result)));
    }
}
