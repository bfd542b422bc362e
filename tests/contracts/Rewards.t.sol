// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDelegations} from "../../contracts/interfaces/IDelegations.sol";
import {INodeTerms} from "../../contracts/interfaces/INodeTerms.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {NodeTerms, Permit, Registration} from "../../contracts/types/NodeTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice Rewards of those who stake on a node, and the commission that its payout takes of them.
contract RewardsTest is Fixture {
    Node private node;
    address private ann;
    address private bob;

    function setUp() public override {
        super.setUp();
        node = registered("node", 5_000 * VCN);
        ann = staker("ann", 50_000 * VCN);
        bob = staker("bob", 50_000 * VCN);
    }

    /// @dev Rewards in the node's book, as seats and batches put them there: by a court that pays its seat out of the pool.
    function _earn(uint96 amount) private {
        coin.approve(address(settlement), amount);
        settlement.fundPool(amount);
        // The book is a mapping of words {rewards 96, openValue 96, openBatches 16}.
        address book = address(settlement);
        bytes32 at_ = _bookSlot();
        vm.store(book, at_, bytes32(uint256(vm.load(book, at_)) + amount));
    }

    /// @dev Found by what changes it, so that no layout is assumed.
    function _bookSlot() private returns (bytes32 found) {
        vm.record();
        settlement.bookOf(node.id);
        (bytes32[] memory reads,) = vm.accesses(address(settlement));
        return reads[0];
    }

    function _claimed(address who) private returns (uint96 amount) {
        uint256 before = coin.balanceOf(who);
        vm.prank(who);
        amount = stakes.claimRewards(node.id);
        assertEq(coin.balanceOf(who), before + amount, "paid to who asked");
    }

    function _rewards(address who) private view returns (uint96) {
        return stakes.delegationOf(node.id, who).rewards;
    }

    function test_an_owner_alone_is_paid_directly() public {
        _earn(10 * VCN);
        vm.expectEmit(address(settlement));
        emit ISettlement.RewardClaimed(node.id, node.owner, 10 * VCN);
        assertEq(settlement.claim(node.id), 10 * VCN);
        assertEq(coin.balanceOf(node.owner), 10 * VCN);
        assertEq(stakes.termsOf(node.id).rewardsHeld, 0);
    }

    /// @dev 100: 10 commission, 90 by shares: 45 to the owner's half of the stake, 27 and 18 to the others.
    function test_commission_first_then_by_shares() public {
        delegated(ann, node.id, 3_000 * VCN);
        delegated(bob, node.id, 2_000 * VCN);
        _earn(100 * VCN);
        assertApproxEqAbs(_rewards(ann), 27 * VCN, 1, "shown before Settlement has booked it");
        vm.expectEmit(address(stakes));
        emit IDelegations.RewardsShared(node.id, 45 * VCN);
        vm.expectEmit(address(settlement));
        emit ISettlement.RewardClaimed(node.id, node.owner, 55 * VCN);
        assertEq(settlement.claim(node.id), 100 * VCN);
        assertEq(coin.balanceOf(node.owner), 55 * VCN);
        assertEq(stakes.termsOf(node.id).rewardsHeld, 45 * VCN);
        assertApproxEqAbs(_claimed(ann), 27 * VCN, 1);
        assertApproxEqAbs(_claimed(bob), 18 * VCN, 1);
        assertLe(stakes.termsOf(node.id).rewardsHeld, 2, "roundings stay");
    }

    function test_claiming_collects_what_waits_in_settlement() public {
        delegated(ann, node.id, 5_000 * VCN);
        _earn(100 * VCN);
        uint96 shown = _rewards(ann);
        vm.expectEmit(address(stakes));
        emit IDelegations.RewardsPaid(node.id, ann, shown);
        assertEq(_claimed(ann), shown, "as shown");
        assertApproxEqAbs(shown, 45 * VCN, 1);
        assertEq(settlement.bookOf(node.id).rewards, 0);
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.NoRewards.selector, node.id, ann));
        stakes.claimRewards(node.id);
    }

    function test_strangers_and_the_owner_have_nothing_to_claim_here() public {
        delegated(ann, node.id, 5_000 * VCN);
        _earn(100 * VCN);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.NoRewards.selector, node.id, bob));
        stakes.claimRewards(node.id);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.NoRewards.selector, node.id, node.owner));
        stakes.claimRewards(node.id);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.NoRewards.selector, node.id, node.id));
        stakes.claimRewards(node.id);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.UnknownNode.selector, address(9)));
        stakes.claimRewards(address(9));
    }

    function test_only_settlement_books() public {
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotSettlement.selector, node.owner));
        stakes.shareRewards(node.id, VCN);
        vm.prank(address(settlement));
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.UnknownNode.selector, address(9)));
        stakes.shareRewards(address(9), VCN);
    }

    function test_unbonding_stake_earns_nothing() public {
        delegated(ann, node.id, 5_000 * VCN);
        _earn(100 * VCN);
        vm.prank(ann);
        stakes.unbond(node.id, 5_000 * VCN);
        _earn(100 * VCN);
        assertApproxEqAbs(_claimed(ann), 45 * VCN, 1, "what was earned before she left, and not more");
    }

    function test_rewards_stay_claimable_after_leaving() public {
        delegated(ann, node.id, 5_000 * VCN);
        _earn(100 * VCN);
        vm.startPrank(ann);
        stakes.unbond(node.id, 5_000 * VCN);
        pass(profile.unbondingSeconds);
        stakes.withdraw(node.id);
        vm.stopPrank();
        _earn(50 * VCN);
        assertApproxEqAbs(_claimed(ann), 45 * VCN, 1);
        assertEq(coin.balanceOf(node.owner), 105 * VCN, "alone again, the owner is paid directly");
    }

    /// @notice Just in time: who stakes right before a claim has no part in what was earned before.
    function test_attack_staking_just_before_a_claim_earns_nothing() public {
        delegated(ann, node.id, 3_000 * VCN);
        _earn(100 * VCN);
        delegated(bob, node.id, 20_000 * VCN);
        assertEq(_rewards(bob), 0);
        assertApproxEqAbs(_claimed(ann), 33.75 ether, 1);
        // The first one of all as well: what the owner earned alone is the owner's.
        Node memory other = registered("other", 5_000 * VCN);
        node = other;
        _earn(100 * VCN);
        delegated(bob, other.id, 20_000 * VCN);
        assertEq(_rewards(bob), 0);
        assertEq(coin.balanceOf(other.owner), 100 * VCN);
    }

    /// @notice The owner who adds stake right before a claim takes nothing of the others'.
    function test_attack_coming_back_just_before_a_claim_earns_nothing() public {
        delegated(ann, node.id, 5_000 * VCN);
        vm.prank(ann);
        stakes.unbond(node.id, 5_000 * VCN);
        _earn(20 * VCN);
        vm.prank(ann);
        stakes.rebond(node.id, 5_000 * VCN);
        assertEq(_rewards(ann), 0, "earned by the owner alone");
        assertEq(settlement.bookOf(node.id).rewards, 0);
        assertEq(coin.balanceOf(node.owner), 20 * VCN);
    }

    function test_attack_owner_dilutes_before_a_claim() public {
        delegated(ann, node.id, 5_000 * VCN);
        _earn(100 * VCN);
        fundOwner(node, 40_000 * VCN);
        vm.prank(node.owner);
        stakes.stake(node.id, 40_000 * VCN);
        assertApproxEqAbs(_claimed(ann), 45 * VCN, 1);
    }

    function test_a_slash_changes_no_shares_of_rewards() public {
        delegated(ann, node.id, 5_000 * VCN);
        slashed(node.id, 5_000);
        _earn(100 * VCN);
        assertApproxEqAbs(_claimed(ann), 45 * VCN, 1);
    }

    function test_shares_that_slashes_ended_earn_up_to_their_end() public {
        delegated(ann, node.id, 5_000 * VCN);
        _earn(100 * VCN);
        settlement.claim(node.id);
        for (uint256 i; i < 23; ++i) {
            slashed(node.id, 5_000);
        }
        fundOwner(node, 5_000 * VCN);
        vm.prank(node.owner);
        stakes.stake(node.id, 5_000 * VCN);
        delegated(bob, node.id, 5_000 * VCN);
        _earn(100 * VCN);
        assertApproxEqAbs(_claimed(bob), 45 * VCN, 1);
        assertApproxEqAbs(_claimed(ann), 45 * VCN, 1, "from before");
        _earn(100 * VCN);
        assertEq(_rewards(ann), 0);
    }

    function test_rewards_after_the_owner_left_are_of_those_who_stayed() public {
        delegated(ann, node.id, 5_000 * VCN);
        vm.prank(node.owner);
        stakes.unbond(node.id, 5_000 * VCN);
        _earn(100 * VCN);
        assertApproxEqAbs(_claimed(ann), 90 * VCN, 1);
        assertEq(coin.balanceOf(node.owner), 10 * VCN, "the commission");
    }

    // ---- commission

    function test_commission_is_a_tenth_unless_named() public {
        assertEq(stakes.termsOf(node.id).commissionBps, 1_000);
        assertEq(stakes.termsOf(address(9)).commissionBps, 0, "no node");
        Node memory other = makeNode("other");
        fundOwner(other, 5_000 * VCN);
        _registerAt(other, 0);
        assertEq(stakes.termsOf(other.id).commissionBps, 0);
        assertEq(stakes.nodeOf(other.id).owner, other.owner);
        Node memory third = makeNode("third");
        fundOwner(third, 5_000 * VCN);
        _registerAt(third, 10_000);
        assertEq(stakes.termsOf(third.id).commissionBps, 10_000);
        Node memory fourth = makeNode("fourth");
        fundOwner(fourth, 5_000 * VCN);
        Registration memory terms = _terms(fourth, 10_001);
        bytes memory consent = consentOf(fourth, fourth.owner, terms.deadline);
        vm.prank(fourth.owner);
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.CommissionTooHigh.selector, 10_001));
        stakes.registerWithCommission(terms, consent, Permit(0, 0, 0, 0));
    }

    function _terms(Node memory of_, uint16 bps) private view returns (Registration memory) {
        return Registration(of_.id, address(0), 5_000 * VCN, 2, uint40(vm.getBlockTimestamp()), bps);
    }

    function _registerAt(Node memory of_, uint16 bps) private {
        Registration memory terms = _terms(of_, bps);
        bytes memory consent = consentOf(of_, of_.owner, terms.deadline);
        vm.expectEmit(address(stakes));
        emit INodeTerms.CommissionChanged(of_.id, bps);
        vm.prank(of_.owner);
        stakes.registerWithCommission(terms, consent, Permit(0, 0, 0, 0));
    }

    function test_a_commission_of_all_or_nothing() public {
        Node memory all = makeNode("all");
        fundOwner(all, 5_000 * VCN);
        _registerAt(all, 10_000);
        node = all;
        delegated(ann, all.id, 5_000 * VCN);
        _earn(100 * VCN);
        assertEq(settlement.claim(all.id), 100 * VCN);
        assertEq(coin.balanceOf(all.owner), 100 * VCN);
        Node memory none = makeNode("none");
        fundOwner(none, 5_000 * VCN);
        _registerAt(none, 0);
        node = none;
        delegated(ann, none.id, 5_000 * VCN);
        vm.prank(none.owner);
        stakes.unbond(none.id, 5_000 * VCN);
        _earn(100 * VCN);
        assertEq(settlement.claim(none.id), 100 * VCN);
        assertEq(coin.balanceOf(none.owner), 0);
        assertApproxEqAbs(_rewards(ann), 100 * VCN, 1);
    }

    function test_a_commission_is_announced_for_longer_than_unbonding() public {
        delegated(ann, node.id, 5_000 * VCN);
        uint40 dueAt = uint40(vm.getBlockTimestamp()) + profile.timelockSeconds;
        assertGt(profile.timelockSeconds, profile.unbondingSeconds);
        vm.prank(node.owner);
        vm.expectEmit(address(stakes));
        emit INodeTerms.CommissionAnnounced(node.id, 5_000, dueAt);
        stakes.setCommission(node.id, 5_000);
        NodeTerms memory terms = stakes.termsOf(node.id);
        assertEq(terms.commissionBps, 1_000);
        assertEq(terms.nextCommissionBps, 5_000);
        assertEq(terms.commissionAt, dueAt);
        pass(profile.timelockSeconds - 1);
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.NotYet.selector, dueAt));
        stakes.confirmCommission(node.id);
        pass(1);
        _earn(100 * VCN);
        vm.prank(bob);
        stakes.confirmCommission(node.id);
        assertEq(stakes.termsOf(node.id).commissionBps, 5_000);
        assertEq(stakes.termsOf(node.id).commissionAt, 0);
        assertApproxEqAbs(_claimed(ann), 45 * VCN, 1, "earned on the old terms");
        _earn(100 * VCN);
        assertApproxEqAbs(_claimed(ann), 25 * VCN, 1, "and on the new");
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.NothingAnnounced.selector, node.id));
        stakes.confirmCommission(node.id);
    }

    function test_a_second_announcement_starts_the_clock_again() public {
        vm.startPrank(node.owner);
        stakes.setCommission(node.id, 5_000);
        pass(profile.timelockSeconds - 1);
        stakes.setCommission(node.id, 9_000);
        pass(1);
        vm.expectRevert(
            abi.encodeWithSelector(
                INodeTerms.NotYet.selector, uint40(vm.getBlockTimestamp()) + profile.timelockSeconds - 1
            )
        );
        stakes.confirmCommission(node.id);
    }

    function test_a_commission_is_called_off() public {
        vm.startPrank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.NothingAnnounced.selector, node.id));
        stakes.cancelCommission(node.id);
        stakes.setCommission(node.id, 5_000);
        stakes.cancelCommission(node.id);
        pass(profile.timelockSeconds);
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.NothingAnnounced.selector, node.id));
        stakes.confirmCommission(node.id);
        assertEq(stakes.termsOf(node.id).commissionBps, 1_000);
    }

    function test_only_the_owner_sets_a_commission() public {
        vm.startPrank(node.id);
        bytes memory refused = abi.encodeWithSelector(IStakeManager.NotOwner.selector, node.id, node.id);
        vm.expectRevert(refused);
        stakes.setCommission(node.id, 1);
        vm.expectRevert(refused);
        stakes.cancelCommission(node.id);
        vm.stopPrank();
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.CommissionTooHigh.selector, 10_001));
        stakes.setCommission(node.id, 10_001);
    }

    // ---- any order

    /// @dev Joins, leaves and rewards in any order: no one gets more than was shared, and all but roundings is paid.
    function testFuzz_rewards_add_up(uint256 seed) public {
        uint256 paid;
        uint256 earned;
        for (uint256 i; i < 12; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            address who = seed % 2 == 0 ? ann : bob;
            uint96 amount = uint96(10 * VCN + (seed >> 16) % (900 * VCN));
            uint256 kind = (seed >> 8) % 4;
            if (kind == 0) {
                delegated(who, node.id, amount);
            } else if (kind == 1) {
                vm.prank(who);
                try stakes.unbond(node.id, amount) {} catch {}
            } else {
                _earn(amount / 100);
                earned += amount / 100;
                if (kind == 3) slashed(node.id, uint16(amount % 500));
            }
        }
        vm.prank(ann);
        try stakes.claimRewards(node.id) returns (uint96 amount) {
            paid += amount;
        } catch {}
        vm.prank(bob);
        try stakes.claimRewards(node.id) returns (uint96 amount) {
            paid += amount;
        } catch {}
        if (settlement.bookOf(node.id).rewards != 0) settlement.claim(node.id);
        uint256 held = stakes.termsOf(node.id).rewardsHeld;
        assertEq(paid + coin.balanceOf(node.owner) + held, earned, "every wei went somewhere");
        if (_rewards(ann) == 0 && _rewards(bob) == 0) assertLe(held, 40, "roundings");
    }
}
