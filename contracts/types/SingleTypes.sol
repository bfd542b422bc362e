// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice What is locked for one job of one node, and its rules; the chain keeps only a hash of it. Amounts in wei.
struct JobTerms {
    address client;
    address signer;
    address node;
    uint96 price;
    uint96 bonusCap;
    uint32 expectedMs;
    /// @dev Seconds. Until then the node may commit; so long the money is locked at least.
    uint40 deadline;
}

/// @notice What the node has bound itself to.
struct JobOutput {
    bytes32 resultHash;
    bytes32 outputCommit;
}
