// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {BatchState, Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";
import {CaseState, Seat, Verdict} from "../../contracts/types/CaseTypes.sol";
import {NodeState, NodeView} from "../../contracts/types/NodeTypes.sol";

import {Fixture} from "./Fixture.sol";
import {Profiles} from "./Profiles.sol";

/// @notice resolve: what scores lead to.
contract ResolveTest is Fixture {
    Node private node;
    Client private one;
    Contents private none;

    function setUp() public override {
        super.setUp();
        _network();
    }

    function _network() private {
        node = registered("node", 10_000 * VCN);
        one = client("client", 1_000 * VCN);
        openLane(one, node.id, 500 * VCN);
    }

    function _big(uint8 flags) private returns (bytes32 caseId, Contents memory contents) {
        Claim[] memory claims = claimsOf(one, node.id, 2, 40 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 2);
        made.flags = flags;
        contents = submit(made, claims);
        caseId = convened(node.id, 0, contents);
    }

    function _small() private returns (bytes32 caseId, Contents memory contents) {
        contents = submitted(one, node.id, 0, 1, 0.5 ether);
        caseId = convened(node.id, 0, contents);
    }

    function _resolvedThree(uint16 a, uint16 b, uint16 c) private returns (Verdict) {
        (bytes32 caseId, Contents memory contents) = _big(0);
        judge(caseId, three(a, b, c));
        return court.resolve(caseId, contents);
    }

    function _assertVerdict(Verdict got, Verdict expected) private pure {
        assertEq(uint8(got), uint8(expected));
    }

    // ---- three seats

    function test_9501_passes() public {
        bench(3);
        _assertVerdict(_resolvedThree(9_501, 9_501, 9_501), Verdict.Pass);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Passed));
    }

    function test_9500_is_reviewed() public {
        bench(3);
        uint16 before = stakes.scoreOf(node.id);
        _assertVerdict(_resolvedThree(9_500, 9_500, 9_500), Verdict.Review);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
        assertEq(shown.activeStake, 10_000 * VCN, "no slash");
        assertEq(shown.penaltyTenths, 50);
        assertEq(shown.samplesLeft, 20);
        assertEq(uint8(shown.state), uint8(NodeState.Active));
        assertLt(shown.scoreHundredths, before - 499);
    }

    function test_8501_is_reviewed() public {
        bench(3);
        _assertVerdict(_resolvedThree(8_501, 8_501, 8_501), Verdict.Review);
    }

    function test_8500_is_severe() public {
        bench(3);
        (bytes32 caseId, Contents memory contents) = _big(0);
        judge(caseId, three(8_500, 8_500, 8_500));
        vm.expectEmit(address(court));
        emit ICourt.CaseResolved(caseId, node.id, 0, Verdict.Severe, 8_500);
        _assertVerdict(court.resolve(caseId, contents), Verdict.Severe);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.activeStake, 5_000 * VCN);
        assertEq(shown.penaltyTenths, 300);
        assertEq(shown.total, 1);
        assertEq(uint8(shown.state), uint8(NodeState.Jailed));
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
    }

    function test_the_median_decides_in_any_order() public {
        bench(3);
        uint256 state = vm.snapshotState();
        uint16[3][6] memory orders = [
            [uint16(0), 9_000, 10_000],
            [uint16(0), 10_000, 9_000],
            [uint16(9_000), 0, 10_000],
            [uint16(9_000), 10_000, 0],
            [uint16(10_000), 0, 9_000],
            [uint16(10_000), 9_000, 0]
        ];
        for (uint256 i; i < 6; ++i) {
            _assertVerdict(_resolvedThree(orders[i][0], orders[i][1], orders[i][2]), Verdict.Review);
            vm.revertToState(state);
        }
    }

    function test_one_bribed_seat_of_three_changes_nothing() public {
        bench(3);
        _assertVerdict(_resolvedThree(10_000, 0, 0), Verdict.Severe);
    }

    function test_one_liar_of_three_changes_nothing() public {
        bench(3);
        _assertVerdict(_resolvedThree(10_000, 0, 10_000), Verdict.Pass);
    }

    // ---- one seat

    function test_one_seat_passes() public {
        bench(3);
        (bytes32 caseId,) = _small();
        commitSeat(caseId, 0);
        revealSeat(caseId, 0, 9_501);
        _assertVerdict(court.resolve(caseId, none), Verdict.Pass);
    }

    function test_one_seat_never_voids_it_seats_two_more() public {
        bench(3);
        (bytes32 caseId, Contents memory contents) = _small();
        commitSeat(caseId, 0);
        revealSeat(caseId, 0, 0);
        _assertVerdict(court.resolve(caseId, contents), Verdict.None);
        Seat[] memory seats = court.seatsOf(caseId);
        assertEq(seats.length, 3);
        assertEq(uint8(court.caseOf(caseId).state), uint8(CaseState.Open));
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotAllRevealed.selector, caseId));
        court.resolve(caseId, contents);
        for (uint8 seat = 1; seat < 3; ++seat) {
            commitSeat(caseId, seat);
        }
        for (uint8 seat = 1; seat < 3; ++seat) {
            revealSeat(caseId, seat, 10_000);
        }
        _assertVerdict(court.resolve(caseId, none), Verdict.Pass);
    }

    function test_growing_needs_the_contents() public {
        bench(3);
        (bytes32 caseId,) = _small();
        commitSeat(caseId, 0);
        revealSeat(caseId, 0, 0);
        vm.expectRevert(ICourt.WrongContents.selector);
        court.resolve(caseId, none);
    }

    function test_a_single_doubt_that_cannot_grow_jails_without_a_slash() public {
        bench(1);
        (bytes32 caseId, Contents memory contents) = _small();
        commitSeat(caseId, 0);
        revealSeat(caseId, 0, 0);
        _assertVerdict(court.resolve(caseId, contents), Verdict.Short);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.activeStake, 10_000 * VCN);
        assertEq(shown.penaltyTenths, 150);
        assertEq(uint8(shown.state), uint8(NodeState.Jailed));
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
    }

    function test_two_seats_must_both_pass() public {
        bench(2);
        uint256 state = vm.snapshotState();
        (bytes32 caseId, Contents memory contents) = _big(0);
        uint16[] memory scores = new uint16[](2);
        (scores[0], scores[1]) = (10_000, 9_501);
        judge(caseId, scores);
        _assertVerdict(court.resolve(caseId, contents), Verdict.Pass);
        vm.revertToState(state);
        (caseId, contents) = _big(0);
        scores[1] = 9_500;
        judge(caseId, scores);
        _assertVerdict(court.resolve(caseId, contents), Verdict.Short);
    }

    // ---- uncalibrated and shadow

    function test_an_uncalibrated_class_is_never_slashed() public {
        bench(3);
        (bytes32 caseId, Contents memory contents) = _big(UNCALIBRATED);
        judge(caseId, three(0, 0, 0));
        _assertVerdict(court.resolve(caseId, contents), Verdict.Review);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.activeStake, 10_000 * VCN);
        assertEq(shown.penaltyTenths, 50);
        assertEq(shown.total, 0, "-5 and nothing else");
        assertEq(uint8(shown.state), uint8(NodeState.Active));
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
    }

    function test_an_uncalibrated_doubt_that_cannot_grow_does_not_jail() public {
        bench(1);
        (bytes32 caseId, Contents memory contents) = _big(UNCALIBRATED);
        commitSeat(caseId, 0);
        revealSeat(caseId, 0, 0);
        _assertVerdict(court.resolve(caseId, contents), Verdict.Review);
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Active));
    }

    function test_shadow_mode_jails_and_does_not_slash() public {
        profile.slashBps = 0;
        deploy(profile);
        _network();
        bench(3);
        _assertVerdict(_resolvedThree(0, 0, 0), Verdict.Severe);
        assertEq(stakes.nodeOf(node.id).activeStake, 10_000 * VCN);
        assertTrue(stakes.isJailed(node.id));
    }

    // ---- around it

    function test_not_before_every_seat_has_revealed() public {
        bench(3);
        (bytes32 caseId, Contents memory contents) = _big(0);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotAllRevealed.selector, caseId));
        court.resolve(caseId, contents);
        for (uint8 seat; seat < 3; ++seat) {
            commitSeat(caseId, seat);
        }
        revealSeat(caseId, 0, 10_000);
        revealSeat(caseId, 1, 10_000);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotAllRevealed.selector, caseId));
        court.resolve(caseId, contents);
    }

    function test_once() public {
        bench(3);
        _resolvedThree(10_000, 10_000, 10_000);
        bytes32 caseId = settlement.batchIdOf(node.id, 0);
        vm.expectRevert(abi.encodeWithSelector(ICourt.CaseClosed.selector, caseId));
        court.resolve(caseId, none);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NoSuchCase.selector, bytes32(uint256(3))));
        court.resolve(bytes32(uint256(3)), none);
    }

    function test_a_jailed_node_leaves_the_lists() public {
        bench(3);
        vm.startPrank(node.id);
        court.joinVerifiers(node.id, 1);
        court.joinVerifiers(node.id, 2);
        vm.stopPrank();
        mine(1);
        _resolvedThree(0, 0, 0);
        assertEq(court.verifiersOf(1)[3].untilBlock, vm.getBlockNumber());
        assertEq(court.verifiersOf(2)[0].untilBlock, vm.getBlockNumber());
    }

    function test_each_case_slashes_once_what_is_left() public {
        bench(3);
        Contents memory first = submitted(one, node.id, 0, 2, 40 * VCN);
        Contents memory second = submitted(one, node.id, 1, 2, 40 * VCN);
        bytes32 caseId = convened(node.id, 0, first);
        judge(caseId, three(0, 0, 0));
        court.resolve(caseId, first);
        caseId = convened(node.id, 1, second);
        judge(caseId, three(0, 0, 0));
        court.resolve(caseId, second);
        assertEq(stakes.nodeOf(node.id).activeStake, 2_500 * VCN);
    }

    function test_the_way_back_after_a_severe_verdict() public {
        bench(3);
        (bytes32 caseId, Contents memory contents) = _big(0);
        judge(caseId, three(0, 0, 0));
        court.resolve(caseId, contents);
        settlement.refund(node.id, 0, contents);
        pass(profile.jailSeconds);
        vm.prank(node.owner);
        stakes.unjail(node.id);
        submitted(one, node.id, 0, 2, 40 * VCN);
        assertEq(settlement.batchOf(node.id, 0).ratePercent, 100);
    }
}
