// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {IPanel} from "../../contracts/interfaces/IPanel.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {Leaf} from "../../contracts/libraries/SumTreeLib.sol";
import {BatchState, Contents} from "../../contracts/types/BatchTypes.sol";
import {CaseState, Verdict} from "../../contracts/types/CaseTypes.sol";
import {FraudKind, Proof} from "../../contracts/types/FraudTypes.sol";
import {NodeState} from "../../contracts/types/NodeTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";
import {Fixture} from "./Fixture.sol";
import {Papers} from "./Papers.sol";

/// @notice A proof ends a case wherever it stands, and leaves nothing of it open.
contract CondemnedTest is CourtFixture, Papers {
    uint96 private constant BOND = 100 * VCN;

    bytes private _proof;

    function setUp() public override(CourtFixture, Fixture) {
        CourtFixture.setUp();
    }

    /// @dev Two jobs of 20 VCN in court, one of them without the receipt that the batch claims: three seats.
    function _open(uint256 verifiers) private {
        bench(verifiers);
        Leaf[] memory leaves = new Leaf[](2);
        for (uint24 i; i < 2; ++i) {
            Job memory job = jobOf(one, node.id, i + 1, 20 * VCN);
            settle(job, i == 1);
            leaves[i] = job.leaf;
        }
        keep(settleLeaves(one, node.id, leaves, 0));
        _proof = abi.encode(proofOf(node.id, contents(), leaves, 0, FraudKind.NoReceipt, ""));
        caseId = convened(node.id, SLOT, contents());
    }

    /// @dev Three seats found fraud, which waits for an appeal.
    function _decide() private {
        _open(10);
        truth = 0;
        sit();
        assertVerdict(resolve(), Verdict.None);
        assertState(CaseState.Decided);
    }

    function _condemn() private {
        uint256 staked = stakes.nodeOf(node.id).activeStake;
        fraudProofs.proveFraud(abi.decode(_proof, (Proof)));
        assertVerdict(court.caseOf(caseId).verdict, Verdict.Severe);
        assertState(CaseState.Closed);
        assertEq(settlement.bookOf(node.id).accusations, 0);
        assertTrue(settlement.bookOf(node.id).jailed);
        assertEq(coin.balanceOf(address(court)), 0, "no bond is left");
        assertEq(stakes.nodeOf(node.id).activeStake, staked / 2);
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Jailed));
        assertEq(uint8(settlement.batchOf(node.id, SLOT).state), uint8(BatchState.Void));
        Contents memory whole = contents();
        vm.expectRevert(abi.encodeWithSelector(ICourt.CaseClosed.selector, caseId));
        court.resolve(caseId, whole);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Void));
        court.voidStarved(node.id, SLOT, whole);
        settlement.refund(node.id, SLOT, whole);
        assertEq(settlement.laneOf(one.id, one.signer, node.id).left, 500 * VCN);
    }

    function test_a_finding_that_waited_for_an_appeal_is_no_accusation_any_more() public {
        _decide();
        assertEq(settlement.bookOf(node.id).accusations, 1);
        _condemn();
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NothingToAppeal.selector, caseId));
        court.appeal(caseId, contents());
    }

    function test_who_was_acquitted_and_is_proven_guilty_was_accused_once() public {
        _decide();
        appeal();
        truth = 10_000;
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        assertEq(settlement.bookOf(node.id).accusations, 0);
        _condemn();
    }

    function test_the_bond_of_an_appeal_is_lost() public {
        _decide();
        appeal();
        assertEq(coin.balanceOf(address(court)), BOND);
        uint256 pool = settlement.pool();
        Proof memory proof = abi.decode(_proof, (Proof));
        uint256 before = vm.snapshotState();
        vm.expectEmit(address(court));
        emit ICourt.BondSettled(caseId, node.owner, BOND, false);
        fraudProofs.proveFraud(proof);
        vm.revertToState(before);
        _condemn();
        // Half of the stake went, a tenth of it here; three seats have earned their pay.
        assertEq(settlement.pool(), pool + BOND + 500 * VCN - _paid());
        assertGt(_paid(), 0);
    }

    function test_seats_that_have_revealed_are_paid_and_others_are_not() public {
        _open(3);
        for (uint8 seat; seat < 3; ++seat) {
            commitSeat(caseId, seat);
        }
        revealSeat(caseId, 1, 10_000);
        _condemn();
        for (uint256 seat; seat < 3; ++seat) {
            uint96 rewards = settlement.bookOf(court.seatsOf(caseId)[seat].node).rewards;
            assertEq(rewards != 0, seat == 1);
        }
    }

    function test_a_batch_that_no_court_has_heard_pays_no_seats() public {
        bench(3);
        Leaf[] memory leaves = new Leaf[](1);
        Job memory job = jobOf(one, node.id, 1, 20 * VCN);
        settle(job, false);
        leaves[0] = job.leaf;
        keep(settleLeaves(one, node.id, leaves, 0));
        caseId = settlement.batchIdOf(node.id, SLOT);
        _proof = abi.encode(proofOf(node.id, contents(), leaves, 0, FraudKind.NoReceipt, ""));
        uint256 pool = settlement.pool();
        _condemn();
        assertEq(settlement.pool(), pool + 500 * VCN);
    }

    function test_arbiters_who_were_asked_are_asked_no_more() public {
        callPanel();
        _open(3);
        truth = 9_000;
        sit();
        assertVerdict(resolve(), Verdict.None);
        assertState(CaseState.Arbiter);
        _condemn();
        address panel = court.panel();
        vm.prank(people[0]);
        vm.expectRevert(abi.encodeWithSelector(IPanel.NotBeforePanel.selector, caseId));
        IPanel(panel).vote(caseId, true);
    }

    function test_what_was_demanded_need_not_be_shown() public {
        _open(3);
        uint24 leaf = uint24(settlement.sampledLeaves(node.id, SLOT)[0]);
        vm.prank(court.seatsOf(caseId)[0].node);
        court.demandData(caseId, 0, leaf, 0);
        assertState(CaseState.DataChallenge);
        _condemn();
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NothingDemanded.selector, caseId));
        court.answerData(caseId, "late");
    }

    function _paid() private view returns (uint256 total) {
        for (uint256 i; i < 3; ++i) {
            total += settlement.bookOf(court.seatsOf(caseId)[i].node).rewards;
        }
    }
}
