// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "forge-std/Vm.sol";

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {Claim, Submission} from "../../contracts/types/BatchTypes.sol";
import {CaseState, Verdict} from "../../contracts/types/CaseTypes.sol";
import {NodeState} from "../../contracts/types/NodeTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";

/// @notice The running margin: what cases that pass add up to.
contract MarginsTest is CourtFixture {
    int32 private constant ALARM = 21_417;
    uint32 private constant HEAD = 11_512;
    int32 private constant MOST = 5_355;
    int32 private constant SUSPECT = 4_605;
    uint96 private constant LARGE = 4 * VCN;
    uint96 private constant SMALL = 0.5 ether;

    uint8 private _slot;

    /// @dev The next case of the node, of three seats or of one.
    function _next(uint96 price) private {
        keep(submitted(one, node.id, _slot, price == SMALL ? 1 : 2, price));
        caseId = convened(node.id, _slot++, contents());
    }

    /// @dev A case in which every seat says the same; what comes of it.
    function _case(uint96 price, int32 llrMillinats_) private returns (Verdict) {
        _next(price);
        _say(llrMillinats_, llrMillinats_, llrMillinats_);
        sit();
        return resolve();
    }

    function _say(int32 first, int32 second, int32 third) private {
        (evidenceOf[0], evidenceOf[1], evidenceOf[2]) = (first, second, third);
    }

    function _assertSums(uint256 told, uint256 confirmed) private view {
        (uint32 told_, uint32 confirmed_) = court.runningOf(node.id, CLASS);
        assertEq(told_, told, "told");
        assertEq(confirmed_, confirmed, "confirmed");
    }

    /// @dev The same for a node whose head start is long used up.
    function _benchOfKnown(uint256 seats) private {
        bench(seats);
        assertVerdict(_case(SMALL, -int32(HEAD)), Verdict.Pass);
        _assertSums(0, 0);
    }

    /// @dev One more case of three seats that say `evidence_` is fraud.
    function _fill(uint256 cases) private {
        for (uint256 i; i < cases; ++i) {
            assertVerdict(_case(LARGE, MOST), Verdict.Pass);
        }
    }

    // ---- the head start

    function test_sums_begin_with_a_head_start_that_honest_answers_use_up() public {
        bench(3);
        _assertSums(HEAD, HEAD);
        assertVerdict(_case(LARGE, -1_000), Verdict.Pass);
        _assertSums(HEAD - 1_000, HEAD - 1_000);
        assertVerdict(_case(LARGE, 400), Verdict.Pass);
        _assertSums(HEAD - 600, HEAD - 600);
        assertVerdict(_case(LARGE, -int32(HEAD)), Verdict.Pass);
        _assertSums(0, 0);
        // It comes once.
        assertVerdict(_case(LARGE, -1), Verdict.Pass);
        _assertSums(0, 0);
    }

    function test_who_cheats_from_the_first_case_on_is_found_in_two() public {
        bench(3);
        _fill(1);
        _assertSums(HEAD + uint32(MOST), HEAD + uint32(MOST));
        assertVerdict(_case(LARGE, ALARM - int32(HEAD) - MOST), Verdict.Severe);
        _assertSums(HEAD, HEAD);
    }

    function test_one_less_than_the_alarm_is_none_with_a_head_start_either() public {
        bench(3);
        _fill(1);
        assertVerdict(_case(LARGE, ALARM - int32(HEAD) - MOST - 1), Verdict.Pass);
        _assertSums(uint32(ALARM) - 1, uint32(ALARM) - 1);
    }

    function test_a_new_node_against_which_one_seat_speaks_is_looked_at_by_three() public {
        bench(3);
        _next(SMALL);
        _say(1, -1, -1);
        sit();
        assertVerdict(resolve(), Verdict.None);
        assertEq(court.seatsOf(caseId).length, 3);
    }

    // ---- a bench

    function test_a_bench_moves_the_sums_and_they_never_fall_below_zero() public {
        _benchOfKnown(3);
        assertVerdict(_case(LARGE, 1_000), Verdict.Pass);
        _assertSums(1_000, 1_000);
        assertVerdict(_case(LARGE, 500), Verdict.Pass);
        _assertSums(1_500, 1_500);
        assertVerdict(_case(LARGE, -400), Verdict.Pass);
        _assertSums(1_100, 1_100);
        assertVerdict(_case(LARGE, -1_000_000), Verdict.Pass);
        _assertSums(0, 0);
        assertVerdict(_case(LARGE, 7), Verdict.Pass);
        _assertSums(7, 7);
    }

    function test_the_median_counts() public {
        _benchOfKnown(3);
        _next(LARGE);
        _say(type(int32).max, 300, type(int32).min);
        sit();
        vm.expectEmit(address(court));
        emit ICourt.MarginCounted(caseId, node.id, CLASS, 300, 300, 300);
        assertVerdict(resolve(), Verdict.Pass);
        _assertSums(300, 300);
    }

    function test_a_case_counts_a_quarter_of_the_alarm_at_most() public {
        _benchOfKnown(3);
        assertVerdict(_case(LARGE, type(int32).max), Verdict.Pass);
        _assertSums(uint32(MOST), uint32(MOST));
    }

    function test_nothing_is_told_where_nothing_changes() public {
        _benchOfKnown(3);
        for (uint256 i; i < 2; ++i) {
            _next(LARGE);
            _say(-100, -100, -100);
            sit();
            vm.recordLogs();
            assertVerdict(resolve(), Verdict.Pass);
            assertFalse(_isCounted());
        }
        assertVerdict(_case(LARGE, 0), Verdict.Pass);
        assertFalse(_isCounted());
        _assertSums(0, 0);
    }

    function _isCounted() private returns (bool found) {
        Vm.Log[] memory logs = vm.getRecordedLogs();
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] == ICourt.MarginCounted.selector) found = true;
        }
    }

    function test_classes_and_nodes_have_sums_of_their_own() public {
        _benchOfKnown(3);
        _case(LARGE, 1_000);
        (uint32 told, uint32 confirmed) = court.runningOf(node.id, CLASS + 1);
        assertEq(told, HEAD);
        assertEq(confirmed, HEAD);
        (told, confirmed) = court.runningOf(node.owner, CLASS);
        assertEq(told, HEAD);
        assertEq(confirmed, HEAD);
    }

    function test_what_does_not_pass_is_not_counted() public {
        _benchOfKnown(3);
        truth = 9_000;
        assertVerdict(_case(LARGE, 1_000), Verdict.Review);
        _assertSums(0, 0);
    }

    // ---- the alarm

    function test_one_below_the_alarm_passes_and_the_alarm_is_fraud() public {
        _benchOfKnown(3);
        _fill(3);
        assertVerdict(_case(LARGE, ALARM - 3 * MOST - 1), Verdict.Pass);
        _assertSums(uint32(ALARM) - 1, uint32(ALARM) - 1);
        _next(LARGE);
        _say(1, 1, 1);
        sit();
        vm.expectEmit(address(court));
        emit ICourt.MarginCounted(caseId, node.id, CLASS, 1, uint32(ALARM), uint32(ALARM));
        vm.expectEmit(address(court));
        emit ICourt.CaseResolved(caseId, node.id, _slot - 1, Verdict.Severe, 10_000);
        assertVerdict(resolve(), Verdict.Severe);
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Jailed));
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE / 2);
        _assertSums(HEAD, HEAD);
    }

    function test_no_fewer_than_four_cases_are_an_alarm() public {
        _benchOfKnown(3);
        _fill(3);
        assertVerdict(_case(LARGE, type(int32).max), Verdict.Severe);
    }

    function test_an_alarm_waits_for_an_appeal_where_there_is_a_larger_bench() public {
        _benchOfKnown(10);
        _fill(3);
        assertVerdict(_case(LARGE, MOST), Verdict.None);
        assertState(CaseState.Decided);
        assertVerdict(court.caseOf(caseId).standing, Verdict.Severe);
        assertEq(court.caseOf(caseId).median, 10_000);
        _assertSums(3 * uint32(MOST), 3 * uint32(MOST));
        waitFor(profile.appealSeconds);
        assertVerdict(resolve(), Verdict.Severe);
        _assertSums(HEAD, HEAD);
        assertEnded(Verdict.Severe);
    }

    function test_an_appeal_ends_by_what_seven_others_say() public {
        _benchOfKnown(10);
        _fill(3);
        _case(LARGE, MOST);
        uint256 state = vm.snapshotState();
        _assertAppealEnds(-600, Verdict.Pass);
        _assertSums(3 * uint32(MOST) - 600, 3 * uint32(MOST) - 600);
        vm.revertToState(state);
        _assertAppealEnds(MOST, Verdict.Severe);
        _assertSums(HEAD, HEAD);
    }

    function _assertAppealEnds(int32 llrMillinats_, Verdict expected) private {
        appeal();
        for (uint8 seat = 3; seat < 10; ++seat) {
            evidenceOf[seat] = llrMillinats_;
        }
        sit();
        assertVerdict(resolve(), expected);
        assertEnded(expected);
    }

    function test_an_alarm_on_an_uncalibrated_class_is_a_review_and_begins_anew() public {
        _benchOfKnown(3);
        _fill(3);
        Claim[] memory claims = claimsOf(one, node.id, 2, LARGE, 0);
        Submission memory made = submissionOf(node.id, _slot, claims, 2);
        made.flags = UNCALIBRATED;
        keep(submit(made, claims));
        caseId = convened(node.id, _slot, contents());
        _say(MOST, MOST, MOST);
        sit();
        assertVerdict(resolve(), Verdict.Review);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE);
        _assertSums(HEAD, HEAD);
    }

    function test_a_quarrel_is_counted_by_those_who_end_it() public {
        _benchOfKnown(10);
        _next(LARGE);
        _say(900, 900, 900);
        for (uint8 seat = 3; seat < 10; ++seat) {
            evidenceOf[seat] = 50;
        }
        fraudKind = 0;
        liar(1);
        sit();
        assertVerdict(resolve(), Verdict.None);
        _assertSums(0, 0);
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        _assertSums(50, 50);
    }

    // ---- one seat

    function test_one_seat_is_heard_against_the_node_and_confirms_nothing() public {
        _benchOfKnown(3);
        assertVerdict(_case(SMALL, 1_000), Verdict.Pass);
        _assertSums(1_000, 0);
        assertEq(court.seatsOf(caseId).length, 1);
    }

    function test_what_one_seat_says_for_the_node_counts_in_full() public {
        _benchOfKnown(3);
        _case(LARGE, 1_000);
        assertVerdict(_case(SMALL, -300), Verdict.Pass);
        _assertSums(700, 700);
    }

    function test_one_seat_too_many_calls_two_more_whose_median_counts() public {
        _benchOfKnown(3);
        _case(SMALL, 2_000);
        _case(SMALL, SUSPECT - 2_001);
        _assertSums(uint32(SUSPECT) - 1, 0);
        _next(SMALL);
        _say(1, 30, 20);
        sit();
        assertVerdict(resolve(), Verdict.None);
        assertEq(court.seatsOf(caseId).length, 3);
        _assertSums(uint32(SUSPECT) - 1, 0);
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        _assertSums(uint32(SUSPECT) + 19, 20);
    }

    function test_calling_two_more_needs_the_contents() public {
        _benchOfKnown(3);
        _next(SMALL);
        _say(SUSPECT, 0, 0);
        sit();
        vm.expectRevert(ICourt.WrongContents.selector);
        court.resolve(caseId, none);
    }

    function test_a_suspect_is_passed_by_one_seat_where_nobody_else_is_left() public {
        _benchOfKnown(1);
        assertVerdict(_case(SMALL, type(int32).max), Verdict.Pass);
        _assertSums(uint32(MOST), 0);
    }

    function test_sole_seats_alone_are_never_an_alarm() public {
        _benchOfKnown(1);
        for (uint256 i; i < 6; ++i) {
            assertVerdict(_case(SMALL, type(int32).max), Verdict.Pass);
        }
        _assertSums(uint32(ALARM), 0);
    }

    function test_attack_a_sole_seat_inflates_an_honest_nodes_sum() public {
        _benchOfKnown(5);
        for (uint256 i; i < 4; ++i) {
            _next(SMALL);
            _say(type(int32).max, -50, -50);
            sit();
            assertVerdict(resolve(), Verdict.None);
            sit();
            assertVerdict(resolve(), Verdict.Pass);
        }
        _assertSums(0, 0);
    }

    function test_attack_an_adaptive_cheat_stays_in_small_cases() public {
        _benchOfKnown(3);
        Verdict ended = Verdict.Pass;
        uint256 cases;
        for (; ended == Verdict.Pass; ++cases) {
            _next(SMALL);
            _say(1_500, 1_500, 1_500);
            sit();
            ended = resolve();
            if (ended != Verdict.None) continue;
            sit();
            ended = resolve();
        }
        assertVerdict(ended, Verdict.Severe);
        assertEq(cases, 3 + 15, "three until two more look, fifteen until it is fraud");
    }

    // ---- what the sums are

    /// @dev The sums as they were specified, one case after the other.
    function testFuzz_sums_are_those_of_the_specification(int32[6] memory said, uint8 small) public {
        _benchOfKnown(3);
        (int256 told, int256 confirmed) = (0, 0);
        for (uint256 i; i < 6; ++i) {
            int256 x = bound(said[i], -9_000, 9_000);
            bool one_ = (small >> i) & 1 == 1;
            int256 counted = x > MOST ? int256(MOST) : x;
            bool alone = one_ && (x <= 0 || told + x < SUSPECT);
            told = _folded(told, counted);
            if (!alone || x < 0) confirmed = _folded(confirmed, counted);
            Verdict ended = _case(one_ ? SMALL : LARGE, int32(x));
            if (ended == Verdict.None) {
                assertFalse(alone);
                sit();
                ended = resolve();
            }
            if (confirmed >= ALARM) return assertVerdict(ended, Verdict.Severe);
            assertVerdict(ended, Verdict.Pass);
            _assertSums(uint256(told), uint256(confirmed));
        }
    }

    function _folded(int256 sum, int256 by) private pure returns (int256) {
        int256 next = sum + by;
        return next < 0 ? int256(0) : next > ALARM ? int256(ALARM) : next;
    }
}
