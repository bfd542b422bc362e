// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IERC20Metadata} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Metadata.sol";
import {IERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/IERC20Permit.sol";

/// @notice The coin of the network: a fixed supply that only ever shrinks. No owner, no mint, no pause.
interface IVCoin is IERC20Metadata, IERC20Permit {
    /// @notice Destroys `amount` wei of the caller's coins.
    function burn(uint256 amount) external;

    /// @notice Destroys `amount` wei of `account`'s coins out of the caller's allowance.
    function burnFrom(address account, uint256 amount) external;

    /// @notice Coins in existence at the start, in wei: 1e9 VCN.
    function INITIAL_SUPPLY() external view returns (uint256);
}
