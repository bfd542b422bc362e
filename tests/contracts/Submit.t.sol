// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {Batch, BatchState, Book, Claim, Contents, LaneView, Submission} from "../../contracts/types/BatchTypes.sol";

import {Fixture} from "./Fixture.sol";

contract SubmitTest is Fixture {
    Node private node;
    Client private one;

    function setUp() public override {
        super.setUp();
        node = registered("node", 10_000 * VCN);
        one = client("client", 3_000 * VCN);
        openLane(one, node.id, 2_000 * VCN);
    }

    function _claims(uint24 jobs, uint96 charge, uint96 bonus) private view returns (Claim[] memory) {
        return claimsOf(one, node.id, jobs, charge, bonus);
    }

    function _expect(bytes memory refused, Submission memory made, Claim[] memory claims) private {
        vm.prank(node.id);
        vm.expectRevert(refused);
        settlement.submit(made, claims);
    }

    // ---- what a batch becomes

    function test_a_batch_is_kept_with_its_terms() public {
        Claim[] memory claims = _claims(3, 30 * VCN, 2 * VCN);
        Submission memory made = submissionOf(node.id, 5, claims, 2);
        made.failedCount = 1;
        made.maxLeaf = 20 * VCN;
        Contents memory contents = submit(made, claims);
        Batch memory batch = settlement.batchOf(node.id, 5);
        assertEq(uint8(batch.state), uint8(BatchState.Pending));
        assertEq(batch.charge, 30 * VCN);
        assertEq(batch.fee, 1.5 ether);
        assertEq(batch.bonus, 2 * VCN);
        assertEq(batch.leafCount, 3);
        assertEq(batch.okCount, 2);
        assertEq(batch.failedCount, 1);
        assertEq(batch.responseMs, 2_000);
        assertEq(batch.scoreHundredths, 4_500);
        assertEq(batch.ratePercent, 100);
        assertEq(batch.commitBlock, vm.getBlockNumber());
        assertEq(batch.commitTime, vm.getBlockTimestamp());
        assertEq(batch.contentsHash, keccak256(abi.encode(contents)));
        assertEq(
            settlement.batchIdOf(node.id, 5), keccak256(abi.encode(node.id, uint256(5), uint256(vm.getBlockNumber())))
        );
        Book memory book = settlement.bookOf(node.id);
        assertEq(book.openValue, 33.5 ether);
        assertEq(book.openBatches, 1);
    }

    function test_the_lane_pays_what_it_cost_and_keeps_the_rest() public {
        Claim[] memory claims = _claims(1, 10 * VCN, 0);
        claims[0].cumulative += 7 * VCN;
        signClaim(claims[0], node.id, one.signerKey);
        vm.expectEmit(address(settlement));
        emit ISettlement.LaneChanged(one.id, one.signer, node.id, 2_000 * VCN - 10.5 ether, 17.5 ether, 1, 0);
        submit(submissionOf(node.id, 0, claims, 1), claims);
    }

    function test_the_event_carries_batch_and_contents() public {
        Claim[] memory claims = _claims(2, 10 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 2);
        Contents memory contents = contentsOf(made, claims);
        vm.recordLogs();
        vm.prank(node.id);
        bytes32 batchId = settlement.submit(made, claims);
        bytes memory data = vm.getRecordedLogs()[1].data;
        (Batch memory batch, Contents memory shown) = abi.decode(data, (Batch, Contents));
        assertEq(keccak256(abi.encode(batch)), keccak256(abi.encode(settlement.batchOf(node.id, 0))));
        assertEq(keccak256(abi.encode(shown)), keccak256(abi.encode(contents)));
        assertEq(batchId, settlement.batchIdOf(node.id, 0));
    }

    function test_one_signature_settles_many_jobs_over_many_batches() public {
        submitted(one, node.id, 0, 5, 50 * VCN);
        submitted(one, node.id, 1, 7, 70 * VCN);
        LaneView memory lane = settlement.laneOf(one.id, one.signer, node.id);
        assertEq(lane.jobs, 12);
        assertEq(lane.left, 2_000 * VCN - 126 * VCN);
    }

    function test_several_lanes_in_one_batch() public {
        Client memory two = client("second client", 100 * VCN);
        openLane(two, node.id, 100 * VCN);
        Claim[] memory claims = new Claim[](2);
        claims[0] = claimOf(one, node.id, 2, 20 * VCN, 0);
        claims[1] = claimOf(two, node.id, 3, 30 * VCN, 0);
        submit(submissionOf(node.id, 0, claims, 5), claims);
        assertEq(settlement.batchOf(node.id, 0).leafCount, 5);
        assertEq(settlement.laneOf(two.id, two.signer, node.id).left, 100 * VCN - 31.5 ether);
    }

    function test_a_lane_twice_in_one_batch_moves_twice() public {
        Claim[] memory claims = new Claim[](2);
        claims[0] = claimOf(one, node.id, 1, 10 * VCN, 0);
        claims[1] = claimOf(one, node.id, 2, 10 * VCN, 0);
        _expect(
            abi.encodeWithSelector(ISettlement.OverSigned.selector, 1, 10.5 ether, 0),
            submissionOf(node.id, 0, claims, 2),
            claims
        );
    }

    function test_a_batch_of_failed_leaves_only() public {
        Claim[] memory claims = _claims(2, 0, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 0);
        made.failedCount = 2;
        submit(made, claims);
        assertEq(settlement.batchOf(node.id, 0).charge, 0);
    }

    function test_flags_draw_everything() public {
        bench(3);
        graduate(node);
        submitted(one, node.id, 0, 1, VCN);
        assertEq(settlement.batchOf(node.id, 0).ratePercent, 10);
        for (uint8 flags = 1; flags <= 3; ++flags) {
            Claim[] memory claims = _claims(1, VCN, 0);
            Submission memory made = submissionOf(node.id, flags, claims, 1);
            made.flags = flags;
            made.mineBy = flags & UNRECEIPTED != 0 ? uint40(block.timestamp) : 0;
            submit(made, claims);
            assertEq(settlement.batchOf(node.id, flags).ratePercent, 100);
        }
    }

    // ---- who and where

    function test_only_the_operator() public {
        Claim[] memory claims = _claims(1, VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotOperator.selector, node.id, node.owner));
        settlement.submit(made, claims);
    }

    function test_not_while_jailed_or_exiting() public {
        Claim[] memory claims = _claims(1, VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        vm.prank(node.owner);
        stakes.unbond(node.id, 10_000 * VCN);
        _expect(abi.encodeWithSelector(ISettlement.NodeNotActive.selector, node.id), made, claims);
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        _expect(abi.encodeWithSelector(ISettlement.NodeNotActive.selector, node.id), made, claims);
    }

    function test_not_below_the_minimum_stake() public {
        Claim[] memory claims = _claims(1, VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        vm.startPrank(address(court));
        for (uint256 i; i < 4; ++i) {
            stakes.slash(node.id, 5_000, 0);
        }
        vm.stopPrank();
        _expect(abi.encodeWithSelector(ISettlement.StakeTooLow.selector, 625 * VCN, 1_000 * VCN), made, claims);
    }

    function test_only_a_class_it_runs() public {
        Claim[] memory claims = _claims(1, VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        made.classId = 3;
        _expect(abi.encodeWithSelector(ISettlement.ClassNotRun.selector, node.id, 3), made, claims);
        made.classId = 33;
        _expect(abi.encodeWithSelector(ISettlement.ClassNotRun.selector, node.id, 33), made, claims);
    }

    function test_the_ring_has_64_slots() public {
        Claim[] memory claims = _claims(1, VCN, 0);
        Submission memory made = submissionOf(node.id, 64, claims, 1);
        _expect(abi.encodeWithSelector(ISettlement.SlotOutOfRange.selector, 64), made, claims);
        made.slot = 63;
        submit(made, claims);
        claims = _claims(1, VCN, 0);
        _expect(abi.encodeWithSelector(ISettlement.SlotBusy.selector, 63), submissionOf(node.id, 63, claims, 1), claims);
    }

    function test_unknown_flags() public {
        Claim[] memory claims = _claims(1, VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        made.flags = 4;
        _expect(abi.encodeWithSelector(ISettlement.BadFlags.selector, 4), made, claims);
    }

    function test_number_of_claims() public {
        Submission memory made = submissionOf(node.id, 0, new Claim[](0), 0);
        _expect(abi.encodeWithSelector(ISettlement.NoClaims.selector), made, new Claim[](0));
        _expect(abi.encodeWithSelector(ISettlement.TooManyClaims.selector, 257), made, new Claim[](257));
    }

    // ---- what was signed

    function test_another_key_does_not_sign() public {
        Claim[] memory claims = _claims(1, VCN, 0);
        signClaim(claims[0], node.id, node.key);
        _expect(
            abi.encodeWithSelector(ISettlement.BadAssignmentSignature.selector, 0),
            submissionOf(node.id, 0, claims, 1),
            claims
        );
        claims[0].signer = address(0);
        claims[0].r = 0;
        _expect(
            abi.encodeWithSelector(ISettlement.BadAssignmentSignature.selector, 0),
            submissionOf(node.id, 0, claims, 1),
            claims
        );
    }

    function test_an_assignment_is_for_one_node() public {
        Node memory other = registered("other node", 10_000 * VCN);
        openLane(one, other.id, 100 * VCN);
        Claim[] memory claims = _claims(1, VCN, 0);
        Submission memory made = submissionOf(other.id, 0, claims, 1);
        vm.prank(other.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.BadAssignmentSignature.selector, 0));
        settlement.submit(made, claims);
    }

    function test_an_old_assignment_is_worth_nothing() public {
        Claim[] memory old = _claims(1, VCN, 0);
        submitted(one, node.id, 0, 1, 2 * VCN);
        Submission memory made = submissionOf(node.id, 1, old, 1);
        _expect(abi.encodeWithSelector(ISettlement.IndexNotAbove.selector, 0, 1, 1), made, old);
    }

    function test_no_more_than_signed() public {
        Claim[] memory claims = _claims(1, 10 * VCN, 0);
        claims[0].charge += 1;
        _expect(
            abi.encodeWithSelector(ISettlement.OverSigned.selector, 0, 10.5 ether + 2, 10.5 ether),
            submissionOf(node.id, 0, claims, 1),
            claims
        );
    }

    function test_no_more_than_the_lane_holds() public {
        Client memory poor = client("poor client", 100 * VCN);
        openLane(poor, node.id, 10 * VCN);
        Claim[] memory claims = claimsOf(poor, node.id, 1, 10 * VCN, 0);
        _expect(
            abi.encodeWithSelector(ISettlement.OverLane.selector, 0, 10.5 ether, 10 * VCN),
            submissionOf(node.id, 0, claims, 1),
            claims
        );
    }

    function test_a_lane_may_be_emptied() public {
        Client memory exact = client("exact client", 10.5 ether);
        openLane(exact, node.id, 10.5 ether);
        submitted(exact, node.id, 0, 1, 10 * VCN);
        assertEq(settlement.laneOf(exact.id, exact.signer, node.id).left, 0);
    }

    function test_a_cumulative_below_the_mark() public {
        submitted(one, node.id, 0, 1, 10 * VCN);
        Claim[] memory claims = _claims(1, 0, 0);
        claims[0].cumulative -= 1;
        signClaim(claims[0], node.id, one.signerKey);
        _expect(
            abi.encodeWithSelector(ISettlement.BelowMark.selector, 0, 10.5 ether - 1, 10.5 ether),
            submissionOf(node.id, 1, claims, 0),
            claims
        );
    }

    // ---- sums and limits

    function test_sums_must_be_those_of_the_claims() public {
        Claim[] memory claims = _claims(1, 10 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        made.priceSum -= 1;
        _expect(abi.encodeWithSelector(ISettlement.SumMismatch.selector), made, claims);
        made.priceSum += 1;
        made.bonusSum = 1;
        _expect(abi.encodeWithSelector(ISettlement.SumMismatch.selector), made, claims);
    }

    function test_no_more_leaves_than_indices() public {
        Claim[] memory claims = _claims(3, 9 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 3);
        made.failedCount = 1;
        _expect(abi.encodeWithSelector(ISettlement.BadCounts.selector, 3, 1, 3), made, claims);
    }

    function test_money_needs_an_ok_leaf() public {
        Claim[] memory claims = _claims(1, VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        made.okCount = 0;
        _expect(abi.encodeWithSelector(ISettlement.BadMaxLeaf.selector, VCN), made, claims);
    }

    function test_the_largest_leaf_lies_between_mean_and_sum() public {
        Claim[] memory claims = _claims(2, 10 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 2);
        made.maxLeaf = 5 * VCN - 1;
        _expect(abi.encodeWithSelector(ISettlement.BadMaxLeaf.selector, made.maxLeaf), made, claims);
        made.maxLeaf = 10 * VCN + 1;
        _expect(abi.encodeWithSelector(ISettlement.BadMaxLeaf.selector, made.maxLeaf), made, claims);
        made.maxLeaf = 5 * VCN;
        submit(made, claims);
    }

    function test_a_batch_of_one_says_its_price() public {
        Claim[] memory claims = _claims(1, 10 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        made.maxLeaf = 10 * VCN - 1;
        _expect(abi.encodeWithSelector(ISettlement.BadMaxLeaf.selector, made.maxLeaf), made, claims);
    }

    function test_bonus_is_at_most_nine_percent() public {
        Claim[] memory claims = _claims(1, 10 * VCN, 0.9 ether + 1);
        _expect(
            abi.encodeWithSelector(ISettlement.BonusTooHigh.selector, 0.9 ether + 1, 0.9 ether),
            submissionOf(node.id, 0, claims, 1),
            claims
        );
        claims = _claims(1, 10 * VCN, 0.9 ether);
        submit(submissionOf(node.id, 0, claims, 1), claims);
    }

    function test_no_bonus_without_receipts() public {
        Claim[] memory claims = _claims(1, 10 * VCN, 1);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        made.flags = UNRECEIPTED;
        made.mineBy = uint40(block.timestamp);
        _expect(abi.encodeWithSelector(ISettlement.BonusTooHigh.selector, 1, 0), made, claims);
        made.flags = UNCALIBRATED;
        made.mineBy = 0;
        submit(made, claims);
    }

    function test_without_receipts_a_batch_is_too_late_once_its_clients_may_pay_others() public {
        Claim[] memory claims = _claims(1, 10 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        made.flags = UNRECEIPTED;
        made.mineBy = uint40(block.timestamp) - 1;
        _expect(abi.encodeWithSelector(ISettlement.StaleJob.selector, made.mineBy), made, claims);
        made.mineBy = uint40(block.timestamp);
        submit(made, claims);
    }

    function test_only_a_batch_without_receipts_says_when_it_is_too_late_and_always_does() public {
        Claim[] memory claims = _claims(1, 10 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        made.mineBy = uint40(block.timestamp) + 1;
        _expect(abi.encodeWithSelector(ISettlement.BadMineBy.selector, made.mineBy), made, claims);
        made.flags = UNRECEIPTED;
        made.mineBy = 0;
        _expect(abi.encodeWithSelector(ISettlement.BadMineBy.selector, 0), made, claims);
    }

    function test_a_leaf_is_at_most_a_fortieth_of_the_stake() public {
        Claim[] memory claims = _claims(1, 250 * VCN + 1, 0);
        _expect(
            abi.encodeWithSelector(ISettlement.LeafTooBig.selector, 250 * VCN + 1, 250 * VCN),
            submissionOf(node.id, 0, claims, 1),
            claims
        );
        claims = _claims(1, 250 * VCN, 0);
        submit(submissionOf(node.id, 0, claims, 1), claims);
    }

    function test_open_value_is_at_most_half_of_the_stake() public {
        Client memory rich = client("rich client", 6_000 * VCN);
        openLane(rich, node.id, 6_000 * VCN);
        // 20 leaves of 250 would be 5250 with the fee; 4750 with it leave room for 12.5.
        Claim[] memory claims = claimsOf(rich, node.id, 19, 4_750 * VCN, 0);
        submit(submissionOf(node.id, 0, claims, 19), claims);
        claims = claimsOf(rich, node.id, 1, 12 * VCN, 0);
        _expect(
            abi.encodeWithSelector(ISettlement.OpenValueTooHigh.selector, 5_000.1 ether, 5_000 * VCN),
            submissionOf(node.id, 1, claims, 1),
            claims
        );
    }

    function test_on_probation_a_batch_has_at_most_20_leaves() public {
        Claim[] memory claims = _claims(21, 21 * VCN, 0);
        _expect(
            abi.encodeWithSelector(ISettlement.TooManyLeaves.selector, 21, 20),
            submissionOf(node.id, 0, claims, 21),
            claims
        );
        claims = _claims(20, 20 * VCN, 0);
        submit(submissionOf(node.id, 0, claims, 20), claims);
    }

    /// @dev Numbers that a node never saw are leaves, too: a limit that shrinks could leave a lane that never settles.
    function test_the_limit_on_probation_does_not_shrink_with_what_is_left_of_it() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 15, 15 * VCN);
        passInCourt(node.id, 0, contents);
        finish(node.id, 0);
        assertEq(stakes.nodeOf(node.id).samplesLeft, 5);
        Claim[] memory claims = _claims(20, 20 * VCN, 0);
        submit(submissionOf(node.id, 1, claims, 20), claims);
    }

    function test_a_batch_has_at_most_2560_leaves() public {
        bench(3);
        graduate(node);
        Claim[] memory claims = _claims(2_561, 256 * VCN, 0);
        _expect(
            abi.encodeWithSelector(ISettlement.TooManyLeaves.selector, 2_561, 2_560),
            submissionOf(node.id, 0, claims, 2_561),
            claims
        );
        claims = _claims(2_560, 256 * VCN, 0);
        submit(submissionOf(node.id, 0, claims, 2_560), claims);
    }
}
