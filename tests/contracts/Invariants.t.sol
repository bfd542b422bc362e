// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {StdInvariant} from "forge-std/StdInvariant.sol";
import {Test} from "forge-std/Test.sol";

import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {IVCoin} from "../../contracts/interfaces/IVCoin.sol";
import {Book} from "../../contracts/types/BatchTypes.sol";
import {NodeView} from "../../contracts/types/NodeTypes.sol";

import {Handler} from "./Handler.sol";

/// @notice The handler with its parts in reach.
contract OpenHandler is Handler {
    function coin_() external view returns (IVCoin) {
        return coin;
    }

    function stakes_() external view returns (IStakeManager) {
        return stakes;
    }

    function settlement_() external view returns (ISettlement) {
        return settlement;
    }
}

/// @notice What holds after anything that anyone does in any order.
contract InvariantsTest is StdInvariant, Test {
    OpenHandler private handler;
    IVCoin private coin;
    IStakeManager private stakes;
    ISettlement private settlement;

    function setUp() public {
        handler = new OpenHandler();
        handler.setUp();
        coin = handler.coin_();
        stakes = handler.stakes_();
        settlement = handler.settlement_();
        targetContract(address(handler));
        bytes4[] memory acts = new bytes4[](34);
        acts[0] = Handler.deposit.selector;
        acts[1] = Handler.withdraw.selector;
        acts[2] = Handler.topUpLane.selector;
        acts[3] = Handler.closeLane.selector;
        acts[4] = Handler.reclaimLane.selector;
        acts[5] = Handler.submitBatch.selector;
        acts[6] = Handler.finalizeBatch.selector;
        acts[7] = Handler.refundBatch.selector;
        acts[8] = Handler.moveStake.selector;
        acts[9] = Handler.checkIn.selector;
        acts[10] = Handler.claimRewards.selector;
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
        acts[23] = Handler.comeBack.selector;
        // Twice as likely: everything else needs a batch to work on.
        acts[24] = Handler.submitBatch.selector;
        acts[25] = Handler.judgeBatch.selector;
        acts[26] = Handler.submitJob.selector;
        acts[27] = Handler.proveFraud.selector;
        acts[28] = Handler.proveFraud.selector;
        acts[29] = Handler.openSingle.selector;
        acts[30] = Handler.stepSingle.selector;
        acts[31] = Handler.stepSingle.selector;
        acts[32] = Handler.challenge.selector;
        acts[33] = Handler.endChallenge.selector;
        targetSelector(FuzzSelector(address(handler), acts));
    }

    /// @notice Every coin is in a book, every book's coins are there, and nothing that was called went wrong.
    function invariant_books_and_balances_agree() public {
        uint256 lanes = handler.lanesHold();
        assertEq(handler.wrong(), "");
        assertEq(coin.balanceOf(address(stakes)), _stakeBooks(), "stakes");
        assertEq(
            coin.balanceOf(address(settlement)),
            _accounts() + lanes + handler.batchesHold() + _rewards() + settlement.pool() + settlement.burnPending()
                + handler.singlesHold() + handler.bondsHold(),
            "settlement"
        );
        assertEq(coin.totalSupply() + handler.burned(), coin.INITIAL_SUPPLY(), "supply");
        _assertNodes();
    }

    function _stakeBooks() private view returns (uint256 total) {
        for (uint256 i; i < handler.nodeCount(); ++i) {
            (address id,,) = handler.nodes(i);
            NodeView memory shown = stakes.nodeOf(id);
            total += uint256(shown.activeStake) + shown.unbondingStake;
        }
    }

    function _accounts() private view returns (uint256 total) {
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
        handler.settleBatch(0, 1);
        assertEq(handler.refunds(), 1);
        assertEq(handler.slashes(), 1);
        handler.submitJob(2, 2, 0, 1e18, false);
        handler.judgeBatch(0, true, 0, 0, 0);
        handler.proveFraud(2, 2);
        assertEq(handler.condemned(), 1);
        assertEq(handler.slashes(), 2);
        handler.refundBatch(8, false);
        assertEq(handler.refunds(), 2);
        handler.openSingle(0, 1, 1e18, "first");
        handler.openSingle(0, 2, 2e18, "second");
        handler.stepSingle(0, true, 0, 0);
        handler.stepSingle(0, true, 1e18, 0);
        assertEq(handler.settledSingles(), 1);
        assertGt(handler.singlesHold(), 2e18);
        handler.stepSingle(0, false, 0, 0);
        assertEq(handler.singlesHold(), 0);
        handler.submitBatch(0, 2, 0, 3, 3e18, 4);
        handler.challenge(2);
        assertGt(handler.bondsHold(), 0);
        handler.judgeBatch(2, true, 0, 0, 0);
        handler.settleBatch(2, 0);
        handler.endChallenge(0);
        assertEq(handler.bondsHold(), 0);
        assertEq(handler.wrong(), "");
    }
}
