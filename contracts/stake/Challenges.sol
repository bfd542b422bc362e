// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {Liveness} from "./Liveness.sol";
import {IVCoin} from "../interfaces/IVCoin.sol";
import {NodeState} from "../types/NodeTypes.sol";

/// @notice Whether a node answers within minutes, asked for a bond by the owner of another.
/// @dev The two identify a challenge, so an open one of one challenger does not block another's.
abstract contract Challenges is Liveness {
    using SafeERC20 for IVCoin;

    struct Miss {
        address by;
        uint40 since;
    }

    uint40 private constant ANSWER_SECONDS = 5 minutes;
    uint40 private constant APART_SECONDS = 10 minutes;
    uint40 private constant TOGETHER_SECONDS = 1 days;
    uint16 private constant BACK_AFTER = 3;

    /// @dev Until when an answer counts; 0: no challenge.
    mapping(address id => mapping(address challenger => uint40)) private _answerBy;
    mapping(address id => Miss) private _misses;

    function challengeLiveness(address id, address by) external {
        Node storage node = _known(id);
        if (node.owner == msg.sender) revert OwnChallenge(id);
        if (node.state != NodeState.Active) revert NotActive(id);
        if (_ownedBy(by, msg.sender).state != NodeState.Active) revert NotActive(by);
        if (_answerBy[id][msg.sender] != 0) revert AlreadyChallenged(id, msg.sender);
        uint40 answerBy = uint40(block.timestamp) + ANSWER_SECONDS;
        _answerBy[id][msg.sender] = answerBy;
        emit LivenessChallenged(id, msg.sender, answerBy);
        _coin.safeTransferFrom(msg.sender, address(this), _minDelegation);
    }

    function answerLiveness(address id, address challenger) external {
        Node storage node = _known(id);
        if (msg.sender != _operatorOf(id, node)) revert NotOperator(id, msg.sender);
        uint40 answerBy = _takeChallenge(id, challenger);
        if (block.timestamp > answerBy) revert AnswerTooLate(answerBy);
        emit LivenessAnswered(id, challenger);
        _coin.safeTransfer(payoutOf(id), _minDelegation);
    }

    function missLiveness(address id, address challenger) external {
        uint40 answerBy = _takeChallenge(id, challenger);
        if (block.timestamp <= answerBy) revert NotYet(answerBy);
        Miss memory before = _misses[id];
        bool isSecond = before.by != address(0) && before.by != challenger && answerBy >= before.since + APART_SECONDS
            && answerBy <= before.since + TOGETHER_SECONDS;
        _misses[id] = isSecond ? Miss(address(0), 0) : Miss(challenger, answerBy);
        emit LivenessMissed(id, challenger, isSecond);
        if (isSecond) _goOffline(id, _nodes[id]);
        _coin.safeTransfer(challenger, _minDelegation);
    }

    function _takeChallenge(address id, address challenger) private returns (uint40 answerBy) {
        answerBy = _answerBy[id][challenger];
        if (answerBy == 0) revert NotChallenged(id, challenger);
        _answerBy[id][challenger] = 0;
    }

    /// @dev The day's count is taken back, and some jobs are drawn before the node is believed again.
    function _goOffline(address id, Node storage node) private {
        if (_isCounted(node) && !_has(node, TAKEN_BACK)) {
            node.flags |= TAKEN_BACK;
            node.record.checkInDays -= 1;
        }
        if (node.record.samplesLeft < BACK_AFTER) node.record.samplesLeft = BACK_AFTER;
        _emitReputation(id, node);
    }
}
