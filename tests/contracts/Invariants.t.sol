// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {StdInvariant} from "forge-std/StdInvariant.sol";
import {Test} from "forge-std/Test.sol";

import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {IVCoin} from "../../contracts/interfaces/IVCoin.sol";
import {Book} from "../../contracts/types/BatchTypes.sol";
import {NodeState, NodeView} from "../../contracts/types/NodeTypes.sol";

import {Handler} from "./Handler.sol";
import {Scrutiny} from "./Scrutiny.sol";
import {Stakers} from "./Stakers.sol";
import {Trials} from "./Trials.sol";

/// @notice The handler with its parts in reach.
contract OpenHandler is Trials {
    function coin_() external view returns (IVCoin) {
        return coin;
    }

    function stakes_() external view returns (IStakeManager) {
        return stakes;
    }

    function court_() external view returns (ICourt) {
        return court;
    }

    function bond() external view returns (uint256) {
        return profile.minDeposit;
    }

    function settlement_() external view returns (ISettlement) {
        return settlement;
    }
}

/// @notice What holds after anything that anyone does in any order.
contract InvariantsTest is StdInvariant, Test {
    /// @dev Less than a wei for each move of a share.
    uint256 private constant DUST = 1_000;

    OpenHandler private handler;
    IVCoin private coin;
    IStakeManager private stakes;
    ISettlement private settlement;

    function setUp() public {
        handler = new OpenHandler();
        handler.setUp();
        coin = handler.coin_();
        handler.endProbation(0);
        stakes = handler.stakes_();
        settlement = handler.settlement_();
        targetContract(address(handler));
        bytes4[] memory acts = new bytes4[](59);
        acts[0] = Handler.deposit.selector;
        acts[1] = Handler.withdraw.selector;
        acts[2] = Handler.topUpLane.selector;
        acts[3] = Handler.closeLane.selector;
        acts[4] = Handler.reclaimLane.selector;
        acts[5] = Handler.submitBatch.selector;
        acts[6] = Handler.finalizeBatch.selector;
        acts[7] = Handler.refundBatch.selector;
        acts[8] = Stakers.moveStake.selector;
        acts[9] = Stakers.checkIn.selector;
        acts[10] = Stakers.claimRewards.selector;
        acts[11] = Handler.sealBatch.selector;
        acts[12] = Handler.conveneBatch.selector;
        acts[13] = Handler.actOnSeat.selector;
        acts[14] = Handler.resolveCase.selector;
        acts[15] = Handler.voidStarved.selector;
        acts[16] = Handler.judgeBatch.selector;
        acts[17] = Handler.settleBatch.selector;
        acts[18] = Handler.step.selector;
        acts[19] = Handler.aDay.selector;
        acts[20] = Handler.flush.selector;
        acts[21] = Handler.steal.selector;
        acts[22] = Handler.donate.selector;
        acts[23] = Stakers.comeBack.selector;
        // Twice as likely: everything else needs a batch to work on.
        acts[24] = Handler.submitBatch.selector;
        acts[25] = Handler.judgeBatch.selector;
        acts[26] = Stakers.moveDelegation.selector;
        acts[27] = Stakers.moveDelegation.selector;
        acts[28] = Stakers.claimShare.selector;
        acts[29] = Stakers.changeTerms.selector;
        acts[31] = Stakers.penalize.selector;
        acts[37] = Stakers.challenge.selector;
        acts[38] = Stakers.endChallenge.selector;
        acts[30] = Stakers.claimRewards.selector;
        acts[32] = Handler.brake.selector;
        acts[33] = Handler.appealCase.selector;
        acts[34] = Handler.voteOnCase.selector;
        acts[35] = Handler.appealCase.selector;
        acts[36] = Handler.resolveCase.selector;
        acts[39] = Handler.demandData.selector;
        acts[40] = Handler.demandData.selector;
        acts[41] = Handler.submitJob.selector;
        acts[42] = Handler.proveFraud.selector;
        acts[43] = Handler.proveFraud.selector;
        acts[44] = Scrutiny.auditBatch.selector;
        acts[45] = Trials.follow.selector;
        acts[46] = Handler.nameJudges.selector;
        acts[47] = Handler.challengeLeaf.selector;
        acts[48] = Handler.endLeafChallenge.selector;
        acts[49] = Trials.reorg.selector;
        acts[50] = Trials.resubmit.selector;
        acts[51] = Trials.forge.selector;
        acts[52] = Trials.revoke.selector;
        acts[53] = Trials.openBySigner.selector;
        acts[54] = Trials.wash.selector;
        acts[55] = Trials.speakUnbound.selector;
        acts[56] = Trials.overload.selector;
        acts[57] = Trials.rush.selector;
        acts[58] = Scrutiny.auditBatch.selector;
        targetSelector(FuzzSelector(address(handler), acts));
    }

    /// @notice Every coin is in a book, every book's coins are there, and nothing that was called went wrong.
    function invariant_books_and_balances_agree() public {
        uint256 lanes = handler.lanesHold();
        handler.stakesHold();
        assertEq(handler.wrong(), "");
        assertEq(coin.balanceOf(address(stakes)), _stakeBooks(), "stakes");
        assertEq(coin.balanceOf(address(handler.court_())), handler.bondsHeld(), "bonds");
        assertEq(
            coin.balanceOf(address(settlement)),
            _accounts() + lanes + handler.batchesHold() + _rewards() + settlement.pool() + settlement.burnPending()
                + handler.bondsHold(),
            "settlement"
        );
        assertEq(coin.totalSupply() + handler.burned(), coin.INITIAL_SUPPLY(), "supply");
        _assertNodes();
    }

    /// @notice Whatever has happened, sixty days later every batch ends and everybody leaves, under a pause as well; what stays
    ///         is the pool, what others than nodes earned by convening, and roundings.
    function afterInvariant() public {
        handler.everybodyLeaves();
        assertEq(handler.wrong(), "");
        assertEq(coin.balanceOf(address(handler.court_())), 0, "a bond is stuck");
        uint256 convened = settlement.accountOf(address(handler));
        assertEq(coin.balanceOf(address(settlement)), settlement.pool() + convened, "money is stuck in settlement");
        assertLe(coin.balanceOf(address(stakes)), DUST, "stake is stuck");
    }

    function _stakeBooks() private view returns (uint256 total) {
        total = handler.bonds() * handler.bond();
        for (uint256 i; i < handler.nodeCount(); ++i) {
            (address id,,) = handler.nodes(i);
            NodeView memory shown = stakes.nodeOf(id);
            total += uint256(shown.activeStake) + shown.unbondingStake + stakes.termsOf(id).rewardsHeld;
        }
    }

    function _accounts() private view returns (uint256 total) {
        // The convening account that is no node: the handler itself.
        total = settlement.accountOf(address(handler));
        for (uint256 i; i < handler.ACTORS(); ++i) {
            (address id,,,) = handler.clients(i);
            total += settlement.accountOf(id);
        }
    }

    function _rewards() private view returns (uint256 total) {
        for (uint256 i; i < handler.nodeCount(); ++i) {
            (address id,,) = handler.nodes(i);
            total += settlement.bookOf(id).rewards;
        }
    }

    function _assertNodes() private view {
        for (uint256 i; i < handler.ACTORS(); ++i) {
            (address id,,) = handler.nodes(i);
            Book memory book = settlement.bookOf(id);
            (uint256 value, uint256 count) = handler.openOf(id);
            assertEq(book.openValue, value, "open value");
            assertEq(book.openBatches, count, "open batches");
            NodeView memory shown = stakes.nodeOf(id);
            if (count != 0) assertEq(book.jailed, shown.state == NodeState.Jailed, "jailed");
            assertEq(book.accusations, handler.accusationsOf(id), "accusations");
            assertLe(shown.scoreHundredths, 10_000, "score");
            assertLe(shown.successes, shown.total, "successes");
            assertLe(shown.samplesLeft, 20, "samples left");
        }
    }
}

