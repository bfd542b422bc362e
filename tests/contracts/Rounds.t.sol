// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {MedianLib} from "../../contracts/libraries/MedianLib.sol";
import {SeatLib} from "../../contracts/libraries/SeatLib.sol";
import {BatchState} from "../../contracts/types/BatchTypes.sol";
import {CaseState, CaseView, Seat, SeatState, Verdict} from "../../contracts/types/CaseTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";

/// @notice How a case grows to its second round, and what that round decides.
contract RoundsTest is CourtFixture {
    function _quarrel(uint256 verifiers) private {
        openCase(verifiers);
        fraudKind = 0;
        liar(1);
        sit();
    }

    function _sitters() private view returns (uint256) {
        CaseView memory shown = court.caseOf(caseId);
        return shown.seatCount - shown.firstSeat;
    }

    // ---- when

    function test_a_spread_of_1000_stands_and_1001_grows() public {
        openCase(10);
        uint256 state = vm.snapshotState();
        judge(caseId, three(10_000, 10_000, 9_000));
        assertVerdict(resolve(), Verdict.Pass);
        vm.revertToState(state);
        judge(caseId, three(10_000, 10_000, 8_999));
        assertVerdict(resolve(), Verdict.None);
        CaseView memory shown = court.caseOf(caseId);
        assertEq(uint8(shown.state), uint8(CaseState.Open));
        assertEq(shown.round, 1);
        assertEq(shown.firstSeat, 3);
        assertEq(shown.seatCount, 10);
        assertEq(shown.seatsWanted, 7);
        assertVerdict(shown.standing, Verdict.Pass);
        assertEq(shown.median, 10_000);
        assertEq(shown.until, vm.getBlockTimestamp() + profile.starvedSeconds);
    }

    function test_a_review_grows() public {
        openCase(10);
        truth = 9_500;
        sit();
        vm.expectEmit(address(court));
        emit ICourt.CaseGrown(caseId, 1, 3, Verdict.Review, 9_500);
        assertVerdict(resolve(), Verdict.None);
        sit();
        assertVerdict(resolve(), Verdict.Review);
        assertEnded(Verdict.Review);
    }

    function test_a_single_doubt_grows_to_three_then_to_seven() public {
        bench(10);
        keep(submitted(one, node.id, 0, 1, 0.5 ether));
        caseId = convened(node.id, 0, contents());
        fraudKind = 0;
        liar(1);
        sit();
        assertVerdict(resolve(), Verdict.None);
        assertEq(court.caseOf(caseId).round, 0, "still the first round");
        assertEq(court.caseOf(caseId).seatCount, 3);
        sit();
        assertVerdict(resolve(), Verdict.None);
        assertEq(court.caseOf(caseId).round, 1);
        assertEq(_sitters(), 7);
        sit();
        assertVerdict(resolve(), Verdict.Pass);
    }

    function test_growing_needs_the_contents() public {
        _quarrel(10);
        vm.expectRevert(ICourt.WrongContents.selector);
        court.resolve(caseId, none);
    }

    // ---- who

    function test_seven_new_seats_of_the_same_order() public {
        _quarrel(12);
        resolve();
        Seat[] memory seats = court.seatsOf(caseId);
        assertEq(seats.length, 10);
        address[] memory order = _order(10);
        for (uint256 i; i < 10; ++i) {
            assertEq(seats[i].node, order[i], "the order of the seed");
        }
    }

    /// @dev The first verifiers of the draw order: what anybody can compute from the seed alone.
    function _order(uint256 count) private view returns (address[] memory order) {
        order = new address[](count);
        uint256 length = court.verifiersOf(CLASS).length;
        bytes32 seed = settlement.batchSeedOf(node.id, 0);
        uint256 found;
        for (uint256 i; found < count; ++i) {
            (uint256 place,) = SeatLib.ticket(seed, caseId, 0, i, length);
            address who = court.verifiersOf(CLASS)[place].node;
            if (!SeatLib.isIn(who, order)) order[found++] = who;
        }
    }

    function test_with_eight_verifiers_two_old_seats_sit_again() public {
        _quarrel(8);
        resolve();
        assertEq(_sitters(), 7);
        Seat[] memory seats = court.seatsOf(caseId);
        assertEq(seats[8].node, seats[0].node);
        assertEq(seats[9].node, seats[1].node);
        assertEq(uint8(seats[8].state), uint8(SeatState.Drawn));
        for (uint256 i = 3; i < 8; ++i) {
            for (uint256 j; j < i; ++j) {
                assertTrue(seats[i].node != seats[j].node, "new ones first");
            }
        }
    }

    /// @notice Attack: fewer than seven seats.
    function test_with_five_verifiers_five_sit() public {
        _quarrel(5);
        resolve();
        assertEq(_sitters(), 5);
        sit();
        assertVerdict(resolve(), Verdict.Pass);
    }

    /// @notice Attack: fewer than seven seats, none to grow by.
    function test_a_spread_that_cannot_grow_stands_with_its_median() public {
        for (uint256 verifiers = 3; verifiers <= 4; ++verifiers) {
            uint256 state = vm.snapshotState();
            _quarrel(verifiers);
            assertVerdict(resolve(), Verdict.Pass);
            assertEnded(Verdict.Pass);
            vm.revertToState(state);
        }
    }

    function test_a_silent_seat_does_not_sit_again() public {
        openCase(6);
        address silent = court.seatsOf(caseId)[0].node;
        pass(profile.seatSeconds + 1);
        court.replaceSeat(caseId, 0, contents());
        fraudKind = 0;
        fraudKinds[court.seatsOf(caseId)[1].node] = true;
        sit();
        resolve();
        assertEq(_sitters(), 5, "two new, three old");
        Seat[] memory seats = court.seatsOf(caseId);
        for (uint256 i = 4; i < seats.length; ++i) {
            assertTrue(seats[i].node != silent);
        }
    }

    // ---- the second round

    function test_a_seat_of_the_second_round_commits_with_it() public {
        _quarrel(10);
        resolve();
        for (uint8 seat = 3; seat < 10; ++seat) {
            address who = court.seatsOf(caseId)[seat].node;
            bytes32 bound = seat == 3 ? commitmentIn(0, caseId, seat) : commitmentIn(1, caseId, seat);
            vm.prank(who);
            court.commitSeat(caseId, seat, bound);
        }
        revealSeat(caseId, 4, 10_000);
        uint16[] memory scores = scoresOf(caseId, 10_000);
        address first = court.seatsOf(caseId)[3].node;
        vm.prank(first);
        vm.expectRevert(abi.encodeWithSelector(ICourt.CommitmentMismatch.selector, caseId, 3));
        court.revealSeat(caseId, 3, digestOf(3), scores, saltOf(3), 0);
    }

    function test_seats_of_the_first_round_have_had_their_say() public {
        _quarrel(10);
        resolve();
        address first = court.seatsOf(caseId)[0].node;
        uint16[] memory scores = scoresOf(caseId, 0);
        vm.startPrank(first);
        vm.expectRevert(abi.encodeWithSelector(ICourt.AlreadyCommitted.selector, caseId, 0));
        court.commitSeat(caseId, 0, bytes32(uint256(1)));
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotCommitted.selector, caseId, 0));
        court.revealSeat(caseId, 0, digestOf(0), scores, saltOf(0), 0);
        vm.stopPrank();
        pass(profile.seatSeconds + 1);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SeatNotSilent.selector, caseId, 0));
        court.replaceSeat(caseId, 0, contents());
    }

    function test_the_second_round_alone_decides() public {
        _quarrel(10);
        resolve();
        truth = 8_500;
        sit();
        assertVerdict(resolve(), Verdict.Severe);
        assertEnded(Verdict.Severe);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE / 2, "no appeal against the last round");
    }

    function test_everyone_who_revealed_shares_the_pay() public {
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(100 * VCN);
        _quarrel(10);
        resolve();
        sit();
        resolve();
        uint256 total;
        Seat[] memory seats = court.seatsOf(caseId);
        for (uint256 i; i < 10; ++i) {
            uint96 paid = settlement.bookOf(seats[i].node).rewards;
            assertEq(paid, 0.16 ether, "a tenth of what who convened leaves");
            total += paid;
        }
        assertLe(total, 2 * VCN, "never above V / rate");
    }

    function test_a_round_whose_seats_shrink_to_two_changes_nothing() public {
        openCase(10);
        judge(caseId, three(0, 0, 8_000));
        assertVerdict(resolve(), Verdict.None);
        for (uint8 seat = 3; seat < 5; ++seat) {
            commitSeat(caseId, seat);
        }
        pass(profile.seatSeconds + 1);
        for (uint8 seat = 5; seat < 10; ++seat) {
            court.replaceSeat(caseId, seat, contents());
        }
        sit();
        assertEq(court.seatsOf(caseId).length, 10, "no verifier is left to follow");
        assertVerdict(resolve(), Verdict.Severe);
    }

    function test_an_even_number_decides_by_its_lower_middle() public {
        _quarrel(10);
        resolve();
        for (uint8 seat = 3; seat < 9; ++seat) {
            commitSeat(caseId, seat);
        }
        pass(profile.seatSeconds + 1);
        court.replaceSeat(caseId, 9, contents());
        for (uint8 seat = 3; seat < 9; ++seat) {
            revealSeat(caseId, seat, seat < 6 ? 8_500 : 10_000);
        }
        assertVerdict(resolve(), Verdict.Severe);
    }

    // ---- a second round that never ends

    function test_what_the_first_round_found_stands_when_the_second_starves() public {
        _quarrel(10);
        resolve();
        uint256 until = court.caseOf(caseId).until;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotStarved.selector, until));
        court.voidStarved(node.id, 0, contents());
        vm.warp(until + 1);
        court.voidStarved(node.id, 0, contents());
        assertEnded(Verdict.Pass);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Passed));
    }

    function test_three_of_a_starved_round_may_find_worse_and_never_better() public {
        openCase(10);
        uint256 state = vm.snapshotState();
        judge(caseId, three(10_000, 10_000, 0));
        _starveAfter(3, 0);
        assertEnded(Verdict.Severe);
        vm.revertToState(state);
        judge(caseId, three(0, 0, 10_000));
        _starveAfter(3, 10_000);
        assertEnded(Verdict.Severe);
        vm.revertToState(state);
        judge(caseId, three(10_000, 10_000, 0));
        _starveAfter(2, 0);
        assertEnded(Verdict.Pass);
    }

    function _starveAfter(uint8 reveals, uint16 score) private {
        resolve();
        for (uint8 seat = 3; seat < 10; ++seat) {
            commitSeat(caseId, seat);
        }
        for (uint8 seat = 3; seat < 3 + reveals; ++seat) {
            revealSeat(caseId, seat, score);
        }
        waitFor(profile.starvedSeconds);
        court.voidStarved(node.id, 0, contents());
    }

    // ---- medians

    function testFuzz_the_median_is_in_range_and_free_of_order(int32[7] memory picks, uint8 size, uint8 turn)
        public
        pure
    {
        uint256 count = bound(size, 1, 7);
        int256[] memory scores = new int256[](count);
        int256[] memory turned = new int256[](count);
        for (uint256 i; i < count; ++i) {
            MedianLib.insert(scores, i, picks[i]);
            MedianLib.insert(turned, i, picks[(i + turn) % count]);
        }
        int256 median = MedianLib.medianOf(scores);
        assertEq(MedianLib.medianOf(turned), median, "free of order");
        uint256 below;
        uint256 above;
        for (uint256 i; i < count; ++i) {
            if (scores[i] < median) ++below;
            if (scores[i] > median) ++above;
        }
        assertLe(below, (count - 1) / 2, "no more below than the lower half");
        assertLe(above, count / 2, "no more above than the upper half");
        for (uint256 i = 1; i < count; ++i) {
            assertLe(scores[i - 1], scores[i]);
        }
    }
}
