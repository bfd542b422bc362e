// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {VmSafe} from "forge-std/Vm.sol";

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {IDelegations} from "../../contracts/interfaces/IDelegations.sol";
import {IIntake} from "../../contracts/interfaces/IIntake.sol";
import {IPanel} from "../../contracts/interfaces/IPanel.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {Leaf} from "../../contracts/libraries/SumTreeLib.sol";
import {BatchState, Contents} from "../../contracts/types/BatchTypes.sol";
import {CaseState, CaseView, Seat, SeatState} from "../../contracts/types/CaseTypes.sol";
import {FraudKind, Proof} from "../../contracts/types/FraudTypes.sol";
import {NodeState, Permit} from "../../contracts/types/NodeTypes.sol";
import {Calibration, DeviceClass, NoiseBand} from "../../contracts/types/ParamTypes.sol";

import {Papers} from "./Papers.sol";

/// @notice Invariant 37: a pause blocks no exit. Every function that changes something is either known to stand still, or was
///         called with success during a pause, or belongs to a contract that does not know of pauses.
/// @dev A new function fails the test until it is classified: call it in the story below and say so by `_open`, or name it in
///      `_stopped` and add it to tests/contracts/Guardian.t.sol.
contract ExitsTest is Papers {
    string[5] private _stopped = [
        "StakeManager.register",
        "StakeManager.registerWithPermit",
        "StakeManager.registerWithCommission",
        "Settlement.openLane",
        "Settlement.submit"
    ];
    /// @dev What a pause stops lives in StakeManager and in who asks it; these do neither.
    string[2] private _unaware = ["VCoin", "Timelock"];
    string[9] private _aware =
        ["StakeManager", "Settlement", "Court", "Panel", "EpochBeacon", "Params", "Guardian", "FraudProofs", "Audits"];
    mapping(bytes32 name => bool) private _ran;

    Node private node;
    Node private cheat;
    Node private sleeper;
    address private other;
    Client private one;
    Client private two;
    bytes[7] private _contents;
    Node private liar;
    bytes private _proof;

    function setUp() public override {
        super.setUp();
        sleeper = registered("sleeper", 20_000 * VCN);
        other = staker("somebody", 100 * VCN);
        pass(9 days);
        bench(8);
        node = registered("node", 20_000 * VCN);
        cheat = registered("cheat", 20_000 * VCN);
        fundOwner(node, 10_000 * VCN);
        graduate(node);
        liar = registered("liar", 20_000 * VCN);
        graduate(liar);
        one = client("client", 500 * VCN);
        two = client("second client", 100 * VCN);
        coin.transfer(one.id, 1_000 * VCN);
        vm.prank(one.id);
        coin.approve(address(settlement), type(uint256).max);
        openLane(one, node.id, 300 * VCN);
        openLane(one, cheat.id, 50 * VCN);
        openLane(two, node.id, 20 * VCN);
        openLane(one, liar.id, 20 * VCN);
    }

    function _open(string memory name) private {
        _ran[keccak256(bytes(name))] = true;
    }

    /// @dev One batch an epoch, so that each can be given a seed of its own.
    function _submitInOwnEpoch(address id, uint8 slot) private returns (Contents memory) {
        mine(profile.epochBlocks);
        return submitted(one, id, slot, 5, 10 * VCN);
    }

    function _kept(uint256 which) private view returns (Contents memory) {
        return abi.decode(_contents[which], (Contents));
    }

    function test_a_pause_blocks_no_exit() public {
        for (uint8 slot; slot < 5; ++slot) {
            _contents[slot] = abi.encode(_submitInOwnEpoch(node.id, slot));
        }
        _contents[5] = abi.encode(_submitInOwnEpoch(cheat.id, 0));
        _contents[6] = abi.encode(_submitInOwnEpoch(cheat.id, 1));
        _ownBusiness();
        vm.prank(keeper);
        guardian.pause(72 hours);
        uint40 until = stakes.intakePausedUntil();
        _expectInnerCalls();
        _liesEnd();
        _othersStake();
        _fraudEnds();
        _batchesEnd();
        _nobodyConvenes();
        _lostSeedsEnd();
        _clientsLeave();
        _termsChange();
        _signsAreAsked();
        _stakersLeave();
        _verifiersComeAndGo();
        _moneyFlows();
        assertLt(vm.getBlockTimestamp(), until, "all of it during the pause");
        vm.expectRevert(abi.encodeWithSelector(IIntake.IntakePaused.selector, until));
        stakes.requireIntake();
        _governorActs();
        _requireAllKnown();
    }

    /// @dev A lying batch that is not drawn.
    function _ownBusiness() private {
        Leaf[] memory leaves = new Leaf[](1);
        Job memory job = jobOf(one, liar.id, 1, VCN);
        settle(job, false);
        leaves[0] = job.leaf;
        Contents memory contents = settleLeaves(one, liar.id, leaves, 0);
        _proof = abi.encode(proofOf(liar.id, contents, leaves, 0, FraudKind.NoReceipt, ""));
    }

    function _liesEnd() private {
        Proof memory proof = abi.decode(_proof, (Proof));
        vm.prank(one.id);
        fraudProofs.challengeLeaf(liar.id, SLOT, proof.contents, 0);
        _open("FraudProofs.challengeLeaf");
        fraudProofs.proveFraud(proof);
        _open("FraudProofs.proveFraud");
        fraudProofs.endChallenge(liar.id, SLOT, settlement.batchOf(liar.id, SLOT).commitBlock);
        _open("FraudProofs.endChallenge");
        settlement.refund(liar.id, SLOT, proof.contents);
    }

    /// @dev What only our own contracts may call runs inside the story, too.
    function _expectInnerCalls() private {
        _expectInner(address(stakes), IStakeManager.slash.selector, "StakeManager.slash");
        _expectInner(address(stakes), IStakeManager.penalise.selector, "StakeManager.penalise");
        _expectInner(address(stakes), IStakeManager.jail.selector, "StakeManager.jail");
        _expectInner(address(stakes), IStakeManager.recordBatch.selector, "StakeManager.recordBatch");
        _expectInner(address(stakes), IDelegations.shareRewards.selector, "StakeManager.shareRewards");
        _expectInner(address(stakes), IIntake.pauseIntake.selector, "StakeManager.pauseIntake");
        _expectInner(address(settlement), ISettlement.openCase.selector, "Settlement.openCase");
        _expectInner(address(settlement), ISettlement.closeCase.selector, "Settlement.closeCase");
        _expectInner(address(settlement), ISettlement.accuse.selector, "Settlement.accuse");
        _expectInner(address(settlement), ISettlement.drawAllOf.selector, "Settlement.drawAllOf");
        _expectInner(address(settlement), ISettlement.creditPool.selector, "Settlement.creditPool");
        _expectInner(address(settlement), ISettlement.hold.selector, "Settlement.hold");
        _expectInner(address(settlement), ISettlement.release.selector, "Settlement.release");
        _expectInner(address(settlement), ISettlement.drawAll.selector, "Settlement.drawAll");
        _expectInner(address(settlement), ISettlement.openAudit.selector, "Settlement.openAudit");
        _expectInner(address(settlement), ISettlement.closeAudit.selector, "Settlement.closeAudit");
        _expectInner(address(court), ICourt.condemn.selector, "Court.condemn");
        _expectInner(address(court), ICourt.fine.selector, "Court.fine");
    }

    function _expectInner(address target, bytes4 selector, string memory name) private {
        vm.expectCall(target, abi.encodePacked(selector));
        _open(name);
    }

    function _clientsLeave() private {
        vm.startPrank(one.id);
        settlement.withdraw(10 * VCN);
        _open("Settlement.withdraw");
        settlement.setSigner(one.signer, 1 * VCN, uint40(vm.getBlockTimestamp()));
        _open("Settlement.setSigner");
        vm.stopPrank();
        vm.prank(two.signer);
        settlement.closeLane(two.id, two.signer, node.id);
        _open("Settlement.closeLane");
        pass(profile.laneCloseSeconds);
        settlement.reclaimLane(two.id, two.signer, node.id);
        _open("Settlement.reclaimLane");
        vm.prank(two.id);
        settlement.withdraw(100 * VCN);
    }

    function _batchesEnd() private {
        sealDrawing(node.id, 0, 1_000, 0);
        _open("EpochBeacon.seal");
        finish(node.id, 0);
        _open("Settlement.finalize");
        sealDrawing(node.id, 1, 1_000, 0);
        uint8[] memory slots = new uint8[](1);
        slots[0] = 1;
        assertEq(settlement.finalizeMany(node.id, slots), 1);
        _open("Settlement.finalizeMany");
        // The others are drawn. One is heard: a seat is silent, another one passes it with the rest.
        sealDrawing(node.id, 2, 1_000, 1);
        bytes32 caseId = court.convene(node.id, 2, _kept(2));
        _open("Court.convene");
        commitSeat(caseId, 0);
        commitSeat(caseId, 1);
        _open("Court.commitSeat");
        pass(profile.seatSeconds + 1);
        court.replaceSeat(caseId, 2, _kept(2));
        _open("Court.replaceSeat");
        commitSeat(caseId, 3);
        revealSeat(caseId, 0, 10_000);
        revealSeat(caseId, 1, 10_000);
        revealSeat(caseId, 3, 10_000);
        _open("Court.revealSeat");
        court.resolve(caseId, _kept(2));
        _open("Court.resolve");
        _audited(caseId);
        finish(node.id, 2);
        assertEq(uint8(stateOf(node.id, 2)), uint8(BatchState.Final));
    }

    /// @dev One auditor finds nothing, the others are silent.
    function _audited(bytes32 caseId) private {
        sealAudit(caseId, true);
        audits.convene(node.id, 2, _kept(2));
        _open("Audits.convene");
        bytes32 salt = saltOf(0);
        vm.startPrank(audits.auditorsOf(caseId)[0].node);
        audits.commit(caseId, 0, keccak256(abi.encode(caseId, uint8(0), uint256(0), uint16(10_000), salt)));
        _open("Audits.commit");
        pass(profile.seatSeconds + 1);
        audits.reveal(caseId, 0, 0, 10_000, salt);
        vm.stopPrank();
        _open("Audits.reveal");
        pass(profile.seatSeconds);
        audits.close(caseId);
        _open("Audits.close");
    }

    function _fraudEnds() private {
        seal(cheat.id, 0);
        bytes32 caseId = court.convene(cheat.id, 0, _kept(5));
        judge(caseId, three(0, 0, 0));
        court.resolve(caseId, _kept(5));
        _appealed(caseId);
        assertEq(uint8(court.caseOf(caseId).state), uint8(CaseState.Closed));
        settlement.refund(cheat.id, 0, _kept(5));
        _open("Settlement.refund");
        seal(cheat.id, 1);
        caseId = court.convene(cheat.id, 1, _kept(6));
        _dataIsAsked(caseId);
        judge(caseId, three(0, 0, 0));
        court.resolve(caseId, _kept(6));
        pass(profile.appealSeconds + 1);
        court.resolve(caseId, _kept(6));
        assertTrue(stakes.isJailed(cheat.id));
        settlement.refund(cheat.id, 1, _kept(6));
        assertEq(settlement.laneOf(one.id, one.signer, cheat.id).left, 50 * VCN);
    }

    function _dataIsAsked(bytes32 caseId) private {
        uint24 leaf = uint24(settlement.sampledLeaves(cheat.id, 1)[0]);
        vm.prank(court.seatsOf(caseId)[0].node);
        court.demandData(caseId, 0, leaf, keccak256("key"));
        _open("Court.demandData");
        vm.prank(cheat.id);
        court.answerData(caseId, "data");
        _open("Court.answerData");
    }

    /// @dev The guilty node asks a larger bench, which finds doubt, and two of three arbiters void the batch.
    function _appealed(bytes32 caseId) private {
        uint96 bond = court.appealBondOf(cheat.id);
        coin.transfer(cheat.owner, bond);
        vm.startPrank(cheat.owner);
        coin.approve(address(court), bond);
        court.appeal(caseId, _kept(5));
        vm.stopPrank();
        _open("Court.appeal");
        address[] memory people = new address[](3);
        (people[0], people[1], people[2]) = (address(0xA1), address(0xA2), address(0xA3));
        IPanel panel = IPanel(court.panel());
        vm.prank(address(timelock));
        panel.setArbiters(people, 2);
        _open("Panel.setArbiters");
        CaseView memory shown = court.caseOf(caseId);
        vm.prank(court.seatsOf(caseId)[shown.firstSeat].node);
        court.abstain(caseId, shown.firstSeat, _kept(5));
        _open("Court.abstain");
        _sitAll(caseId, 9_000);
        court.resolve(caseId, _kept(5));
        vm.prank(people[0]);
        panel.vote(caseId, false);
        vm.prank(people[1]);
        panel.vote(caseId, false);
        _open("Panel.vote");
        _open("Court.rule");
    }

    function _sitAll(bytes32 caseId, uint16 score) private {
        CaseView memory shown = court.caseOf(caseId);
        Seat[] memory seats = court.seatsOf(caseId);
        for (uint8 seat = shown.firstSeat; seat < shown.seatCount; ++seat) {
            if (seats[seat].state == SeatState.Drawn) commitSeat(caseId, seat);
        }
        for (uint8 seat = shown.firstSeat; seat < shown.seatCount; ++seat) {
            if (seats[seat].state == SeatState.Drawn) revealSeat(caseId, seat, score);
        }
    }

    function _nobodyConvenes() private {
        sealDrawing(node.id, 3, 1_000, 1);
        vm.warp(settlement.batchOf(node.id, 3).commitTime + profile.starvedSeconds + 1);
        court.voidStarved(node.id, 3, _kept(3));
        _open("Court.voidStarved");
        settlement.refund(node.id, 3, _kept(3));
    }

    function _lostSeedsEnd() private {
        uint256 epoch = beacon.epochOf(settlement.batchOf(node.id, 4).commitBlock);
        mine(300);
        beacon.rearm(epoch);
        _open("EpochBeacon.rearm");
        mine(300);
        assertTrue(beacon.isLost(epoch));
        settlement.voidLost(node.id, 4);
        _open("Settlement.voidLost");
        settlement.refund(node.id, 4, _kept(4));
    }

    function _othersStake() private {
        vm.startPrank(other);
        stakes.delegate(node.id, 50 * VCN);
        _open("StakeManager.delegate");
        Permit memory none;
        stakes.delegateWithPermit(node.id, 50 * VCN, none);
        _open("StakeManager.delegateWithPermit");
        vm.stopPrank();
    }

    function _termsChange() private {
        settlement.claim(node.id);
        _open("Settlement.claim");
        vm.prank(other);
        assertGt(stakes.claimRewards(node.id), 0);
        _open("StakeManager.claimRewards");
        assertGt(stakes.penalizeOffline(sleeper.id), 0);
        _open("StakeManager.penalizeOffline");
        Node memory fresh = makeNode("fresh operator");
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(fresh, sleeper.owner, deadline);
        vm.startPrank(sleeper.owner);
        stakes.rotateOperator(sleeper.id, fresh.id, deadline, consent);
        _open("StakeManager.rotateOperator");
        stakes.setClasses(sleeper.id, 2);
        _open("StakeManager.setClasses");
        stakes.setCommission(sleeper.id, 100);
        stakes.cancelCommission(sleeper.id);
        _open("StakeManager.cancelCommission");
        stakes.setCommission(sleeper.id, 200);
        _open("StakeManager.setCommission");
        stakes.setPayout(sleeper.id, makeAddr("payout"));
        stakes.cancelPayout(sleeper.id);
        _open("StakeManager.cancelPayout");
        stakes.setPayout(sleeper.id, makeAddr("payout"));
        _open("StakeManager.setPayout");
        vm.stopPrank();
        pass(profile.timelockSeconds);
        stakes.confirmCommission(sleeper.id);
        _open("StakeManager.confirmCommission");
        stakes.confirmPayout(sleeper.id);
        _open("StakeManager.confirmPayout");
    }

    function _signsAreAsked() private {
        coin.transfer(node.owner, 2 * profile.minDeposit);
        vm.startPrank(node.owner);
        coin.approve(address(stakes), type(uint256).max);
        stakes.challengeLiveness(sleeper.id, node.id);
        _open("StakeManager.challengeLiveness");
        vm.stopPrank();
        (, address operator) = stakes.keysOf(sleeper.id);
        vm.prank(operator);
        stakes.answerLiveness(sleeper.id, node.owner);
        _open("StakeManager.answerLiveness");
        vm.prank(node.owner);
        stakes.challengeLiveness(sleeper.id, node.id);
        pass(5 minutes + 1);
        stakes.missLiveness(sleeper.id, node.owner);
        _open("StakeManager.missLiveness");
    }

    function _stakersLeave() private {
        pass(profile.jailSeconds);
        vm.prank(cheat.owner);
        stakes.unjail(cheat.id);
        _open("StakeManager.unjail");
        vm.startPrank(node.owner);
        stakes.stake(node.id, 1_000 * VCN);
        _open("StakeManager.stake");
        stakes.unbond(node.id, 2_000 * VCN);
        _open("StakeManager.unbond");
        stakes.rebond(node.id, 1_000 * VCN);
        _open("StakeManager.rebond");
        pass(profile.unbondingSeconds);
        assertEq(stakes.withdraw(node.id), 1_000 * VCN);
        _open("StakeManager.withdraw");
        stakes.unbond(node.id, stakes.nodeOf(node.id).ownStake);
        pass(profile.unbondingSeconds);
        stakes.withdraw(node.id);
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Gone));
        vm.stopPrank();
        pass(1 days);
        vm.prank(cheat.id);
        stakes.checkIn(cheat.id);
        _open("StakeManager.checkIn");
    }

    function _verifiersComeAndGo() private {
        vm.startPrank(cheat.id);
        court.joinVerifiers(cheat.id, CLASS);
        _open("Court.joinVerifiers");
        court.leaveVerifiers(cheat.id, CLASS);
        _open("Court.leaveVerifiers");
        vm.stopPrank();
    }

    function _moneyFlows() private {
        settlement.flushBurn();
        _open("Settlement.flushBurn");
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(1 * VCN);
        _open("Settlement.fundPool");
        settlement.depositFor(two.id, 10 * VCN);
        _open("Settlement.depositFor");
        vm.startPrank(one.id);
        settlement.deposit(10 * VCN);
        _open("Settlement.deposit");
        Permit memory none;
        settlement.depositWithPermit(10 * VCN, none);
        _open("Settlement.depositWithPermit");
        vm.stopPrank();
    }

    function _governorActs() private {
        NoiseBand memory band = NoiseBand(1, 2);
        vm.startPrank(address(timelock));
        params.addClass(DeviceClass(3, "cuda", sha256("runtime"), "fp16", "any"));
        _open("Params.addClass");
        params.addCalibration(keccak256("manifest"), 3, Calibration(band, band, band, band, band, band, 0, 0));
        _open("Params.addCalibration");
        guardian.setKeeper(keeper);
        _open("Guardian.setKeeper");
        vm.stopPrank();
        vm.prank(keeper);
        guardian.resume();
        _open("Guardian.resume");
        _open("Guardian.pause");
    }

    // ---- the list against the ABI

    function _requireAllKnown() private {
        uint256 count;
        for (uint256 i; i < _aware.length; ++i) {
            string[] memory names = _changing(_aware[i]);
            for (uint256 j; j < names.length; ++j) {
                string memory name = string.concat(_aware[i], ".", names[j]);
                bool stops = _isStopped(name);
                assertTrue(stops || _ran[keccak256(bytes(name))], string.concat("neither stopped nor shown: ", name));
                assertFalse(stops && _ran[keccak256(bytes(name))], string.concat("not stopped: ", name));
                if (stops) ++count;
            }
        }
        assertEq(count, _stopped.length, "a name in _stopped is no function");
        for (uint256 i; i < _unaware.length; ++i) {
            assertGt(_changing(_unaware[i]).length, 0);
        }
    }

    function _changing(string memory contractName) private view returns (string[] memory) {
        string memory json = vm.readFile(string.concat("../chain/abi/", contractName, ".json"));
        return vm.parseJsonStringArray(json, ".changing");
    }

    function _isStopped(string memory name) private view returns (bool) {
        for (uint256 i; i < _stopped.length; ++i) {
            if (keccak256(bytes(name)) == keccak256(bytes(_stopped[i]))) return true;
        }
        return false;
    }

    /// @dev Every contract of the network is in one of the two lists.
    function test_no_contract_is_left_out() public {
        uint256 files;
        for (uint256 i; i < _aware.length; ++i) {
            if (vm.exists(string.concat("../chain/abi/", _aware[i], ".json"))) ++files;
        }
        for (uint256 i; i < _unaware.length; ++i) {
            if (vm.exists(string.concat("../chain/abi/", _unaware[i], ".json"))) ++files;
        }
        VmSafe.DirEntry[] memory entries = vm.readDir("../chain/abi");
        uint256 held;
        for (uint256 i; i < entries.length; ++i) {
            if (vm.contains(entries[i].path, ".json")) ++held;
        }
        // And profiles.json.
        assertEq(held, files + 1, "a contract that no list names");
    }
}
