// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IFraudProofs} from "../../contracts/interfaces/IFraudProofs.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {Leaf} from "../../contracts/libraries/SumTreeLib.sol";
import {BatchState, Claim, Contents} from "../../contracts/types/BatchTypes.sol";
import {FraudKind} from "../../contracts/types/FraudTypes.sol";

import {Papers} from "./Papers.sol";

/// @notice A client has a batch checked that would not have been drawn.
contract LeafChallengesTest is Papers {
    uint8 private constant AT = 5;
    Node private node;
    Client private one;

    function setUp() public override {
        super.setUp();
        bench(3);
        node = registered("node", 10_000 * VCN);
        graduate(node);
        one = client("client", 1_000 * VCN);
        openLane(one, node.id, 500 * VCN);
    }

    function _batch(uint16 leaves, uint96 charge) private returns (Contents memory) {
        return submitted(one, node.id, AT, leaves, charge);
    }

    function _challenge(Contents memory contents, uint256 position) private returns (uint96) {
        vm.prank(one.id);
        return fraudProofs.challengeLeaf(node.id, AT, contents, position);
    }

    function _refused(bytes memory refused, address caller, Contents memory contents, uint256 position) private {
        vm.prank(caller);
        vm.expectRevert(refused);
        fraudProofs.challengeLeaf(node.id, AT, contents, position);
    }

    function _id() private view returns (bytes32) {
        return settlement.batchIdOf(node.id, AT);
    }

    function _block() private view returns (uint256) {
        return settlement.batchOf(node.id, AT).commitBlock;
    }

    function _end(uint256 commitBlock) private {
        fraudProofs.endChallenge(node.id, AT, commitBlock);
    }

    function _judged(Contents memory contents, uint16 score) private {
        bytes32 caseId = convened(node.id, AT, contents);
        uint16[] memory scores = new uint16[](court.seatsOf(caseId).length);
        for (uint256 i; i < scores.length; ++i) {
            scores[i] = score;
        }
        judge(caseId, scores);
        court.resolve(caseId, contents);
    }

    // ---- what it does

    function test_a_challenged_batch_goes_to_court_with_all_its_leaves() public {
        Contents memory contents = _batch(3, 30 * VCN);
        vm.expectEmit(address(fraudProofs));
        emit IFraudProofs.LeafChallenged(_id(), node.id, one.id, AT, 2, 15 * VCN);
        assertEq(_challenge(contents, 2), 15 * VCN, "what the seats of a draw would have had");
        assertEq(settlement.accountOf(one.id), 485 * VCN);
        sealDrawing(node.id, AT, 1_000, 0);
        assertEq(settlement.sampledLeaves(node.id, AT).length, 3);
        pass(profile.challengeSeconds);
        vm.expectRevert(ISettlement.NeedsCourt.selector);
        settlement.finalize(node.id, AT);
    }

    function test_the_bond_is_at_least_the_least_deposit() public {
        assertEq(_challenge(_batch(1, VCN / 100), 0), 10 * VCN);
    }

    function test_a_batch_that_fails_gives_the_bond_back_and_the_debit() public {
        Contents memory contents = _batch(3, 30 * VCN);
        _challenge(contents, 0);
        _judged(contents, 0);
        _end(_block());
        settlement.refund(node.id, AT, contents);
        assertEq(settlement.accountOf(one.id), 500 * VCN);
        assertEq(settlement.laneOf(one.id, one.signer, node.id).left, 500 * VCN);
        assertEq(stakes.nodeOf(node.id).activeStake, 5_000 * VCN);
    }

    function test_a_batch_that_passes_costs_the_bond() public {
        Contents memory contents = _batch(3, 30 * VCN);
        _challenge(contents, 0);
        _judged(contents, 10_000);
        bytes32 batchId = _id();
        uint256 since = _block();
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.StillOpen.selector, BatchState.Passed));
        _end(since);
        finish(node.id, AT);
        uint256 pool = settlement.pool();
        vm.expectEmit(address(fraudProofs));
        emit IFraudProofs.ChallengeEnded(batchId, one.id, 15 * VCN, true);
        _end(since);
        assertEq(settlement.pool(), pool + 15 * VCN);
        assertEq(settlement.accountOf(one.id), 485 * VCN);
    }

    function test_a_doubtful_batch_gives_the_bond_back() public {
        Contents memory contents = _batch(3, 30 * VCN);
        _challenge(contents, 0);
        _judged(contents, 9_000);
        _end(_block());
        assertEq(settlement.accountOf(one.id), 500 * VCN);
    }

    function test_a_batch_that_nobody_judged_gives_the_bond_back() public {
        Contents memory contents = _batch(3, 30 * VCN);
        _challenge(contents, 0);
        seal(node.id, AT);
        pass(profile.starvedSeconds + 1);
        court.voidStarved(node.id, AT, contents);
        _end(_block());
        assertEq(settlement.accountOf(one.id), 500 * VCN);
    }

    function test_a_batch_that_is_condemned_after_it_passed_gives_the_bond_back() public {
        Job[] memory jobs = jobsOf(one, node.id, 1, 10 * VCN);
        settle(jobs[0], false);
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        vm.prank(one.id);
        fraudProofs.challengeLeaf(node.id, SLOT, contents, 0);
        passInCourt(node.id, SLOT, contents);
        fraudProofs.proveFraud(proofOf(node.id, contents, leaves, 0, FraudKind.NoReceipt, ""));
        fraudProofs.endChallenge(node.id, SLOT, settlement.batchOf(node.id, SLOT).commitBlock);
        assertEq(settlement.accountOf(one.id), 500 * VCN);
    }

    function test_a_bond_is_settled_when_the_slot_holds_another_batch() public {
        Contents memory contents = _batch(3, 30 * VCN);
        _challenge(contents, 0);
        _judged(contents, 10_000);
        finish(node.id, AT);
        uint256 passed = _block();
        mine(1);
        contents = _batch(3, 30 * VCN);
        _challenge(contents, 0);
        _judged(contents, 0);
        settlement.refund(node.id, AT, contents);
        uint256 failed = _block();
        assertEq(settlement.accountOf(one.id), 470 * VCN);
        vm.warp(stakes.nodeOf(node.id).jailedUntil);
        vm.prank(node.owner);
        stakes.unjail(node.id);
        mine(1);
        _batch(1, VCN);
        _end(passed);
        assertEq(settlement.accountOf(one.id), 470 * VCN, "it had passed");
        _end(failed);
        assertEq(settlement.accountOf(one.id), 485 * VCN, "it had not");
    }

    function test_a_bond_is_given_once() public {
        Contents memory contents = _batch(3, 30 * VCN);
        bytes32 batchId = _id();
        uint256 since = _block();
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.NoChallenge.selector, batchId));
        _end(since);
        _challenge(contents, 0);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.StillOpen.selector, BatchState.Pending));
        _end(since);
        _judged(contents, 0);
        _end(since);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.NoChallenge.selector, batchId));
        _end(since);
    }

    /// @dev Named by another slot, an open batch would look like one that is over, and spam would cost nothing.
    function test_a_bond_does_not_come_back_by_another_slot_or_block() public {
        Contents memory contents = _batch(3, 30 * VCN);
        _challenge(contents, 0);
        uint256 since = _block();
        bytes32 other = keccak256(abi.encode(node.id, AT + 1, since));
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.NoChallenge.selector, other));
        fraudProofs.endChallenge(node.id, AT + 1, since);
        other = keccak256(abi.encode(node.id, AT, since + 1));
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.NoChallenge.selector, other));
        _end(since + 1);
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.StillOpen.selector, BatchState.Pending));
        _end(since);
        assertEq(settlement.accountOf(one.id), 485 * VCN);
    }

    function test_a_signer_may_challenge_within_its_grant() public {
        vm.prank(one.id);
        settlement.setSigner(one.signer, 15 * VCN, uint40(vm.getBlockTimestamp()));
        Contents memory contents = _batch(3, 30 * VCN);
        vm.prank(one.signer);
        fraudProofs.challengeLeaf(node.id, AT, contents, 1);
        assertEq(settlement.signerOf(one.id, one.signer).budget, 0);
        (address challenger, uint96 bond) = fraudProofs.challengeOf(_id());
        assertEq(challenger, one.id);
        assertEq(bond, 15 * VCN);
    }

    // ---- what it does not

    function test_challenge_spam_costs_a_bond_each_and_never_a_second_check() public {
        for (uint256 i; i < 3; ++i) {
            Contents memory contents = _batch(2, VCN);
            _challenge(contents, 0);
            _refused(abi.encodeWithSelector(IFraudProofs.DrawnAnyway.selector, 2, 100), one.id, contents, 1);
            _judged(contents, 10_000);
            finish(node.id, AT);
            _end(_block());
            mine(1);
        }
        assertEq(settlement.accountOf(one.id), 470 * VCN);
        assertEq(stakes.nodeOf(node.id).penaltyTenths, 0, "an honest node loses nothing");
    }

    /// @dev Challenged by an accomplice or by the victim: the whole batch is checked either way, and the money moves on.
    function test_challenge_freeze_ends_with_the_case() public {
        Client memory friend = client("friend of the node", 100 * VCN);
        openLane(friend, node.id, 50 * VCN);
        Claim[] memory claims = new Claim[](2);
        claims[0] = claimOf(friend, node.id, 1, VCN, 0);
        claims[1] = claimOf(one, node.id, 1, VCN, 0);
        Contents memory contents = submit(submissionOf(node.id, AT, claims, 2), claims);
        vm.prank(friend.id);
        fraudProofs.challengeLeaf(node.id, AT, contents, 0);
        _refused(abi.encodeWithSelector(IFraudProofs.DrawnAnyway.selector, 2, 100), one.id, contents, 1);
        seal(node.id, AT);
        assertEq(settlement.sampledLeaves(node.id, AT).length, 2, "the victim's leaf as well");
        _judged(contents, 10_000);
        finish(node.id, AT);
        assertEq(uint8(stateOf(node.id, AT)), uint8(BatchState.Final));
    }

    function test_only_ones_own_leaf() public {
        Client memory two = client("second client", 100 * VCN);
        openLane(two, node.id, 50 * VCN);
        Claim[] memory claims = new Claim[](2);
        claims[0] = claimOf(one, node.id, 2, 2 * VCN, 0);
        claims[1] = claimOf(two, node.id, 1, VCN, 0);
        Contents memory contents = submit(submissionOf(node.id, AT, claims, 3), claims);
        _refused(abi.encodeWithSelector(IFraudProofs.NotOwnLeaf.selector, 2, one.id), one.id, contents, 2);
        _refused(abi.encodeWithSelector(IFraudProofs.NotOwnLeaf.selector, 1, two.id), two.id, contents, 1);
        _refused(abi.encodeWithSelector(IFraudProofs.NotOwnLeaf.selector, 0, node.id), node.id, contents, 0);
        _refused(abi.encodeWithSelector(IFraudProofs.PositionOutOfRange.selector, 3, 3), one.id, contents, 3);
        vm.prank(two.id);
        fraudProofs.challengeLeaf(node.id, AT, contents, 2);
    }

    function test_only_within_the_window() public {
        Contents memory contents = _batch(3, 30 * VCN);
        uint256 until = vm.getBlockTimestamp() + profile.challengeSeconds;
        vm.warp(until);
        _refused(abi.encodeWithSelector(IFraudProofs.WindowOver.selector, until), one.id, contents, 0);
        vm.warp(until - 1);
        _challenge(contents, 0);
    }

    function test_not_where_leaves_are_drawn_anyway() public {
        Contents memory contents = _batch(10, 30 * VCN);
        _refused(abi.encodeWithSelector(IFraudProofs.DrawnAnyway.selector, 10, 10), one.id, contents, 0);
    }

    function test_only_a_pending_batch_with_its_contents() public {
        Contents memory none;
        _refused(abi.encodeWithSelector(IFraudProofs.WrongState.selector, BatchState.None), one.id, none, 0);
        Contents memory contents = _batch(3, 30 * VCN);
        _refused(abi.encodeWithSelector(IFraudProofs.WrongContents.selector), one.id, none, 0);
        sealDrawing(node.id, AT, 1_000, 1);
        court.convene(node.id, AT, contents);
        _refused(abi.encodeWithSelector(IFraudProofs.WrongState.selector, BatchState.InCourt), one.id, contents, 0);
    }

    function test_not_without_the_money() public {
        Contents memory contents = _batch(3, 30 * VCN);
        vm.startPrank(one.id);
        settlement.withdraw(490 * VCN);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotEnoughFree.selector, 15 * VCN, 10 * VCN));
        fraudProofs.challengeLeaf(node.id, AT, contents, 0);
        vm.stopPrank();
        vm.prank(one.signer);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.SignerExpired.selector, one.signer, 0));
        fraudProofs.challengeLeaf(node.id, AT, contents, 0);
    }

    function test_only_the_contract_that_holds_bonds_may_move_them() public {
        address[2] memory others = [address(this), address(court)];
        for (uint256 i; i < others.length; ++i) {
            bytes memory refused = abi.encodeWithSelector(ISettlement.NotHolder.selector, others[i]);
            vm.startPrank(others[i]);
            vm.expectRevert(refused);
            settlement.drawAll(node.id, AT);
            vm.expectRevert(refused);
            settlement.hold(one.id, one.id, 1);
            vm.expectRevert(refused);
            settlement.release(one.id, 1);
            vm.stopPrank();
        }
        vm.prank(address(fraudProofs));
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.None));
        settlement.drawAll(node.id, AT);
    }
}
