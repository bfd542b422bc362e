// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {SplitLib} from "../../contracts/libraries/SplitLib.sol";
import {BatchState, Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice claim, flushBurn and what seats are paid.
contract PayoutsTest is Fixture {
    Node private node;
    Node[] private verifiers;
    Client private one;

    function setUp() public override {
        super.setUp();
        Node[] memory made = bench(3);
        for (uint256 i; i < 3; ++i) {
            verifiers.push(made[i]);
        }
        node = registered("node", 10_000 * VCN);
        one = client("client", 1_000 * VCN);
        openLane(one, node.id, 1_000 * VCN);
    }

    function _earned() private view returns (uint96 total) {
        for (uint256 i; i < 3; ++i) {
            total += settlement.bookOf(verifiers[i].id).rewards;
        }
    }

    /// @dev A case of three seats over a batch with a fee of 1 VCN.
    function _judged(uint16 score) private {
        Contents memory contents = submitted(one, node.id, 0, 2, 20 * VCN);
        bytes32 caseId = convened(node.id, 0, contents);
        judge(caseId, three(score, score, score));
        court.resolve(caseId, contents);
    }

    /// @dev The same, convened by the batch's own node.
    function _conveneItself(uint16 score) private {
        Contents memory contents = submitted(one, node.id, 0, 2, 20 * VCN);
        seal(node.id, 0);
        vm.prank(node.id);
        bytes32 caseId = court.convene(node.id, 0, contents);
        judge(caseId, three(score, score, score));
        court.resolve(caseId, contents);
    }

    function test_claim_pays_the_payout_address_whoever_asks() public {
        vm.prank(node.owner);
        stakes.setPayout(node.id, address(7));
        pass(profile.timelockSeconds);
        stakes.confirmPayout(node.id);
        Contents memory contents = submitted(one, node.id, 0, 1, 10 * VCN);
        passInCourt(node.id, 0, contents);
        finish(node.id, 0);
        vm.prank(address(9));
        vm.expectEmit(address(settlement));
        emit ISettlement.RewardClaimed(node.id, address(7), 6.525 ether);
        assertEq(settlement.claim(node.id), 6.525 ether);
        assertEq(coin.balanceOf(address(7)), 6.525 ether);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NothingToClaim.selector, node.id));
        settlement.claim(node.id);
    }

    function test_flush_burns_what_was_set_aside() public {
        Contents memory contents = submitted(one, node.id, 0, 1, 10 * VCN);
        passInCourt(node.id, 0, contents);
        finish(node.id, 0);
        uint256 supply = coin.totalSupply();
        vm.expectEmit(address(settlement));
        emit ISettlement.Burned(1 * VCN);
        assertEq(settlement.flushBurn(), 1 * VCN);
        assertEq(coin.totalSupply(), supply - 1 * VCN);
        vm.expectRevert(ISettlement.ZeroAmount.selector);
        settlement.flushBurn();
    }

    function test_seats_share_the_fee_over_the_rate() public {
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(100 * VCN);
        _judged(10_000);
        assertEq(_earned(), uint96(0.8 ether) / 3 * 3);
        assertEq(settlement.accountOf(address(this)), 0.2 ether, "a fifth is for who convened");
        assertEq(settlement.pool(), 101 * VCN - 0.2 ether - _earned());
    }

    function test_a_node_that_convenes_earns_it_as_a_reward() public {
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(100 * VCN);
        _conveneItself(10_000);
        assertEq(settlement.bookOf(node.id).rewards, 0, "not before the batch is final");
        vm.expectEmit(address(settlement));
        emit ISettlement.ConvenerPaid(settlement.batchIdOf(node.id, 0), node.id, 0.2 ether);
        finish(node.id, 0);
        (, uint96 reward,) = SplitLib.split(20 * VCN, settlement.batchOf(node.id, 0).scoreHundredths);
        assertEq(settlement.bookOf(node.id).rewards, reward + 0.2 ether);
        assertEq(settlement.accountOf(node.id), 0);
        assertEq(_earned(), uint96(0.8 ether) / 3 * 3, "the seats share what is left");
    }

    function test_a_node_that_convenes_anothers_batch_earns_it_at_once() public {
        coin.approve(address(settlement), 1 * VCN);
        settlement.fundPool(1 * VCN);
        Contents memory contents = submitted(one, node.id, 0, 2, 20 * VCN);
        seal(node.id, 0);
        vm.prank(verifiers[0].id);
        court.convene(node.id, 0, contents);
        assertEq(settlement.bookOf(verifiers[0].id).rewards, 0.2 ether);
        assertEq(settlement.pool(), 0.8 ether);
    }

    function test_a_node_that_convenes_is_paid_for_a_void_batch_too() public {
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(100 * VCN);
        _conveneItself(9_000);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Void));
        assertEq(settlement.bookOf(node.id).rewards, 0.2 ether);
    }

    function test_a_pool_that_is_empty_at_the_end_owes_a_node_nothing() public {
        _conveneItself(9_000);
        assertEq(settlement.bookOf(node.id).rewards, 0);
        assertEq(settlement.pool(), 0);
    }

    function test_who_convened_is_paid_whatever_the_verdict() public {
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(100 * VCN);
        _judged(9_000);
        assertEq(settlement.accountOf(address(this)), 0.2 ether);
        settlement.withdraw(0.2 ether);
    }

    function test_the_first_twentieth_of_a_coin_is_the_seats() public {
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(100 * VCN);
        submittedAndConvened(0, 1 * VCN);
        assertEq(settlement.accountOf(address(this)), 0, "0.05 VCN: all of it is theirs");
        submittedAndConvened(1, 1.2 ether);
        assertEq(settlement.accountOf(address(this)), 0.01 ether, "0.06 VCN: what is above");
        submittedAndConvened(2, 1.25 ether);
        assertEq(settlement.accountOf(address(this)), 0.0225 ether, "0.0625 VCN: a fifth from here on");
    }

    function submittedAndConvened(uint8 slot, uint96 charge) private {
        Contents memory contents = submitted(one, node.id, slot, 1, charge);
        convened(node.id, slot, contents);
    }

    function test_a_pool_that_cannot_pay_who_convenes_leaves_all_to_the_seats() public {
        coin.approve(address(settlement), 1 * VCN);
        settlement.fundPool(0.2 ether - 1);
        _judged(10_000);
        assertEq(settlement.accountOf(address(this)), 0);
        assertEq(_earned(), uint96(1 * VCN) / 3 * 3);
    }

    function test_seats_earn_the_same_for_every_verdict() public {
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(100 * VCN);
        uint256 state = vm.snapshotState();
        uint96[4] memory paid;
        uint16[4] memory scores = [uint16(9_501), 9_500, 8_500, 0];
        for (uint256 i; i < 4; ++i) {
            _judged(scores[i]);
            paid[i] = _earned();
            vm.revertToState(state);
        }
        assertEq(paid[0], uint96(0.8 ether) / 3 * 3);
        assertEq(paid[1], paid[0]);
        assertEq(paid[2], paid[0]);
        assertEq(paid[3], paid[0]);
    }

    /// @dev Drawn at a tenth; a fifth of the fee of 1 VCN is for the account that convened it, which is no seat.
    function _earnedByBatch(uint16 leaves, uint256 drawn) private returns (uint96) {
        graduate(node);
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(100 * VCN);
        uint96 before = _earned();
        Contents memory contents = submitted(one, node.id, 0, leaves, 20 * VCN);
        sealDrawing(node.id, 0, 1_000, drawn);
        passInCourt(node.id, 0, contents);
        return _earned() - before;
    }

    function test_one_leaf_of_two_drawn_at_a_tenth_pays_five_fees() public {
        assertApproxEqAbs(_earnedByBatch(2, 1), 5 * VCN - VCN / 5, 3);
    }

    /// @notice Trade with oneself in batches that are always drawn: expected end: the seats have what the client paid for them.
    function test_attack_a_batch_that_is_always_drawn_empties_the_pool() public {
        assertApproxEqAbs(_earnedByBatch(20, 2), 4 * VCN / 5, 3);
    }

    function test_an_empty_pool_pays_no_more_than_it_holds() public {
        _judged(9_000);
        assertEq(_earned(), 0, "a review refunds the fee, and the pool was empty");
        assertEq(settlement.pool(), 0);
    }

    function test_the_pools_share_of_a_slash_pays_the_seats() public {
        _judged(0);
        assertEq(_earned(), uint96(1 * VCN) / 3 * 3);
        assertEq(settlement.pool(), 500 * VCN - _earned());
    }
}
