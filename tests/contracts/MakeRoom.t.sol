// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IIntake} from "../../contracts/interfaces/IIntake.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {Batch, BatchState, Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";

/// @notice submit into a slot whose batch is ready to be final.
contract MakeRoomTest is CourtFixture {
    uint8 private constant SLOT = 0;

    function _graduated() private {
        bench(3);
        graduate(node);
    }

    /// @dev An undrawn batch of a node past probation whose window is over.
    function _ready() private {
        _graduated();
        submitted(one, node.id, SLOT, 5, 50 * VCN);
        sealDrawing(node.id, SLOT, 1_000, 0);
        pass(profile.challengeSeconds);
    }

    function _next() private view returns (Submission memory made, Claim[] memory claims) {
        claims = claimsOf(one, node.id, 2, 2 * VCN, 0);
        made = submissionOf(node.id, SLOT, claims, 2);
    }

    function _submitNext() private {
        (Submission memory made, Claim[] memory claims) = _next();
        vm.prank(node.id);
        settlement.submit(made, claims);
    }

    function _refused(bytes memory reason) private {
        (Submission memory made, Claim[] memory claims) = _next();
        bytes32 before = _looks();
        vm.prank(node.id);
        vm.expectRevert(reason);
        settlement.submit(made, claims);
        assertEq(_looks(), before);
    }

    function _busy() private {
        _refused(abi.encodeWithSelector(ISettlement.SlotBusy.selector, SLOT));
    }

    function _looks() private view returns (bytes32) {
        return keccak256(
            abi.encode(
                settlement.batchOf(node.id, SLOT),
                settlement.bookOf(node.id),
                stakes.nodeOf(node.id),
                settlement.pool(),
                settlement.burnPending(),
                settlement.laneOf(one.id, one.signer, node.id)
            )
        );
    }

    /// @dev What two calls would have done, and what one does.
    function _assertAsApart() private {
        uint256 here = vm.snapshotState();
        settlement.finalize(node.id, SLOT);
        _submitNext();
        bytes32 apart = _looks();
        vm.revertToState(here);
        _submitNext();
        assertEq(_looks(), apart);
    }

    function test_a_batch_that_is_ready_becomes_final_first() public {
        _ready();
        Batch memory last = settlement.batchOf(node.id, SLOT);
        bytes32 lastId = settlement.batchIdOf(node.id, SLOT);
        vm.expectEmit(true, true, true, false, address(settlement));
        emit ISettlement.BatchFinal(node.id, SLOT, lastId, last.charge, 0, 0, 0, 0);
        _submitNext();
        assertEq(uint8(stateOf(node.id, SLOT)), uint8(BatchState.Pending));
        assertEq(settlement.batchOf(node.id, SLOT).charge, 2 * VCN);
        assertEq(settlement.bookOf(node.id).openBatches, 1);
        assertEq(settlement.bookOf(node.id).openValue, 2.1 ether);
        assertTrue(settlement.batchIdOf(node.id, SLOT) != lastId);
    }

    function test_it_is_what_two_calls_are() public {
        _ready();
        _assertAsApart();
    }

    function test_a_batch_that_passed_leaves_its_slot_too() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, SLOT, 2, 40 * VCN);
        passInCourt(node.id, SLOT, contents);
        uint256 closes = settlement.batchOf(node.id, SLOT).commitTime + profile.challengeSeconds;
        vm.warp(closes - 1);
        _busy();
        vm.warp(closes);
        _assertAsApart();
    }

    /// @dev One that failed too often has the next drawn at half.
    function test_what_the_last_batch_says_of_its_node_counts_for_the_next() public {
        _graduated();
        Claim[] memory claims = claimsOf(one, node.id, 12, VCN, 0);
        Submission memory made = submissionOf(node.id, SLOT, claims, 12);
        (made.okCount, made.failedCount, made.maxLeaf) = (1, 11, VCN);
        Contents memory contents = submit(made, claims);
        assertEq(settlement.batchOf(node.id, SLOT).ratePercent, 10);
        passInCourt(node.id, SLOT, contents);
        pass(profile.challengeSeconds);
        _submitNext();
        assertEq(settlement.batchOf(node.id, SLOT).ratePercent, 50);
    }

    // ---- what is not ready

    function test_not_before_the_window_is_over() public {
        _graduated();
        submitted(one, node.id, SLOT, 5, 50 * VCN);
        sealDrawing(node.id, SLOT, 1_000, 0);
        uint256 closes = settlement.batchOf(node.id, SLOT).commitTime + profile.challengeSeconds;
        vm.warp(closes - 1);
        _busy();
        vm.warp(closes);
        _submitNext();
    }

    function test_not_before_the_seed() public {
        _graduated();
        submitted(one, node.id, SLOT, 5, 50 * VCN);
        pass(profile.challengeSeconds);
        _busy();
    }

    /// @notice A node whose batch is drawn writes the next one over it. Expected end: the slot is taken until a court has ended it.
    function test_attack_a_drawn_batch_is_written_over() public {
        _graduated();
        keep(submitted(one, node.id, SLOT, 5, 50 * VCN));
        sealDrawing(node.id, SLOT, 1_000, 1);
        pass(profile.challengeSeconds);
        _busy();
        caseId = court.convene(node.id, SLOT, contents());
        _busy();
        truth = 0;
        sit();
        resolve();
        assertEq(uint8(stateOf(node.id, SLOT)), uint8(BatchState.Void));
    }

    /// @notice A client has its leaf checked at the last moment. Expected end: the next batch does not slip over the challenged one.
    function test_attack_a_challenged_batch_is_written_over() public {
        _graduated();
        Contents memory contents = submitted(one, node.id, SLOT, 5, 50 * VCN);
        sealDrawing(node.id, SLOT, 1_000, 0);
        uint256 closes = settlement.batchOf(node.id, SLOT).commitTime + profile.challengeSeconds;
        vm.warp(closes - 1);
        coin.approve(address(settlement), 100 * VCN);
        settlement.depositFor(one.id, 100 * VCN);
        vm.prank(one.id);
        fraudProofs.challengeLeaf(node.id, SLOT, contents, 0);
        vm.warp(closes);
        _busy();
    }

    /// @notice A node that was found guilty has another batch, which is not drawn by its own draw. Expected end: neither finalize
    ///         nor the next submit makes it final.
    function test_attack_an_accused_node_writes_over_what_it_has_open() public {
        decide(10);
        graduate(node);
        mine(profile.epochBlocks);
        submitted(one, node.id, SLOT + 1, 5, 10 * VCN);
        sealDrawing(node.id, SLOT + 1, 1_000, 0);
        pass(profile.challengeSeconds);
        (Submission memory made, Claim[] memory claims) = _next();
        made.slot = SLOT + 1;
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.SlotBusy.selector, SLOT + 1));
        settlement.submit(made, claims);
        made.slot = SLOT + 2;
        vm.prank(node.id);
        settlement.submit(made, claims);
    }

    function test_attack_a_jailed_node_writes_over_what_it_has_open() public {
        _ready();
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        _busy();
    }

    function test_a_void_batch_is_refunded_first() public {
        _graduated();
        Contents memory contents = submitted(one, node.id, SLOT, 5, 50 * VCN);
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        mine(300);
        beacon.rearm(epoch);
        mine(300);
        settlement.voidLost(node.id, SLOT);
        _busy();
        settlement.refund(node.id, SLOT, contents);
        _submitNext();
    }

    // ---- what is refused makes nothing final

    /// @notice A stranger's submit into a slot that is ready. Expected end: nothing has happened.
    function test_attack_a_stranger_makes_room() public {
        _ready();
        (Submission memory made, Claim[] memory claims) = _next();
        bytes32 before = _looks();
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotOperator.selector, node.id, node.owner));
        settlement.submit(made, claims);
        assertEq(_looks(), before);
    }

    /// @notice A submit that fails late, after its lanes were debited. Expected end: the last batch is as open as it was, and
    ///         anyone may still make it final.
    function test_attack_a_submit_that_reverts_makes_a_batch_final() public {
        _ready();
        (Submission memory made, Claim[] memory claims) = _next();
        made.priceSum += 1;
        bytes32 before = _looks();
        vm.prank(node.id);
        vm.expectRevert(ISettlement.SumMismatch.selector);
        settlement.submit(made, claims);
        assertEq(_looks(), before);
        assertEq(uint8(stateOf(node.id, SLOT)), uint8(BatchState.Pending));
        settlement.finalize(node.id, SLOT);
    }

    function test_a_pause_stops_the_next_batch_and_not_the_last() public {
        _ready();
        uint40 until = uint40(vm.getBlockTimestamp()) + 1 hours;
        vm.prank(address(guardian));
        stakes.pauseIntake(until);
        _refused(abi.encodeWithSelector(IIntake.IntakePaused.selector, until));
        settlement.finalize(node.id, SLOT);
    }

    /// @notice Anybody's finalize comes first. Expected end: the submit that counted on making room finds it made.
    function test_attack_a_finalize_before_the_submit() public {
        _ready();
        settlement.finalize(node.id, SLOT);
        _submitNext();
        assertEq(settlement.bookOf(node.id).openBatches, 1);
    }
}
