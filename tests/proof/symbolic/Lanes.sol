// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Lane, LaneLib} from "../../../contracts/libraries/LaneLib.sol";

/// @notice A lane is one word, and no change of one part of it touches another.
contract Lanes {
    function _is(Lane lane, uint256 left, uint256 mark, uint256 closeAt, uint256 jobs) private pure {
        assert(lane.left() == left && lane.mark() == mark);
        assert(lane.closeAt() == closeAt && lane.jobs() == jobs);
    }

    function prove_a_lane_unpacks_to_what_was_packed(uint96 left, uint96 mark, uint40 closeAt, uint24 jobs)
        external
        pure
    {
        _is(LaneLib.pack(left, mark, closeAt, jobs), left, mark, closeAt, jobs);
    }

    function prove_every_word_is_a_lane(uint256 word) external pure {
        Lane lane = Lane.wrap(word);
        assert(Lane.unwrap(LaneLib.pack(lane.left(), lane.mark(), lane.closeAt(), lane.jobs())) == word);
    }

    function prove_a_top_up_adds_and_opens(uint256 word, uint96 amount) external pure {
        Lane lane = Lane.wrap(word);
        if (uint256(lane.left()) + amount > type(uint96).max) return;
        _is(lane.topUp(amount), uint256(lane.left()) + amount, lane.mark(), 0, lane.jobs());
    }

    function prove_giving_back_only_adds(uint256 word, uint96 amount) external pure {
        Lane lane = Lane.wrap(word);
        if (uint256(lane.left()) + amount > type(uint96).max) return;
        _is(lane.giveBack(amount), uint256(lane.left()) + amount, lane.mark(), lane.closeAt(), lane.jobs());
    }

    function prove_a_claim_takes_its_debit(uint256 word, uint96 debit, uint96 cumulative, uint24 index) external pure {
        Lane lane = Lane.wrap(word);
        if (debit > lane.left()) return;
        _is(lane.settle(debit, cumulative, index), lane.left() - debit, cumulative, lane.closeAt(), index);
    }

    function prove_closing_moves_no_money(uint256 word, uint40 closeAt) external pure {
        Lane lane = Lane.wrap(word);
        _is(lane.close(closeAt), lane.left(), lane.mark(), closeAt, lane.jobs());
    }

    function prove_a_reclaimed_lane_is_empty_and_keeps_its_total(uint256 word) external pure {
        Lane lane = Lane.wrap(word);
        uint256 total = lane.total();
        if (total > type(uint96).max) return;
        _is(lane.reclaim(), 0, total, LaneLib.RECLAIMED, lane.jobs());
    }
}
