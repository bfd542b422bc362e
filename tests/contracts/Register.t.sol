// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {NodeState, NodeView, Permit} from "../../contracts/types/NodeTypes.sol";

import {Fixture} from "./Fixture.sol";

contract RegisterTest is Fixture {
    uint96 private constant AMOUNT = 10_000 * VCN;
    Node private node;

    function setUp() public override {
        super.setUp();
        node = makeNode("node");
        fundOwner(node, AMOUNT);
    }

    function _register(uint96 amount, uint32 classMask) private {
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(node, node.owner, deadline);
        vm.prank(node.owner);
        stakes.register(node.id, address(0), amount, classMask, deadline, consent);
    }

    function test_a_fresh_node_at_recommended_stake_has_45_points() public {
        vm.expectEmit(address(stakes));
        emit IStakeManager.NodeRegistered(node.id, node.owner, node.id, node.owner, 6, AMOUNT);
        _register(AMOUNT, 6);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.owner, node.owner);
        assertEq(shown.operator, node.id);
        assertEq(shown.payout, node.owner);
        assertEq(uint8(shown.state), uint8(NodeState.Active));
        assertEq(shown.classMask, 6);
        assertEq(shown.activeStake, AMOUNT);
        assertEq(shown.scoreHundredths, 4_500);
        assertEq(shown.rateBps, 10_000);
        assertEq(shown.samplesLeft, 20);
        assertEq(shown.activatedDay, today());
        assertEq(coin.balanceOf(address(stakes)), AMOUNT);
    }

    function test_payout_may_be_named() public {
        address payout = makeAddr("payout");
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(node, node.owner, deadline);
        vm.prank(node.owner);
        stakes.register(node.id, payout, AMOUNT, 2, deadline, consent);
        assertEq(stakes.payoutOf(node.id), payout);
    }

    function test_minimum_stake_is_enough_and_less_is_not() public {
        vm.expectRevert(
            abi.encodeWithSelector(IStakeManager.StakeTooLow.selector, profile.minStake - 1, profile.minStake)
        );
        this.callRegister(profile.minStake - 1, 2);
        _register(profile.minStake, 2);
        assertEq(stakes.nodeOf(node.id).activeStake, profile.minStake);
    }

    function callRegister(uint96 amount, uint32 classMask) external {
        _register(amount, classMask);
    }

    function test_once_per_operator() public {
        _register(profile.minStake, 2);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NodeExists.selector, node.id));
        this.callRegister(profile.minStake, 2);
    }

    function test_classes_must_exist() public {
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.BadClasses.selector, 8));
        this.callRegister(AMOUNT, 8);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.BadClasses.selector, 0));
        this.callRegister(AMOUNT, 0);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.BadClasses.selector, 1));
        this.callRegister(AMOUNT, 1);
    }

    function test_consent_is_for_one_owner() public {
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(node, makeAddr("other owner"), deadline);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.BadConsent.selector, node.id));
        stakes.register(node.id, address(0), AMOUNT, 2, deadline, consent);
    }

    function test_consent_is_for_this_contract() public {
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes32 message = keccak256("not a consent");
        bytes memory consent = signature(node.key, digestFor(address(settlement), message));
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.BadConsent.selector, node.id));
        stakes.register(node.id, address(0), AMOUNT, 2, deadline, consent);
    }

    function test_nobody_registers_a_foreign_operator() public {
        Node memory thief = makeNode("thief");
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(thief, node.owner, deadline);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.BadConsent.selector, node.id));
        stakes.register(node.id, address(0), AMOUNT, 2, deadline, consent);
    }

    function test_consent_expires() public {
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(node, node.owner, deadline);
        pass(1);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.ConsentExpired.selector, deadline));
        stakes.register(node.id, address(0), AMOUNT, 2, deadline, consent);
    }

    function test_zero_operator() public {
        vm.expectRevert(IStakeManager.ZeroAddress.selector);
        stakes.register(address(0), address(0), AMOUNT, 2, uint40(vm.getBlockTimestamp()), new bytes(65));
    }

    function test_garbage_consent() public {
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.BadConsent.selector, node.id));
        stakes.register(node.id, address(0), AMOUNT, 2, uint40(vm.getBlockTimestamp()), new bytes(65));
    }

    function test_permit_replaces_the_allowance() public {
        (address owner, uint256 key) = makeAddrAndKey("owner with a key");
        coin.transfer(owner, AMOUNT);
        uint40 deadline = uint40(vm.getBlockTimestamp());
        Permit memory permit = _permit(owner, key, AMOUNT);
        bytes memory consent = consentOf(node, owner, deadline);
        vm.prank(owner);
        stakes.registerWithPermit(node.id, address(0), AMOUNT, 2, deadline, consent, permit);
        assertEq(stakes.nodeOf(node.id).owner, owner);
    }

    function test_a_permit_sent_ahead_by_another_does_no_harm() public {
        (address owner, uint256 key) = makeAddrAndKey("owner with a key");
        coin.transfer(owner, AMOUNT);
        uint40 deadline = uint40(vm.getBlockTimestamp());
        Permit memory permit = _permit(owner, key, AMOUNT);
        coin.permit(owner, address(stakes), AMOUNT, permit.deadline, permit.v, permit.r, permit.s);
        bytes memory consent = consentOf(node, owner, deadline);
        vm.prank(owner);
        stakes.registerWithPermit(node.id, address(0), AMOUNT, 2, deadline, consent, permit);
        assertEq(stakes.nodeOf(node.id).activeStake, AMOUNT);
    }

    function test_unknown_node_shows_zeros() public view {
        assertEq(uint8(stakes.nodeOf(address(1)).state), uint8(NodeState.None));
        assertEq(stakes.nodeOf(address(1)).scoreHundredths, 0);
        (address owner, address operator) = stakes.keysOf(address(1));
        assertEq(owner, address(0));
        assertEq(operator, address(0));
    }

    function test_standing_and_score_of_an_unknown_node() public {
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.UnknownNode.selector, address(1)));
        stakes.admissionOf(address(1));
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.UnknownNode.selector, address(1)));
        stakes.scoreOf(address(1));
    }

    function _permit(address owner, uint256 key, uint96 amount) private view returns (Permit memory) {
        bytes32 message = keccak256(
            abi.encode(
                keccak256("Permit(address owner,address spender,uint256 value,uint256 nonce,uint256 deadline)"),
                owner,
                address(stakes),
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
