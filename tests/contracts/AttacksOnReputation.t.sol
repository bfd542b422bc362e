// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {IDelegations} from "../../contracts/interfaces/IDelegations.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {BatchState, Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";
import {Verdict} from "../../contracts/types/CaseTypes.sol";
import {NodeView} from "../../contracts/types/NodeTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";

/// @notice Attacks on a node's record, and what thieves of its keys get. Which attack is played where is in tests/contracts/PROPERTIES.md.
contract AttacksOnReputationTest is CourtFixture {
    // ---- farming

    /// @notice A node buys a hundred jobs of itself in one batch. Expected end: a day counts twenty, in one batch or in many,
    ///         and each has burned its share.
    function test_attack_farming_in_one_batch() public {
        bench(3);
        graduate(node);
        pass(1 days);
        uint256 burned = settlement.burnPending();
        Contents memory made = submitted(one, node.id, 0, 100, 100 * VCN);
        sealDrawing(node.id, 0, 1_000, 10);
        passInCourt(node.id, 0, made);
        made = submitted(one, node.id, 1, 100, 100 * VCN);
        sealDrawing(node.id, 1, 1_000, 10);
        passInCourt(node.id, 1, made);
        finish(node.id, 0);
        settlement.finalize(node.id, 1);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.successes, 40, "twenty of yesterday, twenty of today");
        assertEq(shown.total, 40);
        assertEq(settlement.burnPending() - burned, 20 * VCN);
    }

    /// @notice Jobs for a wei. Expected end: what burns nothing counts nothing, heals nothing and ends no probation.
    function test_attack_dust_farming_and_an_end_of_probation_by_dust() public {
        bench(3);
        vm.prank(address(court));
        stakes.penalise(node.id, 50, false);
        Contents memory made = submitted(one, node.id, 0, 20, 20);
        passInCourt(node.id, 0, made);
        finish(node.id, 0);
        _assertNothingCounted();
        // A wei below what one job must burn.
        made = submitted(one, node.id, 1, 20, 10 * (profile.minBurn - 1));
        passInCourt(node.id, 1, made);
        finish(node.id, 1);
        _assertNothingCounted();
        made = submitted(one, node.id, 2, 20, 10 * profile.minBurn);
        passInCourt(node.id, 2, made);
        finish(node.id, 2);
        assertEq(stakes.nodeOf(node.id).successes, 1);
        assertEq(stakes.nodeOf(node.id).samplesLeft, 19);
    }

    function _assertNothingCounted() private view {
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.successes, 0);
        assertEq(shown.total, 0);
        assertEq(shown.samplesLeft, 20);
        assertEq(shown.rateBps, 10_000);
        assertEq(shown.penaltyTenths, 50);
    }

    // ---- griefing

    /// @notice Somebody says that a node missed a deadline, which would cost it five points. Expected end: only the clock of the
    ///         chain says so: before it is over no account can, and a node that acts in time loses nothing.
    function test_attack_five_points_by_a_deadline_that_was_not_missed() public {
        openCase(4);
        address sitting = court.seatsOf(caseId)[0].node;
        address thief = makeAddr("thief");
        uint256 turn = vm.getBlockTimestamp() + profile.seatSeconds;
        uint256 end = court.caseOf(caseId).until;
        vm.startPrank(thief);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SeatStillHasTime.selector, turn));
        court.replaceSeat(caseId, 0, contents());
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotSeated.selector, caseId, 0, thief));
        court.demandData(caseId, 0, 0, bytes32("key"));
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotSeated.selector, caseId, 0, thief));
        court.abstain(caseId, 0, contents());
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotStarved.selector, end));
        court.voidStarved(node.id, 0, contents());
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotCourt.selector, thief));
        stakes.penalise(node.id, 50, false);
        vm.stopPrank();
        // The seat commits in the last second of its turn, and the node answers in the last of its own.
        vm.warp(turn);
        for (uint8 seat; seat < 3; ++seat) {
            commitSeat(caseId, seat);
        }
        revealSeat(caseId, 0, 10_000);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SeatNotSilent.selector, caseId, 0));
        court.replaceSeat(caseId, 0, contents());
        address asking = court.seatsOf(caseId)[1].node;
        vm.prank(asking);
        court.demandData(caseId, 1, 0, bytes32("key"));
        vm.warp(court.caseOf(caseId).until);
        vm.prank(node.id);
        court.answerData(caseId, "what was asked for");
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        assertEq(stakes.nodeOf(node.id).penaltyTenths, 0);
        assertEq(stakes.nodeOf(sitting).penaltyTenths, 0);
        assertEq(stakes.nodeOf(sitting).activeStake, 5_000 * VCN);
    }

    /// @notice A client sends jobs that no node can finish. Expected end: they cost the node no stake, no points and no success;
    ///         half of its leaves are checked until it has done as many good ones.
    function test_attack_jobs_built_to_fail() public {
        bench(3);
        graduate(node);
        NodeView memory before = stakes.nodeOf(node.id);
        Claim[] memory claims = claimsOf(one, node.id, 40, 0, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 40);
        (made.okCount, made.failedCount, made.msSum) = (0, 40, 0);
        Contents memory whole = submit(made, claims);
        sealDrawing(node.id, 0, 1_000, 4);
        passInCourt(node.id, 0, whole);
        finish(node.id, 0);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.scoreHundredths, before.scoreHundredths);
        assertEq(shown.activeStake, STAKE);
        assertEq(shown.penaltyTenths, 0);
        assertEq(shown.successes, before.successes);
        assertEq(shown.total, before.total);
        assertEq(shown.rateBps, 5_000);
        assertEq(settlement.laneOf(one.id, one.signer, node.id).left, 500 * VCN, "and the client nothing");
        whole = submitted(one, node.id, 1, 50, 50 * VCN);
        sealDrawing(node.id, 1, 5_000, 25);
        passInCourt(node.id, 1, whole);
        finish(node.id, 1);
        assertEq(stakes.nodeOf(node.id).rateBps, 1_000);
    }

    // ---- stolen keys

    /// @notice The operator's key is stolen. Expected end: it moves no coin; a false batch costs the owner what fraud costs; once
    ///         the owner has rotated, the thief has no role.
    function test_attack_a_stolen_operator_key() public {
        bench(3);
        graduate(node);
        Claim[] memory claims = claimsOf(one, node.id, 1, VCN, 0);
        Submission memory made = submissionOf(node.id, 1, claims, 1);
        vm.startPrank(node.id);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.NotStaker.selector, node.id, node.id));
        stakes.unbond(node.id, 1);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.NotStaker.selector, node.id, node.id));
        stakes.withdraw(node.id);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotOwner.selector, node.id, node.id));
        stakes.setPayout(node.id, node.id);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotOwner.selector, node.id, node.id));
        stakes.setCommission(node.id, 10_000);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotEnoughFree.selector, 1, 0));
        settlement.withdraw(1);
        uint256 had = coin.balanceOf(node.id);
        uint256 owners = coin.balanceOf(node.owner);
        uint96 rewards = settlement.claim(node.id);
        vm.stopPrank();
        assertEq(coin.balanceOf(node.id), had);
        assertEq(coin.balanceOf(node.owner) - owners, rewards, "to the payout");

        Node memory fresh = makeNode("fresh");
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(fresh, node.owner, deadline);
        vm.prank(node.owner);
        stakes.rotateOperator(node.id, fresh.id, deadline, consent);
        vm.startPrank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotOperator.selector, node.id, node.id));
        settlement.submit(made, claims);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotOperator.selector, node.id, node.id));
        stakes.checkIn(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotOfNode.selector, node.id, node.id));
        court.joinVerifiers(node.id, CLASS);
        vm.stopPrank();
        vm.prank(fresh.id);
        settlement.submit(made, claims);
        assertEq(uint8(stateOf(node.id, 1)), uint8(BatchState.Pending));
    }

    /// @notice All arbiters' keys are stolen. Expected end: they pass or void what seats could not decide, and nothing else: no
    ///         slash, no jail, no coin; what seats have found is none of theirs.
    function test_attack_stolen_arbiter_keys() public {
        callPanel();
        openCase(3);
        truth = 9_000;
        sit();
        resolve();
        vm.prank(people[0]);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotPanel.selector, people[0]));
        court.rule(caseId, false);
        assertFalse(vote(0, false), "one alone decides nothing");
        assertTrue(vote(1, false));
        assertEnded(Verdict.Review);
        settlement.refund(node.id, 0, contents());
        assertEq(settlement.laneOf(one.id, one.signer, node.id).left, 500 * VCN, "the client has it all back");
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.activeStake, STAKE);
        assertEq(shown.penaltyTenths, 50, "five points");
        assertFalse(stakes.isJailed(node.id));
        for (uint256 i; i < people.length; ++i) {
            assertEq(coin.balanceOf(people[i]), 0);
        }
    }
}
