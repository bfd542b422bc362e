// This contract is deployed.
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {Lanes} from "./Lanes.sol";
import {ICourt} from "../interfaces/ICourt.sol";
import {IEpochBeacon} from "../interfaces/IEpochBeacon.sol";
import {IParams} from "../interfaces/IParams.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {IVCoin} from "../interfaces/IVCoin.sol";
import {BatchLib} from "../libraries/BatchLib.sol";
import {ContentsLib} from "../libraries/ContentsLib.sol";
import {ReputationLib} from "../libraries/ReputationLib.sol";
import {SampleLib} from "../libraries/SampleLib.sol";
import {SplitLib} from "../libraries/SplitLib.sol";
import {Batch, BatchState, Book, Claim, Contents, Debit, Docket, Submission} from "../types/BatchTypes.sol";
import {BatchRecord, NodeState, Standing} from "../types/NodeTypes.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice Batches of finished jobs, and who is paid what; accounts and lanes are in Lanes. See ISettlement.
contract Settlement is Lanes {
    using BatchLib for Batch;
    using BatchLib for Book;
    using SafeERC20 for IVCoin;

    /// @dev Sums over the claims of one batch.
    struct Totals {
        uint256 charge;
        uint256 fee;
        uint256 bonus;
        uint256 leaves;
    }

    /// @dev Why a batch is not final yet.
    enum Blocker {
        Nothing,
        State,
        Window,
        Seed,
        Court
    }

    uint8 private constant UNRECEIPTED = 1;
    uint8 private constant UNCALIBRATED = 2;
    uint8 private constant CONVENER_PAID = 4;
    uint8 private constant NODE_CONVENED = 8;
    uint8 private constant ACCUSED = 16;
    uint8 private constant CHECKED = 32;
    uint8 private constant FEE_KEPT = 64;
    uint256 private constant SLOTS = 64;
    uint256 private constant MAX_LEAVES = 2_560;
    /// @dev Keeps submit and refund of a full batch far below a block's gas.
    uint256 private constant MAX_CLAIMS = 256;
    uint256 private constant BONUS_PERCENT = 9;
    /// @dev A cheat loses money even when half of the checks miss it. Both limits are of the owner's own stake: what others
    ///      lose by a slash deters no node.
    uint256 private constant STAKE_PER_LEAF = 40;
    uint256 private constant STAKE_PER_OPEN_VALUE = 2;
    uint16 private constant REARMED_RATE_BPS = 5_000;
    uint16 private constant FULL_RATE_BPS = 10_000;

    IEpochBeacon private immutable _beacon;
    address public immutable court;
    address public immutable fraudProofs;
    uint96 private immutable _minStake;
    uint32 private immutable _challengeSeconds;

    uint128 public pool;
    uint128 public burnPending;
    mapping(address node => mapping(uint256 slot => Batch)) private _batches;
    mapping(address node => Book) private _books;

    constructor(
        IVCoin coin_,
        IParams params_,
        IStakeManager stakes_,
        IEpochBeacon beacon_,
        address court_,
        address fraudProofs_
    ) Lanes(coin_, stakes_, params_.profile()) {
        Profile memory profile = params_.profile();
        _beacon = beacon_;
        court = court_;
        fraudProofs = fraudProofs_;
        _minStake = profile.minStake;
        _challengeSeconds = profile.challengeSeconds;
    }

    modifier onlyCourt() {
        _requireCourt();
        _;
    }

    modifier onlyHolder() {
        _requireHolder();
        _;
    }

    // ---- batches

    function submit(Submission calldata submission, Claim[] calldata claims) external returns (bytes32 batchId) {
        _makeRoom(submission.node, submission.slot);
        Standing memory standing = _admit(submission, claims.length);
        Contents memory contents = Contents(submission.root, submission.maxLeaf, new Debit[](claims.length));
        Totals memory totals = _takeClaims(submission, claims, contents.debits);
        _requireSums(submission, totals);
        Book memory book = _books[submission.node].read();
        book.openValue = _requireLimits(submission, totals, standing, book.openValue);
        return _openBatch(submission, totals, standing, contents, book);
    }

    function finalize(address node, uint8 slot) external {
        Batch storage stored = _batches[node][slot];
        Batch memory batch = stored.read();
        bytes32 batchId = _idOf(node, slot, batch.commitBlock);
        Blocker blocker = _blockerOf(batch, batchId, node);
        if (blocker == Blocker.State) revert WrongState(batch.state);
        if (blocker == Blocker.Window) revert WindowOpen(uint256(batch.commitTime) + _challengeSeconds);
        if (blocker == Blocker.Seed) revert NoSeed(_beacon.epochOf(batch.commitBlock));
        if (blocker == Blocker.Court) revert NeedsCourt();
        _finalize(stored, batch, batchId, node, slot);
    }

    function finalizeMany(address node, uint8[] calldata slots) external returns (uint256 count) {
        for (uint256 i; i < slots.length; ++i) {
            if (_finalizeIfReady(node, slots[i])) ++count;
        }
    }

    function refund(address node, uint8 slot, Contents calldata contents) external {
        Batch storage batch = _batches[node][slot];
        if (batch.state != BatchState.Void) revert WrongState(batch.state);
        if (ContentsLib.hashOf(contents) != batch.contentsHash) revert WrongContents();
        batch.state = BatchState.Refunded;
        bool kept = batch.flags & FEE_KEPT != 0;
        uint256 total;
        for (uint256 i; i < contents.debits.length; ++i) {
            uint96 amount = contents.debits[i].amount;
            if (kept) amount -= _keep(batch, amount);
            _giveBack(node, contents.debits[i], amount);
            total += amount;
        }
        emit BatchRefunded(node, slot, _idOf(node, slot, batch.commitBlock), uint96(total));
    }

    function voidLost(address node, uint8 slot) external {
        Batch storage batch = _batches[node][slot];
        if (batch.state != BatchState.Pending) revert WrongState(batch.state);
        uint256 epoch = _beacon.epochOf(batch.commitBlock);
        if (!_beacon.isLost(epoch)) revert SeedNotLost(epoch);
        _void(batch, node, slot);
    }

    // ---- the court's side

    function openCase(address node, uint8 slot, address convener) external onlyCourt returns (Docket memory docket) {
        Batch storage batch = _batches[node][slot];
        if (batch.state != BatchState.Pending) revert WrongState(batch.state);
        docket = _docketOf(batch, node, slot);
        uint256 drawn = SampleLib.count(docket.seed, docket.leafCount, docket.rateBps);
        if (drawn == 0) revert NotDrawn();
        batch.ratePercent = uint8(docket.rateBps / 100);
        batch.state = BatchState.InCourt;
        emit BatchInCourt(node, slot, docket.batchId, uint16(docket.rateBps), uint16(drawn));
        uint256 share = _conveneShare(batch);
        if (share == 0) return docket;
        if (convener == node) {
            // Most nodes convene their own batches. Their books and the pool are written when the batch ends, anyway.
            batch.flags |= CONVENER_PAID | NODE_CONVENED;
        } else if (share <= pool) {
            batch.flags |= CONVENER_PAID;
            _payConvener(docket.batchId, convener, uint96(share));
        }
    }

    function closeCase(address node, uint8 slot, bool passed, uint16 drawn, address[] calldata seats)
        external
        onlyCourt
    {
        Batch storage batch = _batches[node][slot];
        BatchState before = batch.state;
        bool wasHeard = before == BatchState.InCourt;
        bool wasPassed = before == BatchState.Passed || before == BatchState.Audited;
        if (!wasHeard && (passed || (before != BatchState.Pending && !wasPassed))) revert WrongState(before);
        bytes32 batchId = _idOf(node, slot, batch.commitBlock);
        if (batch.flags & ACCUSED != 0) {
            // It is no accusation any more: it is a verdict, or nothing.
            batch.flags &= ~ACCUSED;
            _books[node].accusations -= 1;
        }
        if (passed) {
            batch.state = BatchState.Passed;
            pool += batch.fee;
            emit BatchPassed(node, slot, batchId);
        } else {
            if (wasPassed) _takeFeeBack(batch);
            else if (_keepsFee(batch, node, seats.length)) batch.flags |= FEE_KEPT;
            _void(batch, node, slot);
        }
        if (wasHeard) _paySeats(batchId, _seatsDue(batch, drawn), seats);
    }

    function openAudit(address node, uint8 slot, uint16 drawn) external returns (uint96 due, uint40 commitTime) {
        _requireAudits();
        Batch storage batch = _batches[node][slot];
        BatchState before = batch.state;
        bool calibrated = batch.flags & UNCALIBRATED == 0;
        if (!calibrated || (before != BatchState.Passed && before != BatchState.Final)) revert WrongState(before);
        if (before == BatchState.Passed) {
            batch.state = BatchState.Audited;
            emit BatchAudited(node, slot, _idOf(node, slot, batch.commitBlock));
        }
        return (uint96(_seatsDue(batch, drawn)), batch.commitTime);
    }

    function closeAudit(address node, uint8 slot, bytes32 batchId, uint96 due, address[] calldata auditors) external {
        _requireAudits();
        Batch storage batch = _batches[node][slot];
        if (batch.state == BatchState.Audited && _idOf(node, slot, batch.commitBlock) == batchId) {
            batch.state = BatchState.Passed;
            emit BatchPassed(node, slot, batchId);
        }
        _paySeats(batchId, due, auditors);
    }

    function accuse(address node, uint8 slot) external onlyCourt {
        _batches[node][slot].flags |= ACCUSED;
        _books[node].accusations += 1;
    }

    function drawAllOf(address node) external {
        if (msg.sender != address(_stakes)) revert NotStakeManager(msg.sender);
        _books[node].jailed = true;
    }

    // ---- held for challenges

    function hold(address client, address signer, uint96 amount) external onlyHolder {
        if (signer != client) _spendGrant(client, signer, amount);
        _takeFree(client, amount);
    }

    function release(address client, uint96 amount) external onlyHolder {
        accountOf[client] += amount;
    }

    function drawAll(address node, uint8 slot) external onlyHolder {
        Batch storage batch = _batches[node][slot];
        if (batch.state != BatchState.Pending) revert WrongState(batch.state);
        batch.ratePercent = 100;
    }

    // ---- rewards, pool, burn

    function claim(address node) external returns (uint96 amount) {
        amount = _books[node].rewards;
        if (amount == 0) revert NothingToClaim(node);
        _books[node].rewards = 0;
        (address payout, uint96 shared) = _stakes.shareRewards(node, amount);
        emit RewardClaimed(node, payout, amount - shared);
        if (shared != amount) _coin.safeTransfer(payout, amount - shared);
        if (shared != 0) _coin.safeTransfer(address(_stakes), shared);
    }

    function fundPool(uint96 amount) external {
        if (amount == 0) revert ZeroAmount();
        pool += amount;
        emit PoolFunded(msg.sender, amount);
        _coin.safeTransferFrom(msg.sender, address(this), amount);
    }

    function creditPool(uint96 amount) external {
        bool isOurs = msg.sender == address(_stakes) || msg.sender == court || msg.sender == fraudProofs;
        if (!isOurs) revert NotStakeManager(msg.sender);
        pool += amount;
        emit PoolFunded(msg.sender, amount);
    }

    function flushBurn() external returns (uint256 amount) {
        amount = burnPending;
        if (amount == 0) revert ZeroAmount();
        burnPending = 0;
        emit Burned(amount);
        _coin.burn(amount);
    }

    // ---- views

    function batchOf(address node, uint8 slot) external view returns (Batch memory) {
        return _batches[node][slot];
    }

    function batchIdOf(address node, uint8 slot) external view returns (bytes32) {
        return _idOf(node, slot, _batches[node][slot].commitBlock);
    }

    function batchSeedOf(address node, uint8 slot) external view returns (bytes32 seed) {
        (seed,) = _drawOf(_batches[node][slot].read(), node, slot);
    }

    function sampledLeaves(address node, uint8 slot) external view returns (uint256[] memory) {
        Batch memory batch = _batches[node][slot].read();
        (bytes32 seed, uint256 rateBps) = _drawOf(batch, node, slot);
        return SampleLib.draw(seed, batch.leafCount, rateBps);
    }

    function drawOf(address node, uint8 slot) external view returns (Docket memory) {
        return _docketOf(_batches[node][slot], node, slot);
    }

    function bookOf(address node) external view returns (Book memory) {
        return _books[node];
    }

    // ---- inside: a batch comes in

    /// @dev Before anything of the node is asked: what the old batch does to its record and its book counts for the new one.
    function _makeRoom(address node, uint8 slot) private {
        if (slot >= SLOTS) revert SlotOutOfRange(slot);
        BatchState state = _batches[node][slot].state;
        if (state == BatchState.None || state == BatchState.Final || state == BatchState.Refunded) return;
        if (!_finalizeIfReady(node, slot)) revert SlotBusy(slot);
    }

    function _admit(Submission calldata submission, uint256 claimCount)
        private
        view
        returns (Standing memory standing)
    {
        standing = _stakes.admissionOf(submission.node);
        if (msg.sender != standing.operator) revert NotOperator(submission.node, msg.sender);
        if (standing.state != NodeState.Active) revert NodeNotActive(submission.node);
        if (standing.ownStake < _minStake) revert StakeTooLow(standing.ownStake, _minStake);
        if (submission.classId > 31 || (standing.classMask >> submission.classId) & 1 == 0) {
            revert ClassNotRun(submission.node, submission.classId);
        }
        if (submission.flags & ~(UNRECEIPTED | UNCALIBRATED | CHECKED) != 0) revert BadFlags(submission.flags);
        bool unreceipted = submission.flags & UNRECEIPTED != 0;
        if (unreceipted != (submission.mineBy != 0)) revert BadMineBy(submission.mineBy);
        if (unreceipted && block.timestamp > submission.mineBy) revert StaleJob(submission.mineBy);
        if (claimCount == 0) revert NoClaims();
        if (claimCount > MAX_CLAIMS) revert TooManyClaims(claimCount);
    }

    function _takeClaims(Submission calldata submission, Claim[] calldata claims, Debit[] memory debits)
        private
        returns (Totals memory totals)
    {
        address node = submission.node;
        uint256 divisor = submission.flags & CHECKED == 0 ? SplitLib.FEE_DIVISOR : SplitLib.CHECKED_FEE_DIVISOR;
        for (uint256 i; i < claims.length; ++i) {
            Claim memory part = claims[i];
            _requireAssignment(node, part, i);
            uint256 fee = SplitLib.feeOf(part.charge, divisor);
            debits[i] = _debit(node, part, fee, i);
            totals.charge += part.charge;
            totals.fee += fee;
            totals.bonus += part.bonus;
            totals.leaves += debits[i].leaves;
        }
    }

    function _requireSums(Submission calldata submission, Totals memory totals) private pure {
        if (totals.charge != submission.priceSum || totals.bonus != submission.bonusSum) revert SumMismatch();
        uint256 okCount = submission.okCount;
        if (okCount + submission.failedCount > totals.leaves) {
            revert BadCounts(okCount, submission.failedCount, totals.leaves);
        }
        // The largest leaf is no larger than all of them and no smaller than their mean: a batch of one says its price.
        if (submission.maxLeaf > totals.charge || submission.maxLeaf * okCount < totals.charge) {
            revert BadMaxLeaf(submission.maxLeaf);
        }
        uint256 bonusLimit = submission.flags & UNRECEIPTED != 0 ? 0 : totals.charge * BONUS_PERCENT / 100;
        if (totals.bonus > bonusLimit) revert BonusTooHigh(totals.bonus, bonusLimit);
    }

    /// @return what the node has open with this batch
    function _requireLimits(
        Submission calldata submission,
        Totals memory totals,
        Standing memory standing,
        uint256 openValue
    ) private pure returns (uint96) {
        uint256 leafLimit = standing.samplesLeft != 0 ? ReputationLib.PROBATION : MAX_LEAVES;
        if (totals.leaves > leafLimit) revert TooManyLeaves(totals.leaves, leafLimit);
        uint256 maxLeafLimit = standing.ownStake / STAKE_PER_LEAF;
        if (submission.maxLeaf > maxLeafLimit) revert LeafTooBig(submission.maxLeaf, maxLeafLimit);
        openValue += totals.charge + totals.fee + totals.bonus;
        uint256 valueLimit = standing.ownStake / STAKE_PER_OPEN_VALUE;
        if (openValue > valueLimit) revert OpenValueTooHigh(openValue, valueLimit);
        return uint96(openValue);
    }

    function _openBatch(
        Submission calldata submission,
        Totals memory totals,
        Standing memory standing,
        Contents memory contents,
        Book memory book
    ) private returns (bytes32 batchId) {
        Batch memory batch;
        batch.charge = uint96(totals.charge);
        batch.bonus = uint96(totals.bonus);
        batch.fee = uint96(totals.fee);
        batch.leafCount = uint16(totals.leaves);
        batch.okCount = submission.okCount;
        batch.failedCount = submission.failedCount;
        batch.responseMs = submission.msSum;
        batch.scoreHundredths = standing.scoreHundredths;
        batch.commitBlock = uint40(block.number);
        batch.commitTime = uint40(block.timestamp);
        batch.classId = submission.classId;
        batch.ratePercent = submission.flags != 0 ? 100 : uint8(standing.rateBps / 100);
        batch.state = BatchState.Pending;
        batch.flags = submission.flags;
        batch.contentsHash = keccak256(abi.encode(contents));
        _batches[submission.node][submission.slot].write(batch);
        book.openBatches += 1;
        // Only a node that is out of jail gets here, and it leaves jail only with nothing open.
        book.jailed = false;
        _books[submission.node].write(book);
        batchId = _idOf(submission.node, submission.slot, block.number);
        emit BatchSubmitted(submission.node, submission.slot, batchId, batch, contents);
    }

    // ---- inside: a batch goes out

    function _finalizeIfReady(address node, uint8 slot) private returns (bool) {
        Batch storage stored = _batches[node][slot];
        Batch memory batch = stored.read();
        bytes32 batchId = _idOf(node, slot, batch.commitBlock);
        if (_blockerOf(batch, batchId, node) != Blocker.Nothing) return false;
        _finalize(stored, batch, batchId, node, slot);
        return true;
    }

    function _blockerOf(Batch memory batch, bytes32 batchId, address node) private view returns (Blocker) {
        BatchState state = batch.state;
        if (state != BatchState.Pending && state != BatchState.Passed) return Blocker.State;
        if (block.timestamp < uint256(batch.commitTime) + _challengeSeconds) return Blocker.Window;
        if (state == BatchState.Passed) return Blocker.Nothing;
        (bytes32 seed, uint256 rateBps) = _drawIfSealed(batch, batchId, node);
        if (seed == 0) return Blocker.Seed;
        return SampleLib.count(seed, batch.leafCount, rateBps) == 0 ? Blocker.Nothing : Blocker.Court;
    }

    function _finalize(Batch storage stored, Batch memory batch, bytes32 batchId, address node, uint8 slot) private {
        (uint96 burned, uint96 reward, uint96 pooled) = SplitLib.split(batch.charge, batch.scoreHundredths);
        stored.state = BatchState.Final;
        burnPending += burned;
        pool += batch.state == BatchState.Passed ? pooled : pooled + batch.fee;
        _closeBook(batch, batchId, node, reward + batch.bonus);
        _stakes.recordBatch(node, BatchRecord(batch.okCount, batch.failedCount, burned, batch.responseMs));
        emit BatchFinal(node, slot, batchId, batch.charge, burned, reward, batch.bonus, pooled + batch.fee);
    }

    function _void(Batch storage stored, address node, uint8 slot) private {
        stored.state = BatchState.Void;
        Batch memory batch = stored.read();
        bytes32 batchId = _idOf(node, slot, batch.commitBlock);
        _closeBook(batch, batchId, node, 0);
        emit BatchVoided(node, slot, batchId);
    }

    /// @dev A batch leaves its node's book, which is written once.
    function _closeBook(Batch memory batch, bytes32 batchId, address node, uint96 reward) private {
        Book storage stored = _books[node];
        Book memory book = stored.read();
        book.rewards += reward;
        book.openValue -= _valueOf(batch);
        book.openBatches -= 1;
        uint256 share = batch.flags & NODE_CONVENED == 0 ? 0 : SplitLib.convenePay(batch.fee);
        if (share > pool) share = 0;
        if (share != 0) {
            pool -= uint96(share);
            book.rewards += uint96(share);
        }
        stored.write(book);
        if (share != 0) emit ConvenerPaid(batchId, node, uint96(share));
    }

    /// @dev The part of the account that convened a batch which is in court, or was.
    function _conveneShare(Batch storage batch) private view returns (uint256) {
        return SplitLib.convenePay(batch.fee);
    }

    /// @dev At once, so that nothing has to be kept of a stranger who convened. A pool that cannot pay all pays nothing.
    function _payConvener(bytes32 batchId, address convener, uint96 share) private {
        pool -= share;
        emit ConvenerPaid(batchId, convener, share);
        (address owner,) = _stakes.keysOf(convener);
        if (owner != address(0)) _books[convener].rewards += share;
        else _addFree(convener, address(this), share);
    }

    /// @dev The client that orders a check pays for it, even if it ends in doubt: else the pool would, and one owner of client, node and
    ///      seat at once would live on doubts. If it ends in jail the client pays nothing.
    function _keepsFee(Batch storage batch, address node, uint256 seatCount) private view returns (bool) {
        return batch.flags & CHECKED != 0 && batch.fee != 0 && seatCount != 0 && !_books[node].jailed;
    }

    /// @dev Of a debit its share of the fee, rounded down: into the pool, which paid the seats.
    function _keep(Batch storage batch, uint96 amount) private returns (uint96 share) {
        share = uint96(uint256(amount) * batch.fee / _valueOf(batch.read()));
        pool += share;
    }

    /// @dev The fee went to the pool when the court let the batch pass; now it goes back with all the rest.
    function _takeFeeBack(Batch storage batch) private {
        if (batch.fee > pool) revert PoolTooLow(pool, batch.fee);
        pool -= batch.fee;
    }

    /// @dev The same for every verdict, as long as the pool holds it: a void batch's fee goes back to its clients.
    function _paySeats(bytes32 batchId, uint256 due, address[] calldata seats) private {
        if (seats.length == 0) return;
        uint96 share = uint96((due < pool ? due : pool) / seats.length);
        if (share == 0) return;
        pool -= uint128(share * seats.length);
        for (uint256 i; i < seats.length; ++i) {
            _books[seats[i]].rewards += share;
            emit SeatPaid(batchId, seats[i], share);
        }
    }

    function _drawOf(Batch memory batch, address node, uint8 slot)
        private
        view
        returns (bytes32 seed, uint256 rateBps)
    {
        if (batch.state == BatchState.None) revert WrongState(BatchState.None);
        (seed, rateBps) = _drawIfSealed(batch, _idOf(node, slot, batch.commitBlock), node);
        if (seed == 0) revert NoSeed(_beacon.epochOf(batch.commitBlock));
    }

    /// @dev The pay that the seats of a case share, without the part of the convening account.
    function _seatsDue(Batch storage batch, uint256 drawn) private view returns (uint256 due) {
        due = SplitLib.seatPay(batch.fee, drawn, batch.leafCount, batch.ratePercent);
        if (batch.flags & CONVENER_PAID != 0) due -= _conveneShare(batch);
    }

    function _requireCourt() private view {
        if (msg.sender != court) revert NotCourt(msg.sender);
    }

    function _requireHolder() private view {
        if (msg.sender != fraudProofs) revert NotHolder(msg.sender);
    }

    function _requireAudits() private view {
        if (msg.sender != ICourt(court).audits()) revert NotHolder(msg.sender);
    }

    function _docketOf(Batch storage stored, address node, uint8 slot) private view returns (Docket memory docket) {
        Batch memory batch = stored.read();
        (docket.seed, docket.rateBps) = _drawOf(batch, node, slot);
        docket.batchId = _idOf(node, slot, batch.commitBlock);
        docket.contentsHash = stored.contentsHash;
        docket.charge = batch.charge;
        docket.commitBlock = batch.commitBlock;
        docket.commitTime = batch.commitTime;
        docket.classId = batch.classId;
        docket.leafCount = batch.leafCount;
    }

    /// @dev A batch's seed, 0 before its epoch is sealed, and the rate at which it is drawn: fixed once a court has it, else
    ///      raised where its node was jailed or accused of fraud since, or its epoch's first seed was lost.
    function _drawIfSealed(Batch memory batch, bytes32 batchId, address node)
        private
        view
        returns (bytes32 seed, uint256 rateBps)
    {
        (bytes32 epochSeed, bool rearmed) = _beacon.seedAt(batch.commitBlock);
        if (epochSeed == 0) return (0, 0);
        seed = keccak256(abi.encode(epochSeed, batchId));
        rateBps = uint256(batch.ratePercent) * 100;
        if (batch.state != BatchState.Pending) return (seed, rateBps);
        if (rearmed && rateBps < REARMED_RATE_BPS) rateBps = REARMED_RATE_BPS;
        // Else a guilty node's other batches would be final before the time to appeal is over.
        Book storage book = _books[node];
        if (book.jailed || book.accusations != 0) rateBps = FULL_RATE_BPS;
    }

    function _idOf(address node, uint8 slot, uint256 commitBlock) private pure returns (bytes32) {
        return commitBlock == 0 ? bytes32(0) : keccak256(abi.encode(node, slot, commitBlock));
    }

    function _valueOf(Batch memory batch) private pure returns (uint96) {
        return batch.charge + batch.fee + batch.bonus;
    }
}
