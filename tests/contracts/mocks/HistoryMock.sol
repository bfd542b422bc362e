// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Stands in for EIP-2935's history contract on chains that lack it: 32 bytes in, 32 bytes out, else a revert.
contract HistoryMock {
    error Forgotten();

    mapping(uint256 blockNumber => bytes32) private _hashes;

    function remember(uint256 blockNumber, bytes32 hash) external {
        _hashes[blockNumber] = hash;
    }

    fallback(bytes calldata input) external returns (bytes memory) {
        bytes32 hash = _hashes[abi.decode(input, (uint256))];
        if (hash == 0) revert Forgotten();
        return abi.encode(hash);
    }
}
