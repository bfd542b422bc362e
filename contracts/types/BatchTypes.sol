// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Life of a lane: none > open > closing > reclaimed; opening it again leads back to open.
enum LaneState {
    None,
    Open,
    Closing,
    Reclaimed
}

/// @notice Life of a batch: pending > final, or pending > in court > passed > final, or > void > refunded. One that passed may
///         be audited in between, and then passes again or is void.
enum BatchState {
    None,
    Pending,
    InCourt,
    Passed,
    Void,
    Final,
    Refunded,
    Audited
}

/// @notice Money moved from a client's account into a lock that only one node's submit can debit.
struct LaneView {
    uint96 left;
    /// @dev Highest cumulative amount settled so far; only assignments above it can still be claimed.
    uint96 mark;
    /// @dev When the lane may be reclaimed; 0 while it is not closing.
    uint40 closeAt;
    uint24 jobs;
    LaneState state;
}

/// @notice The amount that a client's owner lets a hot key move into lanes, and until when.
struct SignerGrant {
    uint96 budget;
    uint40 expiry;
}

/// @notice A batch as its node submits it; the sums are those of the tree under `root`.
struct Submission {
    address node;
    uint8 slot;
    uint8 classId;
    /// @dev Bit 0: unreceipted. Bit 1: uncalibrated class. Bit 5: checked, for half of the charge on top. Each stands for itself.
    uint8 flags;
    bytes32 root;
    uint96 priceSum;
    uint96 bonusSum;
    uint48 msSum;
    uint16 okCount;
    uint16 failedCount;
    /// @dev Largest charge of one leaf.
    uint96 maxLeaf;
    /// @dev When an unreceipted batch is too late, in seconds: its clients may then pay another node; 0 if receipted.
    uint40 mineBy;
}

/// @notice One lane's part of a batch: the latest assignment the client signed, and what its leaves cost.
struct Claim {
    address client;
    address signer;
    /// @dev Index of that assignment = jobs of the lane once this batch is counted.
    uint24 index;
    uint96 cumulative;
    bytes32 details;
    uint96 charge;
    uint96 bonus;
    bytes32 r;
    bytes32 vs;
}

/// @notice The amount that a claim took from its lane: charge + fee + bonus; the fee is ceil(charge / 20), of a checked batch
///         ceil(charge / 2).
/// @dev Leaves stand in the order of the debits, those of one debit in the order of their numbers: index - leaves + 1 to index.
struct Debit {
    address client;
    address signer;
    uint24 leaves;
    uint96 amount;
    /// @dev Number of the last of these jobs in its lane.
    uint24 index;
}

/// @notice The part of a batch of which the chain keeps only the hash; a call that convenes or refunds gives it again.
struct Contents {
    bytes32 root;
    uint96 maxLeaf;
    Debit[] debits;
}

/// @notice One slot of a node's ring, as stored.
struct Batch {
    uint96 charge;
    uint96 bonus;
    uint48 responseMs;
    uint16 scoreHundredths;
    uint96 fee;
    uint16 leafCount;
    uint16 okCount;
    uint16 failedCount;
    uint40 commitBlock;
    uint40 commitTime;
    uint8 classId;
    uint8 ratePercent;
    BatchState state;
    /// @dev As submitted. Bit 2: who convened its case has its share of the seats' pay. Bit 3: that is its node, at its end.
    ///      Bit 4: three seats found fraud in it, and an appeal may still come or is heard. Bit 6: checked, void, and its fee
    ///      stays with those who looked.
    uint8 flags;
    bytes32 contentsHash;
}

/// @notice A batch as a court needs it: its name, and the inputs of the draws of leaves and seats.
/// @dev In whole words, which are cheaper to hand from one contract to the other.
struct Docket {
    bytes32 batchId;
    bytes32 seed;
    bytes32 contentsHash;
    uint256 charge;
    uint256 commitBlock;
    uint256 commitTime;
    uint256 classId;
    uint256 leafCount;
    /// @dev How much of it is drawn; see SampleLib.
    uint256 rateBps;
}

/// @notice A node's money in Settlement.
struct Book {
    uint96 rewards;
    /// @dev Debits of batches that are neither final nor void.
    uint96 openValue;
    uint16 openBatches;
    /// @dev Open batches in which three seats found fraud: until their cases end, all that the node has open is drawn in full.
    uint16 accusations;
    /// @dev As long as something of the node is open, whether it is in jail: then that is drawn in full, too.
    bool jailed;
}
