// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {NodeTerms, Permit, Registration} from "../types/NodeTypes.sol";

/// @notice The terms of a node that its owner may change, and how long that takes.
/// @dev A change that touches other people's money is announced first and comes into force after TIMELOCK, which outlives UNBONDING:
///      a delegator can leave before a higher commission, and an owner whose key was stolen can stop a
///      new payout.
interface INodeTerms {
    /// @param dueAt from when on anyone may put it in force; 0: called off
    event CommissionAnnounced(address indexed id, uint16 commissionBps, uint40 dueAt);
    event CommissionChanged(address indexed id, uint16 commissionBps);
    /// @param dueAt as in CommissionAnnounced
    event PayoutAnnounced(address indexed id, address payout, uint40 dueAt);
    event OperatorChanged(address indexed id, address indexed operator);
    event ClassesChanged(address indexed id, uint32 classMask);

    error CommissionTooHigh(uint256 commissionBps);
    error NothingAnnounced(address id);
    error NotYet(uint40 dueAt);
    /// @dev Only the owner or the present payout may call a new payout off.
    error NotOwnerOrPayout(address id, address caller);
    /// @dev The key is a node's id, or operates another one, or has done so.
    error OperatorTaken(address operator);

    /// @notice As `register`, with a commission of one's own choice.
    /// @param permit an ERC-2612 permission; with a deadline of 0 the allowance is there already
    function registerWithCommission(Registration calldata terms, bytes calldata consent, Permit calldata permit)
        external;

    /// @notice Gives the node another operator key, at once; only the owner. The id stays.
    /// @param consent the new operator's 65-byte signature over OperatorConsent(owner, operator, deadline)
    function rotateOperator(address id, address operator, uint40 deadline, bytes calldata consent) external;

    /// @notice Changes the device classes; only the owner. Full probation follows.
    function setClasses(address id, uint32 classMask) external;

    /// @notice Announces another commission; only the owner. A second announcement takes the place of the first.
    function setCommission(address id, uint16 commissionBps) external;

    /// @notice Puts an announced commission in force; anyone, once its time has come.
    function confirmCommission(address id) external;

    /// @notice Calls an announced commission off; only the owner.
    function cancelCommission(address id) external;

    /// @notice Puts an announced payout in force; anyone, once its time has come.
    function confirmPayout(address id) external;

    /// @notice Calls an announced payout off; the owner, or who is paid now.
    function cancelPayout(address id) external;

    /// @notice Commission, own and delegated stake, and what is announced. All zero if the node is unknown.
    function termsOf(address id) external view returns (NodeTerms memory);

    /// @notice The node that a key operates or once operated, and until when; 0 if it is no node's.
    /// @return id the node
    /// @return until in seconds; the highest number while it operates
    function nodeOfOperator(address operator) external view returns (address id, uint40 until);
}
