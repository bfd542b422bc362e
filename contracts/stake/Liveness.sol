// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Registry} from "./Registry.sol";
import {PoolLib} from "../libraries/PoolLib.sol";
import {Record, ReputationLib} from "../libraries/ReputationLib.sol";
import {NodeState} from "../types/NodeTypes.sol";

/// @notice Whether a node is there: minutes are its peers' business, days are counted here.
abstract contract Liveness is Registry {
    using ReputationLib for Record;

    /// @dev Whole days without a sign that cost nothing.
    uint24 private constant GRACE_DAYS = 7;
    /// @dev Longer than 48 hours for certain, whatever the hour of the two signs.
    uint24 private constant GAP_DAYS = 3;

    function checkIn(address id) external {
        Node storage node = _known(id);
        if (msg.sender != _operatorOf(id, node)) revert NotOperator(id, msg.sender);
        if (_isCounted(node)) revert SameDay(_today());
        Record memory record = node.record;
        _countDay(id, node, record);
        node.record.keep(record);
    }

    function penalizeOffline(address id) external returns (uint96 lost) {
        Node storage node = _known(id);
        lost = _chargeOffline(id, node);
        if (lost == 0) revert NotOffline(id, node.lastDay);
        _emitStake(id, node);
    }

    // ---- inside

    function _isCounted(Node storage node) internal view returns (bool) {
        return node.lastDay == _today() && _has(node, SEEN);
    }

    /// @dev A node that comes back first pays what was not charged yet, so the order of the two calls does not matter.
    ///      The record is the caller's to keep.
    function _countDay(address id, Node storage node, Record memory record) internal {
        if (_chargeOffline(id, node) != 0) _emitStake(id, node);
        uint24 today = _today();
        if (today >= node.lastDay + GAP_DAYS) record.samplesLeft = ReputationLib.PROBATION;
        node.lastDay = today;
        node.flags = (node.flags | SEEN) & ~TAKEN_BACK;
        record.checkInDays += 1;
        emit CheckedIn(id, today, record.checkInDays);
    }

    /// @dev Burns what the days since the last sign cost, once: they count from then on as if the sign had been a week ago.
    ///      Only while the owner has a part in the active stake: an owner who has left owes no sign.
    function _chargeOffline(address id, Node storage node) internal override returns (uint96 lost) {
        uint24 today = _today();
        if (today <= node.lastDay + GRACE_DAYS) return 0;
        if (node.state != NodeState.Active && node.state != NodeState.Jailed) return 0;
        if (_ownShares(node) == 0) return 0;
        uint24 daysMissed = today - node.lastDay - GRACE_DAYS;
        lost = _lowerActive(id, node, node.active - uint96(PoolLib.decayed(node.active, daysMissed)));
        node.lastDay = today - GRACE_DAYS;
        emit OfflinePenalized(id, daysMissed, lost);
        _coin.burn(lost);
    }
}
