// This contract is deployed.
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IParams} from "../interfaces/IParams.sol";
import {ITimelock} from "../interfaces/ITimelock.sol";
import {Calibration, CalibrationRow, DeviceClass, NoiseBand, Profile} from "../types/ParamTypes.sol";

/// @notice The numbers of one network. The profile never changes; the governor may add rows, and no account may change one.
/// @dev The rows that a network starts with are constructor values, so there is no time in which an account may write at once.
contract Params is IParams {
    uint256 private constant MAX_CLASS_ID = 31;
    uint16 private constant BPS = 10_000;
    uint16 private constant MAX_SLASH_BPS = 5_000;

    address public immutable governor;
    address public immutable guardian;

    uint32 public classMask;
    Profile private _profile;
    mapping(uint8 id => DeviceClass) private _classes;
    mapping(bytes32 manifest => mapping(uint8 classId => Calibration)) private _calibrations;

    /// @param guardian_ may be an address that is foretold
    constructor(
        Profile memory profile_,
        address governor_,
        address guardian_,
        DeviceClass[] memory classes_,
        CalibrationRow[] memory rows_
    ) {
        _requireTimes(profile_);
        _requireAmounts(profile_);
        bool waits = governor_.code.length != 0 && ITimelock(governor_).shortestDelay() >= profile_.timelockSeconds;
        _require(waits, "governor waits for the timelock");
        governor = governor_;
        guardian = guardian_;
        _profile = profile_;
        emit ProfileSet(profile_.name, profile_);
        for (uint256 i; i < classes_.length; ++i) {
            _addClass(classes_[i]);
        }
        for (uint256 i; i < rows_.length; ++i) {
            _addCalibration(rows_[i].manifest, rows_[i].classId, rows_[i].calibration);
        }
    }

    modifier onlyGovernor() {
        if (msg.sender != governor) revert NotGovernor(msg.sender);
        _;
    }

    function addClass(DeviceClass calldata class_) external onlyGovernor {
        _addClass(class_);
    }

    function addCalibration(bytes32 manifest, uint8 classId, Calibration calldata calibration) external onlyGovernor {
        _addCalibration(manifest, classId, calibration);
    }

    function profile() external view returns (Profile memory) {
        return _profile;
    }

    function classOf(uint8 id) external view returns (DeviceClass memory) {
        if (!_exists(id)) revert UnknownClass(id);
        return _classes[id];
    }

    function isCalibrated(bytes32 manifest, uint8 classId) public view returns (bool) {
        return _calibrations[manifest][classId].act.fail != 0;
    }

    function calibrationOf(bytes32 manifest, uint8 classId) external view returns (Calibration memory) {
        return _calibrations[manifest][classId];
    }

    function _addClass(DeviceClass memory class_) private {
        uint8 id = class_.id;
        if (id == 0 || id > MAX_CLASS_ID) revert BadClassId(id);
        if (_exists(id)) revert ClassExists(id);
        classMask |= uint32(1) << id;
        _classes[id] = class_;
        emit ClassAdded(id, class_);
    }

    function _addCalibration(bytes32 manifest, uint8 classId, Calibration memory calibration) private {
        if (manifest == 0) revert ZeroManifest();
        if (!_exists(classId)) revert UnknownClass(classId);
        if (isCalibrated(manifest, classId)) revert CalibrationExists(manifest, classId);
        _requireBand(calibration.act);
        _requireBand(calibration.chunk);
        _requireBand(calibration.tok);
        _requireBand(calibration.worst);
        _requireBandOrNone(calibration.embed);
        _requireBandOrNone(calibration.classify);
        _calibrations[manifest][classId] = calibration;
        emit CalibrationAdded(manifest, classId, calibration);
    }

    function _exists(uint8 id) private view returns (bool) {
        return id <= MAX_CLASS_ID && (classMask >> id) & 1 == 1;
    }

    function _requireBand(NoiseBand memory band) private pure {
        if (band.pass == 0 || band.pass >= band.fail) revert BadNoiseBand(band.pass, band.fail);
    }

    function _requireBandOrNone(NoiseBand memory band) private pure {
        if (band.fail != 0) _requireBand(band);
        else if (band.pass != 0) revert BadNoiseBand(band.pass, 0);
    }

    function _requireTimes(Profile memory p) private pure {
        _require(p.epochBlocks != 0 && p.lagBlocks != 0, "epoch and lag have blocks");
        _require(p.seatSeconds != 0 && p.challengeSeconds != 0 && p.laneCloseSeconds != 0, "windows are open");
        _require(p.dataSeconds != 0 && p.appealSeconds != 0 && p.arbiterSeconds != 0, "later windows are open");
        _require(p.jailSeconds != 0, "jail lasts");
        _require(p.starvedSeconds > p.conveneSeconds && p.conveneSeconds != 0, "starved after convene");
        _require(p.starvedSeconds >= 2 * uint256(p.seatSeconds), "starved after two turns of a seat");
        // A batch may wait that long for its case, and the case as long again for its seats, and once more after an appeal
        // or a doubt; beside that for data, the appeal and the arbiters, and for the two turns of an audit.
        uint256 batchLife = uint256(p.challengeSeconds) + 3 * uint256(p.starvedSeconds) + p.dataSeconds
            + p.appealSeconds + p.arbiterSeconds + 2 * uint256(p.seatSeconds);
        _require(p.unbondingSeconds > batchLife, "unbonding outlives a batch");
        _require(p.timelockSeconds > p.unbondingSeconds, "timelock outlives unbonding");
    }

    function _requireAmounts(Profile memory p) private pure {
        _require(p.name != 0, "a profile has a name");
        _require(p.minStake != 0 && p.recommendedStake >= p.minStake, "recommended stake above minimum");
        _require(p.minDeposit != 0 && p.minBurn != 0 && p.courtValue != 0, "amounts are positive");
        _require(p.verifierMinScore <= BPS, "score up to 100 points");
        _require(p.verifierWeightFloorBps != 0 && p.verifierWeightFloorBps <= BPS, "weight floor within 1..10000");
        _require(p.slashBps <= MAX_SLASH_BPS, "slash at most half");
    }

    function _require(bool holds, string memory relation) private pure {
        if (!holds) revert BadProfile(relation);
    }
}
