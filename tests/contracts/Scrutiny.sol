// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SampleLib} from "../../contracts/libraries/SampleLib.sol";
import {Auditor} from "../../contracts/types/AuditTypes.sol";
import {BatchState} from "../../contracts/types/BatchTypes.sol";
import {Seat, SeatState} from "../../contracts/types/CaseTypes.sol";
import {DelegationView, NodeView} from "../../contracts/types/NodeTypes.sol";

import {Handler} from "./Handler.sol";

/// @notice Audits of batches that passed, with auditors who find anything, or nothing, or say nothing.
contract Scrutiny is Handler {
    /// @dev What one audit is going to hear.
    struct Hearing {
        bytes32 caseId;
        address node;
        uint8 slot;
        uint8[3] off;
        uint16[3] scores;
        /// @dev Bit i: auditor i does not commit. Bit 4 + i: nor reveal.
        uint8 silent;
    }

    uint256 public audited;
    uint256 public caught;
    uint256 public unmasked;

    /// @notice A batch that passed is audited from its draw to its end; if `late`, it is final before.
    function auditBatch(uint256 pick, uint8[3] calldata off, uint16[3] calldata scores, uint8 silent, bool late)
        external
    {
        (address node, uint8 slot) = _findPassed(pick);
        bytes32 caseId = settlement.batchIdOf(node, slot);
        _drawAudit(caseId);
        if (late) {
            pass(profile.challengeSeconds);
            _finalize(node, slot);
        }
        audits.convene(node, slot, _kept(node, slot));
        ++audited;
        _checkAuditors(caseId, node);
        Hearing memory hearing = Hearing(caseId, node, slot, off, scores, silent);
        _hear(hearing);
        if (!late) _checkHeld(hearing);
        _closed(hearing, !late);
    }

    /// @dev A batch that passed, or one that three seats let pass now.
    function _findPassed(uint256 pick) private returns (address node, uint8 slot) {
        if (pick % 2 == 0) (node, slot) = _find(BatchState.Passed, pick);
        if (node != address(0) && stateOf(node, slot) == BatchState.Passed) return (node, slot);
        (node, slot) = _find(BatchState.Pending, pick);
        if (stateOf(node, slot) != BatchState.Pending) revert("nothing to audit");
        _convene(node, slot);
        _judge(node, slot, [uint16(0), 0, 0]);
    }

    /// @dev Seals the epoch in which it passed with a hash under which it is drawn, unless somebody has sealed it.
    function _drawAudit(bytes32 caseId) private {
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        unchecked {
            epoch -= uint16(epoch - court.caseOf(caseId).nextTry);
        }
        (bytes32 seed,) = beacon.seedOf(epoch);
        if (seed != 0) return;
        uint256 seedBlock = beacon.seedBlockOf(epoch);
        if (vm.getBlockNumber() <= seedBlock) mine(seedBlock + 1 - vm.getBlockNumber());
        for (uint256 salt;; ++salt) {
            bytes32 hash = keccak256(abi.encode(salt));
            if (!SampleLib.isAudited(hash, caseId)) continue;
            vm.setBlockhash(seedBlock, hash);
            break;
        }
        beacon.seal(epoch);
    }

    function _checkAuditors(bytes32 caseId, address node) private {
        Auditor[] memory auditors = audits.auditorsOf(caseId);
        Seat[] memory seats = court.seatsOf(caseId);
        for (uint256 i; i < auditors.length; ++i) {
            if (auditors[i].node == node) _complain("a node audits its own batch");
            for (uint256 j; j < seats.length; ++j) {
                if (auditors[i].node == seats[j].node) _complain("a seat audits itself");
            }
            for (uint256 j; j < i; ++j) {
                if (auditors[i].node == auditors[j].node) _complain("an auditor sits twice");
            }
        }
    }

    function _hear(Hearing memory hearing) private {
        Auditor[] memory auditors = audits.auditorsOf(hearing.caseId);
        for (uint8 i; i < 3; ++i) {
            hearing.scores[i] %= 10_001;
            if ((hearing.silent >> i) & 1 == 1) continue;
            bytes32 salt = saltOf(i);
            vm.prank(auditors[i].node);
            audits.commit(
                hearing.caseId,
                i,
                keccak256(abi.encode(hearing.caseId, i, uint256(hearing.off[i]), hearing.scores[i], salt))
            );
        }
        pass(profile.seatSeconds + 1);
        for (uint8 i; i < 3; ++i) {
            if ((hearing.silent >> i) & 1 == 1 || (hearing.silent >> (4 + i)) & 1 == 1) continue;
            vm.prank(auditors[i].node);
            audits.reveal(hearing.caseId, i, hearing.off[i], hearing.scores[i], saltOf(i));
        }
    }

    function _checkHeld(Hearing memory hearing) private {
        try settlement.finalize(hearing.node, hearing.slot) {
            _complain("final in the middle of its audit");
        } catch {}
    }

    function _closed(Hearing memory hearing, bool held) private {
        (Node memory whole, DelegationView[] memory had) = _before(hearing.node);
        Prices memory prices = _pricesOf(hearing.node);
        NodeView memory before = stakes.nodeOf(hearing.node);
        uint256[] memory stakesBefore = _stakesOfAll();
        uint256 rewards = _allRewards();
        pass(profile.seatSeconds);
        audits.close(hearing.caseId);
        if (_allRewards() - rewards > audits.auditOf(hearing.caseId).due) {
            _complain("auditors had more than the seats");
        }
        bool fraud = held && _isUnanimous(hearing);
        uint256 lost = _countLoss(hearing.caseId, before, stakes.nodeOf(hearing.node));
        if ((lost != 0) != fraud) _complain("all three condemn a node, and fewer do not");
        if (fraud) {
            ++unmasked;
            ++voids;
            wasSlashed[hearing.node] = true;
            _requireInProportion(whole, prices, had);
        }
        BatchState expected = fraud ? BatchState.Void : held ? BatchState.Passed : BatchState.Final;
        if (stateOf(hearing.node, hearing.slot) != expected) _complain("an audit ends as it found");
        _checkFines(hearing, stakesBefore);
    }

    function _revealed(Hearing memory hearing, uint256 i) private pure returns (bool) {
        return (hearing.silent >> i) & 1 == 0 && (hearing.silent >> (4 + i)) & 1 == 0;
    }

    function _isUnanimous(Hearing memory hearing) private pure returns (bool) {
        for (uint256 i; i < 3; ++i) {
            if (!_revealed(hearing, i) || hearing.scores[i] > 8_500) return false;
        }
        return true;
    }

    function _stakesOfAll() private view returns (uint256[] memory all) {
        all = new uint256[](nodes.length);
        for (uint256 i; i < all.length; ++i) {
            all[i] = _stakeOf(nodes[i].id);
        }
    }

    /// @dev A twentieth of a seat that two say lied, half a percent of an auditor that was silent where another was not.
    function _checkFines(Hearing memory hearing, uint256[] memory before) private {
        for (uint256 i; i < nodes.length; ++i) {
            address who = nodes[i].id;
            if (who == hearing.node) continue;
            uint256 lost = before[i] - _stakeOf(who);
            burned += lost - lost / 10;
            if (lost != 0) wasSlashed[who] = true;
            uint256 least = _fineOf(hearing, who, before[i]);
            if (least != 0) ++caught;
            // Rounded up to a basis point, and once in each of the two pools.
            uint256 most = least == 0 ? 0 : least + before[i] / 10_000 + 2;
            if (lost > most || lost < least) _complain("an audit fines whom it catches, and so much");
        }
    }

    /// @dev A twentieth of a seat's stake, or forty times its pay if that is more, up to half; half a percent of a silent auditor's.
    function _fineOf(Hearing memory hearing, address who, uint256 stake) private view returns (uint256) {
        if (!_isCaught(hearing, who)) return _wasSilent(hearing, who) ? stake / 200 : 0;
        Seat[] memory seats = court.seatsOf(hearing.caseId);
        uint256 heard;
        for (uint256 i; i < seats.length; ++i) {
            if (seats[i].state == SeatState.Revealed) ++heard;
        }
        uint256 least = audits.auditOf(hearing.caseId).due / heard * 40;
        if (least < stake / 20) return stake / 20;
        return least < stake / 2 ? least : stake / 2;
    }

    function _isCaught(Hearing memory hearing, address who) private view returns (bool) {
        Seat[] memory seats = court.seatsOf(hearing.caseId);
        for (uint256 i; i < seats.length; ++i) {
            if (seats[i].node != who || seats[i].state != SeatState.Revealed || i > 7) continue;
            uint256 count;
            for (uint256 j; j < 3; ++j) {
                if (_revealed(hearing, j) && (hearing.off[j] >> i) & 1 == 1) ++count;
            }
            if (count > 1) return true;
        }
        return false;
    }

    function _wasSilent(Hearing memory hearing, address who) private view returns (bool) {
        if (hearing.silent & 7 == 7) return false;
        Auditor[] memory auditors = audits.auditorsOf(hearing.caseId);
        for (uint256 i; i < 3; ++i) {
            if (auditors[i].node == who) return !_revealed(hearing, i);
        }
        return false;
    }
}
