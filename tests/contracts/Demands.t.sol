// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {BatchState} from "../../contracts/types/BatchTypes.sol";
import {CaseState, Verdict} from "../../contracts/types/CaseTypes.sol";
import {NodeState, NodeView} from "../../contracts/types/NodeTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";

/// @notice demandData, answerData, and a node that does not answer.
contract DemandsTest is CourtFixture {
    bytes32 private constant KEY = keccak256("a seat's key");

    function _demand(uint8 seat) private {
        vm.prank(court.seatsOf(caseId)[seat].node);
        court.demandData(caseId, seat, 1, KEY);
        assertState(CaseState.DataChallenge);
    }

    function _answer(bytes memory data) private {
        vm.prank(node.id);
        court.answerData(caseId, data);
    }

    function _sitter(uint8 seat) private view returns (address) {
        return court.seatsOf(caseId)[seat].node;
    }

    // ---- demand

    function test_a_seat_asks_for_a_drawn_leaf() public {
        openCase(3);
        address sitting = _sitter(2);
        uint256 until = vm.getBlockTimestamp() + profile.dataSeconds;
        vm.prank(sitting);
        vm.expectEmit(address(court));
        emit ICourt.DataDemanded(caseId, 2, 1, KEY, until);
        court.demandData(caseId, 2, 1, KEY);
        assertEq(court.caseOf(caseId).until, until);
    }

    /// @notice Attack: a seat demands data it was not drawn for.
    function test_a_seat_demands_data_it_was_not_drawn_for() public {
        bench(5);
        graduate(node);
        keep(submitted(one, node.id, 0, 20, 40 * VCN));
        sealDrawing(node.id, 0, 1_000, 2);
        caseId = court.convene(node.id, 0, contents());
        uint256[] memory drawn = settlement.sampledLeaves(node.id, 0);
        uint24 other = uint24(drawn[0] == 0 ? 1 : drawn[0] - 1);
        address sitting = _sitter(0);
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.LeafNotDrawn.selector, other));
        court.demandData(caseId, 0, other, KEY);
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.LeafNotDrawn.selector, type(uint24).max));
        court.demandData(caseId, 0, type(uint24).max, KEY);
        vm.prank(one.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotSeated.selector, caseId, 0, one.id));
        court.demandData(caseId, 0, uint24(drawn[0]), KEY);
        vm.prank(sitting);
        court.demandData(caseId, 0, uint24(drawn[0]), KEY);
    }

    function test_once_a_case() public {
        openCase(3);
        _demand(0);
        address sitting = _sitter(1);
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.CaseWaits.selector, caseId, CaseState.DataChallenge));
        court.demandData(caseId, 1, 0, KEY);
        _answer("data");
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.DemandedBefore.selector, caseId));
        court.demandData(caseId, 1, 0, KEY);
    }

    function test_fingerprints_are_asked_for_once_all_are_bound() public {
        openCase(3);
        commitSeat(caseId, 0);
        commitSeat(caseId, 1);
        address sitting = _sitter(0);
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SeatsMissing.selector, caseId, 2));
        court.demandData(caseId, 0, 1, KEY);
        commitSeat(caseId, 2);
        revealSeat(caseId, 1, 10_000);
        sitting = _sitter(1);
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.AlreadyRevealed.selector, caseId, 1));
        court.demandData(caseId, 1, 1, KEY);
        _demand(0);
    }

    // ---- answer

    function test_the_node_answers_and_the_same_seats_go_on() public {
        openCase(4);
        commitSeat(caseId, 1);
        _demand(0);
        vm.prank(node.owner);
        vm.expectEmit(address(court));
        emit ICourt.DataAnswered(caseId, "what the seat asked for");
        court.answerData(caseId, "what the seat asked for");
        assertState(CaseState.Open);
        sit();
        assertVerdict(resolve(), Verdict.Pass);
    }

    function test_every_turn_begins_anew() public {
        openCase(4);
        pass(profile.seatSeconds);
        _demand(0);
        pass(profile.dataSeconds);
        _answer("data");
        uint256 until = vm.getBlockTimestamp() + profile.seatSeconds;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ICourt.SeatStillHasTime.selector, until));
        court.replaceSeat(caseId, 0, contents());
        vm.warp(until + 1);
        court.replaceSeat(caseId, 0, contents());
    }

    function test_a_case_that_was_stopped_has_longer() public {
        openCase(3);
        uint256 until = court.caseOf(caseId).until;
        _demand(0);
        _answer("data");
        assertEq(court.caseOf(caseId).until, until + profile.dataSeconds);
    }

    function test_up_to_16_kib() public {
        openCase(3);
        _demand(0);
        bytes memory data = new bytes(16 * 1024 + 1);
        vm.startPrank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.BadAnswer.selector, data.length));
        court.answerData(caseId, data);
        vm.expectRevert(abi.encodeWithSelector(ICourt.BadAnswer.selector, 0));
        court.answerData(caseId, "");
        assembly ("memory-safe") {
            mstore(data, 16384)
        }
        court.answerData(caseId, data);
        vm.stopPrank();
    }

    function test_only_the_node_in_time_and_if_asked() public {
        openCase(3);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NothingDemanded.selector, caseId));
        court.answerData(caseId, "data");
        _demand(0);
        address sitting = _sitter(0);
        vm.prank(sitting);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotOfNode.selector, node.id, sitting));
        court.answerData(caseId, "data");
        uint256 until = court.caseOf(caseId).until;
        vm.warp(until + 1);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ICourt.TooLate.selector, until));
        court.answerData(caseId, "data");
        vm.warp(until);
        _answer("data");
    }

    function test_nobody_acts_before_the_answer() public {
        openCase(4);
        _demand(0);
        bytes memory refused = abi.encodeWithSelector(ICourt.CaseWaits.selector, caseId, CaseState.DataChallenge);
        address sitting = _sitter(1);
        vm.prank(sitting);
        vm.expectRevert(refused);
        court.commitSeat(caseId, 1, bytes32(uint256(1)));
        pass(profile.seatSeconds + 1);
        vm.expectRevert(refused);
        court.replaceSeat(caseId, 1, contents());
    }

    // ---- silence

    /// @notice Attack: unavailability by node to re-roll. What is hidden is not drawn again: it ends the case, for ten times the batch.
    function test_unavailability_by_node_to_re_roll() public {
        openCase(3);
        _demand(0);
        uint256 until = court.caseOf(caseId).until;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ICourt.RulingWaits.selector, until));
        court.resolve(caseId, none);
        vm.warp(until + 1);
        vm.expectEmit(address(court));
        emit ICourt.CaseResolved(caseId, node.id, 0, Verdict.Withheld, 0);
        assertVerdict(court.resolve(caseId, none), Verdict.Withheld);
        assertEnded(Verdict.Withheld);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.activeStake, STAKE - 10 * 42 * VCN, "ten times charge and fee");
        assertEq(shown.penaltyTenths, 150);
        assertEq(uint8(shown.state), uint8(NodeState.Jailed));
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
        settlement.refund(node.id, 0, contents());
        assertEq(settlement.laneOf(one.id, one.signer, node.id).left, 500 * VCN);
    }

    /// @notice Attack: unavailability by seats to slash. Whatever a seat says it did not get, a node that answers loses nothing,
    ///         and is asked no second time.
    function test_unavailability_by_seats_to_slash() public {
        openCase(3);
        _demand(0);
        _answer("the leaf, its papers, the key");
        truth = 10_000;
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE);
        assertEq(stakes.nodeOf(node.id).penaltyTenths, 0);
    }

    function test_at_most_half_of_the_stake() public {
        vm.prank(node.owner);
        stakes.unbond(node.id, STAKE - 1_600 * VCN);
        pass(profile.unbondingSeconds);
        vm.prank(node.owner);
        stakes.withdraw(node.id);
        bench(3);
        keep(submitted(one, node.id, 0, 10, 300 * VCN));
        caseId = convened(node.id, 0, contents());
        _demand(0);
        waitFor(profile.dataSeconds);
        court.voidStarved(node.id, 0, contents());
        assertEnded(Verdict.Withheld);
        assertEq(stakes.nodeOf(node.id).activeStake, 800 * VCN);
    }

    function test_shadow_mode_does_not_slash_here_either() public {
        profile.slashBps = 0;
        deploy(profile);
        node = registered("another node", STAKE);
        one = client("another client", 1_000 * VCN);
        openLane(one, node.id, 500 * VCN);
        openCase(3);
        _demand(0);
        waitFor(profile.dataSeconds);
        resolve();
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE);
        assertTrue(stakes.isJailed(node.id));
    }

    function test_who_was_found_guilty_does_not_hide_from_it() public {
        decide(10);
        appeal();
        _demand(3);
        waitFor(profile.dataSeconds);
        assertVerdict(resolve(), Verdict.Severe);
        assertEnded(Verdict.Severe);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE / 2);
        assertEq(coin.balanceOf(node.owner), 900 * VCN, "and the bond is gone");
    }

    function test_a_pass_that_was_quarrelled_over_is_lost_by_hiding() public {
        openCase(10);
        fraudKind = 0;
        liar(1);
        sit();
        resolve();
        _demand(3);
        waitFor(profile.dataSeconds);
        assertVerdict(resolve(), Verdict.Withheld);
        assertEnded(Verdict.Withheld);
    }
}
