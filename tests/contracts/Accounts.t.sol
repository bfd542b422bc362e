// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {SignerGrant} from "../../contracts/types/BatchTypes.sol";
import {Permit} from "../../contracts/types/NodeTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice deposit, depositFor, depositWithPermit, withdraw, setSigner, fundPool.
contract AccountsTest is Fixture {
    address private owner;
    uint256 private key;

    function setUp() public override {
        super.setUp();
        (owner, key) = makeAddrAndKey("owner");
        coin.transfer(owner, 1_000 * VCN);
        vm.startPrank(owner);
        coin.approve(address(settlement), 1_000 * VCN);
    }

    function test_deposit_adds_to_free() public {
        vm.expectEmit(address(settlement));
        emit ISettlement.Deposited(owner, owner, 10 * VCN, 10 * VCN);
        settlement.deposit(10 * VCN);
        settlement.deposit(20 * VCN);
        assertEq(settlement.accountOf(owner), 30 * VCN);
        assertEq(coin.balanceOf(address(settlement)), 30 * VCN);
    }

    function test_deposit_has_a_minimum() public {
        vm.expectRevert(
            abi.encodeWithSelector(ISettlement.DepositTooLow.selector, profile.minDeposit - 1, profile.minDeposit)
        );
        settlement.deposit(profile.minDeposit - 1);
        settlement.deposit(profile.minDeposit);
    }

    function test_deposit_for_another() public {
        vm.expectEmit(address(settlement));
        emit ISettlement.Deposited(address(9), owner, 10 * VCN, 10 * VCN);
        settlement.depositFor(address(9), 10 * VCN);
        assertEq(settlement.accountOf(address(9)), 10 * VCN);
        assertEq(settlement.accountOf(owner), 0);
        vm.expectRevert(ISettlement.ZeroAddress.selector);
        settlement.depositFor(address(0), 10 * VCN);
    }

    function test_deposit_with_permit_even_if_it_was_sent_ahead() public {
        coin.approve(address(settlement), 0);
        Permit memory permit = _permit(10 * VCN);
        settlement.depositWithPermit(10 * VCN, permit);
        assertEq(settlement.accountOf(owner), 10 * VCN);
        permit = _permit(10 * VCN);
        coin.permit(owner, address(settlement), 10 * VCN, permit.deadline, permit.v, permit.r, permit.s);
        settlement.depositWithPermit(10 * VCN, permit);
        assertEq(settlement.accountOf(owner), 20 * VCN);
    }

    function test_withdraw_is_at_once() public {
        settlement.deposit(10 * VCN);
        vm.expectEmit(address(settlement));
        emit ISettlement.Withdrawn(owner, 4 * VCN, 6 * VCN);
        settlement.withdraw(4 * VCN);
        assertEq(coin.balanceOf(owner), 994 * VCN);
    }

    function test_withdraw_no_more_than_free() public {
        settlement.deposit(10 * VCN);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotEnoughFree.selector, 10 * VCN + 1, 10 * VCN));
        settlement.withdraw(10 * VCN + 1);
        vm.expectRevert(ISettlement.ZeroAmount.selector);
        settlement.withdraw(0);
    }

    function test_a_donation_credits_nobody() public {
        settlement.deposit(10 * VCN);
        coin.transfer(address(settlement), 5 * VCN);
        assertEq(settlement.accountOf(owner), 10 * VCN);
        assertEq(settlement.pool(), 0);
    }

    function test_set_signer_replaces_the_grant() public {
        vm.expectEmit(address(settlement));
        emit ISettlement.SignerSet(owner, address(7), 5, 6);
        settlement.setSigner(address(7), 5, 6);
        settlement.setSigner(address(7), 8, 9);
        SignerGrant memory grant = settlement.signerOf(owner, address(7));
        assertEq(grant.budget, 8);
        assertEq(grant.expiry, 9);
        vm.expectRevert(ISettlement.ZeroAddress.selector);
        settlement.setSigner(address(0), 8, 9);
    }

    function test_anyone_funds_the_pool() public {
        vm.expectEmit(address(settlement));
        emit ISettlement.PoolFunded(owner, 3);
        settlement.fundPool(3);
        settlement.fundPool(4);
        assertEq(settlement.pool(), 7);
        assertEq(coin.balanceOf(address(settlement)), 7);
        vm.expectRevert(ISettlement.ZeroAmount.selector);
        settlement.fundPool(0);
    }

    function test_only_stake_manager_credits_the_pool() public {
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotStakeManager.selector, owner));
        settlement.creditPool(1);
    }

    function _permit(uint96 amount) private view returns (Permit memory) {
        bytes32 message = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                owner,
                address(settlement),
                uint256(amount),
                coin.nonces(owner),
                vm.getBlockTimestamp()
            )
        );
        (uint8 v, bytes32 r, bytes32 s) =
            vm.sign(key, keccak256(abi.encodePacked(hex"1901", coin.DOMAIN_SEPARATOR(), message)));
        return Permit(vm.getBlockTimestamp(), v, r, s);
    }
}
