// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Intake} from "./Intake.sol";
import {IParams} from "../interfaces/IParams.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {IVCoin} from "../interfaces/IVCoin.sol";
import {PoolLib} from "../libraries/PoolLib.sol";
import {Record, ReputationLib} from "../libraries/ReputationLib.sol";
import {NodeState, NodeView, Pool, Standing} from "../types/NodeTypes.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice StakeManager's storage of each node, and its views.
/// @dev A plain node is three words: its operator is its id and every share of its pools is its owner's. Flags say where that
///      is not so; without them no call reads, or pays for, the words of rotation and delegation. The first word says who the
///      node is, all that a draw and a seat's turn ask; the second what is at stake, all that a change of stake writes.
abstract contract Nodes is IStakeManager, Intake {
    using ReputationLib for Record;

    struct Node {
        address owner;
        NodeState state;
        uint8 flags;
        uint32 jailedUntil;
        /// @dev The day of the last sign, a check-in or a settled batch (SEEN), or from which on signs are due.
        uint24 lastDay;
        uint24 countDay;
        uint96 active;
        uint112 activeShares;
        uint32 classMask;
        Record record;
        uint112 unbondingShares;
        uint96 unbonding;
        /// @dev The clock of the owner's own bucket.
        uint32 unlockAt;
        address payout;
        /// @dev One more than the basis points; 0: the default.
        uint16 commission;
        uint16 nextCommission;
        uint32 commissionAt;
        /// @dev Of the shares of the two pools, those that are not the owner's.
        uint112 delegatedShares;
        uint112 delegatedUnbonding;
        /// @dev How often slashes have ended each pool: shares of an earlier round are void.
        uint16 activeRound;
        uint16 unbondingRound;
        /// @dev Wei that each delegated share has earned so far, times 2^96.
        uint256 rewardIndex;
        uint96 rewardsHeld;
        address operator;
        address nextPayout;
        uint32 payoutAt;
    }

    /// @dev A staker other than the owner has shares of either pool.
    uint8 internal constant DELEGATED = 1;
    /// @dev The operator is not the id.
    uint8 internal constant ROTATED = 2;
    /// @dev Not a node, but a key that operates one or has done so.
    uint8 internal constant OPERATES = 4;
    /// @dev The last day counts as a day on which the node was there.
    uint8 internal constant SEEN = 8;
    /// @dev Two missed challenges have taken the last day back: it stays spent, and is taken once.
    uint8 internal constant TAKEN_BACK = 16;
    uint256 private constant OWN_PART_DIVISOR = 10;

    IVCoin internal immutable _coin;
    IParams internal immutable _params;
    ISettlement internal immutable _settlement;
    uint96 internal immutable _minStake;
    uint96 private immutable _recommendedStake;

    /// @dev Classes that Params was seen to have. It never takes one away, so it need not be asked twice. It shares its word
    ///      with the pause, which a registration reads anyway.
    uint32 internal _classes;
    mapping(address id => Node) internal _nodes;

    constructor(IVCoin coin_, IParams params_, ISettlement settlement_, Profile memory profile)
        Intake(params_.guardian())
    {
        _coin = coin_;
        _params = params_;
        _settlement = settlement_;
        _minStake = profile.minStake;
        _recommendedStake = profile.recommendedStake;
    }

    // ---- views

    function nodeOf(address id) external view returns (NodeView memory shown) {
        Node storage node = _nodes[id];
        if (node.state == NodeState.None) return shown;
        Record memory record = node.record;
        shown.owner = node.owner;
        shown.operator = _operatorOf(id, node);
        shown.payout = payoutOf(id);
        shown.state = node.state;
        shown.classMask = node.classMask;
        shown.activeStake = node.active;
        shown.ownStake = uint96(_ownActive(node));
        shown.unbondingStake = node.unbonding;
        shown.unlockAt = _unlockAt(node);
        shown.jailedUntil = node.jailedUntil;
        shown.scoreHundredths = _score(node, record);
        shown.rateBps = record.rateBps();
        _showRecord(shown, record);
    }

    function poolsOf(address id) external view returns (Pool memory active, Pool memory unbonding) {
        Node storage node = _nodes[id];
        return (Pool(node.active, node.activeShares), Pool(node.unbonding, node.unbondingShares));
    }

    /// @dev Reads the one word that tells whether there is such a node.
    function requireTaken(address id) external view {
        requireIntake();
        if (_nodes[id].owner == address(0)) revert UnknownNode(id);
    }

    function admissionOf(address id) external view returns (Standing memory) {
        requireIntake();
        Node storage node = _known(id);
        Record memory record = node.record;
        return Standing({
            operator: _operatorOf(id, node),
            state: node.state,
            classMask: node.classMask,
            ownStake: uint96(_ownActive(node)),
            scoreHundredths: _score(node, record),
            rateBps: record.rateBps(),
            samplesLeft: record.samplesLeft
        });
    }

    function keysOf(address id) external view returns (address owner, address operator) {
        Node storage node = _nodes[id];
        owner = node.owner;
        operator = owner == address(0) ? address(0) : _operatorOf(id, node);
    }

    function payoutOf(address id) public view returns (address) {
        address payout = _nodes[id].payout;
        return payout == address(0) ? _nodes[id].owner : payout;
    }

    function isJailed(address id) external view returns (bool) {
        return _nodes[id].state == NodeState.Jailed;
    }

    function scoreOf(address id) external view returns (uint16) {
        Node storage node = _known(id);
        return _score(node, node.record);
    }

    function settlement() external view returns (address) {
        return address(_settlement);
    }

    // ---- inside

    function _known(address id) internal view returns (Node storage node) {
        node = _nodes[id];
        if (node.state == NodeState.None) revert UnknownNode(id);
    }

    function _ownedBy(address id, address caller) internal view returns (Node storage node) {
        node = _known(id);
        if (node.owner != caller) revert NotOwner(id, caller);
    }

    function _operatorOf(address id, Node storage node) internal view returns (address) {
        return node.flags & ROTATED == 0 ? id : node.operator;
    }

    function _has(Node storage node, uint8 flag) internal view returns (bool) {
        return node.flags & flag != 0;
    }

    /// @dev The owner's shares are those that no delegator has.
    function _ownShares(Node storage node) internal view returns (uint112) {
        return _has(node, DELEGATED) ? node.activeShares - node.delegatedShares : node.activeShares;
    }

    function _ownUnbondingShares(Node storage node) internal view returns (uint112) {
        return _has(node, DELEGATED) ? node.unbondingShares - node.delegatedUnbonding : node.unbondingShares;
    }

    /// @dev When the owner may withdraw; 0 while nothing of its own unbonds.
    function _unlockAt(Node storage node) internal view returns (uint32) {
        return _ownUnbondingShares(node) == 0 ? 0 : node.unlockAt;
    }

    function _ownActive(Node storage node) internal view returns (uint256) {
        return PoolLib.worth(_ownShares(node), node.active, node.activeShares);
    }

    /// @dev The stake that the owner must keep of its own: MIN_STAKE, and a tenth of the active stake, rounded up.
    function _ownMinimum(Node storage node) internal view returns (uint256) {
        uint256 tenth = (node.active + OWN_PART_DIVISOR - 1) / OWN_PART_DIVISOR;
        return tenth > _minStake ? tenth : _minStake;
    }

    function _requireOwnPart(Node storage node) internal view {
        uint256 own = _ownActive(node);
        uint256 needed = _ownMinimum(node);
        if (own < needed) revert StakeTooLow(own, needed);
    }

    /// @dev Charges a node for the days it was not there. See Liveness.
    function _chargeOffline(address id, Node storage node) internal virtual returns (uint96 lost);

    function _setState(address id, Node storage node, NodeState state) internal {
        node.state = state;
        emit NodeStateChanged(id, state);
    }

    function _emitStake(address id, Node storage node) internal {
        emit StakeChanged(id, node.active, node.unbonding, _unlockAt(node));
    }

    function _emitReputation(address id, Node storage node) internal {
        _emitReputation(id, node, node.record);
    }

    function _emitReputation(address id, Node storage node, Record memory record) internal {
        emit ReputationChanged(
            id,
            _score(node, record),
            record.successes,
            record.total,
            record.penaltyTenths,
            record.samplesLeft,
            uint8(ReputationLib.failuresIn(record.ring))
        );
    }

    function _keepRecord(address id, Node storage node, Record memory record) internal {
        node.record.keep(record);
        _emitReputation(id, node, record);
    }

    function _today() internal view returns (uint24) {
        return uint24(block.timestamp / 1 days);
    }

    function _showRecord(NodeView memory shown, Record memory record) private pure {
        shown.successes = record.successes;
        shown.total = record.total;
        shown.responseMs = record.responseMs;
        shown.checkInDays = record.checkInDays;
        shown.activatedDay = record.activatedDay;
        shown.penaltyTenths = record.penaltyTenths;
        shown.samplesLeft = record.samplesLeft;
        shown.recentFailures = uint8(ReputationLib.failuresIn(record.ring));
    }

    function _score(Node storage node, Record memory record) private view returns (uint16) {
        return record.score(node.active, _recommendedStake, _today());
    }
}
