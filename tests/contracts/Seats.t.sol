// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {Contents} from "../../contracts/types/BatchTypes.sol";
import {Seat, SeatState} from "../../contracts/types/CaseTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice commitSeat, revealSeat, replaceSeat.
contract SeatsTest is Fixture {
    Node private node;
    Client private one;
    bytes32 private caseId;
    Contents private contents;

    function setUp() public override {
        super.setUp();
        node = registered("node", 10_000 * VCN);
        one = client("client", 1_000 * VCN);
        openLane(one, node.id, 500 * VCN);
    }

    /// @dev A case of three seats out of `verifiers` on the list.
    function _case(uint256 verifiers) private returns (Contents memory made) {
        bench(verifiers);
        made = submitted(one, node.id, 0, 4, 40 * VCN);
        caseId = convened(node.id, 0, made);
    }

    function _seat(uint8 seat) private view returns (Seat memory) {
        return court.seatsOf(caseId)[seat];
    }

    function _reveal(uint8 seat, uint16[] memory scores, bytes32 digest, bytes32 salt) private {
        vm.prank(_seat(seat).node);
        court.revealSeat(caseId, seat, digest, scores, salt, evidenceOf[seat]);
    }

    function _commitAll() private {
        for (uint8 seat; seat < 3; ++seat) {
            commitSeat(caseId, seat);
        }
    }

    // ---- commit

    function test_a_seat_commits_once() public {
        _case(3);
        address sitting = _seat(1).node;
        bytes32 bound = commitment(caseId, 1);
        vm.startPrank(sitting);
        vm.expectRevert(ICourt.ZeroCommitment.selector);
        court.commitSeat(caseId, 1, 0);
        vm.expectEmit(address(court));
        emit ICourt.SeatCommitted(caseId, 1, sitting, bound);
        court.commitSeat(caseId, 1, bound);
        vm.expectRevert(abi.encodeWithSelector(ICourt.AlreadyCommitted.selector, caseId, 1));
        court.commitSeat(caseId, 1, bound);
    }

    function test_only_its_own_seat() public {
        _case(3);
        address other = _seat(0).node;
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotSeated.selector, caseId, 1, other));
        court.commitSeat(caseId, 1, bytes32(uint256(1)));
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotSeated.selector, caseId, 9, other));
        court.commitSeat(caseId, 9, bytes32(uint256(1)));
    }

    function test_no_such_case() public {
        vm.expectRevert(abi.encodeWithSelector(ICourt.NoSuchCase.selector, bytes32(uint256(5))));
        court.commitSeat(bytes32(uint256(5)), 0, bytes32(uint256(1)));
    }

    function test_late_is_fine_until_replaced() public {
        _case(3);
        pass(profile.seatSeconds + 30);
        commitSeat(caseId, 0);
        assertEq(uint8(_seat(0).state), uint8(SeatState.Committed));
    }

    // ---- reveal

    function test_a_reveal_shows_scores_and_keeps_the_lowest() public {
        _case(3);
        evidenceOf[2] = -1_234;
        _commitAll();
        uint16[] memory scores = scoresOf(caseId, 9_000);
        vm.expectEmit(address(court));
        emit ICourt.SeatRevealed(caseId, 2, _seat(2).node, scores, digestOf(2), -1_234);
        _reveal(2, scores, digestOf(2), saltOf(2));
        assertEq(_seat(2).score, 9_000);
        assertEq(_seat(2).llrMillinats, -1_234);
        assertEq(_seat(0).llrMillinats, 0, "nothing before it reveals");
        assertEq(uint8(_seat(2).state), uint8(SeatState.Revealed));
    }

    function test_evidence_is_bound_before_the_fingerprint_is_seen() public {
        _case(3);
        evidenceOf[2] = 500;
        _commitAll();
        uint16[] memory scores = scoresOf(caseId, 9_000);
        vm.prank(_seat(2).node);
        vm.expectRevert(abi.encodeWithSelector(ICourt.CommitmentMismatch.selector, caseId, 2));
        court.revealSeat(caseId, 2, digestOf(2), scores, saltOf(2), 501);
        _reveal(2, scores, digestOf(2), saltOf(2));
    }

    function test_nobody_reveals_before_all_have_committed() public {
        _case(3);
        commitSeat(caseId, 0);
        commitSeat(caseId, 2);
        uint16[] memory scores = scoresOf(caseId, 10_000);
        address sitting = _seat(0).node;
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SeatsMissing.selector, caseId, 1));
        court.revealSeat(caseId, 0, digestOf(0), scores, saltOf(0), 0);
    }

    function test_no_reveal_without_a_commitment_and_only_one() public {
        _case(3);
        uint16[] memory scores = scoresOf(caseId, 10_000);
        address sitting = _seat(0).node;
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotCommitted.selector, caseId, 0));
        court.revealSeat(caseId, 0, digestOf(0), scores, saltOf(0), 0);
        _commitAll();
        revealSeat(caseId, 0, 10_000);
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotCommitted.selector, caseId, 0));
        court.revealSeat(caseId, 0, digestOf(0), scores, saltOf(0), 0);
    }

    function test_a_reveal_is_what_was_committed() public {
        _case(3);
        _commitAll();
        uint16[] memory scores = scoresOf(caseId, 10_000);
        address sitting = _seat(1).node;
        vm.startPrank(sitting);
        bytes memory refused = abi.encodeWithSelector(ICourt.CommitmentMismatch.selector, caseId, 1);
        vm.expectRevert(refused);
        court.revealSeat(caseId, 1, digestOf(0), scores, saltOf(1), 0);
        vm.expectRevert(refused);
        court.revealSeat(caseId, 1, digestOf(1), scores, saltOf(0), 0);
    }

    function test_a_copied_commitment_opens_nothing() public {
        _case(3);
        commitSeat(caseId, 0);
        bytes32 copied = commitment(caseId, 0);
        vm.prank(_seat(1).node);
        court.commitSeat(caseId, 1, copied);
        commitSeat(caseId, 2);
        revealSeat(caseId, 0, 10_000);
        uint16[] memory scores = scoresOf(caseId, 10_000);
        address sitting = _seat(1).node;
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.CommitmentMismatch.selector, caseId, 1));
        court.revealSeat(caseId, 1, digestOf(0), scores, saltOf(0), 0);
    }

    function test_one_score_a_drawn_leaf() public {
        _case(3);
        _commitAll();
        address sitting = _seat(0).node;
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.WrongScoreCount.selector, 3, 4));
        court.revealSeat(caseId, 0, digestOf(0), new uint16[](3), saltOf(0), 0);
    }

    function test_scores_end_at_10000() public {
        _case(3);
        _commitAll();
        uint16[] memory scores = scoresOf(caseId, 10_001);
        address sitting = _seat(0).node;
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.ScoreOutOfRange.selector, 10_001));
        court.revealSeat(caseId, 0, digestOf(0), scores, saltOf(0), 0);
    }

    // ---- replace

    function test_a_seat_that_never_committed_is_replaced() public {
        Contents memory made = _case(4);
        address silent = _seat(0).node;
        commitSeat(caseId, 1);
        uint256 until = vm.getBlockTimestamp() + profile.seatSeconds;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SeatStillHasTime.selector, until));
        court.replaceSeat(caseId, 0, made);
        vm.warp(until + 1);
        vm.expectEmit(address(court));
        emit ICourt.SeatReplaced(caseId, 0, silent);
        court.replaceSeat(caseId, 0, made);
        assertEq(uint8(_seat(0).state), uint8(SeatState.Silent));
        assertEq(uint8(_seat(3).state), uint8(SeatState.Drawn));
        assertEq(stakes.nodeOf(silent).activeStake, 4_975 * VCN, "a no-show loses half a percent");
        assertEq(stakes.nodeOf(silent).penaltyTenths, 50, "and is light");
        for (uint8 seat; seat < 3; ++seat) {
            assertTrue(_seat(3).node != _seat(seat).node, "never one who sat before");
        }
    }

    /// @notice Attack: a node that shows nothing to any seat has no seat fined.
    function test_nobody_is_fined_where_nobody_could_commit() public {
        Contents memory made = _case(6);
        pass(profile.seatSeconds + 1);
        for (uint8 seat; seat < 3; ++seat) {
            court.replaceSeat(caseId, seat, made);
            assertEq(stakes.nodeOf(_seat(seat).node).activeStake, 5_000 * VCN);
            assertEq(stakes.nodeOf(_seat(seat).node).penaltyTenths, 50);
        }
    }

    function test_who_has_committed_and_does_not_reveal_is_fined() public {
        Contents memory made = _case(4);
        _commitAll();
        pass(profile.seatSeconds + 1);
        address silent = _seat(2).node;
        court.replaceSeat(caseId, 2, made);
        assertEq(stakes.nodeOf(silent).activeStake, 4_975 * VCN);
    }

    function test_a_replaced_seat_is_closed() public {
        Contents memory made = _case(4);
        address silent = _seat(0).node;
        pass(profile.seatSeconds + 1);
        court.replaceSeat(caseId, 0, made);
        vm.prank(silent);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotSeated.selector, caseId, 0, silent));
        court.commitSeat(caseId, 0, bytes32(uint256(1)));
        vm.expectRevert(abi.encodeWithSelector(ICourt.SeatNotSilent.selector, caseId, 0));
        court.replaceSeat(caseId, 0, made);
    }

    function test_who_has_committed_waits_for_the_others_turn() public {
        Contents memory made = _case(4);
        commitSeat(caseId, 0);
        pass(profile.seatSeconds + 1);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SeatNotSilent.selector, caseId, 0));
        court.replaceSeat(caseId, 0, made);
        court.replaceSeat(caseId, 1, made);
        assertEq(uint8(_seat(1).state), uint8(SeatState.Silent));
    }

    function test_the_turn_to_reveal_starts_with_the_last_commitment() public {
        Contents memory made = _case(4);
        commitSeat(caseId, 0);
        commitSeat(caseId, 1);
        pass(profile.seatSeconds);
        commitSeat(caseId, 2);
        uint256 until = vm.getBlockTimestamp() + profile.seatSeconds;
        revealSeat(caseId, 1, 10_000);
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SeatStillHasTime.selector, until));
        court.replaceSeat(caseId, 0, made);
        vm.warp(until + 1);
        court.replaceSeat(caseId, 0, made);
        assertEq(uint8(_seat(0).state), uint8(SeatState.Silent));
        vm.expectRevert(abi.encodeWithSelector(ICourt.SeatNotSilent.selector, caseId, 1));
        court.replaceSeat(caseId, 1, made);
    }

    function test_a_replaced_seat_without_successor_just_stays_empty() public {
        Contents memory made = _case(3);
        commitSeat(caseId, 1);
        commitSeat(caseId, 2);
        pass(profile.seatSeconds + 1);
        court.replaceSeat(caseId, 0, made);
        assertEq(court.seatsOf(caseId).length, 3);
        revealSeat(caseId, 1, 10_000);
        revealSeat(caseId, 2, 10_000);
        court.resolve(caseId, made);
    }

    function test_replacing_needs_the_contents() public {
        Contents memory made = _case(4);
        pass(profile.seatSeconds + 1);
        made.maxLeaf += 1;
        vm.expectRevert(ICourt.WrongContents.selector);
        court.replaceSeat(caseId, 0, made);
    }

    // ---- step down

    function _abstain(uint8 seat, Contents memory made) private {
        vm.prank(_seat(seat).node);
        court.abstain(caseId, seat, made);
    }

    function test_a_seat_steps_down_in_time_for_free() public {
        Contents memory made = _case(4);
        address leaving = _seat(0).node;
        pass(profile.seatSeconds / 4);
        vm.expectEmit(address(court));
        emit ICourt.SeatAbstained(caseId, 0, leaving);
        vm.expectEmit(address(court));
        emit ICourt.SeatReplaced(caseId, 0, leaving);
        _abstain(0, made);
        assertEq(uint8(_seat(0).state), uint8(SeatState.Silent));
        assertEq(uint8(_seat(3).state), uint8(SeatState.Drawn));
        assertTrue(_seat(3).node != leaving);
        assertEq(stakes.nodeOf(leaving).activeStake, 5_000 * VCN);
        assertEq(stakes.nodeOf(leaving).penaltyTenths, 0);
        vm.prank(leaving);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotSeated.selector, caseId, 0, leaving));
        court.commitSeat(caseId, 0, bytes32(uint256(1)));
    }

    function test_after_a_quarter_of_its_turn_a_seat_stays() public {
        Contents memory made = _case(4);
        uint256 until = vm.getBlockTimestamp() + profile.seatSeconds / 4;
        vm.warp(until + 1);
        address sitting = _seat(0).node;
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooLateToAbstain.selector, until));
        court.abstain(caseId, 0, made);
    }

    function test_who_has_committed_stays() public {
        Contents memory made = _case(4);
        commitSeat(caseId, 0);
        address sitting = _seat(0).node;
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.AlreadyCommitted.selector, caseId, 0));
        court.abstain(caseId, 0, made);
    }

    function test_once_a_day() public {
        Contents memory made = _case(3);
        address leaving = _seat(0).node;
        _abstain(0, made);
        pass(1 days - 1);
        made = submitted(one, node.id, 1, 4, 40 * VCN);
        caseId = convened(node.id, 1, made);
        uint8 seat;
        while (_seat(seat).node != leaving) ++seat;
        uint256 state = vm.snapshotState();
        vm.warp(vm.getBlockTimestamp() / 1 days * 1 days - 1);
        vm.prank(leaving);
        vm.expectRevert(abi.encodeWithSelector(ICourt.AbstainedToday.selector, leaving));
        court.abstain(caseId, seat, made);
        vm.revertToState(state);
        _abstain(seat, made);
    }

    function test_only_its_own_seat_steps_down() public {
        Contents memory made = _case(4);
        address other = _seat(1).node;
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotSeated.selector, caseId, 0, other));
        court.abstain(caseId, 0, made);
        made.maxLeaf += 1;
        address sitting = _seat(0).node;
        vm.prank(sitting);
        vm.expectRevert(ICourt.WrongContents.selector);
        court.abstain(caseId, 0, made);
    }

    function test_a_seat_shows_its_node_always_and_its_commitment_until_it_is_opened() public {
        Contents memory made = _case(5);
        Seat memory drawn = court.seatsOf(caseId)[0];
        assertEq(drawn.commitment, 0);
        commitSeat(caseId, 0);
        Seat memory bound_ = court.seatsOf(caseId)[0];
        assertEq(bound_.node, drawn.node);
        assertEq(bound_.commitment, bytes32(bytes21(commitment(caseId, 0))));
        commitSeat(caseId, 1);
        commitSeat(caseId, 2);
        revealSeat(caseId, 0, 9_000);
        Seat memory shown = court.seatsOf(caseId)[0];
        assertEq(shown.node, drawn.node);
        assertEq(shown.commitment, 0);
        assertEq(shown.score, 9_000);
        // Silent after a commitment: whose seat it was is known.
        pass(profile.seatSeconds + 1);
        address silent = court.seatsOf(caseId)[1].node;
        court.replaceSeat(caseId, 1, made);
        assertEq(court.seatsOf(caseId)[1].node, silent);
    }
}
