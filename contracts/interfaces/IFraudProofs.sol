// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {BatchState, Contents} from "../types/BatchTypes.sol";
import {FraudKind, Proof} from "../types/FraudTypes.sol";

/// @notice Contradictions that need no court: a proof of one in a batch that is not final condemns its node at once.
/// @dev It earns nothing. A bounty would flow to the next caller: a node would condemn itself through a friend to keep
///      a part of its slash, and watchers would race for the proofs of others. Clients have their refund as a reason.
interface IFraudProofs {
    event LeafChallenged(
        bytes32 indexed batchId, address indexed node, address indexed client, uint8 slot, uint24 position, uint96 bond
    );
    /// @param kept whether the bond went to the pool, because a court let the batch pass
    event ChallengeEnded(bytes32 indexed batchId, address indexed client, uint96 bond, bool kept);
    event FraudProven(
        address indexed node,
        uint8 indexed slot,
        bytes32 indexed batchId,
        FraudKind fraudKind,
        uint256 position,
        address prover
    );

    /// @dev Final, void, or no batch at all.
    error WrongState(BatchState state);
    error WrongContents();
    error WrongLeafCount(uint256 count);
    error PositionOutOfRange(uint256 position, uint256 leafCount);
    /// @dev A way to the root has one sibling for each level of the tree.
    error WrongDepth(uint256 depth, uint256 needed);
    /// @dev The leaf and its siblings lead to another root.
    error WrongRoot(bytes32 found, bytes32 root);
    error PositionsNotAscending(uint256 position);
    error MixedStatus(uint256 position);
    /// @dev The papers are not those that the leaf names.
    error WrongPapers(FraudKind fraudKind);
    /// @dev Not signed by the node's operator.
    error BadSignature(address node);
    /// @dev Everything fits: this proof shows no such lie.
    error NoFraud(FraudKind fraudKind);
    error BadWiring();
    /// @dev Neither the client nor the signer of the lane that the leaf is of.
    error NotOwnLeaf(uint256 position, address caller);
    error WindowOver(uint256 closedAt);
    /// @dev Some of its leaves are checked in any case, or all of them.
    error DrawnAnyway(uint256 leafCount, uint256 ratePercent);
    error NoChallenge(bytes32 batchId);
    /// @dev The challenged batch is neither void nor final.
    error StillOpen(BatchState state);

    /// @notice Condemns a node by one of its own batches: the batch is void, the node slashed and jailed; anyone.
    function proveFraud(Proof calldata proof) external;

    /// @notice Brings a batch that might not be drawn to court with all its leaves; the client or signer of one of them, within
    ///         the challenge window. The bond is taken from the client's account: max(MIN_DEPOSIT, fee / rate).
    /// @dev Only a batch below one stratum can stay undrawn, so a challenge never costs more than nine checks at 10%. For a
    ///      leaf that its node does not open: it needs nothing but the leaf's place.
    /// @param position of the leaf, from 0 over the whole batch
    function challengeLeaf(address node, uint8 slot, Contents calldata contents, uint256 position)
        external
        returns (uint96 bond);

    /// @notice Gives the bond back once the batch is void, or to the pool once it passed and is final; anyone.
    /// @param commitBlock of the challenged batch, whose slot may hold another one by now
    function endChallenge(address node, uint8 slot, uint256 commitBlock) external;

    /// @notice The account that challenged a batch, and the bond; zero if there is no challenge or it is over.
    function challengeOf(bytes32 batchId) external view returns (address client, uint96 bond);
}
