// This contract is deployed.
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

/// @notice The coin of the network: a fixed supply that only ever shrinks. No owner, no mint, no pause. See IVCoin.
contract VCoin is ERC20, ERC20Burnable, ERC20Permit {
    /// @notice Coins in existence at the start, in wei: below 2^96, so every amount fits 12 bytes.
    uint256 public constant INITIAL_SUPPLY = 1e9 * 1e18;

    /// @param holder gets the whole supply
    constructor(address holder) ERC20("VCoin", "VCN") ERC20Permit("VCoin") {
        _mint(holder, INITIAL_SUPPLY);
    }
}