/// @notice The handler reaches what the invariants are about.
contract HandlerTest is Test {
    function test_a_story_reaches_every_end() public {
        Handler handler = new Handler();
        handler.setUp();
        handler.submitBatch(1, 0, 0, 3, 3e18, 0);
        handler.judgeBatch(0, true, 0, 0, 0);
        handler.settleBatch(0, 0);
        assertEq(handler.finals(), 1);
        handler.submitBatch(1, 0, 1, 3, 6e18, 0);
        handler.judgeBatch(0, true, 3, 3, 3);
        handler.appealCase(0, false);
        assertEq(handler.appeals(), 1);
        handler.judgeBatch(0, false, 3, 3, 3);
        handler.settleBatch(0, 1);
        assertEq(handler.refunds(), 1);
        assertEq(handler.slashes(), 1);
        handler.submitBatch(2, 0, 1, 3, 6e18, 0);
        handler.judgeBatch(0, true, 2, 2, 2);
        assertEq(handler.growths(), 1);
        handler.voteOnCase(0, 0, true);
        handler.voteOnCase(0, 1, true);
        handler.settleBatch(0, 0);
        assertEq(handler.finals(), 2);
        assertEq(handler.wrong(), "");
    }

    function test_a_node_that_names_its_judges_has_the_bench_it_would_have() public {
        Handler handler = new Handler();
        handler.setUp();
        handler.nameJudges(1, 0, 0);
        assertEq(handler.namings(), 1);
        handler.submitBatch(1, 0, 0, 3, 6e18, 0);
        handler.conveneBatch(3);
        assertEq(handler.wrong(), "");
    }

    function test_a_longer_story_ends_by_its_margins() public {
        Handler handler = new Handler();
        handler.setUp();
        uint256 batches;
        while (batches < 20) {
            handler.submitBatch(1, 0, 0, 3, 3e18, 0);
            handler.judgeBatch(0, true, 0, 0, 0);
            if (handler.alarms() != 0) break;
            handler.settleBatch(0, 0);
            ++batches;
        }
        assertEq(handler.alarms(), 1);
        assertEq(handler.finals(), batches);
        assertEq(handler.wrong(), "");
    }

    function test_a_story_with_stakers_reaches_every_end() public {
        Handler handler = new Handler();
        handler.setUp();
        handler.moveDelegation(0, 0, 3_000e18, 0);
        handler.moveDelegation(1, 0, 2_000e18, 0);
        assertEq(handler.delegations(), 2);
        handler.submitBatch(0, 0, 0, 3, 3e18, 0);
        handler.judgeBatch(0, true, 0, 0, 0);
        handler.settleBatch(0, 0);
        handler.claimRewards(0);
        assertEq(handler.shared(), 1);
        handler.claimShare(0, 0);
        handler.moveDelegation(1, 0, 1_000e18, 3);
        handler.submitBatch(0, 0, 1, 3, 6e18, 0);
        handler.judgeBatch(0, true, 3, 3, 3);
        handler.step(1, 60);
        handler.resolveCase(0);
        assertEq(handler.slashes(), 1);
        handler.aDay();
        handler.moveDelegation(1, 0, 0, 6);
        for (uint256 i; i < 8; ++i) {
            handler.aDay();
        }
        handler.challenge(1, 2);
        handler.challenge(2, 1);
        assertEq(handler.bonds(), 2);
        handler.endChallenge(1, 2, true);
        handler.aDay();
        handler.endChallenge(2, 1, false);
        assertEq(handler.bonds(), 0);
        handler.penalize(1);
        handler.checkIn(2);
        assertEq(handler.penalties(), 2);
        handler.stakesHold();
        assertEq(handler.wrong(), "");
    }

    function test_a_story_with_proofs_reaches_every_end() public {
        Handler handler = new Handler();
        handler.setUp();
        handler.endProbation(1);
        handler.submitJob(2, 2, 0, 1e18, false);
        handler.judgeBatch(0, true, 0, 0, 0);
        handler.proveFraud(2, 2);
        assertEq(handler.condemned(), 1);
        assertEq(handler.slashes(), 1);
        handler.refundBatch(8, false);
        assertEq(handler.refunds(), 1);
        handler.submitBatch(1, 2, 0, 3, 3e18, 0);
        handler.challengeLeaf(5);
        assertGt(handler.bondsHold(), 0);
        handler.judgeBatch(5, true, 0, 0, 0);
        handler.settleBatch(5, 0);
        handler.endLeafChallenge(0);
        assertEq(handler.bondsHold(), 0);
        assertEq(handler.wrong(), "");
    }

    function test_a_story_of_audits_reaches_every_end() public {
        Scrutiny handler = new Scrutiny();
        handler.setUp();
        _pass(handler, 0);
        handler.auditBatch(12, [0, 0, 0], [uint16(10_000), 10_000, 10_000], 0, false);
        assertEq(handler.audited(), 1);
        assertEq(handler.caught(), 0);
        handler.settleBatch(3, 0);
        assertEq(handler.finals(), 1);
        _pass(handler, 1);
        handler.auditBatch(4, [1, 1, 2], [uint16(10_000), 0, 0], 4, true);
        assertEq(handler.caught(), 2, "a seat and an auditor");
        assertEq(handler.finals(), 2);
        _pass(handler, 2);
        handler.auditBatch(14, [0, 0, 7], [uint16(0), 8_500, 0], 0, false);
        assertEq(handler.unmasked(), 1);
        assertEq(handler.slashes(), 1);
        assertEq(handler.wrong(), "");
    }

    function _pass(Scrutiny handler, uint8 slot) private {
        handler.submitBatch(1, slot, 0, 3, 3e18, 0);
        handler.judgeBatch(3 + slot, true, 0, 0, 0);
    }

    function test_a_story_of_trials_reaches_every_end() public {
        Trials trials = new Trials();
        trials.setUp();
        trials.submitBatch(0, 0, 0, 11, 11e18, 0);
        trials.reorg(0, keccak256("another branch"), 40);
        trials.resubmit(0, 0, 3, 0);
        trials.resubmit(0, 0, 3, 1);
        assertEq(trials.reorgs(), 3);
        trials.conveneBatch(0);
        trials.speakUnbound(0, 0, 10_000);
        for (uint8 kind; kind < 5; ++kind) {
            trials.forge(1, 1, kind);
        }
        assertEq(trials.forgeries(), 6);
        trials.openBySigner(0, 0, 2e18, 3e18, false);
        trials.openBySigner(0, 0, 4e18, 3e18, false);
        trials.openBySigner(0, 0, 2e18, 3e18, true);
        assertEq(trials.grants(), 1);
        trials.revoke(1, 0);
        assertEq(trials.revocations(), 1);
        trials.rush(0, 1);
        trials.overload(1, 1, true);
        trials.overload(1, 1, false);
        assertEq(trials.excesses(), 3);
        trials.wash(2, 2, 3, 3e18, false);
        trials.wash(2, 2, 3, 3e18, true);
        assertEq(trials.washes(), 2);
        trials.submitBatch(2, 0, 1, 3, 3e18, 1);
        trials.moveDelegation(0, 0, 3_000e18, 0);
        trials.everybodyLeaves();
        assertEq(trials.wrong(), "");
    }
}
