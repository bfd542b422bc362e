// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ERC20} from "@openzeppelin/contracts/token/ERC20/ERC20.sol";
import {ERC20Burnable} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Burnable.sol";
import {ERC20Permit} from "@openzeppelin/contracts/token/ERC20/extensions/ERC20Permit.sol";

import {IFraudProofs} from "../../contracts/interfaces/IFraudProofs.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {SplitLib} from "../../contracts/libraries/SplitLib.sol";
import {Leaf, SumTreeLib} from "../../contracts/libraries/SumTreeLib.sol";
import {BatchState, Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";
import {FraudKind, Proof} from "../../contracts/types/FraudTypes.sol";

import {Papers} from "./Papers.sol";

/// @notice In the coin's place: it calls each receiver, as ERC-777 does.
contract CallingCoin is ERC20, ERC20Burnable, ERC20Permit {
    constructor() ERC20("", "") ERC20Permit("") {}

    function _update(address from, address to, uint256 value) internal override {
        super._update(from, to, value);
        if (to.code.length == 0) return;
        (bool answered,) = to.call(abi.encodeCall(Thief.paid, ()));
        answered;
    }
}

/// @notice Asks for its money again while it is being paid.
contract Thief {
    address private _target;
    bytes private _call;
    uint256 public calls;
    bool public wasPaidTwice;
    bytes public refusal;

    function ask(address target, bytes calldata data) external {
        (_target, _call, calls) = (target, data, 0);
        (bool paid_, bytes memory answer) = target.call(data);
        if (!paid_) {
            assembly ("memory-safe") {
                revert(add(answer, 32), mload(answer))
            }
        }
        _target = address(0);
    }

    function paid() external {
        if (_target == address(0)) return;
        ++calls;
        (wasPaidTwice, refusal) = _target.call(_call);
    }
}

/// @notice Attacks on the money of lanes, orders and receipts that take more than one call; those of a single call stand beside
///         the function that they go for. Which attack is played where is in tests/contracts/PROPERTIES.md.
contract AttacksOnMoneyTest is Papers {
    Node private node;
    Node private other;
    Client private one;

    function setUp() public override {
        super.setUp();
        node = registered("node", 10_000 * VCN);
        other = registered("other node", 10_000 * VCN);
        one = client("client", 100 * VCN);
    }

    function _refused(bytes memory refused, address who, Claim[] memory claims) private {
        Submission memory made = submissionOf(who, 0, claims, 1);
        vm.prank(who);
        vm.expectRevert(refused);
        settlement.submit(made, claims);
    }

    /// @dev What the client has, spent nowhere yet.
    function _unspent() private view returns (uint256 total) {
        total = settlement.accountOf(one.id);
        total += settlement.laneOf(one.id, one.signer, node.id).left;
        total += settlement.laneOf(one.id, one.signer, other.id).left;
    }

    // ---- lanes

    /// @notice Expected end: what is locked for one node is there for no other, and an order pays the node that it names alone.
    function test_attack_double_spend_on_two_nodes() public {
        openLane(one, node.id, 100 * VCN);
        vm.prank(one.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotEnoughFree.selector, 1, 0));
        settlement.openLane(one.id, one.signer, other.id, 1, 0, uint40(block.timestamp), "");
        Claim[] memory claims = claimsOf(one, node.id, 1, 10 * VCN, 0);
        _refused(abi.encodeWithSelector(ISettlement.BadAssignmentSignature.selector, 0), other.id, claims);
        signClaim(claims[0], other.id, one.signerKey);
        _refused(abi.encodeWithSelector(ISettlement.LaneNotOpen.selector), other.id, claims);
        submitted(one, node.id, 0, 1, 10 * VCN);
        assertEq(_unspent(), 89.5 ether, "the node that holds the lane is paid");
    }

    /// @notice Expected end: the grant was for the lane, not for what is signed on it: the node is paid.
    function test_attack_a_signer_expires_or_is_taken_back_after_service() public {
        vm.prank(one.id);
        settlement.setSigner(one.signer, 100 * VCN, uint40(block.timestamp) + 60);
        vm.prank(one.signer);
        settlement.openLane(one.id, one.signer, node.id, 50 * VCN, 0, uint40(block.timestamp), _byHand(50 * VCN));
        pass(61);
        bytes memory refused = abi.encodeWithSelector(
            ISettlement.SignerExpired.selector, one.signer, settlement.signerOf(one.id, one.signer).expiry
        );
        _noMore(refused);
        submitted(one, node.id, 0, 1, 10 * VCN);
        Claim[] memory claims = claimsOf(one, node.id, 1, 10 * VCN, 0);
        Submission memory made = submissionOf(node.id, 1, claims, 1);
        vm.prank(one.id);
        settlement.setSigner(one.signer, 0, 0);
        submit(made, claims);
        assertEq(_unspent(), 79 ether);
        _noMore(abi.encodeWithSelector(ISettlement.SignerExpired.selector, one.signer, 0));
    }

    function _byHand(uint96 amount) private view returns (bytes memory) {
        bytes32 message =
            EnvelopeLib.laneOpenHash(one.id, one.signer, node.id, amount, 0, uint40(vm.getBlockTimestamp()));
        return signature(one.signerKey, digestFor(address(settlement), message));
    }

    /// @dev The same signer opens nothing any more.
    function _noMore(bytes memory refused) private {
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes32 message = EnvelopeLib.laneOpenHash(one.id, one.signer, other.id, 1, 0, deadline);
        bytes memory signed = signature(one.signerKey, digestFor(address(settlement), message));
        vm.expectRevert(refused);
        settlement.openLane(one.id, one.signer, other.id, 1, 0, deadline, signed);
    }

    /// @notice A stranger wants the client's signed messages to come too late. Expected end: it can only send them itself; no
    ///         total of the client's moves, and one lane's order is no other's.
    function test_attack_jam_the_lane_nonce() public {
        uint40 deadline = uint40(block.timestamp) + 60;
        bytes memory first = _signedLane(node.id, 30 * VCN, deadline);
        bytes memory second = _signedLane(other.id, 20 * VCN, deadline);
        Client memory stranger = client("stranger", 100 * VCN);
        openLane(Client(stranger.id, stranger.key, one.signer, 0), node.id, VCN);
        vm.startPrank(stranger.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.BadLaneSignature.selector, one.id, one.signer));
        settlement.openLane(one.id, one.signer, node.id, 1, 0, deadline, first);
        settlement.openLane(one.id, one.signer, node.id, 30 * VCN, 0, deadline, first);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.LaneMoved.selector, 0, 30 * VCN));
        settlement.openLane(one.id, one.signer, node.id, 30 * VCN, 0, deadline, first);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotLaneOwner.selector, stranger.id));
        settlement.closeLane(one.id, one.signer, node.id);
        vm.expectRevert(ISettlement.LaneNotClosing.selector);
        settlement.reclaimLane(one.id, one.signer, node.id);
        vm.stopPrank();
        settlement.openLane(one.id, one.signer, other.id, 20 * VCN, 0, deadline, second);
        assertEq(settlement.laneOf(one.id, one.signer, node.id).left, 30 * VCN);
        assertEq(settlement.laneOf(one.id, one.signer, other.id).left, 20 * VCN);
        assertEq(settlement.accountOf(one.id), 50 * VCN, "once each");
    }

    function _signedLane(address to, uint96 amount, uint40 deadline) private view returns (bytes memory) {
        bytes32 message = EnvelopeLib.laneOpenHash(one.id, one.signer, to, amount, 0, deadline);
        return signature(one.key, digestFor(address(settlement), message));
    }

    // ---- receipts, times, retries

    /// @notice Expected end: the node brings its job without one, in time. All of it is checked; it is paid, without a bonus.
    function test_attack_refuse_to_sign_a_receipt() public {
        bench(3);
        graduate(node);
        openLane(one, node.id, 50 * VCN);
        Job[] memory jobs = jobsOf(one, node.id, 1, 10 * VCN);
        jobs[0].receipt.actualMs = 1;
        settle(jobs[0], false);
        Contents memory contents = settleLeaves(one, node.id, leavesOf(jobs), UNRECEIPTED);
        assertEq(settlement.batchOf(node.id, SLOT).ratePercent, 100, "checked, though it is past its probation");
        passInCourt(node.id, SLOT, contents);
        uint96 before = settlement.bookOf(node.id).rewards;
        (, uint96 reward,) = SplitLib.split(10 * VCN, settlement.batchOf(node.id, SLOT).scoreHundredths);
        finish(node.id, SLOT);
        assertEq(settlement.bookOf(node.id).rewards - before, reward);
        assertEq(_unspent(), 89.5 ether, "and its client pays what it would have paid");
    }

    /// @notice Client and node agree on a time that every job beats. Expected end: the bonus is the client's own money, at most
    ///         9% of the charge, and the two together lose the burn, the pool's part and the fee.
    function test_attack_bonus_by_an_inflated_expected_time() public {
        bench(3);
        graduate(node);
        openLane(one, node.id, 50 * VCN);
        Job[] memory jobs = jobsOf(one, node.id, 1, 10 * VCN);
        jobs[0].details.expectedMs = type(uint32).max;
        settle(jobs[0], true);
        Leaf[] memory leaves = leavesOf(jobs);
        assertEq(leaves[0].bonus, 0.9 ether);
        uint256 before = _unspent() + settlement.bookOf(node.id).rewards;
        uint256 pool = settlement.pool();
        Contents memory contents = settleLeaves(one, node.id, leaves, 0);
        (uint96 burned, uint96 reward, uint96 pooled) =
            SplitLib.split(10 * VCN, settlement.batchOf(node.id, SLOT).scoreHundredths);
        Proof memory proof = proofOf(node.id, contents, leaves, 0, FraudKind.FalseBonus, abi.encode(jobs[0].details));
        vm.expectRevert(abi.encodeWithSelector(IFraudProofs.NoFraud.selector, FraudKind.FalseBonus));
        fraudProofs.proveFraud(proof);
        sealDrawing(node.id, SLOT, 1_000, 0);
        finish(node.id, SLOT);
        uint256 later = _unspent() + settlement.bookOf(node.id).rewards;
        assertEq(before - later, uint256(burned) + pooled + 0.5 ether);
        assertEq(before - later, 10.5 ether - reward, "as without a bonus");
        assertEq(settlement.pool() - pool, pooled + 0.5 ether, "no other account pays for it");
    }

    /// @notice A node stays silent, its client pays another one, and the first claims its job as well. Expected end: in time it
    ///         cannot; by a lie about the time its batch is void. The client pays once.
    function test_attack_a_retry_is_paid_twice() public {
        openLane(one, node.id, 50 * VCN);
        openLane(one, other.id, 50 * VCN);
        Job[] memory first = jobsOf(one, node.id, 1, 10 * VCN);
        settle(first[0], false);
        Leaf[] memory late = leavesOf(first);
        pass(100 + 121);
        settleLeaves(one, other.id, leavesOf(jobsOf(one, other.id, 1, 10 * VCN)), 0);
        Submission memory made = submissionFor(late, SumTreeLib.nodeOf(late[0]), node.id, UNRECEIPTED);
        made.mineBy = first[0].details.deadline + 120;
        Claim[] memory claims = claimsOf(one, node.id, 1, 10 * VCN, 0);
        vm.prank(node.id);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.StaleJob.selector, made.mineBy));
        settlement.submit(made, claims);
        Contents memory contents = settleLeaves(one, node.id, late, UNRECEIPTED);
        fraudProofs.proveFraud(proofOf(node.id, contents, late, 0, FraudKind.TooLate, abi.encode(first[0].details)));
        settlement.refund(node.id, SLOT, contents);
        assertEq(_unspent(), 89.5 ether, "paid once");
        assertEq(stakes.nodeOf(node.id).activeStake, 5_000 * VCN);
        assertEq(uint8(stateOf(other.id, SLOT)), uint8(BatchState.Pending), "the other's job is untouched");
    }

    // ---- the coin

    /// @notice The coin of a network is named by its constructors and never again, and it is ours. Expected end: it takes no
    ///         fee and calls no receiver, and a transfer moves what it says.
    function test_attack_a_coin_with_a_fee() public {
        assertEq(address(settlement.coin()), address(coin));
        address blunt = makeAddr("receiver that is called");
        vm.etch(blunt, hex"fe");
        uint256 supply = coin.totalSupply();
        uint256 before = coin.balanceOf(address(this));
        coin.transfer(blunt, 7 * VCN);
        coin.approve(address(this), 5 * VCN);
        coin.transferFrom(address(this), blunt, 5 * VCN);
        assertEq(coin.balanceOf(blunt), 12 * VCN);
        assertEq(before - coin.balanceOf(address(this)), 12 * VCN);
        assertEq(coin.totalSupply(), supply);
    }

    /// @notice And if it did call: expected end: the receiver finds its money gone from the books already.
    function test_attack_a_coin_that_calls_back() public {
        Thief thief = new Thief();
        Node memory own = makeNode("thief's node");
        own.owner = address(thief);
        fundOwner(own, 5_000 * VCN);
        uint40 deadline = uint40(block.timestamp);
        bytes memory consent = consentOf(own, own.owner, deadline);
        vm.prank(own.owner);
        stakes.register(own.id, address(0), 5_000 * VCN, 6, deadline, consent);
        bench(3);
        graduate(own);
        coin.approve(address(settlement), 50 * VCN);
        settlement.depositFor(address(thief), 20 * VCN);
        vm.prank(own.owner);
        stakes.unbond(own.id, 5_000 * VCN);
        pass(profile.unbondingSeconds);
        vm.etch(address(coin), address(new CallingCoin()).code);

        _askTwice(thief, address(settlement), abi.encodeCall(ISettlement.withdraw, (20 * VCN)), 20 * VCN);
        assertEq(thief.refusal(), abi.encodeWithSelector(ISettlement.NotEnoughFree.selector, 20 * VCN, 0));
        uint256 rewards = settlement.bookOf(own.id).rewards;
        _askTwice(thief, address(settlement), abi.encodeCall(ISettlement.claim, (own.id)), rewards);
        assertEq(thief.refusal(), abi.encodeWithSelector(ISettlement.NothingToClaim.selector, own.id));
        _askTwice(thief, address(stakes), abi.encodeWithSelector(stakes.withdraw.selector, own.id), 5_000 * VCN);
        assertEq(thief.refusal(), abi.encodeWithSelector(IStakeManager.NothingUnbonding.selector, own.id));
    }

    function _askTwice(Thief thief, address target, bytes memory data, uint256 due) private {
        uint256 before = coin.balanceOf(address(thief));
        assertGt(due, 0);
        thief.ask(target, data);
        assertEq(thief.calls(), 1, "it was called");
        assertFalse(thief.wasPaidTwice());
        assertEq(coin.balanceOf(address(thief)) - before, due);
    }
}
