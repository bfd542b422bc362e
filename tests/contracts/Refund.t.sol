// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {BatchState, Claim, Contents, LaneState, LaneView, Submission} from "../../contracts/types/BatchTypes.sol";

import {Fixture} from "./Fixture.sol";

contract RefundTest is Fixture {
    Node private node;
    Client private one;
    Client private two;
    Contents private contents;

    function setUp() public override {
        super.setUp();
        bench(3);
        node = registered("node", 10_000 * VCN);
        one = client("client", 100 * VCN);
        two = client("second client", 100 * VCN);
        openLane(one, node.id, 100 * VCN);
        openLane(two, node.id, 100 * VCN);
    }

    /// @dev Both clients' jobs in one batch that a court finds bad.
    function _void() private returns (Contents memory kept) {
        Claim[] memory claims = new Claim[](2);
        claims[0] = claimOf(one, node.id, 2, 20 * VCN, 1 * VCN);
        claims[1] = claimOf(two, node.id, 1, 10 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 3);
        made.maxLeaf = 10 * VCN;
        kept = submit(made, claims);
        bytes32 caseId = convened(node.id, 0, kept);
        judge(caseId, three(9_000, 9_000, 9_000));
        court.resolve(caseId, kept);
    }

    function _lane(Client memory whose) private view returns (LaneView memory) {
        return settlement.laneOf(whose.id, whose.signer, node.id);
    }

    function test_every_lane_gets_exactly_its_debit_back() public {
        Contents memory kept = _void();
        assertEq(_lane(one).left, 78 * VCN);
        assertEq(_lane(two).left, 89.5 ether);
        vm.expectEmit(address(settlement));
        emit ISettlement.BatchRefunded(node.id, 0, settlement.batchIdOf(node.id, 0), 32.5 ether);
        settlement.refund(node.id, 0, kept);
        assertEq(_lane(one).left, 100 * VCN);
        assertEq(_lane(two).left, 100 * VCN);
        assertEq(_lane(one).mark, 22 * VCN, "what was settled stays settled");
    }

    function test_once() public {
        Contents memory kept = _void();
        settlement.refund(node.id, 0, kept);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Refunded));
        settlement.refund(node.id, 0, kept);
    }

    function test_a_reclaimed_lane_is_refunded_to_the_account() public {
        Contents memory kept = _void();
        vm.prank(one.id);
        settlement.closeLane(one.id, one.signer, node.id);
        pass(profile.laneCloseSeconds);
        settlement.reclaimLane(one.id, one.signer, node.id);
        assertEq(settlement.accountOf(one.id), 78 * VCN);
        vm.expectEmit(address(settlement));
        emit ISettlement.LaneReclaimed(one.id, one.signer, node.id, 22 * VCN);
        settlement.refund(node.id, 0, kept);
        assertEq(settlement.accountOf(one.id), 100 * VCN);
        assertEq(uint8(_lane(one).state), uint8(LaneState.Reclaimed));
    }

    function test_a_closing_lane_stays_closing() public {
        Contents memory kept = _void();
        vm.prank(one.id);
        settlement.closeLane(one.id, one.signer, node.id);
        settlement.refund(node.id, 0, kept);
        assertEq(uint8(_lane(one).state), uint8(LaneState.Closing));
        assertEq(_lane(one).left, 100 * VCN);
    }

    function test_only_with_its_own_contents() public {
        Contents memory kept = _void();
        kept.debits[0].amount += 1;
        vm.expectRevert(ISettlement.WrongContents.selector);
        settlement.refund(node.id, 0, kept);
    }

    function test_only_a_void_batch() public {
        Contents memory kept = submitted(one, node.id, 0, 1, VCN);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Pending));
        settlement.refund(node.id, 0, kept);
        passInCourt(node.id, 0, kept);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Passed));
        settlement.refund(node.id, 0, kept);
        finish(node.id, 0);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Final));
        settlement.refund(node.id, 0, kept);
    }

    function test_a_slot_is_free_only_after_the_refund() public {
        Contents memory kept = _void();
        Claim[] memory claims = claimsOf(one, node.id, 1, VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.SlotBusy.selector, 0));
        settlement.submit(made, claims);
        settlement.refund(node.id, 0, kept);
        claims = claimsOf(one, node.id, 1, VCN, 0);
        submit(submissionOf(node.id, 0, claims, 1), claims);
    }

    function test_court_functions_are_the_courts() public {
        bytes memory refused = abi.encodeWithSelector(ISettlement.NotCourt.selector, address(this));
        vm.expectRevert(refused);
        settlement.openCase(node.id, 0, address(this));
        vm.expectRevert(refused);
        settlement.closeCase(node.id, 0, true, 0, new address[](0));
        vm.expectRevert(refused);
        settlement.closeCase(node.id, 0, false, 0, new address[](0));
    }

    function test_court_cannot_act_on_a_batch_in_another_state() public {
        vm.startPrank(address(court));
        bytes memory refused = abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.None);
        vm.expectRevert(refused);
        settlement.openCase(node.id, 0, address(this));
        vm.expectRevert(refused);
        settlement.closeCase(node.id, 0, true, 0, new address[](0));
        vm.expectRevert(refused);
        settlement.closeCase(node.id, 0, false, 0, new address[](0));
        vm.stopPrank();
        convened(node.id, 0, submitted(one, node.id, 0, 1, VCN));
        vm.startPrank(address(court));
        refused = abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.InCourt);
        vm.expectRevert(refused);
        settlement.openCase(node.id, 0, address(this));
    }
}
