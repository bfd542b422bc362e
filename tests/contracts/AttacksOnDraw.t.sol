// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFraudProofs} from "../../contracts/interfaces/IFraudProofs.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {Leaf} from "../../contracts/libraries/SumTreeLib.sol";
import {BatchState, Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";
import {Seat, Verdict} from "../../contracts/types/CaseTypes.sol";
import {FraudKind, Proof} from "../../contracts/types/FraudTypes.sol";
import {NodeState, NodeView} from "../../contracts/types/NodeTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";
import {Fixture} from "./Fixture.sol";
import {Papers} from "./Papers.sol";

/// @notice Attacks on the draw and what follows it that take more than one call; those of seats are in CourtAttacks. Which
///         attack is played where is in tests/contracts/PROPERTIES.md.
contract AttacksOnDrawTest is CourtFixture, Papers {
    function setUp() public override(CourtFixture, Fixture) {
        CourtFixture.setUp();
    }

    // ---- before and after the seed

    /// @notice The node sees that its batch is drawn. Expected end: no call takes a batch back, and to leave takes no stake out
    ///         of reach.
    function test_attack_cancel_after_the_seed() public {
        bench(3);
        keep(submitted(one, node.id, 0, 2, 40 * VCN));
        seal(node.id, 0);
        assertEq(settlement.sampledLeaves(node.id, 0).length, 2);
        uint256 epoch = beacon.epochOf(settlement.batchOf(node.id, 0).commitBlock);
        Claim[] memory claims = claimsOf(one, node.id, 1, VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        vm.startPrank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.SlotBusy.selector, 0));
        settlement.submit(made, claims);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Pending));
        settlement.refund(node.id, 0, contents());
        vm.expectRevert(abi.encodeWithSelector(ISettlement.SeedNotLost.selector, epoch));
        settlement.voidLost(node.id, 0);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotCourt.selector, node.id));
        settlement.closeCase(node.id, 0, false, 0, new address[](0));
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotCourt.selector, node.id));
        settlement.accuse(node.id, 0);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotStakeManager.selector, node.id));
        settlement.drawAllOf(node.id);
        vm.stopPrank();
        vm.prank(node.owner);
        stakes.unbond(node.id, STAKE);
        caseId = court.convene(node.id, 0, contents());
        truth = 0;
        sit();
        assertVerdict(resolve(), Verdict.Severe);
        assertEq(stakes.nodeOf(node.id).unbondingStake, STAKE / 2);
    }

    /// @notice The node tries one root after the other, and other prices, in one slot and block. Expected end: leaves and seats
    ///         are drawn by the place and the block of a batch, so every try draws the same.
    function test_attack_grind_the_root_or_a_salt() public {
        bench(6);
        graduate(node);
        uint256 here = vm.snapshotState();
        bytes32 first;
        for (uint96 i; i < 4; ++i) {
            vm.revertToState(here);
            Claim[] memory claims = claimsOf(one, node.id, 30, (90 + i) * VCN, 0);
            claims[0].details = keccak256(abi.encode("salt", i));
            signClaim(claims[0], node.id, one.signerKey);
            Submission memory made = submissionOf(node.id, 0, claims, 30);
            made.root = keccak256(abi.encode("root", i));
            Contents memory whole = submit(made, claims);
            (uint256 epoch, uint256 seedBlock) = toSeed(node.id, 0);
            vm.setBlockhash(seedBlock, keccak256("seed"));
            beacon.seal(epoch);
            uint256[] memory drawn = settlement.sampledLeaves(node.id, 0);
            assertEq(drawn.length, 3);
            bytes32 draw = keccak256(abi.encode(drawn, court.previewSeats(node.id, 0, whole)));
            if (i == 0) first = draw;
            assertEq(draw, first);
        }
    }

    /// @notice All slots full of lies, each too small to be drawn for certain. Expected end: half of the stake backs all of
    ///         them, so the first that is found costs more than they bring, and then the others are all checked.
    function test_attack_64_cheats_at_once() public {
        // A window in which a court can speak; on a network that lives it is a day.
        (profile.challengeSeconds, profile.unbondingSeconds) = (60, profile.unbondingSeconds + 60);
        deploy(profile);
        node = registered("a node", STAKE);
        bench(3);
        graduate(node);
        one = client("a client", 6_000 * VCN);
        openLane(one, node.id, 6_000 * VCN);
        Contents memory first = submitted(one, node.id, 0, 1, 70 * VCN);
        for (uint8 slot = 1; slot < 64; ++slot) {
            submitted(one, node.id, slot, 1, 70 * VCN);
        }
        uint256 until = vm.getBlockTimestamp() + 60;
        uint256 value = settlement.bookOf(node.id).openValue;
        assertEq(value, 64 * 73.5 ether);
        _noMore();
        sealDrawing(node.id, 0, 1_000, 1);
        uint256 undrawn;
        for (uint8 slot = 1; slot < 64; ++slot) {
            if (settlement.sampledLeaves(node.id, slot).length == 0) ++undrawn;
        }
        assertGt(undrawn, 32, "most of them would have stayed unchecked");
        caseId = court.convene(node.id, 0, first);
        judge(caseId, three(0, 0, 0));
        assertVerdict(court.resolve(caseId, first), Verdict.Severe);
        assertGe(STAKE - stakes.nodeOf(node.id).activeStake, value);
        assertLt(vm.getBlockTimestamp(), until, "before any of them could be final");
        vm.warp(until);
        for (uint8 slot = 1; slot < 64; ++slot) {
            vm.expectRevert(ISettlement.NeedsCourt.selector);
            settlement.finalize(node.id, slot);
        }
    }

    /// @dev Neither one slot more nor one coin more.
    function _noMore() private {
        Claim[] memory claims = claimsOf(one, node.id, 1, VCN, 0);
        Submission memory made = submissionOf(node.id, 64, claims, 1);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.SlotOutOfRange.selector, 64));
        settlement.submit(made, claims);
    }

    // ---- the stake

    /// @notice A cheat leaves before its case and comes back under a new name. Expected end: what leaves is slashed on its way,
    ///         the old key is taken for good, and a new one begins where everybody does: checked in full.
    function test_attack_exit_and_register_again() public {
        openCase(3);
        vm.startPrank(node.owner);
        stakes.unbond(node.id, STAKE);
        uint40 unlockAt = stakes.nodeOf(node.id).unlockAt;
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Exiting));
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.StillUnbonding.selector, unlockAt));
        stakes.withdraw(node.id);
        vm.stopPrank();
        truth = 0;
        sit();
        assertVerdict(resolve(), Verdict.Severe);
        vm.warp(unlockAt);
        uint256 before = coin.balanceOf(node.owner);
        vm.startPrank(node.owner);
        stakes.withdraw(node.id);
        assertEq(coin.balanceOf(node.owner) - before, STAKE / 2);
        coin.approve(address(stakes), type(uint256).max);
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(node, node.owner, deadline);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NodeExists.selector, node.id));
        stakes.register(node.id, address(0), 1_000 * VCN, 6, deadline, consent);
        Node memory fresh = makeNode("a new name");
        consent = consentOf(fresh, node.owner, deadline);
        stakes.register(fresh.id, address(0), 1_000 * VCN, 6, deadline, consent);
        vm.stopPrank();
        NodeView memory shown = stakes.nodeOf(fresh.id);
        assertEq(shown.samplesLeft, 20);
        assertEq(shown.rateBps, 10_000);
        assertEq(shown.total, 0, "nothing is brought along");
    }

    /// @notice Node, client and all three seats are one hand, which condemns its own node. Expected end: nine tenths are burned
    ///         for good, and seats earn for that what they earn for anything.
    function test_attack_a_slash_of_oneself() public {
        openCase(3);
        uint256 supply = coin.totalSupply();
        uint256 before = _wealth();
        truth = 0;
        sit();
        assertVerdict(resolve(), Verdict.Severe);
        settlement.refund(node.id, 0, contents());
        assertEq(supply - coin.totalSupply(), STAKE / 2 * 9 / 10);
        assertGe(before - _wealth(), STAKE / 2 * 9 / 10);
        assertLe(STAKE / 2 - (before - _wealth()), 2 * VCN, "at a rate of all: the fee");
    }

    /// @dev Of the node, its client and its three seats. The seats' stakes do not move.
    function _wealth() private view returns (uint256 total) {
        total = stakes.nodeOf(node.id).activeStake + settlement.bookOf(node.id).rewards;
        total += settlement.bookOf(node.id).openValue;
        total += settlement.accountOf(one.id) + settlement.laneOf(one.id, one.signer, node.id).left;
        Seat[] memory seats = court.seatsOf(caseId);
        for (uint256 i; i < seats.length; ++i) {
            total += settlement.bookOf(seats[i].node).rewards;
        }
        total += settlement.accountOf(address(this));
    }

    /// @notice The node settles as uncalibrated what is calibrated, because no court slashes for that. Expected end: the order
    ///         shows that its client had not agreed. A holder of its details has the node condemned, whatever the seats say.
    function test_attack_a_flag_that_fears_no_slash() public {
        bench(3);
        Job[] memory jobs = jobsOf(one, node.id, 2, 20 * VCN);
        Leaf[] memory leaves = leavesOf(jobs);
        keep(settleLeaves(one, node.id, leaves, UNCALIBRATED));
        caseId = convened(node.id, SLOT, contents());
        truth = 0;
        sit();
        uint256 here = vm.snapshotState();
        assertVerdict(resolve(), Verdict.Review);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE, "the court alone lets it go");
        vm.revertToState(here);
        bytes memory papers = papersFor(FraudKind.NotAgreed, jobs[0], node.key);
        fraudProofs.proveFraud(proofOf(node.id, contents(), leaves, 0, FraudKind.NotAgreed, papers));
        assertEnded(Verdict.Severe);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE / 2);
        assertTrue(stakes.isJailed(node.id));
    }

    // ---- what a client feeds a node

    /// @notice A client's input cannot be run. Expected end: the node says so, is paid nothing, and nothing counts against it.
    function test_attack_entrapment_by_bad_input() public {
        bench(3);
        Job[] memory jobs = jobsOf(one, node.id, 2, 20 * VCN);
        Leaf[] memory leaves = leavesOf(jobs);
        Leaf memory bad;
        (bad.client, bad.signer, bad.index) = (leaves[1].client, leaves[1].signer, leaves[1].index);
        (bad.details, bad.status) = (leaves[1].details, 2);
        leaves[1] = bad;
        keep(settleLeaves(one, node.id, leaves, 0));
        for (uint8 fraudKind; fraudKind < uint8(FraudKind.ReceiptDiffers); ++fraudKind) {
            bytes memory papers = papersFor(FraudKind(fraudKind), jobs[1], node.key);
            Proof memory proof = proofOf(node.id, contents(), leaves, 1, FraudKind(fraudKind), papers);
            vm.expectRevert(abi.encodeWithSelector(IFraudProofs.NoFraud.selector, fraudKind));
            fraudProofs.proveFraud(proof);
        }
        passInCourt(node.id, SLOT, contents());
        finish(node.id, SLOT);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.recentFailures, 0);
        assertEq(shown.total, 1, "the good one alone");
        assertEq(shown.successes, 1);
        assertEq(shown.penaltyTenths, 0);
        assertEq(settlement.laneOf(one.id, one.signer, node.id).left, 500 * VCN - 21 ether);
    }
}
