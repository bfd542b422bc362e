// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {IPanel} from "../../contracts/interfaces/IPanel.sol";
import {BatchState} from "../../contracts/types/BatchTypes.sol";
import {CaseState, Verdict} from "../../contracts/types/CaseTypes.sol";
import {NodeView} from "../../contracts/types/NodeTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";

/// @notice The arbiters: who they are, what they may decide, and what happens if they do not.
contract PanelTest is CourtFixture {
    IPanel private panel;

    function setUp() public override {
        super.setUp();
        panel = IPanel(court.panel());
    }

    /// @dev A doubt that no bench can grow over.
    function _doubt() private {
        callPanel();
        openCase(3);
        truth = 9_500;
        sit();
        uint256 until = vm.getBlockTimestamp() + profile.arbiterSeconds;
        vm.expectEmit(address(court));
        emit ICourt.PanelCalled(caseId, 9_500, until);
        assertVerdict(resolve(), Verdict.None);
        assertState(CaseState.Arbiter);
        assertEq(court.caseOf(caseId).until, until);
    }

    // ---- who

    function test_the_governor_names_them() public {
        people = [address(1), address(2), address(3)];
        vm.expectEmit(address(panel));
        emit IPanel.PanelSet(people, 2);
        vm.prank(address(timelock));
        panel.setArbiters(people, 2);
        assertEq(panel.arbiters(), people);
        assertEq(panel.quorum(), 2);
        assertEq(address(panel.court()), address(court));
        vm.prank(address(0xBAD));
        vm.expectRevert(abi.encodeWithSelector(IPanel.NotGovernor.selector, address(0xBAD)));
        panel.setArbiters(people, 2);
    }

    function test_a_quorum_is_more_than_half() public {
        people = [address(1), address(2), address(3), address(4)];
        uint8[4] memory bad = [0, 1, 2, 5];
        for (uint256 i; i < 4; ++i) {
            vm.expectRevert(abi.encodeWithSelector(IPanel.BadQuorum.selector, bad[i], 4));
            vm.prank(address(timelock));
            panel.setArbiters(people, bad[i]);
        }
        vm.prank(address(timelock));
        panel.setArbiters(people, 3);
        vm.prank(address(timelock));
        panel.setArbiters(people, 4);
        people = new address[](0);
        vm.expectRevert(abi.encodeWithSelector(IPanel.BadQuorum.selector, 1, 0));
        vm.prank(address(timelock));
        panel.setArbiters(people, 1);
        vm.prank(address(timelock));
        panel.setArbiters(people, 0);
        assertEq(panel.quorum(), 0);
    }

    function test_at_most_32_each_once_and_none_is_nobody() public {
        people = [address(2), address(2)];
        vm.expectRevert(abi.encodeWithSelector(IPanel.ArbitersNotSorted.selector, address(2)));
        vm.prank(address(timelock));
        panel.setArbiters(people, 2);
        people = [address(0), address(2)];
        vm.expectRevert(abi.encodeWithSelector(IPanel.ArbitersNotSorted.selector, address(0)));
        vm.prank(address(timelock));
        panel.setArbiters(people, 2);
        people = new address[](33);
        for (uint160 i; i < 33; ++i) {
            people[i] = address(i + 1);
        }
        vm.expectRevert(abi.encodeWithSelector(IPanel.BadQuorum.selector, 33, 33));
        vm.prank(address(timelock));
        panel.setArbiters(people, 33);
        people.pop();
        vm.prank(address(timelock));
        panel.setArbiters(people, 32);
    }

    // ---- what they decide

    function test_two_of_three_let_it_pass() public {
        _doubt();
        vm.expectEmit(address(panel));
        emit IPanel.Voted(caseId, people[0], true);
        assertFalse(vote(0, true));
        (uint256 passes, uint256 voids) = panel.votesOf(caseId);
        assertEq(passes, 1);
        assertEq(voids, 0);
        assertTrue(vote(2, true));
        assertEnded(Verdict.Pass);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Passed));
        assertEq(stakes.nodeOf(node.id).penaltyTenths, 0);
        finish(node.id, 0);
    }

    function test_two_of_three_void_it_and_never_slash() public {
        _doubt();
        vote(0, true);
        vote(1, false);
        assertTrue(vote(2, false));
        assertEnded(Verdict.Review);
        _assertReviewed();
    }

    function _assertReviewed() private view {
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.activeStake, STAKE, "no slash");
        assertEq(shown.penaltyTenths, 50);
        assertEq(shown.samplesLeft, 20, "probation");
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
    }

    function test_without_them_it_is_void() public {
        _doubt();
        uint256 until = court.caseOf(caseId).until;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ICourt.RulingWaits.selector, until));
        court.resolve(caseId, none);
        vm.warp(until + 1);
        assertVerdict(court.resolve(caseId, none), Verdict.Review);
        _assertReviewed();
    }

    function test_they_are_too_late_after_their_time() public {
        _doubt();
        uint256 until = court.caseOf(caseId).until;
        vote(0, true);
        vm.warp(until + 1);
        vm.prank(people[1]);
        vm.expectRevert(abi.encodeWithSelector(ICourt.PanelOver.selector, until));
        panel.vote(caseId, true);
        vm.warp(until);
        vote(1, true);
        assertEnded(Verdict.Pass);
    }

    function test_one_vote_each_and_only_theirs() public {
        _doubt();
        vote(0, true);
        vm.prank(people[0]);
        vm.expectRevert(abi.encodeWithSelector(IPanel.AlreadyVoted.selector, caseId, people[0]));
        panel.vote(caseId, true);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IPanel.NotArbiter.selector, node.owner));
        panel.vote(caseId, true);
    }

    function test_only_a_case_that_waits_for_them() public {
        callPanel();
        openCase(3);
        vm.startPrank(people[0]);
        vm.expectRevert(abi.encodeWithSelector(IPanel.NotBeforePanel.selector, caseId));
        panel.vote(caseId, true);
        vm.expectRevert(abi.encodeWithSelector(IPanel.NotBeforePanel.selector, bytes32(0)));
        panel.vote(bytes32(0), true);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotPanel.selector, people[0]));
        court.rule(caseId, true);
        vm.stopPrank();
    }

    function test_a_new_panel_starts_anew() public {
        _doubt();
        vote(0, true);
        vm.prank(address(timelock));
        panel.setArbiters(people, 2);
        assertFalse(vote(0, true), "the old vote is gone");
        assertTrue(vote(1, true));
    }

    function test_a_panel_that_is_dismissed_leaves_the_default() public {
        _doubt();
        vm.prank(address(timelock));
        panel.setArbiters(new address[](0), 0);
        vm.prank(people[0]);
        vm.expectRevert(abi.encodeWithSelector(IPanel.NotArbiter.selector, people[0]));
        panel.vote(caseId, true);
        waitFor(profile.arbiterSeconds);
        assertVerdict(resolve(), Verdict.Review);
    }

    function test_fraud_is_none_of_their_business() public {
        callPanel();
        decide(10);
        vm.prank(people[0]);
        vm.expectRevert(abi.encodeWithSelector(IPanel.NotBeforePanel.selector, caseId));
        panel.vote(caseId, true);
    }
}
