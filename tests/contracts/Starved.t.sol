// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {BatchState, Contents} from "../../contracts/types/BatchTypes.sol";
import {Verdict} from "../../contracts/types/CaseTypes.sol";
import {NodeState} from "../../contracts/types/NodeTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice voidStarved: the way out of every batch that no court decides.
contract StarvedTest is Fixture {
    Node private node;
    Client private one;

    function setUp() public override {
        super.setUp();
        node = registered("node", 10_000 * VCN);
        one = client("client", 1_000 * VCN);
        openLane(one, node.id, 500 * VCN);
    }

    function _starve(uint256 times) private {
        vm.warp(settlement.batchOf(node.id, 0).commitTime + times * profile.starvedSeconds + 1);
    }

    function _penalty() private view returns (uint16) {
        return stakes.nodeOf(node.id).penaltyTenths;
    }

    function test_who_does_not_convene_its_own_batch_loses_15() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 2, 40 * VCN);
        seal(node.id, 0);
        bytes32 caseId = settlement.batchIdOf(node.id, 0);
        _starve(1);
        vm.expectEmit(address(court));
        emit ICourt.CaseResolved(caseId, node.id, 0, Verdict.Starved, 0);
        court.voidStarved(node.id, 0, contents);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
        assertEq(_penalty(), 150);
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Active));
        settlement.refund(node.id, 0, contents);
        assertEq(settlement.laneOf(one.id, one.signer, node.id).left, 500 * VCN);
    }

    function test_no_loss_where_nobody_could_be_drawn() public {
        Contents memory contents = submitted(one, node.id, 0, 2, 40 * VCN);
        seal(node.id, 0);
        _starve(1);
        court.voidStarved(node.id, 0, contents);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
        assertEq(_penalty(), 0);
    }

    function test_not_a_second_early() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 2, 40 * VCN);
        seal(node.id, 0);
        uint256 until = settlement.batchOf(node.id, 0).commitTime + profile.starvedSeconds;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotStarved.selector, until));
        court.voidStarved(node.id, 0, contents);
    }

    function test_an_undrawn_batch_does_not_starve() public {
        bench(3);
        graduate(node);
        Contents memory contents = submitted(one, node.id, 0, 5, 50 * VCN);
        sealDrawing(node.id, 0, 1_000, 0);
        _starve(1);
        vm.expectRevert(ICourt.NotDrawn.selector);
        court.voidStarved(node.id, 0, contents);
        settlement.finalize(node.id, 0);
    }

    function test_an_unsealed_batch_is_sealed_first() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 2, 40 * VCN);
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        _starve(1);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NoSeed.selector, epoch));
        court.voidStarved(node.id, 0, contents);
    }

    function test_a_case_has_as_long_again() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 2, 40 * VCN);
        convened(node.id, 0, contents);
        uint256 until = settlement.batchOf(node.id, 0).commitTime + 2 * uint256(profile.starvedSeconds);
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotStarved.selector, until));
        court.voidStarved(node.id, 0, contents);
        vm.warp(until + 1);
        court.voidStarved(node.id, 0, contents);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
        assertEq(_penalty(), 0, "silent seats are not the node's fault");
    }

    function test_a_doubt_that_nobody_confirmed_jails() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 2, 40 * VCN);
        bytes32 caseId = convened(node.id, 0, contents);
        for (uint8 seat; seat < 3; ++seat) {
            commitSeat(caseId, seat);
        }
        revealSeat(caseId, 0, 0);
        _starve(2);
        court.voidStarved(node.id, 0, contents);
        assertEq(uint8(court.caseOf(caseId).verdict), uint8(Verdict.Short));
        assertEq(uint8(stakes.nodeOf(node.id).state), uint8(NodeState.Jailed));
        assertEq(stakes.nodeOf(node.id).activeStake, 10_000 * VCN);
    }

    function test_a_seat_that_passed_is_not_enough() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 2, 40 * VCN);
        bytes32 caseId = convened(node.id, 0, contents);
        for (uint8 seat; seat < 3; ++seat) {
            commitSeat(caseId, seat);
        }
        revealSeat(caseId, 0, 10_000);
        _starve(2);
        court.voidStarved(node.id, 0, contents);
        assertEq(uint8(court.caseOf(caseId).verdict), uint8(Verdict.Starved));
        assertEq(_penalty(), 0);
    }

    function test_other_states_do_not_starve() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 2, 40 * VCN);
        passInCourt(node.id, 0, contents);
        _starve(2);
        vm.expectRevert(abi.encodeWithSelector(ICourt.WrongState.selector, BatchState.Passed));
        court.voidStarved(node.id, 0, contents);
        vm.expectRevert(abi.encodeWithSelector(ICourt.WrongState.selector, BatchState.None));
        court.voidStarved(node.id, 1, contents);
    }

    function test_pending_needs_its_contents() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 2, 40 * VCN);
        seal(node.id, 0);
        _starve(1);
        contents.maxLeaf += 1;
        vm.expectRevert(ICourt.WrongContents.selector);
        court.voidStarved(node.id, 0, contents);
    }
}
