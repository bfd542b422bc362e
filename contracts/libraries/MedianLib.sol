// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The middle of three scores, in any order.
library MedianLib {
    function medianOf(uint16 a, uint16 b, uint16 c) internal pure returns (uint16) {
        if (a > b) (a, b) = (b, a);
        if (c <= a) return a;
        return c >= b ? b : c;
    }
}
