// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";

import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {FraudLib} from "../../contracts/libraries/FraudLib.sol";
import {Leaf, SumNode, SumTreeLib} from "../../contracts/libraries/SumTreeLib.sol";
import {Batch} from "../../contracts/types/BatchTypes.sol";
import {
    Assignment,
    JobDetails,
    FraudKind,
    OpenedLeaf,
    Proof,
    Receipt as JobReceipt,
    Result
} from "../../contracts/types/FraudTypes.sol";

/// @notice FraudLib finds in an opened leaf what protocol/judging/fraud_proofs.py finds: both read tests/vectors/fraud.json.
contract FraudVectorsTest is Test {
    string private json;
    uint256 private seen;

    function test_lies() public {
        json = vm.readFile("../tests/vectors/fraud.json");
        uint256 count;
        for (; vm.keyExistsJson(json, _key(count, "name")); ++count) {
            this.check(count);
        }
        assertGt(count, 50, "cases");
        assertEq(seen, (1 << (uint256(type(FraudKind).max) + 1)) - 2, "every lie is found once at least");
    }

    function _key(uint256 i, string memory field) private pure returns (string memory) {
        return string.concat(".cases[", vm.toString(i), "].", field);
    }

    function check(uint256 i) external {
        // Read from storage once: the gas of a test is limited.
        string memory text = json;
        vm.chainId(vm.parseJsonUint(text, _key(i, "chainId")));
        Batch memory batch = abi.decode(vm.parseJsonBytes(text, _key(i, "batch")), (Batch));
        Proof memory proof = abi.decode(vm.parseJsonBytes(text, _key(i, "proof")), (Proof));
        uint256 expected;
        uint256[] memory fraudKinds = vm.parseJsonUintArray(text, _key(i, "fraudKinds"));
        for (uint256 j; j < fraudKinds.length; ++j) {
            expected |= 1 << fraudKinds[j];
        }
        uint256 found = _alone(batch, proof) | _withPapers(text, i, batch, proof);
        if (found != expected) assertEq(found, expected, vm.parseJsonString(text, _key(i, "name")));
        seen |= found;
    }

    function _bit(FraudKind fraudKind, bool holds) private pure returns (uint256) {
        return holds ? 1 << uint256(fraudKind) : 0;
    }

    function _alone(Batch memory batch, Proof memory proof) private pure returns (uint256) {
        OpenedLeaf memory opened = proof.leaves[0];
        Leaf memory leaf = opened.leaf;
        SumNode memory top = SumTreeLib.climb(SumTreeLib.nodeOf(leaf), opened.position, opened.path);
        assertEq(top.hash, proof.contents.root, "root");
        assertEq(opened.path.length, SumTreeLib.depthOf(batch.leafCount), "depth");
        return _bit(FraudKind.FalseSums, FraudLib.hasFalseSums(top, batch))
            | _bit(FraudKind.StuffedPadding, FraudLib.hasStuffedPadding(opened.position, opened.path, batch.leafCount))
            | _bit(FraudKind.WrongPlace, FraudLib.isMisplaced(leaf, opened.position, proof.contents.debits))
            | _bit(FraudKind.AboveLargest, leaf.charge > proof.contents.maxLeaf)
            | _bit(FraudKind.PaidForNothing, FraudLib.isPaidForNothing(leaf))
            | _bit(FraudKind.NoReceipt, FraudLib.lacksReceipt(leaf, batch.flags))
            | _bit(FraudKind.Miscounted, FraudLib.declared(batch, leaf.status) == 0);
    }

    function _withPapers(string memory text, uint256 i, Batch memory batch, Proof memory proof)
        private
        view
        returns (uint256 found)
    {
        Leaf memory leaf = proof.leaves[0].leaf;
        (JobDetails memory details, JobReceipt memory receipt, Result memory result, Assignment memory order) =
            abi.decode(vm.parseJsonBytes(text, _key(i, "papers")), (JobDetails, JobReceipt, Result, Assignment));
        if (EnvelopeLib.jobDetailsHash(details) == leaf.details) found |= _details(leaf, batch, details);
        bytes32 jobId =
            EnvelopeLib.digest(vm.parseJsonAddress(text, _key(i, "verifyingContract")), EnvelopeLib.hashOf(order));
        bool ordered = FraudLib.isOrderOf(order, proof.node, leaf);
        if (EnvelopeLib.receiptHash(receipt) == leaf.receiptHash) {
            found |= _bit(FraudKind.ReceiptDiffers, FraudLib.differsFromReceipt(leaf, receipt));
            found |= _bit(FraudKind.ReceiptOfAnother, jobId == receipt.jobId && !ordered);
        }
        found |= _bit(
            FraudKind.ResultDiffers, jobId == result.jobId && ordered && FraudLib.differsFromResult(leaf, result)
        );
    }

    function _details(Leaf memory leaf, Batch memory batch, JobDetails memory details) private pure returns (uint256) {
        return _bit(FraudKind.Overpriced, FraudLib.isOverpriced(leaf, details))
            | _bit(FraudKind.FalseBonus, FraudLib.hasFalseBonus(leaf, batch.flags, details))
            | _bit(FraudKind.TooLate, FraudLib.isTooLate(leaf, batch.flags, batch.commitTime, details))
            | _bit(FraudKind.FalseTime, FraudLib.hasFalseTime(leaf, batch.flags, details))
            | _bit(FraudKind.WrongClass, FraudLib.isOfWrongClass(leaf, batch.classId, details))
            | _bit(FraudKind.NotAgreed, FraudLib.isNotAgreed(leaf, batch.flags, details))
            | _bit(FraudKind.FeeNotAgreed, FraudLib.hasFeeNotAgreed(leaf, batch.flags, details))
            | _bit(FraudKind.NotChecked, FraudLib.isNotChecked(leaf, batch.flags, details));
    }
}
