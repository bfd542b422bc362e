// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {BatchRecord, NodeView} from "../../contracts/types/NodeTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice checkIn and recordBatch: how a record grows.
contract RecordTest is Fixture {
    Node private node;

    function setUp() public override {
        super.setUp();
        node = registered("node", 10_000 * VCN);
    }

    function _record(uint16 ok, uint16 failed, uint96 burned, uint48 ms) private returns (NodeView memory) {
        vm.prank(address(settlement));
        stakes.recordBatch(node.id, BatchRecord(ok, failed, burned, ms));
        return stakes.nodeOf(node.id);
    }

    function _checkIn() private {
        vm.prank(node.id);
        stakes.checkIn(node.id);
    }

    function test_check_in_counts_once_a_day() public {
        vm.expectEmit(address(stakes));
        emit IStakeManager.CheckedIn(node.id, today(), 1);
        _checkIn();
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.SameDay.selector, today()));
        stakes.checkIn(node.id);
        pass(1 days);
        _checkIn();
        assertEq(stakes.nodeOf(node.id).checkInDays, 2);
        // 20 x 2 / (1 + 7) = 5 points of 20.
        assertEq(stakes.scoreOf(node.id), 4_500 + 500);
    }

    function test_only_the_operator_checks_in() public {
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotOperator.selector, node.id, node.owner));
        stakes.checkIn(node.id);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.UnknownNode.selector, address(9)));
        stakes.checkIn(address(9));
    }

    function test_a_batch_counts_as_the_day() public {
        assertEq(_record(1, 0, 1 * VCN, 1_000).checkInDays, 1);
        assertEq(_record(1, 0, 1 * VCN, 1_000).checkInDays, 1);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.SameDay.selector, today()));
        stakes.checkIn(node.id);
    }

    function test_a_jailed_node_may_check_in() public {
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        _checkIn();
        assertEq(stakes.nodeOf(node.id).checkInDays, 1);
    }

    function test_only_burned_money_makes_a_success_count() public {
        NodeView memory shown = _record(10, 0, profile.minBurn * 3 - 1, 10_000);
        assertEq(shown.successes, 2);
        assertEq(shown.total, 2, "what does not count does not count against the node either");
        assertEq(shown.responseMs, 2_000, "time in proportion");
    }

    function test_twenty_a_day() public {
        NodeView memory shown = _record(15, 0, 100 * VCN, 15_000);
        assertEq(shown.successes, 15);
        shown = _record(15, 0, 100 * VCN, 15_000);
        assertEq(shown.successes, 20);
        shown = _record(15, 0, 100 * VCN, 15_000);
        assertEq(shown.successes, 20);
        pass(1 days);
        shown = _record(15, 0, 100 * VCN, 15_000);
        assertEq(shown.successes, 35);
    }

    function test_probation_ends_after_twenty_counted_jobs() public {
        assertEq(_record(19, 0, 100 * VCN, 0).rateBps, 10_000);
        NodeView memory shown = _record(1, 0, 100 * VCN, 0);
        assertEq(shown.samplesLeft, 0);
        assertEq(shown.rateBps, 1_000);
    }

    function test_more_than_a_fifth_failed_raises_the_rate() public {
        _record(20, 0, 100 * VCN, 0);
        assertEq(_record(0, 10, 0, 0).rateBps, 1_000, "ten of fifty is not more than a fifth");
        NodeView memory shown = _record(0, 1, 0, 0);
        assertEq(shown.recentFailures, 11);
        assertEq(shown.rateBps, 5_000);
    }

    function test_failures_slide_out_of_the_ring() public {
        _record(20, 0, 100 * VCN, 0);
        _record(0, 20, 0, 0);
        assertEq(_record(49, 0, 0, 0).recentFailures, 1);
        assertEq(_record(1, 0, 0, 0).recentFailures, 0);
    }

    function test_a_big_batch_fills_the_ring_in_its_own_proportion() public {
        NodeView memory shown = _record(70, 30, 0, 0);
        assertEq(shown.recentFailures, 15);
        assertEq(_record(99, 1, 0, 0).recentFailures, 1, "rounded up");
    }

    function test_counted_successes_heal_a_tenth_each() public {
        vm.prank(address(court));
        stakes.penalise(node.id, 50, false);
        assertEq(_record(7, 0, 100 * VCN, 0).penaltyTenths, 43);
        assertEq(_record(7, 0, 0, 0).penaltyTenths, 43, "dust heals nothing");
    }

    function test_events_carry_the_record() public {
        vm.expectEmit(address(stakes));
        emit IStakeManager.CheckedIn(node.id, today(), 1);
        vm.expectEmit(address(stakes));
        // 5000 x 11/21 + 2000/(1 + mean of 57.190 s) + 2000 x 1/7 + 1000 = 2619 + 1023 + 285 + 1000, each rounded down.
        emit IStakeManager.ReputationChanged(node.id, 4_927, 1, 1, 0, 19, 1);
        _record(1, 1, 100 * VCN, 1_000);
    }
}
