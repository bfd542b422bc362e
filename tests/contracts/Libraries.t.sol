// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";

import {BatchLib} from "../../contracts/libraries/BatchLib.sol";
import {Lane, LaneLib} from "../../contracts/libraries/LaneLib.sol";
import {MedianLib} from "../../contracts/libraries/MedianLib.sol";
import {PoolLib} from "../../contracts/libraries/PoolLib.sol";
import {Record, ReputationLib} from "../../contracts/libraries/ReputationLib.sol";
import {SampleLib} from "../../contracts/libraries/SampleLib.sol";
import {SeatLib} from "../../contracts/libraries/SeatLib.sol";
import {SplitLib} from "../../contracts/libraries/SplitLib.sol";
import {SumNode, SumTreeLib} from "../../contracts/libraries/SumTreeLib.sol";
import {Batch, BatchState, Book, LaneState} from "../../contracts/types/BatchTypes.sol";
import {VerifierSlot} from "../../contracts/types/CaseTypes.sol";

/// @notice Properties of the libraries over any input.
contract LibrariesTest is Test {
    using BatchLib for Batch;
    using BatchLib for Book;
    using ReputationLib for Record;

    mapping(uint256 place => VerifierSlot) private slots;
    Batch private batch;
    Book private book;
    Record private record;

    // ---- lanes

    function testFuzz_a_packed_lane_reads_back(uint96 left, uint96 mark, uint40 closeAt, uint24 jobs) public pure {
        Lane lane = LaneLib.pack(left, mark, closeAt, jobs);
        assertEq(lane.left(), left);
        assertEq(lane.mark(), mark);
        assertEq(lane.closeAt(), closeAt);
        assertEq(lane.jobs(), jobs);
    }

    /// @dev Written and read by hand, and by the compiler.
    function testFuzz_a_packed_batch_reads_back(Book memory some, uint96 fee, uint64 counts, uint64 rest, uint8 state)
        public
    {
        Batch memory told = Batch({
            charge: some.rewards,
            bonus: some.openValue,
            responseMs: uint48(rest),
            scoreHundredths: uint16(rest >> 48),
            fee: fee,
            leafCount: uint16(counts),
            okCount: uint16(counts >> 16),
            failedCount: uint16(counts >> 32),
            commitBlock: uint40(rest >> 7),
            commitTime: uint40(rest >> 24),
            classId: uint8(counts >> 48),
            ratePercent: uint8(counts >> 56),
            state: BatchState(state % 8),
            flags: state,
            contentsHash: keccak256(abi.encode(rest))
        });
        batch.write(told);
        assertEq(abi.encode(batch), abi.encode(told));
        told.contentsHash = 0;
        assertEq(abi.encode(batch.read()), abi.encode(told));
    }

    function testFuzz_a_packed_book_reads_back(Book memory told) public {
        book.write(told);
        assertEq(abi.encode(book), abi.encode(told));
        assertEq(abi.encode(book.read()), abi.encode(told));
    }

    function testFuzz_a_packed_record_reads_back(Record memory told) public {
        record.keep(told);
        assertEq(abi.encode(record), abi.encode(told));
    }

    function testFuzz_a_lanes_total_never_falls(uint96 left, uint96 mark, uint96 debit, uint96 slack) public pure {
        left = uint96(bound(left, 0, 1e27));
        mark = uint96(bound(mark, 0, 1e28));
        debit = uint96(bound(debit, 0, left));
        slack = uint96(bound(slack, 0, 1e27));
        Lane lane = LaneLib.pack(left, mark, 0, 7);
        uint256 total = lane.total();
        assertEq(lane.topUp(slack).total(), total + slack);
        assertEq(lane.giveBack(slack).total(), total + slack);
        assertEq(lane.close(9).total(), total);
        assertEq(lane.close(9).reclaim().total(), total);
        assertEq(lane.settle(debit, mark + debit + slack, 8).total(), total + slack);
    }

    function test_states_of_a_lane() public pure {
        Lane lane;
        assertEq(uint8(lane.stateOf()), uint8(LaneState.None));
        lane = lane.topUp(5);
        assertEq(uint8(lane.stateOf()), uint8(LaneState.Open));
        lane = lane.close(9);
        assertEq(uint8(lane.stateOf()), uint8(LaneState.Closing));
        assertEq(lane.toView().closeAt, 9);
        lane = lane.reclaim();
        assertEq(uint8(lane.stateOf()), uint8(LaneState.Reclaimed));
        assertEq(lane.toView().closeAt, 0);
        assertEq(lane.mark(), 5);
        assertEq(uint8(lane.topUp(1).stateOf()), uint8(LaneState.Open));
    }

    function test_a_reclaim_at_the_ceiling_still_pays_out() public pure {
        Lane lane = LaneLib.pack(5, type(uint96).max - 2, 9, 0).reclaim();
        assertEq(lane.mark(), type(uint96).max);
        assertEq(lane.left(), 0);
    }

    function testFuzz_lanes_of_different_parties_differ(address a, address b, address c) public pure {
        vm.assume(a != b && b != c && a != c);
        assertTrue(LaneLib.key(a, b, c) != LaneLib.key(b, a, c));
        assertTrue(LaneLib.key(a, b, c) != LaneLib.key(a, c, b));
    }

    // ---- samples

    function testFuzz_a_draw_is_one_leaf_a_stratum(bytes32 seed, uint16 leaves, uint8 pick) public pure {
        uint256 count = bound(leaves, 1, 2_560);
        uint256 size = [uint256(1), 2, 10][pick % 3];
        uint256[] memory drawn = SampleLib.draw(seed, count, 10_000 / size);
        assertEq(drawn.length, SampleLib.count(seed, count, 10_000 / size));
        assertGe(drawn.length, count / size);
        assertLe(drawn.length, (count + size - 1) / size);
        for (uint256 i; i < drawn.length; ++i) {
            assertEq(drawn[i] / size, i);
            assertLt(drawn[i], count);
        }
    }

    function test_one_leaf_is_drawn_a_tenth_of_the_time() public pure {
        uint256 hits;
        for (uint256 i; i < 5_000; ++i) {
            hits += SampleLib.count(keccak256(abi.encode(i)), 1, 1_000);
        }
        // Mean 500, standard deviation 21.
        assertApproxEqAbs(hits, 500, 100);
    }

    // ---- money

    function testFuzz_a_split_loses_nothing(uint96 charge, uint256 score) public pure {
        charge = uint96(bound(charge, 0, type(uint96).max - 20));
        (uint96 burned, uint96 reward, uint96 pooled) = SplitLib.split(charge, score);
        assertEq(uint256(burned) + reward + pooled, charge);
        assertGe(uint256(burned) * 10, charge);
        assertLe(reward, charge - burned, "m is never above 1");
        assertGe(uint256(reward) * 2 + 1, charge - burned, "nor below a half");
    }

    function testFuzz_a_better_score_never_pays_less(uint96 charge, uint16 score) public pure {
        score = uint16(bound(score, 0, 9_999));
        (, uint96 low,) = SplitLib.split(charge, score);
        (, uint96 high,) = SplitLib.split(charge, score + 1);
        assertGe(high, low);
    }

    function testFuzz_fee_of_a_sum_is_at_most_the_sum_of_fees(uint96 a, uint96 b) public pure {
        a = uint96(bound(a, 0, 1e27));
        b = uint96(bound(b, 0, 1e27));
        assertLe(SplitLib.feeOf(a + b), uint256(SplitLib.feeOf(a)) + SplitLib.feeOf(b));
        assertGe(uint256(SplitLib.feeOf(a)) * 20, a);
    }

    function testFuzz_seats_never_get_more_than_fee_over_rate(uint96 fee, uint16 drawn, uint16 leaves, uint8 percent)
        public
        pure
    {
        percent = uint8(bound(percent, 1, 100));
        leaves = uint16(bound(leaves, 1, 2_560));
        drawn = uint16(bound(drawn, 0, leaves));
        assertLe(SplitLib.seatPay(fee, drawn, leaves, percent) * percent, uint256(fee) * 100);
    }

    /// @notice Trade with oneself: a batch of any size at any rate costs the pool what it brought, in the mean over the draws.
    function test_the_pool_pays_the_fee_in_the_mean() public pure {
        uint256[3] memory sizes = [uint256(1), 19, 40];
        uint256[2] memory rates = [uint256(10), 50];
        for (uint256 i; i < sizes.length; ++i) {
            for (uint256 j; j < rates.length; ++j) {
                uint256 paid;
                for (uint256 seed; seed < 4_000; ++seed) {
                    uint256 drawn = SampleLib.count(keccak256(abi.encode(i, j, seed)), sizes[i], rates[j] * 100);
                    paid += SplitLib.seatPay(1e18, drawn, sizes[i], rates[j]);
                }
                assertApproxEqRel(paid, 4_000 * uint256(1e18), 0.16 ether);
            }
        }
    }

    // ---- pools

    function testFuzz_shares_never_gain_by_moving(uint96 total, uint128 shares, uint96 amount) public pure {
        total = uint96(bound(total, 1, 1e27));
        shares = uint128(bound(shares, total, uint256(total) * 1e9));
        amount = uint96(bound(amount, 1, 1e27));
        uint256 minted = PoolLib.minted(amount, total, shares);
        assertGt((minted + 1) * total, uint256(amount) * shares, "and loses less than a share");
        // What the new shares are worth is at most what was paid.
        assertLe(minted * (uint256(total) + amount), uint256(amount) * (uint256(shares) + minted));
        amount = uint96(bound(amount, 1, total));
        uint256 redeemed = PoolLib.redeemed(amount, total, shares);
        assertLe(redeemed, shares);
        assertLt((redeemed - 1) * total, uint256(amount) * shares, "no more than a share too many");
        // What stays is worth at least as much a share as before.
        assertGe((uint256(total) - amount) * shares, (shares - redeemed) * total);
    }

    /// @dev First depositor: who could make a share dear would have the next one's roundings. Any order of moves, any slashes.
    function testFuzz_a_share_is_never_worth_more_than_a_wei(uint256 seed) public pure {
        uint256 total;
        uint256 shares;
        for (uint256 i; i < 60; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            uint256 amount = seed % 4 == 0 ? 1 + (seed >> 8) % 1e24 : 1 + (seed >> 8) % 9;
            if (seed >> 250 < 32 || total == 0) {
                shares += PoolLib.minted(amount, total, shares);
                total += amount;
            } else if (seed >> 250 < 56) {
                if (amount > total) amount = total;
                shares -= amount == total ? shares : PoolLib.redeemed(amount, total, shares);
                total -= amount;
            } else {
                total -= PoolLib.slashOf(total, 5_000);
                if (PoolLib.isSpent(total, shares)) (total, shares) = (0, 0);
            }
            assertGe(shares, total, "worth more than a wei");
            assertLe(shares, total << 22, "outgrows its word");
        }
    }

    function test_a_pool_is_spent_below_a_four_millionth() public pure {
        assertFalse(PoolLib.isSpent(0, 0));
        assertTrue(PoolLib.isSpent(0, 1));
        assertFalse(PoolLib.isSpent(1, 2 ** 22));
        assertTrue(PoolLib.isSpent(1, 2 ** 22 + 1));
    }

    function testFuzz_a_slash_takes_its_share_and_at_most_a_wei_more(uint96 total, uint16 bps) public pure {
        bps = uint16(bound(bps, 0, 5_000));
        uint256 taken = PoolLib.slashOf(total, bps);
        assertGe(taken * 10_000, uint256(total) * bps);
        assertLt(taken * 10_000, uint256(total) * bps + 10_000);
        assertLe(taken, total);
    }

    // ---- reputation

    function testFuzz_a_score_is_0_to_100(Record memory record, uint96 stake, uint16 days_) public pure {
        record.total = uint32(bound(record.total, record.successes, type(uint32).max));
        record.checkInDays = uint16(bound(record.checkInDays, 0, uint256(days_) + 1));
        record.activatedDay = 20_000;
        uint16 score = record.score(stake, 1e22, 20_000 + uint256(days_));
        assertLe(score, 10_000);
    }

    function testFuzz_a_batch_counts_at_most_twenty_and_only_what_burned(
        uint16 ok,
        uint16 failed,
        uint96 burned,
        uint8 before
    ) public pure {
        Record memory record;
        record.countedToday = uint8(bound(before, 0, 20));
        ok = uint16(bound(ok, 0, 2_560));
        failed = uint16(bound(failed, 0, 2_560));
        uint8 start = record.countedToday;
        record.addBatch(ok, failed, burned, uint256(ok) * 1_000, 5e16);
        assertLe(record.countedToday, 20);
        assertEq(record.successes, record.countedToday - start);
        assertEq(record.total, record.successes);
        assertLe(record.successes, ok);
        assertLe(record.successes, burned / 5e16);
        assertEq(record.responseMs, uint256(record.successes) * 1_000);
        assertLt(record.ring, 1 << 50);
    }

    function testFuzz_the_ring_holds_at_least_the_batchs_share(uint56 ring, uint16 ok, uint16 failed) public pure {
        ring &= (1 << 50) - 1;
        ok = uint16(bound(ok, 0, 2_560));
        failed = uint16(bound(failed, 0, 2_560));
        uint256 leaves = uint256(ok) + failed;
        uint256 failures = ReputationLib.failuresIn(ReputationLib.pushed(ring, ok, failed));
        if (leaves >= 50) assertGe(failures * leaves, 50 * uint256(failed));
        else assertGe(failures, failed);
        assertLe(failures, 50);
    }

    function testFuzz_drawn_leaves_before_one_are_counted(bytes32 seed, uint16 leaves, uint16 end, uint8 pick)
        public
        pure
    {
        uint256 rateBps = [uint256(10_000), 5_000, 1_000][pick % 3];
        leaves = uint16(bound(leaves, 1, 300));
        end = uint16(bound(end, 0, leaves));
        uint256[] memory drawn = SampleLib.draw(seed, leaves, rateBps);
        uint256 expected;
        for (uint256 i; i < drawn.length; ++i) {
            if (drawn[i] < end) ++expected;
        }
        assertEq(SampleLib.countBefore(drawn, end, rateBps), expected);
    }

    // ---- seats and medians

    function testFuzz_a_ticket_is_a_place_and_a_roll(bytes32 seed, bytes32 batchId, uint256 i, uint32 length)
        public
        pure
    {
        length = uint32(bound(length, 1, type(uint32).max));
        (uint256 place, uint256 roll) = SeatLib.ticket(seed, batchId, 0, i, length);
        assertLt(place, length);
        assertLt(roll, 10_000);
    }

    function testFuzz_length_at_is_the_places_before(uint8[] memory gaps, uint16 commitBlock) public {
        uint40 fromBlock;
        uint256 expected;
        uint256 count = gaps.length < 40 ? gaps.length : 40;
        for (uint256 i; i < count; ++i) {
            fromBlock += gaps[i];
            slots[i] = VerifierSlot(address(1), fromBlock, type(uint40).max, 1);
            if (fromBlock < commitBlock) ++expected;
        }
        assertEq(SeatLib.lengthAt(slots, count, commitBlock), expected);
    }

    function test_weight_is_stake_times_score() public pure {
        assertEq(SeatLib.weightOf(20_000e18, 1_000e18, 10_000, 1), 10_000);
        assertEq(SeatLib.weightOf(90_000e18, 1_000e18, 10_000, 1), 10_000, "capped at 20 MIN");
        assertEq(SeatLib.weightOf(5_000e18, 1_000e18, 7_001, 1), 1_750);
        assertEq(SeatLib.weightOf(5_000e18, 1_000e18, 0, 1), 1);
        assertEq(SeatLib.weightOf(5_000e18, 1_000e18, 4_500, 10_000), 10_000);
    }

    function testFuzz_a_median_is_in_the_middle_in_any_order(int32 a, int32 b, int32 c) public pure {
        int256 median = _medianOf(a, b, c);
        assertTrue(median == a || median == b || median == c);
        assertGe(_count(median >= a, median >= b, median >= c), 2);
        assertGe(_count(median <= a, median <= b, median <= c), 2);
        assertEq(_medianOf(b, c, a), median);
        assertEq(_medianOf(c, b, a), median);
    }

    function _medianOf(int256 a, int256 b, int256 c) private pure returns (int256) {
        int256[] memory ascending = new int256[](3);
        MedianLib.insert(ascending, 0, a);
        MedianLib.insert(ascending, 1, b);
        MedianLib.insert(ascending, 2, c);
        return MedianLib.medianOf(ascending);
    }

    function _count(bool a, bool b, bool c) private pure returns (uint256) {
        return (a ? 1 : 0) + (b ? 1 : 0) + (c ? 1 : 0);
    }

    // ---- sum tree

    function testFuzz_no_path_accepts_a_false_sum(uint64 charge, uint64 fraudKind, uint8 opened) public pure {
        vm.assume(charge != fraudKind);
        SumNode[] memory leaves = new SumNode[](5);
        for (uint256 i; i < 5; ++i) {
            leaves[i] = SumNode(keccak256(abi.encode(i)), charge, i, i);
        }
        uint256 index = opened % 4;
        SumNode[] memory siblings = new SumNode[](3);
        SumNode memory empty;
        siblings[0] = leaves[index ^ 1];
        uint256 pair = index < 2 ? 2 : 0;
        siblings[1] = SumTreeLib.join(leaves[pair], leaves[pair + 1]);
        siblings[2] = SumTreeLib.join(SumTreeLib.join(leaves[4], empty), SumTreeLib.join(empty, empty));
        SumNode memory root = SumTreeLib.root(leaves);
        assertEq(SumTreeLib.climb(leaves[index], index, siblings).hash, root.hash);
        siblings[0].charge = fraudKind;
        assertTrue(SumTreeLib.climb(leaves[index], index, siblings).hash != root.hash);
    }
}
