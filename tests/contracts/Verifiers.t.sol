// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {VerifierSlot} from "../../contracts/types/CaseTypes.sol";

import {Fixture} from "./Fixture.sol";
import {Profiles} from "./Profiles.sol";

/// @notice joinVerifiers, leaveVerifiers.
contract VerifiersTest is Fixture {
    Node private node;

    function setUp() public override {
        super.setUp();
        node = registered("node", 5_000 * VCN);
    }

    function _join() private {
        vm.prank(node.id);
        court.joinVerifiers(node.id, CLASS);
    }

    function test_join_takes_the_next_place() public {
        vm.expectEmit(address(court));
        emit ICourt.VerifierJoined(node.id, CLASS, 0, 10_000);
        _join();
        VerifierSlot memory slot = court.verifiersOf(CLASS)[0];
        assertEq(slot.node, node.id);
        assertEq(slot.fromBlock, vm.getBlockNumber());
        assertEq(slot.untilBlock, type(uint40).max);
        assertEq(court.verifiersOf(2).length, 0);
    }

    function test_the_owner_may_join_its_node() public {
        vm.prank(node.owner);
        court.joinVerifiers(node.id, CLASS);
        assertEq(court.verifiersOf(CLASS).length, 1);
    }

    function test_nobody_else_joins_it() public {
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotOfNode.selector, node.id, address(this)));
        court.joinVerifiers(node.id, CLASS);
        vm.expectRevert(abi.encodeWithSelector(ICourt.UnknownNode.selector, address(9)));
        court.joinVerifiers(address(9), CLASS);
    }

    function test_once_per_class() public {
        _join();
        vm.startPrank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.AlreadyJoined.selector, node.id, CLASS));
        court.joinVerifiers(node.id, CLASS);
        court.joinVerifiers(node.id, 2);
    }

    function test_stake_is_five_times_the_minimum() public {
        vm.prank(node.owner);
        stakes.unbond(node.id, 1);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.StakeTooLow.selector, 5_000 * VCN - 1, 5_000 * VCN));
        court.joinVerifiers(node.id, CLASS);
    }

    function test_only_classes_it_runs() public {
        vm.startPrank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.ClassNotRun.selector, node.id, 3));
        court.joinVerifiers(node.id, 3);
        vm.expectRevert(abi.encodeWithSelector(ICourt.ClassNotRun.selector, node.id, 40));
        court.joinVerifiers(node.id, 40);
    }

    function test_only_active_nodes() public {
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotActive.selector, node.id));
        court.joinVerifiers(node.id, CLASS);
    }

    function test_score_and_age_by_profile() public {
        deploy(Profiles.load(vm, "testnet"));
        node = registered("node of the test network", 5_000 * VCN);
        vm.startPrank(node.id);
        // 45 points at 10,000 stake, 40 at 5,000: just enough. Age counts from the day of registration.
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooYoung.selector, 12 hours, 1 days));
        court.joinVerifiers(node.id, CLASS);
        pass(12 hours);
        vm.stopPrank();
        vm.prank(address(court));
        stakes.penalise(node.id, 1, false);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.ScoreTooLow.selector, 3_990, 4_000));
        court.joinVerifiers(node.id, CLASS);
    }

    function test_weight_is_stake_and_score_with_a_floor() public {
        deploy(Profiles.load(vm, "testnet"));
        node = registered("node of the test network", 5_000 * VCN);
        pass(12 hours);
        vm.prank(node.id);
        // A quarter of 20 MIN_STAKE times 40%.
        vm.expectEmit(address(court));
        emit ICourt.VerifierJoined(node.id, CLASS, 0, 1_000);
        court.joinVerifiers(node.id, CLASS);
    }

    function test_leaving_keeps_a_tombstone() public {
        _join();
        mine(5);
        vm.prank(node.id);
        vm.expectEmit(address(court));
        emit ICourt.VerifierLeft(node.id, CLASS, 0);
        court.leaveVerifiers(node.id, CLASS);
        assertEq(court.verifiersOf(CLASS)[0].untilBlock, vm.getBlockNumber());
        _join();
        assertEq(court.verifiersOf(CLASS).length, 2, "places never move");
        assertEq(court.verifiersOf(CLASS)[1].node, node.id);
    }

    function test_who_is_not_on_the_list() public {
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotJoined.selector, node.id, CLASS));
        court.leaveVerifiers(node.id, CLASS);
    }

    function test_a_stranger_removes_only_who_may_no_longer_sit() public {
        _join();
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotOfNode.selector, node.id, address(this)));
        court.leaveVerifiers(node.id, CLASS);
        vm.prank(node.owner);
        stakes.unbond(node.id, 1);
        court.leaveVerifiers(node.id, CLASS);
        assertEq(court.verifiersOf(CLASS)[0].untilBlock, vm.getBlockNumber());
    }
}
