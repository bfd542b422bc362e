// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";

import {IParams} from "../../contracts/interfaces/IParams.sol";
import {Calibration, CalibrationRow, DeviceClass, NoiseBand, Profile} from "../../contracts/types/ParamTypes.sol";

import {Profiles} from "./Profiles.sol";

contract ParamsTest is Test {
    IParams private params;
    address private governor;
    address private guardian = makeAddr("guardian");
    bytes32 private constant MANIFEST = keccak256("manifest");

    function setUp() public {
        Profile memory local = Profiles.load(vm, "local");
        governor = _timelock(local);
        params = _deploy(local);
        vm.startPrank(governor);
    }

    function _class(uint8 id) private pure returns (DeviceClass memory) {
        return DeviceClass(id, "cpu-fp32", bytes32(uint256(1)), "fp32", "avx2");
    }

    function _bands(uint32 low, uint32 high) private pure returns (Calibration memory) {
        NoiseBand memory good = NoiseBand(12_000, 16_000);
        return
            Calibration(
                good, good, good, NoiseBand(low, high), NoiseBand(0, 0), NoiseBand(0, 0), bytes32(uint256(7)), 0
            );
    }

    function _deploy(Profile memory profile) private returns (IParams) {
        return _create(Profiles.params(profile, governor, guardian));
    }

    function _create(bytes memory values) private returns (IParams) {
        bytes memory code = abi.encodePacked(vm.getCode("Params.sol:Params"), values);
        address made;
        assembly {
            made := create(0, add(code, 32), mload(code))
            if iszero(made) {
                returndatacopy(code, 0, returndatasize())
                revert(code, returndatasize())
            }
        }
        return IParams(made);
    }

    function _timelock(Profile memory profile) private returns (address) {
        return deployCode("Timelock.sol:Timelock", Profiles.timelock(profile, address(this), address(this)));
    }

    function deploy(Profile memory profile) external {
        _deploy(profile);
    }

    function create(bytes memory values) external {
        _create(values);
    }

    function _six(NoiseBand memory band) private pure returns (Calibration memory) {
        return Calibration(band, band, band, band, band, band, bytes32(uint256(7)), bytes32(uint256(8)));
    }

    function _expectBroken(Profile memory profile, string memory relation) private {
        vm.expectRevert(abi.encodeWithSelector(IParams.BadProfile.selector, relation));
        this.deploy(profile);
    }

    // ---- profile

    function test_every_committed_profile_is_accepted() public {
        string[3] memory names = ["local", "testnet", "main"];
        for (uint256 i; i < 3; ++i) {
            Profile memory expected = Profiles.load(vm, names[i]);
            governor = _timelock(expected);
            Profile memory kept = _deploy(expected).profile();
            assertEq(keccak256(abi.encode(kept)), keccak256(abi.encode(expected)), names[i]);
        }
        assertEq(Profiles.load(vm, "main").slashBps, 0, "main starts in shadow mode");
    }

    function test_unbonding_must_outlive_a_batch() public {
        Profile memory p = Profiles.load(vm, "local");
        p.unbondingSeconds = p.challengeSeconds + 3 * p.starvedSeconds + p.dataSeconds + p.appealSeconds
            + p.arbiterSeconds + 2 * p.seatSeconds;
        _expectBroken(p, "unbonding outlives a batch");
        p.unbondingSeconds += 1;
        _deploy(p);
    }

    function test_the_smallest_numbers_that_the_relations_allow_are_a_profile() public {
        Profile memory p = Profiles.load(vm, "local");
        (p.epochBlocks, p.lagBlocks, p.seatSeconds, p.challengeSeconds) = (1, 1, 1, 1);
        (p.dataSeconds, p.conveneSeconds, p.starvedSeconds, p.appealSeconds) = (1, 1, 2, 1);
        (p.arbiterSeconds, p.laneCloseSeconds, p.jailSeconds) = (1, 1, 1);
        (p.minStake, p.recommendedStake, p.minDeposit, p.minBurn, p.courtValue) = (1, 1, 1, 1, 1);
        (p.verifierMinScore, p.verifierMinAgeSeconds, p.verifierWeightFloorBps, p.slashBps) = (0, 0, 1, 0);
        assertEq(keccak256(abi.encode(_deploy(p).profile())), keccak256(abi.encode(p)));
    }

    function test_the_largest_numbers_that_the_relations_allow_are_a_profile() public {
        Profile memory p = Profiles.load(vm, "local");
        (p.verifierMinScore, p.verifierWeightFloorBps, p.slashBps) = (10_000, 10_000, 5_000);
        p.unbondingSeconds = p.timelockSeconds - 1;
        (p.recommendedStake, p.courtValue) = (type(uint96).max, type(uint96).max);
        assertEq(keccak256(abi.encode(_deploy(p).profile())), keccak256(abi.encode(p)));
    }

    function test_each_band_of_a_calibration_is_looked_at() public {
        params.addClass(_class(1));
        NoiseBand memory good = NoiseBand(12_000, 16_000);
        NoiseBand memory bad = NoiseBand(16_000, 16_000);
        for (uint256 i; i < 6; ++i) {
            Calibration memory row = _six(good);
            if (i == 0) row.act = bad;
            if (i == 1) row.chunk = bad;
            if (i == 2) row.tok = bad;
            if (i == 3) row.worst = bad;
            if (i == 4) row.embed = bad;
            if (i == 5) row.classify = bad;
            vm.expectRevert(abi.encodeWithSelector(IParams.BadNoiseBand.selector, 16_000, 16_000));
            params.addCalibration(MANIFEST, 1, row);
        }
        params.addCalibration(MANIFEST, 1, _six(good));
    }

    function test_a_kind_of_output_that_was_not_measured_has_no_band_at_all() public {
        params.addClass(_class(1));
        Calibration memory row = _six(NoiseBand(12_000, 16_000));
        row.embed = NoiseBand(0, 0);
        row.classify = NoiseBand(1, 0);
        vm.expectRevert(abi.encodeWithSelector(IParams.BadNoiseBand.selector, 1, 0));
        params.addCalibration(MANIFEST, 1, row);
        row.classify = NoiseBand(0, 0);
        params.addCalibration(MANIFEST, 1, row);
        assertEq(params.calibrationOf(MANIFEST, 1).embed.fail, 0);
        assertEq(params.calibrationOf(MANIFEST, 1).marginScoresHash, bytes32(uint256(8)));
    }

    function test_relations_between_times() public {
        Profile memory p = Profiles.load(vm, "local");
        p.timelockSeconds = p.unbondingSeconds;
        _expectBroken(p, "timelock outlives unbonding");
        p = Profiles.load(vm, "local");
        p.conveneSeconds = p.starvedSeconds;
        _expectBroken(p, "starved after convene");
        p = Profiles.load(vm, "local");
        p.seatSeconds = p.starvedSeconds / 2 + 1;
        _expectBroken(p, "starved after two turns of a seat");
        p = Profiles.load(vm, "local");
        p.epochBlocks = 0;
        _expectBroken(p, "epoch and lag have blocks");
        p = Profiles.load(vm, "local");
        p.laneCloseSeconds = 0;
        _expectBroken(p, "windows are open");
        p = Profiles.load(vm, "local");
        p.appealSeconds = 0;
        _expectBroken(p, "later windows are open");
        p = Profiles.load(vm, "local");
        p.jailSeconds = 0;
        _expectBroken(p, "jail lasts");
    }

    function test_relations_between_amounts() public {
        Profile memory p = Profiles.load(vm, "local");
        p.slashBps = 5_001;
        _expectBroken(p, "slash at most half");
        p = Profiles.load(vm, "local");
        p.recommendedStake = p.minStake - 1;
        _expectBroken(p, "recommended stake above minimum");
        p = Profiles.load(vm, "local");
        p.minBurn = 0;
        _expectBroken(p, "amounts are positive");
        p = Profiles.load(vm, "local");
        p.verifierMinScore = 10_001;
        _expectBroken(p, "score up to 100 points");
        p = Profiles.load(vm, "local");
        p.verifierWeightFloorBps = 0;
        _expectBroken(p, "weight floor within 1..10000");
        p.verifierWeightFloorBps = 10_001;
        _expectBroken(p, "weight floor within 1..10000");
        p = Profiles.load(vm, "local");
        p.name = 0;
        _expectBroken(p, "a profile has a name");
    }

    // ---- governor and guardian

    function test_the_governor_waits_as_long_as_the_profile_says() public {
        Profile memory p = Profiles.load(vm, "local");
        p.timelockSeconds += 1;
        _expectBroken(p, "governor waits for the timelock");
        governor = _timelock(p);
        assertEq(_deploy(p).governor(), governor);
        assertEq(_deploy(p).guardian(), guardian);
    }

    function test_a_key_is_no_governor() public {
        governor = makeAddr("somebody");
        _expectBroken(Profiles.load(vm, "local"), "governor waits for the timelock");
    }

    // ---- rows of the first day

    function _rows(Calibration memory calibration) private pure returns (CalibrationRow[] memory rows) {
        rows = new CalibrationRow[](1);
        rows[0] = CalibrationRow(MANIFEST, 3, calibration);
    }

    function _first(Calibration memory calibration) private view returns (bytes memory) {
        DeviceClass[] memory classes = new DeviceClass[](1);
        classes[0] = _class(3);
        return abi.encode(Profiles.load(vm, "local"), governor, guardian, classes, _rows(calibration));
    }

    function test_a_network_is_born_with_its_rows() public {
        params = _create(_first(_bands(1, 2)));
        assertEq(params.classOf(3).name, "cpu-fp32");
        assertEq(params.classMask(), 8);
        assertEq(params.calibrationOf(MANIFEST, 3).worst.fail, 2);
        vm.expectRevert(abi.encodeWithSelector(IParams.CalibrationExists.selector, MANIFEST, 3));
        params.addCalibration(MANIFEST, 3, _bands(1, 3));
    }

    function test_rows_of_the_first_day_are_checked_too() public {
        bytes memory values = _first(_bands(2, 2));
        vm.expectRevert(abi.encodeWithSelector(IParams.BadNoiseBand.selector, 2, 2));
        this.create(values);
        values = abi.encode(Profiles.load(vm, "local"), governor, guardian, new DeviceClass[](0), _rows(_bands(1, 2)));
        vm.expectRevert(abi.encodeWithSelector(IParams.UnknownClass.selector, 3));
        this.create(values);
    }

    // ---- classes

    function test_a_class_is_kept_and_shows_in_the_mask() public {
        params.addClass(_class(1));
        params.addClass(_class(31));
        assertEq(params.classMask(), (uint32(1) << 31) | 2);
        assertEq(params.classOf(31).isa, "avx2");
    }

    function test_a_class_is_never_replaced() public {
        params.addClass(_class(3));
        vm.expectRevert(abi.encodeWithSelector(IParams.ClassExists.selector, 3));
        params.addClass(_class(3));
    }

    function test_class_ids_are_1_to_31() public {
        vm.expectRevert(abi.encodeWithSelector(IParams.BadClassId.selector, 0));
        params.addClass(_class(0));
        vm.expectRevert(abi.encodeWithSelector(IParams.BadClassId.selector, 32));
        params.addClass(_class(32));
    }

    function test_unknown_class() public {
        vm.expectRevert(abi.encodeWithSelector(IParams.UnknownClass.selector, 2));
        params.classOf(2);
        vm.expectRevert(abi.encodeWithSelector(IParams.UnknownClass.selector, 200));
        params.classOf(200);
    }

    function test_only_the_governor_adds_rows() public {
        params.addClass(_class(1));
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IParams.NotGovernor.selector, address(this)));
        params.addClass(_class(2));
        vm.expectRevert(abi.encodeWithSelector(IParams.NotGovernor.selector, address(this)));
        params.addCalibration(MANIFEST, 1, _bands(1, 2));
    }

    // ---- calibrations

    function test_a_calibration_is_kept() public {
        params.addClass(_class(2));
        assertFalse(params.isCalibrated(MANIFEST, 2));
        params.addCalibration(MANIFEST, 2, _bands(1_000_000, 2_000_000));
        assertTrue(params.isCalibrated(MANIFEST, 2));
        assertFalse(params.isCalibrated(MANIFEST, 1));
        assertEq(params.calibrationOf(MANIFEST, 2).worst.fail, 2_000_000);
        assertEq(params.calibrationOf(MANIFEST, 2).actWeightsHash, bytes32(uint256(7)));
    }

    function test_a_calibration_is_never_replaced() public {
        params.addClass(_class(2));
        params.addCalibration(MANIFEST, 2, _bands(1, 2));
        vm.expectRevert(abi.encodeWithSelector(IParams.CalibrationExists.selector, MANIFEST, 2));
        params.addCalibration(MANIFEST, 2, _bands(1, 3));
    }

    function test_a_calibration_needs_its_class_and_a_manifest() public {
        vm.expectRevert(abi.encodeWithSelector(IParams.UnknownClass.selector, 2));
        params.addCalibration(MANIFEST, 2, _bands(1, 2));
        vm.expectRevert(IParams.ZeroManifest.selector);
        params.addCalibration(0, 2, _bands(1, 2));
    }

    function test_noise_bands_rise() public {
        params.addClass(_class(2));
        vm.expectRevert(abi.encodeWithSelector(IParams.BadNoiseBand.selector, 2, 2));
        params.addCalibration(MANIFEST, 2, _bands(2, 2));
        vm.expectRevert(abi.encodeWithSelector(IParams.BadNoiseBand.selector, 0, 2));
        params.addCalibration(MANIFEST, 2, _bands(0, 2));
    }
}
