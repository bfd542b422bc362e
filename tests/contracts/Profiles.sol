// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Vm} from "forge-std/Vm.sol";

import {CalibrationRow, DeviceClass, Profile} from "../../contracts/types/ParamTypes.sol";

/// @notice Reads a profile as the deployment does: from chain/abi/profiles.json.
library Profiles {
    /// @notice Constructor values of a Timelock with one proposer and one more canceller, whose proposals everybody executes.
    function timelock(Profile memory p, address proposer, address canceller) internal pure returns (bytes memory) {
        address[] memory proposers = new address[](1);
        proposers[0] = proposer;
        address[] memory cancellers = new address[](1);
        cancellers[0] = canceller;
        return abi.encode(p.timelockSeconds, proposers, new address[](1), cancellers);
    }

    /// @notice Constructor values of Params without rows.
    function params(Profile memory p, address governor, address guardian) internal pure returns (bytes memory) {
        return abi.encode(p, governor, guardian, new DeviceClass[](0), new CalibrationRow[](0));
    }

    function load(Vm vm, string memory name) internal view returns (Profile memory p) {
        string memory json = vm.readFile("../chain/abi/profiles.json");
        p.name = bytes32(bytes(name));
        p.epochBlocks = _u32(vm, json, name, "epochBlocks");
        p.lagBlocks = _u32(vm, json, name, "lagBlocks");
        p.seatSeconds = _u32(vm, json, name, "seatSeconds");
        p.challengeSeconds = _u32(vm, json, name, "challengeSeconds");
        p.dataSeconds = _u32(vm, json, name, "dataSeconds");
        p.conveneSeconds = _u32(vm, json, name, "conveneSeconds");
        p.starvedSeconds = _u32(vm, json, name, "starvedSeconds");
        p.appealSeconds = _u32(vm, json, name, "appealSeconds");
        p.arbiterSeconds = _u32(vm, json, name, "arbiterSeconds");
        p.laneCloseSeconds = _u32(vm, json, name, "laneCloseSeconds");
        p.unbondingSeconds = _u32(vm, json, name, "unbondingSeconds");
        p.jailSeconds = _u32(vm, json, name, "jailSeconds");
        p.timelockSeconds = _u32(vm, json, name, "timelockSeconds");
        _loadAmounts(vm, json, name, p);
    }

    function _loadAmounts(Vm vm, string memory json, string memory name, Profile memory p) private pure {
        p.minStake = _u96(vm, json, name, "minStake");
        p.recommendedStake = _u96(vm, json, name, "recommendedStake");
        p.minDeposit = _u96(vm, json, name, "minDeposit");
        p.minBurn = _u96(vm, json, name, "minBurn");
        p.courtValue = _u96(vm, json, name, "courtValue");
        p.verifierMinScore = uint16(_u32(vm, json, name, "verifierMinScore"));
        p.verifierMinAgeSeconds = _u32(vm, json, name, "verifierMinAgeSeconds");
        p.verifierWeightFloorBps = uint16(_u32(vm, json, name, "verifierWeightFloorBps"));
        p.slashBps = uint16(_u32(vm, json, name, "slashBps"));
    }

    function _u32(Vm vm, string memory json, string memory name, string memory key) private pure returns (uint32) {
        return uint32(vm.parseJsonUint(json, string.concat(".", name, ".", key)));
    }

    function _u96(Vm vm, string memory json, string memory name, string memory key) private pure returns (uint96) {
        return uint96(vm.parseJsonUint(json, string.concat(".", name, ".", key)));
    }
}
