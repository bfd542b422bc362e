// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Calibration, DeviceClass, Profile} from "../types/ParamTypes.sol";

/// @notice The numbers of one network: a profile fixed at deployment, and rows that the governor may add and no account may change.
/// @dev So nothing that the governor does reaches a batch that is open: what a batch is judged by stands in the batch itself
///      and in the profile.
interface IParams {
    event ProfileSet(bytes32 indexed name, Profile profile);
    event ClassAdded(uint8 indexed id, DeviceClass class_);
    event CalibrationAdded(bytes32 indexed manifest, uint8 indexed classId, Calibration calibration);

    error NotGovernor(address caller);
    /// @param relation which relation between the numbers does not hold
    error BadProfile(string relation);
    error BadClassId(uint256 id);
    error ClassExists(uint8 id);
    error UnknownClass(uint256 id);
    /// @dev A band must be 0 < pass < fail.
    error BadNoiseBand(uint32 pass, uint32 fail);
    error CalibrationExists(bytes32 manifest, uint8 classId);
    error ZeroManifest();

    /// @notice Adds a device class. Its id is 1..31 and new; only the governor may.
    function addClass(DeviceClass calldata class_) external;

    /// @notice Adds the noise constants of one model on one class; only the governor may, once per pair.
    function addCalibration(bytes32 manifest, uint8 classId, Calibration calldata calibration) external;

    /// @notice The account that may add rows: a contract whose every act waits for the profile's timelockSeconds.
    function governor() external view returns (address);

    /// @notice The contract that may pause the intake; 0 if none may.
    function guardian() external view returns (address);

    /// @notice Every number of the network.
    function profile() external view returns (Profile memory);

    /// @notice Bit i is set if class i exists.
    function classMask() external view returns (uint32);

    /// @notice A class row. Reverts UnknownClass.
    function classOf(uint8 id) external view returns (DeviceClass memory);

    /// @notice Whether constants exist for this model on this class; without them a non-pass is never slashed.
    function isCalibrated(bytes32 manifest, uint8 classId) external view returns (bool);

    /// @notice The constants, all zero if there are none.
    function calibrationOf(bytes32 manifest, uint8 classId) external view returns (Calibration memory);
}
