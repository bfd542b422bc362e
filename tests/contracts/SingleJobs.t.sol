// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {ISingleJobs} from "../../contracts/interfaces/ISingleJobs.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {SplitLib} from "../../contracts/libraries/SplitLib.sol";
import {WalletMock} from "../../contracts/mocks/WalletMock.sol";
import {Book, Claim, Submission} from "../../contracts/types/BatchTypes.sol";
import {Receipt as JobReceipt} from "../../contracts/types/EvidenceTypes.sol";
import {NodeView} from "../../contracts/types/NodeTypes.sol";
import {JobOutput, JobTerms} from "../../contracts/types/SingleTypes.sol";

import {Papers} from "./Papers.sol";

contract SingleJobsTest is Papers {
    uint96 private constant PRICE = 10 * VCN;
    /// @dev Price, fee and bonus cap.
    uint96 private constant TOTAL = 11.4 ether;

    Node private node;
    Client private one;

    function setUp() public override {
        super.setUp();
        bench(3);
        node = registered("node", 10_000 * VCN);
        graduate(node);
        one = client("client", 100 * VCN);
        vm.prank(one.id);
        settlement.setSigner(one.signer, 50 * VCN, type(uint40).max);
    }

    // ---- papers

    function _job() private view returns (Job memory) {
        return jobOf(one, node.id, 0, PRICE);
    }

    /// @dev Writes order, result and receipt anew after a change of the details.
    function _sealed(Job memory job) private view {
        job.order.cumulative =
            uint96(uint256(job.details.price) + SplitLib.feeOf(job.details.price) + job.details.bonusCap);
        job.order.details = EnvelopeLib.jobDetailsHash(job.details);
        job.result.jobId = _id(job);
        job.receipt.jobId = job.result.jobId;
    }

    function _single() private view returns (Job memory job) {
        job = _job();
        _sealed(job);
    }

    function _id(Job memory job) private view returns (bytes32) {
        return paperDigest(EnvelopeLib.hashOf(job.order));
    }

    function _signedOrder(Job memory job, uint256 key) private view returns (bytes memory) {
        return signature(key, _id(job));
    }

    function _signedReceipt(JobReceipt memory receipt, uint256 key) private view returns (bytes memory) {
        return signature(key, paperDigest(EnvelopeLib.receiptHash(receipt)));
    }

    // ---- steps

    function _open(Job memory job) private {
        singles.open(job.order, job.details, _signedOrder(job, one.signerKey));
    }

    function _commit(Job memory job) private {
        vm.prank(node.id);
        singles.commit(_id(job), termsOf(job), outputOf(job));
    }

    function _settle(Job memory job) private {
        bytes memory signed = _signedReceipt(job.receipt, one.signerKey);
        singles.settle(_id(job), termsOf(job), outputOf(job), job.receipt, signed);
    }

    function _committed() private returns (Job memory job) {
        job = _single();
        _open(job);
        _commit(job);
    }

    function _openRefused(bytes memory refused, Job memory job) private {
        bytes memory signed = _signedOrder(job, one.signerKey);
        vm.expectRevert(refused);
        singles.open(job.order, job.details, signed);
    }

    function _settleRefused(bytes memory refused, Job memory job, bytes memory signed) private {
        vm.expectRevert(refused);
        singles.settle(_id(job), termsOf(job), outputOf(job), job.receipt, signed);
    }

    function _noJob(Job memory job) private view returns (bytes memory) {
        return abi.encodeWithSelector(ISingleJobs.NoSuchJob.selector, _id(job));
    }

    // ---- the whole way

    function test_a_job_is_opened_committed_and_settled() public {
        Job memory job = _single();
        uint256 held = coin.balanceOf(address(settlement));
        vm.expectEmit(address(singles));
        emit ISingleJobs.JobOpened(_id(job), one.id, node.id, termsOf(job));
        _open(job);
        assertEq(settlement.accountOf(one.id), 100 * VCN - TOTAL);
        assertEq(settlement.signerOf(one.id, one.signer).budget, 50 * VCN - TOTAL);
        vm.expectEmit(address(singles));
        emit ISingleJobs.JobCommitted(_id(job), node.id, outputOf(job));
        _commit(job);
        Book memory before = settlement.bookOf(node.id);
        uint256 pool = settlement.pool();
        uint256 burn = settlement.burnPending();
        uint16 score = stakes.scoreOf(node.id);
        _settle(job);
        (uint96 burned, uint96 reward, uint96 pooled) = SplitLib.split(PRICE, score);
        assertEq(settlement.bookOf(node.id).rewards, before.rewards + reward, "split as in a batch");
        assertEq(settlement.burnPending(), burn + burned);
        assertEq(settlement.pool(), pool + pooled + 0.5 ether);
        assertEq(settlement.accountOf(one.id), 100 * VCN - 10.5 ether, "the bonus cap comes back");
        assertHolds(held);
    }

    function test_the_event_adds_up() public {
        Job memory job = _single();
        job.receipt.actualMs = 7_999;
        job.receipt.charge = 5 * VCN;
        _open(job);
        _commit(job);
        (uint96 burned, uint96 reward, uint96 pooled) = SplitLib.split(5 * VCN, stakes.scoreOf(node.id));
        vm.expectEmit(address(singles));
        emit ISingleJobs.JobSettled(
            _id(job), one.id, node.id, 5 * VCN, burned, reward, 0.45 ether, pooled + 0.25 ether, TOTAL - 5.7 ether
        );
        _settle(job);
        assertEq(uint256(burned) + reward + pooled, 5 * VCN);
    }

    function test_reputation_counts_as_in_a_batch() public {
        Job memory job = _committed();
        pass(1 days);
        NodeView memory before = stakes.nodeOf(node.id);
        _settle(job);
        NodeView memory shown = stakes.nodeOf(node.id);
        assertEq(shown.successes, before.successes + 1);
        assertEq(shown.total, before.total + 1);
        assertEq(shown.responseMs, before.responseMs + 9_000);
        assertEq(shown.checkInDays, before.checkInDays + 1);
    }

    function testFuzz_every_wei_goes_somewhere(uint96 price, uint96 cap, uint96 charge, uint32 actualMs) public {
        Job memory job = _job();
        price = uint96(bound(price, 1, 80 * VCN));
        job.details.price = price;
        job.details.bonusCap = uint96(bound(cap, 0, uint256(price) * 9 / 100));
        _sealed(job);
        job.receipt.charge = uint96(bound(charge, 0, price));
        job.receipt.actualMs = actualMs;
        vm.prank(one.id);
        singles.open(job.order, job.details, "");
        _commit(job);
        uint256 before = _books();
        _settle(job);
        assertEq(_books() - before, job.order.cumulative);
        uint256 paid = 100 * VCN - settlement.accountOf(one.id);
        assertLe(paid, uint256(job.receipt.charge) + SplitLib.feeOf(job.receipt.charge) + job.details.bonusCap);
        assertEq(singles.stateOf(_id(job)), bytes32(uint256(1)));
    }

    function _books() private view returns (uint256) {
        return uint256(settlement.accountOf(one.id)) + settlement.bookOf(node.id).rewards + settlement.pool()
            + settlement.burnPending();
    }

    // ---- open

    function test_client_and_signer_need_no_signature_when_they_call() public {
        Job memory job = _single();
        vm.prank(one.id);
        singles.open(job.order, job.details, "");
        assertEq(settlement.signerOf(one.id, one.signer).budget, 50 * VCN, "its own money costs no grant");
        job.details.requestId = keccak256("another request");
        _sealed(job);
        vm.prank(one.signer);
        singles.open(job.order, job.details, "");
        assertEq(settlement.signerOf(one.id, one.signer).budget, 50 * VCN - TOTAL);
    }

    function test_a_forged_client_is_refused() public {
        Job memory job = _single();
        (address thief, uint256 key) = makeAddrAndKey("thief");
        bytes memory signed = _signedOrder(job, key);
        vm.expectRevert(abi.encodeWithSelector(ISingleJobs.BadOrderSignature.selector, one.id, one.signer));
        singles.open(job.order, job.details, signed);
        // A signer of its own choice has no grant of the client.
        job.order.signer = thief;
        _sealed(job);
        signed = _signedOrder(job, key);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.SignerExpired.selector, thief, 0));
        singles.open(job.order, job.details, signed);
        job.order.signer = address(0);
        _sealed(job);
        vm.expectRevert(abi.encodeWithSelector(ISingleJobs.BadOrderSignature.selector, one.id, address(0)));
        singles.open(job.order, job.details, new bytes(65));
    }

    function test_a_signer_stays_within_its_grant() public {
        vm.prank(one.id);
        settlement.setSigner(one.signer, TOTAL - 1, type(uint40).max);
        _openRefused(abi.encodeWithSelector(ISettlement.OverBudget.selector, TOTAL, TOTAL - 1), _single());
    }

    function test_a_job_needs_its_money() public {
        vm.prank(one.id);
        settlement.withdraw(100 * VCN - TOTAL + 1);
        _openRefused(abi.encodeWithSelector(ISettlement.NotEnoughFree.selector, TOTAL, TOTAL - 1), _single());
    }

    function test_an_account_with_code_signs_with_its_key() public {
        // EIP-7702: the account delegates to code that knows nothing of signatures.
        vm.etch(one.signer, hex"ef0100000000000000000000000000000000000000dead");
        Job memory job = _single();
        _open(job);
        _commit(job);
        _settle(job);
    }

    function test_a_wallet_contract_signs_by_1271() public {
        WalletMock wallet = new WalletMock();
        coin.approve(address(settlement), 100 * VCN);
        settlement.depositFor(address(wallet), 100 * VCN);
        Job memory job = _single();
        (job.order.client, job.order.signer) = (address(wallet), address(wallet));
        _sealed(job);
        _openRefused(
            abi.encodeWithSelector(ISingleJobs.BadOrderSignature.selector, address(wallet), address(wallet)), job
        );
        wallet.accept(_id(job));
        _open(job);
        _commit(job);
        wallet.accept(paperDigest(EnvelopeLib.receiptHash(job.receipt)));
        _settle(job);
        assertEq(settlement.accountOf(address(wallet)), 100 * VCN - 10.5 ether);
    }

    function test_an_order_is_opened_once_even_after_its_end() public {
        Job memory job = _committed();
        bytes memory refused = abi.encodeWithSelector(ISingleJobs.JobExists.selector, _id(job));
        _openRefused(refused, job);
        _settle(job);
        _openRefused(refused, job);
        assertEq(settlement.accountOf(one.id), 100 * VCN - 10.5 ether);
    }

    function test_an_order_of_a_lane_opens_no_job_and_a_job_is_no_claim_on_a_lane() public {
        Job memory job = _single();
        job.order.index = 1;
        _openRefused(abi.encodeWithSelector(ISingleJobs.NotSingle.selector, 1), job);
        openLane(one, node.id, 20 * VCN);
        job.order.index = 0;
        Claim[] memory claims = new Claim[](1);
        claims[0] = Claim(one.id, one.signer, 0, TOTAL, job.order.details, PRICE, 0, 0, 0);
        signClaim(claims[0], node.id, one.signerKey);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.IndexNotAbove.selector, 0, 0, 0));
        settlement.submit(made, claims);
    }

    function test_another_chain_or_contract() public {
        Job memory job = _single();
        bytes memory signed = signature(one.signerKey, digestFor(address(singles), EnvelopeLib.hashOf(job.order)));
        bytes memory refused = abi.encodeWithSelector(ISingleJobs.BadOrderSignature.selector, one.id, one.signer);
        vm.expectRevert(refused);
        singles.open(job.order, job.details, signed);
        signed = _signedOrder(job, one.signerKey);
        vm.chainId(block.chainid + 1);
        vm.expectRevert(refused);
        singles.open(job.order, job.details, signed);
    }

    function test_a_malleable_signature() public {
        Job memory job = _single();
        (uint8 v, bytes32 r, bytes32 s) = vm.sign(one.signerKey, _id(job));
        uint256 order = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141;
        bytes memory mirrored = abi.encodePacked(r, bytes32(order - uint256(s)), v == 27 ? uint8(28) : uint8(27));
        vm.expectRevert(abi.encodeWithSelector(ISingleJobs.BadOrderSignature.selector, one.id, one.signer));
        singles.open(job.order, job.details, mirrored);
    }

    function test_terms_must_be_those_that_were_signed() public {
        Job memory job = _single();
        job.details.price += 1;
        _openRefused(abi.encodeWithSelector(ISingleJobs.WrongDetails.selector), job);
        job = _single();
        job.order.cumulative = TOTAL - 1;
        _openRefused(abi.encodeWithSelector(ISingleJobs.WrongTotal.selector, TOTAL - 1, TOTAL), job);
        job = _job();
        job.details.bonusCap = 0.9 ether + 1;
        _sealed(job);
        _openRefused(abi.encodeWithSelector(ISingleJobs.BonusTooHigh.selector, 0.9 ether + 1, 0.9 ether), job);
        job.details.price = 0;
        _sealed(job);
        _openRefused(abi.encodeWithSelector(ISingleJobs.ZeroAmount.selector), job);
    }

    function test_a_job_that_is_paid_to_be_checked_needs_a_lane() public {
        Job memory job = _job();
        job.details.flags = 2;
        _sealed(job);
        _openRefused(abi.encodeWithSelector(ISingleJobs.NoChecks.selector, 2), job);
        job.details.flags = 1;
        _sealed(job);
        _open(job);
    }

    function test_the_largest_price_does_not_overflow() public {
        Job memory job = _job();
        (job.details.price, job.details.bonusCap) = (type(uint96).max, 0);
        _sealed(job);
        uint256 total = uint256(type(uint96).max) + SplitLib.feeOf(type(uint96).max);
        _openRefused(abi.encodeWithSelector(ISingleJobs.WrongTotal.selector, uint96(total), total), job);
    }

    function test_after_its_deadline_a_job_is_not_opened() public {
        Job memory job = _single();
        vm.warp(job.details.deadline);
        _open(job);
        job.details.requestId = keccak256("another request");
        _sealed(job);
        vm.warp(job.details.deadline + 1);
        _openRefused(abi.encodeWithSelector(ISingleJobs.DeadlinePassed.selector, job.details.deadline), job);
    }

    function test_only_a_node_that_is_there_and_past_probation() public {
        Job memory job = _single();
        job.order.node = address(0xD0D0);
        _sealed(job);
        _openRefused(abi.encodeWithSelector(IStakeManager.UnknownNode.selector, address(0xD0D0)), job);
        Node memory fresh = registered("fresh node", 10_000 * VCN);
        job.order.node = fresh.id;
        _sealed(job);
        _openRefused(abi.encodeWithSelector(ISingleJobs.OnProbation.selector, fresh.id), job);
        job = _single();
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        _openRefused(abi.encodeWithSelector(ISingleJobs.NodeNotActive.selector, node.id), job);
    }

    // ---- commit

    function test_only_the_operator_commits_once_and_in_time() public {
        Job memory job = _single();
        vm.prank(node.id);
        vm.expectRevert(_noJob(job));
        singles.commit(_id(job), termsOf(job), outputOf(job));
        _open(job);
        vm.prank(node.owner);
        vm.expectRevert(abi.encodeWithSelector(ISingleJobs.NotOperator.selector, node.id, node.owner));
        singles.commit(_id(job), termsOf(job), outputOf(job));
        vm.startPrank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISingleJobs.ZeroCommitment.selector));
        singles.commit(_id(job), termsOf(job), JobOutput(0, job.result.outputCommit));
        vm.expectRevert(abi.encodeWithSelector(ISingleJobs.ZeroCommitment.selector));
        singles.commit(_id(job), termsOf(job), JobOutput(job.result.resultHash, 0));
        vm.warp(job.details.deadline + 1);
        vm.expectRevert(abi.encodeWithSelector(ISingleJobs.DeadlinePassed.selector, job.details.deadline));
        singles.commit(_id(job), termsOf(job), outputOf(job));
        vm.warp(job.details.deadline);
        singles.commit(_id(job), termsOf(job), outputOf(job));
        vm.expectRevert(_noJob(job));
        singles.commit(_id(job), termsOf(job), outputOf(job));
        vm.stopPrank();
    }

    function test_other_terms_are_another_job() public {
        Job memory job = _single();
        _open(job);
        JobTerms memory terms = termsOf(job);
        terms.price += 1;
        vm.prank(node.id);
        vm.expectRevert(_noJob(job));
        singles.commit(_id(job), terms, outputOf(job));
        _commit(job);
        bytes memory signed = _signedReceipt(job.receipt, one.signerKey);
        vm.expectRevert(_noJob(job));
        singles.settle(_id(job), terms, outputOf(job), job.receipt, signed);
        vm.warp(job.details.deadline + profile.laneCloseSeconds + 1);
        vm.expectRevert(_noJob(job));
        singles.expire(_id(job), terms, outputOf(job));
    }

    // ---- settle

    /// @dev The rule of this path: no receipt, no pay. A node that wants more protection asks for a lane.
    function test_a_client_that_refuses_its_receipt_gets_its_money_back_after_the_window() public {
        Job memory job = _committed();
        bytes memory refused = abi.encodeWithSelector(ISingleJobs.BadReceiptSignature.selector, one.signer);
        _settleRefused(refused, job, _signedReceipt(job.receipt, node.key));
        uint256 until = uint256(job.details.deadline) + profile.laneCloseSeconds;
        vm.warp(until);
        vm.expectRevert(abi.encodeWithSelector(ISingleJobs.StillRunning.selector, until));
        singles.expire(_id(job), termsOf(job), outputOf(job));
        vm.warp(until + 1);
        vm.expectEmit(address(singles));
        emit ISingleJobs.JobExpired(_id(job), one.id, node.id, TOTAL);
        singles.expire(_id(job), termsOf(job), outputOf(job));
        assertEq(settlement.accountOf(one.id), 100 * VCN);
        assertEq(stakes.nodeOf(node.id).penaltyTenths, 0, "no party is to blame");
    }

    function test_a_charge_above_the_price() public {
        Job memory job = _committed();
        job.receipt.charge = PRICE + 1;
        bytes memory signed = _signedReceipt(job.receipt, one.signerKey);
        _settleRefused(abi.encodeWithSelector(ISingleJobs.OverPrice.selector, PRICE + 1, PRICE), job, signed);
    }

    function test_a_receipt_for_another_job_or_result() public {
        Job memory job = _committed();
        JobReceipt memory right = job.receipt;
        bytes memory refused = abi.encodeWithSelector(ISingleJobs.WrongReceipt.selector, _id(job));
        job.receipt = JobReceipt(keccak256("another"), right.resultHash, PRICE, 1);
        _settleRefused(refused, job, _signedReceipt(job.receipt, one.signerKey));
        job.receipt = JobReceipt(right.jobId, keccak256("another"), PRICE, 1);
        _settleRefused(refused, job, _signedReceipt(job.receipt, one.signerKey));
    }

    function test_a_receipt_on_another_chain() public {
        Job memory job = _committed();
        bytes32 id = _id(job);
        bytes memory signed = _signedReceipt(job.receipt, one.signerKey);
        vm.chainId(block.chainid + 1);
        vm.expectRevert(abi.encodeWithSelector(ISingleJobs.BadReceiptSignature.selector, one.signer));
        singles.settle(id, termsOf(job), outputOf(job), job.receipt, signed);
    }

    function test_no_bonus_for_a_job_that_was_not_early() public {
        Job memory job = _committed();
        job.receipt.actualMs = 8_000;
        _settle(job);
        assertEq(settlement.accountOf(one.id), 100 * VCN - 10.5 ether);
    }

    function test_a_job_is_settled_once() public {
        Job memory job = _committed();
        _settle(job);
        _settleRefused(_noJob(job), job, _signedReceipt(job.receipt, one.signerKey));
        vm.warp(job.details.deadline + profile.laneCloseSeconds + 1);
        vm.expectRevert(_noJob(job));
        singles.expire(_id(job), termsOf(job), outputOf(job));
    }

    function test_what_was_not_committed_is_not_settled() public {
        Job memory job = _single();
        _open(job);
        _settleRefused(_noJob(job), job, _signedReceipt(job.receipt, one.signerKey));
        _commit(job);
        job.result.outputCommit = keccak256("another");
        _settleRefused(_noJob(job), job, _signedReceipt(job.receipt, one.signerKey));
    }

    function test_a_node_in_jail_is_paid_when_it_is_out_or_not_at_all() public {
        Job memory job = _committed();
        vm.prank(address(court));
        stakes.jail(node.id, 0);
        bytes memory refused = abi.encodeWithSelector(ISingleJobs.NodeNotActive.selector, node.id);
        _settleRefused(refused, job, _signedReceipt(job.receipt, one.signerKey));
        vm.warp(stakes.nodeOf(node.id).jailedUntil);
        vm.prank(node.owner);
        stakes.unjail(node.id);
        _settle(job);
    }

    // ---- expire

    function test_a_job_that_was_never_committed_expires_at_its_deadline() public {
        Job memory job = _single();
        _open(job);
        vm.warp(job.details.deadline);
        vm.expectRevert(abi.encodeWithSelector(ISingleJobs.StillRunning.selector, job.details.deadline));
        singles.expire(_id(job), termsOf(job), JobOutput(0, 0));
        vm.warp(job.details.deadline + 1);
        vm.prank(address(0xBEEF));
        singles.expire(_id(job), termsOf(job), JobOutput(0, 0));
        assertEq(settlement.accountOf(one.id), 100 * VCN);
        vm.expectRevert(_noJob(job));
        singles.expire(_id(job), termsOf(job), JobOutput(0, 0));
        vm.prank(node.id);
        vm.expectRevert(_noJob(job));
        singles.commit(_id(job), termsOf(job), outputOf(job));
    }

    function test_a_job_that_was_never_opened_does_not_expire() public {
        Job memory job = _single();
        vm.warp(job.details.deadline + 1 days);
        vm.expectRevert(_noJob(job));
        singles.expire(_id(job), termsOf(job), JobOutput(0, 0));
    }

    /// @dev A donation has no owner: no book moves, no job is cheaper.
    function test_a_donation_credits_nobody() public {
        coin.transfer(address(singles), VCN);
        coin.transfer(address(settlement), VCN);
        Job memory job = _committed();
        uint256 before = _books();
        _settle(job);
        assertEq(_books() - before, TOTAL);
        assertEq(coin.balanceOf(address(singles)), VCN);
    }
}
