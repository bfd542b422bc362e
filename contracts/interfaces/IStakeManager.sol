// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IDelegations} from "./IDelegations.sol";
import {IIntake} from "./IIntake.sol";
import {ILiveness} from "./ILiveness.sol";
import {INodeTerms} from "./INodeTerms.sol";
import {BatchRecord, NodeState, NodeView, Permit, Pool, Standing} from "../types/NodeTypes.sol";

/// @notice The nodes, their stakes and their reputation records. A node's id is its first operator's address.
interface IStakeManager is IDelegations, INodeTerms, ILiveness, IIntake {
    event NodeRegistered(
        address indexed id, address indexed owner, address operator, address payout, uint32 classMask, uint96 amount
    );
    /// @notice The node's pools after any change; NodeRegistered says how they start.
    event StakeChanged(address indexed id, uint96 active, uint96 unbonding, uint40 unlockAt);
    event NodeStateChanged(address indexed id, NodeState state);
    event StakeWithdrawn(address indexed id, address indexed owner, uint96 amount);
    event PayoutChanged(address indexed id, address payout);
    event CheckedIn(address indexed id, uint24 day, uint16 checkInDays);
    event Slashed(
        address indexed id,
        bytes32 indexed caseId,
        uint96 fromActive,
        uint96 fromUnbonding,
        uint96 burned,
        uint96 pooled
    );
    event Jailed(address indexed id, bytes32 indexed caseId, uint40 until);
    event Unjailed(address indexed id);
    /// @notice The record after any change; `scoreHundredths` is as of this block.
    event ReputationChanged(
        address indexed id,
        uint16 scoreHundredths,
        uint32 successes,
        uint32 total,
        uint16 penaltyTenths,
        uint16 samplesLeft,
        uint8 recentFailures
    );

    error ZeroAddress();
    error ZeroAmount();
    error NodeExists(address id);
    error UnknownNode(address id);
    error NotOwner(address id, address caller);
    error NotOperator(address id, address caller);
    error NotCourt(address caller);
    error NotSettlement(address caller);
    error ConsentExpired(uint40 deadline);
    error BadConsent(address operator);
    /// @param mask the classes asked for; each must exist in Params and there must be one
    error BadClasses(uint32 mask);
    error StakeTooLow(uint256 stake, uint256 minimum);
    error NotEnoughStake(uint256 asked, uint256 there);
    error NothingUnbonding(address id);
    error StillUnbonding(uint40 unlockAt);
    error SameDay(uint24 day);
    error NotJailed(address id);
    error StillJailed(uint40 until);
    error OpenBatches(address id, uint256 count);
    error SlashTooHigh(uint256 bps);

    /// @notice Registers a node; the caller becomes its owner and puts up `amount`. The operator agrees by OperatorConsent.
    /// @param payout where rewards go; 0 means the owner
    /// @param classMask bit i set: the node runs device class i
    /// @param consent the operator's 65-byte signature over OperatorConsent(owner, operator, deadline)
    function register(
        address operator,
        address payout,
        uint96 amount,
        uint32 classMask,
        uint40 deadline,
        bytes calldata consent
    ) external;

    /// @notice As `register`, with an ERC-2612 permission instead of an earlier approve.
    function registerWithPermit(
        address operator,
        address payout,
        uint96 amount,
        uint32 classMask,
        uint40 deadline,
        bytes calldata consent,
        Permit calldata permit
    ) external;

    /// @notice Adds to the active stake; only the owner. A node that had left comes back with at least MIN_STAKE.
    function stake(address id, uint96 amount) external;

    /// @notice Moves the caller's active stake into its unbonding bucket and restarts the bucket's clock.
    /// @dev The owner's rest is 0, and the node is exiting, or at least MIN_STAKE and a tenth of the whole. The
    ///      rest of any other staker is 0 or at least MIN_DEPOSIT. A leaver loses the rewards of batches that are not
    ///      final yet to those who stay.
    function unbond(address id, uint96 amount) external;

    /// @notice Moves the caller's unbonding stake back to active, until it is withdrawn; others than the owner as in delegate.
    function rebond(address id, uint96 amount) external;

    /// @notice Pays the caller its whole unbonding bucket once its time is over. Until then a slash reaches it.
    function withdraw(address id) external returns (uint96 amount);

    /// @notice Announces where rewards go from TIMELOCK on; only the owner. 0 means the owner. See confirmPayout.
    function setPayout(address id, address payout) external;

    /// @notice Says once a day that the node is there; only its operator. Works while jailed. After more than 48 hours without
    ///         a check-in or a settled batch full probation follows.
    function checkIn(address id) external;

    /// @notice Lets a node out of jail once its time is over and its open batches are judged; only the owner. Full probation follows.
    function unjail(address id) external;

    /// @notice Takes `bps` of active and unbonding stake: 90% burned, 10% to the pool. Only Court. Rounds up.
    /// @return pooled what went to the pool, wei
    function slash(address id, uint16 bps, bytes32 caseId) external returns (uint96 pooled);

    /// @notice Adds to the node's penalty. Only Court.
    /// @param lostCase counts as a job that failed its check and starts full probation
    function penalise(address id, uint16 tenths, bool lostCase) external;

    /// @notice Jails a node. Only Court.
    function jail(address id, bytes32 caseId) external;

    /// @notice Adds a final batch to the record and counts as the day's check-in. Only Settlement.
    function recordBatch(address id, BatchRecord calldata batch) external;

    /// @notice Everything about a node; all zero if it is unknown.
    function nodeOf(address id) external view returns (NodeView memory);

    /// @notice The node's stake and what unbonds of it, with their shares.
    function poolsOf(address id) external view returns (Pool memory active, Pool memory unbonding);

    /// @notice The standing of a node whose work is taken, for submit. Reverts IntakePaused, UnknownNode.
    function admissionOf(address id) external view returns (Standing memory);

    /// @notice Whether new locks for a node are taken, for openLane. Reverts IntakePaused, UnknownNode.
    function requireTaken(address id) external view;

    /// @notice Owner and operator, both zero if the node is unknown.
    function keysOf(address id) external view returns (address owner, address operator);

    function payoutOf(address id) external view returns (address);

    function isJailed(address id) external view returns (bool);

    function scoreOf(address id) external view returns (uint16 hundredths);

    /// @notice The contract that may slash, penalise and jail.
    function court() external view returns (address);

    /// @notice The contract that may record batches.
    function settlement() external view returns (address);
}
