// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Every number that one network may choose. Set once at deployment; the relations between them are checked by Params.
/// @dev Seconds of chain time unless the name says blocks. Amounts are VCN wei.
struct Profile {
    bytes32 name;
    uint32 epochBlocks;
    uint32 lagBlocks;
    uint32 seatSeconds;
    uint32 challengeSeconds;
    uint32 dataSeconds;
    uint32 conveneSeconds;
    uint32 starvedSeconds;
    uint32 appealSeconds;
    uint32 arbiterSeconds;
    uint32 laneCloseSeconds;
    uint32 unbondingSeconds;
    uint32 jailSeconds;
    uint32 timelockSeconds;
    uint96 minStake;
    uint96 recommendedStake;
    uint96 minDeposit;
    uint96 minBurn;
    uint96 courtValue;
    /// @dev Hundredths of a point, 0..10000.
    uint16 verifierMinScore;
    uint32 verifierMinAgeSeconds;
    /// @dev A seat weighs at least this much in a draw, 1..10000 bp: without it a draw among three verifiers would starve.
    uint16 verifierWeightFloorBps;
    /// @dev Share of stake and unbonding lost on a severe verdict, at most 5000 bp; 0 is shadow mode.
    uint16 slashBps;
}

/// @notice The properties that two machines must share so that one may check the other.
/// @dev `id` is 1..31 because requests name classes by a bit mask.
struct DeviceClass {
    uint8 id;
    string name;
    /// @dev sha256 over the Dockerfile, the lock and the runner sources.
    bytes32 runtime;
    string dtype;
    string isa;
}

/// @notice Below `pass` the distance is honest noise, above `fail` it cannot be; parts per million.
struct NoiseBand {
    uint32 pass;
    uint32 fail;
}

/// @notice Noise constants of one model on one device class. A manifest's own numbers are never used.
struct Calibration {
    NoiseBand act;
    NoiseBand chunk;
    NoiseBand tok;
    NoiseBand worst;
    /// @dev Zero where the model was not measured for this kind of output; the same goes for `classify`.
    NoiseBand embed;
    NoiseBand classify;
    /// @dev sha256 of the fp16 little-endian whitening weights.
    bytes32 actWeightsHash;
    /// @dev sha256 of what each margin says for or against its node; zero if it was not measured.
    bytes32 marginScoresHash;
}

/// @notice A row of the calibration table as a network is deployed with it.
struct CalibrationRow {
    bytes32 manifest;
    uint8 classId;
    Calibration calibration;
}
