// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";

import {IVCoin} from "../../contracts/interfaces/IVCoin.sol";

contract VCoinTest is Test {
    IVCoin private coin;
    address private holder = makeAddr("holder");

    function setUp() public {
        coin = IVCoin(deployCode("VCoin.sol:VCoin", abi.encode(holder)));
    }

    function test_whole_supply_goes_to_the_holder() public view {
        assertEq(coin.totalSupply(), 1e27);
        assertEq(coin.balanceOf(holder), 1e27);
        assertLt(coin.INITIAL_SUPPLY(), type(uint96).max);
        assertEq(coin.symbol(), "VCN");
        assertEq(coin.decimals(), 18);
    }

    function test_needs_a_holder() public {
        bytes memory code = abi.encodePacked(vm.getCode("VCoin.sol:VCoin"), abi.encode(address(0)));
        address made;
        assembly {
            made := create(0, add(code, 32), mload(code))
        }
        assertEq(made, address(0));
    }

    function test_burn_lowers_the_supply() public {
        vm.prank(holder);
        coin.burn(3);
        assertEq(coin.totalSupply(), 1e27 - 3);
    }

    function test_permit_gives_an_allowance() public {
        (address owner, uint256 key) = makeAddrAndKey("owner");
        bytes32 message = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                owner,
                holder,
                7,
                0,
                block.timestamp
            )
        );
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked(hex"1901", coin.DOMAIN_SEPARATOR(), message)));
        coin.permit(owner, holder, 7, block.timestamp, v, r, s);
        assertEq(coin.allowance(owner, holder), 7);
    }
}
