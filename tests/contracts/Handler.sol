// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    Batch,
    BatchState,
    Claim,
    Contents,
    Debit,
    LaneState,
    LaneView,
    Submission
} from "../../contracts/types/BatchTypes.sol";
import {CaseState, CaseView, Seat, SeatState, Verdict, VerifierSlot} from "../../contracts/types/CaseTypes.sol";
import {BatchRecord, DelegationView, NodeState, NodeView} from "../../contracts/types/NodeTypes.sol";
import {IPanel} from "../../contracts/interfaces/IPanel.sol";
import {MedianLib} from "../../contracts/libraries/MedianLib.sol";
import {SplitLib} from "../../contracts/libraries/SplitLib.sol";
import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {SampleLib} from "../../contracts/libraries/SampleLib.sol";
import {SeatLib} from "../../contracts/libraries/SeatLib.sol";
import {Leaf, SumTreeLib} from "../../contracts/libraries/SumTreeLib.sol";
import {FraudKind, Proof} from "../../contracts/types/FraudTypes.sol";

import {Stakers} from "./Stakers.sol";
import {Papers} from "./Papers.sol";

/// @notice Everybody who can do something, doing it in any order: clients, nodes, verifiers, stakers, a thief, time.
/// @dev Every call that succeeds is checked on the spot; what is wrong is kept in `wrong` and never forgotten. One prank a call
///      and no startPrank: it would outlive a call that reverts.
contract Handler is Stakers, Papers {
    uint8 public constant SLOTS_USED = 3;

    Node[] public nodes;
    Client[] public clients;
    uint256 public submissions;
    uint256 public namings;
    uint256 public finals;
    uint256 public voids;
    uint256 public refunds;
    uint256 public slashes;
    uint256 public growths;
    uint256 public alarms;
    uint256 public appeals;
    uint256 public votes;
    uint256 public demands;
    mapping(bytes32 caseId => uint256) public slashCount;
    /// @dev What a case has paid out so far: to who convened, then to its seats.
    mapping(bytes32 caseId => uint256) private _paid;
    uint256 public condemned;
    uint256 public challenges;
    mapping(bytes32 batchId => uint256) public refundCount;
    mapping(bytes32 lane => LaneView) private _lanes;
    /// @dev The most that a client has signed for on a lane, or that was on it when it was reclaimed.
    mapping(bytes32 lane => uint256) internal _signed;
    mapping(address client => uint256) private _free;
    /// @dev What a client, or a signer within its budget, has taken out of the free money since `_free`.
    mapping(address client => uint256) internal _spent;
    mapping(address node => mapping(uint256 day => uint256)) private _counted;
    mapping(address node => mapping(uint8 slot => bytes)) internal _contents;
    mapping(bytes32 batchId => bytes) private _leaves;
    bytes32[] internal _challenged;
    bytes[] internal _challengedAt;

    function setUp() public virtual override {
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
        _makeStakers();
        Node[] memory others = bench(5);
        for (uint256 i; i < others.length; ++i) {
            nodes.push(others[i]);
        }
        address[] memory people = new address[](3);
        (people[0], people[1], people[2]) = (address(0xA1), address(0xA2), address(0xA3));
        address panel = court.panel();
        vm.prank(address(timelock));
        IPanel(panel).setArbiters(people, 2);
        coin.approve(address(settlement), 10 * VCN);
        settlement.fundPool(10 * VCN);
        for (uint256 i; i < ACTORS; ++i) {
            vm.prank(nodes[i].owner);
            coin.approve(address(court), type(uint256).max);
        }
        for (uint256 i; i < ACTORS; ++i) {
            for (uint256 j; j < ACTORS; ++j) {
                openLane(clients[i], nodes[j].id, 100 * VCN);
            }
        }
    }

    /// @dev Only past its probation a node has batches that are not drawn.
    function endProbation(uint256 whose) external {
        vm.prank(address(settlement));
        stakes.recordBatch(_node(whose).id, BatchRecord(20, 0, 20 * profile.minBurn, 20_000));
    }

    function nodeCount() public view override returns (uint256) {
        return nodes.length;
    }

    function _nodeAt(uint256 index) internal view override returns (Node memory) {
        return nodes[index];
    }

    function _client(uint256 pick) internal view returns (Client memory) {
        return clients[pick % ACTORS];
    }

    /// @dev The first batch in `state` from `pick` on, so that most calls find something to work on.
    function _find(BatchState state, uint256 pick) internal view returns (address node, uint8 slot) {
        uint256 count = ACTORS * SLOTS_USED;
        for (uint256 i; i < count; ++i) {
            uint256 place = (pick % count + i) % count;
            (node, slot) = (nodes[place / SLOTS_USED].id, uint8(place % SLOTS_USED));
            if (stateOf(node, slot) == state) return (node, slot);
        }
    }

    /// @dev A case in this state from `pick` on, else one that is judged until it gets there, if it does.
    function _findCase(CaseState state, uint256 pick, uint16 score) private returns (address node, uint8 slot) {
        for (uint256 i; i < ACTORS * SLOTS_USED; ++i) {
            (node, slot) = _find(BatchState.InCourt, pick + i);
            if (court.caseOf(settlement.batchIdOf(node, slot)).state == state) return (node, slot);
        }
        (node, slot) = _find(BatchState.Pending, pick);
        _convene(node, slot);
        _judge(node, slot, [score, score, score]);
    }

    function _kept(address node, uint8 slot) internal view returns (Contents memory) {
        return abi.decode(_contents[node][slot], (Contents));
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
        _spent[one.id] += amount;
    }

    function topUpLane(uint256 who, uint256 whose, uint96 amount) external {
        amount = uint96(bound(amount, 1, 50 * VCN));
        openLane(_client(who), _node(whose).id, amount);
        _spent[_client(who).id] += amount;
        _requireOpen();
    }

    /// @dev Once a week, so it is short; everything else must go on as before.
    function brake(uint256 duration) external {
        vm.prank(keeper);
        guardian.pause(uint40(bound(duration, 1, 10 minutes)));
    }

    function _requireOpen() internal {
        if (vm.getBlockTimestamp() < stakes.intakePausedUntil()) _complain("a pause stops what is new");
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
        _signed[_lane(one.id, _node(whose).id)] = settlement.laneOf(one.id, one.signer, _node(whose).id).mark;
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
        flags = flags % 4 | (flags % 8 < 4 ? 0 : CHECKED);
        Claim[] memory claims = claimsOf(one, node.id, jobs, charge, bonus, flags);
        Submission memory made = submissionOf(node.id, slot, claims, jobs);
        made.flags = flags;
        if (made.flags & UNRECEIPTED != 0) made.mineBy = uint40(vm.getBlockTimestamp());
        Contents memory contents = _submitted(made, claims);
        _requireOpen();
        if (settlement.laneOf(one.id, one.signer, node.id).left != left - contents.debits[0].amount) {
            _complain("a lane pays its debit");
        }
    }

    function _submitted(Submission memory made, Claim[] memory claims) internal returns (Contents memory contents) {
        contents = contentsOf(made, claims);
        vm.prank(made.node);
        settlement.submit(made, claims);
        _contents[made.node][made.slot] = abi.encode(contents);
        ++submissions;
        _signed[_lane(claims[0].client, made.node)] = claims[0].cumulative;
        uint256 own = stakes.termsOf(made.node).ownStake;
        if (settlement.bookOf(made.node).openValue > own / 2) _complain("half of the stake covers what is open");
    }

    /// @notice A node names verifiers as clients of nothing: what it signs itself.
    function nameJudges(uint256 whose, uint256 who, uint8 slot) external {
        Node memory node = _node(whose);
        Claim[] memory claims = new Claim[](nodes.length);
        claims[0] = claimOf(_client(who), node.id, 2, VCN / 10, 0);
        for (uint256 i = 1; i < claims.length; ++i) {
            (claims[i].client, claims[i].signer, claims[i].index) = (nodes[i].id, node.id, 1);
            signClaim(claims[i], node.id, node.key);
        }
        Submission memory made = submissionOf(node.id, _freeSlot(node.id, slot), claims, 2);
        ++namings;
        bytes memory contents = abi.encode(contentsOf(made, claims));
        vm.prank(node.id);
        try settlement.submit(made, claims) {
            _contents[node.id][made.slot] = contents;
            _signed[_lane(claims[0].client, node.id)] = claims[0].cumulative;
        } catch {}
    }

    function _lane(address client_, address node) internal pure returns (bytes32) {
        return keccak256(abi.encode(client_, node));
    }

    /// @dev A slot that is ready to be final would do as well, but then the batch in it ends on the way: see `follow`.
    function _freeSlot(address node, uint8 pick) internal view returns (uint8 slot) {
        for (uint8 i; i < SLOTS_USED; ++i) {
            slot = (pick % SLOTS_USED + i) % SLOTS_USED;
            BatchState state = stateOf(node, slot);
            if (state == BatchState.None || state == BatchState.Final || state == BatchState.Refunded) return slot;
        }
        revert("no slot is free");
    }

    function finalizeBatch(uint256 pick, uint8 state) external {
        (address node, uint8 slot) = _find(state % 2 == 0 ? BatchState.Pending : BatchState.Passed, pick);
        _finalize(node, slot);
    }

    function _finalize(address node, uint8 slot) internal {
        Batch memory batch = settlement.batchOf(node, slot);
        bool passed = batch.state == BatchState.Passed;
        bool drawn = !passed && settlement.sampledLeaves(node, slot).length != 0;
        uint256 before = uint256(settlement.bookOf(node).rewards) + settlement.pool() + settlement.burnPending();
        Charge memory charge = _chargeOf(node);
        uint256 toBurn = settlement.burnPending();
        uint256 successes = stakes.nodeOf(node).successes;
        settlement.finalize(node, slot);
        _charged(node, charge);
        lastSign[node] = vm.getBlockTimestamp();
        ++finals;
        _checkCounted(node, stakes.nodeOf(node).successes - successes, settlement.burnPending() - toBurn);
        if (settlement.burnPending() - toBurn < (uint256(batch.charge) + 9) / 10) _complain("a tenth is burned");
        if (vm.getBlockTimestamp() < uint256(batch.commitTime) + profile.challengeSeconds) {
            _complain("final too early");
        }
        if (settlement.batchSeedOf(node, slot) == 0) _complain("final without a seed");
        if (!passed && batch.flags & UNRECEIPTED != 0) _complain("a batch without receipts was final undrawn");
        if (!passed && batch.flags & CHECKED != 0) _complain("a batch that is paid to be checked was final undrawn");
        if (drawn) _complain("a drawn batch became final without a pass");
        if (!passed && stakes.isJailed(node)) _complain("a jailed node's batch became final without a court");
        uint256 given = uint256(settlement.bookOf(node).rewards) + settlement.pool() + settlement.burnPending() - before;
        uint256 amount = uint256(batch.charge) + batch.bonus + (passed ? 0 : batch.fee);
        if (given != amount) _complain("a final batch gives out its amount");
    }

    /// @dev Good jobs count by what they burned, and twenty a day.
    function _checkCounted(address node, uint256 more, uint256 toBurn) private {
        _counted[node][today()] += more;
        if (_counted[node][today()] > 20) _complain("more than twenty good jobs a day");
        if (more > toBurn / profile.minBurn) _complain("jobs count that burned too little");
    }

    function refundBatch(uint256 pick, bool again) external {
        (address node, uint8 slot) = _find(again ? BatchState.Refunded : BatchState.Void, pick);
        _refund(node, slot);
    }

    function _refund(address node, uint8 slot) internal {
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

    // ---- court

    function sealBatch(uint256 pick) external {
        (address node, uint8 slot) = _find(BatchState.Pending, pick);
        seal(node, slot);
    }

    function conveneBatch(uint256 pick) external {
        (address node, uint8 slot) = _find(BatchState.Pending, pick);
        _convene(node, slot);
    }

    function _convene(address node, uint8 slot) internal {
        uint128 pool = settlement.pool();
        bytes32 caseId = convened(node, slot, _kept(node, slot));
        _countPay(caseId, node, slot, pool - settlement.pool());
        _checkSeats(caseId);
        _checkTickets(caseId, node, slot);
    }

    /// @dev Every ticket that hit a verifier seated it, unless it has the node's owner or has paid the node out of a lane of its
    ///      own: so nothing that a node puts into its batch moves the chance of any other.
    function _checkTickets(bytes32 caseId, address node, uint8 slot) private {
        VerifierSlot[] memory list = court.verifiersOf(CLASS);
        uint256 commitBlock = settlement.batchOf(node, slot).commitBlock;
        uint256 length;
        while (length < list.length && list[length].fromBlock < commitBlock) {
            ++length;
        }
        bytes32 seed = settlement.batchSeedOf(node, slot);
        uint256 tickets = court.caseOf(caseId).nextTry;
        for (uint256 i; i < tickets; ++i) {
            (uint256 place, uint256 roll) = SeatLib.ticket(seed, caseId, 0, i, length);
            VerifierSlot memory hit = list[place];
            if (roll >= hit.weight || commitBlock > hit.untilBlock || _sits(caseId, hit.node)) continue;
            if (!_isPartyTo(hit.node, node, slot)) _complain("a batch kept a judge off its bench");
        }
    }

    function _sits(bytes32 caseId, address who) private view returns (bool) {
        Seat[] memory seats = court.seatsOf(caseId);
        for (uint256 i; i < seats.length; ++i) {
            if (seats[i].node == who) return true;
        }
        return false;
    }

    function _isPartyTo(address who, address node, uint8 slot) private view returns (bool) {
        (address owner, address operator) = stakes.keysOf(who);
        (address own,) = stakes.keysOf(node);
        if (owner == own) return true;
        Debit[] memory debits = _kept(node, slot).debits;
        for (uint256 i; i < debits.length; ++i) {
            if (!_hasPaid(debits[i], node)) continue;
            if (_isOf(debits[i], who) || _isOf(debits[i], owner) || _isOf(debits[i], operator)) return true;
        }
        return false;
    }

    function _isOf(Debit memory debit, address key) private pure returns (bool) {
        return debit.client == key || debit.signer == key;
    }

    function _hasPaid(Debit memory debit, address node) private view returns (bool) {
        return debit.amount != 0 && settlement.laneOf(debit.client, debit.signer, node).state != LaneState.None;
    }

    function _countPay(bytes32 caseId, address node, uint8 slot, uint256 paid) private {
        _paid[caseId] += paid;
        Batch memory batch = settlement.batchOf(node, slot);
        uint256 drawn = settlement.sampledLeaves(node, slot).length;
        uint256 most = SplitLib.seatPay(batch.fee, drawn, batch.leafCount, batch.ratePercent);
        if (_paid[caseId] > most) _complain("a case pays for what was drawn");
        if (most > uint256(batch.fee) * 100 / batch.ratePercent) _complain("a case pays V / rate at most");
    }

    function _checkSeats(bytes32 caseId) private {
        CaseView memory shown = court.caseOf(caseId);
        Seat[] memory seats = court.seatsOf(caseId);
        uint256 commitBlock = settlement.batchOf(shown.node, shown.slot).commitBlock;
        for (uint256 i = shown.firstSeat; i < seats.length; ++i) {
            if (seats[i].node == shown.node) _complain("a node sits on its own batch");
            if (!_wasListed(seats[i].node, commitBlock)) _complain("a seat was not on the list at commit");
            for (uint256 j = shown.firstSeat; j < i; ++j) {
                if (seats[i].node == seats[j].node) _complain("a verifier sits twice in a round");
            }
        }
    }

    function _wasListed(address who, uint256 commitBlock) private view returns (bool) {
        VerifierSlot[] memory list = court.verifiersOf(CLASS);
        for (uint256 i; i < list.length; ++i) {
            if (list[i].node == who && list[i].fromBlock < commitBlock && commitBlock <= list[i].untilBlock) {
                return true;
            }
        }
        return false;
    }

    function _stakeOf(address node) internal view returns (uint256) {
        NodeView memory shown = stakes.nodeOf(node);
        return uint256(shown.activeStake) + shown.unbondingStake;
    }

    function actOnSeat(uint256 pick, uint8 seat, uint16 score, bool replace) external {
        (address node, uint8 slot) = _find(BatchState.InCourt, pick);
        bytes32 caseId = settlement.batchIdOf(node, slot);
        seat %= uint8(court.caseOf(caseId).seatCount);
        if (replace) {
            _unseat(caseId, seat, score % 2 == 0);
        } else if (court.seatsOf(caseId)[seat].state == SeatState.Drawn) {
            commitSeat(caseId, seat);
        } else {
            revealSeat(caseId, seat, _scoreFrom(score));
        }
    }

    function _unseat(bytes32 caseId, uint8 seat, bool abstains) private {
        CaseView memory shown = court.caseOf(caseId);
        address who = court.seatsOf(caseId)[seat].node;
        uint256 before = _stakeOf(who);
        if (abstains) vm.prank(who);
        if (abstains) court.abstain(caseId, seat, _kept(shown.node, shown.slot));
        else court.replaceSeat(caseId, seat, _kept(shown.node, shown.slot));
        uint256 lost = before - _stakeOf(who);
        burned += lost - lost / 10;
        if (lost != 0) wasSlashed[who] = true;
        if (abstains && lost != 0) _complain("to step down in time is free");
        // Rounded up once in each of the two pools.
        if (lost > before / 200 + 2) _complain("a no-show costs half a percent");
        _checkSeats(caseId);
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
        _judged(node, slot, false);
    }

    /// @dev What a case takes of a node it takes of everyone who stakes on it.
    function _judged(address node, uint8 slot, bool starve) private {
        (Node memory whole, DelegationView[] memory had) = _before(node);
        Prices memory prices = _pricesOf(node);
        _moveOn(node, slot, starve);
        NodeView memory has = stakes.nodeOf(node);
        uint256 held = uint256(prices.active.total) + prices.unbonding.total;
        if (held == uint256(has.activeStake) + has.unbondingStake) return;
        wasSlashed[node] = true;
        _requireInProportion(whole, prices, had);
    }

    /// @dev Every way in which a case moves on or ends without a seat.
    function _moveOn(address node, uint8 slot, bool starve) private {
        bytes32 caseId = settlement.batchIdOf(node, slot);
        NodeView memory before = stakes.nodeOf(node);
        CaseView memory was = court.caseOf(caseId);
        uint256 rewards = _allRewards();
        (, uint32 confirmed) = court.runningOf(node, CLASS);
        if (starve) court.voidStarved(node, slot, _kept(node, slot));
        else court.resolve(caseId, _kept(node, slot));
        _countPay(caseId, node, slot, _allRewards() - rewards);
        CaseView memory is_ = court.caseOf(caseId);
        if (is_.round > was.round) ++growths;
        _checkSeats(caseId);
        _checkVerdict(caseId, was, is_, starve);
        if (!starve) _checkMargins(caseId, was, is_, confirmed);
        _checkSlash(caseId, node, slot, before, is_.verdict);
    }

    function _allRewards() internal view returns (uint256 total) {
        for (uint256 i; i < nodes.length; ++i) {
            total += settlement.bookOf(nodes[i].id).rewards;
        }
    }

    /// @dev No case ends better for its node than by what its seats reached last.
    function _checkVerdict(bytes32 caseId, CaseView memory was, CaseView memory is_, bool starve) private {
        if (is_.state != CaseState.Closed || was.state == CaseState.None) return;
        if (is_.until != 0) _complain("a closed case waits for nothing");
        Verdict ended = is_.verdict;
        if (was.state != CaseState.Open) {
            bool hides = was.state == CaseState.DataChallenge && was.standing != Verdict.Severe;
            if (ended != (hides ? Verdict.Withheld : was.standing)) {
                _complain("a case that waited ends by what was found");
            }
        } else if (was.round == 1) {
            (uint16 median, uint256 count) = _medianOf(caseId, was.firstSeat);
            Verdict reached = median > 9_500 ? Verdict.Pass : median > 8_500 ? Verdict.Review : Verdict.Severe;
            if (starve && ended < was.standing) _complain("a starved round is better than the one before");
            if (!starve && count < 3 && ended != was.standing) _complain("two seats of a second round decide nothing");
            bool uncalibrated = settlement.batchOf(is_.node, is_.slot).flags & UNCALIBRATED != 0;
            // Margins may be too many where scores pass: see _checkMargins.
            if (reached == Verdict.Pass && ended == Verdict.Severe) return;
            if (!starve && count >= 3 && !uncalibrated && ended != reached) _complain("the median decides");
        }
    }

    /// @dev By what a case moves the sum that condemns, and that nothing but it condemns where scores pass.
    function _checkMargins(bytes32 caseId, CaseView memory was, CaseView memory is_, uint256 before) private {
        (, uint32 confirmed) = court.runningOf(is_.node, CLASS);
        (uint16 median, uint256 count) = _medianOf(caseId, was.firstSeat);
        if (confirmed >= 21_417) _complain("a sum of margins that is fraud was kept");
        // Where it was fraud, the sum begins anew.
        if (confirmed > before && confirmed != 11_512 && (count < 3 || confirmed > before + 5_355)) {
            _complain("too much of one case, or one seat");
        }
        bool found = was.state == CaseState.Open && is_.state != CaseState.Open && count >= 3 && median > 9_500;
        bool severe = is_.state == CaseState.Decided || is_.verdict == Verdict.Severe;
        if (found && severe) {
            ++alarms;
            if (before + 5_355 < 21_417) _complain("margins were fraud too soon");
        }
    }

    /// @dev Two that speak against a new node in full are fraud, so long stories meet that without luck, and short ones do not.
    function evidenceIn(bytes32 caseId, uint8) internal pure override returns (int32) {
        uint256 pick = (uint256(caseId) >> 16) % 8;
        return pick < 3 ? int32(6_000) : pick < 7 ? -int32(int256(uint256(caseId) % 900)) : int32(1_000);
    }

    function _medianOf(bytes32 caseId, uint8 firstSeat) private view returns (uint16, uint256 count) {
        Seat[] memory seats = court.seatsOf(caseId);
        int256[] memory scores = new int256[](seats.length);
        for (uint256 i = firstSeat; i < seats.length; ++i) {
            if (seats[i].state != SeatState.Revealed) continue;
            MedianLib.insert(scores, count++, int256(uint256(seats[i].score)));
        }
        assembly ("memory-safe") {
            mstore(scores, count)
        }
        return (uint16(uint256(MedianLib.medianOf(scores))), count);
    }

    function _checkSlash(bytes32 caseId, address node, uint8 slot, NodeView memory before, Verdict verdict) private {
        NodeView memory now_ = stakes.nodeOf(node);
        uint256 lost = _countLoss(caseId, before, now_);
        bool slashes_ = verdict == Verdict.Severe || verdict == Verdict.Withheld;
        if (lost != 0 && !slashes_) _complain("only fraud and what is withheld is slashed");
        if (verdict == Verdict.Severe && court.seatsOf(caseId).length < 3) _complain("one seat never voids");
        if (stateOf(node, slot) == BatchState.Void) ++voids;
    }

    function _countLoss(bytes32 caseId, NodeView memory before, NodeView memory now_) internal returns (uint256 lost) {
        lost = uint256(before.activeStake) + before.unbondingStake - now_.activeStake - now_.unbondingStake;
        burned += lost - lost / 10;
        if (lost != 0) ++slashes;
        if (lost != 0 && ++slashCount[caseId] != 1) _complain("one slash a case");
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
        _submitted(made, claimsOf(one, node, 1, made.priceSum, made.bonusSum));
        _leaves[settlement.batchIdOf(node, slot)] = abi.encode(leaves);
    }

    /// @dev Whatever a court has said so far; a batch that is not condemned must be honest or over.
    function proveFraud(uint256 whose, uint8 slot) external {
        address node = _node(whose).id;
        slot %= SLOTS_USED;
        Batch memory batch = settlement.batchOf(node, slot);
        Leaf[] memory leaves = abi.decode(_leaves[settlement.batchIdOf(node, slot)], (Leaf[]));
        Proof memory proof = proofOf(node, _kept(node, slot), leaves, 0, FraudKind.NoReceipt, "");
        proof.slot = slot;
        uint256 fee = batch.state == BatchState.Passed ? batch.fee : 0;
        if (leaves[0].receiptHash != 0) _condemn(proof, fee, "an honest batch was condemned");
        else _condemn(proof, fee, "");
    }

    function _condemn(Proof memory proof, uint256 fee, string memory fault) private {
        (Node memory whole, DelegationView[] memory had) = _before(proof.node);
        Prices memory prices = _pricesOf(proof.node);
        _proven(proof, fee);
        if (bytes(fault).length != 0) _complain(fault);
        wasSlashed[proof.node] = true;
        _requireInProportion(whole, prices, had);
    }

    /// @dev What leaves the pool is a fee that goes back, and what the seats of a case that was cut short have earned.
    function _proven(Proof memory proof, uint256 fee) private {
        bytes32 caseId = settlement.batchIdOf(proof.node, proof.slot);
        NodeView memory before = stakes.nodeOf(proof.node);
        uint256 had = settlement.pool() + court.caseOf(caseId).bond;
        uint256 rewards = _allRewards();
        fraudProofs.proveFraud(proof);
        ++condemned;
        ++voids;
        NodeView memory now_ = stakes.nodeOf(proof.node);
        uint256 lost = _countLoss(caseId, before, now_);
        uint256 paid = _allRewards() - rewards;
        _countPay(caseId, proof.node, proof.slot, paid);
        if (now_.state != NodeState.Jailed) _complain("who is condemned is jailed");
        if (settlement.pool() + fee + paid != had + lost / 10) _complain("a proof pays no account but the seats");
        if (court.caseOf(caseId).bond != 0 || settlement.bookOf(proof.node).accusations != accusationsOf(proof.node)) {
            _complain("a proof leaves nothing of a case open");
        }
    }

    function accusationsOf(address node) public view returns (uint256 count) {
        for (uint8 slot; slot < SLOTS_USED; ++slot) {
            if (stateOf(node, slot) != BatchState.InCourt) continue;
            CaseView memory shown = court.caseOf(settlement.batchIdOf(node, slot));
            if (shown.state == CaseState.Decided || shown.appellant != address(0)) ++count;
        }
    }

    function _before(address id) internal view returns (Node memory node, DelegationView[] memory had) {
        for (uint256 i; i < nodes.length; ++i) {
            if (nodes[i].id == id) node = nodes[i];
        }
        had = _holdings(node);
    }

    function voidStarved(uint256 pick, bool inCourt) external {
        (address node, uint8 slot) = _find(inCourt ? BatchState.InCourt : BatchState.Pending, pick);
        _judged(node, slot, true);
    }

    function appealCase(uint256 pick, bool byOperator) external {
        (address node, uint8 slot) = _findCase(CaseState.Decided, pick, 3);
        bytes32 caseId = settlement.batchIdOf(node, slot);
        address by = byOperator ? node : stakes.nodeOf(node).owner;
        uint256 before = coin.balanceOf(by);
        uint96 bond = court.appealBondOf(node);
        vm.prank(by);
        court.appeal(caseId, _kept(node, slot));
        ++appeals;
        if (coin.balanceOf(by) + bond != before) _complain("an appeal costs its bond");
        _checkSeats(caseId);
    }

    /// @dev Half of the nodes answer in time.
    function demandData(uint256 pick, uint8 seat, bool answers) external {
        (address node, uint8 slot) = _find(BatchState.InCourt, pick);
        bytes32 caseId = settlement.batchIdOf(node, slot);
        seat %= uint8(court.caseOf(caseId).seatCount);
        uint24 leaf = uint24(settlement.sampledLeaves(node, slot)[0]);
        address who = court.seatsOf(caseId)[seat].node;
        vm.prank(who);
        court.demandData(caseId, seat, leaf, 0);
        ++demands;
        if (!answers) return;
        vm.prank(node);
        court.answerData(caseId, "data");
    }

    function voteOnCase(uint256 pick, uint160 who, bool passes) external {
        (address node, uint8 slot) = _findCase(CaseState.Arbiter, pick, 2);
        bytes32 caseId = settlement.batchIdOf(node, slot);
        NodeView memory before = stakes.nodeOf(node);
        uint256 rewards = _allRewards();
        IPanel panel = IPanel(court.panel());
        vm.prank(address(0xA1 + who % 3));
        panel.vote(caseId, passes);
        ++votes;
        _countPay(caseId, node, slot, _allRewards() - rewards);
        Verdict verdict = court.caseOf(caseId).verdict;
        if (verdict > Verdict.Review) _complain("arbiters pass or void");
        _checkSlash(caseId, node, slot, before, verdict);
    }

    /// @dev The whole way of a batch, so that long stories are not left to luck alone.
    function judgeBatch(uint256 pick, bool convene, uint16 a, uint16 b, uint16 c) external {
        (address node, uint8 slot) = _find(convene ? BatchState.Pending : BatchState.InCourt, pick);
        if (convene) _convene(node, slot);
        // Seats that agree: without a quarrel fewer cases grow.
        if (a % 3 == 0) (b, c) = (a, a);
        _judge(node, slot, [a, b, c]);
    }

    function _judge(address node, uint8 slot, uint16[3] memory picks) internal {
        bytes32 caseId = settlement.batchIdOf(node, slot);
        for (uint256 rounds; rounds < 3 && court.caseOf(caseId).state == CaseState.Open; ++rounds) {
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

    // ---- challenges

    function challengeLeaf(uint256 pick) external {
        (address node, uint8 slot) = _find(BatchState.Pending, pick);
        Contents memory contents = _kept(node, slot);
        address by = contents.debits[0].client;
        vm.prank(by);
        _spent[by] += fraudProofs.challengeLeaf(node, slot, contents, 0);
        _challenged.push(settlement.batchIdOf(node, slot));
        _challengedAt.push(abi.encode(node, slot, settlement.batchOf(node, slot).commitBlock));
        ++challenges;
    }

    function endLeafChallenge(uint256 pick) external {
        pick %= _challenged.length;
        (address node, uint8 slot, uint256 commitBlock) = abi.decode(_challengedAt[pick], (address, uint8, uint256));
        bool over = settlement.batchIdOf(node, slot) != _challenged[pick];
        BatchState state = stateOf(node, slot);
        over = over || state == BatchState.Void || state == BatchState.Final || state == BatchState.Refunded;
        fraudProofs.endChallenge(node, slot, commitBlock);
        if (!over) _complain("a bond moved before its batch was over");
    }

    function bondsHold() external view returns (uint256 total) {
        for (uint256 i; i < _challenged.length; ++i) {
            (, uint96 bond) = fraudProofs.challengeOf(_challenged[i]);
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
        bytes32 caseId = settlement.batchIdOf(node.id, slot);
        vm.prank(address(0xBAD));
        if (kind % 10 == 7) stakes.claimRewards(node.id);
        else if (kind % 10 == 8) stakes.shareRewards(node.id, 1);
        else if (kind % 10 == 9) stakes.setPayout(node.id, address(0xBAD));
        else if (kind % 10 == 0) settlement.closeCase(node.id, slot, true, 1, seats);
        else if (kind % 10 == 1) settlement.openCase(node.id, slot, address(0xBAD));
        else if (kind % 10 == 2) settlement.release(address(0xBAD), 1);
        else if (kind % 10 == 3) settlement.creditPool(1);
        else if (kind % 10 == 4) stakes.slash(node.id, 1, 0);
        else if (kind % 10 == 5) stakes.withdraw(node.id);
        else _stealFromCourt(caseId, slot);
        _complain("a thief got through");
    }

    function _stealFromCourt(bytes32 caseId, uint8 slot) private {
        // Spends the prank of its caller.
        if (slot == 0) court.rule(caseId, true);
        else if (slot == 1) court.commitSeat(caseId, 0, bytes32(uint256(1)));
        else settlement.withdraw(1);
    }

    /// @notice Bonds of appeals whose round goes on.
    function bondsHeld() external view returns (uint256 total) {
        for (uint256 i; i < ACTORS; ++i) {
            for (uint8 slot; slot < SLOTS_USED; ++slot) {
                if (stateOf(nodes[i].id, slot) != BatchState.InCourt) continue;
                total += court.caseOf(settlement.batchIdOf(nodes[i].id, slot)).bond;
            }
        }
    }

    function donate(uint96 amount) external {
        // A donation credits no account: it is undone at once so that the books can be compared with balances.
        amount = uint96(bound(amount, 1, VCN));
        coin.transfer(address(settlement), amount);
        vm.prank(address(settlement));
        coin.transfer(address(this), amount);
    }

    // ---- what the invariants add up

    function stakesHold() external {
        for (uint256 i; i < nodes.length; ++i) {
            holdingsHold(nodes[i]);
        }
    }

    /// @notice What is left on every lane; complains where one lost something that its client has not signed for.
    function lanesHold() external returns (uint256 total) {
        for (uint256 i; i < ACTORS; ++i) {
            _accountHolds(clients[i].id);
            for (uint256 j; j < ACTORS; ++j) {
                LaneView memory lane = settlement.laneOf(clients[i].id, clients[i].signer, nodes[j].id);
                bytes32 key = _lane(clients[i].id, nodes[j].id);
                LaneView memory was = _lanes[key];
                if (lane.mark < was.mark || lane.jobs < was.jobs) _complain("a lane went back");
                if (uint256(lane.left) + lane.mark < uint256(was.left) + was.mark) _complain("a lane lost money");
                if (lane.mark > _signed[key]) _complain("a lane paid what was not signed");
                if (lane.left != was.left || lane.mark != was.mark || lane.jobs != was.jobs) _lanes[key] = lane;
                total += lane.left;
            }
        }
    }

    function _accountHolds(address client_) private {
        uint256 free = settlement.accountOf(client_);
        if (free + _spent[client_] < _free[client_]) _complain("free money went without its owner");
        if (free != _free[client_]) _free[client_] = free;
        if (_spent[client_] != 0) _spent[client_] = 0;
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
