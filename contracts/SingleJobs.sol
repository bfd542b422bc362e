// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ECDSA} from "@openzeppelin/contracts/utils/cryptography/ECDSA.sol";
import {SignatureChecker} from "@openzeppelin/contracts/utils/cryptography/SignatureChecker.sol";

import {IParams} from "./interfaces/IParams.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {ISingleJobs} from "./interfaces/ISingleJobs.sol";
import {IStakeManager} from "./interfaces/IStakeManager.sol";
import {EnvelopeLib} from "./libraries/EnvelopeLib.sol";
import {LieLib} from "./libraries/LieLib.sol";
import {SplitLib} from "./libraries/SplitLib.sol";
import {Assignment, JobDetails, Receipt} from "./types/EvidenceTypes.sol";
import {NodeState, Standing} from "./types/NodeTypes.sol";
import {JobOutput, JobTerms} from "./types/SingleTypes.sol";

/// @notice One job of one node for a client without a lane. See ISingleJobs.
/// @dev The money lies in Settlement all the time; only whose it is changes.
contract SingleJobs is ISingleJobs {
    /// @dev Never cleared: an order that was settled early could otherwise be opened again.
    bytes32 private constant ENDED = bytes32(uint256(1));
    uint8 private constant OPEN = 1;
    uint8 private constant COMMITTED = 2;

    IStakeManager private immutable _stakes;
    ISettlement private immutable _settlement;
    uint32 private immutable _settleSeconds;

    mapping(bytes32 jobId => bytes32) public stateOf;

    constructor(IParams params_, IStakeManager stakes_, ISettlement settlement_) {
        if (settlement_.singles() != address(this)) revert BadWiring();
        _stakes = stakes_;
        _settlement = settlement_;
        _settleSeconds = params_.profile().laneCloseSeconds;
    }

    function open(Assignment calldata order, JobDetails calldata details, bytes calldata signature)
        external
        returns (bytes32 jobId)
    {
        _requireOrder(order, details);
        _requireNode(order.node);
        jobId = _digest(EnvelopeLib.hashOf(order));
        if (stateOf[jobId] != 0) revert JobExists(jobId);
        _requireConsent(order, jobId, signature);
        JobTerms memory terms = JobTerms({
            client: order.client,
            signer: order.signer,
            node: order.node,
            price: details.price,
            bonusCap: details.bonusCap,
            expectedMs: details.expectedMs,
            deadline: details.deadline
        });
        stateOf[jobId] = _openHash(terms);
        emit JobOpened(jobId, order.client, order.node, terms);
        _settlement.hold(order.client, msg.sender == order.client ? order.client : order.signer, order.cumulative);
    }

    function commit(bytes32 jobId, JobTerms calldata terms, JobOutput calldata output) external {
        if (stateOf[jobId] != _openHash(terms)) revert NoSuchJob(jobId);
        (, address operator) = _stakes.keysOf(terms.node);
        if (msg.sender != operator) revert NotOperator(terms.node, msg.sender);
        if (block.timestamp > terms.deadline) revert DeadlinePassed(terms.deadline);
        if (output.resultHash == 0 || output.outputCommit == 0) revert ZeroCommitment();
        stateOf[jobId] = _committedHash(terms, output);
        emit JobCommitted(jobId, terms.node, output);
    }

    function settle(
        bytes32 jobId,
        JobTerms calldata terms,
        JobOutput calldata output,
        Receipt calldata receipt,
        bytes calldata signature
    ) external {
        if (stateOf[jobId] != _committedHash(terms, output)) revert NoSuchJob(jobId);
        if (_stakes.isJailed(terms.node)) revert NodeNotActive(terms.node);
        _requireReceipt(jobId, terms, output, receipt, signature);
        stateOf[jobId] = ENDED;
        _pay(jobId, terms, receipt.charge, receipt.actualMs);
    }

    function expire(bytes32 jobId, JobTerms calldata terms, JobOutput calldata output) external {
        uint256 until = terms.deadline;
        if (stateOf[jobId] != _openHash(terms)) {
            if (stateOf[jobId] != _committedHash(terms, output)) revert NoSuchJob(jobId);
            until += _settleSeconds;
        }
        if (block.timestamp <= until) revert StillRunning(until);
        stateOf[jobId] = ENDED;
        uint96 locked = uint96(_total(terms.price, terms.bonusCap));
        emit JobExpired(jobId, terms.client, terms.node, locked);
        _settlement.release(terms.client, locked);
    }

    // ---- inside: an order comes in

    function _requireOrder(Assignment calldata order, JobDetails calldata details) private view {
        if (order.index != 0) revert NotSingle(order.index);
        if (EnvelopeLib.jobDetailsHash(details) != order.details) revert WrongDetails();
        if (details.price == 0) revert ZeroAmount();
        // Nothing here is ever checked, and half of the price would have been paid for that.
        if (details.flags & LieLib.CHECK_ORDERED != 0) revert NoChecks(details.flags);
        if (block.timestamp > details.deadline) revert DeadlinePassed(details.deadline);
        uint256 bonusLimit = uint256(details.price) * LieLib.BONUS_PERCENT / 100;
        if (details.bonusCap > bonusLimit) revert BonusTooHigh(details.bonusCap, bonusLimit);
        uint256 total = _total(details.price, details.bonusCap);
        if (order.cumulative != total) revert WrongTotal(order.cumulative, total);
    }

    /// @dev Whatever is counted here was never checked: so it must not end a probation.
    function _requireNode(address node) private view {
        Standing memory standing = _stakes.admissionOf(node);
        if (standing.state != NodeState.Active) revert NodeNotActive(node);
        if (standing.samplesLeft != 0) revert OnProbation(node);
    }

    function _requireConsent(Assignment calldata order, bytes32 jobId, bytes calldata signature) private view {
        if (msg.sender == order.client || msg.sender == order.signer) return;
        if (!_hasSigned(order.signer, jobId, signature)) revert BadOrderSignature(order.client, order.signer);
    }

    // ---- inside: a job goes out

    function _requireReceipt(
        bytes32 jobId,
        JobTerms calldata terms,
        JobOutput calldata output,
        Receipt calldata receipt,
        bytes calldata signature
    ) private view {
        if (receipt.jobId != jobId || receipt.resultHash != output.resultHash) {
            revert WrongReceipt(jobId);
        }
        if (receipt.charge > terms.price) revert OverPrice(receipt.charge, terms.price);
        if (!_hasSigned(terms.signer, _digest(EnvelopeLib.receiptHash(receipt)), signature)) {
            revert BadReceiptSignature(terms.signer);
        }
    }

    function _pay(bytes32 jobId, JobTerms calldata terms, uint96 charge, uint32 actualMs) private {
        uint96 bonus = _bonusOf(terms, charge, actualMs);
        uint96 returned = uint96(_total(terms.price, terms.bonusCap) - _total(charge, bonus));
        (uint96 burned, uint96 reward, uint96 pooled) = _settlement.payJob(terms.node, charge, bonus, actualMs);
        emit JobSettled(jobId, terms.client, terms.node, charge, burned, reward, bonus, pooled, returned);
        if (returned != 0) _settlement.release(terms.client, returned);
    }

    /// @dev 9% of the charge, rounded down, at most the cap, for a job below 0.8 of the expected time.
    function _bonusOf(JobTerms calldata terms, uint96 charge, uint32 actualMs) private pure returns (uint96) {
        if (uint256(actualMs) * 100 >= uint256(terms.expectedMs) * LieLib.BONUS_BELOW_PERCENT) return 0;
        uint96 bonus = uint96(uint256(charge) * LieLib.BONUS_PERCENT / 100);
        return bonus < terms.bonusCap ? bonus : terms.bonusCap;
    }

    function _total(uint96 charge, uint96 bonus) private pure returns (uint256) {
        return uint256(charge) + SplitLib.feeOf(charge) + bonus;
    }

    // ---- inside: hashes and signatures

    function _openHash(JobTerms memory terms) private pure returns (bytes32) {
        return keccak256(abi.encode(OPEN, terms));
    }

    function _committedHash(JobTerms memory terms, JobOutput memory output) private pure returns (bytes32) {
        return keccak256(abi.encode(COMMITTED, terms, output));
    }

    /// @dev The key first, ERC-1271 second: an account that delegates to code (EIP-7702) still signs with its key.
    function _hasSigned(address signer, bytes32 digest, bytes calldata signature) private view returns (bool) {
        (address recovered,,) = ECDSA.tryRecover(digest, signature);
        if (recovered != address(0) && recovered == signer) return true;
        return SignatureChecker.isValidERC1271SignatureNow(signer, digest, signature);
    }

    /// @dev Orders and receipts count where Settlement is, as those of lanes do.
    function _digest(bytes32 structHash) private view returns (bytes32) {
        return EnvelopeLib.digest(address(_settlement), structHash);
    }
}
