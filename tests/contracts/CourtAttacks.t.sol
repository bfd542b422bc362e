// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {BatchState, Contents} from "../../contracts/types/BatchTypes.sol";
import {CaseState, Seat, SeatState, Verdict} from "../../contracts/types/CaseTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";

/// @notice Attacks on the draw and on the court, each with its end.
contract CourtAttacksTest is CourtFixture {
    function _isSeated(address who) private view returns (bool) {
        Seat[] memory seats = court.seatsOf(caseId);
        for (uint256 i; i < seats.length; ++i) {
            if (seats[i].node == who) return true;
        }
        return false;
    }

    // ---- votes

    /// @dev A seat that copies another's commitment cannot open it: the seat's number is in it. Its turn ends in a fine.
    function test_copied_vote() public {
        openCase(4);
        commitSeat(caseId, 0);
        commitSeat(caseId, 1);
        address copyist = court.seatsOf(caseId)[2].node;
        bytes32 copied = commitment(caseId, 0);
        vm.prank(copyist);
        court.commitSeat(caseId, 2, copied);
        revealSeat(caseId, 0, 10_000);
        revealSeat(caseId, 1, 10_000);
        uint16[] memory scores = scoresOf(caseId, 10_000);
        vm.prank(copyist);
        vm.expectRevert(abi.encodeWithSelector(ICourt.CommitmentMismatch.selector, caseId, 2));
        court.revealSeat(caseId, 2, digestOf(0), scores, saltOf(0), 0);
        pass(profile.seatSeconds + 1);
        court.replaceSeat(caseId, 2, contents());
        assertEq(stakes.nodeOf(copyist).activeStake, 4_975 * VCN);
    }

    /// @dev It is outvoted, and its vote alone calls seven others.
    function test_always_pass_seat() public {
        openCase(12);
        (truth, fraudKind) = (0, 10_000);
        liar(1);
        sit();
        assertVerdict(resolve(), Verdict.None);
        assertEq(court.caseOf(caseId).round, 1);
        sit();
        assertVerdict(resolve(), Verdict.Severe);
    }

    /// @dev A score that looks right without any work passes a fraud only if the other two guess alike.
    function test_lazy_seat_with_a_plausible_score() public {
        openCase(12);
        (truth, fraudKind) = (8_000, 9_600);
        liar(1);
        sit();
        assertVerdict(resolve(), Verdict.None);
        sit();
        assertVerdict(resolve(), Verdict.Severe);
    }

    /// @dev It has seen what the others say and that it will lose: another seat decides in its place, and it pays for that.
    function test_last_revealer_withholds() public {
        openCase(4);
        (truth, fraudKind) = (0, 10_000);
        fraudKinds[court.seatsOf(caseId)[2].node] = true;
        for (uint8 seat; seat < 3; ++seat) {
            commitSeat(caseId, seat);
        }
        revealSeat(caseId, 0, 0);
        revealSeat(caseId, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotAllRevealed.selector, caseId));
        court.resolve(caseId, none);
        pass(profile.seatSeconds + 1);
        court.replaceSeat(caseId, 2, contents());
        sit();
        assertVerdict(resolve(), Verdict.Severe);
        assertEnded(Verdict.Severe);
    }

    /// @dev And if no verifier can take its place, the two that spoke cannot pass what they doubt.
    function test_last_revealer_withholds_and_nobody_follows() public {
        openCase(3);
        for (uint8 seat; seat < 3; ++seat) {
            commitSeat(caseId, seat);
        }
        revealSeat(caseId, 0, 10_000);
        revealSeat(caseId, 1, 0);
        pass(profile.seatSeconds + 1);
        court.replaceSeat(caseId, 2, contents());
        assertVerdict(resolve(), Verdict.Short);
        assertTrue(stakes.isJailed(node.id));
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE, "no slash by fewer than three");
    }

    // ---- too few seats

    function test_no_seats() public {
        Contents memory made = submitted(one, node.id, 0, 2, 40 * VCN);
        seal(node.id, 0);
        vm.expectRevert(ICourt.NoSeats.selector);
        court.convene(node.id, 0, made);
        waitFor(profile.starvedSeconds);
        court.voidStarved(node.id, 0, made);
        assertEq(stakes.nodeOf(node.id).penaltyTenths, 0, "starved without loss: no seat was ever drawn");
        settlement.refund(node.id, 0, made);
    }

    /// @dev Two seats pass together or find nothing that counts: no slash, but no way on either.
    function test_fewer_than_3_seats() public {
        openCase(2);
        uint16[] memory scores = new uint16[](2);
        (scores[0], scores[1]) = (10_000, 0);
        judge(caseId, scores);
        assertVerdict(resolve(), Verdict.Short);
        assertTrue(stakes.isJailed(node.id));
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE);
    }

    /// @dev The largest odd number that there is decides instead.
    function test_fewer_than_7_seats() public {
        openCase(6);
        (truth, fraudKind) = (0, 10_000);
        liar(1);
        sit();
        resolve();
        assertEq(court.seatsOf(caseId).length, 8, "three, then five");
        sit();
        assertVerdict(resolve(), Verdict.Severe);
    }

    /// @dev One seat that finds fraud, alone on its list, voids nothing for good: no slash.
    function test_one_seat_never_slashes() public {
        bench(1);
        keep(submitted(one, node.id, 0, 1, 0.5 ether));
        caseId = convened(node.id, 0, contents());
        truth = 0;
        sit();
        assertVerdict(resolve(), Verdict.Short);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE);
    }

    function test_appeal_to_erase_a_verdict() public {
        decide(10);
        appeal();
        // Four friends among the seven pass it, the others never come; they are not replaced in time.
        for (uint8 seat = 3; seat < 10; ++seat) {
            commitSeat(caseId, seat);
        }
        for (uint8 seat = 3; seat < 7; ++seat) {
            revealSeat(caseId, seat, 10_000);
        }
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotAllRevealed.selector, caseId));
        court.resolve(caseId, none);
        waitFor(profile.starvedSeconds);
        court.voidStarved(node.id, 0, contents());
        assertEnded(Verdict.Severe);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE / 2);
    }

    // ---- the list

    /// @dev Who joins at or after the commit is in no round of the case, however many it needs.
    function test_join_after_the_seed() public {
        bench(3);
        keep(submitted(one, node.id, 0, 2, 40 * VCN));
        Node memory same = verifier("joined in the block of the commit");
        mine(1);
        Node memory late = verifier("joined before the seed");
        seal(node.id, 0);
        Node memory later = verifier("joined after the seed");
        mine(1);
        caseId = court.convene(node.id, 0, contents());
        fraudKind = 0;
        liar(1);
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        assertFalse(_isSeated(same.id) || _isSeated(late.id) || _isSeated(later.id));
    }

    /// @dev Who leaves after the commit is still drawn; the others stay where they were.
    function test_leave_to_shift() public {
        Node[] memory all = bench(6);
        keep(submitted(one, node.id, 0, 2, 40 * VCN));
        seal(node.id, 0);
        address[] memory before = court.previewSeats(node.id, 0, contents());
        for (uint256 i; i < 6; ++i) {
            vm.prank(all[i].id);
            court.leaveVerifiers(all[i].id, CLASS);
        }
        mine(1);
        caseId = court.convene(node.id, 0, contents());
        Seat[] memory seats = court.seatsOf(caseId);
        for (uint256 i; i < 3; ++i) {
            assertEq(seats[i].node, before[i]);
        }
        fraudKind = 0;
        liar(1);
        sit();
        resolve();
        assertEq(court.caseOf(caseId).round, 1, "and the second round has them too");
    }

    /// @dev However many verifiers a node's owner has, none of them sits on its batch.
    function test_sybil_seats() public {
        for (uint256 i; i < 4; ++i) {
            Node memory sybil = makeNode(string.concat("sybil ", vm.toString(i)));
            coin.transfer(node.owner, 5_000 * VCN);
            vm.prank(node.owner);
            coin.approve(address(stakes), type(uint256).max);
            bytes memory consent = consentOf(sybil, node.owner, uint40(vm.getBlockTimestamp()));
            vm.prank(node.owner);
            stakes.register(sybil.id, address(0), 5_000 * VCN, 6, uint40(vm.getBlockTimestamp()), consent);
            vm.prank(sybil.id);
            court.joinVerifiers(sybil.id, CLASS);
        }
        openCase(5);
        fraudKind = 0;
        liar(1);
        sit();
        resolve();
        Seat[] memory seats = court.seatsOf(caseId);
        assertEq(seats.length, 8, "three of five honest ones, then all five");
        for (uint256 i; i < seats.length; ++i) {
            (address owner,) = stakes.keysOf(seats[i].node);
            assertTrue(owner != node.owner);
        }
    }

    function test_a_clients_node_is_not_seated_on_its_own_job() public {
        Node memory own = makeNode("client");
        assertEq(own.id, one.id, "the client's key runs a node too");
        fundOwner(own, 5_000 * VCN);
        bytes memory consent = consentOf(own, own.owner, uint40(vm.getBlockTimestamp()));
        vm.prank(own.owner);
        stakes.register(own.id, address(0), 5_000 * VCN, 6, uint40(vm.getBlockTimestamp()), consent);
        vm.prank(own.id);
        court.joinVerifiers(own.id, CLASS);
        openCase(5);
        fraudKind = 0;
        liar(1);
        sit();
        resolve();
        assertFalse(_isSeated(own.id));
    }

    // ---- bribes and lies

    /// @dev Two of three pass a fraud, the third calls seven others.
    function test_2_of_3_bribed() public {
        openCase(12);
        (truth, fraudKind) = (0, 10_000);
        liar(2);
        sit();
        assertVerdict(resolve(), Verdict.None);
        assertVerdict(court.caseOf(caseId).standing, Verdict.Pass);
        sit();
        assertVerdict(resolve(), Verdict.Severe);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE / 2);
    }

    function test_2_of_3_bribed_to_convict() public {
        openCase(12);
        fraudKind = 0;
        liar(2);
        sit();
        assertVerdict(resolve(), Verdict.None);
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        assertEq(stakes.nodeOf(node.id).penaltyTenths, 0);
    }

    function test_liar_seated_on_an_honest_job() public {
        openCase(12);
        fraudKind = 0;
        liar(1);
        sit();
        resolve();
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        assertEq(stakes.nodeOf(node.id).activeStake, STAKE);
    }

    /// @dev All three lie: the node appeals, and has its bond back.
    function test_3_of_3_bribed_to_convict() public {
        openCase(12);
        fraudKind = 0;
        liar(3);
        sit();
        resolve();
        assertState(CaseState.Decided);
        appeal();
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        assertEnded(Verdict.Pass);
        assertEq(coin.balanceOf(node.owner), 1_000 * VCN);
    }

    /// @dev Friends step down or stay silent until friends follow: the order is fixed, each silence costs, and the next are
    ///      drawn from everybody.
    function test_silence_to_shape_a_bench() public {
        openCase(8);
        address first = court.seatsOf(caseId)[0].node;
        commitSeat(caseId, 2);
        pass(profile.seatSeconds + 1);
        for (uint8 seat; seat < 2; ++seat) {
            court.replaceSeat(caseId, seat, contents());
        }
        assertEq(stakes.nodeOf(first).activeStake, 4_975 * VCN);
        assertEq(uint8(court.seatsOf(caseId)[0].state), uint8(SeatState.Silent));
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Passed));
    }
}
