// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {BatchState, Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";
import {CaseState, CaseView, Seat, SeatState} from "../../contracts/types/CaseTypes.sol";

import {Fixture} from "./Fixture.sol";

contract ConveneTest is Fixture {
    Node private node;
    Client private one;

    function setUp() public override {
        super.setUp();
        node = registered("node", 10_000 * VCN);
        one = client("client", 1_000 * VCN);
        openLane(one, node.id, 500 * VCN);
    }

    function _isSeated(bytes32 caseId, address who) private view returns (bool) {
        Seat[] memory seats = court.seatsOf(caseId);
        for (uint256 i; i < seats.length; ++i) {
            if (seats[i].node == who) return true;
        }
        return false;
    }

    function test_three_verifiers_fill_three_seats() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 7, 4, 40 * VCN);
        bytes32 caseId = convened(node.id, 7, contents);
        assertEq(caseId, settlement.batchIdOf(node.id, 7));
        CaseView memory shown = court.caseOf(caseId);
        assertEq(shown.node, node.id);
        assertEq(shown.slot, 7);
        assertEq(shown.classId, CLASS);
        assertEq(shown.round, 0);
        assertEq(uint8(shown.state), uint8(CaseState.Open));
        assertEq(shown.seatsWanted, 3);
        assertEq(shown.seatCount, 3);
        assertEq(shown.drawnCount, 4);
        Seat[] memory seats = court.seatsOf(caseId);
        assertTrue(seats[0].node != seats[1].node && seats[1].node != seats[2].node && seats[0].node != seats[2].node);
        assertEq(uint8(seats[2].state), uint8(SeatState.Drawn));
        assertEq(uint8(stateOf(node.id, 7)), uint8(BatchState.InCourt));
    }

    function test_one_seat_below_the_courts_value() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 1, 1 * VCN - 1);
        assertEq(court.seatsOf(convened(node.id, 0, contents)).length, 1);
        contents = submitted(one, node.id, 1, 1, 1 * VCN);
        assertEq(court.seatsOf(convened(node.id, 1, contents)).length, 3);
    }

    function test_the_drawn_value_counts_not_the_whole_batch() public {
        bench(3);
        graduate(node);
        Contents memory contents = submitted(one, node.id, 0, 5, 4.5 ether);
        sealDrawing(node.id, 0, 1_000, 1);
        assertEq(court.seatsOf(court.convene(node.id, 0, contents)).length, 1, "one leaf of 0.9 is at stake");
    }

    function test_preview_is_what_convene_does() public {
        bench(5);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        seal(node.id, 0);
        address[] memory foreseen = court.previewSeats(node.id, 0, contents);
        bytes32 caseId = court.convene(node.id, 0, contents);
        for (uint256 i; i < 3; ++i) {
            assertEq(court.seatsOf(caseId)[i].node, foreseen[i]);
        }
    }

    function test_the_node_never_judges_itself() public {
        bench(1);
        vm.prank(node.id);
        court.joinVerifiers(node.id, CLASS);
        mine(1);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        bytes32 caseId = convened(node.id, 0, contents);
        assertEq(court.seatsOf(caseId).length, 1);
        assertFalse(_isSeated(caseId, node.id));
    }

    function test_nor_does_another_node_of_its_owner() public {
        bench(1);
        Node memory twin = makeNode("twin");
        twin.owner = node.owner;
        fundOwner(twin, 5_000 * VCN);
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(twin, node.owner, deadline);
        vm.prank(node.owner);
        stakes.register(twin.id, address(0), 5_000 * VCN, 2, deadline, consent);
        vm.prank(twin.id);
        court.joinVerifiers(twin.id, CLASS);
        mine(1);
        bytes32 caseId = convened(node.id, 0, submitted(one, node.id, 0, 4, 40 * VCN));
        assertEq(court.seatsOf(caseId).length, 1);
        assertFalse(_isSeated(caseId, twin.id));
    }

    function test_a_drawn_client_does_not_judge_its_own_job() public {
        Node[] memory verifiers = bench(2);
        Client memory judge_ = Client(verifiers[0].owner, 0, one.signer, one.signerKey);
        coin.approve(address(settlement), 100 * VCN);
        settlement.depositFor(judge_.id, 100 * VCN);
        openLane(judge_, node.id, 100 * VCN);
        bytes32 caseId = convened(node.id, 0, submitted(judge_, node.id, 0, 4, 40 * VCN));
        assertEq(court.seatsOf(caseId).length, 1);
        assertFalse(_isSeated(caseId, verifiers[0].id));
    }

    function test_a_drawn_signer_does_not_either() public {
        Node[] memory verifiers = bench(2);
        Client memory signed = Client(one.id, one.key, verifiers[1].id, verifiers[1].key);
        openLane(signed, node.id, 100 * VCN);
        bytes32 caseId = convened(node.id, 0, submitted(signed, node.id, 0, 4, 40 * VCN));
        assertFalse(_isSeated(caseId, verifiers[1].id));
    }

    /// @dev Leaves 0..3 are of a client that owns verifier 0, leaves 4..9 of another; `leaf` is the one drawn.
    function _drawnFromTwo(uint256 leaf) private returns (bytes32 caseId, address judge_) {
        Node[] memory verifiers = bench(3);
        graduate(node);
        judge_ = verifiers[0].id;
        Client memory owner = Client(verifiers[0].owner, 0, one.signer, one.signerKey);
        coin.approve(address(settlement), 100 * VCN);
        settlement.depositFor(owner.id, 100 * VCN);
        openLane(owner, node.id, 100 * VCN);
        Claim[] memory claims = new Claim[](2);
        claims[0] = claimOf(owner, node.id, 4, 40 * VCN, 0);
        Client memory other = client("other client", 100 * VCN);
        openLane(other, node.id, 100 * VCN);
        claims[1] = claimOf(other, node.id, 6, 60 * VCN, 0);
        Contents memory contents = submit(submissionOf(node.id, 0, claims, 10), claims);
        sealDrawingLeaf(node.id, 0, 1_000, leaf);
        caseId = court.convene(node.id, 0, contents);
    }

    function test_the_last_leaf_of_a_client_makes_it_a_party() public {
        (bytes32 caseId, address judge_) = _drawnFromTwo(3);
        assertFalse(_isSeated(caseId, judge_));
    }

    function test_a_client_whose_leaf_is_not_drawn_may_judge() public {
        (bytes32 caseId, address judge_) = _drawnFromTwo(4);
        assertTrue(_isSeated(caseId, judge_));
    }

    function test_every_client_of_a_batch_that_is_drawn_whole_is_a_party() public {
        Node[] memory verifiers = bench(3);
        Client memory owner = Client(verifiers[0].owner, 0, one.signer, one.signerKey);
        coin.approve(address(settlement), 100 * VCN);
        settlement.depositFor(owner.id, 100 * VCN);
        openLane(owner, node.id, 100 * VCN);
        Claim[] memory claims = new Claim[](2);
        claims[0] = claimOf(one, node.id, 4, 40 * VCN, 0);
        claims[1] = claimOf(owner, node.id, 1, 10 * VCN, 0);
        bytes32 caseId = convened(node.id, 0, submit(submissionOf(node.id, 0, claims, 5), claims));
        assertEq(court.seatsOf(caseId).length, 2);
        assertFalse(_isSeated(caseId, verifiers[0].id));
    }

    function test_who_joined_after_the_submission_does_not_sit() public {
        bench(2);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        Node memory late = verifier("late");
        seal(node.id, 0);
        bytes32 caseId = court.convene(node.id, 0, contents);
        assertEq(court.seatsOf(caseId).length, 2);
        assertFalse(_isSeated(caseId, late.id));
    }

    function test_joining_after_the_seed_does_not_shift_the_draw() public {
        bench(5);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        seal(node.id, 0);
        address[] memory before = court.previewSeats(node.id, 0, contents);
        verifier("late");
        assertEq(court.previewSeats(node.id, 0, contents), before);
    }

    function test_who_left_before_does_not_sit_and_who_leaves_after_still_does() public {
        Node[] memory verifiers = bench(3);
        vm.prank(verifiers[0].id);
        court.leaveVerifiers(verifiers[0].id, CLASS);
        mine(1);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        mine(1);
        vm.prank(verifiers[1].id);
        court.leaveVerifiers(verifiers[1].id, CLASS);
        bytes32 caseId = convened(node.id, 0, contents);
        assertEq(court.seatsOf(caseId).length, 2);
        assertFalse(_isSeated(caseId, verifiers[0].id));
        assertTrue(_isSeated(caseId, verifiers[1].id));
    }

    function test_nobody_to_draw() public {
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        seal(node.id, 0);
        vm.expectRevert(ICourt.NoSeats.selector);
        court.convene(node.id, 0, contents);
    }

    function test_not_before_the_seed() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NoSeed.selector, epoch));
        court.convene(node.id, 0, contents);
    }

    function test_not_without_a_drawn_leaf() public {
        bench(3);
        graduate(node);
        Contents memory contents = submitted(one, node.id, 0, 5, 50 * VCN);
        sealDrawing(node.id, 0, 1_000, 0);
        vm.expectRevert(ICourt.NotDrawn.selector);
        court.convene(node.id, 0, contents);
    }

    function test_once_and_only_with_its_contents() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        seal(node.id, 0);
        uint96 maxLeaf = contents.maxLeaf;
        contents.maxLeaf = 1;
        vm.expectRevert(ICourt.WrongContents.selector);
        court.convene(node.id, 0, contents);
        contents.maxLeaf = maxLeaf;
        court.convene(node.id, 0, contents);
        vm.expectRevert(abi.encodeWithSelector(ICourt.WrongState.selector, BatchState.InCourt));
        court.convene(node.id, 0, contents);
    }

    function test_not_after_it_starved() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        uint256 until = vm.getBlockTimestamp() + profile.starvedSeconds;
        seal(node.id, 0);
        vm.warp(until + 1);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooLate.selector, until));
        court.convene(node.id, 0, contents);
        vm.warp(until);
        court.convene(node.id, 0, contents);
    }

    function test_the_drawn_leaves_stay_when_the_node_is_jailed_later() public {
        bench(3);
        graduate(node);
        Contents memory contents = submitted(one, node.id, 0, 20, 20 * VCN);
        seal(node.id, 0);
        bytes32 caseId = court.convene(node.id, 0, contents);
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        assertEq(settlement.sampledLeaves(node.id, 0).length, 2);
        assertEq(court.caseOf(caseId).drawnCount, 2);
    }

    function test_an_unreceipted_batch_is_drawn_whole() public {
        bench(3);
        graduate(node);
        Claim[] memory claims = claimsOf(one, node.id, 7, 7 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 7);
        made.flags = UNRECEIPTED;
        made.mineBy = uint40(block.timestamp);
        Contents memory contents = submit(made, claims);
        assertEq(court.caseOf(convened(node.id, 0, contents)).drawnCount, 7);
    }
}
