// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SafeCast} from "@openzeppelin/contracts/utils/math/SafeCast.sol";

import {Intake} from "./Intake.sol";
import {IParams} from "./interfaces/IParams.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {IStakeManager} from "./interfaces/IStakeManager.sol";
import {IVCoin} from "./interfaces/IVCoin.sol";
import {EnvelopeLib} from "./libraries/EnvelopeLib.sol";
import {PoolLib} from "./libraries/PoolLib.sol";
import {Record, ReputationLib} from "./libraries/ReputationLib.sol";
import {BatchRecord, NodeState, NodeView, Permit, Pool, Standing} from "./types/NodeTypes.sol";
import {Profile} from "./types/ParamTypes.sol";

/// @notice Who the nodes are, what they have at stake and what their record says. See IStakeManager.
/// @dev Registration writes three words of storage: everything else of a node starts at its zero. Its operator is its id,
///      and every share of its pools is its owner's; rotation and delegation will add what differs from that.
contract StakeManager is IStakeManager, Intake, EIP712(EnvelopeLib.NAME, EnvelopeLib.VERSION) {
    using ReputationLib for Record;
    using SafeCast for uint256;
    using SafeERC20 for IVCoin;

    struct Node {
        address owner;
        uint96 active;
        uint128 activeShares;
        uint32 classMask;
        NodeState state;
        uint40 jailedUntil;
        uint24 lastDay;
        uint24 countDay;
        Record record;
        uint128 unbondingShares;
        uint96 unbonding;
        uint32 unlockAt;
        address payout;
    }

    uint16 private constant MAX_SLASH_BPS = 5_000;
    uint256 private constant POOL_DIVISOR = 10;

    IVCoin private immutable _coin;
    IParams private immutable _params;
    ISettlement private immutable _settlement;
    address public immutable court;
    uint96 private immutable _minStake;
    uint96 private immutable _recommendedStake;
    uint96 private immutable _minBurn;
    uint32 private immutable _unbondingSeconds;
    uint32 private immutable _jailSeconds;

    mapping(address id => Node) private _nodes;

    constructor(IVCoin coin_, IParams params_, ISettlement settlement_, address court_) Intake(params_.guardian()) {
        Profile memory profile = params_.profile();
        _coin = coin_;
        _params = params_;
        _settlement = settlement_;
        court = court_;
        _minStake = profile.minStake;
        _recommendedStake = profile.recommendedStake;
        _minBurn = profile.minBurn;
        _unbondingSeconds = profile.unbondingSeconds;
        _jailSeconds = profile.jailSeconds;
    }

    modifier onlyCourt() {
        if (msg.sender != court) revert NotCourt(msg.sender);
        _;
    }

    // ---- owner

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
        // Somebody may have sent the permission ahead of us; then the allowance is there already.
        try _coin.permit(msg.sender, address(this), amount, permit.deadline, permit.v, permit.r, permit.s) {} catch {}
        _register(operator, payout, amount, classMask);
    }

    function stake(address id, uint96 amount) external {
        Node storage node = _ownedBy(id, msg.sender);
        if (amount == 0) revert ZeroAmount();
        _addActive(node, amount);
        _comeBack(id, node);
        _emitStake(id, node);
        _coin.safeTransferFrom(msg.sender, address(this), amount);
    }

    function unbond(address id, uint96 amount) external {
        Node storage node = _ownedBy(id, msg.sender);
        if (amount == 0) revert ZeroAmount();
        if (amount > node.active) revert NotEnoughStake(amount, node.active);
        uint96 rest = node.active - amount;
        if (rest != 0 && rest < _minStake) revert StakeTooLow(rest, _minStake);
        node.activeShares -= PoolLib.redeemed(amount, node.active, node.activeShares).toUint128();
        node.active = rest;
        node.unbondingShares += PoolLib.minted(amount, node.unbonding, node.unbondingShares).toUint128();
        node.unbonding += amount;
        node.unlockAt = uint32(block.timestamp) + _unbondingSeconds;
        if (rest == 0 && node.state == NodeState.Active) _setState(id, node, NodeState.Exiting);
        _emitStake(id, node);
    }

    function rebond(address id, uint96 amount) external {
        Node storage node = _ownedBy(id, msg.sender);
        if (amount == 0) revert ZeroAmount();
        if (amount > node.unbonding) revert NotEnoughStake(amount, node.unbonding);
        node.unbondingShares -= PoolLib.redeemed(amount, node.unbonding, node.unbondingShares).toUint128();
        node.unbonding -= amount;
        _addActive(node, amount);
        _comeBack(id, node);
        _emitStake(id, node);
    }

    function withdraw(address id) external returns (uint96 amount) {
        Node storage node = _ownedBy(id, msg.sender);
        amount = node.unbonding;
        if (amount == 0) revert NothingUnbonding(id);
        if (block.timestamp < node.unlockAt) revert StillUnbonding(node.unlockAt);
        node.unbonding = 0;
        node.unbondingShares = 0;
        node.unlockAt = 0;
        if (node.state == NodeState.Exiting) _setState(id, node, NodeState.Gone);
        _emitStake(id, node);
        emit StakeWithdrawn(id, msg.sender, amount);
        _coin.safeTransfer(msg.sender, amount);
    }

    function setPayout(address id, address payout) external {
        _ownedBy(id, msg.sender).payout = payout;
        emit PayoutChanged(id, payout);
    }

    function unjail(address id) external {
        Node storage node = _ownedBy(id, msg.sender);
        if (node.state != NodeState.Jailed) revert NotJailed(id);
        if (block.timestamp < node.jailedUntil) revert StillJailed(node.jailedUntil);
        if (node.active < _minStake) revert StakeTooLow(node.active, _minStake);
        uint256 open = _settlement.bookOf(id).openBatches;
        if (open != 0) revert OpenBatches(id, open);
        node.jailedUntil = 0;
        node.record.samplesLeft = ReputationLib.PROBATION;
        _setState(id, node, NodeState.Active);
        emit Unjailed(id);
    }

    // ---- operator

    function checkIn(address id) external {
        Node storage node = _nodes[id];
        if (node.state == NodeState.None) revert UnknownNode(id);
        if (msg.sender != id) revert NotOperator(id, msg.sender);
        if (node.lastDay == _today()) revert SameDay(_today());
        _countDay(id, node);
    }

    // ---- Court and Settlement

    function slash(address id, uint16 bps, bytes32 caseId) external onlyCourt returns (uint96 pooled) {
        if (bps > MAX_SLASH_BPS) revert SlashTooHigh(bps);
        Node storage node = _known(id);
        uint96 fromActive = uint96(PoolLib.slashOf(node.active, bps));
        uint96 fromUnbonding = uint96(PoolLib.slashOf(node.unbonding, bps));
        node.active -= fromActive;
        node.unbonding -= fromUnbonding;
        // Shares of nothing would take part in what is staked next.
        if (node.active == 0) node.activeShares = 0;
        if (node.unbonding == 0) node.unbondingShares = 0;
        uint96 lost = fromActive + fromUnbonding;
        pooled = uint96(lost / POOL_DIVISOR);
        emit Slashed(id, caseId, fromActive, fromUnbonding, lost - pooled, pooled);
        _emitStake(id, node);
        _coin.burn(lost - pooled);
        _coin.safeTransfer(address(_settlement), pooled);
        _settlement.creditPool(pooled);
    }

    function penalise(address id, uint16 tenths, bool lostCase) external onlyCourt {
        Node storage node = _known(id);
        Record memory record = node.record;
        record.addPenalty(tenths, lostCase);
        node.record = record;
        _emitReputation(id, node);
    }

    function jail(address id, bytes32 caseId) external onlyCourt {
        Node storage node = _known(id);
        uint40 until = uint40(block.timestamp) + _jailSeconds;
        node.jailedUntil = until;
        _setState(id, node, NodeState.Jailed);
        emit Jailed(id, caseId, until);
    }

    function recordBatch(address id, BatchRecord calldata batch) external {
        if (msg.sender != address(_settlement)) revert NotSettlement(msg.sender);
        Node storage node = _known(id);
        uint24 today = _today();
        Record memory record = node.record;
        if (node.countDay != today) {
            node.countDay = today;
            record.countedToday = 0;
        }
        record.addBatch(batch.okCount, batch.failedCount, batch.burned, batch.responseMs, _minBurn);
        node.record = record;
        if (node.lastDay != today) _countDay(id, node);
        _emitReputation(id, node);
    }

    // ---- views

    function nodeOf(address id) external view returns (NodeView memory shown) {
        Node storage node = _nodes[id];
        if (node.state == NodeState.None) return shown;
        Record memory record = node.record;
        shown.owner = node.owner;
        shown.operator = id;
        shown.payout = payoutOf(id);
        shown.state = node.state;
        shown.classMask = node.classMask;
        shown.activeStake = node.active;
        shown.unbondingStake = node.unbonding;
        shown.unlockAt = node.unlockAt;
        shown.jailedUntil = node.jailedUntil;
        shown.scoreHundredths = _score(node, record);
        shown.rateBps = record.rateBps();
        _showRecord(shown, record);
    }

    function poolsOf(address id) external view returns (Pool memory active, Pool memory unbonding) {
        Node storage node = _nodes[id];
        return (Pool(node.active, node.activeShares), Pool(node.unbonding, node.unbondingShares));
    }

    function admissionOf(address id) external view returns (Standing memory) {
        requireIntake();
        return standingOf(id);
    }

    function standingOf(address id) public view returns (Standing memory) {
        Node storage node = _known(id);
        Record memory record = node.record;
        return Standing({
            operator: id,
            state: node.state,
            classMask: node.classMask,
            activeStake: node.active,
            scoreHundredths: _score(node, record),
            rateBps: record.rateBps(),
            samplesLeft: record.samplesLeft
        });
    }

    function keysOf(address id) external view returns (address owner, address operator) {
        owner = _nodes[id].owner;
        operator = owner == address(0) ? address(0) : id;
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

    function _register(address id, address payout, uint96 amount, uint32 classMask) private {
        requireIntake();
        Node storage node = _nodes[id];
        if (node.state != NodeState.None) revert NodeExists(id);
        if (classMask == 0 || classMask & ~_params.classMask() != 0) revert BadClasses(classMask);
        if (amount < _minStake) revert StakeTooLow(amount, _minStake);
        node.owner = msg.sender;
        node.active = amount;
        node.activeShares = amount;
        node.classMask = classMask;
        node.state = NodeState.Active;
        if (payout == address(0)) payout = msg.sender;
        else if (payout != msg.sender) node.payout = payout;
        Record memory record;
        record.activatedDay = _today();
        record.samplesLeft = ReputationLib.PROBATION;
        node.record = record;
        emit NodeRegistered(id, msg.sender, id, payout, classMask, amount);
        emit StakeChanged(id, amount, 0, 0);
        _coin.safeTransferFrom(msg.sender, address(this), amount);
    }

    function _requireConsent(address operator, uint40 deadline, bytes calldata consent) private view {
        if (operator == address(0)) revert ZeroAddress();
        if (block.timestamp > deadline) revert ConsentExpired(deadline);
        bytes32 digest = _hashTypedDataV4(EnvelopeLib.operatorConsentHash(msg.sender, operator, deadline));
        (address signer,,) = ECDSA.tryRecover(digest, consent);
        if (signer != operator) revert BadConsent(operator);
    }

    function _addActive(Node storage node, uint96 amount) private {
        node.activeShares += PoolLib.minted(amount, node.active, node.activeShares).toUint128();
        node.active += amount;
    }

    /// @dev Who had left starts again on full probation, with its record.
    function _comeBack(address id, Node storage node) private {
        if (node.state != NodeState.Exiting && node.state != NodeState.Gone) return;
        if (node.active < _minStake) revert StakeTooLow(node.active, _minStake);
        node.record.samplesLeft = ReputationLib.PROBATION;
        _setState(id, node, NodeState.Active);
    }

    function _countDay(address id, Node storage node) private {
        node.lastDay = _today();
        node.record.checkInDays += 1;
        emit CheckedIn(id, _today(), node.record.checkInDays);
    }

    function _setState(address id, Node storage node, NodeState state) private {
        node.state = state;
        emit NodeStateChanged(id, state);
    }

    function _emitStake(address id, Node storage node) private {
        emit StakeChanged(id, node.active, node.unbonding, node.unlockAt);
    }

    function _emitReputation(address id, Node storage node) private {
        Record memory record = node.record;
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

    function _known(address id) private view returns (Node storage node) {
        node = _nodes[id];
        if (node.state == NodeState.None) revert UnknownNode(id);
    }

    function _ownedBy(address id, address caller) private view returns (Node storage node) {
        node = _known(id);
        if (node.owner != caller) revert NotOwner(id, caller);
    }

    function _today() private view returns (uint24) {
        return uint24(block.timestamp / 1 days);
    }
}
