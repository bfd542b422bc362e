// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {VerifierSlot} from "../types/CaseTypes.sol";

/// @notice All that a draw depends on.
struct Draw {
    bytes32 seed;
    bytes32 batchId;
    uint256 round;
    uint8 classId;
    uint256 commitBlock;
    /// @dev Of the node whose batch it is.
    address owner;
    /// @dev Clients and signers of drawn leaves.
    address[] parties;
    uint256 nextTry;
}

/// @notice The order in which verifiers are drawn for a batch, and how much each weighs.
/// @dev Twin of protocol/stages/sampling.py; tests/vectors/seats.json.
library SeatLib {
    /// @dev Tickets a seat may use before the draw gives it up.
    uint256 internal constant TRIES_PER_SEAT = 64;

    /// @notice The next verifiers of the draw order: at most `wanted`, fewer if 64 tickets a seat do not find them.
    /// @param seated nodes that sat in this case before, silent ones included
    /// @param isParty whether a node has a hand in the batch
    /// @dev Moves order.nextTry past the last ticket used. Only places held at commit count, so neither joining nor leaving
    ///      after a seed is known changes who sits.
    function draw(
        VerifierSlot[] storage slots,
        Draw memory order,
        address[] memory seated,
        uint256 wanted,
        function(Draw memory, address) view returns (bool) isParty
    ) internal view returns (address[] memory found) {
        uint256 length = lengthAt(slots, order.commitBlock);
        found = new address[](wanted);
        uint256 count;
        uint256 end = length == 0 ? order.nextTry : order.nextTry + TRIES_PER_SEAT * wanted;
        while (count < wanted && order.nextTry < end) {
            address node = _candidate(slots, order, length);
            ++order.nextTry;
            if (node == address(0) || isIn(node, seated) || isIn(node, found) || isParty(order, node)) continue;
            found[count++] = node;
        }
        assembly ("memory-safe") {
            mstore(found, count)
        }
    }

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

    function isIn(address one, address[] memory many) internal pure returns (bool) {
        for (uint256 i; i < many.length; ++i) {
            if (many[i] == one) return true;
        }
        return false;
    }

    /// @dev The verifier on the next ticket, 0 if its place was not held at commit or it loses its roll.
    function _candidate(VerifierSlot[] storage slots, Draw memory order, uint256 length)
        private
        view
        returns (address)
    {
        (uint256 place, uint256 roll) = ticket(order.seed, order.batchId, order.round, order.nextTry, length);
        VerifierSlot storage slot = slots[place];
        return roll < slot.weight && order.commitBlock <= slot.untilBlock ? slot.node : address(0);
    }
}
