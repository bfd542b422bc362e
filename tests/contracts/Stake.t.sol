// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDelegations} from "../../contracts/interfaces/IDelegations.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {NodeState, NodeView} from "../../contracts/types/NodeTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice stake, unbond, rebond, withdraw of an owner.
contract StakeTest is Fixture {
    Node private node;

    function setUp() public override {
        super.setUp();
        node = registered("node", 5_000 * VCN);
        fundOwner(node, 10_000 * VCN);
        vm.startPrank(node.owner);
    }

    function _unlockAt() private view returns (uint40) {
        return uint40(vm.getBlockTimestamp()) + profile.unbondingSeconds;
    }

    function _state() private view returns (NodeState) {
        return stakes.nodeOf(node.id).state;
    }

    function test_stake_adds() public {
        vm.expectEmit(address(stakes));
        emit IStakeManager.StakeChanged(node.id, 6_000 * VCN, 0, 0);
        stakes.stake(node.id, 1_000 * VCN);
        assertEq(coin.balanceOf(address(stakes)), 6_000 * VCN);
    }

    function test_unbond_moves_and_starts_the_clock() public {
        vm.expectEmit(address(stakes));
        emit IStakeManager.StakeChanged(node.id, 4_000 * VCN, 1_000 * VCN, _unlockAt());
        stakes.unbond(node.id, 1_000 * VCN);
        assertEq(uint8(_state()), uint8(NodeState.Active));
    }

    function test_a_second_unbond_restarts_the_clock() public {
        stakes.unbond(node.id, 1_000 * VCN);
        pass(profile.unbondingSeconds - 1);
        stakes.unbond(node.id, 1);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.unlockAt, _unlockAt());
        assertEq(shown.unbondingStake, 1_000 * VCN + 1);
    }

    function test_what_stays_is_nothing_or_the_minimum() public {
        uint96 tooLow = profile.minStake - 1;
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.StakeTooLow.selector, tooLow, profile.minStake));
        stakes.unbond(node.id, 5_000 * VCN - tooLow);
        stakes.unbond(node.id, 5_000 * VCN - profile.minStake);
        assertEq(stakes.nodeOf(node.id).activeStake, profile.minStake);
    }

    function test_unbonding_everything_is_exiting_then_gone() public {
        stakes.unbond(node.id, 5_000 * VCN);
        assertEq(uint8(_state()), uint8(NodeState.Exiting));
        pass(profile.unbondingSeconds);
        stakes.withdraw(node.id);
        assertEq(uint8(_state()), uint8(NodeState.Gone));
        assertEq(coin.balanceOf(address(stakes)), 0);
    }

    function test_who_comes_back_starts_on_probation() public {
        stakes.unbond(node.id, 5_000 * VCN);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.StakeTooLow.selector, 1, profile.minStake));
        stakes.stake(node.id, 1);
        stakes.stake(node.id, profile.minStake);
        assertEq(uint8(_state()), uint8(NodeState.Active));
        assertEq(stakes.nodeOf(node.id).samplesLeft, 20);
    }

    function test_withdraw_waits_for_the_last_second() public {
        stakes.unbond(node.id, 1_000 * VCN);
        uint40 unlockAt = _unlockAt();
        pass(profile.unbondingSeconds - 1);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.StillUnbonding.selector, unlockAt));
        stakes.withdraw(node.id);
        pass(1);
        uint256 before = coin.balanceOf(node.owner);
        vm.expectEmit(address(stakes));
        emit IStakeManager.StakeWithdrawn(node.id, node.owner, 1_000 * VCN);
        assertEq(stakes.withdraw(node.id), 1_000 * VCN);
        assertEq(coin.balanceOf(node.owner), before + 1_000 * VCN);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NothingUnbonding.selector, node.id));
        stakes.withdraw(node.id);
    }

    function test_rebond_goes_back_at_once() public {
        stakes.unbond(node.id, 2_000 * VCN);
        stakes.rebond(node.id, 500 * VCN);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.activeStake, 3_500 * VCN);
        assertEq(shown.unbondingStake, 1_500 * VCN);
    }

    function test_rebond_ends_an_exit() public {
        stakes.unbond(node.id, 5_000 * VCN);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.StakeTooLow.selector, 1, profile.minStake));
        stakes.rebond(node.id, 1);
        stakes.rebond(node.id, 5_000 * VCN);
        assertEq(uint8(_state()), uint8(NodeState.Active));
    }

    function test_not_more_than_is_there() public {
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotEnoughStake.selector, 5_000 * VCN + 1, 5_000 * VCN));
        stakes.unbond(node.id, 5_000 * VCN + 1);
        stakes.unbond(node.id, 1_000 * VCN);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotEnoughStake.selector, 1_000 * VCN + 1, 1_000 * VCN));
        stakes.rebond(node.id, 1_000 * VCN + 1);
    }

    function test_not_nothing() public {
        vm.expectRevert(IStakeManager.ZeroAmount.selector);
        stakes.stake(node.id, 0);
        vm.expectRevert(IStakeManager.ZeroAmount.selector);
        stakes.unbond(node.id, 0);
        vm.expectRevert(IStakeManager.ZeroAmount.selector);
        stakes.rebond(node.id, 0);
    }

    function test_only_the_owner() public {
        stakes.unbond(node.id, 1_000 * VCN);
        vm.startPrank(node.id);
        bytes memory refused = abi.encodeWithSelector(IStakeManager.NotOwner.selector, node.id, node.id);
        vm.expectRevert(refused);
        stakes.stake(node.id, 1);
        vm.expectRevert(refused);
        stakes.setPayout(node.id, node.id);
        vm.expectRevert(refused);
        stakes.unjail(node.id);
    }

    function test_only_who_has_stake_moves_stake() public {
        vm.stopPrank();
        vm.startPrank(node.id);
        bytes memory refused = abi.encodeWithSelector(IDelegations.NotStaker.selector, node.id, node.id);
        vm.expectRevert(refused);
        stakes.unbond(node.id, 1);
        vm.expectRevert(refused);
        stakes.rebond(node.id, 1);
        vm.expectRevert(refused);
        stakes.withdraw(node.id);
    }

    function test_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.UnknownNode.selector, address(9)));
        stakes.stake(address(9), 1);
    }

    function test_a_bucket_that_was_taken_back_whole_has_no_clock() public {
        stakes.unbond(node.id, 1_000 * VCN);
        stakes.rebond(node.id, 400 * VCN);
        assertGt(stakes.nodeOf(node.id).unlockAt, 0);
        stakes.rebond(node.id, 600 * VCN);
        assertEq(stakes.nodeOf(node.id).unlockAt, 0);
    }
}
