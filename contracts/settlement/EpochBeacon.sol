// This contract is deployed.
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IEpochBeacon} from "../interfaces/IEpochBeacon.sol";
import {IParams} from "../interfaces/IParams.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice Keeps one block hash an epoch. A batch is bound to its epoch when it is submitted, so no party chooses the block.
/// @dev The hash comes from the EVM for 256 blocks, then from EIP-2935's history contract for 8191 where the chain has it.
contract EpochBeacon is IEpochBeacon {
    address private constant HISTORY = 0x0000F90827F1C53a10cb7A02335B175320002935;

    uint256 public immutable epochBlocks;
    uint256 public immutable lagBlocks;

    /// @dev Of epochs that were never re-armed. A seed that is there answers everything, so who asks for it reads one word.
    mapping(uint256 epoch => bytes32) private _seeds;
    /// @dev Of epochs that were.
    mapping(uint256 epoch => bytes32) private _lateSeeds;
    mapping(uint256 epoch => uint256) private _rearmedBlock;

    constructor(IParams params) {
        Profile memory profile = params.profile();
        epochBlocks = profile.epochBlocks;
        lagBlocks = profile.lagBlocks;
    }

    function seal(uint256 epoch) external returns (bytes32 seed) {
        bool rearmed;
        (seed, rearmed) = seedOf(epoch);
        if (seed != 0) revert AlreadySealed(epoch);
        uint256 seedBlock = seedBlockOf(epoch);
        if (block.number <= seedBlock) revert SeedNotYet(epoch, seedBlock);
        seed = _hashOf(seedBlock);
        if (seed == 0) revert SeedLost(epoch, seedBlock);
        if (rearmed) _lateSeeds[epoch] = seed;
        else _seeds[epoch] = seed;
        emit EpochSealed(epoch, seed, seedBlock);
    }

    function rearm(uint256 epoch) external returns (uint256 seedBlock) {
        (bytes32 seed, bool rearmed) = seedOf(epoch);
        if (seed != 0) revert AlreadySealed(epoch);
        if (rearmed) revert RearmedBefore(epoch);
        seedBlock = seedBlockOf(epoch);
        if (!_isOutOfReach(seedBlock)) revert SeedStillThere(epoch, seedBlock);
        seedBlock = block.number + lagBlocks;
        _rearmedBlock[epoch] = seedBlock;
        emit EpochRearmed(epoch, seedBlock);
    }

    function epochOf(uint256 blockNumber) public view returns (uint256) {
        return blockNumber / epochBlocks;
    }

    function seedBlockOf(uint256 epoch) public view returns (uint256) {
        uint256 rearmed = _rearmedBlock[epoch];
        return rearmed != 0 ? rearmed : (epoch + 1) * epochBlocks + lagBlocks;
    }

    function seedOf(uint256 epoch) public view returns (bytes32 seed, bool rearmed) {
        seed = _seeds[epoch];
        if (seed != 0) return (seed, false);
        rearmed = _rearmedBlock[epoch] != 0;
        if (rearmed) seed = _lateSeeds[epoch];
    }

    function seedAt(uint256 blockNumber) external view returns (bytes32 seed, bool rearmed) {
        return seedOf(epochOf(blockNumber));
    }

    function isLost(uint256 epoch) external view returns (bool) {
        (bytes32 seed, bool rearmed) = seedOf(epoch);
        return seed == 0 && rearmed && _isOutOfReach(_rearmedBlock[epoch]);
    }

    function _isOutOfReach(uint256 blockNumber) private view returns (bool) {
        return block.number > blockNumber && _hashOf(blockNumber) == 0;
    }

    function _hashOf(uint256 blockNumber) private view returns (bytes32 hash) {
        hash = blockhash(blockNumber);
        if (hash != 0) return hash;
        (bool answered, bytes memory word) = HISTORY.staticcall(abi.encode(blockNumber));
        // A chain without the contract answers with nothing, one that has forgotten the block reverts.
        if (answered && word.length == 32) hash = abi.decode(word, (bytes32));
    }
}
