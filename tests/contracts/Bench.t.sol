// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "forge-std/Vm.sol";

import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {BatchState, Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice Who and how many sit in a case, and what is told when it ends.
contract BenchTest is Fixture {
    Node internal node;
    Client internal one;

    function setUp() public override {
        super.setUp();
        node = registered("node", 20_000 * VCN);
        one = client("client", 100 * VCN);
        openLane(one, node.id, 100 * VCN);
    }

    function test_a_silent_seat_makes_room_for_exactly_one() public {
        bench(6);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        bytes32 caseId = convened(node.id, 0, contents);
        assertEq(court.seatsOf(caseId).length, 3);
        pass(profile.seatSeconds + 1);
        court.replaceSeat(caseId, 0, contents);
        assertEq(court.seatsOf(caseId).length, 4);
        court.replaceSeat(caseId, 1, contents);
        assertEq(court.seatsOf(caseId).length, 5);
    }

    function test_a_batch_is_worth_no_more_than_it_charges() public {
        bench(3);
        Claim[] memory claims = claimsOf(one, node.id, 10, profile.courtValue - 1, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 10);
        // All ten leaves are drawn; ten times the largest would be more than the court's value.
        made.maxLeaf = profile.courtValue / 2;
        Contents memory contents = submit(made, claims);
        assertEq(court.seatsOf(convened(node.id, 0, contents)).length, 1);
    }

    function test_the_largest_leaf_counts_once_for_each_that_is_drawn() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 2, 2 * (profile.courtValue - 1));
        assertEq(court.seatsOf(convened(node.id, 0, contents)).length, 3, "two leaves just below are above");
    }

    function test_who_leaves_in_the_block_of_a_batch_still_sits() public {
        Node[] memory verifiers = bench(1);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        vm.prank(verifiers[0].id);
        court.leaveVerifiers(verifiers[0].id, CLASS);
        assertEq(court.seatsOf(convened(node.id, 0, contents))[0].node, verifiers[0].id);
    }

    function test_a_node_that_left_the_list_before_can_be_condemned() public {
        vm.prank(node.id);
        court.joinVerifiers(node.id, CLASS);
        vm.prank(node.id);
        court.leaveVerifiers(node.id, CLASS);
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        bytes32 caseId = convened(node.id, 0, contents);
        judge(caseId, three(0, 0, 0));
        court.resolve(caseId, contents);
        assertTrue(stakes.isJailed(node.id));
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
    }

    function test_what_a_case_decides_is_told() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        bytes32 caseId = convened(node.id, 0, contents);
        judge(caseId, three(10_000, 10_000, 10_000));
        vm.expectEmit(address(settlement));
        emit ISettlement.BatchPassed(node.id, 0, caseId);
        court.resolve(caseId, contents);
    }

    function test_a_slash_tells_what_is_left() public {
        vm.prank(node.owner);
        stakes.unbond(node.id, 1_000 * VCN);
        uint40 unlockAt = stakes.nodeOf(node.id).unlockAt;
        vm.expectEmit(address(stakes));
        emit IStakeManager.StakeChanged(node.id, 9_500 * VCN, 500 * VCN, unlockAt);
        vm.prank(address(court));
        stakes.slash(node.id, 5_000, "case");
    }

    function test_seats_of_a_batch_without_pay_are_paid_nothing() public {
        bench(1);
        Contents memory contents = submitted(one, node.id, 0, 1, 0);
        bytes32 caseId = convened(node.id, 0, contents);
        commitSeat(caseId, 0);
        revealSeat(caseId, 0, 10_000);
        vm.recordLogs();
        court.resolve(caseId, contents);
        Vm.Log[] memory logs = vm.getRecordedLogs();
        assertGt(logs.length, 0);
        for (uint256 i; i < logs.length; ++i) {
            assertTrue(logs[i].topics[0] != ISettlement.SeatPaid.selector, "no payment of nothing is told");
        }
    }

    /// @dev Among sixty places that were given up, four verifiers are rarely met: three take more tries than one seat has.
    function test_a_replacement_goes_on_where_the_draw_stopped() public {
        Node[] memory live = bench(4);
        for (uint256 i; i < 60; ++i) {
            vm.startPrank(live[0].id);
            court.leaveVerifiers(live[0].id, CLASS);
            court.joinVerifiers(live[0].id, CLASS);
            vm.stopPrank();
        }
        mine(1);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        (uint256 epoch, uint256 seedBlock) = toSeed(node.id, 0);
        uint256 before = vm.snapshotState();
        uint256 found;
        for (uint256 salt; salt < 20; ++salt) {
            vm.setBlockhash(seedBlock, keccak256(abi.encode(salt)));
            beacon.seal(epoch);
            bytes32 caseId = court.convene(node.id, 0, contents);
            if (court.seatsOf(caseId).length == 3 && court.caseOf(caseId).nextTry >= 64) {
                pass(profile.seatSeconds + 1);
                court.replaceSeat(caseId, 0, contents);
                if (court.seatsOf(caseId).length == 4) ++found;
            }
            vm.revertToState(before);
        }
        assertGt(found, 0, "the fourth was in reach of no draw");
    }
}
