// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice A contract that loses its money, so that an analysis that looks at nothing is noticed.
contract Faulty {
    mapping(address who => uint256) private _held;

    receive() external payable {
        _held[msg.sender] += msg.value;
    }

    function drain() external {
        (bool sent,) = msg.sender.call{value: _held[msg.sender]}("");
        if (sent) _held[msg.sender] = 0;
    }
}
