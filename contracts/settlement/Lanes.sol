// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";
import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {EIP712} from "@openzeppelin/contracts/utils/cryptography/EIP712.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {IVCoin} from "../interfaces/IVCoin.sol";
import {EnvelopeLib} from "../libraries/EnvelopeLib.sol";
import {Lane, LaneLib} from "../libraries/LaneLib.sol";
import {Claim, Debit, LaneState, LaneView, SignerGrant} from "../types/BatchTypes.sol";
import {Permit} from "../types/NodeTypes.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice The clients' side of Settlement: accounts, and lanes out of which only one node is paid.
/// @dev Lanes are disjoint locks, so no money can be promised twice.
abstract contract Lanes is ISettlement, EIP712(EnvelopeLib.NAME, EnvelopeLib.VERSION) {
    using SafeERC20 for IVCoin;

    uint256 private constant LANE_MESSAGE_SECONDS = 1 hours;

    IVCoin internal immutable _coin;
    IStakeManager internal immutable _stakes;
    uint96 private immutable _minDeposit;
    uint32 private immutable _laneCloseSeconds;

    mapping(address client => uint96) public accountOf;
    mapping(address client => mapping(address signer => SignerGrant)) private _grants;
    mapping(bytes32 key => Lane) private _lanes;

    constructor(IVCoin coin_, IStakeManager stakes_, Profile memory profile) {
        _coin = coin_;
        _stakes = stakes_;
        _minDeposit = profile.minDeposit;
        _laneCloseSeconds = profile.laneCloseSeconds;
    }

    // ---- accounts

    function deposit(uint96 amount) external {
        _deposit(msg.sender, amount);
    }

    function depositFor(address client, uint96 amount) external {
        if (client == address(0)) revert ZeroAddress();
        _deposit(client, amount);
    }

    function depositWithPermit(uint96 amount, Permit calldata permit) external {
        // A front-runner may have sent the permission first; then the allowance is there already.
        try _coin.permit(msg.sender, address(this), amount, permit.deadline, permit.v, permit.r, permit.s) {} catch {}
        _deposit(msg.sender, amount);
    }

    function withdraw(uint96 amount) external {
        if (amount == 0) revert ZeroAmount();
        uint96 free = _takeFree(msg.sender, amount);
        emit Withdrawn(msg.sender, amount, free);
        _coin.safeTransfer(msg.sender, amount);
    }

    function setSigner(address signer, uint96 budget, uint40 expiry) external {
        if (signer == address(0)) revert ZeroAddress();
        _grants[msg.sender][signer] = SignerGrant(budget, expiry);
        emit SignerSet(msg.sender, signer, budget, expiry);
    }

    // ---- lanes

    function openLane(
        address client,
        address signer,
        address node,
        uint96 amount,
        uint128 prevTotal,
        uint40 deadline,
        bytes calldata signature
    ) external {
        if (client == address(0) || signer == address(0)) revert ZeroAddress();
        if (amount == 0) revert ZeroAmount();
        if (block.timestamp > deadline) revert DeadlinePassed(deadline);
        if (deadline > block.timestamp + LANE_MESSAGE_SECONDS) revert DeadlineTooFar(deadline);
        _stakes.requireTaken(node);
        if (msg.sender != client) {
            bytes32 message = EnvelopeLib.laneOpenHash(client, signer, node, amount, prevTotal, deadline);
            _requireLaneSignature(client, signer, amount, _hashTypedDataV4(message), signature);
        }
        bytes32 key = LaneLib.key(client, signer, node);
        Lane lane = _lanes[key];
        if (lane.total() != prevTotal) revert LaneMoved(prevTotal, lane.total());
        _takeFree(client, amount);
        _setLane(key, lane.topUp(amount), client, signer, node);
    }

    function closeLane(address client, address signer, address node) external {
        if (msg.sender != client && msg.sender != signer) revert NotLaneOwner(msg.sender);
        bytes32 key = LaneLib.key(client, signer, node);
        Lane lane = _lanes[key];
        if (lane.stateOf() != LaneState.Open) revert LaneNotOpen();
        _setLane(key, lane.close(uint40(block.timestamp) + _laneCloseSeconds), client, signer, node);
    }

    function reclaimLane(address client, address signer, address node) external {
        bytes32 key = LaneLib.key(client, signer, node);
        Lane lane = _lanes[key];
        if (lane.stateOf() != LaneState.Closing) revert LaneNotClosing();
        if (block.timestamp < lane.closeAt()) revert LaneStillClosing(lane.closeAt());
        accountOf[client] += lane.left();
        emit LaneReclaimed(client, signer, node, lane.left());
        _setLane(key, lane.reclaim(), client, signer, node);
    }

    // ---- views

    function signerOf(address client, address signer) external view returns (SignerGrant memory) {
        return _grants[client][signer];
    }

    function laneOf(address client, address signer, address node) external view returns (LaneView memory) {
        return _lanes[LaneLib.key(client, signer, node)].toView();
    }

    // ---- a claim and its refund

    /// @dev One signature covers every job of the lane so far, so the newest assignment is the only one that is needed.
    function _requireAssignment(address node, Claim memory part, uint256 i) internal view {
        bytes32 message =
            EnvelopeLib.assignmentHash(part.client, part.signer, node, part.index, part.cumulative, part.details);
        (address recovered,,) = ECDSA.tryRecover(_hashTypedDataV4(message), part.r, part.vs);
        if (recovered == address(0) || recovered != part.signer) revert BadAssignmentSignature(i);
    }

    function _debit(address node, Claim memory part, uint256 fee, uint256 i) internal returns (Debit memory) {
        bytes32 key = LaneLib.key(part.client, part.signer, node);
        Lane lane = _lanes[key];
        // Else a node could name anyone as its client, and parties do not judge.
        if (lane.stateOf() == LaneState.None) revert LaneNotOpen();
        if (part.index <= lane.jobs()) revert IndexNotAbove(i, part.index, lane.jobs());
        if (part.cumulative < lane.mark()) revert BelowMark(i, part.cumulative, lane.mark());
        uint256 amount = uint256(part.charge) + fee + part.bonus;
        if (amount > part.cumulative - lane.mark()) revert OverSigned(i, amount, part.cumulative - lane.mark());
        if (amount > lane.left()) revert OverLane(i, amount, lane.left());
        uint24 leaves = part.index - lane.jobs();
        _setLane(key, lane.settle(uint96(amount), part.cumulative, part.index), part.client, part.signer, node);
        return Debit(part.client, part.signer, leaves, uint96(amount), part.index);
    }

    /// @param amount of what was debited
    function _giveBack(address node, Debit calldata part, uint96 amount) internal {
        bytes32 key = LaneLib.key(part.client, part.signer, node);
        Lane lane = _lanes[key];
        if (lane.stateOf() == LaneState.Reclaimed) {
            accountOf[part.client] += amount;
            emit LaneReclaimed(part.client, part.signer, node, amount);
        } else {
            _setLane(key, lane.giveBack(amount), part.client, part.signer, node);
        }
    }

    function coin() external view returns (IVCoin) {
        return _coin;
    }

    // ---- inside

    function _deposit(address client, uint96 amount) private {
        if (amount < _minDeposit) revert DepositTooLow(amount, _minDeposit);
        _addFree(client, msg.sender, amount);
        _coin.safeTransferFrom(msg.sender, address(this), amount);
    }

    function _addFree(address client, address from, uint96 amount) internal {
        uint96 free = accountOf[client] + amount;
        accountOf[client] = free;
        emit Deposited(client, from, amount, free);
    }

    function _takeFree(address client, uint96 amount) internal returns (uint96 free) {
        free = accountOf[client];
        if (amount > free) revert NotEnoughFree(amount, free);
        free -= amount;
        accountOf[client] = free;
    }

    function _requireLaneSignature(
        address client,
        address signer,
        uint96 amount,
        bytes32 digest,
        bytes calldata signature
    ) private {
        // The key first, ERC-1271 second: an account that delegates to code (EIP-7702) still signs with its key.
        (address recovered,,) = ECDSA.tryRecover(digest, signature);
        if (recovered == client) return;
        if (recovered == signer) return _spendGrant(client, signer, amount);
        if (!SignatureChecker.isValidERC1271SignatureNow(client, digest, signature)) {
            revert BadLaneSignature(client, signer);
        }
    }

    function _spendGrant(address client, address signer, uint96 amount) internal {
        SignerGrant storage grant = _grants[client][signer];
        if (block.timestamp > grant.expiry) revert SignerExpired(signer, grant.expiry);
        if (amount > grant.budget) revert OverBudget(amount, grant.budget);
        grant.budget -= amount;
    }

    function _setLane(bytes32 key, Lane lane, address client, address signer, address node) private {
        _lanes[key] = lane;
        emit LaneChanged(client, signer, node, lane.left(), lane.mark(), lane.jobs(), lane.closeAt());
    }
}
