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

/// @notice The terms of a registration; see IStakeManager.register.
struct Registration {
    address operator;
    address payout;
    uint96 amount;
    uint32 classMask;
    uint40 deadline;
    /// @dev The payout's part of what the stake of others earns, 0..10000.
    uint16 commissionBps;
}

/// @notice Money held by shares: a slash lowers the total and so reaches every share at once.
struct Pool {
    uint96 total;
    uint128 shares;
}

/// @notice Settlement's view of a node when a batch comes in.
struct Standing {
    address operator;
    NodeState state;
    uint32 classMask;
    /// @dev The owner's own part of the active stake.
    uint96 ownStake;
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
    /// @dev The owner's own part of the active stake.
    uint96 ownStake;
}

/// @notice The addition of a final batch to a node's record. Amounts in wei, times in milliseconds of the ok leaves together.
struct BatchRecord {
    uint16 okCount;
    uint16 failedCount;
    uint96 burned;
    uint48 responseMs;
}

/// @notice One staker's part in a node, the owner included. Amounts in wei, worth as of this block.
struct DelegationView {
    uint96 active;
    uint96 unbonding;
    /// @dev When the bucket may be withdrawn; 0 while nothing unbonds.
    uint40 unlockAt;
    /// @dev The amount that claimRewards would pay now.
    uint96 rewards;
}

/// @notice On what terms others may stake on a node, and what its owner has announced.
struct NodeTerms {
    uint96 ownStake;
    uint96 delegatedStake;
    /// @dev Booked for those who stake on the node and not yet paid to them.
    uint96 rewardsHeld;
    uint16 commissionBps;
    uint16 nextCommissionBps;
    /// @dev From when on anyone may put the next commission in force; 0: none is announced.
    uint40 commissionAt;
    address nextPayout;
    /// @dev As commissionAt, for the payout.
    uint40 payoutAt;
}
