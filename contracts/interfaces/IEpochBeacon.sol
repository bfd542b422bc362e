// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The source of a batch's randomness: the hash of a block that did not exist when the batch was submitted.
/// @dev Epoch e = block / EPOCH. Its seed is the hash of block (e + 1) * EPOCH + LAG, kept by the first call of seal in time.
interface IEpochBeacon {
    event EpochSealed(uint256 indexed epoch, bytes32 seed, uint256 seedBlock);
    /// @param seedBlock the block that now gives the seed
    event EpochRearmed(uint256 indexed epoch, uint256 seedBlock);

    error AlreadySealed(uint256 epoch);
    error SeedNotYet(uint256 epoch, uint256 seedBlock);
    /// @dev The hash is out of reach: re-arm the epoch, or after a second lapse give its batches up.
    error SeedLost(uint256 epoch, uint256 seedBlock);
    error SeedStillThere(uint256 epoch, uint256 seedBlock);
    error RearmedBefore(uint256 epoch);

    /// @notice Stores the seed of `epoch` while the chain still knows it: 256 blocks, 8191 where EIP-2935 is there.
    function seal(uint256 epoch) external returns (bytes32 seed);

    /// @notice Gives an epoch whose seed was lost one more seed block, LAG blocks from now.
    /// @dev Its batches are then drawn at half or more: to let the first seed pass gains nothing.
    function rearm(uint256 epoch) external returns (uint256 seedBlock);

    function epochBlocks() external view returns (uint256);

    function lagBlocks() external view returns (uint256);

    /// @notice The epoch that `blockNumber` lies in.
    function epochOf(uint256 blockNumber) external view returns (uint256);

    /// @notice The block whose hash is the seed of `epoch`.
    function seedBlockOf(uint256 epoch) external view returns (uint256);

    /// @notice The seed, or 0 if it is not sealed.
    /// @return seed hash of the seed block
    /// @return rearmed whether the first seed was lost
    function seedOf(uint256 epoch) external view returns (bytes32 seed, bool rearmed);

    /// @notice As `seedOf`, for the epoch that a block is in.
    function seedAt(uint256 blockNumber) external view returns (bytes32 seed, bool rearmed);

    /// @notice Whether both the first seed and the re-armed one are out of reach.
    function isLost(uint256 epoch) external view returns (bool);
}
