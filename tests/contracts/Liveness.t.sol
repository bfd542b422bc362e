// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILiveness} from "../../contracts/interfaces/ILiveness.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {PoolLib} from "../../contracts/libraries/PoolLib.sol";
import {Contents} from "../../contracts/types/BatchTypes.sol";
import {NodeView} from "../../contracts/types/NodeTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice penalizeOffline, and what a gap costs.
contract LivenessTest is Fixture {
    Node private node;

    function setUp() public override {
        super.setUp();
        node = registered("node", 10_000 * VCN);
        fundOwner(node, 20_000 * VCN);
    }

    function _checkIn() private {
        vm.prank(node.id);
        stakes.checkIn(node.id);
    }

    function _active() private view returns (uint96) {
        return stakes.nodeOf(node.id).activeStake;
    }

    function _expectNotOffline(uint256 lastDay) private {
        vm.expectRevert(abi.encodeWithSelector(ILiveness.NotOffline.selector, node.id, lastDay));
    }

    function test_a_week_costs_nothing() public {
        uint24 first = today();
        _expectNotOffline(first);
        stakes.penalizeOffline(node.id);
        pass(7 days);
        _expectNotOffline(first);
        stakes.penalizeOffline(node.id);
        // Half a day before, the last second of the seventh whole day.
        pass(12 hours - 1);
        _expectNotOffline(first);
        stakes.penalizeOffline(node.id);
        pass(1);
        vm.expectEmit(address(stakes));
        // A hundredth, and the wei of the rounding.
        emit ILiveness.OfflinePenalized(node.id, 1, 100 * VCN + 1);
        vm.expectEmit(address(stakes));
        emit IStakeManager.StakeChanged(node.id, 9_900 * VCN - 1, 0, 0);
        assertEq(stakes.penalizeOffline(node.id), 100 * VCN + 1);
        _expectNotOffline(today() - 7);
        stakes.penalizeOffline(node.id);
    }

    function test_all_of_it_is_burned_and_the_caller_gets_nothing() public {
        pass(20 days);
        uint256 supply = coin.totalSupply();
        vm.prank(address(0xCA11));
        uint96 lost = stakes.penalizeOffline(node.id);
        assertEq(coin.totalSupply(), supply - lost);
        assertEq(coin.balanceOf(address(0xCA11)), 0);
        assertEq(coin.balanceOf(address(stakes)), _active());
        assertEq(settlement.pool(), 0);
    }

    function test_a_check_in_or_a_batch_starts_the_week_again() public {
        pass(6 days);
        _checkIn();
        pass(7 days);
        _expectNotOffline(today() - 7);
        stakes.penalizeOffline(node.id);
        bench(3);
        Client memory one = client("client", 100 * VCN);
        openLane(one, node.id, 50 * VCN);
        Contents memory contents = submitted(one, node.id, 0, 1, VCN);
        passInCourt(node.id, 0, contents);
        finish(node.id, 0);
        pass(7 days);
        _expectNotOffline(today() - 7);
        stakes.penalizeOffline(node.id);
    }

    function test_who_checks_in_on_the_day_of_registration_is_counted() public {
        _checkIn();
        assertEq(stakes.nodeOf(node.id).checkInDays, 1);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.SameDay.selector, today()));
        stakes.checkIn(node.id);
    }

    /// @notice A check-in ahead of the penalty does not save it.
    function test_attack_checking_in_before_the_penalty() public {
        pass(10 days);
        vm.expectEmit(address(stakes));
        emit ILiveness.OfflinePenalized(node.id, 3, 10_000 * VCN - uint96(PoolLib.decayed(10_000 * VCN, 3)));
        _checkIn();
        assertEq(_active(), PoolLib.decayed(10_000 * VCN, 3));
        _expectNotOffline(today());
        stakes.penalizeOffline(node.id);
    }

    /// @notice Outage: no account gains by charging nodes that could not check in, and a week of it costs them nothing.
    function test_attack_penalise_during_an_outage() public {
        _checkIn();
        pass(7 days);
        _expectNotOffline(today() - 7);
        stakes.penalizeOffline(node.id);
        _checkIn();
        assertEq(_active(), 10_000 * VCN);
    }

    /// @dev In any steps: what is lost differs by a wei a call at most.
    function testFuzz_the_penalty_is_path_independent(uint8[8] memory steps, uint96 amount) public {
        amount = uint96(bound(amount, 1, 20_000 * VCN));
        vm.prank(node.owner);
        stakes.stake(node.id, amount);
        uint256 stake = _active();
        pass(7 days);
        uint256 passed;
        uint256 calls;
        for (uint256 i; i < steps.length; ++i) {
            uint256 step = steps[i] % 40;
            pass(step * 1 days);
            passed += step;
            if (step == 0) continue;
            if (i % 2 == 0) stakes.penalizeOffline(node.id);
            else continue;
            ++calls;
        }
        pass(1 days);
        stakes.penalizeOffline(node.id);
        ++calls;
        uint256 whole = PoolLib.decayed(stake, passed + 1);
        assertLe(_active(), whole);
        assertGe(_active() + calls, whole);
    }

    function testFuzz_decay_is_a_hundredth_a_day(uint96 total) public pure {
        uint256 left = PoolLib.decayed(total, 1);
        assertLe(left * 100, uint256(total) * 99);
        assertGe(left * 100 + 100, uint256(total) * 99);
        assertEq(PoolLib.decayed(total, 0), total);
        assertEq(PoolLib.decayed(total, 70_000), 0);
    }

    function test_every_share_of_the_active_stake_pays_and_what_leaves_does_not() public {
        address ann = staker("ann", 5_000 * VCN);
        delegated(ann, node.id, 5_000 * VCN);
        vm.prank(ann);
        stakes.unbond(node.id, 1_000 * VCN);
        pass(7 days + 12 hours);
        assertEq(stakes.penalizeOffline(node.id), 140 * VCN + 1);
        assertEq(stakes.delegationOf(node.id, ann).active, 3_960 * VCN - 1);
        assertEq(stakes.delegationOf(node.id, ann).unbonding, 1_000 * VCN);
        assertEq(stakes.delegationOf(node.id, node.owner).active, 9_900 * VCN - 1);
    }

    function test_jail_is_no_shelter_and_a_check_in_works_there() public {
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        pass(8 days);
        assertEq(stakes.penalizeOffline(node.id), 100 * VCN + 1);
        _checkIn();
    }

    function test_who_has_left_owes_no_sign() public {
        address ann = staker("ann", 5_000 * VCN);
        delegated(ann, node.id, 5_000 * VCN);
        uint24 last = today();
        vm.prank(node.owner);
        stakes.unbond(node.id, 10_000 * VCN);
        pass(30 days);
        _expectNotOffline(last);
        stakes.penalizeOffline(node.id);
        vm.prank(node.owner);
        stakes.withdraw(node.id);
        _expectNotOffline(last);
        stakes.penalizeOffline(node.id);
    }

    /// @notice Exit and return: neither leaving nor coming back, of the owner or of anybody, dodges what is due.
    function test_attack_leaving_and_coming_back_dodges_nothing() public {
        address ann = staker("ann", 5_000 * VCN);
        delegated(ann, node.id, 5_000 * VCN);
        pass(10 days);
        uint256 state = vm.snapshotState();
        vm.prank(node.owner);
        vm.expectRevert(
            abi.encodeWithSelector(
                IStakeManager.NotEnoughStake.selector, 10_000 * VCN, PoolLib.decayed(15_000 * VCN, 3) * 2 / 3
            )
        );
        stakes.unbond(node.id, 10_000 * VCN);
        vm.revertToState(state);
        vm.prank(ann);
        stakes.unbond(node.id, 1_000 * VCN);
        assertEq(stakes.delegationOf(node.id, ann).unbonding, 1_000 * VCN);
        assertApproxEqAbs(stakes.delegationOf(node.id, ann).active, PoolLib.decayed(5_000 * VCN, 3) - 1_000 * VCN, 2);
    }

    /// @notice Who comes to a node that was away pays nothing for the days before.
    function test_a_newcomer_pays_for_no_day_before() public {
        address ann = staker("ann", 5_000 * VCN);
        pass(20 days);
        delegated(ann, node.id, 1_000 * VCN);
        assertApproxEqAbs(stakes.delegationOf(node.id, ann).active, 1_000 * VCN, 1);
        _expectNotOffline(today() - 7);
        stakes.penalizeOffline(node.id);
        assertApproxEqAbs(stakes.delegationOf(node.id, ann).active, 1_000 * VCN, 1);
    }

    /// @dev An owner who took its stake home from jail: those who stayed pay nothing for its absence.
    function test_who_left_from_jail_owes_no_sign() public {
        address ann = staker("ann", 5_000 * VCN);
        delegated(ann, node.id, 5_000 * VCN);
        uint24 last = today();
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        vm.prank(node.owner);
        stakes.unbond(node.id, 10_000 * VCN);
        pass(30 days);
        _expectNotOffline(last);
        stakes.penalizeOffline(node.id);
        assertEq(stakes.delegationOf(node.id, ann).active, 5_000 * VCN);
    }

    function test_who_takes_an_exit_back_has_a_week_again() public {
        vm.prank(node.owner);
        stakes.unbond(node.id, 10_000 * VCN);
        pass(30 days);
        vm.prank(node.owner);
        stakes.rebond(node.id, 10_000 * VCN);
        _expectNotOffline(today());
        stakes.penalizeOffline(node.id);
        assertEq(_active(), 10_000 * VCN);
    }

    function test_who_comes_back_has_a_week_again() public {
        vm.prank(node.owner);
        stakes.unbond(node.id, 10_000 * VCN);
        pass(30 days);
        vm.prank(node.owner);
        stakes.stake(node.id, 5_000 * VCN);
        _expectNotOffline(today());
        stakes.penalizeOffline(node.id);
        pass(8 days);
        assertEq(stakes.penalizeOffline(node.id), 50 * VCN + 1);
    }

    /// @dev In jail the owner left and came back: it owes no sign for the time between.
    function test_who_left_in_jail_and_comes_back_has_a_week_again() public {
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        vm.prank(node.owner);
        stakes.unbond(node.id, 10_000 * VCN);
        pass(30 days);
        vm.prank(node.owner);
        stakes.stake(node.id, 5_000 * VCN);
        _expectNotOffline(today());
        stakes.penalizeOffline(node.id);
    }

    function test_a_gap_over_48_hours_starts_full_probation() public {
        bench(3);
        graduate(node);
        pass(2 days);
        _checkIn();
        assertEq(stakes.nodeOf(node.id).samplesLeft, 0, "two days are no gap");
        pass(3 days);
        _checkIn();
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.samplesLeft, 20);
        assertEq(shown.rateBps, 10_000);
    }

    function test_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.UnknownNode.selector, address(9)));
        stakes.penalizeOffline(address(9));
    }
}
