// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";

import {Delegations} from "./Delegations.sol";
import {IVCoin} from "../interfaces/IVCoin.sol";
import {EnvelopeLib} from "../libraries/EnvelopeLib.sol";
import {PoolLib} from "../libraries/PoolLib.sol";
import {ReputationLib} from "../libraries/ReputationLib.sol";
import {NodeState, NodeTerms, Permit, Registration} from "../types/NodeTypes.sol";

/// @notice Registers nodes, and changes what its owner may change about one: operator, classes, payout, commission.
abstract contract Registry is Delegations, EIP712(EnvelopeLib.NAME, EnvelopeLib.VERSION) {
    using SafeERC20 for IVCoin;

    uint32 private immutable _announceSeconds;

    struct OperatorKey {
        address node;
        /// @dev When it was rotated away, 0 while it operates.
        uint40 until;
    }

    /// @dev Every key that a node was rotated to or away from. None is ever free again for another node: what a key has signed
    ///      is its node's word.
    mapping(address operator => OperatorKey) private _keys;

    constructor(uint32 announceSeconds) {
        _announceSeconds = announceSeconds;
    }

    // ---- register

    function register(
        address operator,
        address payout,
        uint96 amount,
        uint32 classMask,
        uint40 deadline,
        bytes calldata consent
    ) external {
        _requireConsent(operator, deadline, consent);
        _register(operator, payout, amount, classMask);
    }

    function registerWithPermit(
        address operator,
        address payout,
        uint96 amount,
        uint32 classMask,
        uint40 deadline,
        bytes calldata consent,
        Permit calldata permit
    ) external {
        _requireConsent(operator, deadline, consent);
        _takePermit(amount, permit);
        _register(operator, payout, amount, classMask);
    }

    function registerWithCommission(Registration calldata terms, bytes calldata consent, Permit calldata permit)
        external
    {
        _requireConsent(terms.operator, terms.deadline, consent);
        if (permit.deadline != 0) _takePermit(terms.amount, permit);
        Node storage node = _nodes[terms.operator];
        node.commission = _stored(terms.commissionBps);
        _register(terms.operator, terms.payout, terms.amount, terms.classMask);
        emit CommissionChanged(terms.operator, terms.commissionBps);
    }

    // ---- at once

    function rotateOperator(address id, address operator, uint40 deadline, bytes calldata consent) external {
        Node storage node = _ownedBy(id, msg.sender);
        _requireConsent(operator, deadline, consent);
        address before = _operatorOf(id, node);
        bool isUnknown = _nodes[operator].state == NodeState.None && !_has(_nodes[operator], OPERATES);
        bool isFree = isUnknown || operator == id || _keys[operator].node == id;
        if (operator == before || !isFree) revert OperatorTaken(operator);
        _keys[before] = OperatorKey(id, uint40(block.timestamp));
        _keys[operator] = OperatorKey(id, 0);
        if (operator == id) {
            node.flags &= ~ROTATED;
            node.operator = address(0);
        } else {
            node.flags |= ROTATED;
            node.operator = operator;
            _nodes[operator].flags = OPERATES;
        }
        emit OperatorChanged(id, operator);
    }

    function setClasses(address id, uint32 classMask) external {
        Node storage node = _ownedBy(id, msg.sender);
        _requireClasses(classMask);
        node.classMask = classMask;
        node.record.samplesLeft = ReputationLib.PROBATION;
        emit ClassesChanged(id, classMask);
        _emitReputation(id, node);
    }

    // ---- announced, then in force

    function setCommission(address id, uint16 commissionBps) external {
        Node storage node = _ownedBy(id, msg.sender);
        node.nextCommission = _stored(commissionBps);
        node.commissionAt = uint32(block.timestamp) + _announceSeconds;
        emit CommissionAnnounced(id, commissionBps, node.commissionAt);
    }

    function confirmCommission(address id) external {
        Node storage node = _known(id);
        _requireDue(id, node.commissionAt);
        // Earnings until now are shared on the terms until now.
        _collect(id);
        node.commission = node.nextCommission;
        node.nextCommission = 0;
        node.commissionAt = 0;
        emit CommissionChanged(id, _commissionBps(node));
    }

    function cancelCommission(address id) external {
        Node storage node = _ownedBy(id, msg.sender);
        if (node.commissionAt == 0) revert NothingAnnounced(id);
        node.nextCommission = 0;
        node.commissionAt = 0;
        emit CommissionAnnounced(id, _commissionBps(node), 0);
    }

    function setPayout(address id, address payout) external {
        Node storage node = _ownedBy(id, msg.sender);
        node.nextPayout = payout;
        node.payoutAt = uint32(block.timestamp) + _announceSeconds;
        emit PayoutAnnounced(id, payout, node.payoutAt);
    }

    function confirmPayout(address id) external {
        Node storage node = _known(id);
        _requireDue(id, node.payoutAt);
        // Earnings until now belong to the old payout address.
        _collect(id);
        node.payout = node.nextPayout;
        node.nextPayout = address(0);
        node.payoutAt = 0;
        emit PayoutChanged(id, node.payout);
    }

    function cancelPayout(address id) external {
        Node storage node = _known(id);
        if (msg.sender != node.owner && msg.sender != payoutOf(id)) revert NotOwnerOrPayout(id, msg.sender);
        if (node.payoutAt == 0) revert NothingAnnounced(id);
        node.nextPayout = address(0);
        node.payoutAt = 0;
        emit PayoutAnnounced(id, payoutOf(id), 0);
    }

    // ---- views

    function termsOf(address id) external view returns (NodeTerms memory terms) {
        Node storage node = _nodes[id];
        if (node.state == NodeState.None) return terms;
        terms.ownStake = uint96(_ownActive(node));
        if (_has(node, DELEGATED)) {
            terms.delegatedStake = uint96(PoolLib.worth(node.delegatedShares, node.active, node.activeShares));
        }
        terms.rewardsHeld = node.rewardsHeld;
        terms.commissionBps = _commissionBps(node);
        terms.nextCommissionBps = node.commissionAt == 0 ? 0 : node.nextCommission - 1;
        terms.commissionAt = node.commissionAt;
        terms.nextPayout = node.nextPayout;
        terms.payoutAt = node.payoutAt;
    }

    function nodeOfOperator(address operator) external view returns (address id, uint40 until) {
        OperatorKey memory key = _keys[operator];
        if (key.node == address(0) && _nodes[operator].state != NodeState.None) key.node = operator;
        if (key.node == address(0)) return (id, until);
        return (key.node, key.until == 0 ? type(uint40).max : key.until);
    }

    // ---- inside

    function _register(address id, address payout, uint96 amount, uint32 classMask) private {
        requireIntake();
        Node storage node = _nodes[id];
        if (node.state != NodeState.None) revert NodeExists(id);
        if (_has(node, OPERATES)) revert OperatorTaken(id);
        _requireClasses(classMask);
        if (amount < _minStake) revert StakeTooLow(amount, _minStake);
        node.owner = msg.sender;
        node.state = NodeState.Active;
        node.lastDay = _today();
        node.active = amount;
        node.activeShares = amount;
        node.classMask = classMask;
        if (payout == address(0)) payout = msg.sender;
        else if (payout != msg.sender) node.payout = payout;
        node.record.activatedDay = _today();
        node.record.samplesLeft = ReputationLib.PROBATION;
        emit NodeRegistered(id, msg.sender, id, payout, classMask, amount);
        _coin.safeTransferFrom(msg.sender, address(this), amount);
    }

    function _requireConsent(address operator, uint40 deadline, bytes calldata consent) private view {
        if (operator == address(0)) revert ZeroAddress();
        if (block.timestamp > deadline) revert ConsentExpired(deadline);
        bytes32 digest = _hashTypedDataV4(EnvelopeLib.operatorConsentHash(msg.sender, operator, deadline));
        (address signer,,) = ECDSA.tryRecover(digest, consent);
        if (signer != operator) revert BadConsent(operator);
    }

    function _requireClasses(uint32 classMask) private {
        if (classMask == 0) revert BadClasses(classMask);
        if (classMask & ~_classes == 0) return;
        uint32 there = _params.classMask();
        if (classMask & ~there != 0) revert BadClasses(classMask);
        _classes = there;
    }

    function _requireDue(address id, uint32 from) private view {
        if (from == 0) revert NothingAnnounced(id);
        if (block.timestamp < from) revert NotYet(from);
    }

    function _takePermit(uint96 amount, Permit calldata permit) private {
        // A front-runner may have sent the permission first; then the allowance is there already.
        try _coin.permit(msg.sender, address(this), amount, permit.deadline, permit.v, permit.r, permit.s) {} catch {}
    }

    function _stored(uint16 commissionBps) private pure returns (uint16) {
        if (commissionBps > BPS) revert CommissionTooHigh(commissionBps);
        return commissionBps + 1;
    }
}
