// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDelegations} from "../../contracts/interfaces/IDelegations.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {Claim, Submission} from "../../contracts/types/BatchTypes.sol";
import {DelegationView, NodeState, Permit, Pool} from "../../contracts/types/NodeTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice delegate, and unbond, rebond and withdraw of those who stake on a node of somebody else.
contract DelegateTest is Fixture {
    Node private node;
    address private ann;
    address private bob;

    function setUp() public override {
        super.setUp();
        node = registered("node", 5_000 * VCN);
        fundOwner(node, 50_000 * VCN);
        ann = staker("ann", 100_000 * VCN);
        bob = staker("bob", 100_000 * VCN);
    }

    function _assertHas(address who, uint256 active, uint256 unbonding) private view {
        DelegationView memory shown = stakes.delegationOf(node.id, who);
        assertEq(shown.active, active, "active");
        assertEq(shown.unbonding, unbonding, "unbonding");
    }

    function _unbond(address who, uint96 amount) private {
        vm.prank(who);
        stakes.unbond(node.id, amount);
    }

    function _rebond(address who, uint96 amount) private {
        vm.prank(who);
        stakes.rebond(node.id, amount);
    }

    function _withdraw(address who) private returns (uint96) {
        vm.prank(who);
        return stakes.withdraw(node.id);
    }

    // ---- delegate

    function test_anyone_stakes_on_a_node() public {
        vm.expectEmit(address(stakes));
        emit IDelegations.DelegationChanged(node.id, ann, 2_000 * VCN, 0, 0);
        vm.expectEmit(address(stakes));
        emit IStakeManager.StakeChanged(node.id, 7_000 * VCN, 0, 0);
        delegated(ann, node.id, 2_000 * VCN);
        _assertHas(ann, 2_000 * VCN, 0);
        _assertHas(node.owner, 5_000 * VCN, 0);
        assertEq(stakes.nodeOf(node.id).activeStake, 7_000 * VCN, "counts as the node's stake");
        assertEq(stakes.termsOf(node.id).ownStake, 5_000 * VCN);
        assertEq(stakes.termsOf(node.id).delegatedStake, 2_000 * VCN);
        assertEq(coin.balanceOf(address(stakes)), 7_000 * VCN);
    }

    function test_with_a_permission_instead_of_an_approval() public {
        (address who, uint256 key) = makeAddrAndKey("with a key");
        coin.transfer(who, 20 * VCN);
        bytes32 message = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                who,
                address(stakes),
                uint256(20 * VCN),
                coin.nonces(who),
                vm.getBlockTimestamp()
            )
        );
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked(hex"1901", coin.DOMAIN_SEPARATOR(), message)));
        vm.prank(who);
        stakes.delegateWithPermit(node.id, 20 * VCN, Permit(vm.getBlockTimestamp(), v, r, s));
        _assertHas(who, 20 * VCN, 0);
    }

    function test_not_less_than_the_least_deposit() public {
        uint96 least = profile.minDeposit;
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.DelegationTooLow.selector, least - 1, least));
        stakes.delegate(node.id, least - 1);
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.DelegationTooLow.selector, 0, least));
        stakes.delegate(node.id, 0);
        delegated(ann, node.id, least);
    }

    function test_more_than_the_supply_is_refused() public {
        vm.prank(ann);
        vm.expectRevert();
        stakes.delegate(node.id, type(uint96).max);
    }

    function test_the_owner_keeps_a_tenth() public {
        uint96 most = 45_000 * VCN;
        delegated(ann, node.id, most);
        vm.prank(bob);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.OwnStakeTooLow.selector, 5_000 * VCN, 5_001 * VCN));
        stakes.delegate(node.id, 10 * VCN);
        vm.prank(node.owner);
        stakes.stake(node.id, 10 * VCN);
        delegated(bob, node.id, 10 * VCN);
    }

    function test_the_owner_keeps_the_minimum() public {
        slashed(node.id, 5_000);
        slashed(node.id, 5_000);
        slashed(node.id, 5_000);
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.OwnStakeTooLow.selector, 625 * VCN, profile.minStake));
        stakes.delegate(node.id, 100 * VCN);
    }

    function test_only_an_active_node_takes_stake() public {
        bytes memory refused = abi.encodeWithSelector(IDelegations.NodeTakesNoStake.selector, node.id);
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        vm.prank(ann);
        vm.expectRevert(refused);
        stakes.delegate(node.id, 100 * VCN);
        pass(profile.jailSeconds);
        vm.prank(node.owner);
        stakes.unjail(node.id);
        _unbond(node.owner, 5_000 * VCN);
        vm.prank(ann);
        vm.expectRevert(refused);
        stakes.delegate(node.id, 100 * VCN);
        pass(profile.unbondingSeconds);
        _withdraw(node.owner);
        vm.prank(ann);
        vm.expectRevert(refused);
        stakes.delegate(node.id, 100 * VCN);
    }

    function test_the_owner_and_strangers_are_told_apart() public {
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.OwnerDelegates.selector, node.id));
        stakes.delegate(node.id, 100 * VCN);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.UnknownNode.selector, address(9)));
        stakes.delegate(address(9), 100 * VCN);
        delegated(ann, node.id, 100 * VCN);
        bytes memory refused = abi.encodeWithSelector(IDelegations.NotStaker.selector, node.id, bob);
        vm.startPrank(bob);
        vm.expectRevert(refused);
        stakes.unbond(node.id, 1);
        vm.expectRevert(refused);
        stakes.rebond(node.id, 1);
        vm.expectRevert(refused);
        stakes.withdraw(node.id);
    }

    // ---- unbond, rebond, withdraw

    function test_one_bucket_whose_clock_starts_again() public {
        delegated(ann, node.id, 1_000 * VCN);
        _unbond(ann, 400 * VCN);
        pass(profile.unbondingSeconds - 1);
        _unbond(ann, 100 * VCN);
        _assertHas(ann, 500 * VCN, 500 * VCN);
        uint40 unlockAt = uint40(vm.getBlockTimestamp()) + profile.unbondingSeconds;
        assertEq(stakes.delegationOf(node.id, ann).unlockAt, unlockAt);
        pass(profile.unbondingSeconds - 1);
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.StillUnbonding.selector, unlockAt));
        stakes.withdraw(node.id);
        pass(1);
        vm.expectEmit(address(stakes));
        emit IStakeManager.StakeWithdrawn(node.id, ann, 500 * VCN);
        assertEq(_withdraw(ann), 500 * VCN);
        assertEq(coin.balanceOf(ann), 99_500 * VCN);
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NothingUnbonding.selector, node.id));
        stakes.withdraw(node.id);
    }

    function test_each_has_a_clock_of_its_own() public {
        delegated(ann, node.id, 1_000 * VCN);
        delegated(bob, node.id, 1_000 * VCN);
        _unbond(ann, 1_000 * VCN);
        pass(profile.unbondingSeconds / 2);
        _unbond(bob, 1_000 * VCN);
        _unbond(node.owner, 1_000 * VCN);
        pass(profile.unbondingSeconds / 2);
        assertEq(_withdraw(ann), 1_000 * VCN, "others do not move her clock");
        vm.prank(bob);
        vm.expectRevert();
        stakes.withdraw(node.id);
        vm.prank(node.owner);
        vm.expectRevert();
        stakes.withdraw(node.id);
    }

    /// @dev No other bucket becomes the owner's when the last active stake of others has left.
    function test_a_bucket_stays_its_stakers_when_others_are_gone() public {
        delegated(ann, node.id, 1_000 * VCN);
        delegated(bob, node.id, 1_000 * VCN);
        _unbond(ann, 1_000 * VCN);
        pass(1);
        _unbond(bob, 1_000 * VCN);
        _unbond(node.owner, 2_000 * VCN);
        pass(profile.unbondingSeconds);
        _withdraw(ann);
        _assertHas(bob, 0, 1_000 * VCN);
        _assertHas(node.owner, 3_000 * VCN, 2_000 * VCN);
        assertEq(_withdraw(node.owner), 2_000 * VCN);
        assertEq(_withdraw(bob), 1_000 * VCN);
    }

    function test_rebond_until_it_is_withdrawn() public {
        delegated(ann, node.id, 1_000 * VCN);
        _unbond(ann, 1_000 * VCN);
        _rebond(ann, 400 * VCN);
        _assertHas(ann, 400 * VCN, 600 * VCN);
        pass(profile.unbondingSeconds);
        _rebond(ann, 600 * VCN);
        _assertHas(ann, 1_000 * VCN, 0);
        assertEq(stakes.delegationOf(node.id, ann).unlockAt, 0);
    }

    function test_not_more_than_there_is_and_not_nothing() public {
        delegated(ann, node.id, 1_000 * VCN);
        vm.startPrank(ann);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotEnoughStake.selector, 1_000 * VCN + 1, 1_000 * VCN));
        stakes.unbond(node.id, 1_000 * VCN + 1);
        vm.expectRevert(IStakeManager.ZeroAmount.selector);
        stakes.unbond(node.id, 0);
        vm.expectRevert(IStakeManager.ZeroAmount.selector);
        stakes.rebond(node.id, 0);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotEnoughStake.selector, 1, 0));
        stakes.rebond(node.id, 1);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotEnoughStake.selector, type(uint96).max, 1_000 * VCN));
        stakes.unbond(node.id, type(uint96).max);
    }

    function test_what_stays_is_nothing_or_the_least() public {
        delegated(ann, node.id, 100 * VCN);
        vm.prank(ann);
        vm.expectRevert(
            abi.encodeWithSelector(IDelegations.DelegationTooLow.selector, 10 * VCN - 1, profile.minDeposit)
        );
        stakes.unbond(node.id, 90 * VCN + 1);
        _unbond(ann, 90 * VCN);
        _unbond(ann, 10 * VCN);
        _assertHas(ann, 0, 100 * VCN);
    }

    function test_the_owner_goes_below_a_tenth_only_by_leaving() public {
        delegated(ann, node.id, 20_000 * VCN);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.StakeTooLow.selector, 2_000 * VCN, 2_200 * VCN));
        stakes.unbond(node.id, 3_000 * VCN);
        _unbond(node.owner, 5_000 * VCN);
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Exiting));
        _assertHas(ann, 20_000 * VCN, 0);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.StakeTooLow.selector, 2_000 * VCN, 2_200 * VCN));
        stakes.rebond(node.id, 2_000 * VCN);
        _rebond(node.owner, 2_300 * VCN);
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Active));
    }

    function test_stakers_leave_a_node_whose_owner_is_gone() public {
        delegated(ann, node.id, 20_000 * VCN);
        _unbond(node.owner, 5_000 * VCN);
        pass(profile.unbondingSeconds);
        _withdraw(node.owner);
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Gone));
        _unbond(ann, 20_000 * VCN);
        vm.prank(ann);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.NodeTakesNoStake.selector, node.id));
        stakes.rebond(node.id, 1_000 * VCN);
        pass(profile.unbondingSeconds);
        _withdraw(ann);
        assertEq(coin.balanceOf(address(stakes)), 0);
    }

    function test_who_has_no_stake_of_its_own_stays_in_jail() public {
        delegated(ann, node.id, 20_000 * VCN);
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        _unbond(node.owner, 5_000 * VCN);
        pass(profile.jailSeconds);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.StakeTooLow.selector, 0, 2_000 * VCN));
        stakes.unjail(node.id);
    }

    // ---- slash

    function test_a_slash_reaches_every_share() public {
        delegated(ann, node.id, 2_000 * VCN);
        delegated(bob, node.id, 1_000 * VCN);
        _unbond(bob, 500 * VCN);
        _unbond(node.owner, 1_000 * VCN);
        slashed(node.id, 2_500);
        _assertHas(node.owner, 3_000 * VCN, 750 * VCN);
        _assertHas(ann, 1_500 * VCN, 0);
        _assertHas(bob, 375 * VCN, 375 * VCN);
    }

    function test_a_matured_bucket_is_slashed_until_it_is_withdrawn() public {
        delegated(ann, node.id, 2_000 * VCN);
        _unbond(ann, 2_000 * VCN);
        pass(10 * uint256(profile.unbondingSeconds));
        slashed(node.id, 5_000);
        assertEq(_withdraw(ann), 1_000 * VCN);
    }

    function test_after_a_slash_new_stake_is_worth_what_was_paid() public {
        delegated(ann, node.id, 2_000 * VCN);
        slashed(node.id, 3_333);
        delegated(bob, node.id, 1_000 * VCN);
        assertApproxEqAbs(stakes.delegationOf(node.id, bob).active, 1_000 * VCN, 1);
        assertLe(stakes.delegationOf(node.id, bob).active, 1_000 * VCN);
        slashed(node.id, 1_000);
        assertApproxEqAbs(stakes.delegationOf(node.id, bob).active, 900 * VCN, 2);
    }

    /// @dev 23 slashes by half leave less than a four-millionth of a share.
    function test_shares_of_a_pool_that_slashes_ended_are_void() public {
        delegated(ann, node.id, 2_000 * VCN);
        delegated(bob, node.id, 1_000 * VCN);
        _unbond(ann, 1_000 * VCN);
        for (uint256 i; i < 23; ++i) {
            slashed(node.id, 5_000);
        }
        _assertHas(ann, 0, 0);
        _assertHas(node.owner, 0, 0);
        assertEq(coin.balanceOf(address(stakes)), 0, "burned and pooled");
        vm.prank(node.owner);
        stakes.stake(node.id, 2_000 * VCN);
        _assertHas(node.owner, 2_000 * VCN, 0);
        delegated(bob, node.id, 100 * VCN);
        _assertHas(bob, 100 * VCN, 0);
        _assertHas(ann, 0, 0);
        _unbond(bob, 100 * VCN);
        _assertHas(bob, 0, 100 * VCN);
        vm.startPrank(ann);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotEnoughStake.selector, 1, 0));
        stakes.unbond(node.id, 1);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NothingUnbonding.selector, node.id));
        stakes.withdraw(node.id);
    }

    // ---- attacks

    /// @notice First depositor: a share that costs more than a wei would round the next ones' money away. None ever does.
    function test_attack_first_depositor_takes_nothing_from_the_next() public {
        // The owner is the first in the unbonding pool, with a single wei, and slashes itself to move the price.
        _unbond(node.owner, 1);
        delegated(ann, node.id, 1_000 * VCN);
        _unbond(ann, 1_000 * VCN);
        _assertHas(ann, 0, 1_000 * VCN);
        _rebond(node.owner, 1);
        (, Pool memory unbonding) = stakes.poolsOf(node.id);
        assertEq(unbonding.shares, unbonding.total);
        pass(profile.unbondingSeconds);
        assertEq(_withdraw(ann), 1_000 * VCN);
    }

    /// @notice Donation: coins sent to the contract have no owner and move no price.
    function test_attack_donation_moves_no_price() public {
        delegated(ann, node.id, 1_000 * VCN);
        coin.transfer(address(stakes), 1_000_000 * VCN);
        _assertHas(ann, 1_000 * VCN, 0);
        delegated(bob, node.id, 1_000 * VCN);
        _assertHas(bob, 1_000 * VCN, 0);
        (Pool memory active,) = stakes.poolsOf(node.id);
        assertEq(active.total, active.shares);
    }

    /// @notice Dust: moving to and fro earns nothing, after slashes as before.
    function testFuzz_attack_moving_to_and_fro_earns_nothing(uint16 bps, uint96 amount, uint8 times) public {
        delegated(ann, node.id, 1_000 * VCN);
        delegated(bob, node.id, 1_000 * VCN);
        _unbond(bob, 333 * VCN);
        slashed(node.id, uint16(bound(bps, 1, 5_000)));
        DelegationView memory before = stakes.delegationOf(node.id, ann);
        amount = uint96(bound(amount, 1, 400 * VCN));
        for (uint256 i; i < times % 8; ++i) {
            _unbond(ann, amount);
            uint96 bucket = stakes.delegationOf(node.id, ann).unbonding;
            assertLe(bucket, amount, "no more than was unbonded");
            if (bucket != 0) _rebond(ann, bucket);
        }
        DelegationView memory later = stakes.delegationOf(node.id, ann);
        assertLe(uint256(later.active) + later.unbonding, before.active);
        assertGe(uint256(later.active) + later.unbonding + 4 * uint256(times % 8) + 2, before.active, "nor costs more");
    }

    /// @notice Unbond just before: what is on its way out is slashed as what stays.
    function test_attack_unbonding_before_a_verdict_dodges_nothing() public {
        delegated(ann, node.id, 1_000 * VCN);
        _unbond(ann, 1_000 * VCN);
        slashed(node.id, 5_000);
        _assertHas(ann, 0, 500 * VCN);
    }

    /// @notice Grief: no account can hold another's money back, whatever happens to the owner and the node.
    function test_attack_owner_cannot_hold_stakers_back() public {
        delegated(ann, node.id, 1_000 * VCN);
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        _unbond(node.owner, 5_000 * VCN);
        _unbond(ann, 1_000 * VCN);
        pass(profile.unbondingSeconds);
        assertEq(_withdraw(ann), 1_000 * VCN);
    }

    /// @notice Stake of others is no cover: the largest leaf is a fortieth of the owner's own stake, all that is open half.
    function test_attack_cheating_on_the_stake_of_others() public {
        delegated(ann, node.id, 45_000 * VCN);
        Client memory one = client("client", 5_000 * VCN);
        openLane(one, node.id, 5_000 * VCN);
        Claim[] memory claims = claimsOf(one, node.id, 1, 125 * VCN + 1, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.LeafTooBig.selector, 125 * VCN + 1, 125 * VCN));
        settlement.submit(made, claims);
        claims = claimsOf(one, node.id, 20, 2_500 * VCN, 0);
        made = submissionOf(node.id, 0, claims, 20);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.OpenValueTooHigh.selector, 2_625 * VCN, 2_500 * VCN));
        settlement.submit(made, claims);
        submitted(one, node.id, 0, 1, 125 * VCN);
    }

    // ---- any order

    /// @dev Four moves in any order with slashes between: the books add up and everyone can leave.
    function testFuzz_every_wei_is_somebodys_and_all_can_leave(uint256 seed) public {
        delegated(ann, node.id, 1_000 * VCN);
        delegated(bob, node.id, 3_000 * VCN);
        for (uint256 i; i < 12; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            _anyMove(seed);
        }
        address[3] memory all = [node.owner, ann, bob];
        for (uint256 i; i < 3; ++i) {
            uint96 active = stakes.delegationOf(node.id, all[i]).active;
            if (active != 0) _unbond(all[i], active);
        }
        pass(profile.unbondingSeconds);
        for (uint256 i; i < 3; ++i) {
            if (stakes.delegationOf(node.id, all[i]).unbonding != 0) _withdraw(all[i]);
        }
        // What stays are roundings: less than a wei for each move.
        assertLe(coin.balanceOf(address(stakes)), 60);
    }

    function _anyMove(uint256 seed) private {
        address[3] memory all = [node.owner, ann, bob];
        address who = all[seed % 3];
        uint96 amount = uint96(1 + (seed >> 16) % (600 * VCN));
        uint256 kind = (seed >> 8) % 8;
        if (kind == 0) return slashed(node.id, uint16((seed >> 120) % 2_001));
        vm.prank(who);
        if (kind < 4) {
            try stakes.unbond(node.id, amount) {} catch {}
        } else if (kind < 6) {
            try stakes.rebond(node.id, amount) {} catch {}
        } else if (who == node.owner) {
            try stakes.stake(node.id, amount) {} catch {}
        } else {
            try stakes.delegate(node.id, amount) {} catch {}
        }
        (Pool memory active, Pool memory unbonding) = stakes.poolsOf(node.id);
        assertEq(coin.balanceOf(address(stakes)), uint256(active.total) + unbonding.total);
        _assertAddsUp(active.total, unbonding.total);
    }

    function _assertAddsUp(uint256 active, uint256 unbonding) private view {
        address[3] memory all = [node.owner, ann, bob];
        for (uint256 i; i < 3; ++i) {
            DelegationView memory shown = stakes.delegationOf(node.id, all[i]);
            active -= shown.active;
            unbonding -= shown.unbonding;
        }
        assertLe(active, 36, "active roundings");
        assertLe(unbonding, 36, "unbonding roundings");
    }
}
