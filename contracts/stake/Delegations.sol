// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Rewards} from "./Rewards.sol";
import {IVCoin} from "../interfaces/IVCoin.sol";
import {PoolLib} from "../libraries/PoolLib.sol";
import {ReputationLib} from "../libraries/ReputationLib.sol";
import {DelegationView, NodeState, Permit} from "../types/NodeTypes.sol";

/// @notice Stake by shares: the owner's, and that of anyone who stakes on the node. Each has one unbonding bucket a node.
/// @dev Money moves in wei and is held in shares of two pools, active and unbonding. A slash lowers a pool's total, so it
///      reaches everyone alike, and what has matured as well until it is withdrawn.
abstract contract Delegations is Rewards {
    using SafeCast for uint256;
    using SafeERC20 for IVCoin;

    uint96 internal immutable _minDelegation;
    uint32 private immutable _unbondingSeconds;

    constructor(uint96 minDelegation, uint32 unbondingSeconds) {
        _minDelegation = minDelegation;
        _unbondingSeconds = unbondingSeconds;
    }

    // ---- in

    function stake(address id, uint96 amount) external {
        Node storage node = _ownedBy(id, msg.sender);
        if (amount == 0) revert ZeroAmount();
        _bringUpToDate(id, node);
        _startDays(node);
        _mintActive(node, amount);
        _comeBack(id, node);
        _emitStake(id, node);
        _coin.safeTransferFrom(msg.sender, address(this), amount);
    }

    function delegate(address id, uint96 amount) external {
        _delegate(id, amount);
    }

    function delegateWithPermit(address id, uint96 amount, Permit calldata permit) external {
        // A front-runner may have sent the permission first; then the allowance is there already.
        try _coin.permit(msg.sender, address(this), amount, permit.deadline, permit.v, permit.r, permit.s) {} catch {}
        _delegate(id, amount);
    }

    // ---- out, and back in

    function unbond(address id, uint96 amount) external {
        Node storage node = _known(id);
        if (amount == 0) revert ZeroAmount();
        _bringUpToDate(id, node);
        uint32 unlockAt = uint32(block.timestamp) + _unbondingSeconds;
        if (msg.sender == node.owner) {
            _burnActive(node, amount, _ownShares(node));
            node.unlockAt = unlockAt;
            if (_ownShares(node) != 0) _requireOwnPart(node);
            else if (node.state == NodeState.Active) _setState(id, node, NodeState.Exiting);
            _mintUnbonding(node, amount);
        } else {
            Delegation storage delegation = _delegationOf(id, msg.sender);
            _settle(id, node, delegation);
            uint112 burned = _burnActive(node, amount, delegation.shares);
            delegation.shares -= burned;
            node.delegatedShares -= burned;
            uint256 rest = PoolLib.worth(delegation.shares, node.active, node.activeShares);
            if (delegation.shares != 0 && rest < _minDelegation) revert DelegationTooLow(rest, _minDelegation);
            uint112 minted = _mintUnbonding(node, amount);
            delegation.unbondingShares += minted;
            delegation.unlockAt = unlockAt;
            node.delegatedUnbonding += minted;
            _emitDelegation(id, node, delegation);
        }
        _emitStake(id, node);
    }

    function rebond(address id, uint96 amount) external {
        Node storage node = _known(id);
        if (amount == 0) revert ZeroAmount();
        _bringUpToDate(id, node);
        if (msg.sender == node.owner) {
            _startDays(node);
            _burnUnbonding(node, amount, _ownUnbondingShares(node));
            _mintActive(node, amount);
            _comeBack(id, node);
        } else {
            // As in _delegate: who comes back as the first has no part in what was earned meanwhile.
            if (node.delegatedShares == 0) _collect(id);
            Delegation storage delegation = _delegationOf(id, msg.sender);
            _settle(id, node, delegation);
            uint112 burned = _burnUnbonding(node, amount, delegation.unbondingShares);
            delegation.unbondingShares -= burned;
            node.delegatedUnbonding -= burned;
            if (delegation.unbondingShares == 0) delegation.unlockAt = 0;
            _addDelegated(id, node, delegation, amount);
        }
        _emitStake(id, node);
    }

    function withdraw(address id) external returns (uint96 amount) {
        Node storage node = _known(id);
        if (msg.sender == node.owner) {
            uint112 shares = _ownUnbondingShares(node);
            amount = _matured(id, node, shares, node.unlockAt);
            _takeUnbonding(node, amount, shares);
            node.unlockAt = 0;
            if (node.state == NodeState.Exiting) _setState(id, node, NodeState.Gone);
        } else {
            Delegation storage delegation = _delegationOf(id, msg.sender);
            // Rewards are not touched: only active shares earn.
            _settleUnbonding(node, delegation);
            uint112 shares = delegation.unbondingShares;
            amount = _matured(id, node, shares, delegation.unlockAt);
            _takeUnbonding(node, amount, shares);
            node.delegatedUnbonding -= shares;
            delegation.unbondingShares = 0;
            delegation.unlockAt = 0;
            if (node.delegatedShares == 0 && node.delegatedUnbonding == 0) node.flags &= ~DELEGATED;
            _emitDelegation(id, node, delegation);
        }
        _emitStake(id, node);
        emit StakeWithdrawn(id, msg.sender, amount);
        _coin.safeTransfer(msg.sender, amount);
    }

    // ---- views

    function delegationOf(address id, address staker) external view returns (DelegationView memory shown) {
        Node storage node = _nodes[id];
        if (node.state == NodeState.None) return shown;
        if (staker == node.owner) {
            shown.active = uint96(_ownActive(node));
            shown.unbonding = uint96(PoolLib.worth(_ownUnbondingShares(node), node.unbonding, node.unbondingShares));
            shown.unlockAt = _unlockAt(node);
            return shown;
        }
        Delegation storage delegation = _delegations[id][staker];
        if (delegation.activeRound == node.activeRound) {
            shown.active = uint96(PoolLib.worth(delegation.shares, node.active, node.activeShares));
        }
        if (delegation.unbondingRound == node.unbondingRound) {
            shown.unbonding = uint96(PoolLib.worth(delegation.unbondingShares, node.unbonding, node.unbondingShares));
            shown.unlockAt = delegation.unlockAt;
        }
        shown.rewards = delegation.rewards + _earned(id, node, delegation, _nextIndex(id, node));
    }

    // ---- inside: the owner and the others

    /// @dev A node that left and comes back starts on full probation, with its old record.
    function _comeBack(address id, Node storage node) internal {
        if (node.state != NodeState.Exiting && node.state != NodeState.Gone) return;
        _requireOwnPart(node);
        node.record.samplesLeft = ReputationLib.PROBATION;
        _setState(id, node, NodeState.Active);
    }

    function _delegate(address id, uint96 amount) private {
        Node storage node = _known(id);
        if (msg.sender == node.owner) revert OwnerDelegates(id);
        if (amount < _minDelegation) revert DelegationTooLow(amount, _minDelegation);
        // Of what was earned so far nothing is for who comes now, be it the first one.
        _chargeOffline(id, node);
        _collect(id);
        Delegation storage delegation = _delegations[id][msg.sender];
        _settle(id, node, delegation);
        _addDelegated(id, node, delegation, amount);
        _emitStake(id, node);
        _coin.safeTransferFrom(msg.sender, address(this), amount);
    }

    function _addDelegated(address id, Node storage node, Delegation storage delegation, uint96 amount) private {
        if (node.state != NodeState.Active) revert NodeTakesNoStake(id);
        uint112 minted = _mintActive(node, amount);
        delegation.shares += minted;
        node.delegatedShares += minted;
        if (!_has(node, DELEGATED)) node.flags |= DELEGATED;
        uint256 own = _ownActive(node);
        if (own < _ownMinimum(node)) revert OwnStakeTooLow(own, _ownMinimum(node));
        _emitDelegation(id, node, delegation);
    }

    /// @dev Reverts unless the caller has something in either pool, or had before slashes ended it.
    function _delegationOf(address id, address staker) private view returns (Delegation storage delegation) {
        delegation = _delegations[id][staker];
        if (delegation.shares == 0 && delegation.unbondingShares == 0) revert NotStaker(id, staker);
    }

    /// @dev Before shares change hands: what was earned so far, and what the node's absence costs so far, is of those who have
    ///      them now.
    function _bringUpToDate(address id, Node storage node) private {
        _chargeOffline(id, node);
        if (_has(node, DELEGATED) && node.delegatedShares != 0) _collect(id);
    }

    /// @dev An owner who had left owes no sign for the days in between.
    function _startDays(Node storage node) private {
        if (_ownShares(node) != 0 || node.lastDay == _today()) return;
        node.lastDay = _today();
        node.flags &= ~SEEN;
    }

    function _matured(address id, Node storage node, uint112 shares, uint32 unlockAt) private view returns (uint96) {
        uint256 amount = PoolLib.worth(shares, node.unbonding, node.unbondingShares);
        if (amount == 0) revert NothingUnbonding(id);
        if (block.timestamp < unlockAt) revert StillUnbonding(unlockAt);
        return uint96(amount);
    }

    function _emitDelegation(address id, Node storage node, Delegation storage delegation) private {
        uint256 shares = delegation.activeRound == node.activeRound ? delegation.shares : 0;
        emit DelegationChanged(
            id,
            msg.sender,
            uint96(PoolLib.worth(shares, node.active, node.activeShares)),
            uint96(PoolLib.worth(delegation.unbondingShares, node.unbonding, node.unbondingShares)),
            delegation.unlockAt
        );
    }

    // ---- inside: pools

    function _mintActive(Node storage node, uint96 amount) private returns (uint112 minted) {
        minted = PoolLib.minted(amount, node.active, node.activeShares).toUint112();
        node.activeShares += minted;
        node.active += amount;
    }

    function _mintUnbonding(Node storage node, uint96 amount) private returns (uint112 minted) {
        minted = PoolLib.minted(amount, node.unbonding, node.unbondingShares).toUint112();
        node.unbondingShares += minted;
        node.unbonding += amount;
    }

    /// @dev Takes `amount` out of what `held` shares are worth; who takes all of it gives up all of them.
    function _burnActive(Node storage node, uint96 amount, uint112 held) private returns (uint112 burned) {
        burned = _cost(amount, held, node.active, node.activeShares);
        node.activeShares -= burned;
        node.active -= amount;
    }

    function _burnUnbonding(Node storage node, uint96 amount, uint112 held) private returns (uint112 burned) {
        burned = _cost(amount, held, node.unbonding, node.unbondingShares);
        _takeUnbonding(node, amount, burned);
    }

    function _takeUnbonding(Node storage node, uint96 amount, uint112 shares) private {
        node.unbondingShares -= shares;
        node.unbonding -= amount;
    }

    function _cost(uint256 amount, uint112 held, uint256 total, uint256 shares) private pure returns (uint112) {
        uint256 there = PoolLib.worth(held, total, shares);
        if (amount > there) revert NotEnoughStake(amount, there);
        return amount == there ? held : PoolLib.redeemed(amount, total, shares).toUint112();
    }

    /// @dev Lowers both pools by `bps`, rounded up. A pool of which too little is left ends: the rest of it is taken too.
    function _slashPools(address id, Node storage node, uint16 bps)
        internal
        returns (uint96 fromActive, uint96 fromUnbonding)
    {
        fromActive = _lowerActive(id, node, uint96(PoolLib.slashOf(node.active, bps)));
        fromUnbonding = uint96(PoolLib.slashOf(node.unbonding, bps));
        if (PoolLib.isSpent(node.unbonding - fromUnbonding, node.unbondingShares)) {
            fromUnbonding = node.unbonding;
            _endUnbonding(node);
        }
        node.unbonding -= fromUnbonding;
    }

    function _lowerActive(address id, Node storage node, uint96 amount) internal returns (uint96 taken) {
        taken = amount;
        if (PoolLib.isSpent(node.active - taken, node.activeShares)) {
            taken = node.active;
            _endActive(id, node);
        }
        node.active -= taken;
    }

    /// @dev Shares of nothing would take part in what is staked next.
    function _endActive(address id, Node storage node) private {
        node.activeShares = 0;
        if (!_has(node, DELEGATED)) return;
        _lastIndex[id][node.activeRound] = node.rewardIndex;
        ++node.activeRound;
        node.delegatedShares = 0;
    }

    function _endUnbonding(Node storage node) private {
        node.unbondingShares = 0;
        if (!_has(node, DELEGATED)) return;
        ++node.unbondingRound;
        node.delegatedUnbonding = 0;
    }
}
