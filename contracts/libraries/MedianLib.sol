// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The middle of scores, in any order.
library MedianLib {
    function medianOf(uint16 a, uint16 b, uint16 c) internal pure returns (uint16) {
        if (a > b) (a, b) = (b, a);
        if (c <= a) return a;
        return c >= b ? b : c;
    }

    /// @notice The middle one; of an even number the lower of the two in the middle, against the node. 0 of none.
    function medianOf(uint16[] memory scores) internal pure returns (uint16) {
        if (scores.length == 3) return medianOf(scores[0], scores[1], scores[2]);
        return scores.length == 0 ? 0 : _sorted(scores)[(scores.length - 1) / 2];
    }

    /// @notice How far the highest score is above the lowest.
    function spreadOf(uint16[] memory scores) internal pure returns (uint16) {
        uint16 low = type(uint16).max;
        uint16 high;
        for (uint256 i; i < scores.length; ++i) {
            if (scores[i] < low) low = scores[i];
            if (scores[i] > high) high = scores[i];
        }
        return high < low ? 0 : high - low;
    }

    /// @dev A copy in ascending order; there are at most a few seats.
    function _sorted(uint16[] memory scores) private pure returns (uint16[] memory sorted) {
        sorted = new uint16[](scores.length);
        for (uint256 i; i < scores.length; ++i) {
            uint256 place = i;
            for (; place != 0 && sorted[place - 1] > scores[i]; --place) {
                sorted[place] = sorted[place - 1];
            }
            sorted[place] = scores[i];
        }
    }
}
