// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochBeacon} from "../../contracts/interfaces/IEpochBeacon.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {SplitLib} from "../../contracts/libraries/SplitLib.sol";
import {Batch, BatchState, Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";
import {NodeState, NodeView} from "../../contracts/types/NodeTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice finalize, finalizeMany, voidLost, and the views of the draw.
contract FinalizeTest is Fixture {
    Node private node;
    Client private one;

    function setUp() public override {
        super.setUp();
        bench(3);
        node = registered("node", 10_000 * VCN);
        one = client("client", 3_000 * VCN);
        openLane(one, node.id, 1_000 * VCN);
    }

    /// @dev An undrawn batch of 5 leaves by a node past probation, its seed sealed, its window still open.
    function _undrawn(uint8 slot) private {
        submitted(one, node.id, slot, 5, 50 * VCN);
        sealDrawing(node.id, slot, 1_000, 0);
    }

    // ---- money

    function test_the_worked_example() public {
        Claim[] memory claims = claimsOf(one, node.id, 1, 1 * VCN, 0.09 ether);
        Contents memory contents = submit(submissionOf(node.id, 0, claims, 1), claims);
        passInCourt(node.id, 0, contents);
        pass(profile.challengeSeconds);
        vm.expectEmit(address(settlement));
        emit ISettlement.BatchFinal(
            node.id, 0, settlement.batchIdOf(node.id, 0), 1 * VCN, 0.1 ether, 0.6525 ether, 0.09 ether, 0.2975 ether
        );
        settlement.finalize(node.id, 0);
        assertEq(settlement.bookOf(node.id).rewards, 0.7425 ether);
        assertEq(settlement.burnPending(), 0.1 ether);
        // Three seats shared the fee of 0.05, as the batch was drawn at 100%; 2 wei do not divide.
        assertEq(settlement.pool(), 0.2475 ether + 2);
    }

    function test_an_undrawn_batch_pays_after_its_window() public {
        graduate(node);
        uint256 pooledBefore = settlement.pool();
        uint96 rewardsBefore = settlement.bookOf(node.id).rewards;
        _undrawn(0);
        Batch memory batch = settlement.batchOf(node.id, 0);
        assertEq(batch.ratePercent, 10);
        finish(node.id, 0);
        (, uint96 reward, uint96 pooled) = SplitLib.split(batch.charge, batch.scoreHundredths);
        assertEq(settlement.bookOf(node.id).rewards, rewardsBefore + reward);
        assertEq(settlement.pool(), pooledBefore + pooled + batch.fee);
        assertEq(settlement.bookOf(node.id).openValue, 0);
        assertEq(settlement.bookOf(node.id).openBatches, 0);
    }

    function test_the_score_is_that_of_the_submission() public {
        graduate(node);
        _undrawn(0);
        uint96 before = settlement.bookOf(node.id).rewards;
        uint16 atSubmit = settlement.batchOf(node.id, 0).scoreHundredths;
        vm.prank(address(court));
        stakes.penalise(node.id, 300, false);
        finish(node.id, 0);
        (, uint96 reward,) = SplitLib.split(50 * VCN, atSubmit);
        assertEq(settlement.bookOf(node.id).rewards, before + reward);
    }

    function test_a_final_batch_is_on_record() public {
        graduate(node);
        uint32 before = stakes.nodeOf(node.id).successes;
        pass(1 days);
        _undrawn(0);
        finish(node.id, 0);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.successes, before + 5);
        assertEq(shown.checkInDays, 2);
    }

    // ---- when

    function test_the_window_closes_on_its_second() public {
        graduate(node);
        submitted(one, node.id, 0, 5, 50 * VCN);
        uint256 closes = vm.getBlockTimestamp() + profile.challengeSeconds;
        sealDrawing(node.id, 0, 1_000, 0);
        vm.warp(closes - 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WindowOpen.selector, closes));
        settlement.finalize(node.id, 0);
        vm.warp(closes);
        settlement.finalize(node.id, 0);
    }

    function test_a_passed_batch_waits_for_the_window_too() public {
        Contents memory contents = submitted(one, node.id, 0, 1, VCN);
        uint256 closes = vm.getBlockTimestamp() + profile.challengeSeconds;
        passInCourt(node.id, 0, contents);
        vm.warp(closes - 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WindowOpen.selector, closes));
        settlement.finalize(node.id, 0);
    }

    function test_not_before_the_seed() public {
        graduate(node);
        submitted(one, node.id, 0, 5, 50 * VCN);
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        pass(profile.challengeSeconds);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NoSeed.selector, epoch));
        settlement.finalize(node.id, 0);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NoSeed.selector, epoch));
        settlement.sampledLeaves(node.id, 0);
    }

    function test_a_drawn_batch_needs_a_court() public {
        graduate(node);
        submitted(one, node.id, 0, 5, 50 * VCN);
        sealDrawing(node.id, 0, 1_000, 1);
        pass(profile.challengeSeconds);
        vm.expectRevert(ISettlement.NeedsCourt.selector);
        settlement.finalize(node.id, 0);
    }

    function test_once() public {
        graduate(node);
        _undrawn(0);
        finish(node.id, 0);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Final));
        settlement.finalize(node.id, 0);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.None));
        settlement.finalize(node.id, 1);
    }

    function test_a_final_slot_is_free_again() public {
        graduate(node);
        _undrawn(0);
        bytes32 first = settlement.batchIdOf(node.id, 0);
        finish(node.id, 0);
        submitted(one, node.id, 0, 5, 50 * VCN);
        assertTrue(settlement.batchIdOf(node.id, 0) != first);
    }

    function test_a_jailed_nodes_open_batch_needs_a_court() public {
        graduate(node);
        _undrawn(0);
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        pass(profile.challengeSeconds);
        vm.expectRevert(ISettlement.NeedsCourt.selector);
        settlement.finalize(node.id, 0);
        assertEq(settlement.sampledLeaves(node.id, 0).length, 5, "all of it");
    }

    function test_a_jailed_nodes_batch_is_paid_if_it_passes() public {
        graduate(node);
        Contents memory contents = submitted(one, node.id, 0, 5, 50 * VCN);
        sealDrawing(node.id, 0, 1_000, 0);
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        passInCourt(node.id, 0, contents);
        finish(node.id, 0);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Final));
    }

    /// @dev What is open meanwhile stays drawn in full: the mark goes with the first batch that comes after the jail.
    function test_a_node_out_of_jail_is_drawn_as_before() public {
        graduate(node);
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        assertTrue(settlement.bookOf(node.id).jailed);
        pass(profile.jailSeconds);
        vm.prank(node.owner);
        stakes.unjail(node.id);
        pass(1 days);
        graduate(node);
        _undrawn(0);
        assertFalse(settlement.bookOf(node.id).jailed);
        assertEq(settlement.sampledLeaves(node.id, 0).length, 0);
        finish(node.id, 0);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Final));
    }

    /// @notice A jailed node would like its mark to go while its batches are open. Expected end: it may not submit, and it may
    ///         not leave jail, before they are judged.
    function test_attack_a_jailed_node_sheds_the_full_draw() public {
        graduate(node);
        _undrawn(0);
        Claim[] memory claims = claimsOf(one, node.id, 1, VCN, 0);
        Submission memory made = submissionOf(node.id, 1, claims, 1);
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        pass(profile.jailSeconds);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NodeNotActive.selector, node.id));
        settlement.submit(made, claims);
        vm.startPrank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.OpenBatches.selector, node.id, 1));
        stakes.unjail(node.id);
        // Leaving and coming back is no way out of jail, either.
        stakes.unbond(node.id, 10_000 * VCN);
        stakes.rebond(node.id, 10_000 * VCN);
        vm.stopPrank();
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Jailed));
        assertTrue(settlement.bookOf(node.id).jailed);
        vm.expectRevert(ISettlement.NeedsCourt.selector);
        settlement.finalize(node.id, 0);
    }

    // ---- many

    function test_many_takes_what_is_ready() public {
        graduate(node);
        _undrawn(0);
        pass(profile.challengeSeconds);
        mine(4);
        submitted(one, node.id, 1, 5, 50 * VCN);
        sealDrawing(node.id, 1, 1_000, 1);
        mine(4);
        submitted(one, node.id, 2, 5, 50 * VCN);
        pass(profile.challengeSeconds);
        uint8[] memory slots = new uint8[](4);
        (slots[0], slots[1], slots[2], slots[3]) = (0, 1, 2, 3);
        assertEq(settlement.finalizeMany(node.id, slots), 1);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Final));
        assertEq(uint8(stateOf(node.id, 1)), uint8(BatchState.Pending));
        assertEq(uint8(stateOf(node.id, 2)), uint8(BatchState.Pending));
    }

    // ---- seeds that are lost

    function test_a_rearmed_epoch_draws_at_half() public {
        graduate(node);
        submitted(one, node.id, 0, 100, 100 * VCN);
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        mine(300);
        beacon.rearm(epoch);
        seal(node.id, 0);
        assertEq(settlement.sampledLeaves(node.id, 0).length, 50);
    }

    function test_a_seed_lost_twice_voids_without_loss() public {
        graduate(node);
        uint16 before = stakes.scoreOf(node.id);
        Contents memory contents = submitted(one, node.id, 0, 5, 50 * VCN);
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        mine(300);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.SeedNotLost.selector, epoch));
        settlement.voidLost(node.id, 0);
        beacon.rearm(epoch);
        mine(300);
        vm.expectRevert(abi.encodeWithSelector(IEpochBeacon.SeedLost.selector, epoch, beacon.seedBlockOf(epoch)));
        beacon.seal(epoch);
        settlement.voidLost(node.id, 0);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
        assertEq(stakes.scoreOf(node.id), before);
        settlement.refund(node.id, 0, contents);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Refunded));
        settlement.voidLost(node.id, 0);
    }

    // ---- views

    function test_the_seed_is_the_epochs_with_the_batchs_id() public {
        submitted(one, node.id, 0, 5, 50 * VCN);
        seal(node.id, 0);
        (bytes32 epochSeed,) = beacon.seedOf(beacon.epochOf(settlement.batchOf(node.id, 0).commitBlock));
        bytes32 batchId = settlement.batchIdOf(node.id, 0);
        assertEq(settlement.batchSeedOf(node.id, 0), keccak256(abi.encode(epochSeed, batchId)));
    }

    function test_an_empty_slot_has_no_draw() public {
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.None));
        settlement.sampledLeaves(node.id, 9);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.None));
        settlement.batchSeedOf(node.id, 9);
        assertEq(settlement.batchIdOf(node.id, 9), 0);
    }
}
