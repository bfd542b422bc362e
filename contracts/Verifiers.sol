// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "./interfaces/ICourt.sol";
import {ISettlement} from "./interfaces/ISettlement.sol";
import {IStakeManager} from "./interfaces/IStakeManager.sol";
import {SeatLib} from "./libraries/SeatLib.sol";
import {Batch, Contents} from "./types/BatchTypes.sol";
import {VerifierSlot} from "./types/CaseTypes.sol";
import {NodeState, NodeView} from "./types/NodeTypes.sol";
import {Profile} from "./types/ParamTypes.sol";

/// @notice The Court's list of verifiers, one a device class, and the draw of seats from it.
/// @dev Places never move and a draw reads only places that were held when the batch was submitted, so neither joining nor
///      leaving after a seed is known changes who sits.
abstract contract Verifiers is ICourt {
    /// @dev All that a draw depends on.
    struct Draw {
        bytes32 seed;
        bytes32 batchId;
        uint256 round;
        uint8 classId;
        uint256 commitBlock;
        address node;
        address owner;
        /// @dev Clients and signers of drawn leaves; may end in zeros.
        address[] parties;
        uint256 nextTry;
    }

    uint256 private constant STAKE_FACTOR = 5;
    uint40 private constant FOREVER = type(uint40).max;

    IStakeManager internal immutable _stakes;
    ISettlement internal immutable _settlement;
    uint96 private immutable _minStake;
    uint16 private immutable _minScore;
    uint32 private immutable _minAgeSeconds;
    uint16 private immutable _weightFloorBps;

    mapping(uint8 classId => VerifierSlot[]) private _slots;
    /// @dev Place + 1, 0 while the node is not on the list.
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
        NodeView memory shown = _stakes.nodeOf(node);
        _requireKeyOf(shown, node);
        _requireEligible(shown, node, classId);
        if (_places[node][classId] != 0) revert AlreadyJoined(node, classId);
        uint16 weight = SeatLib.weightOf(shown.activeStake, _minStake, shown.scoreHundredths, _weightFloorBps);
        VerifierSlot[] storage slots = _slots[classId];
        slots.push(VerifierSlot(node, uint40(block.number), FOREVER, weight));
        _places[node][classId] = slots.length;
        _joined[node] |= uint32(1) << classId;
        emit VerifierJoined(node, classId, slots.length - 1, weight);
    }

    function leaveVerifiers(address node, uint8 classId) external {
        if (_places[node][classId] == 0) revert NotJoined(node, classId);
        NodeView memory shown = _stakes.nodeOf(node);
        if (_mayStay(shown)) _requireKeyOf(shown, node);
        _leave(node, classId);
    }

    function verifiersOf(uint8 classId) external view returns (VerifierSlot[] memory) {
        return _slots[classId];
    }

    /// @dev Takes a node off every list.
    function _dismiss(address node) internal {
        uint32 joined = _joined[node];
        for (uint8 classId = 1; joined >> classId != 0; ++classId) {
            if ((joined >> classId) & 1 == 1) _leave(node, classId);
        }
    }

    /// @notice The next verifiers of the draw order, at most `wanted` and fewer if 64 tickets a seat do not find them.
    /// @param seated nodes that sat in this case before, silent ones included
    /// @dev Moves draw.nextTry past the last ticket used.
    function _drawSeats(Draw memory draw, address[] memory seated, uint256 wanted)
        internal
        view
        returns (address[] memory found)
    {
        VerifierSlot[] storage slots = _slots[draw.classId];
        uint256 length = SeatLib.lengthAt(slots, draw.commitBlock);
        found = new address[](wanted);
        uint256 count;
        uint256 end = length == 0 ? draw.nextTry : draw.nextTry + SeatLib.TRIES_PER_SEAT * wanted;
        while (count < wanted && draw.nextTry < end) {
            address node = _candidate(draw, slots, length);
            ++draw.nextTry;
            if (node == address(0) || _isIn(node, seated) || _isIn(node, found) || _isParty(draw, node)) continue;
            found[count++] = node;
        }
        assembly ("memory-safe") {
            mstore(found, count)
        }
    }

    /// @dev The verifier on the next ticket, 0 if its place was not held at commit or it loses its roll.
    function _candidate(Draw memory draw, VerifierSlot[] storage slots, uint256 length)
        private
        view
        returns (address)
    {
        (uint256 place, uint256 roll) =
            SeatLib.ticket(draw.seed, draw.batchId, draw.round, draw.nextTry, length);
        VerifierSlot storage slot = slots[place];
        return roll < slot.weight && draw.commitBlock <= slot.untilBlock ? slot.node : address(0);
    }

    /// @dev Whether a node has a hand in the batch: the node itself, one of the same owner, a client's or a signer's.
    function _isParty(Draw memory draw, address node) private view returns (bool) {
        if (node == draw.node) return true;
        (address owner, address operator) = _stakes.keysOf(node);
        return owner == draw.owner || _isIn(node, draw.parties) || _isIn(owner, draw.parties)
            || _isIn(operator, draw.parties);
    }

    /// @dev Clients and signers whose leaves are drawn. Leaves stand in the order of the debits.
    function _partiesOf(Contents memory contents, uint256[] memory drawn)
        internal
        pure
        returns (address[] memory parties)
    {
        parties = new address[](2 * contents.debits.length);
        uint256 next;
        uint256 end;
        for (uint256 i; i < contents.debits.length && next < drawn.length; ++i) {
            end += contents.debits[i].leaves;
            if (drawn[next] >= end) continue;
            parties[2 * i] = contents.debits[i].client;
            parties[2 * i + 1] = contents.debits[i].signer;
            while (next < drawn.length && drawn[next] < end) ++next;
        }
    }

    function _leave(address node, uint8 classId) private {
        uint256 place = _places[node][classId] - 1;
        _slots[classId][place].untilBlock = uint40(block.number);
        _places[node][classId] = 0;
        _joined[node] &= ~(uint32(1) << classId);
        emit VerifierLeft(node, classId, place);
    }

    function _requireKeyOf(NodeView memory shown, address node) private view {
        if (shown.state == NodeState.None) revert UnknownNode(node);
        if (msg.sender != shown.owner && msg.sender != shown.operator) revert NotOfNode(node, msg.sender);
    }

    function _requireEligible(NodeView memory shown, address node, uint8 classId) private view {
        if (shown.state != NodeState.Active) revert NotActive(node);
        if (classId > 31 || (shown.classMask >> classId) & 1 == 0) revert ClassNotRun(node, classId);
        if (shown.activeStake < _leastStake()) revert StakeTooLow(shown.activeStake, _leastStake());
        if (shown.scoreHundredths < _minScore) revert ScoreTooLow(shown.scoreHundredths, _minScore);
        uint256 age = block.timestamp - uint256(shown.activatedDay) * 1 days;
        if (age < _minAgeSeconds) revert TooYoung(age, _minAgeSeconds);
    }

    function _mayStay(NodeView memory shown) private view returns (bool) {
        return shown.state == NodeState.Active && shown.activeStake >= _leastStake()
            && shown.scoreHundredths >= _minScore;
    }

    function _leastStake() private view returns (uint256) {
        return STAKE_FACTOR * _minStake;
    }

    function _isIn(address one, address[] memory many) private pure returns (bool) {
        for (uint256 i; i < many.length; ++i) {
            if (many[i] == one) return true;
        }
        return false;
    }
}
