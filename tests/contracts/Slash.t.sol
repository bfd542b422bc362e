// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {BatchRecord, NodeState, NodeView, Pool} from "../../contracts/types/NodeTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice slash, penalise, jail, unjail: what Court may do to a node.
contract SlashTest is Fixture {
    bytes32 private constant CASE = keccak256("case");
    Node private node;

    function setUp() public override {
        super.setUp();
        node = registered("node", 5_000 * VCN);
        fundOwner(node, 5_000 * VCN);
    }

    function _slash(uint16 bps) private returns (uint96) {
        vm.prank(address(court));
        return stakes.slash(node.id, bps, CASE);
    }

    function test_slash_takes_half_of_active_and_unbonding() public {
        vm.prank(node.owner);
        stakes.unbond(node.id, 1_000 * VCN);
        uint256 supply = coin.totalSupply();
        vm.expectEmit(address(stakes));
        emit IStakeManager.Slashed(node.id, CASE, 2_000 * VCN, 500 * VCN, 2_250 * VCN, 250 * VCN);
        assertEq(_slash(5_000), 250 * VCN);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.activeStake, 2_000 * VCN);
        assertEq(shown.unbondingStake, 500 * VCN);
        assertEq(coin.totalSupply(), supply - 2_250 * VCN);
        assertEq(settlement.pool(), 250 * VCN);
        assertEq(coin.balanceOf(address(settlement)), 250 * VCN);
        assertEq(coin.balanceOf(address(stakes)), 2_500 * VCN);
    }

    function test_slash_rounds_against_the_staker() public {
        vm.prank(node.owner);
        stakes.stake(node.id, 1);
        _slash(1);
        // 5000e18 + 1 wei at 1 bp is half a coin and a fraction of a wei.
        assertEq(stakes.nodeOf(node.id).activeStake, 5_000 * VCN - VCN / 2);
    }

    function test_after_a_slash_every_wei_can_still_leave() public {
        vm.prank(node.owner);
        stakes.unbond(node.id, 1_000 * VCN);
        _slash(3_333);
        _slash(1);
        vm.startPrank(node.owner);
        stakes.unbond(node.id, stakes.nodeOf(node.id).activeStake);
        pass(profile.unbondingSeconds);
        stakes.withdraw(node.id);
        assertEq(coin.balanceOf(address(stakes)), 0);
    }

    function _assertPools(uint96 active, uint128 activeShares, uint96 unbonding, uint128 unbondingShares) private view {
        (Pool memory one, Pool memory two) = stakes.poolsOf(node.id);
        assertEq(one.total, active, "active");
        assertEq(one.shares, activeShares, "active shares");
        assertEq(two.total, unbonding, "unbonding");
        assertEq(two.shares, unbondingShares, "unbonding shares");
    }

    function test_a_slash_lowers_totals_and_leaves_shares() public {
        vm.prank(node.owner);
        stakes.unbond(node.id, 1_000 * VCN);
        _assertPools(4_000 * VCN, 4_000 * VCN, 1_000 * VCN, 1_000 * VCN);
        _slash(5_000);
        _assertPools(2_000 * VCN, 4_000 * VCN, 500 * VCN, 1_000 * VCN);
    }

    function test_after_a_slash_new_money_gets_more_shares_a_coin() public {
        _slash(5_000);
        vm.startPrank(node.owner);
        stakes.stake(node.id, 500 * VCN);
        _assertPools(3_000 * VCN, 6_000 * VCN, 0, 0);
        stakes.unbond(node.id, 1_000 * VCN);
        _assertPools(2_000 * VCN, 4_000 * VCN, 1_000 * VCN, 1_000 * VCN);
        stakes.rebond(node.id, 250 * VCN);
        _assertPools(2_250 * VCN, 4_500 * VCN, 750 * VCN, 750 * VCN);
        pass(profile.unbondingSeconds);
        stakes.withdraw(node.id);
        _assertPools(2_250 * VCN, 4_500 * VCN, 0, 0);
    }

    function test_shares_of_nothing_are_gone() public {
        vm.prank(node.owner);
        stakes.unbond(node.id, 5_000 * VCN);
        _assertPools(0, 0, 5_000 * VCN, 5_000 * VCN);
        vm.prank(node.owner);
        stakes.rebond(node.id, 5_000 * VCN - 1);
        _slash(5_000);
        // Half of a wei is a wei: the last one of the bucket is gone and its share with it.
        _assertPools(2_500 * VCN - 1, 5_000 * VCN - 1, 0, 0);
    }

    function test_nobody_dodges_by_unbonding() public {
        vm.prank(node.owner);
        stakes.unbond(node.id, 5_000 * VCN);
        _slash(5_000);
        assertEq(stakes.nodeOf(node.id).unbondingStake, 2_500 * VCN);
    }

    function test_not_more_than_half() public {
        vm.prank(address(court));
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.SlashTooHigh.selector, 5_001));
        stakes.slash(node.id, 5_001, CASE);
    }

    function test_only_court() public {
        vm.startPrank(node.owner);
        bytes memory refused = abi.encodeWithSelector(IStakeManager.NotCourt.selector, node.owner);
        vm.expectRevert(refused);
        stakes.slash(node.id, 1, CASE);
        vm.expectRevert(refused);
        stakes.penalise(node.id, 1, true);
        vm.expectRevert(refused);
        stakes.jail(node.id, CASE);
    }

    function test_only_settlement_records() public {
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotSettlement.selector, address(this)));
        stakes.recordBatch(node.id, BatchRecord(1, 0, 1, 1));
    }

    function test_unknown_node() public {
        vm.startPrank(address(court));
        bytes memory refused = abi.encodeWithSelector(IStakeManager.UnknownNode.selector, address(9));
        vm.expectRevert(refused);
        stakes.slash(address(9), 1, CASE);
        vm.expectRevert(refused);
        stakes.penalise(address(9), 1, true);
        vm.expectRevert(refused);
        stakes.jail(address(9), CASE);
        vm.stopPrank();
        vm.prank(address(settlement));
        vm.expectRevert(refused);
        stakes.recordBatch(address(9), BatchRecord(1, 0, 1, 1));
    }

    function test_penalty_lowers_the_score_by_its_points() public {
        uint16 before = stakes.scoreOf(node.id);
        vm.prank(address(court));
        stakes.penalise(node.id, 50, false);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.scoreHundredths, before - 500);
        assertEq(shown.penaltyTenths, 50);
        assertEq(shown.total, 0);
    }

    function test_a_lost_case_counts_as_a_failed_job() public {
        vm.prank(address(court));
        stakes.penalise(node.id, 300, true);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.total, 1);
        assertEq(shown.successes, 0);
        assertEq(shown.recentFailures, 1);
        assertEq(shown.samplesLeft, 20);
        assertEq(shown.rateBps, 10_000);
    }

    function test_penalty_ends_at_100_points() public {
        vm.startPrank(address(court));
        for (uint256 i; i < 5; ++i) {
            stakes.penalise(node.id, 300, false);
        }
        assertEq(stakes.nodeOf(node.id).penaltyTenths, 1_000);
        assertEq(stakes.scoreOf(node.id), 0);
    }

    function test_jail_and_the_way_out() public {
        uint40 until = uint40(vm.getBlockTimestamp()) + profile.jailSeconds;
        vm.prank(address(court));
        vm.expectEmit(address(stakes));
        emit IStakeManager.Jailed(node.id, CASE, until);
        stakes.jail(node.id, CASE);
        assertTrue(stakes.isJailed(node.id));
        vm.startPrank(node.owner);
        pass(profile.jailSeconds - 1);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.StillJailed.selector, until));
        stakes.unjail(node.id);
        pass(1);
        vm.expectEmit(address(stakes));
        emit IStakeManager.Unjailed(node.id);
        stakes.unjail(node.id);
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Active));
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotJailed.selector, node.id));
        stakes.unjail(node.id);
    }

    function test_no_way_out_with_too_little_stake() public {
        vm.prank(address(court));
        stakes.jail(node.id, CASE);
        for (uint256 i; i < 3; ++i) {
            _slash(5_000);
        }
        pass(profile.jailSeconds);
        vm.startPrank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.StakeTooLow.selector, 625 * VCN, profile.minStake));
        stakes.unjail(node.id);
        stakes.stake(node.id, 375 * VCN);
        stakes.unjail(node.id);
    }

    function test_a_jailed_node_may_take_its_stake_home() public {
        vm.prank(address(court));
        stakes.jail(node.id, CASE);
        vm.startPrank(node.owner);
        stakes.unbond(node.id, 5_000 * VCN);
        pass(profile.unbondingSeconds);
        stakes.withdraw(node.id);
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Jailed), "leaving does not clear a verdict");
    }

    function test_no_way_out_while_a_batch_is_open() public {
        Client memory one = client("client", 100 * VCN);
        openLane(one, node.id, 50 * VCN);
        submitted(one, node.id, 0, 1, VCN);
        vm.prank(address(court));
        stakes.jail(node.id, CASE);
        pass(profile.jailSeconds);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.OpenBatches.selector, node.id, 1));
        stakes.unjail(node.id);
    }
}
