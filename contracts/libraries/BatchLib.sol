// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Batch, BatchState, Book} from "../types/BatchTypes.sol";

/// @notice Reads and writes batches and books a word at once.
/// @dev By hand: the compiler would read and write every member, seven a word.
library BatchLib {
    /// @notice A batch without the hash of its contents, which only courts and refunds ask for.
    function read(Batch storage stored) internal view returns (Batch memory batch) {
        uint256 money;
        uint256 rest;
        assembly ("memory-safe") {
            money := sload(stored.slot)
            rest := sload(add(stored.slot, 1))
        }
        batch.charge = uint96(money);
        batch.bonus = uint96(money >> 96);
        batch.responseMs = uint48(money >> 192);
        batch.scoreHundredths = uint16(money >> 240);
        batch.fee = uint96(rest);
        batch.leafCount = uint16(rest >> 96);
        batch.okCount = uint16(rest >> 112);
        batch.failedCount = uint16(rest >> 128);
        batch.commitBlock = uint40(rest >> 144);
        batch.commitTime = uint40(rest >> 184);
        batch.classId = uint8(rest >> 224);
        batch.ratePercent = uint8(rest >> 232);
        batch.state = BatchState(uint8(rest >> 240));
        batch.flags = uint8(rest >> 248);
    }

    /// @notice Writes a batch over whatever its slot held.
    function write(Batch storage stored, Batch memory batch) internal {
        uint256 money = uint256(batch.charge) | uint256(batch.bonus) << 96 | uint256(batch.responseMs) << 192
            | uint256(batch.scoreHundredths) << 240;
        uint256 rest = uint256(batch.fee) | uint256(batch.leafCount) << 96 | uint256(batch.okCount) << 112
            | uint256(batch.failedCount) << 128 | uint256(batch.commitBlock) << 144 | uint256(batch.commitTime) << 184
            | uint256(batch.classId) << 224 | uint256(batch.ratePercent) << 232 | uint256(batch.state) << 240
            | uint256(batch.flags) << 248;
        assembly ("memory-safe") {
            sstore(stored.slot, money)
            sstore(add(stored.slot, 1), rest)
        }
        stored.contentsHash = batch.contentsHash;
    }

    function read(Book storage stored) internal view returns (Book memory book) {
        uint256 word;
        assembly ("memory-safe") {
            word := sload(stored.slot)
        }
        book.rewards = uint96(word);
        book.openValue = uint96(word >> 96);
        book.openBatches = uint16(word >> 192);
        book.accusations = uint16(word >> 208);
        book.jailed = uint8(word >> 224) != 0;
    }

    function write(Book storage stored, Book memory book) internal {
        uint256 word = uint256(book.rewards) | uint256(book.openValue) << 96 | uint256(book.openBatches) << 192
            | uint256(book.accusations) << 208 | (book.jailed ? 1 << 224 : 0);
        assembly ("memory-safe") {
            sstore(stored.slot, word)
        }
    }
}
