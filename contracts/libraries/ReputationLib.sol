// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A node's record, one word.
struct Record {
    uint32 successes;
    uint32 total;
    /// @dev Milliseconds of the counted successes together.
    uint48 responseMs;
    uint16 checkInDays;
    uint24 activatedDay;
    uint16 penaltyTenths;
    /// @dev Counted successes still to come before the node is sampled at the common rate.
    uint16 samplesLeft;
    /// @dev Bit set = the leaf failed; the newest is the lowest of 50 bits.
    uint56 ring;
    /// @dev Successes counted on the day of the last counted success.
    uint8 countedToday;
}

/// @notice One score from 0 to 100 in hundredths of a point, and what moves it.
/// @dev score = 50 (s+10)/(t+20) + 20/(1 + mean minutes) + 20 c/(d+7) + 10 min(stake/recommended, 1) - penalty, clamped
///      to 0..100. The prior of 20 jobs (half of them good, a minute each) and 7 days fades as history comes in. Each term,
///      and the mean time in it, is rounded down. Twin of protocol/stages/reputation.py; tests/vectors/reputation.json.
library ReputationLib {
    uint256 internal constant SCORE_MAX = 10_000;
    uint256 internal constant PRIOR_JOBS = 20;
    uint256 internal constant PRIOR_DAYS = 7;
    uint256 internal constant MINUTE_MS = 60_000;
    uint16 internal constant PROBATION = 20;
    uint256 internal constant COUNTED_A_DAY = 20;
    uint256 internal constant RING = 50;
    /// @dev More than 20% of the ring.
    uint256 internal constant RING_ALERT = 10;
    uint256 internal constant PENALTY_MAX_TENTHS = 1_000;

    /// @notice Writes a record as a whole, by hand: the compiler would write every member.
    function keep(Record storage stored, Record memory record) internal {
        uint256 word = uint256(record.successes) | uint256(record.total) << 32 | uint256(record.responseMs) << 64
            | uint256(record.checkInDays) << 112 | uint256(record.activatedDay) << 128 | uint256(record.penaltyTenths)
            << 152 | uint256(record.samplesLeft) << 168 | uint256(record.ring) << 184 | uint256(record.countedToday)
            << 240;
        assembly ("memory-safe") {
            sstore(stored.slot, word)
        }
    }

    /// @notice The score in hundredths of a point.
    /// @param today days since 1970
    function score(Record memory record, uint256 stake, uint256 recommended, uint256 today)
        internal
        pure
        returns (uint16)
    {
        uint256 points = _successTerm(record) + _speedTerm(record) + _uptimeTerm(record, today) + 1_000
            * (stake < recommended ? stake : recommended) / recommended;
        uint256 penalty = uint256(record.penaltyTenths) * 10;
        if (points <= penalty) return 0;
        points -= penalty;
        return uint16(points > SCORE_MAX ? SCORE_MAX : points);
    }

    /// @notice The share of leaves to draw, basis points.
    function rateBps(Record memory record) internal pure returns (uint16) {
        if (record.samplesLeft != 0) return 10_000;
        return failuresIn(record.ring) > RING_ALERT ? 5_000 : 1_000;
    }

    /// @notice Failed leaves among the last 50.
    function failuresIn(uint256 ring) internal pure returns (uint256 failures) {
        for (; ring != 0; ring &= ring - 1) {
            ++failures;
        }
    }

    /// @notice How many leaves of a batch count: as many as burned MIN_BURN each, at most 20 a day.
    function counted(Record memory record, uint256 okCount, uint256 burned, uint256 minBurn)
        internal
        pure
        returns (uint256 count)
    {
        count = okCount;
        if (burned / minBurn < count) count = burned / minBurn;
        uint256 room = COUNTED_A_DAY - record.countedToday;
        if (count > room) count = room;
    }

    /// @notice Adds a final batch. Counted successes add to both s and t, heal a tenth each and shorten probation.
    /// @dev t grows by what counts, not by all ok leaves: more than 20 good jobs a day must not lower a score.
    ///      The batch's time enters in proportion to what counts, rounded down.
    function addBatch(
        Record memory record,
        uint256 okCount,
        uint256 failedCount,
        uint256 burned,
        uint256 ms,
        uint256 minBurn
    ) internal pure {
        uint256 count = counted(record, okCount, burned, minBurn);
        if (count != 0) {
            record.successes = _add32(record.successes, count);
            record.total = _add32(record.total, count);
            uint256 time = record.responseMs + ms * count / okCount;
            record.responseMs = time > type(uint48).max ? type(uint48).max : uint48(time);
            record.countedToday += uint8(count);
            record.penaltyTenths = _lower(record.penaltyTenths, count);
            record.samplesLeft = _lower(record.samplesLeft, count);
        }
        record.ring = pushed(record.ring, okCount, failedCount);
    }

    /// @notice Adds to the penalty, at most to 100 points.
    /// @param lostCase also counts as a failed job and starts full probation
    function addPenalty(Record memory record, uint256 tenths, bool lostCase) internal pure {
        uint256 sum = record.penaltyTenths + tenths;
        record.penaltyTenths = uint16(sum > PENALTY_MAX_TENTHS ? PENALTY_MAX_TENTHS : sum);
        if (lostCase) {
            record.total = _add32(record.total, 1);
            record.ring = pushed(record.ring, 0, 1);
            record.samplesLeft = PROBATION;
        }
    }

    /// @notice The ring after a batch. A batch of 50 and more fills it in its own proportion, rounded up: no order of
    ///         leaves can push failures out of sight.
    function pushed(uint56 ring, uint256 okCount, uint256 failedCount) internal pure returns (uint56) {
        uint256 leaves = okCount + failedCount;
        if (leaves >= RING) return uint56((1 << ((RING * failedCount + leaves - 1) / leaves)) - 1);
        return uint56(((uint256(ring) << leaves) | ((1 << failedCount) - 1)) & ((1 << RING) - 1));
    }

    function _successTerm(Record memory record) private pure returns (uint256) {
        return 5_000 * (record.successes + PRIOR_JOBS / 2) / (record.total + PRIOR_JOBS);
    }

    function _speedTerm(Record memory record) private pure returns (uint256) {
        uint256 meanMs = (record.responseMs + PRIOR_JOBS * MINUTE_MS) / (record.total + PRIOR_JOBS);
        return 2_000 * MINUTE_MS / (MINUTE_MS + meanMs);
    }

    function _uptimeTerm(Record memory record, uint256 today) private pure returns (uint256) {
        return 2_000 * uint256(record.checkInDays) / (today - record.activatedDay + PRIOR_DAYS);
    }

    function _add32(uint32 a, uint256 b) private pure returns (uint32) {
        uint256 sum = a + b;
        return sum > type(uint32).max ? type(uint32).max : uint32(sum);
    }

    function _lower(uint16 a, uint256 b) private pure returns (uint16) {
        return b >= a ? 0 : a - uint16(b);
    }
}
