// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The middle of what seats say, scores or log-likelihood ratios, in whatever order they say it.
library MedianLib {
    /// @notice Puts one more number among the first `count`, which ascend and go on ascending; there are at most a few seats.
    function insert(int256[] memory ascending, uint256 count, int256 more) internal pure {
        uint256 place = count;
        for (; place != 0 && ascending[place - 1] > more; --place) {
            ascending[place] = ascending[place - 1];
        }
        ascending[place] = more;
    }

    /// @notice The middle one; of an even number the lower of the two in the middle: against the node where it is a score, for
    ///         it where it is a ratio. 0 of none.
    function medianOf(int256[] memory ascending) internal pure returns (int256) {
        return ascending.length == 0 ? int256(0) : ascending[(ascending.length - 1) / 2];
    }
}
