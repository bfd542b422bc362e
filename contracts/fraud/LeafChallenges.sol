// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../interfaces/ICourt.sol";
import {IFraudProofs} from "../interfaces/IFraudProofs.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {ContentsLib} from "../libraries/ContentsLib.sol";
import {Batch, BatchState, Contents, Debit} from "../types/BatchTypes.sol";
import {Verdict} from "../types/CaseTypes.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice FraudProofs's part for what code cannot judge: a client has a batch checked that the draw would have let through.
/// @dev The bonds lie in Settlement; this contract keeps whose they are.
abstract contract LeafChallenges is IFraudProofs {
    struct Challenge {
        address client;
        uint96 bond;
    }

    ISettlement internal immutable _settlement;
    ICourt internal immutable _court;
    uint96 private immutable _minDeposit;
    uint32 private immutable _challengeSeconds;

    mapping(bytes32 batchId => Challenge) public challengeOf;

    constructor(ISettlement settlement_, ICourt court_, Profile memory profile) {
        _settlement = settlement_;
        _court = court_;
        _minDeposit = profile.minDeposit;
        _challengeSeconds = profile.challengeSeconds;
    }

    function challengeLeaf(address node, uint8 slot, Contents calldata contents, uint256 position)
        external
        returns (uint96 bond)
    {
        Batch memory batch = _settlement.batchOf(node, slot);
        if (batch.state != BatchState.Pending) revert WrongState(batch.state);
        if (ContentsLib.hashOf(contents) != batch.contentsHash) revert WrongContents();
        if (position >= batch.leafCount) revert PositionOutOfRange(position, batch.leafCount);
        uint256 until = uint256(batch.commitTime) + _challengeSeconds;
        if (block.timestamp >= until) revert WindowOver(until);
        // One whole stratum has a drawn leaf for certain.
        if (uint256(batch.leafCount) * batch.ratePercent >= 100) {
            revert DrawnAnyway(batch.leafCount, batch.ratePercent);
        }
        address client = _clientOf(contents.debits, position);
        bond = _bondOf(batch);
        bytes32 batchId = _settlement.batchIdOf(node, slot);
        challengeOf[batchId] = Challenge(client, bond);
        emit LeafChallenged(batchId, node, client, slot, uint24(position), bond);
        _settlement.drawAll(node, slot);
        _settlement.hold(client, msg.sender, bond);
    }

    function endChallenge(address node, uint8 slot, uint256 commitBlock) external {
        // Made here from its parts: with a slot of the caller's choice an open batch would look like a past one.
        bytes32 batchId = keccak256(abi.encode(node, slot, commitBlock));
        Challenge memory ended = challengeOf[batchId];
        if (ended.bond == 0) revert NoChallenge(batchId);
        bool kept = _hasPassed(node, slot, batchId);
        delete challengeOf[batchId];
        emit ChallengeEnded(batchId, ended.client, ended.bond, kept);
        if (kept) _settlement.creditPool(ended.bond);
        else _settlement.release(ended.client, ended.bond);
    }

    /// @dev A batch's slot may hold another batch by now; then it was final or refunded, and its case says which.
    function _hasPassed(address node, uint8 slot, bytes32 batchId) private view returns (bool) {
        if (_settlement.batchIdOf(node, slot) == batchId) {
            BatchState state = _settlement.batchOf(node, slot).state;
            if (state == BatchState.Final) return true;
            if (state == BatchState.Void || state == BatchState.Refunded) return false;
            revert StillOpen(state);
        }
        return _court.caseOf(batchId).verdict == Verdict.Pass;
    }

    /// @dev Whose leaf it is; the caller must be that lane's client or signer.
    function _clientOf(Debit[] calldata debits, uint256 position) private view returns (address client) {
        uint256 end;
        for (uint256 i; i < debits.length; ++i) {
            end += debits[i].leaves;
            if (position >= end) continue;
            client = debits[i].client;
            if (msg.sender != client && msg.sender != debits[i].signer) revert NotOwnLeaf(position, msg.sender);
            return client;
        }
    }

    /// @dev The fee over the rate, the most that seats may have for it: the party that is wrong pays for the check.
    function _bondOf(Batch memory batch) private view returns (uint96) {
        uint256 most = uint256(batch.fee) * 100 / batch.ratePercent;
        return most < _minDeposit ? _minDeposit : uint96(most);
    }
}
