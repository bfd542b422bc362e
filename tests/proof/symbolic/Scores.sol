// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {MedianLib} from "../../../contracts/libraries/MedianLib.sol";
import {Record, ReputationLib} from "../../../contracts/libraries/ReputationLib.sol";

/// @notice What holds of every record and every bench.
contract Scores {
    using ReputationLib for Record;

    function prove_a_median_is_in_the_middle_in_any_order(int32 a, int32 b, int32 c) external pure {
        int256 m = _medianOf(a, b, c);
        assert(m == a || m == b || m == c);
        uint256 notBelow = (a >= m ? 1 : 0) + (b >= m ? 1 : 0) + (c >= m ? 1 : 0);
        uint256 notAbove = (a <= m ? 1 : 0) + (b <= m ? 1 : 0) + (c <= m ? 1 : 0);
        assert(notBelow >= 2 && notAbove >= 2);
        assert(m == _medianOf(a, c, b) && m == _medianOf(b, a, c));
        assert(m == _medianOf(b, c, a) && m == _medianOf(c, a, b));
        assert(m == _medianOf(c, b, a));
    }

    function _medianOf(int256 a, int256 b, int256 c) private pure returns (int256) {
        int256[] memory ascending = new int256[](3);
        MedianLib.insert(ascending, 0, a);
        MedianLib.insert(ascending, 1, b);
        MedianLib.insert(ascending, 2, c);
        return MedianLib.medianOf(ascending);
    }

    function prove_a_score_is_at_most_a_hundred(Record memory record, uint96 stake, uint24 today) external pure {
        if (today < record.activatedDay) return;
        assert(record.score(stake, 10_000e18, today) <= 10_000);
    }

    function prove_a_penalty_adds_up_to_a_hundred_points(Record memory record, uint16 tenths, bool lost) external pure {
        if (record.penaltyTenths > 1_000) return;
        uint256 sum = uint256(record.penaltyTenths) + tenths;
        record.addPenalty(tenths, lost);
        assert(record.penaltyTenths == (sum > 1_000 ? 1_000 : sum));
        if (lost) assert(record.samplesLeft == 20);
    }

    /// @dev The share that a batch may count is fixed, so that no division is in the way.
    function prove_a_batch_heals_at_most_twenty_tenths(Record memory record, uint8 okCount, uint8 failedCount)
        external
        pure
    {
        if (record.countedToday > 20 || okCount == 0) return;
        (uint16 penalty, uint16 samples, uint8 counted) =
            (record.penaltyTenths, record.samplesLeft, record.countedToday);
        record.addBatch(okCount, failedCount, okCount, 0, 1);
        assert(record.penaltyTenths <= penalty && penalty - record.penaltyTenths <= 20);
        assert(record.samplesLeft <= samples && samples - record.samplesLeft <= 20);
        assert(record.countedToday >= counted && record.countedToday <= 20);
    }

    function prove_the_ring_holds_fifty(uint56 ring, uint8 okCount, uint8 failedCount) external pure {
        if (uint256(okCount) + failedCount >= 50) return;
        assert(ReputationLib.pushed(ring, okCount, failedCount) < 1 << 50);
    }
}
