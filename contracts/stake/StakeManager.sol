// This contract is deployed.
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {Challenges} from "./Challenges.sol";
import {Delegations} from "./Delegations.sol";
import {Nodes} from "./Nodes.sol";
import {Registry} from "./Registry.sol";
import {IParams} from "../interfaces/IParams.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IVCoin} from "../interfaces/IVCoin.sol";
import {Record, ReputationLib} from "../libraries/ReputationLib.sol";
import {BatchRecord, NodeState} from "../types/NodeTypes.sol";

/// @notice A node's record, and what Court and Settlement may do to it. Registry holds the nodes, and what they have at
///         stake in Delegations and Rewards, whether they are there in Liveness, what is kept of each in Nodes. See
///         IStakeManager.
contract StakeManager is Challenges {
    using ReputationLib for Record;
    using SafeERC20 for IVCoin;

    uint16 private constant MAX_SLASH_BPS = 5_000;
    uint256 private constant POOL_DIVISOR = 10;

    address public immutable court;
    uint96 private immutable _minBurn;
    uint32 private immutable _jailSeconds;

    constructor(IVCoin coin_, IParams params_, ISettlement settlement_, address court_)
        Nodes(coin_, params_, settlement_, params_.profile())
        Delegations(params_.profile().minDeposit, params_.profile().unbondingSeconds)
        Registry(params_.profile().timelockSeconds)
    {
        court = court_;
        _minBurn = params_.profile().minBurn;
        _jailSeconds = params_.profile().jailSeconds;
    }

    modifier onlyCourt() {
        if (msg.sender != court) revert NotCourt(msg.sender);
        _;
    }

    // ---- owner

    function unjail(address id) external {
        Node storage node = _ownedBy(id, msg.sender);
        if (node.state != NodeState.Jailed) revert NotJailed(id);
        if (block.timestamp < node.jailedUntil) revert StillJailed(node.jailedUntil);
        _requireOwnPart(node);
        uint256 open = _settlement.bookOf(id).openBatches;
        if (open != 0) revert OpenBatches(id, open);
        node.jailedUntil = 0;
        node.record.samplesLeft = ReputationLib.PROBATION;
        _setState(id, node, NodeState.Active);
        emit Unjailed(id);
    }

    // ---- Court and Settlement

    function slash(address id, uint16 bps, bytes32 caseId) external onlyCourt returns (uint96 pooled) {
        if (bps > MAX_SLASH_BPS) revert SlashTooHigh(bps);
        Node storage node = _known(id);
        (uint96 fromActive, uint96 fromUnbonding) = _slashPools(id, node, bps);
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
        _keepRecord(id, node, record);
    }

    function jail(address id, bytes32 caseId) external onlyCourt {
        Node storage node = _known(id);
        uint32 until = uint32(block.timestamp) + _jailSeconds;
        node.jailedUntil = until;
        _setState(id, node, NodeState.Jailed);
        emit Jailed(id, caseId, until);
        _settlement.drawAllOf(id);
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
        if (!_isCounted(node)) _countDay(id, node, record);
        _keepRecord(id, node, record);
    }
}
