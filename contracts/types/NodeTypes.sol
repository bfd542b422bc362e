// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Life of a node: active > jailed > active, active > exiting > gone; staking again leads back to active.
enum NodeState {
    None,
    Active,
    Jailed,
    Exiting,
    Gone
}

/// @notice An ERC-2612 permission that rides along with the call that needs it.
struct Permit {
    uint256 deadline;
    uint8 v;
    bytes32 r;
    bytes32 s;
}

/// @notice Money held by shares: a slash lowers the total and so reaches every share at once.
struct Pool {
    uint96 total;
    uint128 shares;
}

/// @notice What Settlement must know of a node when a batch comes in.
struct Standing {
    address operator;
    NodeState state;
    uint32 classMask;
    uint96 activeStake;
    uint16 scoreHundredths;
    /// @dev 10000 on probation, 5000 with too many failures among the last 50 leaves, else 1000.
    uint16 rateBps;
    uint16 samplesLeft;
}

/// @notice Everything about a node that a client, a peer or a page asks for.
struct NodeView {
    address owner;
    address operator;
    address payout;
    NodeState state;
    uint32 classMask;
    uint96 activeStake;
    uint96 unbondingStake;
    uint40 unlockAt;
    uint40 jailedUntil;
    uint16 scoreHundredths;
    uint16 rateBps;
    uint32 successes;
    uint32 total;
    uint48 responseMs;
    uint16 checkInDays;
    uint24 activatedDay;
    uint16 penaltyTenths;
    uint16 samplesLeft;
    /// @dev Failed leaves among the last 50.
    uint8 recentFailures;
}

/// @notice What a final batch adds to a node's record. Amounts in wei, times in milliseconds of the ok leaves together.
struct BatchRecord {
    uint16 okCount;
    uint16 failedCount;
    uint96 burned;
    uint48 responseMs;
}
