// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {console2} from "forge-std/console2.sol";
import {Vm} from "forge-std/Vm.sol";

import {IPanel} from "../../contracts/interfaces/IPanel.sol";
import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {Leaf} from "../../contracts/libraries/SumTreeLib.sol";
import {BatchState, Claim, Contents, Debit, Submission} from "../../contracts/types/BatchTypes.sol";
import {FraudKind, Proof} from "../../contracts/types/FraudTypes.sol";

import {Papers} from "./Papers.sol";

/// @notice What transactions cost, and that they stay within their budgets.
/// @dev Only with --isolate is a call a transaction of its own, with its 21,000, its calldata and cold storage:
///      npx forge test --isolate --mc GasReport -vv
contract GasReport is Papers {
    /// @dev Client i is only made when a batch needs it.
    Client[] private clients;
    Node internal node;

    function setUp() public override {
        super.setUp();
        coin.approve(address(settlement), 100 * VCN);
        settlement.fundPool(100 * VCN);
        bench(5);
        node = registered("node", 20_000 * VCN);
        graduate(node);
        _useHeadStartUp();
    }

    /// @dev As a node's first cases do, of which each writes a word that later ones leave alone.
    function _useHeadStartUp() private {
        vm.record();
        court.runningOf(node.id, CLASS);
        (bytes32[] memory read,) = vm.accesses(address(court));
        vm.store(address(court), read[0], bytes32(uint256(11_512) << 32 | 11_512));
        (uint32 told, uint32 confirmed) = court.runningOf(node.id, CLASS);
        assertEq(told + confirmed, 0);
    }

    /// @dev Gas of the last call, as its sender pays it: refunds taken off, as a receipt has it.
    function _report(string memory what, uint256 jobs, uint256 budget) private {
        Vm.Gas memory gas = vm.lastCallGas();
        uint256 used = gas.gasTotalUsed;
        string memory line = string.concat(_padded(used), " of ", _padded(budget), "  ", what);
        if (jobs != 1) line = string.concat(line, ", a job ", vm.toString(used / jobs));
        console2.log(line);
        assertLe(used, budget, what);
    }

    function _padded(uint256 value) private pure returns (string memory text) {
        text = vm.toString(value);
        while (bytes(text).length < 9) text = string.concat(" ", text);
    }

    function _clients(uint256 count) private {
        while (clients.length < count) {
            Client memory one = client(string.concat("client ", vm.toString(clients.length)), 20 * VCN);
            openLane(one, node.id, 20 * VCN);
            clients.push(one);
        }
    }

    /// @dev `count` jobs of 0.1 VCN spread evenly over `parties` clients.
    function _submit(uint8 slot, uint16 count, uint256 parties) internal returns (Contents memory contents) {
        _clients(parties);
        Claim[] memory claims = new Claim[](parties);
        uint24 each = uint24(count / parties);
        for (uint256 i; i < parties; ++i) {
            claims[i] = claimOf(clients[i], node.id, each, uint96(each) * VCN / 10, 0);
        }
        Submission memory made = submissionOf(node.id, slot, claims, count);
        contents = contentsOf(made, claims);
        vm.prank(node.id);
        settlement.submit(made, claims);
    }

    function _submitted(string memory what, uint8 slot, uint16 count, uint256 parties, uint256 budget)
        private
        returns (Contents memory contents)
    {
        contents = _submit(slot, count, parties);
        _report(what, count, budget);
    }

    function _finalized(string memory what, uint8 slot, uint256 budget) private {
        pass(profile.challengeSeconds);
        settlement.finalize(node.id, slot);
        _report(what, 1, budget);
        assertEq(uint8(stateOf(node.id, slot)), uint8(BatchState.Final));
    }

    // ---- nodes

    function test_stakes() public {
        Node memory other = makeNode("other node");
        fundOwner(other, 20_000 * VCN);
        uint40 deadline = uint40(vm.getBlockTimestamp());
        bytes memory consent = consentOf(other, other.owner, deadline);
        vm.prank(other.owner);
        stakes.register(other.id, address(0), 5_000 * VCN, 2, deadline, consent);
        _report("register", 1, 120_000);
        vm.prank(other.owner);
        stakes.stake(other.id, 1_000 * VCN);
        _report("stake", 1, 60_000);
        vm.prank(other.owner);
        stakes.unbond(other.id, 1_000 * VCN);
        _report("unbond", 1, 80_000);
        pass(profile.unbondingSeconds);
        vm.prank(other.owner);
        stakes.withdraw(other.id);
        _report("withdraw", 1, 50_000);
        pass(1 days);
        vm.prank(other.id);
        stakes.checkIn(other.id);
        _report("checkIn", 1, 50_000);
        vm.prank(other.id);
        court.joinVerifiers(other.id, CLASS);
        _report("joinVerifiers", 1, 150_000);
    }

    function test_slash() public {
        vm.prank(node.owner);
        stakes.unbond(node.id, 1_000 * VCN);
        slashed(node.id, 1_000);
        _report("slash of stake and unbonding", 1, 80_000);
    }

    function test_delegations() public {
        address ann = staker("ann", 100_000 * VCN);
        address bob = staker("bob", 100_000 * VCN);
        settlement.claim(node.id);
        _report("claim, the owner's alone", 1, 72_000);
        delegated(ann, node.id, 5_000 * VCN);
        _report("delegate, the node's first", 1, 150_000);
        delegated(bob, node.id, 5_000 * VCN);
        _report("delegate", 1, 130_000);
        vm.prank(ann);
        stakes.unbond(node.id, 1_000 * VCN);
        _report("unbond of a delegator, the node's first", 1, 100_000);
        vm.prank(bob);
        stakes.unbond(node.id, 1_000 * VCN);
        _report("unbond of a delegator", 1, 80_000);
        vm.prank(node.owner);
        stakes.unbond(node.id, 1_000 * VCN);
        _report("unbond of the owner beside delegators", 1, 80_000);
        slashed(node.id, 1_000);
        _report("slash of a node with delegators", 1, 80_000);
        pass(profile.unbondingSeconds);
        vm.prank(ann);
        stakes.withdraw(node.id);
        _report("withdraw of a delegator", 1, 72_000);
        _clients(1);
        submitted(clients[0], node.id, 0, 1, VCN);
        sealDrawing(node.id, 0, 1_000, 0);
        pass(profile.challengeSeconds);
        settlement.finalize(node.id, 0);
        settlement.claim(node.id);
        _report("claim, shared", 1, 130_000);
        vm.prank(bob);
        stakes.claimRewards(node.id);
        _report("claimRewards", 1, 100_000);
    }

    function test_challenges() public {
        Node memory other = registered("other node", 5_000 * VCN);
        fundOwner(other, 100 * VCN);
        vm.prank(other.owner);
        stakes.challengeLiveness(node.id, other.id);
        _report("challengeLiveness", 1, 110_000);
        vm.prank(node.id);
        stakes.answerLiveness(node.id, other.owner);
        _report("answerLiveness", 1, 70_000);
        pass(9 days);
        stakes.penalizeOffline(node.id);
        _report("penalizeOffline", 1, 70_000);
    }

    // ---- clients

    function test_lanes() public {
        Client memory one = client("client", 100 * VCN);
        coin.transfer(one.id, 100 * VCN);
        vm.prank(one.id);
        coin.approve(address(settlement), 100 * VCN);
        vm.prank(one.id);
        settlement.deposit(50 * VCN);
        _report("deposit", 1, 70_000);
        openLane(one, node.id, 20 * VCN);
        _report("openLane, new", 1, 65_000);
        openLane(one, node.id, 20 * VCN);
        _report("openLane, top-up", 1, 55_000);
    }

    // ---- batches

    function test_single_job() public {
        _submitted("submit 1 job, fresh slot", 0, 1, 1, 160_000);
        sealDrawing(node.id, 0, 1_000, 0);
        _report("seal", 1, 60_000);
        _finalized("finalize, not drawn", 0, 110_000);
        _submitted("submit 1 job, slot used before", 0, 1, 1, 110_000);
        sealDrawing(node.id, 0, 1_000, 0);
        pass(profile.challengeSeconds);
        _submitted("submit 1 job, the last one becomes final", 0, 1, 1, 150_000);
    }

    function test_submit() public {
        _submitted("submit 10 jobs of 1 client", 0, 10, 1, 160_000);
        _submitted("submit 100 jobs of 1 client", 1, 100, 1, 160_000);
        _submitted("submit 10 jobs of 10 clients", 2, 10, 10, 360_000);
        _submitted("submit 100 jobs of 10 clients", 3, 100, 10, 360_000);
        _submitted("submit 100 jobs of 100 clients", 4, 100, 100, 2_400_000);
    }

    // ---- court

    function test_court_of_three() public {
        Contents memory contents = _submitted("submit 100 jobs of 10 clients", 0, 100, 10, 360_000);
        seal(node.id, 0);
        _judged(contents, 3);
        court.resolve(settlement.batchIdOf(node.id, 0), contents);
        _report("resolve, pass", 1, 140_000);
        _finalized("finalize, passed", 0, 72_000);
    }

    function test_court_of_one() public {
        _passedByOne("resolve, pass", 68_000);
    }

    function test_court_of_a_new_node() public {
        node = registered("new node", 20_000 * VCN);
        graduate(node);
        _passedByOne("resolve, pass, the node's first case", 92_000);
    }

    function _passedByOne(string memory what, uint256 budget) private {
        _clients(1);
        Contents memory contents = submitted(clients[0], node.id, 0, 100, 5 * VCN);
        seal(node.id, 0);
        _judged(contents, 1);
        court.resolve(settlement.batchIdOf(node.id, 0), Contents(0, 0, new Debit[](0)));
        _report(what, 1, budget);
    }

    function test_court_that_finds_fraud() public {
        Contents memory contents = _submit(0, 100, 10);
        seal(node.id, 0);
        bytes32 caseId = court.convene(node.id, 0, contents);
        judge(caseId, three(0, 0, 0));
        court.resolve(caseId, contents);
        _report("resolve, fraud that may be appealed", 1, 240_000);
        pass(profile.appealSeconds + 1);
        court.resolve(caseId, contents);
        _report("resolve, severe", 1, 240_000);
        settlement.refund(node.id, 0, contents);
        _report("refund 10 lanes", 1, 160_000);
    }

    function test_court_of_seven() public {
        bench(5, "more");
        Contents memory contents = _submit(0, 100, 10);
        seal(node.id, 0);
        bytes32 caseId = court.convene(node.id, 0, contents);
        judge(caseId, three(10_000, 10_000, 0));
        court.resolve(caseId, contents);
        _report("resolve, seven more seats", 1, 420_000);
        for (uint8 seat = 3; seat < 10; ++seat) {
            commitSeat(caseId, seat);
        }
        for (uint8 seat = 3; seat < 10; ++seat) {
            revealSeat(caseId, seat, 10_000);
        }
        court.resolve(caseId, contents);
        _report("resolve, pass by seven", 1, 330_000);
    }

    /// @dev What a node shows on chain: a question with a short answer, and the longest that there may be.
    function test_data() public {
        bytes memory longest = new bytes(16 * 1024);
        for (uint256 i; i < longest.length; ++i) {
            longest[i] = 0x5A;
        }
        for (uint8 slot; slot < 2; ++slot) {
            Contents memory contents = _submit(slot, 50, 1);
            seal(node.id, slot);
            bytes32 caseId = court.convene(node.id, slot, contents);
            uint24 leaf = uint24(settlement.sampledLeaves(node.id, slot)[0]);
            vm.prank(court.seatsOf(caseId)[0].node);
            court.demandData(caseId, 0, leaf, keccak256("key"));
            if (slot == 0) _report("demandData", 1, 110_000);
            vm.prank(node.id);
            court.answerData(caseId, slot == 0 ? bytes("a short answer") : longest);
            _report(slot == 0 ? "answerData, 14 bytes" : "answerData, 16 KiB", 1, slot == 0 ? 60_000 : 1_000_000);
        }
    }

    function test_appeal() public {
        bench(5, "more");
        Contents memory contents = _submit(0, 100, 1);
        seal(node.id, 0);
        bytes32 caseId = court.convene(node.id, 0, contents);
        judge(caseId, three(0, 0, 0));
        court.resolve(caseId, contents);
        coin.transfer(node.owner, court.appealBondOf(node.id));
        vm.prank(node.owner);
        coin.approve(address(court), type(uint256).max);
        vm.prank(node.owner);
        court.appeal(caseId, contents);
        _report("appeal, seven more seats", 1, 480_000);
        address who = court.seatsOf(caseId)[3].node;
        vm.prank(who);
        court.abstain(caseId, 3, contents);
        _report("abstain, another seat", 1, 270_000);
    }

    function test_panel() public {
        address[] memory people = new address[](3);
        (people[0], people[1], people[2]) = (address(0xA1), address(0xA2), address(0xA3));
        IPanel panel = IPanel(court.panel());
        vm.prank(address(timelock));
        panel.setArbiters(people, 2);
        Contents memory contents = _submit(0, 100, 1);
        seal(node.id, 0);
        bytes32 caseId = court.convene(node.id, 0, contents);
        judge(caseId, three(9_000, 9_000, 9_000));
        // Two more verifiers, and the three of before, doubt as well.
        court.resolve(caseId, contents);
        for (uint8 seat = 3; seat < 8; ++seat) {
            commitSeat(caseId, seat);
        }
        for (uint8 seat = 3; seat < 8; ++seat) {
            revealSeat(caseId, seat, 9_000);
        }
        court.resolve(caseId, contents);
        _report("resolve, a doubt for arbiters", 1, 100_000);
        vm.prank(people[0]);
        panel.vote(caseId, true);
        _report("vote, the first", 1, 88_000);
        vm.prank(people[1]);
        panel.vote(caseId, true);
        _report("vote, the deciding one: pass", 1, 280_000);
    }

    function test_challenge() public {
        _clients(1);
        Client memory one = client("challenger", 100 * VCN);
        openLane(one, node.id, 20 * VCN);
        Contents memory contents = submitted(one, node.id, 0, 5, 5 * VCN);
        vm.prank(one.id);
        fraudProofs.challengeLeaf(node.id, 0, contents, 2);
        _report("challengeLeaf", 1, 110_000);
        uint256 commitBlock = settlement.batchOf(node.id, 0).commitBlock;
        passInCourt(node.id, 0, contents);
        finish(node.id, 0);
        fraudProofs.endChallenge(node.id, 0, commitBlock);
        _report("endChallenge", 1, 70_000);
    }

    function test_proof_of_one_leaf() public {
        _proven("proveFraud, 1 leaf, no papers", 1, FraudKind.NoReceipt, 200_000);
    }

    function test_proof_among_100_leaves() public {
        _proven("proveFraud, 100 leaves, no papers", 100, FraudKind.NoReceipt, 220_000);
    }

    function test_proof_by_a_signed_result() public {
        _proven("proveFraud, 100 leaves, a signed result", 100, FraudKind.ResultDiffers, 240_000);
    }

    /// @dev One leaf of the batch is without its receipt and has another output.
    function _proven(string memory what, uint24 count, FraudKind fraudKind, uint256 budget) private {
        _clients(1);
        Job[] memory jobs = jobsOf(clients[0], node.id, count, VCN / 10);
        settle(jobs[0], false);
        jobs[0].leaf.outputCommit = 0;
        Leaf[] memory leaves = leavesOf(jobs);
        Contents memory contents = settleLeaves(clients[0], node.id, leaves, 0);
        Proof memory proof = proofOf(node.id, contents, leaves, 0, fraudKind, papersFor(fraudKind, jobs[0], node.key));
        fraudProofs.proveFraud(proof);
        _report(what, 1, budget);
    }

    function _judged(Contents memory contents, uint8 seats) private {
        bytes32 caseId = court.convene(node.id, 0, contents);
        _report(string.concat("convene ", vm.toString(seats), " of 5"), 1, seats == 1 ? 162_000 : 252_000);
        for (uint8 seat; seat < seats; ++seat) {
            evidenceOf[seat] = -1_800;
            commitSeat(caseId, seat);
            if (seat == 0) _report("commit a seat", 1, 43_000);
        }
        for (uint8 seat; seat < seats; ++seat) {
            revealSeat(caseId, seat, 10_000);
            if (seat == 0) _report("reveal a seat, 10 scores", 1, 61_000);
        }
    }
}
