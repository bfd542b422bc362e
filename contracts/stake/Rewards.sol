// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {Nodes} from "./Nodes.sol";
import {IVCoin} from "../interfaces/IVCoin.sol";

/// @notice The earnings of others' stake: an index per node counts the earnings of one share since the beginning.
/// @dev The commission, and what the owner's own shares earn, goes from Settlement straight to the payout; only the part of the
///      others comes here. Roundings stay here and have no owner: less than a wei a claim and staker.
abstract contract Rewards is Nodes {
    using SafeERC20 for IVCoin;

    struct Delegation {
        uint112 shares;
        uint112 unbondingShares;
        uint32 unlockAt;
        /// @dev Earned up to rewardIndex and not paid.
        uint96 rewards;
        uint16 activeRound;
        uint16 unbondingRound;
        uint256 rewardIndex;
    }

    uint256 internal constant BPS = 10_000;
    uint16 private constant DEFAULT_COMMISSION_BPS = 1_000;
    uint256 private constant INDEX_BITS = 96;

    mapping(address id => mapping(address staker => Delegation)) internal _delegations;
    /// @dev The index at the slash that ended the active pool: shares of that round earn no more.
    mapping(address id => mapping(uint256 round => uint256)) internal _lastIndex;

    function claimRewards(address id) external returns (uint96 amount) {
        Node storage node = _known(id);
        _collect(id);
        Delegation storage delegation = _delegations[id][msg.sender];
        _settle(id, node, delegation);
        amount = delegation.rewards;
        if (amount == 0) revert NoRewards(id, msg.sender);
        delegation.rewards = 0;
        node.rewardsHeld -= amount;
        emit RewardsPaid(id, msg.sender, amount);
        _coin.safeTransfer(msg.sender, amount);
    }

    function shareRewards(address id, uint96 amount) external returns (address payout, uint96 shared) {
        if (msg.sender != address(_settlement)) revert NotSettlement(msg.sender);
        Node storage node = _known(id);
        payout = payoutOf(id);
        shared = _sharedOf(node, amount);
        if (shared == 0) return (payout, 0);
        node.rewardIndex += (uint256(shared) << INDEX_BITS) / node.delegatedShares;
        node.rewardsHeld += shared;
        emit RewardsShared(id, shared);
    }

    // ---- inside

    function _commissionBps(Node storage node) internal view returns (uint16) {
        uint16 stored = node.commission;
        return stored == 0 ? DEFAULT_COMMISSION_BPS : stored - 1;
    }

    /// @dev Of rewards, what goes to those who stake on the node; the rounding is the payout's.
    function _sharedOf(Node storage node, uint96 amount) internal view returns (uint96) {
        if (!_has(node, DELEGATED)) return 0;
        uint256 delegated = node.delegatedShares;
        if (delegated == 0) return 0;
        return uint96(uint256(amount) * (BPS - _commissionBps(node)) * delegated / (BPS * node.activeShares));
    }

    /// @dev Has Settlement book what the node has earned so far. Comes before shares change hands: a new delegator has no part
    ///      in what was earned before.
    function _collect(address id) internal {
        if (_settlement.bookOf(id).rewards != 0) _settlement.claim(id);
    }

    /// @dev Brings a staker's part up to date: rewards up to now, and no shares of pools that slashes have ended.
    function _settle(address id, Node storage node, Delegation storage delegation) internal {
        uint256 index = node.rewardIndex;
        uint96 earned = _earned(id, node, delegation, index);
        if (earned != 0) delegation.rewards += earned;
        if (delegation.rewardIndex != index) delegation.rewardIndex = index;
        if (delegation.activeRound != node.activeRound) {
            delegation.activeRound = node.activeRound;
            delegation.shares = 0;
        }
        _settleUnbonding(node, delegation);
    }

    function _settleUnbonding(Node storage node, Delegation storage delegation) internal {
        if (delegation.unbondingRound == node.unbondingRound) return;
        delegation.unbondingRound = node.unbondingRound;
        delegation.unbondingShares = 0;
        delegation.unlockAt = 0;
    }

    /// @dev The earnings of the shares since rewardIndex. They are at most those for which the index grew, so the product is at
    ///      most what was shared, times 2^96.
    function _earned(address id, Node storage node, Delegation storage delegation, uint256 index)
        internal
        view
        returns (uint96)
    {
        uint256 shares = delegation.shares;
        if (shares == 0) return 0;
        uint16 round = delegation.activeRound;
        if (round != node.activeRound) index = _lastIndex[id][round];
        return uint96((shares * (index - delegation.rewardIndex)) >> INDEX_BITS);
    }

    /// @dev The index as it would be once Settlement's present rewards are booked.
    function _nextIndex(address id, Node storage node) internal view returns (uint256 index) {
        index = node.rewardIndex;
        uint96 shared = _sharedOf(node, _settlement.bookOf(id).rewards);
        if (shared != 0) index += (uint256(shared) << INDEX_BITS) / node.delegatedShares;
    }
}
