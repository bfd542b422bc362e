// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Errors} from "@openzeppelin/contracts/interfaces/draft-IERC6093.sol";
import {stdError} from "forge-std/StdError.sol";

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {IFraudProofs} from "../../contracts/interfaces/IFraudProofs.sol";
import {IPanel} from "../../contracts/interfaces/IPanel.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {Leaf} from "../../contracts/libraries/SumTreeLib.sol";
import {BatchState, Contents} from "../../contracts/types/BatchTypes.sol";
import {CaseState, SeatState, Verdict} from "../../contracts/types/CaseTypes.sol";
import {FraudKind, Proof} from "../../contracts/types/FraudTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";
import {Fixture} from "./Fixture.sol";
import {Papers} from "./Papers.sol";

/// @notice Zeros, largest values, wrong states, accounts with code and gifts, where the tests of a function have none of them.
/// @dev Coins that take a fee or call back: AttacksOnMoney. Wrong chains, replays and times: with each function.
contract BadInputTest is CourtFixture, Papers {
    uint256 private constant CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    address private constant LAST = address(type(uint160).max);

    function setUp() public override(CourtFixture, Fixture) {
        CourtFixture.setUp();
    }

    /// @dev All that a refused call might have moved.
    function _state() private view returns (bytes32) {
        return keccak256(
            abi.encode(
                settlement.accountOf(one.id),
                settlement.signerOf(one.id, one.signer),
                settlement.laneOf(one.id, one.signer, node.id),
                settlement.bookOf(node.id),
                settlement.batchOf(node.id, 0),
                settlement.pool(),
                settlement.burnPending(),
                stakes.nodeOf(node.id),
                court.caseOf(caseId),
                court.seatsOf(caseId),
                coin.balanceOf(address(settlement)),
                coin.balanceOf(address(court))
            )
        );
    }

    // ---- FraudProofs

    /// @dev EIP-7702: what an operator's key has signed binds its node, whatever code its account has.
    function test_an_operator_with_code_is_bound_by_its_key() public {
        Job[] memory jobs = jobsOf(one, node.id, 1, 20 * VCN);
        jobs[0].leaf.outputCommit = keccak256("another");
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory made = settleLeaves(one, node.id, leaves, 0);
        vm.etch(node.id, hex"ef0100000000000000000000000000000000000000dead");
        bytes memory papers = papersFor(FraudKind.ResultDiffers, jobs[0], node.key);
        fraudProofs.proveFraud(proofOf(node.id, made, leaves, 0, FraudKind.ResultDiffers, papers));
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE / 2);
    }

    function test_a_proof_about_nothing() public {
        Proof memory proof;
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.WrongState.selector, BatchState.None));
        fraudProofs.proveFraud(proof);
        (proof.node, proof.slot) = (LAST, type(uint8).max);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.WrongState.selector, BatchState.None));
        fraudProofs.proveFraud(proof);
        Leaf[] memory leaves = leavesOf(jobsOf(one, node.id, 1, 20 * VCN));
        Contents memory made = settleLeaves(one, node.id, leaves, 0);
        proof = proofOf(node.id, made, leaves, 0, FraudKind.None, "");
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.NoFraud.selector, FraudKind.None));
        fraudProofs.proveFraud(proof);
    }

    function test_a_challenge_of_nothing_of_everything_and_over_its_budget() public {
        bench(3);
        graduate(node);
        Contents memory made = submitted(one, node.id, 0, 3, 30 * VCN);
        vm.prank(one.id);
        settlement.setSigner(one.signer, 15 * VCN - 1, type(uint40).max);
        bytes32 before = _state();
        vm.startPrank(one.signer);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.WrongState.selector, BatchState.None));
        fraudProofs.challengeLeaf(address(0), 0, made, 0);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.WrongState.selector, BatchState.None));
        fraudProofs.challengeLeaf(node.id, type(uint8).max, made, 0);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.PositionOutOfRange.selector, type(uint256).max, 3));
        fraudProofs.challengeLeaf(node.id, 0, made, type(uint256).max);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.OverBudget.selector, 15 * VCN, 15 * VCN - 1));
        fraudProofs.challengeLeaf(node.id, 0, made, 0);
        vm.stopPrank();
        bytes32 id = keccak256(abi.encode(LAST, type(uint8).max, type(uint256).max));
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.NoChallenge.selector, id));
        fraudProofs.endChallenge(LAST, type(uint8).max, type(uint256).max);
        assertEq(_state(), before);
        (address challenger, uint96 bond) = fraudProofs.challengeOf(settlement.batchIdOf(node.id, 0));
        assertEq(challenger, address(0));
        assertEq(bond, 0);
    }

    // ---- what Settlement does for the contract that holds bonds

    function test_what_is_held_is_there_and_granted() public {
        vm.prank(one.id);
        settlement.setSigner(one.signer, 5 * VCN, uint40(block.timestamp));
        bytes32 before = _state();
        vm.startPrank(address(fraudProofs));
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotEnoughFree.selector, type(uint96).max, 500 * VCN));
        settlement.hold(one.id, one.id, type(uint96).max);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotEnoughFree.selector, 1, 0));
        settlement.hold(address(0), address(0), 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.OverBudget.selector, 5 * VCN + 1, 5 * VCN));
        settlement.hold(one.id, one.signer, 5 * VCN + 1);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.SignerExpired.selector, node.id, 0));
        settlement.hold(one.id, node.id, 0);
        settlement.hold(one.id, one.id, 0);
        settlement.release(one.id, 0);
        // No sum of what is held comes near: there are fewer coins.
        vm.expectRevert(stdError.arithmeticError);
        settlement.release(one.id, type(uint96).max);
        assertEq(_state(), before);
        pass(1);
        vm.expectRevert(
            abi.encodeWithSelector(ISettlement.SignerExpired.selector, one.signer, vm.getBlockTimestamp() - 1)
        );
        settlement.hold(one.id, one.signer, 1);
    }

    /// @dev Only what may still be drawn: later it would change what its seats are paid, or a batch that is over.
    function test_only_a_pending_batch_is_drawn_whole() public {
        bench(3);
        keep(submitted(one, node.id, 0, 2, 40 * VCN));
        caseId = convened(node.id, 0, contents());
        _drawRefused(BatchState.InCourt);
        sit();
        resolve();
        _drawRefused(BatchState.Passed);
        finish(node.id, 0);
        _drawRefused(BatchState.Final);
        mine(1);
        keep(submitted(one, node.id, 0, 2, 40 * VCN));
        caseId = convened(node.id, 0, contents());
        truth = 0;
        sit();
        resolve();
        _drawRefused(BatchState.Void);
        settlement.refund(node.id, 0, contents());
        _drawRefused(BatchState.Refunded);
    }

    function _drawRefused(BatchState state) private {
        assertEq(uint8(stateOf(node.id, 0)), uint8(state));
        vm.prank(address(fraudProofs));
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, state));
        settlement.drawAll(node.id, 0);
    }

    // ---- Panel

    function test_a_quorum_beyond_all_and_votes_about_what_is_over() public {
        callPanel();
        IPanel panel = IPanel(court.panel());
        vm.startPrank(address(timelock));
        vm.expectRevert(abi.encodeWithSelector(IPanel.BadQuorum.selector, type(uint8).max, 3));
        panel.setArbiters(people, type(uint8).max);
        address[] memory swapped = new address[](2);
        (swapped[0], swapped[1]) = (LAST, people[0]);
        vm.expectRevert(abi.encodeWithSelector(IPanel.ArbitersNotSorted.selector, people[0]));
        panel.setArbiters(swapped, 2);
        vm.stopPrank();
        assertEq(panel.arbiters(), people);
        assertEq(panel.quorum(), 2);
        openCase(3);
        truth = 9_000;
        sit();
        resolve();
        vote(0, true);
        vote(1, true);
        assertEnded(Verdict.Pass);
        vm.prank(people[2]);
        vm.expectRevert(abi.encodeWithSelector(IPanel.NotBeforePanel.selector, caseId));
        panel.vote(caseId, false);
        vm.prank(people[2]);
        vm.expectRevert(abi.encodeWithSelector(IPanel.NotBeforePanel.selector, bytes32(type(uint256).max)));
        panel.vote(bytes32(type(uint256).max), false);
        assertEnded(Verdict.Pass);
    }

    // ---- Demands

    function test_a_demand_in_no_case_by_no_seat_and_after_the_end() public {
        openCase(4);
        address sitting = court.seatsOf(caseId)[0].node;
        bytes32 before = _state();
        vm.startPrank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NoSuchCase.selector, bytes32(0)));
        court.demandData(0, 0, 0, "key");
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotSeated.selector, caseId, type(uint8).max, sitting));
        court.demandData(caseId, type(uint8).max, 0, "key");
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotSeated.selector, caseId, 1, sitting));
        court.demandData(caseId, 1, 0, "key");
        vm.expectRevert(abi.encodeWithSelector(ICourt.LeafNotDrawn.selector, type(uint24).max));
        court.demandData(caseId, 0, type(uint24).max, "key");
        vm.stopPrank();
        assertEq(_state(), before);
        pass(profile.seatSeconds + 1);
        court.replaceSeat(caseId, 0, contents());
        assertEq(uint8(court.seatsOf(caseId)[0].state), uint8(SeatState.Silent));
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotSeated.selector, caseId, 0, sitting));
        court.demandData(caseId, 0, 0, "key");
        sit();
        resolve();
        address other = court.seatsOf(caseId)[1].node;
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(ICourt.CaseClosed.selector, caseId));
        court.demandData(caseId, 1, 0, "key");
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NothingDemanded.selector, caseId));
        court.answerData(caseId, "data");
    }

    function test_an_answer_to_nothing_and_a_second_one() public {
        openCase(3);
        address sitting = court.seatsOf(caseId)[0].node;
        vm.prank(sitting);
        court.demandData(caseId, 0, 0, "key");
        vm.startPrank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NothingDemanded.selector, bytes32(type(uint256).max)));
        court.answerData(bytes32(type(uint256).max), "data");
        court.answerData(caseId, "data");
        bytes32 before = _state();
        vm.expectRevert(abi.encodeWithSelector(ICourt.NothingDemanded.selector, caseId));
        court.answerData(caseId, "data");
        vm.stopPrank();
        assertEq(_state(), before);
    }

    // ---- Appeals

    function test_an_appeal_without_its_money_leaves_the_case_decided() public {
        decide(10);
        uint256 bond = court.appealBondOf(node.id);
        bytes32 before = _state();
        vm.startPrank(node.owner);
        coin.approve(address(court), bond - 1);
        vm.expectRevert(abi.encodeWithSelector(IERC20Errors.ERC20InsufficientAllowance.selector, court, bond - 1, bond));
        court.appeal(caseId, contents());
        coin.approve(address(court), bond);
        coin.transfer(address(0xBEEF), coin.balanceOf(node.owner) - bond + 1);
        vm.expectRevert(
            abi.encodeWithSelector(IERC20Errors.ERC20InsufficientBalance.selector, node.owner, bond - 1, bond)
        );
        court.appeal(caseId, contents());
        vm.expectRevert(abi.encodeWithSelector(ICourt.NothingToAppeal.selector, bytes32(0)));
        court.appeal(0, contents());
        vm.stopPrank();
        assertEq(_state(), before);
        assertState(CaseState.Decided);
    }

    function test_nothing_is_asked_for_where_there_is_no_stake() public view {
        assertEq(court.appealBondOf(address(0)), 0);
        assertEq(court.appealBondOf(LAST), 0);
    }

    // ---- gifts

    /// @dev To the contracts that keep no books of coins: whose bond is given back does not get them, nor does the pool.
    function test_a_gift_to_court_fraud_proofs_or_panel_is_nobodys() public {
        address[3] memory idle = [address(court), address(fraudProofs), court.panel()];
        for (uint256 i; i < idle.length; ++i) {
            coin.transfer(idle[i], 7 * VCN);
        }
        decide(12);
        uint256 before = coin.balanceOf(node.owner);
        appeal();
        truth = 10_000;
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        assertEq(coin.balanceOf(node.owner), before, "its bond and no more");
        for (uint256 i; i < idle.length; ++i) {
            assertEq(coin.balanceOf(idle[i]), 7 * VCN);
        }
    }
}
