// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ILiveness} from "../../contracts/interfaces/ILiveness.sol";
import {INodeTerms} from "../../contracts/interfaces/INodeTerms.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";

import {Fixture} from "./Fixture.sol";

/// @notice challengeLiveness, answerLiveness, missLiveness.
contract ChallengesTest is Fixture {
    uint96 private bond;
    Node private node;
    Node private ann;
    Node private bob;

    function setUp() public override {
        super.setUp();
        bond = profile.minDeposit;
        node = registered("node", 5_000 * VCN);
        ann = registered("ann", 5_000 * VCN);
        bob = registered("bob", 5_000 * VCN);
        fundOwner(node, 100 * VCN);
        fundOwner(ann, 100 * VCN);
        fundOwner(bob, 100 * VCN);
    }

    function _challenge(Node memory by) private {
        vm.prank(by.owner);
        stakes.challengeLiveness(node.id, by.id);
    }

    function _answer(Node memory by) private {
        vm.prank(node.id);
        stakes.answerLiveness(node.id, by.owner);
    }

    /// @dev Challenges and lets the five minutes pass.
    function _missed(Node memory by) private {
        _challenge(by);
        pass(5 minutes + 1);
        stakes.missLiveness(node.id, by.owner);
    }

    function _days() private view returns (uint16) {
        return stakes.nodeOf(node.id).checkInDays;
    }

    function test_an_answer_in_time_earns_the_bond() public {
        uint40 answerBy = uint40(vm.getBlockTimestamp()) + 5 minutes;
        vm.expectEmit(address(stakes));
        emit ILiveness.LivenessChallenged(node.id, ann.owner, answerBy);
        _challenge(ann);
        assertEq(coin.balanceOf(ann.owner), 100 * VCN - bond);
        pass(5 minutes);
        vm.expectEmit(address(stakes));
        emit ILiveness.LivenessAnswered(node.id, ann.owner);
        _answer(ann);
        assertEq(coin.balanceOf(node.owner), 100 * VCN + bond, "to the payout");
        assertEq(coin.balanceOf(node.id), 0, "not to the operator key");
        assertEq(coin.balanceOf(address(stakes)), 15_000 * VCN);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ILiveness.NotChallenged.selector, node.id, ann.owner));
        stakes.answerLiveness(node.id, ann.owner);
    }

    function test_a_late_answer_is_a_miss_and_the_bond_goes_back() public {
        uint40 answerBy = uint40(vm.getBlockTimestamp()) + 5 minutes;
        _challenge(ann);
        pass(5 minutes);
        vm.expectRevert(abi.encodeWithSelector(INodeTerms.NotYet.selector, answerBy));
        stakes.missLiveness(node.id, ann.owner);
        pass(1);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ILiveness.AnswerTooLate.selector, answerBy));
        stakes.answerLiveness(node.id, ann.owner);
        vm.expectEmit(address(stakes));
        emit ILiveness.LivenessMissed(node.id, ann.owner, false);
        stakes.missLiveness(node.id, ann.owner);
        assertEq(coin.balanceOf(ann.owner), 100 * VCN);
        vm.expectRevert(abi.encodeWithSelector(ILiveness.NotChallenged.selector, node.id, ann.owner));
        stakes.missLiveness(node.id, ann.owner);
    }

    function test_two_misses_take_the_day_back_and_draw_three_jobs() public {
        bench(3);
        graduate(node);
        assertEq(_days(), 1, "a settled batch is a sign");
        _missed(ann);
        assertEq(_days(), 1, "one miss is nothing");
        assertEq(stakes.nodeOf(node.id).samplesLeft, 0);
        pass(5 minutes);
        _challenge(bob);
        pass(5 minutes + 1);
        vm.expectEmit(address(stakes));
        emit ILiveness.LivenessMissed(node.id, bob.owner, true);
        stakes.missLiveness(node.id, bob.owner);
        assertEq(_days(), 0);
        assertEq(stakes.nodeOf(node.id).samplesLeft, 3);
        assertEq(stakes.nodeOf(node.id).rateBps, 10_000);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.SameDay.selector, today()));
        stakes.checkIn(node.id);
    }

    function test_probation_is_not_shortened() public {
        _missed(ann);
        pass(10 minutes);
        _missed(bob);
        assertEq(stakes.nodeOf(node.id).samplesLeft, 20);
        assertEq(_days(), 0);
    }

    /// @notice Harassment: one owner alone, at once or again and again, takes nothing, and pays for each answer.
    function test_attack_harassment_by_one_owner() public {
        vm.prank(node.id);
        stakes.checkIn(node.id);
        _missed(ann);
        pass(10 minutes);
        _missed(ann);
        assertEq(_days(), 1, "two misses of one owner");
        _challenge(ann);
        vm.prank(ann.owner);
        vm.expectRevert(abi.encodeWithSelector(ILiveness.AlreadyChallenged.selector, node.id, ann.owner));
        stakes.challengeLiveness(node.id, ann.id);
        for (uint256 i; i < 3; ++i) {
            if (i != 0) _challenge(ann);
            _answer(ann);
        }
        assertEq(coin.balanceOf(ann.owner), 100 * VCN - 3 * bond);
        assertEq(coin.balanceOf(node.owner), 100 * VCN + 3 * bond);
    }

    /// @notice Harassment by two at the same moment: misses count ten minutes apart.
    function test_attack_two_owners_in_the_same_minutes() public {
        vm.prank(node.id);
        stakes.checkIn(node.id);
        _challenge(ann);
        pass(9 minutes);
        _challenge(bob);
        pass(5 minutes + 1);
        stakes.missLiveness(node.id, ann.owner);
        stakes.missLiveness(node.id, bob.owner);
        assertEq(_days(), 1);
    }

    /// @dev Misses of different outages, a day apart, do not add up.
    function test_an_old_miss_does_not_count() public {
        _missed(ann);
        pass(1 days);
        vm.prank(node.id);
        stakes.checkIn(node.id);
        _missed(bob);
        assertEq(_days(), 1);
    }

    /// @notice Outage of a node: the worst that challenges do is one day and three drawn jobs; no stake is lost by them.
    function test_attack_challenges_during_an_outage_take_no_stake() public {
        for (uint256 i; i < 3; ++i) {
            if (i != 0) pass(1 days);
            vm.prank(node.id);
            stakes.checkIn(node.id);
        }
        for (uint256 i; i < 4; ++i) {
            _missed(i % 2 == 0 ? ann : bob);
            pass(10 minutes);
        }
        assertEq(_days(), 2, "a day is taken back once");
        assertEq(stakes.nodeOf(node.id).activeStake, 5_000 * VCN);
        assertEq(coin.balanceOf(ann.owner) + coin.balanceOf(bob.owner), 200 * VCN, "no account earned anything");
        pass(1 days);
        vm.prank(node.id);
        stakes.checkIn(node.id);
        assertEq(_days(), 3, "and the next one counts");
        _missed(ann);
        pass(10 minutes);
        _missed(bob);
        assertEq(_days(), 2);
    }

    function test_only_owners_of_active_nodes_ask_and_not_their_own() public {
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(ILiveness.OwnChallenge.selector, node.id));
        stakes.challengeLiveness(node.id, node.id);
        vm.prank(address(9));
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotOwner.selector, ann.id, address(9)));
        stakes.challengeLiveness(node.id, ann.id);
        vm.prank(ann.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.UnknownNode.selector, address(9)));
        stakes.challengeLiveness(address(9), ann.id);
        vm.prank(address(court));
        stakes.jail(ann.id, 0);
        vm.prank(ann.owner);
        vm.expectRevert(abi.encodeWithSelector(ILiveness.NotActive.selector, ann.id));
        stakes.challengeLiveness(node.id, ann.id);
        vm.prank(bob.owner);
        vm.expectRevert(abi.encodeWithSelector(ILiveness.NotActive.selector, ann.id));
        stakes.challengeLiveness(ann.id, bob.id);
    }

    function test_only_the_operator_answers() public {
        _challenge(ann);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotOperator.selector, node.id, node.owner));
        stakes.answerLiveness(node.id, ann.owner);
    }

    function test_no_bond_no_challenge() public {
        vm.prank(ann.owner);
        coin.transfer(address(1), 100 * VCN);
        vm.prank(ann.owner);
        vm.expectRevert();
        stakes.challengeLiveness(node.id, ann.id);
    }

    /// @dev Whatever becomes of the node meanwhile, the bond has a way out.
    function test_a_bond_is_never_stuck() public {
        _challenge(ann);
        vm.prank(node.owner);
        stakes.unbond(node.id, 5_000 * VCN);
        pass(profile.unbondingSeconds);
        vm.prank(node.owner);
        stakes.withdraw(node.id);
        stakes.missLiveness(node.id, ann.owner);
        assertEq(coin.balanceOf(ann.owner), 100 * VCN);
    }
}
