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

    /// @notice Places of the next verifiers of the draw order: at most `wanted`, fewer if 64 tickets a seat do not find them.
    /// @param length see lengthAt
    /// @param seated who sat in this case before, silent ones included
    /// @param isParty whether a node has a hand in the batch
    /// @dev Moves order.nextTry past the last ticket used. Only places held at commit count, so neither joining nor leaving
    ///      after a seed is known changes who sits. At one block a node holds one place at most: who came back holds one
    ///      from a later block than it gave up the other.
    function draw(
        mapping(uint256 place => VerifierSlot) storage slots,
        uint256 length,
        Draw memory order,
        address[] memory seated,
        uint256 wanted,
        function(Draw memory, address) view returns (bool) isParty
    ) internal view returns (uint256[] memory found) {
        found = new uint256[](wanted);
        uint256 count;
        uint256 end = length == 0 ? order.nextTry : order.nextTry + TRIES_PER_SEAT * wanted;
        while (count < wanted && order.nextTry < end) {
            (uint256 place, address node) = _candidate(slots, order, length);
            ++order.nextTry;
            if (node == address(0) || isIn(node, seated) || isAmong(place, found, count)) continue;
            if (!isParty(order, node)) found[count++] = place;
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
        uint256 x;
        // keccak256(abi.encode(seed, batchId, round, i)), in memory that is given back: a draw may take hundreds of tickets.
        assembly ("memory-safe") {
            let at := mload(64)
            mstore(at, seed)
            mstore(add(at, 32), batchId)
            mstore(add(at, 64), round)
            mstore(add(at, 96), i)
            x := keccak256(at, 128)
        }
        place = uint256(uint64(x)) % listLength;
        roll = uint256(uint64(x >> 64)) % 10_000;
    }

    /// @notice Places of the first `high` that had been joined before `commitBlock`; only these are in the draw, so no verifier can join after a seed.
    function lengthAt(mapping(uint256 place => VerifierSlot) storage slots, uint256 high, uint256 commitBlock)
        internal
        view
        returns (uint256 low)
    {
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
        return isEitherIn(one, one, many);
    }

    /// @dev By hand: each verifier that is drawn is looked up among all clients whose leaves are.
    function isEitherIn(address one, address other, address[] memory many) internal pure returns (bool found) {
        assembly ("memory-safe") {
            let end := add(many, shl(5, mload(many)))
            for { let at := many } lt(at, end) {} {
                at := add(at, 32)
                let each := mload(at)
                if or(eq(each, one), eq(each, other)) {
                    found := 1
                    break
                }
            }
        }
    }

    function isAmong(uint256 place, uint256[] memory places, uint256 count) internal pure returns (bool) {
        for (uint256 i; i < count; ++i) {
            if (places[i] == place) return true;
        }
        return false;
    }

    /// @dev The verifier on the next ticket, 0 if its place was not held at commit or it loses its roll.
    function _candidate(mapping(uint256 place => VerifierSlot) storage slots, Draw memory order, uint256 length)
        private
        view
        returns (uint256 place, address node)
    {
        uint256 roll;
        (place, roll) = ticket(order.seed, order.batchId, order.round, order.nextTry, length);
        VerifierSlot storage slot = slots[place];
        if (roll < slot.weight && order.commitBlock <= slot.untilBlock) node = slot.node;
    }
}
