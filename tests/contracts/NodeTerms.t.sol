// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {INodeTerms} from "../../contracts/interfaces/INodeTerms.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice What an owner may change about its node: operator, classes, payout.
contract NodeTermsTest is Fixture {
    Node private node;
    Node private fresh;

    function setUp() public override {
        super.setUp();
        node = registered("node", 10_000 * VCN);
        fresh = makeNode("fresh");
    }

    function _rotate(Node memory to) private {
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(to, node.owner, deadline);
        vm.prank(node.owner);
        stakes.rotateOperator(node.id, to.id, deadline, consent);
    }

    function callRotate(Node memory to) external {
        _rotate(to);
    }

    function _expectTaken(address operator) private {
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.OperatorTaken.selector, operator));
    }

    // ---- operator

    function test_another_operator_the_same_id() public {
        vm.expectEmit(address(stakes));
        emit INodeTerms.OperatorChanged(node.id, fresh.id);
        _rotate(fresh);
        (address owner, address operator) = stakes.keysOf(node.id);
        assertEq(owner, node.owner);
        assertEq(operator, fresh.id);
        assertEq(stakes.nodeOf(node.id).operator, fresh.id);
        _requireKey(fresh, node.id, type(uint40).max);
        _requireKey(node, node.id, uint40(vm.getBlockTimestamp()));
        _requireKey(makeNode("unregistered"), address(0), 0);
    }

    function _requireKey(Node memory key, address id, uint40 until) private view {
        (address of_, uint40 found) = stakes.nodeOfOperator(key.id);
        assertEq(of_, id);
        assertEq(found, until);
    }

    function test_only_the_new_key_works() public {
        _rotate(fresh);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotOperator.selector, node.id, node.id));
        stakes.checkIn(node.id);
        vm.prank(fresh.id);
        stakes.checkIn(node.id);
        Client memory one = client("client", 100 * VCN);
        openLane(one, node.id, 50 * VCN);
        Claim[] memory claims = claimsOf(one, node.id, 1, VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotOperator.selector, node.id, node.id));
        settlement.submit(made, claims);
        vm.prank(fresh.id);
        settlement.submit(made, claims);
        vm.prank(fresh.id);
        court.joinVerifiers(node.id, CLASS);
    }

    /// @dev A seat that was drawn before goes on with the new key.
    function test_a_seat_is_its_nodes_whatever_its_operator() public {
        Node memory seat = verifier("seat");
        mine(1);
        Client memory one = client("client", 100 * VCN);
        openLane(one, node.id, 50 * VCN);
        Contents memory contents = submitted(one, node.id, 0, 1, VCN / 10);
        bytes32 caseId = convened(node.id, 0, contents);
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(fresh, seat.owner, deadline);
        vm.prank(seat.owner);
        stakes.rotateOperator(seat.id, fresh.id, deadline, consent);
        vm.prank(seat.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotSeated.selector, caseId, 0, seat.id));
        court.commitSeat(caseId, 0, commitment(caseId, 0));
        vm.prank(fresh.id);
        court.commitSeat(caseId, 0, commitment(caseId, 0));
    }

    function test_back_to_the_first_key_and_on_to_a_third() public {
        _rotate(fresh);
        Node memory third = makeNode("third");
        _rotate(third);
        uint40 then = uint40(vm.getBlockTimestamp());
        _requireKey(fresh, node.id, then);
        pass(10);
        _rotate(node);
        assertEq(stakes.nodeOf(node.id).operator, node.id);
        _requireKey(node, node.id, type(uint40).max);
        _requireKey(third, node.id, then + 10);
        _requireKey(fresh, node.id, then);
        _rotate(fresh);
        _requireKey(fresh, node.id, type(uint40).max);
    }

    /// @dev What it has signed stays its first node's word.
    function test_a_key_that_was_rotated_away_is_no_other_nodes() public {
        _rotate(fresh);
        _rotate(makeNode("third"));
        _requireNoOthers(fresh, registered("other", 5_000 * VCN));
    }

    /// @dev Neither is another node rotated to this key, nor one registered with it.
    function _requireNoOthers(Node memory key, Node memory other) private {
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(key, other.owner, deadline);
        vm.prank(other.owner);
        _expectTaken(key.id);
        stakes.rotateOperator(other.id, key.id, deadline, consent);
        fundOwner(other, 5_000 * VCN);
        vm.prank(other.owner);
        _expectTaken(key.id);
        stakes.register(key.id, address(0), 5_000 * VCN, 2, deadline, consent);
    }

    function test_a_key_serves_one_node() public {
        _expectTaken(node.id);
        this.callRotate(node);
        Node memory other = registered("other", 5_000 * VCN);
        _expectTaken(other.id);
        this.callRotate(other);
        _rotate(fresh);
        _expectTaken(fresh.id);
        this.callRotate(fresh);
        _requireNoOthers(fresh, other);
        // The id of a node stays its own after it was rotated away.
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(node, other.owner, deadline);
        vm.prank(other.owner);
        _expectTaken(node.id);
        stakes.rotateOperator(other.id, node.id, deadline, consent);
    }

    /// @notice Another party's key: no key becomes an operator without its signature for this owner, in time.
    function test_attack_rotating_to_a_foreign_operator() public {
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(fresh, makeAddr("somebody else"), deadline);
        vm.startPrank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.BadConsent.selector, fresh.id));
        stakes.rotateOperator(node.id, fresh.id, deadline, consent);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.BadConsent.selector, fresh.id));
        stakes.rotateOperator(node.id, fresh.id, deadline, new bytes(65));
        vm.expectRevert(IStakeManager.ZeroAddress.selector);
        stakes.rotateOperator(node.id, address(0), deadline, consent);
        consent = consentOf(fresh, node.owner, deadline);
        pass(1);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.ConsentExpired.selector, deadline));
        stakes.rotateOperator(node.id, fresh.id, deadline, consent);
    }

    function test_only_the_owner_rotates() public {
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(fresh, node.owner, deadline);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotOwner.selector, node.id, node.id));
        stakes.rotateOperator(node.id, fresh.id, deadline, consent);
    }

    // ---- classes

    function test_other_classes_start_full_probation() public {
        bench(3);
        graduate(node);
        vm.expectEmit(address(stakes));
        emit INodeTerms.ClassesChanged(node.id, 2);
        vm.prank(node.owner);
        stakes.setClasses(node.id, 2);
        assertEq(stakes.nodeOf(node.id).classMask, 2);
        assertEq(stakes.nodeOf(node.id).samplesLeft, 20);
        assertEq(stakes.nodeOf(node.id).rateBps, 10_000);
    }

    function test_classes_exist_and_are_the_owners_to_name() public {
        uint32[4] memory bad = [uint32(0), 1, 8, type(uint32).max];
        for (uint256 i; i < bad.length; ++i) {
            vm.prank(node.owner);
            vm.expectRevert(abi.encodeWithSelector(IStakeManager.BadClasses.selector, bad[i]));
            stakes.setClasses(node.id, bad[i]);
        }
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotOwner.selector, node.id, node.id));
        stakes.setClasses(node.id, 2);
    }

    /// @dev Anyone takes a verifier off the list of a class that it no longer runs.
    function test_a_class_that_is_not_run_has_no_seat() public {
        Node memory one = verifier("one");
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotOfNode.selector, one.id, address(this)));
        court.leaveVerifiers(one.id, CLASS);
        vm.prank(one.owner);
        stakes.setClasses(one.id, 4);
        court.leaveVerifiers(one.id, CLASS);
    }

    // ---- payout

    function test_a_payout_is_announced_then_confirmed_by_anyone() public {
        uint40 dueAt = uint40(vm.getBlockTimestamp()) + profile.timelockSeconds;
        vm.expectEmit(address(stakes));
        emit INodeTerms.PayoutAnnounced(node.id, address(9), dueAt);
        vm.prank(node.owner);
        stakes.setPayout(node.id, address(9));
        assertEq(stakes.payoutOf(node.id), node.owner, "not yet");
        assertEq(stakes.termsOf(node.id).nextPayout, address(9));
        assertEq(stakes.termsOf(node.id).payoutAt, dueAt);
        pass(profile.timelockSeconds - 1);
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.NotYet.selector, dueAt));
        stakes.confirmPayout(node.id);
        pass(1);
        vm.expectEmit(address(stakes));
        emit IStakeManager.PayoutChanged(node.id, address(9));
        stakes.confirmPayout(node.id);
        assertEq(stakes.payoutOf(node.id), address(9));
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.NothingAnnounced.selector, node.id));
        stakes.confirmPayout(node.id);
    }

    function test_a_payout_returns_to_the_owner() public {
        vm.startPrank(node.owner);
        stakes.setPayout(node.id, address(9));
        pass(profile.timelockSeconds);
        stakes.confirmPayout(node.id);
        stakes.setPayout(node.id, address(0));
        pass(profile.timelockSeconds);
        stakes.confirmPayout(node.id);
        assertEq(stakes.payoutOf(node.id), node.owner);
    }

    /// @notice Owner key stolen: the thief's payout can be called off by the owner and by who is paid now, and until then
    ///         rewards go where they went.
    function test_attack_stolen_owner_key_redirects_no_rewards_at_once() public {
        vm.prank(node.owner);
        stakes.setPayout(node.id, address(0xBAD));
        vm.prank(address(0xBAD));
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.NotOwnerOrPayout.selector, node.id, address(0xBAD)));
        stakes.cancelPayout(node.id);
        vm.expectEmit(address(stakes));
        emit INodeTerms.PayoutAnnounced(node.id, node.owner, 0);
        vm.prank(node.owner);
        stakes.cancelPayout(node.id);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.NothingAnnounced.selector, node.id));
        stakes.cancelPayout(node.id);
        pass(profile.timelockSeconds);
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.NothingAnnounced.selector, node.id));
        stakes.confirmPayout(node.id);
    }

    function test_who_is_paid_now_may_call_a_new_payout_off() public {
        address paid = makeAddr("paid");
        vm.startPrank(node.owner);
        stakes.setPayout(node.id, paid);
        pass(profile.timelockSeconds);
        stakes.confirmPayout(node.id);
        stakes.setPayout(node.id, address(0xBAD));
        vm.stopPrank();
        vm.prank(paid);
        stakes.cancelPayout(node.id);
        assertEq(stakes.termsOf(node.id).payoutAt, 0);
    }

    function test_unknown_nodes() public {
        bytes memory refused = abi.encodeWithSelector(IStakeManager.UnknownNode.selector, address(9));
        vm.expectRevert(refused);
        stakes.confirmPayout(address(9));
        vm.expectRevert(refused);
        stakes.cancelPayout(address(9));
        vm.expectRevert(refused);
        stakes.confirmCommission(address(9));
        vm.expectRevert(refused);
        stakes.setClasses(address(9), 2);
    }
}
