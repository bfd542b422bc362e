// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAudits} from "../../contracts/interfaces/IAudits.sol";
import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {Audit, Auditor} from "../../contracts/types/AuditTypes.sol";
import {BatchState, Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";
import {Seat, SeatState, Verdict} from "../../contracts/types/CaseTypes.sol";
import {NodeState, NodeView} from "../../contracts/types/NodeTypes.sol";
import {Profile} from "../../contracts/types/ParamTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";
import {Profiles} from "./Profiles.sol";

/// @notice Cases that passed, and who checks those who let them pass.
contract AuditsTest is CourtFixture {
    uint96 private constant SEAT_STAKE = 5_000 * VCN;
    uint16 private nothing;

    function setUp() public override {
        super.setUp();
        nothing = audits.NOTHING_SHOWN();
    }

    // ---- a case that passed

    /// @dev Three of six verifiers let it pass; the other three are left for an audit.
    function _passed() private {
        _passed(6);
    }

    function _passed(uint256 verifiers) private {
        openCase(verifiers);
        sit();
        assertVerdict(resolve(), Verdict.Pass);
    }

    function _convene() private returns (Auditor[] memory) {
        audits.convene(node.id, 0, contents());
        return audits.auditorsOf(caseId);
    }

    function _opened() private returns (Auditor[] memory) {
        _passed();
        sealAudit(caseId, true);
        return _convene();
    }

    function _sealed(uint8 auditor, uint256 off, uint16 score) private view returns (bytes32) {
        return keccak256(abi.encode(caseId, auditor, off, score, saltOf(auditor)));
    }

    function _commit(uint8 auditor, uint256 off, uint16 score) private {
        vm.prank(audits.auditorsOf(caseId)[auditor].node);
        audits.commit(caseId, auditor, _sealed(auditor, off, score));
    }

    function _reveal(uint8 auditor, uint256 off, uint16 score) private {
        vm.prank(audits.auditorsOf(caseId)[auditor].node);
        audits.reveal(caseId, auditor, off, score, saltOf(auditor));
    }

    function _find(uint256[3] memory off, uint16[3] memory scores) private {
        for (uint8 i; i < 3; ++i) {
            _commit(i, off[i], scores[i]);
        }
        for (uint8 i; i < 3; ++i) {
            _reveal(i, off[i], scores[i]);
        }
    }

    function _nothingWrong() private {
        _find([uint256(0), 0, 0], [uint16(10_000), 10_000, 10_000]);
    }

    function _stakeOf(address who) private view returns (uint256) {
        return stakes.nodeOf(who).activeStake;
    }

    function _penaltyOf(address who) private view returns (uint256) {
        return stakes.nodeOf(who).penaltyTenths;
    }

    // ---- the draw

    function test_a_case_that_is_not_drawn_is_not_audited() public {
        _passed();
        sealAudit(caseId, false);
        assertFalse(audits.isDrawn(caseId));
        vm.expectRevert(abi.encodeWithSelector(IAudits.NotDrawn.selector, caseId));
        audits.convene(node.id, 0, contents());
    }

    function test_nobody_knows_at_the_verdict_which_case_will_be_drawn() public {
        _passed();
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        vm.expectRevert(abi.encodeWithSelector(IAudits.NoSeed.selector, epoch));
        audits.isDrawn(caseId);
        assertGt(beacon.seedBlockOf(epoch), vm.getBlockNumber());
        mine(profile.epochBlocks);
        vm.expectRevert(abi.encodeWithSelector(IAudits.NoSeed.selector, epoch));
        audits.isDrawn(caseId);
    }

    /// @dev Of 2,000 seeds 100 in the mean, with a standard deviation of 10.
    function test_one_case_in_twenty_is_drawn() public {
        _passed();
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        uint256 drawn;
        for (uint256 i; i < 2_000; ++i) {
            bytes memory seed = abi.encode(keccak256(abi.encode(i)), false);
            vm.mockCall(address(beacon), abi.encodeCall(beacon.seedOf, (epoch)), seed);
            if (audits.isDrawn(caseId)) ++drawn;
        }
        assertApproxEqAbs(drawn, 100, 40);
    }

    function test_the_auditors_had_no_seat_and_no_hand_in_the_batch() public {
        _passed(8);
        sealAudit(caseId, true);
        address[] memory foreseen = audits.preview(node.id, 0, contents());
        Auditor[] memory auditors = _convene();
        Seat[] memory seats = court.seatsOf(caseId);
        assertEq(auditors.length, 3);
        for (uint256 i; i < 3; ++i) {
            assertEq(auditors[i].node, foreseen[i]);
            assertTrue(auditors[i].node != node.id);
            for (uint256 j; j < 3; ++j) {
                assertTrue(auditors[i].node != seats[j].node, "sat");
                assertTrue(i == j || auditors[i].node != auditors[j].node, "twice");
            }
        }
    }

    function test_with_fewer_than_three_others_there_is_no_audit() public {
        _passed(5);
        sealAudit(caseId, true);
        vm.expectRevert(abi.encodeWithSelector(IAudits.TooFewAuditors.selector, 2));
        audits.convene(node.id, 0, contents());
    }

    function test_a_batch_of_a_class_without_calibration_is_not_audited() public {
        bench(6);
        Claim[] memory claims = claimsOf(one, node.id, 2, 40 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 2);
        made.flags = UNCALIBRATED;
        keep(submit(made, claims));
        caseId = convened(node.id, 0, contents());
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        sealAudit(caseId, true);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Passed));
        audits.convene(node.id, 0, contents());
    }

    function test_what_did_not_pass_is_not_audited() public {
        decide(6);
        sealAudit(caseId, true);
        vm.expectRevert(abi.encodeWithSelector(IAudits.NotPassed.selector, caseId));
        audits.convene(node.id, 0, contents());
    }

    function test_a_slot_with_another_batch_is_no_case_that_passed() public {
        _passed();
        sealAudit(caseId, true);
        settlement.finalize(node.id, 0);
        keep(submitted(one, node.id, 0, 1, 1 ether));
        vm.expectRevert(abi.encodeWithSelector(IAudits.NotPassed.selector, settlement.batchIdOf(node.id, 0)));
        audits.convene(node.id, 0, contents());
    }

    function test_contents_must_be_those_of_the_batch() public {
        _passed();
        sealAudit(caseId, true);
        Contents memory other = contents();
        ++other.maxLeaf;
        vm.expectRevert(ICourt.WrongContents.selector);
        audits.convene(node.id, 0, other);
    }

    function test_an_audit_is_convened_within_32_epochs() public {
        _passed();
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        sealAudit(caseId, true);
        vm.roll((epoch + 33) * profile.epochBlocks - 1);
        uint256 before = vm.snapshotState();
        _convene();
        vm.revertToState(before);
        vm.roll((epoch + 33) * profile.epochBlocks);
        vm.expectRevert(abi.encodeWithSelector(IAudits.TooLate.selector, epoch + 32));
        audits.convene(node.id, 0, contents());
    }

    function test_an_audit_ends_before_the_seats_can_have_left() public {
        _passed();
        sealAudit(caseId, true);
        uint256 latest =
            uint256(settlement.batchOf(node.id, 0).commitTime) + profile.unbondingSeconds - 2 * profile.seatSeconds;
        vm.warp(latest + 1);
        vm.expectRevert(abi.encodeWithSelector(IAudits.TooLate.selector, latest));
        audits.convene(node.id, 0, contents());
        vm.warp(latest);
        _convene();
    }

    /// @dev Court keeps 16 bits of the epoch.
    function test_the_epoch_is_found_again_where_its_count_wraps() public {
        vm.roll(uint256(profile.epochBlocks) * 65_535 - 40);
        _passed();
        vm.roll(uint256(profile.epochBlocks) * 65_536 - 1);
        keep(submitted(one, node.id, 1, 2, 40 * VCN));
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        assertEq(epoch, 65_535);
        caseId = convened(node.id, 1, contents());
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        assertGt(beacon.epochOf(vm.getBlockNumber()), 65_535);
        sealAudit(caseId, true);
        audits.convene(node.id, 1, contents());
        assertEq(audits.auditorsOf(caseId).length, 3);
    }

    function test_there_is_one_audit_a_case() public {
        _opened();
        vm.expectRevert(abi.encodeWithSelector(IAudits.AlreadyConvened.selector, caseId));
        audits.convene(node.id, 0, contents());
        _nothingWrong();
        audits.close(caseId);
        vm.expectRevert(abi.encodeWithSelector(IAudits.AlreadyConvened.selector, caseId));
        audits.convene(node.id, 0, contents());
    }

    // ---- while it lasts

    function test_a_batch_is_not_final_before_its_audit_has_ended() public {
        _opened();
        pass(profile.challengeSeconds);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Audited));
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Audited));
        settlement.finalize(node.id, 0);
        _nothingWrong();
        audits.close(caseId);
        settlement.finalize(node.id, 0);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Final));
    }

    function test_who_commits_does_not_know_what_others_found() public {
        _opened();
        _commit(0, 0, 10_000);
        _commit(1, 0, 10_000);
        uint256 until = audits.auditOf(caseId).since + profile.seatSeconds;
        vm.prank(audits.auditorsOf(caseId)[0].node);
        vm.expectRevert(abi.encodeWithSelector(IAudits.TurnNotOver.selector, until));
        audits.reveal(caseId, 0, 0, 10_000, saltOf(0));
        _commit(2, 0, 10_000);
        _reveal(0, 0, 10_000);
    }

    function test_nobody_commits_once_others_may_reveal() public {
        _opened();
        _commit(0, 0, 10_000);
        uint256 until = audits.auditOf(caseId).since + profile.seatSeconds;
        vm.warp(until + 1);
        _reveal(0, 0, 10_000);
        address late = audits.auditorsOf(caseId)[1].node;
        vm.prank(late);
        vm.expectRevert(abi.encodeWithSelector(IAudits.TooLate.selector, until));
        audits.commit(caseId, 1, _sealed(1, 0, 10_000));
    }

    function test_a_commitment_is_opened_as_it_was_made() public {
        Auditor[] memory auditors = _opened();
        for (uint8 i; i < 3; ++i) {
            _commit(i, 1, 9_900);
        }
        vm.startPrank(auditors[0].node);
        bytes memory mismatch = abi.encodeWithSelector(IAudits.CommitmentMismatch.selector, caseId, 0);
        vm.expectRevert(mismatch);
        audits.reveal(caseId, 0, 0, 9_900, saltOf(0));
        vm.expectRevert(mismatch);
        audits.reveal(caseId, 0, 1, 9_901, saltOf(0));
        vm.expectRevert(mismatch);
        audits.reveal(caseId, 0, 1, 9_900, saltOf(1));
        audits.reveal(caseId, 0, 1, 9_900, saltOf(0));
        vm.expectRevert(abi.encodeWithSelector(IAudits.NotCommitted.selector, caseId, 0));
        audits.reveal(caseId, 0, 1, 9_900, saltOf(0));
        vm.stopPrank();
    }

    function test_a_commitment_is_its_own_auditors() public {
        Auditor[] memory auditors = _opened();
        bytes32 copied = _sealed(0, 0, 10_000);
        for (uint8 i; i < 3; ++i) {
            vm.prank(auditors[i].node);
            audits.commit(caseId, i, copied);
        }
        vm.prank(auditors[1].node);
        vm.expectRevert(abi.encodeWithSelector(IAudits.CommitmentMismatch.selector, caseId, 1));
        audits.reveal(caseId, 1, 0, 10_000, saltOf(0));
    }

    function test_only_its_auditors_act_and_once() public {
        Auditor[] memory auditors = _opened();
        vm.expectRevert(abi.encodeWithSelector(IAudits.NotAuditor.selector, caseId, 0, address(this)));
        audits.commit(caseId, 0, bytes32(uint256(1)));
        vm.startPrank(auditors[0].node);
        vm.expectRevert(abi.encodeWithSelector(IAudits.NotAuditor.selector, caseId, 1, auditors[0].node));
        audits.commit(caseId, 1, bytes32(uint256(1)));
        vm.expectRevert(abi.encodeWithSelector(IAudits.NotAuditor.selector, caseId, 3, auditors[0].node));
        audits.commit(caseId, 3, bytes32(uint256(1)));
        vm.expectRevert(abi.encodeWithSelector(IAudits.NotAuditor.selector, caseId, 255, auditors[0].node));
        audits.reveal(caseId, 255, 0, 0, 0);
        vm.expectRevert(IAudits.ZeroCommitment.selector);
        audits.commit(caseId, 0, 0);
        audits.commit(caseId, 0, bytes32(uint256(1)));
        vm.expectRevert(abi.encodeWithSelector(IAudits.AlreadyCommitted.selector, caseId, 0));
        audits.commit(caseId, 0, bytes32(uint256(2)));
        vm.stopPrank();
        vm.expectRevert(abi.encodeWithSelector(IAudits.NoSuchAudit.selector, bytes32(0)));
        audits.commit(0, 0, bytes32(uint256(1)));
    }

    function test_a_score_is_basis_points_or_nothing_shown() public {
        _opened();
        _commit(0, 0, 10_001);
        _commit(1, 0, nothing);
        _commit(2, 0, 10_000);
        vm.prank(audits.auditorsOf(caseId)[0].node);
        vm.expectRevert(abi.encodeWithSelector(IAudits.ScoreOutOfRange.selector, 10_001));
        audits.reveal(caseId, 0, 0, 10_001, saltOf(0));
        _reveal(1, 0, nothing);
        _reveal(2, 0, 10_000);
    }

    // ---- its end

    function test_an_audit_that_finds_nothing_changes_nothing_and_pays() public {
        Auditor[] memory auditors = _opened();
        Seat[] memory seats = court.seatsOf(caseId);
        uint96 due = audits.auditOf(caseId).due;
        assertGt(due, 0);
        uint256 pool = settlement.pool();
        _nothingWrong();
        vm.expectEmit(address(settlement));
        emit ISettlement.BatchPassed(node.id, 0, caseId);
        audits.close(caseId);
        uint96 paid = due < pool ? due / 3 : uint96(pool / 3);
        for (uint256 i; i < 3; ++i) {
            assertEq(_stakeOf(seats[i].node), SEAT_STAKE);
            assertEq(_penaltyOf(seats[i].node), 0);
            assertEq(settlement.bookOf(auditors[i].node).rewards, paid);
        }
        assertEq(settlement.pool(), pool - 3 * uint256(paid));
        assertEq(uint8(court.caseOf(caseId).verdict), uint8(Verdict.Pass));
        vm.expectRevert(abi.encodeWithSelector(IAudits.AuditOver.selector, caseId));
        audits.close(caseId);
    }

    /// @dev What three seats had is what three auditors have.
    function test_auditors_are_paid_as_the_seats_were() public {
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(100 * VCN);
        Auditor[] memory auditors = _opened();
        _nothingWrong();
        audits.close(caseId);
        uint256 seat = settlement.bookOf(court.seatsOf(caseId)[0].node).rewards;
        assertGt(seat, 0);
        assertEq(settlement.bookOf(auditors[0].node).rewards, seat);
    }

    function test_a_seat_that_two_auditors_catch_loses_a_twentieth() public {
        _opened();
        Seat[] memory seats = court.seatsOf(caseId);
        _find([uint256(2), 2, 0], [uint16(10_000), 10_000, 10_000]);
        vm.expectEmit(address(audits));
        emit IAudits.AuditEnded(caseId, 2, false);
        audits.close(caseId);
        assertEq(_stakeOf(seats[1].node), SEAT_STAKE - SEAT_STAKE / 20);
        assertEq(_penaltyOf(seats[1].node), 50);
        assertEq(_stakeOf(seats[0].node), SEAT_STAKE);
        assertEq(_stakeOf(seats[2].node), SEAT_STAKE);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Passed), "the node has done nothing wrong");
    }

    /// @dev One case in twenty is audited: forty times the pay is twice what a seat has for twenty cases.
    function test_never_to_look_costs_twice_the_pay_however_dear_the_batch() public {
        node = registered("a rich node", 60_000 * VCN);
        one = client("a rich client", 40_000 * VCN);
        openLane(one, node.id, 40_000 * VCN);
        bench(6);
        keep(submitted(one, node.id, 0, 20, 20_000 * VCN));
        caseId = convened(node.id, 0, contents());
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        sealAudit(caseId, true);
        _convene();
        uint256 pay = audits.auditOf(caseId).due / 3;
        assertGt(pay * 40, SEAT_STAKE / 20);
        address seat = court.seatsOf(caseId)[0].node;
        _find([uint256(1), 1, 1], [uint16(10_000), 10_000, 10_000]);
        audits.close(caseId);
        uint256 lost = SEAT_STAKE - _stakeOf(seat);
        // As fraud, at most; else rounded up to a basis point.
        if (pay * 40 >= SEAT_STAKE / 2) assertEq(lost, SEAT_STAKE / 2);
        else assertApproxEqAbs(lost, pay * 40, SEAT_STAKE / 10_000);
    }

    function test_one_auditor_catches_nobody() public {
        _opened();
        Seat[] memory seats = court.seatsOf(caseId);
        _find([uint256(1), 2, 4], [uint16(0), 10_000, 0]);
        audits.close(caseId);
        for (uint256 i; i < 3; ++i) {
            assertEq(_stakeOf(seats[i].node), SEAT_STAKE);
        }
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Passed));
    }

    function test_all_three_seats_may_be_caught() public {
        _opened();
        Seat[] memory seats = court.seatsOf(caseId);
        _find([uint256(7), 7, type(uint256).max], [uint16(10_000), 10_000, 10_000]);
        audits.close(caseId);
        for (uint256 i; i < 3; ++i) {
            assertEq(_stakeOf(seats[i].node), SEAT_STAKE - SEAT_STAKE / 20);
        }
    }

    function test_a_seat_that_was_silent_is_not_caught() public {
        openCase(8);
        commitSeat(caseId, 1);
        commitSeat(caseId, 2);
        waitFor(profile.seatSeconds);
        address silent = court.seatsOf(caseId)[0].node;
        court.replaceSeat(caseId, 0, contents());
        uint256 left = _stakeOf(silent);
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        sealAudit(caseId, true);
        _convene();
        _find([uint256(9), 9, 9], [uint16(10_000), 10_000, 10_000]);
        vm.expectEmit(address(audits));
        emit IAudits.AuditEnded(caseId, 8, false);
        audits.close(caseId);
        assertEq(_stakeOf(silent), left);
    }

    /// @dev So a seat that sat in both rounds is never audited: it sits again only if no other verifier was left.
    function test_where_all_have_sat_nobody_is_left_to_audit() public {
        openCase(7);
        truth = 9_000;
        sit();
        resolve();
        truth = 10_000;
        sit();
        assertVerdict(resolve(), Verdict.Pass);
        assertEq(court.seatsOf(caseId).length, 10);
        for (uint256 i; i < 3; ++i) {
            verifier(string.concat("late ", vm.toString(i)));
        }
        sealAudit(caseId, true);
        vm.expectRevert(abi.encodeWithSelector(IAudits.TooFewAuditors.selector, 0));
        audits.convene(node.id, 0, contents());
    }

    function test_all_three_auditors_condemn_a_fraud_that_had_passed() public {
        Auditor[] memory auditors = _opened();
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(100 * VCN);
        Seat[] memory seats = court.seatsOf(caseId);
        _find([uint256(7), 7, 7], [uint16(8_500), 0, 8_500]);
        vm.expectEmit(address(audits));
        emit IAudits.AuditEnded(caseId, 7, true);
        audits.close(caseId);
        assertEq(uint8(court.caseOf(caseId).verdict), uint8(Verdict.Severe));
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(uint8(shown.state), uint8(NodeState.Jailed));
        assertEq(shown.activeStake, STAKE / 2);
        assertEq(shown.penaltyTenths, 300);
        for (uint256 i; i < 3; ++i) {
            assertEq(_stakeOf(seats[i].node), SEAT_STAKE - SEAT_STAKE / 20);
            assertGt(settlement.bookOf(auditors[i].node).rewards, 0);
        }
        settlement.refund(node.id, 0, contents());
    }

    function test_a_doubt_of_one_auditor_saves_the_node() public {
        _opened();
        _find([uint256(7), 7, 7], [uint16(8_500), 8_501, 0]);
        audits.close(caseId);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Passed));
        assertEq(_stakeOf(node.id), STAKE);
    }

    function test_who_was_shown_nothing_does_not_judge_the_node() public {
        _opened();
        Seat[] memory seats = court.seatsOf(caseId);
        _find([uint256(7), 7, 7], [nothing, 0, nothing]);
        audits.close(caseId);
        assertEq(_stakeOf(node.id), STAKE);
        assertEq(_stakeOf(seats[0].node), SEAT_STAKE - SEAT_STAKE / 20, "nothing stands behind its digest");
    }

    function test_two_auditors_alone_condemn_no_node() public {
        _opened();
        _commit(0, 1, 0);
        _commit(1, 1, 0);
        pass(profile.seatSeconds + 1);
        _reveal(0, 1, 0);
        _reveal(1, 1, 0);
        pass(profile.seatSeconds);
        address seat = court.seatsOf(caseId)[0].node;
        audits.close(caseId);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Passed));
        assertEq(_stakeOf(seat), SEAT_STAKE - SEAT_STAKE / 20, "two are enough for a seat");
    }

    function test_a_silent_auditor_is_fined_as_a_silent_seat() public {
        Auditor[] memory auditors = _opened();
        _commit(0, 0, 10_000);
        _commit(1, 0, 10_000);
        pass(profile.seatSeconds + 1);
        _reveal(0, 0, 10_000);
        uint256 until = audits.auditOf(caseId).since + 2 * profile.seatSeconds;
        vm.expectRevert(abi.encodeWithSelector(IAudits.TurnNotOver.selector, until));
        audits.close(caseId);
        vm.warp(until + 1);
        audits.close(caseId);
        assertEq(_stakeOf(auditors[0].node), SEAT_STAKE);
        assertGt(settlement.bookOf(auditors[0].node).rewards, 0);
        for (uint256 i = 1; i < 3; ++i) {
            assertEq(_stakeOf(auditors[i].node), SEAT_STAKE - SEAT_STAKE / 200, "0.5%");
            assertEq(_penaltyOf(auditors[i].node), 50);
            assertEq(settlement.bookOf(auditors[i].node).rewards, 0);
        }
    }

    function test_where_no_auditor_could_commit_none_is_fined_and_the_batch_goes_on() public {
        Auditor[] memory auditors = _opened();
        pass(2 * profile.seatSeconds + 1);
        uint256 pool = settlement.pool();
        audits.close(caseId);
        for (uint256 i; i < 3; ++i) {
            assertEq(_stakeOf(auditors[i].node), SEAT_STAKE);
        }
        assertEq(settlement.pool(), pool);
        settlement.finalize(node.id, 0);
    }

    function test_shadow_mode_takes_nothing_of_a_seat_for_its_projections() public {
        Profile memory shadow = Profiles.load(vm, "local");
        shadow.slashBps = 0;
        deploy(shadow);
        node = registered("node in the shadow", STAKE);
        one = client("client in the shadow", 1_000 * VCN);
        openLane(one, node.id, 500 * VCN);
        bench(6, "shadow");
        keep(submitted(one, node.id, 0, 2, 40 * VCN));
        caseId = convened(node.id, 0, contents());
        sit();
        resolve();
        sealAudit(caseId, true);
        _convene();
        Seat[] memory seats = court.seatsOf(caseId);
        _find([uint256(7), 7, 7], [uint16(10_000), 10_000, 10_000]);
        audits.close(caseId);
        assertEq(_stakeOf(seats[0].node), SEAT_STAKE);
        assertEq(_penaltyOf(seats[0].node), 50);
    }

    // ---- what else may happen to the batch meanwhile

    function test_a_batch_that_is_final_stays_so_and_its_seats_answer() public {
        _passed();
        sealAudit(caseId, true);
        settlement.finalize(node.id, 0);
        _convene();
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Final));
        Seat[] memory seats = court.seatsOf(caseId);
        _find([uint256(7), 7, 7], [uint16(0), 0, 0]);
        audits.close(caseId);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Final));
        assertEq(_stakeOf(node.id), STAKE);
        for (uint256 i; i < 3; ++i) {
            assertEq(_stakeOf(seats[i].node), SEAT_STAKE - SEAT_STAKE / 20);
        }
    }

    function test_an_audit_never_touches_the_next_batch_of_its_slot() public {
        _passed();
        sealAudit(caseId, true);
        settlement.finalize(node.id, 0);
        _convene();
        submitted(one, node.id, 0, 1, 1 ether);
        _find([uint256(0), 0, 0], [uint16(0), 0, 0]);
        audits.close(caseId);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Pending));
        assertEq(_stakeOf(node.id), STAKE);
    }

    /// @dev Nor when that one is being audited, too.
    function test_two_audits_of_one_slot_do_not_meet() public {
        _passed();
        sealAudit(caseId, true);
        settlement.finalize(node.id, 0);
        _convene();
        bytes32 first = caseId;
        keep(submitted(one, node.id, 0, 2, 40 * VCN));
        caseId = convened(node.id, 0, contents());
        sit();
        resolve();
        sealAudit(caseId, true);
        _convene();
        vm.warp(audits.auditOf(first).since + 2 * profile.seatSeconds + 1);
        audits.close(first);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Audited));
    }

    function test_what_code_proves_during_an_audit_is_proven() public {
        _opened();
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(100 * VCN);
        vm.prank(address(fraudProofs));
        court.condemn(node.id, 0);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
        uint256 left = _stakeOf(node.id);
        _find([uint256(0), 0, 0], [uint16(0), 0, 0]);
        audits.close(caseId);
        assertEq(_stakeOf(node.id), left, "one slash a case");
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
    }

    function test_auditors_are_paid_no_more_than_the_pool_holds() public {
        _opened();
        uint128 pool = settlement.pool();
        assertLt(pool, audits.auditOf(caseId).due);
        _nothingWrong();
        audits.close(caseId);
        assertLt(settlement.pool(), 3);
    }

    // ---- who may do what

    function test_only_audits_fines_holds_and_pays() public {
        _passed();
        address[] memory noAuditors;
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotFraudProofs.selector, address(this)));
        court.fine(node.id, 500, caseId);
        vm.prank(address(fraudProofs));
        vm.expectRevert(abi.encodeWithSelector(ICourt.NotFraudProofs.selector, address(fraudProofs)));
        court.fine(node.id, 500, caseId);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotHolder.selector, address(this)));
        settlement.openAudit(node.id, 0, 2);
        vm.prank(address(court));
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotHolder.selector, address(court)));
        settlement.closeAudit(node.id, 0, caseId, 1, noAuditors);
    }

    function test_no_audit_of_what_was_never_convened() public {
        assertEq(audits.auditorsOf(caseId).length, 0);
        Audit memory none_ = audits.auditOf(caseId);
        assertEq(none_.since, 0);
        vm.expectRevert(abi.encodeWithSelector(IAudits.NoSuchAudit.selector, bytes32(0)));
        audits.close(0);
        vm.expectRevert(abi.encodeWithSelector(IAudits.NotPassed.selector, bytes32(0)));
        audits.isDrawn(0);
    }

    function test_a_state_of_an_auditor_is_shown() public {
        _opened();
        _commit(0, 5, 9_000);
        Auditor memory shown = audits.auditorsOf(caseId)[0];
        assertEq(uint8(shown.state), uint8(SeatState.Committed));
        assertEq(shown.off, 0, "hidden until it reveals");
        _commit(1, 0, 10_000);
        _commit(2, 0, 10_000);
        _reveal(0, 5, 9_000);
        shown = audits.auditorsOf(caseId)[0];
        assertEq(shown.off, 5);
        assertEq(shown.score, 9_000);
    }
}
