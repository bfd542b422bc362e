// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Contents} from "../types/BatchTypes.sol";

/// @notice The chain's record of a batch's contents: keccak256(abi.encode(contents)).
library ContentsLib {
    /// @notice The hash of contents that a caller gives again.
    /// @dev Hashed as they stand in the calldata, instead of being decoded and encoded anew. Only what is laid out as by
    ///      abi.encode has the hash of contents that were submitted: the word that says where the debits begin is hashed, too.
    function hashOf(Contents calldata contents) internal pure returns (bytes32) {
        uint256 start;
        assembly ("memory-safe") {
            start := contents
        }
        // The root, the largest leaf, where the debits begin, how many there are; then five words each.
        uint256 size = 128 + 160 * contents.debits.length;
        return keccak256(abi.encodePacked(uint256(32), msg.data[start:start + size]));
    }
}
