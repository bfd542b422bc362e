// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {SplitLib} from "../../contracts/libraries/SplitLib.sol";
import {BatchState, Book, Claim, Contents, LaneView, Submission} from "../../contracts/types/BatchTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice Attacks on the money of lanes and batches that have no test beside the function they go for.
contract AttacksTest is Fixture {
    uint256 private constant CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
    Node private node;
    Client private one;

    function setUp() public override {
        super.setUp();
        node = registered("node", 10_000 * VCN);
        one = client("client", 1_000 * VCN);
        openLane(one, node.id, 500 * VCN);
    }

    function _refused(bytes memory refused, Claim[] memory claims, uint16 leaves) private {
        Submission memory made = submissionOf(node.id, 1, claims, leaves);
        vm.prank(node.id);
        vm.expectRevert(refused);
        settlement.submit(made, claims);
    }

    function _badSignature() private pure returns (bytes memory) {
        return abi.encodeWithSelector(ISettlement.BadAssignmentSignature.selector, 0);
    }

    function test_an_order_for_another_chain_or_contract_is_worth_nothing() public {
        Claim[] memory claims = claimsOf(one, node.id, 1, VCN, 0);
        Claim memory part = claims[0];
        bytes32 message =
            EnvelopeLib.assignmentHash(part.client, part.signer, node.id, part.index, part.cumulative, part.details);
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(one.signerKey, digestFor(address(fraudProofs), message));
        (part.r, part.vs) = (r, bytes32(uint256(s) | (uint256(v - 27) << 255)));
        _refused(_badSignature(), claims, 1);
        claims = claimsOf(one, node.id, 1, VCN, 0);
        uint256 home = block.chainid;
        vm.chainId(home + 1);
        _refused(_badSignature(), claims, 1);
        vm.chainId(home);
        submit(submissionOf(node.id, 0, claims, 1), claims);
    }

    function test_a_malleable_order_is_refused() public {
        Claim[] memory claims = claimsOf(one, node.id, 1, VCN, 0);
        uint256 vs = uint256(claims[0].vs);
        uint256 mirrored = CURVE_ORDER - (vs & (type(uint256).max >> 1));
        // The other signature of the same key needs the bit that says which of two points it is.
        assertGt(mirrored, type(uint256).max >> 1);
        claims[0].vs = bytes32(mirrored);
        _refused(_badSignature(), claims, 1);
        claims[0].vs = bytes32(vs ^ (1 << 255));
        _refused(_badSignature(), claims, 1);
    }

    function test_a_7702_account_signs_orders_with_its_key() public {
        vm.etch(one.signer, hex"ef0100000000000000000000000000000000000000dead");
        submitted(one, node.id, 0, 1, VCN);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Pending));
    }

    function test_a_forged_client_has_no_lane() public {
        Client memory victim = client("victim", 100 * VCN);
        openLane(victim, node.id, 50 * VCN);
        // Signed by the thief's own key, for the victim's money: that pair never opened a lane.
        Claim[] memory claims = claimsOf(one, node.id, 1, VCN, 0);
        (claims[0].client, claims[0].cumulative) = (victim.id, 1.05 ether);
        signClaim(claims[0], node.id, one.signerKey);
        _refused(abi.encodeWithSelector(ISettlement.LaneNotOpen.selector), claims, 1);
    }

    function test_the_ends_of_the_packed_fields() public {
        Claim[] memory claims = claimsOf(one, node.id, 1, VCN, 0);
        claims[0].cumulative = type(uint96).max;
        signClaim(claims[0], node.id, one.signerKey);
        submit(submissionOf(node.id, 0, claims, 1), claims);
        LaneView memory lane = settlement.laneOf(one.id, one.signer, node.id);
        assertEq(lane.mark, type(uint96).max);
        assertEq(lane.left, 500 * VCN - 1.05 ether);
        assertEq(lane.jobs, 1);
        assertEq(lane.closeAt, 0);
        // Nothing more can be signed for on this lane; its rest goes back to its client.
        claims[0] = Claim(one.id, one.signer, 2, type(uint96).max, 0, 1, 0, 0, 0);
        signClaim(claims[0], node.id, one.signerKey);
        _refused(abi.encodeWithSelector(ISettlement.OverSigned.selector, 0, 2, 0), claims, 1);
        vm.prank(one.id);
        settlement.closeLane(one.id, one.signer, node.id);
        pass(profile.laneCloseSeconds);
        settlement.reclaimLane(one.id, one.signer, node.id);
        assertEq(settlement.accountOf(one.id), 1_000 * VCN - 1.05 ether);
    }

    function test_a_huge_charge_does_not_wrap() public {
        Claim[] memory claims = claimsOf(one, node.id, 1, VCN, 0);
        (claims[0].charge, claims[0].bonus) = (type(uint96).max, type(uint96).max);
        (uint256 most, uint96 signed) = (type(uint96).max, claims[0].cumulative);
        uint256 wanted = 2 * most + SplitLib.feeOf(type(uint96).max);
        Submission memory made = submissionOf(node.id, 0, claimsOf(one, node.id, 1, VCN, 0), 1);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.OverSigned.selector, 0, wanted, signed));
        settlement.submit(made, claims);
    }

    function test_a_huge_number_of_jobs_is_refused() public {
        Claim[] memory claims = claimsOf(one, node.id, type(uint24).max, VCN, 0);
        _refused(abi.encodeWithSelector(ISettlement.TooManyLeaves.selector, type(uint24).max, 20), claims, 1);
    }

    /// @dev The worst that clients of a wei can do to a batch: it and its refund stay far below a block.
    function test_dust_lanes_fill_a_batch_and_no_block() public {
        bench(3);
        graduate(node);
        Claim[] memory claims = new Claim[](256);
        for (uint256 i; i < claims.length; ++i) {
            Client memory dust = client(string.concat("dust ", vm.toString(i)), 10 * VCN);
            openLane(dust, node.id, 2);
            claims[i] = claimOf(dust, node.id, 1, 1, 0);
        }
        Submission memory made = submissionOf(node.id, 0, claims, 256);
        Contents memory contents = contentsOf(made, claims);
        vm.prank(node.id);
        uint256 before = gasleft();
        settlement.submit(made, claims);
        assertLt(before - gasleft(), 8_000_000, "submit");
        vm.prank(address(court));
        settlement.closeCase(node.id, 0, false, 0, new address[](0));
        before = gasleft();
        settlement.refund(node.id, 0, contents);
        assertLt(before - gasleft(), 8_000_000, "refund");
    }

    function test_a_donation_moves_no_book_and_is_not_burned() public {
        coin.transfer(address(settlement), 7 * VCN);
        coin.transfer(address(stakes), 7 * VCN);
        Book memory book = settlement.bookOf(node.id);
        assertEq(book.rewards, 0);
        assertEq(settlement.pool(), 0);
        vm.expectRevert(ISettlement.ZeroAmount.selector);
        settlement.flushBurn();
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NothingToClaim.selector, node.id));
        settlement.claim(node.id);
    }

    /// @dev Garbage under the root: no code can tell, and no seat gets its leaf, so a court of any size votes it down.
    function test_a_garbage_root_is_voided_by_the_court_and_refunded() public {
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 3, 30 * VCN);
        bytes32 caseId = convened(node.id, 0, contents);
        judge(caseId, three(0, 0, 0));
        court.resolve(caseId, contents);
        settlement.refund(node.id, 0, contents);
        assertEq(settlement.laneOf(one.id, one.signer, node.id).left, 500 * VCN);
        assertEq(stakes.nodeOf(node.id).activeStake, 5_000 * VCN);
    }

    // ---- the three calls that anyone may send

    function test_finalize_many_with_nothing_twice_or_unknown() public {
        assertEq(settlement.finalizeMany(node.id, new uint8[](0)), 0);
        assertEq(settlement.finalizeMany(address(0xDEAD), _slots(0, 0, 255)), 0);
        bench(3);
        Contents memory contents = submitted(one, node.id, 0, 3, 30 * VCN);
        passInCourt(node.id, 0, contents);
        pass(profile.challengeSeconds);
        vm.prank(address(0xBEEF));
        assertEq(settlement.finalizeMany(node.id, _slots(0, 0, 63)), 1, "the same slot twice pays once");
        assertEq(settlement.finalizeMany(node.id, _slots(0, 1, 2)), 0, "nor again");
        assertEq(coin.balanceOf(address(0xBEEF)), 0);
    }

    function _slots(uint8 a, uint8 b, uint8 c) private pure returns (uint8[] memory slots) {
        slots = new uint8[](3);
        (slots[0], slots[1], slots[2]) = (a, b, c);
    }

    function test_claim_pays_an_unknown_node_nothing() public {
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NothingToClaim.selector, address(0)));
        settlement.claim(address(0));
    }
}
