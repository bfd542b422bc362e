// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Batch, BatchState, Claim, Contents, LaneView, Submission} from "../../contracts/types/BatchTypes.sol";
import {CaseState, Seat, SeatState, Verdict} from "../../contracts/types/CaseTypes.sol";
import {BatchRecord, NodeState, NodeView} from "../../contracts/types/NodeTypes.sol";
import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {SampleLib} from "../../contracts/libraries/SampleLib.sol";
import {Leaf, SumTreeLib} from "../../contracts/libraries/SumTreeLib.sol";
import {Lie, Proof} from "../../contracts/types/EvidenceTypes.sol";
import {JobOutput, JobTerms} from "../../contracts/types/SingleTypes.sol";

import {Papers} from "./Papers.sol";

/// @notice Everybody who can do something, doing it in any order: clients, nodes, verifiers, a thief, time.
/// @dev Every call that succeeds is checked on the spot; what is wrong is kept in `wrong` and never forgotten. One prank a call
///      and no startPrank: it would outlive a call that reverts.
contract Handler is Papers {
    uint256 public constant ACTORS = 3;
    uint8 public constant SLOTS_USED = 3;

    Node[] public nodes;
    Client[] public clients;
    string public wrong;
    uint256 public burned;
    /// @dev What was reached, so that a run that does nothing is noticed.
    uint256 public submissions;
    uint256 public finals;
    uint256 public voids;
    uint256 public refunds;
    uint256 public slashes;
    uint256 public condemned;
    uint256 public settledSingles;
    uint256 public challenges;
    mapping(bytes32 batchId => uint256) public refundCount;
    mapping(bytes32 lane => uint96) private _marks;
    mapping(bytes32 lane => uint24) private _jobs;
    mapping(address node => mapping(uint8 slot => bytes)) private _contents;
    mapping(bytes32 batchId => bytes) private _leaves;
    /// @dev Jobs without a lane that are open or committed, and what is locked for them together.
    bytes[] private _singles;
    uint256 public singlesHold;
    bytes32[] private _challenged;
    bytes[] private _challengedAt;

    function setUp() public override {
        super.setUp();
        for (uint256 i; i < ACTORS; ++i) {
            nodes.push(registered(string.concat("node ", vm.toString(i)), 5_000 * VCN));
            fundOwner(nodes[i], 20_000 * VCN);
            vm.prank(nodes[i].id);
            court.joinVerifiers(nodes[i].id, CLASS);
            clients.push(client(string.concat("client ", vm.toString(i)), 500 * VCN));
            coin.transfer(clients[i].id, 2_000 * VCN);
            vm.prank(clients[i].id);
            coin.approve(address(settlement), type(uint256).max);
        }
        Node[] memory others = bench(2);
        nodes.push(others[0]);
        nodes.push(others[1]);
        for (uint256 i; i < ACTORS; ++i) {
            for (uint256 j; j < ACTORS; ++j) {
                openLane(clients[i], nodes[j].id, 100 * VCN);
            }
        }
        // Past its probation: only so there are jobs without a lane, and batches that nobody draws.
        vm.prank(address(settlement));
        stakes.recordBatch(nodes[0].id, BatchRecord(20, 0, 20 * profile.minBurn, 20_000));
    }

    function nodeCount() external view returns (uint256) {
        return nodes.length;
    }

    function _node(uint256 pick) private view returns (Node memory) {
        return nodes[pick % ACTORS];
    }

    function _client(uint256 pick) private view returns (Client memory) {
        return clients[pick % ACTORS];
    }

    /// @dev The first batch in `state` from `pick` on, so that most calls find something to work on.
    function _find(BatchState state, uint256 pick) private view returns (address node, uint8 slot) {
        uint256 count = ACTORS * SLOTS_USED;
        for (uint256 i; i < count; ++i) {
            uint256 place = (pick % count + i) % count;
            (node, slot) = (nodes[place / SLOTS_USED].id, uint8(place % SLOTS_USED));
            if (stateOf(node, slot) == state) return (node, slot);
        }
    }

    function _kept(address node, uint8 slot) private view returns (Contents memory) {
        return abi.decode(_contents[node][slot], (Contents));
    }

    function _complain(string memory what) private {
        wrong = what;
    }

    // ---- clients

    function deposit(uint256 who, uint96 amount) external {
        amount = uint96(bound(amount, 10 * VCN, 100 * VCN));
        vm.prank(_client(who).id);
        settlement.deposit(amount);
    }

    function withdraw(uint256 who, uint96 amount) external {
        Client memory one = _client(who);
        amount = uint96(bound(amount, 1, 50 * VCN));
        vm.prank(one.id);
        settlement.withdraw(amount);
    }

    function topUpLane(uint256 who, uint256 whose, uint96 amount) external {
        openLane(_client(who), _node(whose).id, uint96(bound(amount, 1, 50 * VCN)));
    }

    function closeLane(uint256 who, uint256 whose) external {
        Client memory one = _client(who);
        address node = _node(whose).id;
        vm.prank(one.id);
        settlement.closeLane(one.id, one.signer, node);
    }

    function reclaimLane(uint256 who, uint256 whose) external {
        Client memory one = _client(who);
        uint256 before = settlement.accountOf(one.id);
        uint96 left = settlement.laneOf(one.id, one.signer, _node(whose).id).left;
        settlement.reclaimLane(one.id, one.signer, _node(whose).id);
        if (settlement.accountOf(one.id) != before + left) _complain("a reclaim pays what was left");
    }

    // ---- nodes

    function submitBatch(uint256 whose, uint8 slot, uint256 who, uint8 jobs, uint96 charge, uint8 flags) external {
        Node memory node = _node(whose);
        Client memory one = _client(who);
        jobs = uint8(bound(jobs, 1, 12));
        slot = _freeSlot(node.id, slot);
        uint96 left = settlement.laneOf(one.id, one.signer, node.id).left;
        charge = uint96(bound(charge, jobs, uint256(jobs) * 2 * VCN));
        if (charge > left / 2) charge = left / 2;
        uint96 bonus = flags % 4 == 0 ? charge * 9 / 100 : 0;
        Claim[] memory claims = claimsOf(one, node.id, jobs, charge, bonus);
        Submission memory made = submissionOf(node.id, slot, claims, jobs);
        made.flags = flags % 4;
        Contents memory contents = contentsOf(made, claims);
        vm.prank(node.id);
        settlement.submit(made, claims);
        _contents[node.id][slot] = abi.encode(contents);
        ++submissions;
        if (settlement.laneOf(one.id, one.signer, node.id).left != left - contents.debits[0].amount) {
            _complain("a lane pays its debit");
        }
    }

    function _freeSlot(address node, uint8 pick) private view returns (uint8 slot) {
        for (uint8 i; i < SLOTS_USED; ++i) {
            slot = (pick % SLOTS_USED + i) % SLOTS_USED;
            BatchState state = stateOf(node, slot);
            if (state == BatchState.None || state == BatchState.Final || state == BatchState.Refunded) break;
        }
    }

    function finalizeBatch(uint256 pick, uint8 state) external {
        (address node, uint8 slot) = _find(state % 2 == 0 ? BatchState.Pending : BatchState.Passed, pick);
        _finalize(node, slot);
    }

    function _finalize(address node, uint8 slot) private {
        Batch memory batch = settlement.batchOf(node, slot);
        bool passed = batch.state == BatchState.Passed;
        bool drawn = !passed && settlement.sampledLeaves(node, slot).length != 0;
        uint256 before = uint256(settlement.bookOf(node).rewards) + settlement.pool() + settlement.burnPending();
        settlement.finalize(node, slot);
        ++finals;
        if (drawn) _complain("a drawn batch became final without a pass");
        if (!passed && stakes.isJailed(node)) _complain("a jailed node's batch became final without a court");
        uint256 given = uint256(settlement.bookOf(node).rewards) + settlement.pool() + settlement.burnPending() - before;
        uint256 amount = uint256(batch.charge) + batch.bonus + (passed ? 0 : batch.fee);
        if (given != amount) _complain("a final batch gives out its amount");
    }

    function refundBatch(uint256 pick, bool again) external {
        (address node, uint8 slot) = _find(again ? BatchState.Refunded : BatchState.Void, pick);
        _refund(node, slot);
    }

    function _refund(address node, uint8 slot) private {
        Contents memory contents = _kept(node, slot);
        Batch memory batch = settlement.batchOf(node, slot);
        settlement.refund(node, slot, contents);
        uint256 total;
        for (uint256 i; i < contents.debits.length; ++i) {
            total += contents.debits[i].amount;
        }
        ++refunds;
        if (++refundCount[settlement.batchIdOf(node, slot)] != 1) _complain("a batch is refunded once");
        if (batch.state != BatchState.Void) _complain("only a void batch is refunded");
        if (total != uint256(batch.charge) + batch.fee + batch.bonus) _complain("a refund is exactly the debits");
    }

    function moveStake(uint256 whose, uint96 amount, uint8 kind) external {
        Node memory node = _node(whose);
        amount = uint96(bound(amount, 1, 3_000 * VCN));
        uint40 unlockAt = stakes.nodeOf(node.id).unlockAt;
        vm.prank(node.owner);
        if (kind % 5 == 0) stakes.stake(node.id, amount);
        else if (kind % 5 == 1) stakes.unbond(node.id, amount);
        else if (kind % 5 == 2) stakes.rebond(node.id, amount);
        else if (kind % 5 == 3) stakes.unjail(node.id);
        else if (stakes.withdraw(node.id) != 0 && vm.getBlockTimestamp() < unlockAt) _complain("stake left too early");
    }

    /// @dev Out of jail or back from an exit, as soon as that is possible.
    function comeBack(uint256 whose) external {
        Node memory node = _node(whose);
        NodeView memory shown = stakes.nodeOf(node.id);
        if (vm.getBlockTimestamp() < shown.jailedUntil) vm.warp(shown.jailedUntil);
        if (shown.activeStake < 2_000 * VCN) {
            vm.prank(node.owner);
            stakes.stake(node.id, 2_000 * VCN - shown.activeStake);
        }
        if (shown.state != NodeState.Jailed) return;
        vm.prank(node.owner);
        stakes.unjail(node.id);
    }

    function checkIn(uint256 whose) external {
        address node = _node(whose).id;
        vm.prank(node);
        stakes.checkIn(node);
    }

    function claimRewards(uint256 whose) external {
        Node memory node = nodes[whose % nodes.length];
        uint256 before = coin.balanceOf(stakes.payoutOf(node.id));
        uint96 amount = settlement.claim(node.id);
        if (coin.balanceOf(stakes.payoutOf(node.id)) != before + amount) _complain("rewards go to the payout");
    }

    // ---- court

    function sealBatch(uint256 pick) external {
        (address node, uint8 slot) = _find(BatchState.Pending, pick);
        seal(node, slot);
    }

    function conveneBatch(uint256 pick) external {
        (address node, uint8 slot) = _find(BatchState.Pending, pick);
        _convene(node, slot);
    }

    function _convene(address node, uint8 slot) private {
        bytes32 caseId = convened(node, slot, _kept(node, slot));
        Seat[] memory seats = court.seatsOf(caseId);
        for (uint256 i; i < seats.length; ++i) {
            if (seats[i].node == node) _complain("a node sits on its own batch");
            for (uint256 j; j < i; ++j) {
                if (seats[i].node == seats[j].node) _complain("a verifier sits twice");
            }
        }
    }

    function actOnSeat(uint256 pick, uint8 seat, uint16 score, bool replace) external {
        (address node, uint8 slot) = _find(BatchState.InCourt, pick);
        bytes32 caseId = settlement.batchIdOf(node, slot);
        seat %= uint8(court.caseOf(caseId).seatCount);
        if (replace) {
            court.replaceSeat(caseId, seat, _kept(node, slot));
        } else if (court.seatsOf(caseId)[seat].state == SeatState.Drawn) {
            commitSeat(caseId, seat);
        } else {
            revealSeat(caseId, seat, _scoreFrom(score));
        }
    }

    /// @dev Half pass, a quarter is doubtful, a quarter bad.
    function _scoreFrom(uint16 pick) private pure returns (uint16) {
        if (pick % 4 < 2) return 9_501 + pick % 500;
        return pick % 4 == 2 ? 8_501 + pick % 1_000 : pick % 8_501;
    }

    function resolveCase(uint256 pick) external {
        (address node, uint8 slot) = _find(BatchState.InCourt, pick);
        _resolve(node, slot);
    }

    function _resolve(address node, uint8 slot) private {
        bytes32 caseId = settlement.batchIdOf(node, slot);
        NodeView memory before = stakes.nodeOf(node);
        Verdict verdict = court.resolve(caseId, _kept(node, slot));
        NodeView memory now_ = stakes.nodeOf(node);
        uint256 lost = _countLoss(before, now_);
        if (lost != 0 && verdict != Verdict.Severe) _complain("only a severe verdict slashes");
        if (verdict == Verdict.Severe && court.seatsOf(caseId).length < 3) _complain("one seat never voids");
        if (stateOf(node, slot) == BatchState.Void) ++voids;
    }

    function _countLoss(NodeView memory before, NodeView memory now_) private returns (uint256 lost) {
        lost = uint256(before.activeStake) + before.unbondingStake - now_.activeStake - now_.unbondingStake;
        burned += lost - lost / 10;
        if (lost != 0) ++slashes;
        if (uint256(now_.activeStake) + 1 < uint256(before.activeStake) - before.activeStake / 2) {
            _complain("a case takes at most half of the stake");
        }
        if (uint256(now_.unbondingStake) + 1 < uint256(before.unbondingStake) - before.unbondingStake / 2) {
            _complain("a case takes at most half of what unbonds");
        }
    }

    /// @dev A job without a receipt in a batch that says it has one, or, where it is `honest`, with it.
    function submitJob(uint256 whose, uint8 slot, uint256 who, uint96 price, bool honest) external {
        Node memory node = _node(whose);
        Client memory one = _client(who);
        slot = _freeSlot(node.id, slot);
        uint24 index = settlement.laneOf(one.id, one.signer, node.id).jobs + 1;
        Job memory job = jobOf(one, node.id, index, uint96(bound(price, 1, 2 * VCN)));
        if (!honest) settle(job, false);
        _submitLeaf(node.id, slot, one, job.leaf);
    }

    function _submitLeaf(address node, uint8 slot, Client memory one, Leaf memory leaf) private {
        Leaf[] memory leaves = new Leaf[](1);
        leaves[0] = leaf;
        Submission memory made = submissionFor(leaves, SumTreeLib.nodeOf(leaf), node, 0);
        made.slot = slot;
        Contents memory contents = submit(made, claimsOf(one, node, 1, made.priceSum, made.bonusSum));
        _contents[node][slot] = abi.encode(contents);
        _leaves[settlement.batchIdOf(node, slot)] = abi.encode(leaves);
        ++submissions;
    }

    /// @dev Whatever a court has said so far; a batch that is not condemned must be honest or over.
    function proveFraud(uint256 whose, uint8 slot) external {
        address node = _node(whose).id;
        slot %= SLOTS_USED;
        Batch memory batch = settlement.batchOf(node, slot);
        Leaf[] memory leaves = abi.decode(_leaves[settlement.batchIdOf(node, slot)], (Leaf[]));
        Proof memory proof = proofOf(node, _kept(node, slot), leaves, 0, Lie.NoReceipt, "");
        proof.slot = slot;
        uint256 fee = batch.state == BatchState.Passed ? batch.fee : 0;
        if (leaves[0].receiptHash != 0) _condemn(proof, fee, "an honest batch was condemned");
        else _condemn(proof, fee, "");
    }

    function _condemn(Proof memory proof, uint256 fee, string memory fault) private {
        NodeView memory before = stakes.nodeOf(proof.node);
        uint256 pool = settlement.pool();
        evidence.proveFraud(proof);
        ++condemned;
        ++voids;
        NodeView memory now_ = stakes.nodeOf(proof.node);
        uint256 lost = _countLoss(before, now_);
        if (bytes(fault).length != 0) _complain(fault);
        if (now_.state != NodeState.Jailed) _complain("who is condemned is jailed");
        if (settlement.pool() + fee != pool + lost / 10) _complain("a proof pays nobody");
    }

    function voidStarved(uint256 pick, bool inCourt) external {
        (address node, uint8 slot) = _find(inCourt ? BatchState.InCourt : BatchState.Pending, pick);
        court.voidStarved(node, slot, _kept(node, slot));
        ++voids;
    }

    /// @dev The whole way of a batch, so that long stories are not left to luck alone.
    function judgeBatch(uint256 pick, bool convene, uint16 a, uint16 b, uint16 c) external {
        (address node, uint8 slot) = _find(convene ? BatchState.Pending : BatchState.InCourt, pick);
        if (convene) _convene(node, slot);
        bytes32 caseId = settlement.batchIdOf(node, slot);
        uint16[3] memory picks = [a, b, c];
        for (uint256 rounds; rounds < 2 && court.caseOf(caseId).state == CaseState.Open; ++rounds) {
            _sit(caseId, picks);
            _resolve(node, slot);
        }
    }

    function _sit(bytes32 caseId, uint16[3] memory picks) private {
        uint8 count = court.caseOf(caseId).seatCount;
        for (uint8 seat; seat < count; ++seat) {
            if (court.seatsOf(caseId)[seat].state == SeatState.Drawn) commitSeat(caseId, seat);
        }
        for (uint8 seat; seat < count; ++seat) {
            if (court.seatsOf(caseId)[seat].state == SeatState.Committed) {
                revealSeat(caseId, seat, _scoreFrom(picks[seat % 3]));
            }
        }
    }

    function settleBatch(uint256 pick, uint8 kind) external {
        pass(profile.challengeSeconds);
        BatchState[3] memory states = [BatchState.Passed, BatchState.Void, BatchState.Pending];
        BatchState state = states[kind % 3];
        (address node, uint8 slot) = _find(state, pick);
        for (uint8 i = 1; i < 3 && stateOf(node, slot) != state; ++i) {
            state = states[(kind % 3 + i) % 3];
            (node, slot) = _find(state, pick);
        }
        if (state == BatchState.Pending) seal(node, slot);
        if (state == BatchState.Void) _refund(node, slot);
        else _finalize(node, slot);
    }

    // ---- jobs without a lane

    function openSingle(uint256 whose, uint256 who, uint96 price, bytes32 nonce) external {
        Client memory one = _client(who);
        Job memory job = jobOf(one, _node(whose).id, 0, uint96(bound(price, 1, 5 * VCN)));
        job.details.requestId = nonce;
        job.order.details = EnvelopeLib.jobDetailsHash(job.details);
        job.order.cumulative = job.details.maxTotal;
        job.receipt.jobId = paperDigest(EnvelopeLib.hashOf(job.order));
        vm.prank(one.id);
        singles.open(job.order, job.details, "");
        _singles.push(abi.encode(job, one.signerKey, false));
        singlesHold += job.details.maxTotal;
    }

    /// @dev Commit, settle or expire one of the open jobs.
    function stepSingle(uint256 pick, bool settles, uint96 charge, uint32 actualMs) external {
        pick %= _singles.length;
        (Job memory job, uint256 key, bool committed) = abi.decode(_singles[pick], (Job, uint256, bool));
        if (!settles) {
            vm.warp(job.details.deadline + profile.laneCloseSeconds + 1);
            singles.expire(job.receipt.jobId, _termsOf(job), _outputOf(job, committed));
            _endSingle(pick, job.details.maxTotal);
        } else if (!committed) {
            vm.prank(job.order.node);
            singles.commit(job.receipt.jobId, _termsOf(job), _outputOf(job, true));
            _singles[pick] = abi.encode(job, key, true);
        } else {
            job.receipt.charge = uint96(bound(charge, 0, job.details.price));
            job.receipt.actualMs = actualMs;
            bytes memory signed = signature(key, paperDigest(EnvelopeLib.receiptHash(job.receipt)));
            singles.settle(job.receipt.jobId, _termsOf(job), _outputOf(job, true), job.receipt, signed);
            _endSingle(pick, job.details.maxTotal);
            ++settledSingles;
        }
    }

    function _endSingle(uint256 pick, uint96 locked) private {
        singlesHold -= locked;
        _singles[pick] = _singles[_singles.length - 1];
        _singles.pop();
    }

    function _termsOf(Job memory job) private pure returns (JobTerms memory) {
        return JobTerms(
            job.order.client,
            job.order.signer,
            job.order.node,
            job.details.price,
            job.details.bonusCap,
            job.details.expectedMs,
            job.details.deadline
        );
    }

    function _outputOf(Job memory job, bool committed) private pure returns (JobOutput memory) {
        return committed ? JobOutput(job.result.resultHash, job.result.outputCommit) : JobOutput(0, 0);
    }

    // ---- challenges

    function challenge(uint256 pick) external {
        (address node, uint8 slot) = _find(BatchState.Pending, pick);
        Contents memory contents = _kept(node, slot);
        vm.prank(contents.debits[0].client);
        evidence.challengeLeaf(node, slot, contents, 0);
        _challenged.push(settlement.batchIdOf(node, slot));
        _challengedAt.push(abi.encode(node, slot, settlement.batchOf(node, slot).commitBlock));
        ++challenges;
    }

    function endChallenge(uint256 pick) external {
        pick %= _challenged.length;
        (address node, uint8 slot, uint256 commitBlock) = abi.decode(_challengedAt[pick], (address, uint8, uint256));
        bool over = settlement.batchIdOf(node, slot) != _challenged[pick];
        BatchState state = stateOf(node, slot);
        over = over || state == BatchState.Void || state == BatchState.Final || state == BatchState.Refunded;
        evidence.endChallenge(node, slot, commitBlock);
        if (!over) _complain("a bond moved before its batch was over");
    }

    function bondsHold() external view returns (uint256 total) {
        for (uint256 i; i < _challenged.length; ++i) {
            (, uint96 bond) = evidence.challengeOf(_challenged[i]);
            total += bond;
        }
    }

    // ---- time, and those with bad intentions

    function step(uint8 blocks, uint16 secs) external {
        mine(bound(blocks, 1, 20));
        pass(bound(secs, 1, 300));
    }

    function aDay() external {
        mine(1);
        pass(1 days);
    }

    function flush() external {
        burned += settlement.flushBurn();
    }

    function steal(uint256 whose, uint8 slot, uint8 kind) external {
        Node memory node = _node(whose);
        slot %= SLOTS_USED;
        address[] memory seats = new address[](1);
        seats[0] = address(0xBAD);
        vm.prank(address(0xBAD));
        if (kind % 7 == 0) settlement.closeCase(node.id, slot, true, seats);
        else if (kind % 7 == 1) settlement.openCase(node.id, slot);
        else if (kind % 7 == 2) settlement.voidUnheard(node.id, slot);
        else if (kind % 7 == 3) settlement.creditPool(1);
        else if (kind % 7 == 4) stakes.slash(node.id, 1, 0);
        else if (kind % 7 == 5) stakes.withdraw(node.id);
        else settlement.withdraw(1);
        _complain("a thief got through");
    }

    function donate(uint96 amount) external {
        // A donation credits nobody: it is undone at once so that the books can be compared with balances.
        amount = uint96(bound(amount, 1, VCN));
        coin.transfer(address(settlement), amount);
        vm.prank(address(settlement));
        coin.transfer(address(this), amount);
    }

    // ---- what the invariants add up

    /// @notice Left and mark of every lane; complains where a mark or a job count fell.
    function lanesHold() external returns (uint256 total) {
        for (uint256 i; i < ACTORS; ++i) {
            for (uint256 j; j < ACTORS; ++j) {
                LaneView memory lane = settlement.laneOf(clients[i].id, clients[i].signer, nodes[j].id);
                bytes32 key = keccak256(abi.encode(i, j));
                if (lane.mark < _marks[key] || lane.jobs < _jobs[key]) _complain("a lane went back");
                (_marks[key], _jobs[key]) = (lane.mark, lane.jobs);
                total += lane.left;
            }
        }
    }

    /// @notice Money in batches that are neither paid nor refunded.
    function batchesHold() external view returns (uint256 total) {
        for (uint256 i; i < ACTORS; ++i) {
            for (uint8 slot; slot < SLOTS_USED; ++slot) {
                total += _held(settlement.batchOf(nodes[i].id, slot));
            }
        }
    }

    function _held(Batch memory batch) private pure returns (uint256) {
        uint256 paid = uint256(batch.charge) + batch.bonus;
        if (batch.state == BatchState.Passed) return paid;
        bool open = batch.state == BatchState.Pending || batch.state == BatchState.InCourt;
        return open || batch.state == BatchState.Void ? paid + batch.fee : 0;
    }

    /// @notice Debits of a node's open batches and their number, as its book should say.
    function openOf(address node) external view returns (uint256 value, uint256 count) {
        for (uint8 slot; slot < SLOTS_USED; ++slot) {
            Batch memory batch = settlement.batchOf(node, slot);
            bool open = batch.state == BatchState.Pending || batch.state == BatchState.InCourt
                || batch.state == BatchState.Passed;
            if (!open) continue;
            value += uint256(batch.charge) + batch.bonus + batch.fee;
            ++count;
        }
    }
}
