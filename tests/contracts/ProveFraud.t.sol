// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {IFraudProofs} from "../../contracts/interfaces/IFraudProofs.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {Leaf, SumNode, SumTreeLib} from "../../contracts/libraries/SumTreeLib.sol";
import {BatchState, Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";
import {CaseState, Verdict} from "../../contracts/types/CaseTypes.sol";
import {FraudKind, OpenedLeaf, Proof} from "../../contracts/types/FraudTypes.sol";
import {NodeState, NodeView} from "../../contracts/types/NodeTypes.sol";

import {Papers} from "./Papers.sol";

contract ProveFraudTest is Papers {
    Node internal node;
    Client internal one;

    function setUp() public override {
        super.setUp();
        node = registered("node", 10_000 * VCN);
        one = client("client", 3_000 * VCN);
        openLane(one, node.id, 2_000 * VCN);
    }

    function _jobs(uint24 count) private view returns (Job[] memory) {
        return jobsOf(one, node.id, count, 10 * VCN);
    }

    function _prove(
        Contents memory contents,
        Leaf[] memory leaves,
        uint256 position,
        FraudKind fraudKind,
        bytes memory papers
    ) private {
        fraudProofs.proveFraud(proofOf(node.id, contents, leaves, position, fraudKind, papers));
    }

    function _refused(
        bytes memory refused,
        Contents memory contents,
        Leaf[] memory leaves,
        uint256 position,
        FraudKind fraudKind,
        bytes memory papers
    ) private {
        Proof memory proof = proofOf(node.id, contents, leaves, position, fraudKind, papers);
        vm.expectRevert(refused);
        fraudProofs.proveFraud(proof);
    }

    function _noFraud(FraudKind fraudKind) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IFraudProofs.NoFraud.selector, fraudKind);
    }

    function _wrongPapers(FraudKind fraudKind) private pure returns (bytes memory) {
        return abi.encodeWithSelector(IFraudProofs.WrongPapers.selector, fraudKind);
    }

    /// @dev The whole of a severe verdict: void, half of the stake, 30 points, jail.
    function _assertCondemned() private view {
        assertEq(uint8(stateOf(node.id, SLOT)), uint8(BatchState.Void), "void");
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.activeStake, 5_000 * VCN, "slashed");
        assertEq(shown.penaltyTenths, 300, "30 points");
        assertEq(uint8(shown.state), uint8(NodeState.Jailed), "jailed");
        bytes32 caseId = settlement.batchIdOf(node.id, SLOT);
        assertEq(uint8(court.caseOf(caseId).state), uint8(CaseState.Closed), "closed");
        assertEq(uint8(court.caseOf(caseId).verdict), uint8(Verdict.Severe), "severe");
        assertEq(court.caseOf(caseId).node, node.id);
        assertEq(court.caseOf(caseId).slot, SLOT);
    }

    /// @dev A batch of jobs in which one leaf was changed, and the proof of it.
    function _caught(Job[] memory jobs, Leaf[] memory leaves, uint8 flags, uint256 position, FraudKind fraudKind)
        private
    {
        Contents memory contents = settleLeaves(one, node.id, leaves, flags);
        _prove(contents, leaves, position, fraudKind, papersFor(fraudKind, jobs[position], node.key));
        _assertCondemned();
    }

    // ---- no honest party is ever condemned

    function testFuzz_an_honest_batch_is_not_condemned_for_anything(
        uint24 count,
        uint256 place,
        uint8 kind,
        uint8 flags,
        uint96 price,
        uint32 actualMs
    ) public {
        count = uint24(bound(count, 1, 9));
        place = bound(place, 0, count - 1);
        FraudKind fraudKind = FraudKind(bound(kind, 0, uint8(type(FraudKind).max)));
        flags &= UNRECEIPTED | CHECKED;
        price = uint96(bound(price, 1, 50 * VCN));
        Job[] memory jobs = jobsOf(one, node.id, count, price);
        for (uint256 i; i < count; ++i) {
            jobs[i].receipt.actualMs = actualMs;
            orderWith(jobs[i], flags & CHECKED == 0 ? 0 : 2);
            settle(jobs[i], flags & UNRECEIPTED == 0);
        }
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, flags);
        bytes memory papers = papersFor(fraudKind, jobs[place], node.key);
        bool noReceipt = flags & UNRECEIPTED != 0
            && (fraudKind == FraudKind.ReceiptDiffers || fraudKind == FraudKind.ReceiptOfAnother);
        _refused(noReceipt ? _wrongPapers(fraudKind) : _noFraud(fraudKind), contents, leaves, place, fraudKind, papers);
        assertEq(uint8(stateOf(node.id, SLOT)), uint8(BatchState.Pending));
    }

    function test_a_batch_of_failures_and_unknown_numbers_is_not_condemned() public {
        Job[] memory jobs = _jobs(3);
        Leaf[] memory leaves = leavesOf(jobs);
        for (uint256 i = 1; i < 3; ++i) {
            leaves[i] = _unpaid(leaves[i], uint8(i));
        }
        leaves[2].details = 0;
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        for (uint8 fraudKind; fraudKind <= uint8(FraudKind.Miscounted); ++fraudKind) {
            for (uint256 i; i < 3; ++i) {
                _refused(_noFraud(FraudKind(fraudKind)), contents, leaves, i, FraudKind(fraudKind), "");
            }
        }
    }

    function _unpaid(Leaf memory leaf, uint8 status) private pure returns (Leaf memory made) {
        (made.client, made.signer, made.index, made.details) = (leaf.client, leaf.signer, leaf.index, leaf.details);
        made.status = status;
    }

    // ---- the tree

    function test_false_sums_condemn() public {
        Job[] memory jobs = _jobs(3);
        Leaf[] memory leaves = leavesOf(jobs);
        SumNode memory top = SumTreeLib.root(nodesOf(leaves));
        Submission memory made = submissionFor(leaves, top, node.id, 0);
        // The root is that of three jobs of 10; the batch takes 12 more.
        made.priceSum += 12 * VCN;
        made.maxLeaf = 14 * VCN;
        Contents memory contents = submit(made, claimsOf(one, node.id, 3, made.priceSum, made.bonusSum));
        _prove(contents, leaves, 1, FraudKind.FalseSums, "");
        _assertCondemned();
    }

    function test_a_false_time_sum_condemns() public {
        Job[] memory jobs = _jobs(3);
        Leaf[] memory leaves = leavesOf(jobs);
        Submission memory made = submissionFor(leaves, SumTreeLib.root(nodesOf(leaves)), node.id, 0);
        made.msSum -= 1;
        Contents memory contents = submit(made, claimsOf(one, node.id, 3, made.priceSum, made.bonusSum));
        _prove(contents, leaves, 2, FraudKind.FalseSums, "");
        _assertCondemned();
    }

    /// @dev The sums add up, and every leaf that can be drawn is right: only the path shows what stands beyond them.
    function test_a_charge_behind_the_last_leaf_condemns() public {
        Job[] memory jobs = _jobs(3);
        Leaf[] memory leaves = leavesOf(jobs);
        SumNode[] memory nodes = nodesOf(leaves);
        nodes[3] = SumNode(keccak256("invented job"), 12 * VCN, 0, 0);
        SumNode memory top = SumTreeLib.root(nodes);
        Submission memory made = submissionFor(leaves, top, node.id, 0);
        made.maxLeaf = 14 * VCN;
        Contents memory contents = submit(made, claimsOf(one, node.id, 3, made.priceSum, made.bonusSum));
        Proof memory proof = proofOf(node.id, contents, leaves, 2, FraudKind.StuffedPadding, "");
        proof.leaves[0].path = pathOf(nodes, 2);
        fraudProofs.proveFraud(proof);
        _assertCondemned();
    }

    function test_an_omitted_leaf_condemns_the_one_in_its_place() public {
        Job[] memory jobs = _jobs(4);
        // Job 2 is left out, job 3 stands in its place, and at the end one is paid twice.
        jobs[1] = jobs[2];
        jobs[2] = jobs[3];
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.WrongPlace);
    }

    function test_two_leaves_for_one_number_condemn() public {
        Job[] memory jobs = _jobs(2);
        jobs[1] = jobs[0];
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.WrongPlace);
    }

    /// @dev Retry paid twice: the leaf and its receipt are real, but an earlier batch has settled them.
    function test_a_job_that_was_settled_before_condemns() public {
        Job[] memory jobs = _jobs(1);
        Leaf[] memory leaves = leavesOf(jobs);
        bench(3);
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        passInCourt(node.id, SLOT, contents);
        finish(node.id, SLOT);
        contents = settleLeaves(one, node.id, leaves, 0);
        _prove(contents, leaves, 0, FraudKind.WrongPlace, "");
        assertEq(uint8(stateOf(node.id, SLOT)), uint8(BatchState.Void));
    }

    function test_a_job_of_another_client_condemns() public {
        Client memory other = client("other client", 100 * VCN);
        openLane(other, node.id, 100 * VCN);
        Job[] memory jobs = _jobs(2);
        jobs[1] = jobOf(other, node.id, 2, 10 * VCN);
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.WrongPlace);
    }

    function test_places_count_over_all_lanes_of_a_batch() public {
        Client memory two = client("second client", 100 * VCN);
        openLane(two, node.id, 100 * VCN);
        Job[] memory jobs = new Job[](3);
        jobs[0] = jobOf(one, node.id, 1, 10 * VCN);
        jobs[1] = jobOf(one, node.id, 2, 10 * VCN);
        // The second lane's first job has number 1, not 2.
        jobs[2] = jobOf(two, node.id, 2, 10 * VCN);
        Leaf[] memory leaves = leavesOf(jobs);
        Submission memory made = submissionFor(leaves, SumTreeLib.root(nodesOf(leaves)), node.id, 0);
        Claim[] memory claims = new Claim[](2);
        claims[0] = claimOf(one, node.id, 2, 20 * VCN, 0);
        claims[1] = claimOf(two, node.id, 1, 10 * VCN, 0);
        Contents memory contents = submit(made, claims);
        _refused(_noFraud(FraudKind.WrongPlace), contents, leaves, 0, FraudKind.WrongPlace, "");
        _refused(_noFraud(FraudKind.WrongPlace), contents, leaves, 1, FraudKind.WrongPlace, "");
        _prove(contents, leaves, 2, FraudKind.WrongPlace, "");
        _assertCondemned();
    }

    function test_a_leaf_above_the_declared_largest_condemns() public {
        Job[] memory jobs = new Job[](2);
        jobs[0] = jobOf(one, node.id, 1, 11 * VCN);
        jobs[1] = jobOf(one, node.id, 2, 9 * VCN);
        Leaf[] memory leaves = leavesOf(jobs);
        Submission memory made = submissionFor(leaves, SumTreeLib.root(nodesOf(leaves)), node.id, 0);
        made.maxLeaf = 10 * VCN;
        Contents memory contents = submit(made, claimsOf(one, node.id, 2, 20 * VCN, 0));
        _refused(_noFraud(FraudKind.AboveLargest), contents, leaves, 1, FraudKind.AboveLargest, "");
        _prove(contents, leaves, 0, FraudKind.AboveLargest, "");
        _assertCondemned();
    }

    // ---- the leaf

    function test_a_failed_job_that_charges_condemns() public {
        Job[] memory jobs = _jobs(2);
        jobs[1].leaf.status = 1;
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.PaidForNothing);
    }

    function test_a_failed_job_that_takes_nothing_but_a_charge_or_a_bonus_condemns() public {
        Job[] memory jobs = _jobs(2);
        jobs[1].leaf = _unpaid(jobs[1].leaf, 1);
        uint256 before = vm.snapshotState();
        jobs[1].leaf.charge = 1;
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.PaidForNothing);
        vm.revertToState(before);
        (jobs[1].leaf.charge, jobs[1].leaf.bonus) = (0, 1);
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.PaidForNothing);
    }

    function test_a_failed_job_that_counts_time_condemns() public {
        Job[] memory jobs = _jobs(2);
        jobs[1].leaf = _unpaid(jobs[1].leaf, 2);
        jobs[1].leaf.actualMs = 1;
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.PaidForNothing);
    }

    function test_no_such_status_condemns() public {
        Job[] memory jobs = _jobs(2);
        jobs[1].leaf = _unpaid(jobs[1].leaf, 3);
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.PaidForNothing);
    }

    function test_a_leaf_without_receipt_in_a_receipted_batch_condemns() public {
        Job[] memory jobs = _jobs(2);
        settle(jobs[1], false);
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.NoReceipt);
    }

    function test_a_hidden_failure_condemns() public {
        Job[] memory jobs = _jobs(3);
        jobs[2].leaf = _unpaid(jobs[2].leaf, 1);
        Leaf[] memory leaves = leavesOf(jobs);
        Submission memory made = submissionFor(leaves, SumTreeLib.root(nodesOf(leaves)), node.id, 0);
        (made.okCount, made.failedCount) = (3, 0);
        Contents memory contents = submit(made, claimsOf(one, node.id, 3, made.priceSum, made.bonusSum));
        _refused(_noFraud(FraudKind.Miscounted), contents, leaves, 0, FraudKind.Miscounted, "");
        _prove(contents, leaves, 2, FraudKind.Miscounted, "");
        _assertCondemned();
    }

    function test_more_good_jobs_than_counted_condemn() public {
        (Contents memory contents, Leaf[] memory leaves) = _threeCountedAsTwo();
        Proof memory proof = _together(contents, leaves, 3);
        proof.leaves[2] = proof.leaves[1];
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.PositionsNotAscending.selector, 1));
        fraudProofs.proveFraud(proof);
        Proof memory fewer = _together(contents, leaves, 2);
        vm.expectRevert(_noFraud(FraudKind.Miscounted));
        fraudProofs.proveFraud(fewer);
        fraudProofs.proveFraud(_together(contents, leaves, 3));
        _assertCondemned();
    }

    function _threeCountedAsTwo() private returns (Contents memory contents, Leaf[] memory leaves) {
        leaves = leavesOf(_jobs(3));
        Submission memory made = submissionFor(leaves, SumTreeLib.root(nodesOf(leaves)), node.id, 0);
        (made.okCount, made.maxLeaf) = (2, 15 * VCN);
        contents = submit(made, claimsOf(one, node.id, 3, made.priceSum, made.bonusSum));
    }

    function _together(Contents memory contents, Leaf[] memory leaves, uint256 count)
        private
        view
        returns (Proof memory proof)
    {
        proof = proofOf(node.id, contents, leaves, 0, FraudKind.Miscounted, "");
        proof.leaves = new OpenedLeaf[](count);
        for (uint256 i; i < count; ++i) {
            proof.leaves[i] = opened(leaves, i);
        }
    }

    function test_leaves_of_different_status_prove_no_count() public {
        Job[] memory jobs = _jobs(2);
        jobs[1].leaf = _unpaid(jobs[1].leaf, 1);
        Leaf[] memory leaves = leavesOf(jobs);
        Proof memory proof = _together(settleLeaves(one, node.id, leaves, 0), leaves, 2);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.MixedStatus.selector, 1));
        fraudProofs.proveFraud(proof);
    }

    // ---- what was agreed

    function test_a_charge_above_the_price_condemns() public {
        Job[] memory jobs = _jobs(2);
        jobs[0].receipt.charge = 10 * VCN + 1;
        settle(jobs[0], true);
        _caught(jobs, leavesOf(jobs), 0, 0, FraudKind.Overpriced);
    }

    function test_a_bonus_for_a_job_that_was_not_early_condemns() public {
        Job[] memory jobs = _jobs(2);
        jobs[0].receipt.actualMs = 8_000;
        settle(jobs[0], true);
        assertEq(jobs[0].leaf.bonus, 0);
        jobs[0].leaf.bonus = 1;
        _caught(jobs, leavesOf(jobs), 0, 0, FraudKind.FalseBonus);
    }

    function test_a_bonus_above_the_cap_condemns() public {
        Job[] memory jobs = _jobs(2);
        jobs[0].details.bonusCap = 0.5 ether;
        jobs[0].receipt.actualMs = 7_999;
        settle(jobs[0], true);
        assertEq(jobs[0].leaf.bonus, 0.5 ether);
        jobs[0].leaf.bonus += 1;
        _caught(jobs, leavesOf(jobs), 0, 0, FraudKind.FalseBonus);
    }

    function test_a_bonus_within_the_rule_does_not_condemn() public {
        Job[] memory jobs = _jobs(2);
        jobs[0].receipt.actualMs = 7_999;
        settle(jobs[0], true);
        assertEq(jobs[0].leaf.bonus, 0.9 ether);
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        _refused(_noFraud(FraudKind.FalseBonus), contents, leaves, 0, FraudKind.FalseBonus, abi.encode(jobs[0].details));
    }

    function test_a_silent_node_that_claims_late_after_the_retry_condemns() public {
        Job[] memory jobs = _jobs(1);
        jobs[0].details.deadline = uint40(vm.getBlockTimestamp()) - 121;
        settle(jobs[0], false);
        _caught(jobs, leavesOf(jobs), UNRECEIPTED, 0, FraudKind.TooLate);
    }

    function test_the_last_second_before_the_retry_does_not_condemn() public {
        Job[] memory jobs = _jobs(1);
        jobs[0].details.deadline = uint40(vm.getBlockTimestamp()) - 120;
        settle(jobs[0], false);
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, UNRECEIPTED);
        _refused(_noFraud(FraudKind.TooLate), contents, leaves, 0, FraudKind.TooLate, abi.encode(jobs[0].details));
    }

    function test_a_self_declared_time_condemns() public {
        Job[] memory jobs = _jobs(1);
        settle(jobs[0], false);
        jobs[0].leaf.actualMs -= 1;
        _caught(jobs, leavesOf(jobs), UNRECEIPTED, 0, FraudKind.FalseTime);
    }

    /// @dev The client asked for an exact class; the node settles as of its noisier one, by whose constants its seats measure.
    function test_attack_a_noisier_class_than_asked_for_is_claimed() public {
        Job[] memory jobs = _jobs(2);
        Leaf[] memory leaves = leavesOf(jobs);
        Submission memory made = submissionFor(leaves, SumTreeLib.root(nodesOf(leaves)), node.id, 0);
        made.classId = 2;
        Contents memory contents = submit(made, claimsOf(one, node.id, 2, made.priceSum, made.bonusSum));
        _prove(contents, leaves, 1, FraudKind.WrongClass, abi.encode(jobs[1].details));
        _assertCondemned();
    }

    function test_any_class_that_was_asked_for_does_not_condemn() public {
        Job[] memory jobs = _jobs(1);
        jobs[0].details.classes = 1 << 2 | 1 << 31;
        settle(jobs[0], true);
        Leaf[] memory leaves = leavesOf(jobs);
        Submission memory made = submissionFor(leaves, SumTreeLib.root(nodesOf(leaves)), node.id, 0);
        made.classId = 2;
        Contents memory contents = submit(made, claimsOf(one, node.id, 1, made.priceSum, made.bonusSum));
        _refused(_noFraud(FraudKind.WrongClass), contents, leaves, 0, FraudKind.WrongClass, abi.encode(jobs[0].details));
    }

    /// @dev The flag is its node's own word: without this, it would buy any node off every slash.
    function test_attack_a_flag_that_fears_no_slash() public {
        _caught(_jobs(2), leavesOf(_jobs(2)), UNCALIBRATED, 1, FraudKind.NotAgreed);
    }

    function test_an_uncalibrated_batch_that_its_clients_agreed_to_does_not_condemn() public {
        Job[] memory jobs = _jobs(1);
        jobs[0].details.flags = 1;
        settle(jobs[0], true);
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, UNCALIBRATED);
        _refused(_noFraud(FraudKind.NotAgreed), contents, leaves, 0, FraudKind.NotAgreed, abi.encode(jobs[0].details));
    }

    /// @dev What is not paid gains nothing by either.
    function test_a_failed_job_of_another_class_does_not_condemn() public {
        Job[] memory jobs = _jobs(2);
        Leaf[] memory leaves = leavesOf(jobs);
        leaves[1] = _unpaid(leaves[1], 1);
        Submission memory made = submissionFor(leaves, SumTreeLib.root(nodesOf(leaves)), node.id, UNCALIBRATED);
        made.classId = 2;
        Contents memory contents = submit(made, claimsOf(one, node.id, 2, made.priceSum, made.bonusSum));
        bytes memory papers = abi.encode(jobs[1].details);
        _refused(_noFraud(FraudKind.WrongClass), contents, leaves, 1, FraudKind.WrongClass, papers);
        _refused(_noFraud(FraudKind.NotAgreed), contents, leaves, 1, FraudKind.NotAgreed, papers);
    }

    /// @dev Its order pays a twentieth for checks; half of the charge would come out of what the others of its lane have left.
    function test_attack_a_check_that_nobody_ordered_is_billed() public {
        Job[] memory jobs = _checkedJobs(3);
        orderWith(jobs[1], 0);
        _caught(jobs, leavesOf(jobs), CHECKED, 1, FraudKind.FeeNotAgreed);
    }

    /// @dev Else who is hired for a check would be drawn no more often than others.
    function test_attack_a_check_that_was_ordered_is_left_out() public {
        Job[] memory jobs = _jobs(3);
        orderWith(jobs[2], 2);
        _caught(jobs, leavesOf(jobs), 0, 2, FraudKind.NotChecked);
    }

    /// @dev That all of it is drawn anyway changes nothing: one rule, and its seats are paid for what was ordered.
    function test_a_check_that_was_ordered_is_not_left_out_for_want_of_a_receipt() public {
        Job[] memory jobs = _jobs(1);
        orderWith(jobs[0], 2);
        settle(jobs[0], false);
        _caught(jobs, leavesOf(jobs), UNRECEIPTED, 0, FraudKind.NotChecked);
    }

    function test_a_check_that_was_ordered_and_given_does_not_condemn() public {
        Job[] memory jobs = _checkedJobs(2);
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, CHECKED);
        for (uint8 fraudKind = uint8(FraudKind.FeeNotAgreed); fraudKind <= uint8(FraudKind.NotChecked); ++fraudKind) {
            _refused(
                _noFraud(FraudKind(fraudKind)), contents, leaves, 1, FraudKind(fraudKind), abi.encode(jobs[1].details)
            );
        }
    }

    /// @dev A number that charges nothing rides wherever its lane's run takes it.
    function test_what_is_not_paid_needs_no_check_and_bills_none() public {
        Job[] memory jobs = _checkedJobs(2);
        orderWith(jobs[1], 0);
        Leaf[] memory leaves = leavesOf(jobs);
        leaves[1] = _unpaid(leaves[1], 1);
        Contents memory contents = settleLeaves(one, node.id, leaves, CHECKED);
        _refused(
            _noFraud(FraudKind.FeeNotAgreed), contents, leaves, 1, FraudKind.FeeNotAgreed, abi.encode(jobs[1].details)
        );
    }

    function test_a_failed_job_that_was_to_be_checked_may_ride_unchecked() public {
        Job[] memory jobs = _jobs(2);
        orderWith(jobs[1], 2);
        Leaf[] memory leaves = leavesOf(jobs);
        leaves[1] = _unpaid(leaves[1], 1);
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        _refused(_noFraud(FraudKind.NotChecked), contents, leaves, 1, FraudKind.NotChecked, abi.encode(jobs[1].details));
    }

    function _checkedJobs(uint24 count) private view returns (Job[] memory jobs) {
        jobs = _jobs(count);
        for (uint256 i; i < count; ++i) {
            orderWith(jobs[i], 2);
        }
    }

    function test_details_of_another_job_prove_nothing() public {
        Job[] memory jobs = _jobs(2);
        jobs[0].receipt.charge = 11 * VCN;
        settle(jobs[0], true);
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        for (uint8 fraudKind = uint8(FraudKind.Overpriced); fraudKind < uint8(FraudKind.ReceiptDiffers); ++fraudKind) {
            _refused(
                _wrongPapers(FraudKind(fraudKind)),
                contents,
                leaves,
                0,
                FraudKind(fraudKind),
                abi.encode(jobs[1].details)
            );
        }
    }

    // ---- receipts and results

    /// @dev The client stopped the job and signed for a tenth; the node bills it in full.
    function test_a_hang_up_billed_in_full_condemns() public {
        Job[] memory jobs = _jobs(2);
        jobs[1].receipt.charge = 1 * VCN;
        settle(jobs[1], true);
        jobs[1].leaf.charge = 10 * VCN;
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.ReceiptDiffers);
    }

    function test_a_time_that_the_receipt_does_not_say_condemns() public {
        Job[] memory jobs = _jobs(2);
        jobs[1].leaf.actualMs -= 1;
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.ReceiptDiffers);
    }

    function test_a_result_that_the_receipt_does_not_say_condemns() public {
        Job[] memory jobs = _jobs(2);
        jobs[1].leaf.resultHash = keccak256("another");
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.ReceiptDiffers);
    }

    function test_the_receipt_of_another_job_condemns() public {
        Job[] memory jobs = _jobs(2);
        jobs[1].leaf.receiptHash = jobs[0].leaf.receiptHash;
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        _prove(contents, leaves, 1, FraudKind.ReceiptOfAnother, abi.encode(jobs[0].receipt, jobs[0].order));
        _assertCondemned();
    }

    /// @dev Else a client could have its node condemned by signing a second receipt that says something else.
    function test_another_receipt_of_the_client_proves_nothing() public {
        Job[] memory jobs = _jobs(1);
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        jobs[0].receipt.charge = 1;
        _refused(
            _wrongPapers(FraudKind.ReceiptDiffers),
            contents,
            leaves,
            0,
            FraudKind.ReceiptDiffers,
            abi.encode(jobs[0].receipt)
        );
        bytes memory both = abi.encode(jobs[0].receipt, jobs[0].order);
        _refused(_wrongPapers(FraudKind.ReceiptOfAnother), contents, leaves, 0, FraudKind.ReceiptOfAnother, both);
    }

    function test_an_order_that_is_not_the_receipts_proves_nothing() public {
        Job[] memory jobs = _jobs(2);
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        bytes memory mixed = abi.encode(jobs[0].receipt, jobs[1].order);
        _refused(_wrongPapers(FraudKind.ReceiptOfAnother), contents, leaves, 0, FraudKind.ReceiptOfAnother, mixed);
    }

    /// @dev Garbage streamed, truth committed: the client has the node's signature on what it got.
    function test_a_leaf_that_differs_from_the_signed_result_condemns() public {
        Job[] memory jobs = _jobs(1);
        settle(jobs[0], false);
        jobs[0].leaf.resultHash = keccak256("the truth, later");
        _caught(jobs, leavesOf(jobs), UNRECEIPTED, 0, FraudKind.ResultDiffers);
    }

    function test_another_output_than_signed_condemns() public {
        Job[] memory jobs = _jobs(2);
        jobs[1].leaf.outputCommit = keccak256("another");
        _caught(jobs, leavesOf(jobs), 0, 1, FraudKind.ResultDiffers);
    }

    function test_only_the_operators_signature_counts() public {
        (Job memory job, Contents memory contents, Leaf[] memory leaves) = _differing();
        bytes memory refused = abi.encodeWithSelector(IFraudProofs.BadSignature.selector, node.id);
        uint256[3] memory keys = [one.key, one.signerKey, uint256(keccak256("thief"))];
        for (uint256 i; i < keys.length; ++i) {
            bytes memory papers = papersFor(FraudKind.ResultDiffers, job, keys[i]);
            _refused(refused, contents, leaves, 0, FraudKind.ResultDiffers, papers);
        }
        bytes memory empty = abi.encode(job.result, bytes(""), job.order);
        _refused(refused, contents, leaves, 0, FraudKind.ResultDiffers, empty);
    }

    function test_a_malleable_signature_does_not_count() public {
        (Job memory job, Contents memory contents, Leaf[] memory leaves) = _differing();
        bytes memory papers = abi.encode(job.result, _mirrored(signedResult(job.result, node.key)), job.order);
        bytes memory refused = abi.encodeWithSelector(IFraudProofs.BadSignature.selector, node.id);
        _refused(refused, contents, leaves, 0, FraudKind.ResultDiffers, papers);
    }

    /// @dev The other signature that the same key would have made: s mirrored at the order of the curve.
    function _mirrored(bytes memory signed) private pure returns (bytes memory) {
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes32 r;
        bytes32 s;
        assembly {
            r := mload(add(signed, 32))
            s := mload(add(signed, 64))
        }
        return abi.encodePacked(r, bytes32(order - uint256(s)), signed[64] == hex"1b" ? uint8(28) : uint8(27));
    }

    function test_a_signature_for_another_chain_or_contract_does_not_count() public {
        (Job memory job, Contents memory contents, Leaf[] memory leaves) = _differing();
        bytes memory refused = abi.encodeWithSelector(IFraudProofs.BadSignature.selector, node.id);
        bytes32 elsewhere = digestFor(address(fraudProofs), EnvelopeLib.resultHash(job.result));
        bytes memory papers = abi.encode(job.result, signature(node.key, elsewhere), job.order);
        _refused(refused, contents, leaves, 0, FraudKind.ResultDiffers, papers);
        papers = papersFor(FraudKind.ResultDiffers, job, node.key);
        uint256 home = block.chainid;
        vm.chainId(home + 1);
        _refused(_wrongPapers(FraudKind.ResultDiffers), contents, leaves, 0, FraudKind.ResultDiffers, papers);
        vm.chainId(home);
        _prove(contents, leaves, 0, FraudKind.ResultDiffers, papers);
    }

    function _rotate(string memory name) private returns (Node memory fresh) {
        fresh = makeNode(name);
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(fresh, node.owner, deadline);
        vm.prank(node.owner);
        stakes.rotateOperator(node.id, fresh.id, deadline, consent);
    }

    /// @dev Else a liar would rotate away from what it has signed.
    function test_attack_rotating_away_from_a_signed_result() public {
        (Job memory job, Contents memory contents, Leaf[] memory leaves) = _differing();
        pass(1);
        _rotate("fresh");
        _prove(contents, leaves, 0, FraudKind.ResultDiffers, papersFor(FraudKind.ResultDiffers, job, node.key));
        _assertStake(5_000 * VCN);
    }

    /// @dev Rotating is how an owner gets rid of a thief: what the thief signs touches no later batch.
    function test_attack_a_stolen_key_that_was_rotated_away() public {
        Node memory fresh = _rotate("fresh");
        pass(1);
        Job[] memory jobs = _jobs(1);
        Leaf[] memory leaves = leavesOf(jobs);
        Submission memory made = submissionFor(leaves, SumTreeLib.nodeOf(leaves[0]), node.id, 0);
        Claim[] memory claims = claimsOf(one, node.id, 1, made.priceSum, made.bonusSum);
        Contents memory contents = contentsOf(made, claims);
        vm.prank(fresh.id);
        settlement.submit(made, claims);
        jobs[0].result.outputCommit = keccak256("what the thief says");
        bytes memory papers = papersFor(FraudKind.ResultDiffers, jobs[0], node.key);
        bytes memory refused = abi.encodeWithSelector(IFraudProofs.BadSignature.selector, node.id);
        _refused(refused, contents, leaves, 0, FraudKind.ResultDiffers, papers);
        _prove(contents, leaves, 0, FraudKind.ResultDiffers, papersFor(FraudKind.ResultDiffers, jobs[0], fresh.key));
    }

    function test_a_result_for_another_job_proves_nothing() public {
        Job[] memory jobs = _jobs(2);
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        bytes memory papers = papersFor(FraudKind.ResultDiffers, jobs[1], node.key);
        _refused(_wrongPapers(FraudKind.ResultDiffers), contents, leaves, 0, FraudKind.ResultDiffers, papers);
        // Nor does the right order with the result of another.
        bytes memory signed = signedResult(jobs[1].result, node.key);
        papers = abi.encode(jobs[1].result, signed, jobs[0].order);
        _refused(_wrongPapers(FraudKind.ResultDiffers), contents, leaves, 0, FraudKind.ResultDiffers, papers);
    }

    function _differing() private returns (Job memory job, Contents memory contents, Leaf[] memory leaves) {
        Job[] memory jobs = _jobs(1);
        jobs[0].leaf.outputCommit = keccak256("another");
        (job, leaves) = (jobs[0], leavesOf(jobs));
        contents = settleLeaves(one, node.id, leaves, 0);
    }

    // ---- what comes of it

    function test_the_event_says_who_lied_how() public {
        Job[] memory jobs = _jobs(2);
        settle(jobs[1], false);
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        bytes32 batchId = settlement.batchIdOf(node.id, SLOT);
        Proof memory proof = proofOf(node.id, contents, leaves, 1, FraudKind.NoReceipt, "");
        vm.expectEmit(address(fraudProofs));
        emit IFraudProofs.FraudProven(node.id, SLOT, batchId, FraudKind.NoReceipt, 1, one.id);
        vm.prank(one.id);
        fraudProofs.proveFraud(proof);
    }

    function test_the_prover_gets_nothing_and_the_clients_all_of_theirs() public {
        (Contents memory contents, Leaf[] memory leaves) = _lying();
        uint96 before = settlement.laneOf(one.id, one.signer, node.id).left;
        uint256 supply = coin.totalSupply();
        vm.prank(address(0xBEEF));
        _prove(contents, leaves, 0, FraudKind.NoReceipt, "");
        assertEq(coin.balanceOf(address(0xBEEF)), 0);
        assertEq(settlement.accountOf(address(0xBEEF)), 0);
        assertEq(supply - coin.totalSupply(), 4_500 * VCN, "nine tenths burned");
        assertEq(settlement.pool(), 500 * VCN, "a tenth for the pool");
        settlement.refund(node.id, SLOT, contents);
        assertEq(settlement.laneOf(one.id, one.signer, node.id).left, before + contents.debits[0].amount);
        assertHolds(3_000 * VCN + 500 * VCN);
    }

    function _lying() private returns (Contents memory contents, Leaf[] memory leaves) {
        Job[] memory jobs = _jobs(1);
        settle(jobs[0], false);
        leaves = leavesOf(jobs);
        contents = settleLeaves(one, node.id, leaves, 0);
    }

    function test_a_case_is_condemned_once() public {
        (Contents memory contents, Leaf[] memory leaves) = _lying();
        _prove(contents, leaves, 0, FraudKind.NoReceipt, "");
        bytes memory refused = abi.encodeWithSelector(IFraudProofs.WrongState.selector, BatchState.Void);
        _refused(refused, contents, leaves, 0, FraudKind.NoReceipt, "");
        settlement.refund(node.id, SLOT, contents);
        refused = abi.encodeWithSelector(IFraudProofs.WrongState.selector, BatchState.Refunded);
        _refused(refused, contents, leaves, 0, FraudKind.NoReceipt, "");
        _assertStake(5_000 * VCN);
    }

    function _assertStake(uint96 amount) private view {
        assertEq(stakes.nodeOf(node.id).activeStake, amount, "slashed once");
    }

    function test_a_batch_in_court_is_condemned_and_its_case_is_over() public {
        bench(3);
        (Contents memory contents, Leaf[] memory leaves) = _lying();
        bytes32 caseId = convened(node.id, SLOT, contents);
        _prove(contents, leaves, 0, FraudKind.NoReceipt, "");
        _assertCondemned();
        address seat = court.seatsOf(caseId)[0].node;
        vm.prank(seat);
        vm.expectRevert(abi.encodeWithSelector(ICourt.CaseClosed.selector, caseId));
        court.commitSeat(caseId, 0, keccak256("late"));
        vm.expectRevert(abi.encodeWithSelector(ICourt.CaseClosed.selector, caseId));
        court.resolve(caseId, contents);
        _assertStake(5_000 * VCN);
    }

    /// @dev Three bribed seats let it pass; the fee had gone to the pool, and comes back.
    function test_a_batch_that_passed_in_court_is_condemned_until_it_is_final() public {
        bench(3);
        (Contents memory contents, Leaf[] memory leaves) = _lying();
        passInCourt(node.id, SLOT, contents);
        uint256 pool = settlement.pool();
        _prove(contents, leaves, 0, FraudKind.NoReceipt, "");
        _assertCondemned();
        assertEq(settlement.pool(), pool + 500 * VCN - 0.5 ether, "the fee is a client's again");
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Void));
        settlement.finalize(node.id, SLOT);
        settlement.refund(node.id, SLOT, contents);
        assertEq(settlement.laneOf(one.id, one.signer, node.id).left, 2_000 * VCN);
    }

    function test_a_case_that_a_court_found_severe_is_not_slashed_again() public {
        bench(3);
        (Contents memory contents, Leaf[] memory leaves) = _lying();
        bytes32 caseId = convened(node.id, SLOT, contents);
        judge(caseId, three(0, 0, 0));
        court.resolve(caseId, contents);
        _assertStake(5_000 * VCN);
        bytes memory refused = abi.encodeWithSelector(IFraudProofs.WrongState.selector, BatchState.Void);
        _refused(refused, contents, leaves, 0, FraudKind.NoReceipt, "");
        _assertStake(5_000 * VCN);
    }

    function test_a_final_batch_is_final() public {
        bench(3);
        (Contents memory contents, Leaf[] memory leaves) = _lying();
        passInCourt(node.id, SLOT, contents);
        finish(node.id, SLOT);
        bytes memory refused = abi.encodeWithSelector(IFraudProofs.WrongState.selector, BatchState.Final);
        _refused(refused, contents, leaves, 0, FraudKind.NoReceipt, "");
    }

    function test_unbonding_just_before_does_not_save_the_stake() public {
        (Contents memory contents, Leaf[] memory leaves) = _lying();
        vm.prank(node.owner);
        stakes.unbond(node.id, 10_000 * VCN);
        _prove(contents, leaves, 0, FraudKind.NoReceipt, "");
        assertEq(stakes.nodeOf(node.id).unbondingStake, 5_000 * VCN);
    }

    function test_an_uncalibrated_class_is_no_excuse() public {
        Job[] memory jobs = _jobs(1);
        settle(jobs[0], false);
        _caught(jobs, leavesOf(jobs), UNCALIBRATED, 0, FraudKind.NoReceipt);
    }

    // ---- what is not accepted

    function test_a_slot_without_a_batch() public {
        Contents memory none;
        Leaf[] memory leaves = leavesOf(_jobs(1));
        bytes memory refused = abi.encodeWithSelector(IFraudProofs.WrongState.selector, BatchState.None);
        _refused(refused, none, leaves, 0, FraudKind.NoReceipt, "");
    }

    function test_other_contents() public {
        (Contents memory contents, Leaf[] memory leaves) = _lying();
        contents.maxLeaf -= 1;
        _refused(
            abi.encodeWithSelector(IFraudProofs.WrongContents.selector), contents, leaves, 0, FraudKind.AboveLargest, ""
        );
    }

    function test_no_leaf_and_too_many_leaves() public {
        (Contents memory contents, Leaf[] memory leaves) = _lying();
        Proof memory proof = proofOf(node.id, contents, leaves, 0, FraudKind.NoReceipt, "");
        OpenedLeaf memory only = proof.leaves[0];
        proof.leaves = new OpenedLeaf[](0);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.WrongLeafCount.selector, 0));
        fraudProofs.proveFraud(proof);
        proof.leaves = new OpenedLeaf[](2);
        (proof.leaves[0], proof.leaves[1]) = (only, only);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.WrongLeafCount.selector, 2));
        fraudProofs.proveFraud(proof);
    }

    function test_a_position_beyond_the_last_leaf() public {
        Job[] memory jobs = _jobs(3);
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        Proof memory proof = proofOf(node.id, contents, leaves, 2, FraudKind.WrongPlace, "");
        proof.leaves[0].position = 3;
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.PositionOutOfRange.selector, 3, 3));
        fraudProofs.proveFraud(proof);
        proof.leaves[0].position = type(uint256).max;
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.PositionOutOfRange.selector, type(uint256).max, 3));
        fraudProofs.proveFraud(proof);
        proof.leaves[0].position = 1;
        bytes memory start = abi.encodePacked(IFraudProofs.WrongRoot.selector);
        vm.expectPartialRevert(bytes4(start));
        fraudProofs.proveFraud(proof);
    }

    function test_a_path_that_is_too_short_or_too_long() public {
        Leaf[] memory leaves = leavesOf(_jobs(3));
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        Proof memory proof = proofOf(node.id, contents, leaves, 0, FraudKind.WrongPlace, "");
        SumNode[] memory path = proof.leaves[0].path;
        proof.leaves[0].path = new SumNode[](1);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.WrongDepth.selector, 1, 2));
        fraudProofs.proveFraud(proof);
        proof.leaves[0].path = new SumNode[](3);
        (proof.leaves[0].path[0], proof.leaves[0].path[1]) = (path[0], path[1]);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.WrongDepth.selector, 3, 2));
        fraudProofs.proveFraud(proof);
    }

    /// @dev Garbage cannot be opened, so code says nothing about it; a court whose seats get no leaf does.
    function test_a_garbage_root_cannot_be_opened() public {
        Leaf[] memory leaves = leavesOf(_jobs(3));
        Claim[] memory claims = claimsOf(one, node.id, 3, 30 * VCN, 0);
        Submission memory made = submissionOf(node.id, SLOT, claims, 3);
        Contents memory contents = submit(made, claims);
        Proof memory proof = proofOf(node.id, contents, leaves, 0, FraudKind.WrongPlace, "");
        vm.expectPartialRevert(IFraudProofs.WrongRoot.selector);
        fraudProofs.proveFraud(proof);
    }

    /// @dev A sibling may not claim a share of the sums that its hash does not bind.
    function testFuzz_a_forged_sum_leads_to_another_root(uint96 extra, uint256 level) public {
        extra = uint96(bound(extra, 1, type(uint96).max));
        Leaf[] memory leaves = leavesOf(_jobs(5));
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        Proof memory proof = proofOf(node.id, contents, leaves, 0, FraudKind.FalseSums, "");
        proof.leaves[0].path[bound(level, 0, 2)].charge += extra;
        vm.expectPartialRevert(IFraudProofs.WrongRoot.selector);
        fraudProofs.proveFraud(proof);
    }

    function test_papers_that_cannot_be_read() public {
        (Contents memory contents, Leaf[] memory leaves) = _lying();
        for (uint8 fraudKind = uint8(FraudKind.Overpriced); fraudKind <= uint8(FraudKind.ResultDiffers); ++fraudKind) {
            Proof memory proof = proofOf(node.id, contents, leaves, 0, FraudKind(fraudKind), hex"1234");
            vm.expectRevert();
            fraudProofs.proveFraud(proof);
        }
        _assertStake(10_000 * VCN);
    }

    function test_only_fraud_proofs_condemn_and_only_the_court_voids() public {
        _lying();
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotFraudProofs.selector, address(this)));
        court.condemn(node.id, SLOT);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotCourt.selector, address(fraudProofs)));
        vm.prank(address(fraudProofs));
        settlement.closeCase(node.id, SLOT, false, 0, new address[](0));
    }

    function test_the_court_cannot_void_what_is_not_open() public {
        vm.startPrank(address(court));
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.None));
        settlement.closeCase(node.id, SLOT, false, 0, new address[](0));
        vm.stopPrank();
        (Contents memory contents, Leaf[] memory leaves) = _lying();
        _prove(contents, leaves, 0, FraudKind.NoReceipt, "");
        vm.prank(address(court));
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Void));
        settlement.closeCase(node.id, SLOT, false, 0, new address[](0));
    }

    /// @dev In shadow mode nothing is slashed, so a pool that was spent on the seats may not hold the fee any more.
    function test_a_fee_that_the_pool_has_spent_waits_for_somebody_to_fund_it() public {
        profile.slashBps = 0;
        deploy(profile);
        node = registered("node", 10_000 * VCN);
        one = client("client", 3_000 * VCN);
        openLane(one, node.id, 2_000 * VCN);
        bench(3);
        (Contents memory contents, Leaf[] memory leaves) = _lying();
        passInCourt(node.id, SLOT, contents);
        uint256 pool = settlement.pool();
        assertLt(pool, 0.5 ether, "spent on the seats");
        bytes memory refused = abi.encodeWithSelector(ISettlement.PoolTooLow.selector, pool, 0.5 ether);
        _refused(refused, contents, leaves, 0, FraudKind.NoReceipt, "");
        coin.approve(address(settlement), VCN);
        settlement.fundPool(VCN);
        _prove(contents, leaves, 0, FraudKind.NoReceipt, "");
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Jailed));
        _assertStake(10_000 * VCN);
    }
}
