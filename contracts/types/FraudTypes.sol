// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Leaf, SumNode} from "../libraries/SumTreeLib.sol";
import {Contents} from "./BatchTypes.sol";

/// @notice Kinds of fraud that code alone can find in a batch, and the papers that show them. Twin of protocol/judging/fraud_proofs.py.
/// @dev No lie rests on a paper that the client can make up later: each paper is one that the leaf itself names by its hash,
///      or one that the node signed. So a node that settles what it was given never has to fear this.
enum FraudKind {
    None,
    /// @dev The sums under the root are not those that the batch was paid for. No papers.
    FalseSums,
    /// @dev Something stands in the tree beyond its last leaf. No papers.
    StuffedPadding,
    /// @dev The leaf is of another client, signer or number than its place. No papers.
    WrongPlace,
    /// @dev The leaf charges more than the largest that the batch declared. No papers.
    AboveLargest,
    /// @dev A leaf that is not ok charges, or claims time; or its status is none. No papers.
    PaidForNothing,
    /// @dev A paid leaf without a receipt in a batch that says it has them all. No papers.
    NoReceipt,
    /// @dev More leaves of one status than the batch declared; that many leaves. No papers.
    Miscounted,
    /// @dev Charge above the price. JobDetails.
    Overpriced,
    /// @dev A bonus above the cap or 9% of the charge, for a job not early enough, or without a receipt. JobDetails.
    FalseBonus,
    /// @dev Without receipts, and mined when the client may have paid another node. JobDetails.
    TooLate,
    /// @dev Without receipts, and faster than what was expected. JobDetails.
    FalseTime,
    /// @dev Settled as of a device class that the client did not ask for: another noise, other judges. JobDetails.
    WrongClass,
    /// @dev Settled as uncalibrated, which is never slashed, and the client had not agreed to that. JobDetails.
    NotAgreed,
    /// @dev Settled as checked, which costs half of the charge on top, and the client had not ordered that. JobDetails.
    FeeNotAgreed,
    /// @dev The client pays to have it checked, and its batch is drawn as any other. JobDetails.
    NotChecked,
    /// @dev The receipt says another charge, result or time. Receipt.
    ReceiptDiffers,
    /// @dev The receipt is for another job. Receipt, Assignment.
    ReceiptOfAnother,
    /// @dev The node signed another result or output for this job. Result, signature, Assignment.
    ResultDiffers
}

/// @notice A client's order as it is signed.
struct Assignment {
    address client;
    address signer;
    address node;
    uint24 index;
    uint96 cumulative;
    bytes32 details;
}

/// @notice The terms of an order; a leaf names its struct hash. Amounts in wei, deadline in seconds, temperature in thousandths.
struct JobDetails {
    bytes32 requestId;
    bytes32 offerHash;
    uint96 price;
    uint96 bonusCap;
    uint96 verifyFee;
    bytes32 manifest;
    bytes32 inputCid;
    bytes32 contentKeyHash;
    uint32 temperature;
    bytes32 seedNonce;
    uint32 maxNewTokens;
    uint32 classes;
    uint32 expectedMs;
    uint40 deadline;
    uint8 attempt;
    uint96 maxTotal;
    uint32 flags;
}

/// @notice A client's word that it has a result, owes `charge` wei and waited `actualMs`; a leaf names its struct hash.
struct Receipt {
    bytes32 jobId;
    bytes32 resultHash;
    uint96 charge;
    uint32 actualMs;
}

/// @notice The result that a node answers for, signed by its operator.
struct Result {
    bytes32 jobId;
    bytes32 resultHash;
    bytes32 outputCommit;
    bytes32 blobCid;
}

/// @notice A leaf with its way to the root.
struct OpenedLeaf {
    /// @dev Counted from 0 over the whole batch.
    uint256 position;
    Leaf leaf;
    /// @dev Siblings, bottom up.
    SumNode[] path;
}

/// @notice A lie with all that shows it.
struct Proof {
    address node;
    uint8 slot;
    FraudKind fraudKind;
    Contents contents;
    /// @dev One leaf; several with ascending positions for Miscounted.
    OpenedLeaf[] leaves;
    /// @dev abi.encode of the papers that the lie asks for, empty where it asks for none.
    bytes papers;
}
