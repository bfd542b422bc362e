// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../interfaces/ICourt.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {SampleLib} from "../libraries/SampleLib.sol";
import {Draw, SeatLib} from "../libraries/SeatLib.sol";
import {Batch, Contents, Debit, Docket} from "../types/BatchTypes.sol";
import {ListEnd, VerifierSlot} from "../types/CaseTypes.sol";
import {NodeState, NodeView} from "../types/NodeTypes.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice The Court's list of verifiers, one a device class, and the draw of seats from it.
/// @dev Places never move; who leaves keeps a tombstone.
abstract contract Verifiers is ICourt {
    uint256 private constant STAKE_FACTOR = 5;
    uint40 private constant FOREVER = type(uint40).max;

    IStakeManager internal immutable _stakes;
    ISettlement internal immutable _settlement;
    uint96 private immutable _minStake;
    uint16 private immutable _minScore;
    uint32 private immutable _minAgeSeconds;
    uint16 private immutable _weightFloorBps;

    /// @dev Not an array: its length would be read with every place.
    mapping(uint8 classId => mapping(uint256 place => VerifierSlot)) private _slots;
    mapping(uint8 classId => ListEnd) private _ends;
    /// @dev The place that a node took last, also if it has left since: who sits may leave.
    mapping(address node => mapping(uint8 classId => uint256)) private _places;
    mapping(address node => uint32 classMask) private _joined;

    constructor(IStakeManager stakes_, ISettlement settlement_, Profile memory profile) {
        _stakes = stakes_;
        _settlement = settlement_;
        _minStake = profile.minStake;
        _minScore = profile.verifierMinScore;
        _minAgeSeconds = profile.verifierMinAgeSeconds;
        _weightFloorBps = profile.verifierWeightFloorBps;
    }

    function joinVerifiers(address node, uint8 classId) external {
        NodeView memory shown = _nodeOf(node);
        _requireKeyOf(shown, node);
        _requireEligible(shown, node, classId);
        if (_isJoined(node, classId)) revert AlreadyJoined(node, classId);
        uint16 weight = SeatLib.weightOf(shown.activeStake, _minStake, shown.scoreHundredths, _weightFloorBps);
        uint256 place = _ends[classId].count;
        _ends[classId] = ListEnd(uint32(place + 1), uint40(block.number));
        _slots[classId][place] = VerifierSlot(node, uint40(block.number), FOREVER, weight);
        _places[node][classId] = place;
        _joined[node] |= uint32(1) << classId;
        emit VerifierJoined(node, classId, place, weight);
    }

    function leaveVerifiers(address node, uint8 classId) external {
        if (!_isJoined(node, classId)) revert NotJoined(node, classId);
        NodeView memory shown = _nodeOf(node);
        if (_mayStay(shown, classId)) _requireKeyOf(shown, node);
        _leave(node, classId);
    }

    function verifiersOf(uint8 classId) external view returns (VerifierSlot[] memory slots) {
        slots = new VerifierSlot[](_ends[classId].count);
        for (uint256 place; place < slots.length; ++place) {
            slots[place] = _slots[classId][place];
        }
    }

    /// @dev Takes a node off every list.
    function _dismiss(address node) internal {
        uint32 joined = _joined[node];
        for (uint8 classId = 1; joined >> classId != 0; ++classId) {
            if ((joined >> classId) & 1 == 1) _leave(node, classId);
        }
    }

    function _drawSeats(Draw memory draw, address[] memory seated, uint256 wanted)
        internal
        view
        returns (uint256[] memory places)
    {
        uint256 length = _listLength(draw.classId, draw.commitBlock);
        return SeatLib.draw(_slots[draw.classId], length, draw, seated, wanted, _isParty);
    }

    /// @dev A place of this verifier, by which it is found; not always the one that it was drawn by.
    function _placeOf(address node, uint8 classId) internal view returns (uint256) {
        return _places[node][classId];
    }

    function _nodeAt(uint8 classId, uint256 place) internal view returns (address) {
        return _slots[classId][place].node;
    }

    function _nodesAt(uint8 classId, uint256[] memory places) internal view returns (address[] memory nodes) {
        nodes = new address[](places.length);
        for (uint256 i; i < places.length; ++i) {
            nodes[i] = _nodeAt(classId, places[i]);
        }
    }

    /// @dev Places of a class that are in the draw for a batch of this block.
    function _listLength(uint8 classId, uint256 commitBlock) internal view returns (uint256) {
        ListEnd memory end = _ends[classId];
        // Most of the time no verifier has joined since.
        return end.lastBlock < commitBlock ? end.count : SeatLib.lengthAt(_slots[classId], end.count, commitBlock);
    }

    /// @dev Whether a node has a hand in the batch: itself or another of the same owner, a client's or a signer's.
    function _isParty(Draw memory draw, address node) private view returns (bool) {
        (address owner, address operator) = _keysOf(node);
        if (owner == draw.owner || SeatLib.isEitherIn(node, owner, draw.parties)) return true;
        return operator != node && SeatLib.isIn(operator, draw.parties);
    }

    /// @dev Clients and signers whose leaves are drawn. Leaves stand in the order of the debits.
    function _partiesOf(Contents calldata contents, uint256[] memory drawn, uint256 rateBps)
        internal
        pure
        returns (address[] memory parties)
    {
        Debit[] calldata debits = contents.debits;
        parties = new address[](2 * debits.length);
        uint256 count;
        uint256 before;
        uint256 end;
        for (uint256 i; i < debits.length; ++i) {
            Debit calldata debit = debits[i];
            // A batch has 2,560 leaves at most.
            unchecked {
                end += debit.leaves;
                uint256 until = SampleLib.countBefore(drawn, end, rateBps);
                if (until != before && debit.amount != 0) {
                    (address client, address signer) = (debit.client, debit.signer);
                    parties[count++] = client;
                    if (signer != client) parties[count++] = signer;
                }
                before = until;
            }
        }
        assembly ("memory-safe") {
            mstore(parties, count)
        }
    }

    /// @dev Classes are 1..31.
    function _isJoined(address node, uint8 classId) private view returns (bool) {
        return (_joined[node] >> classId) & 1 == 1;
    }

    function _leave(address node, uint8 classId) private {
        uint256 place = _places[node][classId];
        _slots[classId][place].untilBlock = uint40(block.number);
        _joined[node] &= ~(uint32(1) << classId);
        emit VerifierLeft(node, classId, place);
    }

    /// @dev The caller must be the node's owner or operator.
    function _requireNodes(address node) internal view {
        (address owner, address operator) = _keysOf(node);
        if (msg.sender != owner && msg.sender != operator) revert NotOfNode(node, msg.sender);
    }

    function _requireKeyOf(NodeView memory shown, address node) private view {
        if (shown.state == NodeState.None) revert UnknownNode(node);
        _requireNodes(node);
    }

    function _requireEligible(NodeView memory shown, address node, uint8 classId) private view {
        if (shown.state != NodeState.Active) revert NotActive(node);
        if (classId > 31 || (shown.classMask >> classId) & 1 == 0) revert ClassNotRun(node, classId);
        if (shown.activeStake < _leastStake()) revert StakeTooLow(shown.activeStake, _leastStake());
        if (shown.scoreHundredths < _minScore) revert ScoreTooLow(shown.scoreHundredths, _minScore);
        uint256 age = block.timestamp - uint256(shown.activatedDay) * 1 days;
        if (age < _minAgeSeconds) revert TooYoung(age, _minAgeSeconds);
    }

    function _mayStay(NodeView memory shown, uint8 classId) private view returns (bool) {
        if (shown.state != NodeState.Active || (shown.classMask >> classId) & 1 == 0) return false;
        return shown.activeStake >= _leastStake() && shown.scoreHundredths >= _minScore;
    }

    function _leastStake() private view returns (uint256) {
        return STAKE_FACTOR * _minStake;
    }

    // ---- asked often: a call from one place each takes a kilobyte less of the 24 that a contract may have

    function _keysOf(address node) internal view returns (address owner, address operator) {
        return _stakes.keysOf(node);
    }

    function _nodeOf(address node) internal view returns (NodeView memory) {
        return _stakes.nodeOf(node);
    }

    function _docketOf(address node, uint8 slot) internal view returns (Docket memory) {
        return _settlement.drawOf(node, slot);
    }

    function _batchOf(address node, uint8 slot) internal view returns (Batch memory) {
        return _settlement.batchOf(node, slot);
    }

    function _slash(address node, uint16 bps, bytes32 caseId) internal {
        if (bps != 0) _stakes.slash(node, bps, caseId);
    }

    function _penalise(address node, uint16 tenths, bool lostCase) internal {
        _stakes.penalise(node, tenths, lostCase);
    }
}
