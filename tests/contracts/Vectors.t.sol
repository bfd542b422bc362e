// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";

import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {Record, ReputationLib} from "../../contracts/libraries/ReputationLib.sol";
import {SampleLib} from "../../contracts/libraries/SampleLib.sol";
import {Draw, SeatLib} from "../../contracts/libraries/SeatLib.sol";
import {SplitLib} from "../../contracts/libraries/SplitLib.sol";
import {Leaf, SumNode, SumTreeLib} from "../../contracts/libraries/SumTreeLib.sol";
import {VerifierSlot} from "../../contracts/types/CaseTypes.sol";

/// @notice The libraries compute what protocol/ computes: both read tests/vectors.
/// @dev One external call a case: the file is copied for each field, and only a new call starts with empty memory.
contract VectorsTest is Test {
    string private json;
    mapping(uint256 place => VerifierSlot) private slots;
    uint256 private slotCount;

    function _load(string memory name) private returns (uint256 count) {
        json = vm.readFile(string.concat("../tests/vectors/", name, ".json"));
        while (vm.keyExistsJson(json, string.concat(".cases[", vm.toString(count), "]"))) {
            ++count;
        }
        assertGt(count, 0, "no cases");
    }

    function _key(uint256 i, string memory field) private pure returns (string memory) {
        return string.concat(".cases[", vm.toString(i), "].", field);
    }

    function _uint(uint256 i, string memory field) private view returns (uint256) {
        return vm.parseJsonUint(json, _key(i, field));
    }

    function _uints(uint256 i, string memory field) private view returns (uint256[] memory) {
        return vm.parseJsonUintArray(json, _key(i, field));
    }

    function _word(uint256 i, string memory field) private view returns (bytes32) {
        return vm.parseJsonBytes32(json, _key(i, field));
    }

    function _words(uint256 i, string memory field) private view returns (bytes32[] memory) {
        return vm.parseJsonBytes32Array(json, _key(i, field));
    }

    function _address(uint256 i, string memory field) private view returns (address) {
        return vm.parseJsonAddress(json, _key(i, field));
    }

    function _addresses(uint256 i, string memory field) private view returns (address[] memory) {
        return vm.parseJsonAddressArray(json, _key(i, field));
    }

    function _is(uint256 i, string memory field, string memory text) private view returns (bool) {
        return keccak256(bytes(vm.parseJsonString(json, _key(i, field)))) == keccak256(bytes(text));
    }

    // ---- sumtree

    function _leaf(uint256 i, uint256 j) private view returns (Leaf memory leaf, bytes32 hash) {
        string memory at = string.concat("leaves[", vm.toString(j), "].");
        leaf.client = _address(i, string.concat(at, "client"));
        leaf.signer = _address(i, string.concat(at, "signer"));
        leaf.index = uint24(_uint(i, string.concat(at, "index")));
        leaf.details = _word(i, string.concat(at, "details"));
        leaf.charge = uint96(_uint(i, string.concat(at, "charge")));
        leaf.bonus = uint96(_uint(i, string.concat(at, "bonus")));
        leaf.actualMs = uint32(_uint(i, string.concat(at, "actualMs")));
        leaf.resultHash = _word(i, string.concat(at, "resultHash"));
        leaf.outputCommit = _word(i, string.concat(at, "outputCommit"));
        leaf.receiptHash = _word(i, string.concat(at, "receiptHash"));
        leaf.status = uint8(_uint(i, string.concat(at, "status")));
        hash = _word(i, string.concat(at, "hash"));
    }

    function test_sumtree() public {
        uint256 count = _load("sumtree");
        for (uint256 i; i < count; ++i) {
            this.checkSumtree(i);
        }
    }

    function checkSumtree(uint256 i) external view {
        uint256 leafCount;
        while (vm.keyExistsJson(json, _key(i, string.concat("leaves[", vm.toString(leafCount), "]")))) {
            ++leafCount;
        }
        SumNode[] memory nodes = new SumNode[](leafCount);
        for (uint256 j; j < leafCount; ++j) {
            (Leaf memory leaf, bytes32 hash) = _leaf(i, j);
            nodes[j] = SumTreeLib.nodeOf(leaf);
            assertEq(nodes[j].hash, hash, "leaf");
        }
        _assertTop(i, SumTreeLib.root(nodes));
        uint256 opened = _uint(i, "opened");
        _assertTop(i, SumTreeLib.climb(nodes[opened], opened, _path(i)));
    }

    function _path(uint256 i) private view returns (SumNode[] memory siblings) {
        bytes32[] memory hashes = _words(i, "pathHashes");
        uint256[] memory charges = _uints(i, "pathCharges");
        uint256[] memory bonuses = _uints(i, "pathBonuses");
        uint256[] memory ms = _uints(i, "pathMs");
        siblings = new SumNode[](hashes.length);
        for (uint256 j; j < hashes.length; ++j) {
            siblings[j] = SumNode(hashes[j], charges[j], bonuses[j], ms[j]);
        }
    }

    function _assertTop(uint256 i, SumNode memory top) private view {
        assertEq(top.hash, _word(i, "root"), "root");
        assertEq(top.charge, _uint(i, "charge"), "charge");
        assertEq(top.bonus, _uint(i, "bonus"), "bonus");
        assertEq(top.ms, _uint(i, "ms"), "ms");
    }

    // ---- sampling

    function test_sampling() public {
        uint256 count = _load("sampling");
        for (uint256 i; i < count; ++i) {
            this.checkSampling(i);
        }
    }

    function checkSampling(uint256 i) external view {
        bytes32 batchId = keccak256(abi.encode(_address(i, "node"), uint8(_uint(i, "slot")), _uint(i, "commitBlock")));
        assertEq(batchId, _word(i, "batchId"), "batch id");
        bytes32 seed = keccak256(abi.encode(_word(i, "epochSeed"), batchId));
        assertEq(seed, _word(i, "seed"), "seed");
        uint256 epoch = _uint(i, "commitBlock") / _uint(i, "epochBlocks");
        assertEq(epoch, _uint(i, "epoch"), "epoch");
        assertEq((epoch + 1) * _uint(i, "epochBlocks") + _uint(i, "lagBlocks"), _uint(i, "seedBlock"), "seed block");
        _assertDraw(i, seed, _uint(i, "leafCount"), _uint(i, "rateBps"));
        bool audited = vm.parseJsonBool(json, _key(i, "audited"));
        assertEq(SampleLib.isAudited(_word(i, "epochSeed"), batchId), audited, "audited");
    }

    function _assertDraw(uint256 i, bytes32 seed, uint256 leafCount, uint256 rateBps) private view {
        uint256[] memory drawn = SampleLib.draw(seed, leafCount, rateBps);
        assertEq(drawn.length, _uint(i, "drawnCount"), "drawn count");
        assertEq(SampleLib.count(seed, leafCount, rateBps), drawn.length, "count");
        uint256[] memory expected = _uints(i, "drawn");
        for (uint256 j; j < expected.length; ++j) {
            assertEq(drawn[j], expected[j], "drawn leaf");
        }
    }

    // ---- seats

    function test_seats() public {
        uint256 count = _load("seats");
        for (uint256 i; i < count; ++i) {
            this.checkSeats(i);
        }
    }

    function checkSeats(uint256 i) external {
        _keepSlots(i);
        address[] memory seated = _draw(i, _uint(i, "wanted"));
        assertEq(seated, _addresses(i, "seated"), string.concat("case ", vm.toString(i)));
    }

    function _keepSlots(uint256 i) private {
        address[] memory nodes = _addresses(i, "nodes");
        uint256[] memory froms = _uints(i, "fromBlocks");
        uint256[] memory untils = _uints(i, "untilBlocks");
        uint256[] memory weights = _uints(i, "weights");
        slotCount = nodes.length;
        for (uint256 j; j < nodes.length; ++j) {
            slots[j] = VerifierSlot(nodes[j], uint40(froms[j]), uint40(untils[j]), uint16(weights[j]));
        }
    }

    function _draw(uint256 i, uint256 wanted) private view returns (address[] memory nodes) {
        Draw memory order;
        order.seed = _word(i, "seed");
        order.batchId = _word(i, "batchId");
        order.commitBlock = _uint(i, "commitBlock");
        order.parties = _addresses(i, "excluded");
        uint256 length = SeatLib.lengthAt(slots, slotCount, order.commitBlock);
        uint256[] memory places = SeatLib.draw(slots, length, order, new address[](0), wanted, _isExcluded);
        nodes = new address[](places.length);
        for (uint256 j; j < places.length; ++j) {
            nodes[j] = slots[places[j]].node;
        }
    }

    function _isExcluded(Draw memory order, address node) private pure returns (bool) {
        return SeatLib.isIn(node, order.parties);
    }

    // ---- split and reputation

    function test_split() public {
        uint256 count = _load("split");
        for (uint256 i; i < count; ++i) {
            this.checkSplit(i);
        }
    }

    function checkSplit(uint256 i) external view {
        uint96 charge = uint96(_uint(i, "charge"));
        uint96 fee = SplitLib.feeOf(charge);
        (uint96 burned, uint96 reward, uint96 pooled) = SplitLib.split(charge, _uint(i, "scoreHundredths"));
        assertEq(fee, _uint(i, "fee"), "fee");
        assertEq(burned, _uint(i, "burned"), "burned");
        assertEq(reward, _uint(i, "reward"), "reward");
        assertEq(pooled + fee, _uint(i, "pooled"), "pooled");
        uint256 pay = SplitLib.seatPay(fee, _uint(i, "drawn"), _uint(i, "leafCount"), _uint(i, "ratePercent"));
        assertEq(pay, _uint(i, "seatPay"), "seat pay");
        assertEq(SplitLib.convenePay(fee), _uint(i, "convenePay"), "pay for who convened");
    }

    function test_reputation() public {
        uint256 count = _load("reputation");
        for (uint256 i; i < count; ++i) {
            this.checkReputation(i);
        }
    }

    function checkReputation(uint256 i) external view {
        Record memory record;
        record.successes = uint32(_uint(i, "successes"));
        record.total = uint32(_uint(i, "total"));
        record.responseMs = uint48(_uint(i, "responseMs"));
        record.checkInDays = uint16(_uint(i, "checkInDays"));
        record.penaltyTenths = uint16(_uint(i, "penaltyTenths"));
        record.activatedDay = 20_000;
        uint256 today = 20_000 + _uint(i, "daysActive");
        uint16 score = ReputationLib.score(record, _uint(i, "stake"), _uint(i, "recommendedStake"), today);
        assertEq(score, _uint(i, "score"), string.concat("case ", vm.toString(i)));
    }

    // ---- messages

    function test_messages() public {
        uint256 count = _load("messages");
        uint256 checked;
        for (uint256 i; i < count; ++i) {
            if (this.checkMessage(i)) ++checked;
        }
        assertEq(checked, 6, "the three messages that contracts read, twice");
    }

    function checkMessage(uint256 i) external view returns (bool) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256(bytes(EnvelopeLib.NAME)),
                keccak256(bytes(EnvelopeLib.VERSION)),
                _uint(i, "chainId"),
                _address(i, "verifyingContract")
            )
        );
        assertEq(domain, _word(i, "domainSeparator"), "domain");
        bytes32 digest = keccak256(abi.encodePacked(hex"1901", domain, _word(i, "structHash")));
        assertEq(digest, _word(i, "digest"), "digest");
        bytes32 vs = _word(i, "vs");
        bytes32 s = vs & bytes32(type(uint256).max >> 1);
        assertEq(ecrecover(digest, uint8(uint256(vs) >> 255) + 27, _word(i, "r"), s), _address(i, "signer"));
        return _checkHash(i);
    }

    function _checkHash(uint256 i) private view returns (bool) {
        bytes32 hash;
        if (_is(i, "name", "Assignment")) hash = _assignment(i);
        else if (_is(i, "name", "LaneOpen")) hash = _laneOpen(i);
        else if (_is(i, "name", "OperatorConsent")) hash = _consent(i);
        else return false;
        assertEq(hash, _word(i, "structHash"), vm.parseJsonString(json, _key(i, "name")));
        return true;
    }

    function _assignment(uint256 i) private view returns (bytes32) {
        return EnvelopeLib.assignmentHash(
            _address(i, "fields.client"),
            _address(i, "fields.signer"),
            _address(i, "fields.node"),
            uint24(_uint(i, "fields.index")),
            uint96(_uint(i, "fields.cumulative")),
            _word(i, "fields.details")
        );
    }

    function _laneOpen(uint256 i) private view returns (bytes32) {
        return EnvelopeLib.laneOpenHash(
            _address(i, "fields.client"),
            _address(i, "fields.signer"),
            _address(i, "fields.node"),
            uint96(_uint(i, "fields.amount")),
            uint128(_uint(i, "fields.prevTotal")),
            uint40(_uint(i, "fields.deadline"))
        );
    }

    function _consent(uint256 i) private view returns (bytes32) {
        return EnvelopeLib.operatorConsentHash(
            _address(i, "fields.owner"), _address(i, "fields.operator"), uint40(_uint(i, "fields.deadline"))
        );
    }
}
