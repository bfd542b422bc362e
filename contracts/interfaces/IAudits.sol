// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Audit, Auditor} from "../types/AuditTypes.sol";
import {Contents} from "../types/BatchTypes.sol";

/// @notice The check of the seats. One in twenty cases that passed is drawn by a seed that comes after its verdict; three verifiers
///         who had no seat in it make their own projections of its leaves and compare: with those that each seat had bound itself
///         to, and with the node's.
/// @dev A seat is caught by two of them, a node by all three. A seat that can show nothing behind its digest is caught as well, so
///      it keeps what it has computed, and what it was shown, until its case can no longer be audited.
interface IAudits {
    event AuditConvened(bytes32 indexed caseId, address indexed node, uint8 slot, address[] auditors);
    event AuditCommitted(bytes32 indexed caseId, uint8 auditor, address indexed node, bytes32 commitment);
    event AuditRevealed(bytes32 indexed caseId, uint8 auditor, address indexed node, uint256 off, uint16 score);
    /// @notice The only event of its end.
    /// @param off bit i: seat i was caught
    /// @param fraud whether the node was condemned as well
    event AuditEnded(bytes32 indexed caseId, uint256 off, bool fraud);

    error BadWiring();
    /// @dev It did not pass, or the slot holds another batch.
    error NotPassed(bytes32 caseId);
    /// @dev The seed of the epoch in which it passed is not sealed yet.
    error NoSeed(uint256 epoch);
    error NotDrawn(bytes32 caseId);
    error AlreadyConvened(bytes32 caseId);
    error TooLate(uint256 until);
    /// @dev Fewer than three could be drawn.
    error TooFewAuditors(uint256 count);
    error NoSuchAudit(bytes32 caseId);
    error AuditOver(bytes32 caseId);
    error NotAuditor(bytes32 caseId, uint8 auditor, address caller);
    error ZeroCommitment();
    error AlreadyCommitted(bytes32 caseId, uint8 auditor);
    error NotCommitted(bytes32 caseId, uint8 auditor);
    /// @dev No auditor reveals while another may still commit.
    error TurnNotOver(uint256 until);
    error CommitmentMismatch(bytes32 caseId, uint8 auditor);
    error ScoreOutOfRange(uint256 score);

    /// @notice Opens the audit of a case that was drawn for one, and draws its auditors; anyone, within 32 epochs of the verdict.
    /// @dev While the batch is not final it waits for the end of its audit.
    function convene(address node, uint8 slot, Contents calldata contents) external returns (bytes32 caseId);

    /// @notice An auditor binds itself, within one turn of a seat; its operator.
    /// @param commitment keccak256(abi.encode(caseId, auditor, off, score, salt))
    function commit(bytes32 caseId, uint8 auditor, bytes32 commitment) external;

    /// @notice An auditor opens its commitment, once all have committed or their turn is over; its operator.
    /// @param off bit i: seat i has bound itself to something else than its own projections of these leaves
    /// @param score of the worst drawn leaf, basis points 0..10000; `NOTHING_SHOWN` if no seat has shown the leaves
    function reveal(bytes32 caseId, uint8 auditor, uint256 off, uint16 score, bytes32 salt) external;

    /// @notice Ends an audit that all have revealed in, or whose time is over; anyone. An auditor that was silent while another had
    ///         committed is fined.
    function close(bytes32 caseId) external;

    // ---- views

    /// @notice Whether a case that passed is drawn for an audit. Reverts NotPassed, and NoSeed before it can be known.
    function isDrawn(bytes32 caseId) external view returns (bool);

    /// @notice The auditors that `convene` would draw now. Reverts as `convene` does.
    function preview(address node, uint8 slot, Contents calldata contents) external view returns (address[] memory);

    function auditOf(bytes32 caseId) external view returns (Audit memory);

    function auditorsOf(bytes32 caseId) external view returns (Auditor[] memory);

    /// @notice A score that says: I was shown nothing to judge the node by.
    function NOTHING_SHOWN() external view returns (uint16);
}
