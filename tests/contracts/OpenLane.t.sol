// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {WalletMock} from "./mocks/WalletMock.sol";
import {LaneState, LaneView} from "../../contracts/types/BatchTypes.sol";

import {Fixture} from "./Fixture.sol";

contract OpenLaneTest is Fixture {
    Node private node;
    Client private one;
    uint40 private deadline;

    function setUp() public override {
        super.setUp();
        node = registered("node", 10_000 * VCN);
        one = client("client", 100 * VCN);
        deadline = uint40(vm.getBlockTimestamp()) + 60;
    }

    function _signed(uint256 key, address signer, uint96 amount, uint128 prevTotal)
        private
        view
        returns (bytes memory)
    {
        bytes32 message = EnvelopeLib.laneOpenHash(one.id, signer, node.id, amount, prevTotal, deadline);
        return signature(key, digestFor(address(settlement), message));
    }

    function _open(uint96 amount, uint128 prevTotal, bytes memory signed) private {
        settlement.openLane(one.id, one.signer, node.id, amount, prevTotal, deadline, signed);
    }

    function _lane() private view returns (LaneView memory) {
        return settlement.laneOf(one.id, one.signer, node.id);
    }

    function _grant(uint96 budget, uint40 expiry) private {
        vm.prank(one.id);
        settlement.setSigner(one.signer, budget, expiry);
    }

    function test_the_client_itself_needs_no_signature() public {
        vm.prank(one.id);
        vm.expectEmit(address(settlement));
        emit ISettlement.LaneChanged(one.id, one.signer, node.id, 30 * VCN, 0, 0, 0);
        _open(30 * VCN, 0, "");
        assertEq(settlement.accountOf(one.id), 70 * VCN);
        assertEq(uint8(_lane().state), uint8(LaneState.Open));
    }

    function test_anyone_sends_what_the_client_signed() public {
        _open(30 * VCN, 0, _signed(one.key, one.signer, 30 * VCN, 0));
        assertEq(_lane().left, 30 * VCN);
    }

    function test_a_message_counts_once() public {
        bytes memory signed = _signed(one.key, one.signer, 30 * VCN, 0);
        _open(30 * VCN, 0, signed);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.LaneMoved.selector, 0, 30 * VCN));
        _open(30 * VCN, 0, signed);
        _open(30 * VCN, 30 * VCN, _signed(one.key, one.signer, 30 * VCN, 30 * VCN));
        assertEq(_lane().left, 60 * VCN);
    }

    function test_a_message_does_not_count_again_after_a_reclaim() public {
        bytes memory signed = _signed(one.key, one.signer, 30 * VCN, 0);
        _open(30 * VCN, 0, signed);
        vm.prank(one.id);
        settlement.closeLane(one.id, one.signer, node.id);
        pass(profile.laneCloseSeconds);
        settlement.reclaimLane(one.id, one.signer, node.id);
        deadline = uint40(vm.getBlockTimestamp()) + 60;
        vm.expectRevert(abi.encodeWithSelector(ISettlement.LaneMoved.selector, 0, 30 * VCN));
        _open(30 * VCN, 0, _signed(one.key, one.signer, 30 * VCN, 0));
    }

    function test_the_signer_within_its_grant() public {
        _grant(50 * VCN, uint40(vm.getBlockTimestamp()));
        _open(30 * VCN, 0, _signed(one.signerKey, one.signer, 30 * VCN, 0));
        assertEq(settlement.signerOf(one.id, one.signer).budget, 20 * VCN);
        bytes memory signed = _signed(one.signerKey, one.signer, 20 * VCN + 1, 30 * VCN);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.OverBudget.selector, 20 * VCN + 1, 20 * VCN));
        _open(20 * VCN + 1, 30 * VCN, signed);
    }

    function test_the_signer_without_a_grant_or_after_its_expiry() public {
        bytes memory signed = _signed(one.signerKey, one.signer, 30 * VCN, 0);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.SignerExpired.selector, one.signer, 0));
        _open(30 * VCN, 0, signed);
        uint40 expiry = uint40(vm.getBlockTimestamp());
        _grant(50 * VCN, expiry);
        pass(1);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.SignerExpired.selector, one.signer, expiry));
        _open(30 * VCN, 0, signed);
    }

    function test_a_stranger_does_not_open() public {
        (, uint256 thief) = makeAddrAndKey("thief");
        vm.expectRevert(abi.encodeWithSelector(ISettlement.BadLaneSignature.selector, one.id, one.signer));
        _open(30 * VCN, 0, _signed(thief, one.signer, 30 * VCN, 0));
        vm.expectRevert(abi.encodeWithSelector(ISettlement.BadLaneSignature.selector, one.id, one.signer));
        _open(30 * VCN, 0, "");
    }

    function test_another_amount_than_signed() public {
        bytes memory signed = _signed(one.key, one.signer, 30 * VCN, 0);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.BadLaneSignature.selector, one.id, one.signer));
        _open(31 * VCN, 0, signed);
    }

    function test_a_malleable_signature() public {
        bytes memory signed = _signed(one.key, one.signer, 30 * VCN, 0);
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        assembly {
            let s := mload(add(signed, 64))
            mstore(add(signed, 64), sub(order, s))
            mstore8(add(signed, 96), xor(byte(0, mload(add(signed, 96))), 7))
        }
        vm.expectRevert(abi.encodeWithSelector(ISettlement.BadLaneSignature.selector, one.id, one.signer));
        _open(30 * VCN, 0, signed);
    }

    function test_signatures_die_on_another_chain_and_contract() public {
        bytes memory signed = _signed(one.key, one.signer, 30 * VCN, 0);
        vm.chainId(5);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.BadLaneSignature.selector, one.id, one.signer));
        _open(30 * VCN, 0, signed);
        vm.chainId(31_337);
        bytes32 message = EnvelopeLib.laneOpenHash(one.id, one.signer, node.id, 30 * VCN, 0, deadline);
        signed = signature(one.key, digestFor(address(stakes), message));
        vm.expectRevert(abi.encodeWithSelector(ISettlement.BadLaneSignature.selector, one.id, one.signer));
        _open(30 * VCN, 0, signed);
    }

    function test_a_contract_account_answers_for_itself() public {
        WalletMock wallet = new WalletMock();
        coin.approve(address(settlement), 50 * VCN);
        settlement.depositFor(address(wallet), 50 * VCN);
        bytes32 message = EnvelopeLib.laneOpenHash(address(wallet), one.signer, node.id, VCN, 0, deadline);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.BadLaneSignature.selector, address(wallet), one.signer));
        settlement.openLane(address(wallet), one.signer, node.id, VCN, 0, deadline, "");
        wallet.accept(digestFor(address(settlement), message));
        settlement.openLane(address(wallet), one.signer, node.id, VCN, 0, deadline, "");
        assertEq(settlement.laneOf(address(wallet), one.signer, node.id).left, VCN);
    }

    function test_an_account_with_code_still_signs_with_its_key() public {
        vm.etch(one.id, address(new WalletMock()).code);
        _open(30 * VCN, 0, _signed(one.key, one.signer, 30 * VCN, 0));
        assertEq(_lane().left, 30 * VCN);
    }

    function test_deadline_is_near_and_ahead() public {
        vm.startPrank(one.id);
        uint40 present = uint40(vm.getBlockTimestamp());
        vm.expectRevert(abi.encodeWithSelector(ISettlement.DeadlinePassed.selector, present - 1));
        settlement.openLane(one.id, one.signer, node.id, VCN, 0, present - 1, "");
        vm.expectRevert(abi.encodeWithSelector(ISettlement.DeadlineTooFar.selector, present + 3_601));
        settlement.openLane(one.id, one.signer, node.id, VCN, 0, present + 3_601, "");
        settlement.openLane(one.id, one.signer, node.id, VCN, 0, present + 3_600, "");
    }

    function test_no_more_than_free() public {
        vm.prank(one.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotEnoughFree.selector, 100 * VCN + 1, 100 * VCN));
        _open(100 * VCN + 1, 0, "");
    }

    function test_withdraw_before_the_lane_opens() public {
        bytes memory signed = _signed(one.key, one.signer, 30 * VCN, 0);
        vm.prank(one.id);
        settlement.withdraw(90 * VCN);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotEnoughFree.selector, 30 * VCN, 10 * VCN));
        _open(30 * VCN, 0, signed);
    }

    function test_bad_arguments() public {
        vm.startPrank(one.id);
        vm.expectRevert(ISettlement.ZeroAmount.selector);
        _open(0, 0, "");
        vm.expectRevert(abi.encodeWithSelector(ISettlement.UnknownNode.selector, address(9)));
        settlement.openLane(one.id, one.signer, address(9), VCN, 0, deadline, "");
        vm.expectRevert(ISettlement.ZeroAddress.selector);
        settlement.openLane(one.id, address(0), node.id, VCN, 0, deadline, "");
        vm.expectRevert(ISettlement.ZeroAddress.selector);
        settlement.openLane(address(0), one.signer, node.id, VCN, 0, deadline, "");
    }
}
