// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";

import {IParams} from "../../contracts/interfaces/IParams.sol";
import {Record, ReputationLib} from "../../contracts/libraries/ReputationLib.sol";
import {Calibration, DeviceClass, NoiseBand, Profile} from "../../contracts/types/ParamTypes.sol";

import {Profiles} from "./Profiles.sol";

/// @notice What is accepted at the very edge of the rules.
contract ExtremesTest is Test {
    using ReputationLib for Record;

    function test_the_smallest_numbers_that_the_relations_allow_are_a_profile() public {
        Profile memory p = Profiles.load(vm, "local");
        (p.epochBlocks, p.lagBlocks, p.seatSeconds, p.challengeSeconds) = (1, 1, 1, 1);
        (p.dataSeconds, p.conveneSeconds, p.starvedSeconds, p.appealSeconds) = (1, 1, 2, 1);
        (p.arbiterSeconds, p.laneCloseSeconds, p.jailSeconds) = (1, 1, 1);
        (p.minStake, p.recommendedStake, p.minDeposit, p.minBurn, p.courtValue) = (1, 1, 1, 1, 1);
        (p.verifierMinScore, p.verifierMinAgeSeconds, p.verifierWeightFloorBps, p.slashBps) = (0, 0, 1, 0);
        IParams made = IParams(_deployed(p));
        assertEq(keccak256(abi.encode(made.profile())), keccak256(abi.encode(p)));
    }

    function test_the_largest_numbers_that_the_relations_allow_are_a_profile() public {
        Profile memory p = Profiles.load(vm, "local");
        (p.verifierMinScore, p.verifierWeightFloorBps, p.slashBps) = (10_000, 10_000, 5_000);
        (p.timelockSeconds, p.unbondingSeconds) = (type(uint32).max, type(uint32).max - 1);
        (p.recommendedStake, p.courtValue) = (type(uint96).max, type(uint96).max);
        _deployed(p);
    }

    function _deployed(Profile memory p) private returns (address) {
        address timelock = deployCode("Timelock.sol:Timelock", Profiles.timelock(p, address(this), address(this)));
        return deployCode("Params.sol:Params", Profiles.params(p, timelock, address(this)));
    }

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

    function test_each_band_of_a_calibration_is_looked_at() public {
        IParams made = IParams(deployCode("Params.sol:Params", abi.encode(Profiles.load(vm, "local"), address(this))));
        made.addClass(DeviceClass(1, "cpu-fp32", sha256("runtime"), "fp32", "avx2"));
        NoiseBand memory good = NoiseBand(12_000, 16_000);
        NoiseBand memory bad = NoiseBand(16_000, 16_000);
        for (uint256 i; i < 4; ++i) {
            Calibration memory row = Calibration(good, good, good, good, bytes32(uint256(7)));
            if (i == 0) row.act = bad;
            if (i == 1) row.chunk = bad;
            if (i == 2) row.tok = bad;
            if (i == 3) row.worst = bad;
            vm.expectRevert(abi.encodeWithSelector(IParams.BadNoiseBand.selector, 16_000, 16_000));
            made.addCalibration("manifest", 1, row);
        }
        made.addCalibration("manifest", 1, Calibration(good, good, good, good, bytes32(uint256(7))));
    }
}
