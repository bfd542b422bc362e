// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {Claim, LaneState, LaneView, Submission} from "../../contracts/types/BatchTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice closeLane and reclaimLane.
contract CloseLaneTest is Fixture {
    Node private node;
    Client private one;

    function setUp() public override {
        super.setUp();
        node = registered("node", 10_000 * VCN);
        one = client("client", 100 * VCN);
        openLane(one, node.id, 50 * VCN);
    }

    function _close(address sender) private {
        vm.prank(sender);
        settlement.closeLane(one.id, one.signer, node.id);
    }

    function _reclaim() private {
        settlement.reclaimLane(one.id, one.signer, node.id);
    }

    function _lane() private view returns (LaneView memory) {
        return settlement.laneOf(one.id, one.signer, node.id);
    }

    function test_client_or_signer_closes() public {
        uint40 closeAt = uint40(vm.getBlockTimestamp()) + profile.laneCloseSeconds;
        vm.expectEmit(address(settlement));
        emit ISettlement.LaneChanged(one.id, one.signer, node.id, 50 * VCN, 0, 0, closeAt);
        _close(one.signer);
        assertEq(uint8(_lane().state), uint8(LaneState.Closing));
        assertEq(_lane().closeAt, closeAt);
    }

    function test_nobody_else_closes() public {
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotLaneOwner.selector, node.id));
        settlement.closeLane(one.id, one.signer, node.id);
    }

    function test_the_clock_starts_once() public {
        _close(one.id);
        vm.prank(one.id);
        vm.expectRevert(ISettlement.LaneNotOpen.selector);
        settlement.closeLane(one.id, one.signer, node.id);
    }

    function test_a_lane_that_never_was() public {
        vm.prank(one.id);
        vm.expectRevert(ISettlement.LaneNotOpen.selector);
        settlement.closeLane(one.id, one.signer, address(9));
        vm.expectRevert(ISettlement.LaneNotClosing.selector);
        settlement.reclaimLane(one.id, one.signer, address(9));
    }

    function test_reclaim_waits_for_the_clock() public {
        vm.expectRevert(ISettlement.LaneNotClosing.selector);
        _reclaim();
        _close(one.id);
        uint40 closeAt = _lane().closeAt;
        pass(profile.laneCloseSeconds - 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.LaneStillClosing.selector, closeAt));
        _reclaim();
        pass(1);
        vm.expectEmit(address(settlement));
        emit ISettlement.LaneReclaimed(one.id, one.signer, node.id, 50 * VCN);
        _reclaim();
        assertEq(settlement.accountOf(one.id), 100 * VCN);
        assertEq(uint8(_lane().state), uint8(LaneState.Reclaimed));
        vm.expectRevert(ISettlement.LaneNotClosing.selector);
        _reclaim();
    }

    function test_the_node_still_claims_what_is_signed_while_it_closes() public {
        _close(one.id);
        submitted(one, node.id, 0, 1, 10 * VCN);
        pass(profile.laneCloseSeconds);
        _reclaim();
        assertEq(settlement.accountOf(one.id), 100 * VCN - 10.5 ether);
    }

    function test_what_was_signed_dies_with_the_lane() public {
        Claim[] memory claims = claimsOf(one, node.id, 1, 10 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        _close(one.id);
        pass(profile.laneCloseSeconds);
        _reclaim();
        openLane(one, node.id, 50 * VCN);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.BelowMark.selector, 0, 10.5 ether, 50 * VCN));
        settlement.submit(made, claims);
    }

    function test_opening_again_stops_the_clock() public {
        _close(one.id);
        openLane(one, node.id, 1 * VCN);
        assertEq(uint8(_lane().state), uint8(LaneState.Open));
        pass(profile.laneCloseSeconds);
        vm.expectRevert(ISettlement.LaneNotClosing.selector);
        _reclaim();
    }
}
