// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {VerifierSlot} from "../types/CaseTypes.sol";

/// @notice The order in which verifiers are drawn for a batch, and how much each weighs.
/// @dev Twin of protocol/stages/sampling.py; tests/vectors/seats.json.
library SeatLib {
    /// @dev Tickets a seat may use before the draw gives it up.
    uint256 internal constant TRIES_PER_SEAT = 64;

    /// @notice One ticket: a place in the list, and a roll of 0..9999 that must be below the place's weight.
    function ticket(bytes32 seed, bytes32 batchId, uint256 round, uint256 i, uint256 listLength)
        internal
        pure
        returns (uint256 place, uint256 roll)
    {
        uint256 x = uint256(keccak256(abi.encode(seed, batchId, round, i)));
        place = uint256(uint64(x)) % listLength;
        roll = uint256(uint64(x >> 64)) % 10_000;
    }

    /// @notice Places that had been joined before `commitBlock`; only these are in the draw, so nobody can join after a seed.
    function lengthAt(VerifierSlot[] storage slots, uint256 commitBlock) internal view returns (uint256 low) {
        uint256 high = slots.length;
        while (low < high) {
            uint256 middle = (low + high) / 2;
            if (slots[middle].fromBlock < commitBlock) low = middle + 1;
            else high = middle;
        }
    }

    /// @notice min(stake, 20 MIN) / (20 MIN) x score / 100 in basis points, rounded down, at least `floorBps`.
    function weightOf(uint256 stake, uint256 minStake, uint256 scoreHundredths, uint256 floorBps)
        internal
        pure
        returns (uint16)
    {
        uint256 full = 20 * minStake;
        uint256 weight = (stake < full ? stake : full) * scoreHundredths / full;
        return uint16(weight < floorBps ? floorBps : weight);
    }
}
