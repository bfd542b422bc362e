// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";
import {Test} from "forge-std/Test.sol";

import {IAudits} from "../../contracts/interfaces/IAudits.sol";
import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {IEpochBeacon} from "../../contracts/interfaces/IEpochBeacon.sol";
import {IFraudProofs} from "../../contracts/interfaces/IFraudProofs.sol";
import {IGuardian} from "../../contracts/interfaces/IGuardian.sol";
import {IParams} from "../../contracts/interfaces/IParams.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {IVCoin} from "../../contracts/interfaces/IVCoin.sol";
import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {SampleLib} from "../../contracts/libraries/SampleLib.sol";
import {BatchState, Claim, Contents, Debit, LaneView, Submission} from "../../contracts/types/BatchTypes.sol";
import {Verdict} from "../../contracts/types/CaseTypes.sol";
import {CalibrationRow, DeviceClass, Profile} from "../../contracts/types/ParamTypes.sol";

import {Profiles} from "./Profiles.sol";

/// @notice A whole local network: contracts wired as they are deployed, nodes, clients, signatures, batches, seeds.
/// @dev Time and blocks are read through vm: via_ir may otherwise keep a value from before a warp.
abstract contract Fixture is Test {
    uint96 internal constant VCN = 1e18;
    uint8 internal constant CLASS = 1;
    uint8 internal constant UNRECEIPTED = 1;
    uint8 internal constant UNCALIBRATED = 2;
    uint8 internal constant CHECKED = 32;
    uint256 internal constant START_BLOCK = 1_000;
    /// @dev Noon of a day, so that a few minutes never change the date.
    uint256 internal constant START_TIME = 20_000 days + 12 hours;

    /// @dev A node: its owner (cold) and its operator (hot); the id is the operator's address.
    struct Node {
        address id;
        uint256 key;
        address owner;
    }

    /// @dev A client and the hot key that signs for it.
    struct Client {
        address id;
        uint256 key;
        address signer;
        uint256 signerKey;
    }

    IVCoin internal coin;
    IParams internal params;
    IEpochBeacon internal beacon;
    IStakeManager internal stakes;
    ISettlement internal settlement;
    ICourt internal court;
    IGuardian internal guardian;
    TimelockController internal timelock;
    address internal keeper = makeAddr("keeper");
    address internal canceller = makeAddr("canceller");
    IFraudProofs internal fraudProofs;
    IAudits internal audits;
    Profile internal profile;
    /// @dev What a seat of this number says of the margins.
    mapping(uint8 seat => int32) internal evidenceOf;

    function setUp() public virtual {
        vm.roll(START_BLOCK);
        vm.warp(START_TIME);
        deploy(Profiles.load(vm, "local"));
    }

    // ---- network

    function deploy(Profile memory chosen) internal {
        profile = chosen;
        coin = IVCoin(deployCode("VCoin.sol:VCoin", abi.encode(address(this))));
        timelock = TimelockController(
            payable(deployCode("Timelock.sol:Timelock", Profiles.timelock(chosen, address(this), canceller)))
        );
        uint256 nonce = vm.getNonce(address(this));
        settlement = ISettlement(vm.computeCreateAddress(address(this), nonce + 3));
        court = ICourt(vm.computeCreateAddress(address(this), nonce + 4));
        guardian = IGuardian(vm.computeCreateAddress(address(this), nonce + 5));
        params = IParams(
            deployCode(
                "Params.sol:Params", abi.encode(chosen, timelock, guardian, firstClasses(), new CalibrationRow[](0))
            )
        );
        beacon = IEpochBeacon(deployCode("EpochBeacon.sol:EpochBeacon", abi.encode(params)));
        stakes = IStakeManager(deployCode("StakeManager.sol:StakeManager", abi.encode(coin, params, settlement, court)));
        fraudProofs = IFraudProofs(vm.computeCreateAddress(address(this), nonce + 6));
        audits = IAudits(vm.computeCreateAddress(address(this), nonce + 7));
        deployCode("Settlement.sol:Settlement", abi.encode(coin, params, stakes, beacon, court, fraudProofs));
        deployCode("Court.sol:Court", abi.encode(params, stakes, settlement, fraudProofs, audits));
        deployCode("Guardian.sol:Guardian", abi.encode(timelock, keeper, stakes));
        deployCode("FraudProofs.sol:FraudProofs", abi.encode(params, stakes, settlement, court));
        deployCode("Audits.sol:Audits", abi.encode(params, stakes, settlement, court, beacon));
        assertEq(settlement.court(), address(court), "wired");
    }

    function firstClasses() internal pure returns (DeviceClass[] memory classes) {
        classes = new DeviceClass[](2);
        classes[0] = DeviceClass(1, "cpu-fp32", sha256("runtime"), "fp32", "avx2");
        classes[1] = DeviceClass(2, "cpu-bf16", sha256("runtime"), "bf16", "avx512_bf16");
    }

    function pass(uint256 secs) internal {
        vm.warp(vm.getBlockTimestamp() + secs);
    }

    function mine(uint256 blocks) internal {
        vm.roll(vm.getBlockNumber() + blocks);
        vm.warp(vm.getBlockTimestamp() + blocks);
    }

    function today() internal view returns (uint24) {
        return uint24(vm.getBlockTimestamp() / 1 days);
    }

    // ---- nodes

    function makeNode(string memory name) internal returns (Node memory node) {
        (node.id, node.key) = makeAddrAndKey(name);
        node.owner = makeAddr(string.concat(name, " owner"));
    }

    function registered(string memory name, uint96 amount) internal returns (Node memory node) {
        node = makeNode(name);
        fundOwner(node, amount);
        bytes memory consent = consentOf(node, node.owner, uint40(vm.getBlockTimestamp()));
        vm.prank(node.owner);
        stakes.register(node.id, address(0), amount, 6, uint40(vm.getBlockTimestamp()), consent);
    }

    function fundOwner(Node memory node, uint96 amount) internal {
        coin.transfer(node.owner, amount);
        vm.prank(node.owner);
        coin.approve(address(stakes), type(uint256).max);
    }

    /// @notice Somebody with coins who lets StakeManager take them.
    function staker(string memory name, uint96 amount) internal returns (address who) {
        who = makeAddr(name);
        coin.transfer(who, amount);
        vm.prank(who);
        coin.approve(address(stakes), type(uint256).max);
    }

    function delegated(address who, address node, uint96 amount) internal {
        vm.prank(who);
        stakes.delegate(node, amount);
    }

    function slashed(address node, uint16 bps) internal {
        vm.prank(address(court));
        stakes.slash(node, bps, keccak256("case"));
    }

    function consentOf(Node memory node, address owner, uint40 deadline) internal view returns (bytes memory) {
        bytes32 message = EnvelopeLib.operatorConsentHash(owner, node.id, deadline);
        return signature(node.key, digestFor(address(stakes), message));
    }

    /// @notice A registered verifier of class 1 that counts for batches from the next block on.
    function verifier(string memory name) internal returns (Node memory node) {
        node = registered(name, 5_000 * VCN);
        vm.prank(node.id);
        court.joinVerifiers(node.id, CLASS);
    }

    function bench(uint256 count) internal returns (Node[] memory) {
        return bench(count, "verifier");
    }

    function bench(uint256 count, string memory name) internal returns (Node[] memory nodes) {
        nodes = new Node[](count);
        for (uint256 i; i < count; ++i) {
            nodes[i] = verifier(string.concat(name, " ", vm.toString(i)));
        }
        mine(1);
    }

    // ---- clients

    function client(string memory name, uint96 amount) internal returns (Client memory one) {
        (one.id, one.key) = makeAddrAndKey(name);
        (one.signer, one.signerKey) = makeAddrAndKey(string.concat(name, " signer"));
        coin.approve(address(settlement), amount);
        settlement.depositFor(one.id, amount);
    }

    function openLane(Client memory one, address node, uint96 amount) internal {
        LaneView memory lane = settlement.laneOf(one.id, one.signer, node);
        vm.prank(one.id);
        settlement.openLane(
            one.id, one.signer, node, amount, uint128(lane.left) + lane.mark, uint40(vm.getBlockTimestamp()), ""
        );
    }

    // ---- signatures

    function digestFor(address verifying, bytes32 message) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(
                keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"),
                keccak256("VCoin"),
                keccak256("1"),
                block.chainid,
                verifying
            )
        );
        return keccak256(abi.encodePacked(hex"1901", domain, message));
    }

    function signature(uint256 key, bytes32 digest) internal pure returns (bytes memory) {
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digest);
        return abi.encodePacked(r, s, v);
    }

    /// @notice Signs the claim's assignment with `key`, in EIP-2098 form.
    function signClaim(Claim memory part, address node, uint256 key) internal view {
        bytes32 message =
            EnvelopeLib.assignmentHash(part.client, part.signer, node, part.index, part.cumulative, part.details);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(key, digestFor(address(settlement), message));
        part.r = r;
        part.vs = bytes32(uint256(s) | (uint256(v - 27) << 255));
    }

    // ---- batches

    /// @notice What pays for the checks of a claim in a batch with these flags.
    function feeOf(uint96 charge, uint8 flags) internal pure returns (uint96) {
        return flags & CHECKED == 0 ? (charge + 19) / 20 : (charge + 1) / 2;
    }

    /// @notice A claim for `jobs` more jobs on the client's lane that signs for exactly what it costs.
    function claimOf(Client memory one, address node, uint24 jobs, uint96 charge, uint96 bonus)
        internal
        view
        returns (Claim memory)
    {
        return claimOf(one, node, jobs, charge, bonus, 0);
    }

    function claimOf(Client memory one, address node, uint24 jobs, uint96 charge, uint96 bonus, uint8 flags)
        internal
        view
        returns (Claim memory part)
    {
        LaneView memory lane = settlement.laneOf(one.id, one.signer, node);
        part.client = one.id;
        part.signer = one.signer;
        part.index = lane.jobs + jobs;
        part.cumulative = lane.mark + charge + feeOf(charge, flags) + bonus;
        part.details = keccak256("details");
        part.charge = charge;
        part.bonus = bonus;
        signClaim(part, node, one.signerKey);
    }

    function claimsOf(Client memory one, address node, uint24 jobs, uint96 charge, uint96 bonus)
        internal
        view
        returns (Claim[] memory claims)
    {
        return claimsOf(one, node, jobs, charge, bonus, 0);
    }

    function claimsOf(Client memory one, address node, uint24 jobs, uint96 charge, uint96 bonus, uint8 flags)
        internal
        view
        returns (Claim[] memory claims)
    {
        claims = new Claim[](1);
        claims[0] = claimOf(one, node, jobs, charge, bonus, flags);
    }

    /// @notice A submission of `leaves` equal ok leaves, a second each.
    function submissionOf(address node, uint8 slot, Claim[] memory claims, uint16 leaves)
        internal
        pure
        returns (Submission memory made)
    {
        made.node = node;
        made.slot = slot;
        made.classId = CLASS;
        made.root = keccak256("root");
        for (uint256 i; i < claims.length; ++i) {
            made.priceSum += claims[i].charge;
            made.bonusSum += claims[i].bonus;
        }
        made.msSum = uint48(leaves) * 1_000;
        made.okCount = leaves;
        made.maxLeaf = leaves == 0 ? 0 : (made.priceSum + leaves - 1) / leaves;
    }

    /// @notice What the chain will keep the hash of; call before submit, while the lanes are as they were.
    function contentsOf(Submission memory made, Claim[] memory claims)
        internal
        view
        returns (Contents memory contents)
    {
        contents.root = made.root;
        contents.maxLeaf = made.maxLeaf;
        contents.debits = new Debit[](claims.length);
        for (uint256 i; i < claims.length; ++i) {
            Claim memory part = claims[i];
            uint24 jobs = settlement.laneOf(part.client, part.signer, made.node).jobs;
            uint96 amount = part.charge + feeOf(part.charge, made.flags) + part.bonus;
            contents.debits[i] = Debit(part.client, part.signer, part.index - jobs, amount, part.index);
        }
    }

    function submit(Submission memory made, Claim[] memory claims) internal returns (Contents memory contents) {
        contents = contentsOf(made, claims);
        vm.prank(made.node);
        settlement.submit(made, claims);
    }

    /// @notice Submits one client's batch of equal leaves.
    function submitted(Client memory one, address node, uint8 slot, uint16 leaves, uint96 charge)
        internal
        returns (Contents memory)
    {
        Claim[] memory claims = claimsOf(one, node, leaves, charge, 0);
        return submit(submissionOf(node, slot, claims, leaves), claims);
    }

    // ---- seeds

    function toSeed(address node, uint8 slot) internal returns (uint256 epoch, uint256 seedBlock) {
        epoch = beacon.epochOf(settlement.batchOf(node, slot).commitBlock);
        seedBlock = beacon.seedBlockOf(epoch);
        if (vm.getBlockNumber() <= seedBlock) mine(seedBlock + 1 - vm.getBlockNumber());
    }

    function seal(address node, uint8 slot) internal {
        (uint256 epoch,) = toSeed(node, slot);
        (bytes32 seed,) = beacon.seedOf(epoch);
        if (seed == 0) beacon.seal(epoch);
    }

    /// @notice Seals with a block hash under which `count` leaves of the batch are drawn at `rateBps`.
    function sealDrawing(address node, uint8 slot, uint256 rateBps, uint256 count) internal {
        (uint256 epoch, uint256 seedBlock) = toSeed(node, slot);
        uint256 leaves = settlement.batchOf(node, slot).leafCount;
        bytes32 batchId = settlement.batchIdOf(node, slot);
        for (uint256 salt;; ++salt) {
            bytes32 hash = keccak256(abi.encode(salt));
            if (SampleLib.count(keccak256(abi.encode(hash, batchId)), leaves, rateBps) != count) continue;
            vm.setBlockhash(seedBlock, hash);
            break;
        }
        beacon.seal(epoch);
    }

    /// @notice Seals with a block hash under which the first drawn leaf is `leaf`.
    function sealDrawingLeaf(address node, uint8 slot, uint256 rateBps, uint256 leaf) internal {
        (uint256 epoch, uint256 seedBlock) = toSeed(node, slot);
        uint256 leaves = settlement.batchOf(node, slot).leafCount;
        bytes32 batchId = settlement.batchIdOf(node, slot);
        for (uint256 salt;; ++salt) {
            bytes32 hash = keccak256(abi.encode(salt));
            uint256[] memory drawn = SampleLib.draw(keccak256(abi.encode(hash, batchId)), leaves, rateBps);
            if (drawn.length == 0 || drawn[0] != leaf) continue;
            vm.setBlockhash(seedBlock, hash);
            break;
        }
        beacon.seal(epoch);
    }

    /// @notice Seals the epoch of this block, with a hash under which the case is drawn for an audit, or is not.
    function sealAudit(bytes32 caseId, bool drawn) internal {
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        uint256 seedBlock = beacon.seedBlockOf(epoch);
        mine(seedBlock + 1 - vm.getBlockNumber());
        for (uint256 salt;; ++salt) {
            bytes32 hash = keccak256(abi.encode(salt));
            if (SampleLib.isAudited(hash, caseId) != drawn) continue;
            vm.setBlockhash(seedBlock, hash);
            break;
        }
        beacon.seal(epoch);
    }

    // ---- court

    function convened(address node, uint8 slot, Contents memory contents) internal returns (bytes32 caseId) {
        seal(node, slot);
        return court.convene(node, slot, contents);
    }

    function commitment(bytes32 caseId, uint8 seat) internal view returns (bytes32) {
        return commitmentIn(0, caseId, seat);
    }

    function commitmentIn(uint8 round, bytes32 caseId, uint8 seat) internal view returns (bytes32) {
        return keccak256(abi.encode(caseId, round, seat, digestOf(seat), evidenceIn(caseId, seat), saltOf(seat)));
    }

    /// @notice What a seat says of the margins; by default what a test has said of seats of this number.
    function evidenceIn(bytes32, uint8 seat) internal view virtual returns (int32) {
        return evidenceOf[seat];
    }

    function digestOf(uint8 seat) internal pure returns (bytes32) {
        return keccak256(abi.encode("projections", seat));
    }

    function saltOf(uint8 seat) internal pure returns (bytes32) {
        return keccak256(abi.encode("salt", seat));
    }

    function commitSeat(bytes32 caseId, uint8 seat) internal {
        uint8 round = court.caseOf(caseId).round;
        vm.prank(court.seatsOf(caseId)[seat].node);
        court.commitSeat(caseId, seat, commitmentIn(round, caseId, seat));
    }

    function revealSeat(bytes32 caseId, uint8 seat, uint16 score) internal {
        uint16[] memory scores = scoresOf(caseId, score);
        address node = court.seatsOf(caseId)[seat].node;
        vm.prank(node);
        court.revealSeat(caseId, seat, digestOf(seat), scores, saltOf(seat), evidenceIn(caseId, seat));
    }

    /// @notice A vector with `score` for the last drawn leaf and 10000 for the others.
    function scoresOf(bytes32 caseId, uint16 score) internal view returns (uint16[] memory scores) {
        scores = new uint16[](court.caseOf(caseId).drawnCount);
        for (uint256 i; i < scores.length; ++i) {
            scores[i] = 10_000;
        }
        scores[scores.length - 1] = score;
    }

    /// @notice Every seat commits, then reveals its score; `scores[i]` is that of seat i.
    function judge(bytes32 caseId, uint16[] memory scores) internal {
        for (uint8 seat; seat < scores.length; ++seat) {
            commitSeat(caseId, seat);
        }
        for (uint8 seat; seat < scores.length; ++seat) {
            revealSeat(caseId, seat, scores[seat]);
        }
    }

    function three(uint16 a, uint16 b, uint16 c) internal pure returns (uint16[] memory scores) {
        scores = new uint16[](3);
        (scores[0], scores[1], scores[2]) = (a, b, c);
    }

    /// @notice Takes a drawn batch through a court that passes it.
    function passInCourt(address node, uint8 slot, Contents memory contents) internal returns (bytes32 caseId) {
        caseId = convened(node, slot, contents);
        uint256 seats = court.seatsOf(caseId).length;
        uint16[] memory scores = new uint16[](seats);
        for (uint256 i; i < seats; ++i) {
            scores[i] = 10_000;
        }
        judge(caseId, scores);
        court.resolve(caseId, contents);
    }

    function finish(address node, uint8 slot) internal {
        pass(profile.challengeSeconds);
        settlement.finalize(node, slot);
    }

    /// @notice A node past its probation: 20 good jobs, all of them checked. Needs a bench.
    function graduate(Node memory node) internal {
        Client memory one = client(string.concat("first client of ", vm.toString(node.id)), 100 * VCN);
        openLane(one, node.id, 50 * VCN);
        Contents memory contents = submitted(one, node.id, 63, 20, 20 * VCN);
        passInCourt(node.id, 63, contents);
        finish(node.id, 63);
        assertEq(stakes.nodeOf(node.id).samplesLeft, 0, "still on probation");
    }

    function stateOf(address node, uint8 slot) internal view returns (BatchState) {
        return settlement.batchOf(node, slot).state;
    }

    // ---- books

    /// @notice Free money of these accounts, and every coin Settlement must hold for lanes, batches, nodes, pool and burn.
    function assertHolds(uint256 expected) internal view {
        assertEq(coin.balanceOf(address(settlement)), expected, "settlement's coins");
    }
}
