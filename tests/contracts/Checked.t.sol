// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFraudProofs} from "../../contracts/interfaces/IFraudProofs.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {Batch, BatchState, Claim, Contents, Debit, LaneView, Submission} from "../../contracts/types/BatchTypes.sol";
import {Verdict} from "../../contracts/types/CaseTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice Batches that are checked because their clients pay for that: half of each charge, for which every leaf is drawn.
contract CheckedTest is Fixture {
    Node private node;
    Client private one;
    Client private two;

    function setUp() public override {
        super.setUp();
        bench(3);
        node = registered("node", 10_000 * VCN);
        graduate(node);
        one = client("client", 1_000 * VCN);
        two = client("second client", 1_000 * VCN);
        openLane(one, node.id, 500 * VCN);
        openLane(two, node.id, 500 * VCN);
    }

    function _submitted(uint16 leaves, uint96 charge, uint96 bonus, uint8 flags) private returns (Contents memory) {
        Claim[] memory claims = claimsOf(one, node.id, leaves, charge, bonus, CHECKED);
        Submission memory made = submissionOf(node.id, 0, claims, leaves);
        made.flags = CHECKED | flags;
        if (flags & UNRECEIPTED != 0) made.mineBy = uint40(vm.getBlockTimestamp());
        return submit(made, claims);
    }

    function _left(Client memory whose) private view returns (uint96) {
        return settlement.laneOf(whose.id, whose.signer, node.id).left;
    }

    function _rewardsOfSeats(bytes32 caseId) private view returns (uint256 sum) {
        uint256 count = court.seatsOf(caseId).length;
        for (uint256 i; i < count; ++i) {
            sum += settlement.bookOf(court.seatsOf(caseId)[i].node).rewards;
        }
    }

    // ---- the fee and the draw

    function testFuzz_half_of_the_charge_is_the_fee_and_every_leaf_is_drawn(
        uint16 leaves,
        uint96 charge,
        uint96 bonus,
        bytes32 hash
    ) public {
        leaves = uint16(bound(leaves, 1, 40));
        charge = uint96(bound(charge, leaves, uint256(leaves) * 7 * VCN));
        bonus = uint96(bound(bonus, 0, charge * 9 / 100));
        _submitted(leaves, charge, bonus, 0);
        Batch memory batch = settlement.batchOf(node.id, 0);
        uint96 fee = (charge + 1) / 2;
        assertEq(batch.fee, fee, "half, rounded up");
        assertEq(_left(one), 500 * VCN - charge - fee - bonus, "what the lane pays");
        assertEq(settlement.bookOf(node.id).openValue, charge + fee + bonus, "what the stake answers for");
        (uint256 epoch, uint256 seedBlock) = toSeed(node.id, 0);
        vm.setBlockhash(seedBlock, hash == 0 ? bytes32(uint256(1)) : hash);
        beacon.seal(epoch);
        assertEq(settlement.sampledLeaves(node.id, 0).length, leaves, "all of them");
    }

    function test_each_lane_pays_its_own_half() public {
        Claim[] memory claims = new Claim[](2);
        claims[0] = claimOf(one, node.id, 1, 3, 0, CHECKED);
        claims[1] = claimOf(two, node.id, 1, 5, 0, CHECKED);
        Submission memory made = submissionOf(node.id, 0, claims, 2);
        made.flags = CHECKED;
        Contents memory contents = submit(made, claims);
        assertEq(contents.debits[0].amount, 5);
        assertEq(contents.debits[1].amount, 8);
        assertEq(settlement.batchOf(node.id, 0).fee, 5, "2 and 3: each claim is rounded by itself");
    }

    function test_an_order_for_less_does_not_pay_for_a_check() public {
        Claim[] memory claims = claimsOf(one, node.id, 1, 10 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        made.flags = CHECKED;
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.OverSigned.selector, 0, 15 * VCN, 10.5 ether));
        settlement.submit(made, claims);
    }

    function test_it_is_never_final_without_a_court() public {
        _submitted(1, 2 * VCN, 0, 0);
        seal(node.id, 0);
        pass(profile.challengeSeconds);
        vm.expectRevert(ISettlement.NeedsCourt.selector);
        settlement.finalize(node.id, 0);
    }

    function test_bits_that_mean_something_inside_are_refused() public {
        Claim[] memory claims = claimsOf(one, node.id, 1, 10 * VCN, 0, CHECKED);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        for (uint8 bit = 2; bit < 8; ++bit) {
            if (bit == 5) continue;
            made.flags = CHECKED | uint8(1 << bit);
            vm.prank(node.id);
            vm.expectRevert(abi.encodeWithSelector(ISettlement.BadFlags.selector, made.flags));
            settlement.submit(made, claims);
        }
    }

    // ---- who gets it

    function test_seats_share_the_fee_and_the_pool_pays_nothing() public {
        Contents memory contents = _submitted(4, 40 * VCN, 0, 0);
        uint256 before = settlement.pool();
        bytes32 caseId = convened(node.id, 0, contents);
        uint256 seated = _rewardsOfSeats(caseId);
        judge(caseId, three(10_000, 10_000, 10_000));
        court.resolve(caseId, contents);
        uint256 paid = _rewardsOfSeats(caseId) - seated;
        // The convening account has a fifth of the fee.
        assertApproxEqAbs(paid, 16 * VCN, 2, "20 less 4");
        assertApproxEqAbs(settlement.pool(), before, 2, "what came in went out");
        finish(node.id, 0);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Final));
    }

    /// @dev Receipts and paid checks have nothing to do with each other: each flag does what it does alone.
    function test_without_receipts_it_has_no_bonus_and_its_time_as_any_other() public {
        Claim[] memory claims = claimsOf(one, node.id, 1, 10 * VCN, 1, CHECKED);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        made.flags = CHECKED | UNRECEIPTED;
        made.mineBy = uint40(vm.getBlockTimestamp());
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.BonusTooHigh.selector, 1, 0));
        settlement.submit(made, claims);
        _submitted(1, 10 * VCN, 0, UNRECEIPTED);
        assertEq(settlement.batchOf(node.id, 0).fee, 5 * VCN);
    }

    function test_nobody_has_to_challenge_it() public {
        Contents memory contents = _submitted(1, 10 * VCN, 0, 0);
        vm.prank(one.id);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.DrawnAnyway.selector, 1, 100));
        fraudProofs.challengeLeaf(node.id, 0, contents, 0);
    }

    // ---- what a check that finds something costs

    function _resolved(Contents memory contents, uint16 score) private returns (Verdict) {
        bytes32 caseId = convened(node.id, 0, contents);
        judge(caseId, three(score, score, score));
        return court.resolve(caseId, contents);
    }

    function _mixed() private returns (Contents memory) {
        Claim[] memory claims = new Claim[](2);
        claims[0] = claimOf(one, node.id, 2, 20 * VCN, 1 * VCN, CHECKED);
        claims[1] = claimOf(two, node.id, 1, 10 * VCN + 1, 0, CHECKED);
        Submission memory made = submissionOf(node.id, 0, claims, 3);
        made.flags = CHECKED;
        return submit(made, claims);
    }

    function test_fraud_costs_its_clients_nothing() public {
        Contents memory contents = _mixed();
        assertEq(uint8(_resolved(contents, 8_000)), uint8(Verdict.Severe));
        settlement.refund(node.id, 0, contents);
        assertEq(_left(one), 500 * VCN);
        assertEq(_left(two), 500 * VCN);
    }

    /// @dev A doubt slashes no stake: were its seats paid by the pool, a client, node and seat in one hand would empty it.
    function test_attack_doubts_about_ones_own_jobs_are_paid_by_the_pool() public {
        Contents memory contents = _mixed();
        uint256 pool = settlement.pool();
        bytes32 caseId = convened(node.id, 0, contents);
        uint256 seated = _rewardsOfSeats(caseId);
        judge(caseId, three(9_000, 9_000, 9_000));
        assertEq(uint8(court.resolve(caseId, contents)), uint8(Verdict.Review));
        uint256 given = _rewardsOfSeats(caseId) - seated;
        settlement.refund(node.id, 0, contents);
        uint256 kept = 1_000 * VCN - _left(one) - _left(two);
        assertApproxEqAbs(kept, 15 * VCN + 1, 2, "the fee");
        assertLe(given, kept, "seats have no more than that");
        assertGe(settlement.pool(), pool, "the pool is no poorer");
        assertEq(settlement.accountOf(one.id), 500 * VCN, "nothing went elsewhere");
    }

    function testFuzz_a_refund_keeps_no_more_than_the_fee(uint96 first, uint96 second, uint96 bonus) public {
        first = uint96(bound(first, 1, 200 * VCN));
        second = uint96(bound(second, 0, 200 * VCN));
        bonus = uint96(bound(bonus, 0, (first + second) * 9 / 100));
        Claim[] memory claims = new Claim[](2);
        claims[0] = claimOf(one, node.id, 1, first, bonus, CHECKED);
        claims[1] = claimOf(two, node.id, 1, second, 0, CHECKED);
        Submission memory made = submissionOf(node.id, 0, claims, 2);
        made.flags = CHECKED;
        if (made.maxLeaf < first) made.maxLeaf = first;
        if (made.maxLeaf < second) made.maxLeaf = second;
        Contents memory contents = submit(made, claims);
        uint96 fee = settlement.batchOf(node.id, 0).fee;
        bytes32 caseId = convened(node.id, 0, contents);
        uint256 seats = court.seatsOf(caseId).length;
        uint16[] memory scores = new uint16[](seats);
        for (uint256 i; i < seats; ++i) {
            scores[i] = 9_000;
        }
        judge(caseId, scores);
        court.resolve(caseId, contents);
        vm.assume(stateOf(node.id, 0) == BatchState.Void && !stakes.isJailed(node.id));
        uint256 pool = settlement.pool();
        settlement.refund(node.id, 0, contents);
        uint256 kept = 1_000 * VCN - _left(one) - _left(two);
        assertLe(kept, fee);
        assertGe(kept + 1, fee, "two lanes, each rounded down");
        assertEq(settlement.pool() - pool, kept, "no wei is lost");
        for (uint256 i; i < 2; ++i) {
            assertLe(contents.debits[i].amount / 3, _left(i == 0 ? one : two), "two thirds at least come back");
        }
    }

    function test_what_nobody_looked_at_costs_nothing() public {
        Contents memory contents = _mixed();
        seal(node.id, 0);
        court.convene(node.id, 0, contents);
        pass(2 * profile.starvedSeconds + 1);
        court.voidStarved(node.id, 0, contents);
        settlement.refund(node.id, 0, contents);
        assertEq(_left(one), 500 * VCN);
    }

    function test_a_checked_batch_that_charges_nothing_is_refunded() public {
        Claim[] memory claims = claimsOf(one, node.id, 1, 0, 0, CHECKED);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        made.flags = CHECKED | UNCALIBRATED;
        Contents memory contents = submit(made, claims);
        bytes32 caseId = convened(node.id, 0, contents);
        commitSeat(caseId, 0);
        revealSeat(caseId, 0, 9_000);
        court.resolve(caseId, contents);
        for (uint8 seat = 1; seat < 3; ++seat) {
            commitSeat(caseId, seat);
        }
        for (uint8 seat = 1; seat < 3; ++seat) {
            revealSeat(caseId, seat, 9_000);
        }
        assertEq(uint8(court.resolve(caseId, contents)), uint8(Verdict.Review));
        settlement.refund(node.id, 0, contents);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Refunded));
    }

    function test_the_flag_does_not_outlive_its_batch() public {
        Contents memory contents = _mixed();
        _resolved(contents, 9_000);
        settlement.refund(node.id, 0, contents);
        contents = submitted(one, node.id, 0, 2, 20 * VCN);
        _resolved(contents, 9_000);
        uint96 before = _left(one);
        settlement.refund(node.id, 0, contents);
        assertEq(_left(one), before + 21 * VCN, "all of it");
    }
}
