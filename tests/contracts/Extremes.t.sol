// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";

import {Record, ReputationLib} from "../../contracts/libraries/ReputationLib.sol";

/// @notice Records at the very edge of the rules.
contract ExtremesTest is Test {
    using ReputationLib for Record;

    function test_no_record_scores_above_a_hundred() public pure {
        Record memory record;
        (record.successes, record.total) = (type(uint32).max, type(uint32).max);
        record.checkInDays = type(uint16).max;
        assertEq(record.score(1, 1, 0), 10_000);
    }

    function test_a_lost_case_starts_probation_and_a_penalty_alone_does_not() public pure {
        Record memory record;
        record.addPenalty(50, false);
        assertEq(record.samplesLeft, 0);
        record.addPenalty(50, true);
        assertEq(record.samplesLeft, ReputationLib.PROBATION);
    }
}
