// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {BatchState, Claim, Submission} from "../../contracts/types/BatchTypes.sol";
import {CaseState, CaseView, Verdict} from "../../contracts/types/CaseTypes.sol";
import {NodeState} from "../../contracts/types/NodeTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";

/// @notice appeal, and what waits for it.
contract AppealsTest is CourtFixture {
    uint96 private constant BOND = 100 * VCN;

    // ---- a decided case

    function test_a_finding_of_fraud_waits() public {
        openCase(10);
        truth = 8_500;
        sit();
        uint256 until = vm.getBlockTimestamp() + profile.appealSeconds;
        vm.expectEmit(address(court));
        emit ICourt.CaseDecided(caseId, Verdict.Severe, 8_500, until);
        assertVerdict(resolve(), Verdict.None);
        CaseView memory shown = court.caseOf(caseId);
        assertVerdict(shown.verdict, Verdict.None);
        assertVerdict(shown.standing, Verdict.Severe);
        assertEq(shown.until, until);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE, "no slash yet");
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Active));
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.InCourt));
        settlement.refund(node.id, 0, contents());
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ICourt.RulingWaits.selector, until));
        court.resolve(caseId, none);
    }

    function test_after_the_time_to_appeal_anyone_ends_it() public {
        decide(10);
        waitFor(profile.appealSeconds);
        vm.prank(address(0xCAFE));
        vm.expectEmit(address(court));
        emit ICourt.CaseResolved(caseId, node.id, 0, Verdict.Severe, 0);
        assertVerdict(court.resolve(caseId, none), Verdict.Severe);
        assertEnded(Verdict.Severe);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE / 2);
        assertTrue(stakes.isJailed(node.id));
        settlement.refund(node.id, 0, contents());
        assertEq(settlement.laneOf(one.id, one.signer, node.id).left, 500 * VCN);
        vm.expectRevert(abi.encodeWithSelector(ICourt.CaseClosed.selector, caseId));
        court.resolve(caseId, contents());
    }

    /// @dev Another batch of the guilty node, of which its own draw takes nothing.
    function _undrawn() private {
        graduate(node);
        mine(profile.epochBlocks);
        submitted(one, node.id, 1, 5, 10 * VCN);
        sealDrawing(node.id, 1, 1_000, 0);
        pass(profile.challengeSeconds);
    }

    function test_attack_other_batches_become_final_before_the_appeal_is_over() public {
        decide(10);
        assertEq(settlement.bookOf(node.id).accusations, 1);
        _undrawn();
        vm.expectRevert(ISettlement.NeedsCourt.selector);
        settlement.finalize(node.id, 1);
        assertEq(settlement.sampledLeaves(node.id, 1).length, 5);
        pass(profile.appealSeconds);
        assertVerdict(court.resolve(caseId, none), Verdict.Severe);
        assertEq(settlement.bookOf(node.id).accusations, 0);
        vm.expectRevert(ISettlement.NeedsCourt.selector);
        settlement.finalize(node.id, 1);
    }

    function test_a_node_that_is_acquitted_has_its_other_batches_paid() public {
        decide(10);
        appeal();
        _undrawn();
        assertEq(settlement.bookOf(node.id).accusations, 1);
        vm.expectRevert(ISettlement.NeedsCourt.selector);
        settlement.finalize(node.id, 1);
        truth = 10_000;
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        assertEq(settlement.bookOf(node.id).accusations, 0);
        settlement.finalize(node.id, 1);
        assertEq(uint8(stateOf(node.id, 1)), uint8(BatchState.Final));
    }

    function test_the_clients_way_out_ends_it_too() public {
        decide(10);
        uint256 until = court.caseOf(caseId).until;
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotStarved.selector, until));
        court.voidStarved(node.id, 0, none);
        vm.warp(until + 1);
        court.voidStarved(node.id, 0, none);
        assertEnded(Verdict.Severe);
    }

    function test_nothing_waits_where_no_bench_is_larger() public {
        openCase(4);
        truth = 0;
        sit();
        assertVerdict(resolve(), Verdict.Severe);
    }

    function test_seats_do_not_act_on_a_decided_case() public {
        decide(10);
        address first = court.seatsOf(caseId)[0].node;
        bytes memory refused = abi.encodeWithSelector(ICourt.CaseWaits.selector, caseId, CaseState.Decided);
        vm.prank(first);
        vm.expectRevert(refused);
        court.commitSeat(caseId, 0, bytes32(uint256(1)));
        vm.expectRevert(refused);
        court.replaceSeat(caseId, 0, contents());
    }

    function test_an_uncalibrated_case_has_nothing_to_appeal() public {
        bench(10);
        Claim[] memory claims = claimsOf(one, node.id, 2, 40 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 2);
        made.flags = UNCALIBRATED;
        keep(submit(made, claims));
        caseId = convened(node.id, 0, contents());
        truth = 0;
        sit();
        assertVerdict(resolve(), Verdict.Review);
        assertEnded(Verdict.Review);
    }

    // ---- appeal

    function test_an_appeal_seats_seven_for_a_hundredth_of_the_stake() public {
        decide(10);
        uint256 before = coin.balanceOf(node.owner);
        vm.prank(node.owner);
        vm.expectEmit(address(court));
        emit ICourt.CaseAppealed(caseId, node.owner, BOND);
        court.appeal(caseId, contents());
        assertEq(coin.balanceOf(node.owner), before - BOND);
        assertEq(coin.balanceOf(address(court)), BOND);
        CaseView memory shown = court.caseOf(caseId);
        assertEq(uint8(shown.state), uint8(CaseState.Open));
        assertEq(shown.seatCount - shown.firstSeat, 7);
        assertEq(shown.appellant, node.owner);
        assertEq(shown.bond, BOND);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE, "still no slash");
    }

    function test_the_operator_may_appeal_and_nobody_else() public {
        decide(10);
        vm.prank(one.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotOfNode.selector, node.id, one.id));
        court.appeal(caseId, contents());
        vm.prank(node.id);
        court.appeal(caseId, contents());
        assertEq(court.caseOf(caseId).appellant, node.id);
    }

    function test_an_appeal_needs_the_money_the_contents_and_the_time() public {
        decide(10);
        uint256 until = court.caseOf(caseId).until;
        vm.startPrank(node.owner);
        vm.expectRevert(ICourt.WrongContents.selector);
        court.appeal(caseId, none);
        coin.approve(address(court), BOND - 1);
        vm.expectRevert();
        court.appeal(caseId, contents());
        coin.approve(address(court), BOND);
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(ICourt.AppealOver.selector, until));
        court.appeal(caseId, contents());
        vm.warp(until);
        court.appeal(caseId, contents());
        vm.stopPrank();
    }

    function test_only_a_decided_case_and_once() public {
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NothingToAppeal.selector, bytes32(uint256(5))));
        court.appeal(bytes32(uint256(5)), none);
        openCase(10);
        bytes memory refused = abi.encodeWithSelector(ICourt.NothingToAppeal.selector, caseId);
        vm.prank(node.owner);
        vm.expectRevert(refused);
        court.appeal(caseId, contents());
        truth = 0;
        sit();
        resolve();
        appeal();
        vm.prank(node.owner);
        vm.expectRevert(refused);
        court.appeal(caseId, contents());
        sit();
        resolve();
        vm.prank(node.owner);
        vm.expectRevert(refused);
        court.appeal(caseId, contents());
    }

    function test_what_unbonds_counts_for_the_bond() public {
        decide(10);
        vm.prank(node.owner);
        stakes.unbond(node.id, STAKE);
        assertEq(court.appealBondOf(node.id), BOND);
        appeal();
        assertEq(court.caseOf(caseId).bond, BOND);
    }

    // ---- what comes of it

    function test_a_verdict_that_stands_costs_the_bond() public {
        decide(10);
        appeal();
        uint128 pool = settlement.pool();
        sit();
        vm.expectEmit(address(court));
        emit ICourt.BondSettled(caseId, node.owner, BOND, false);
        assertVerdict(resolve(), Verdict.Severe);
        assertEnded(Verdict.Severe);
        // A tenth of the slash and the bond came in; the seats' 2 VCN went out.
        assertEq(settlement.pool(), pool + BOND + STAKE / 20 - 2 * VCN);
        assertEq(coin.allowance(address(court), address(settlement)), 0);
    }

    function test_a_better_verdict_gives_the_bond_back() public {
        decide(10);
        uint256 before = coin.balanceOf(node.owner);
        appeal();
        truth = 10_000;
        sit();
        vm.expectEmit(address(court));
        emit ICourt.BondSettled(caseId, node.owner, BOND, true);
        assertVerdict(resolve(), Verdict.Pass);
        assertEq(coin.balanceOf(node.owner), before);
        assertEnded(Verdict.Pass);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE);
        finish(node.id, 0);
    }

    function test_a_doubt_after_an_appeal_is_better_too() public {
        decide(10);
        uint256 before = coin.balanceOf(node.owner);
        callPanel();
        appeal();
        truth = 9_000;
        sit();
        assertVerdict(resolve(), Verdict.None);
        assertState(CaseState.Arbiter);
        assertEq(coin.balanceOf(node.owner), before, "the bond does not wait for people");
        waitFor(profile.arbiterSeconds);
        resolve();
        assertEnded(Verdict.Review);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE);
    }

    /// @notice Attack: appeal to erase a verdict. The bench of the appeal never ends; the verdict stands, and so does its slash.
    function test_an_appeal_that_starves_erases_nothing() public {
        decide(10);
        appeal();
        waitFor(profile.starvedSeconds);
        court.voidStarved(node.id, 0, contents());
        assertEnded(Verdict.Severe);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE / 2);
        settlement.refund(node.id, 0, contents());
    }

    function test_one_slash_a_case() public {
        decide(10);
        appeal();
        sit();
        resolve();
        vm.expectRevert(abi.encodeWithSelector(ICourt.CaseClosed.selector, caseId));
        court.resolve(caseId, contents());
        vm.expectRevert(abi.encodeWithSelector(ICourt.WrongState.selector, BatchState.Void));
        court.voidStarved(node.id, 0, contents());
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE / 2);
    }
}
