// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {LaneState, LaneView} from "../types/BatchTypes.sol";

/// @notice A lane in one word: left 96 | mark 96 | closeAt 40 | jobs 24, lowest bits first.
type Lane is uint256;

using LaneLib for Lane global;

/// @notice Packs and reads lanes. Packed by hand: the compiler would store such a struct field by field, a tenth of a claim's gas.
library LaneLib {
    /// @dev closeAt of a lane whose money went back; refunds then go to the account.
    uint40 internal constant RECLAIMED = type(uint40).max;

    /// @notice The key of a client's lane to one node, driven by one signer.
    function key(address client, address signer, address node) internal pure returns (bytes32) {
        return keccak256(abi.encode(client, signer, node));
    }

    function pack(uint96 left_, uint96 mark_, uint40 closeAt_, uint24 jobs_) internal pure returns (Lane) {
        return Lane.wrap(uint256(left_) | (uint256(mark_) << 96) | (uint256(closeAt_) << 192) | (uint256(jobs_) << 232));
    }

    function left(Lane lane) internal pure returns (uint96) {
        return uint96(Lane.unwrap(lane));
    }

    function mark(Lane lane) internal pure returns (uint96) {
        return uint96(Lane.unwrap(lane) >> 96);
    }

    function closeAt(Lane lane) internal pure returns (uint40) {
        return uint40(Lane.unwrap(lane) >> 192);
    }

    function jobs(Lane lane) internal pure returns (uint24) {
        return uint24(Lane.unwrap(lane) >> 232);
    }

    /// @notice left + mark: what LaneOpen names as prevTotal. It never falls, so each message counts once.
    function total(Lane lane) internal pure returns (uint256) {
        return uint256(lane.left()) + lane.mark();
    }

    function stateOf(Lane lane) internal pure returns (LaneState) {
        if (Lane.unwrap(lane) == 0) return LaneState.None;
        if (lane.closeAt() == 0) return LaneState.Open;
        return lane.closeAt() == RECLAIMED ? LaneState.Reclaimed : LaneState.Closing;
    }

    /// @notice The lane with `amount` more in it, open again.
    function topUp(Lane lane, uint96 amount) internal pure returns (Lane) {
        return pack(lane.left() + amount, lane.mark(), 0, lane.jobs());
    }

    /// @notice The lane with `amount` more in it, open or closing as it was.
    function giveBack(Lane lane, uint96 amount) internal pure returns (Lane) {
        return pack(lane.left() + amount, lane.mark(), lane.closeAt(), lane.jobs());
    }

    /// @notice The lane after a claim.
    function settle(Lane lane, uint96 debit, uint96 cumulative, uint24 index) internal pure returns (Lane) {
        return pack(lane.left() - debit, cumulative, lane.closeAt(), index);
    }

    /// @notice The lane with its clock running.
    function close(Lane lane, uint40 closesAt) internal pure returns (Lane) {
        return pack(lane.left(), lane.mark(), closesAt, lane.jobs());
    }

    /// @notice The lane after its money went back.
    /// @dev The mark rises by what was left, so that left + mark stays: no old LaneOpen counts again, and assignments
    ///      signed against the money that is gone can never be claimed from money that comes later.
    function reclaim(Lane lane) internal pure returns (Lane) {
        uint256 raised = lane.total();
        uint96 ceiling = type(uint96).max;
        return pack(0, raised > ceiling ? ceiling : uint96(raised), RECLAIMED, lane.jobs());
    }

    function toView(Lane lane) internal pure returns (LaneView memory) {
        uint40 closing = lane.closeAt() == RECLAIMED ? 0 : lane.closeAt();
        return LaneView(lane.left(), lane.mark(), closing, lane.jobs(), lane.stateOf());
    }
}
