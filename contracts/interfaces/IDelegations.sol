// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {DelegationView, Permit} from "../types/NodeTypes.sol";

/// @notice Stake that others put on a node, and what it earns them.
/// @dev `unbond`, `rebond` and `withdraw` of IStakeManager serve both: the owner moves its own part, anyone else theirs.
interface IDelegations {
    /// @notice The part of a staker other than the owner in a node, after any change by that staker.
    event DelegationChanged(
        address indexed id, address indexed staker, uint96 active, uint96 unbonding, uint40 unlockAt
    );
    /// @notice Rewards that came from Settlement for those who stake on the node; the rest went to its payout.
    event RewardsShared(address indexed id, uint96 shared);
    event RewardsPaid(address indexed id, address indexed staker, uint96 amount);

    /// @dev The owner stakes by `stake`.
    error OwnerDelegates(address id);
    /// @dev Only an active node takes stake of others.
    error NodeTakesNoStake(address id);
    error DelegationTooLow(uint256 amount, uint256 minimum);
    /// @dev The owner's own part would be less than MIN_STAKE or than a tenth of all.
    error OwnStakeTooLow(uint256 own, uint256 needed);
    /// @dev Neither the owner nor anybody who has stake on this node.
    error NotStaker(address id, address caller);
    error NoRewards(address id, address staker);

    /// @notice Stakes on an active node. The node's owner must keep MIN_STAKE and a tenth of the whole as its own.
    /// @param amount at least MIN_DEPOSIT, wei
    function delegate(address id, uint96 amount) external;

    /// @notice As `delegate`, with an ERC-2612 permission instead of an earlier approve.
    function delegateWithPermit(address id, uint96 amount, Permit calldata permit) external;

    /// @notice Pays the caller what its stake on a node has earned, what waits in Settlement included.
    function claimRewards(address id) external returns (uint96 amount);

    /// @notice Books rewards of a node. Only Settlement, which sends the coins in the same call.
    /// @param amount what the node earned, wei
    /// @return payout where the payout's part goes: the commission, and what the owner's own shares earn
    /// @return shared the part of those who stake on the node; 0 where only its owner does
    function shareRewards(address id, uint96 amount) external returns (address payout, uint96 shared);

    /// @notice A staker's part in a node; of the owner its own part.
    function delegationOf(address id, address staker) external view returns (DelegationView memory);
}
