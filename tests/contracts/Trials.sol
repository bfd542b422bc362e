// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {EnvelopeLib} from "../../contracts/libraries/EnvelopeLib.sol";
import {SplitLib} from "../../contracts/libraries/SplitLib.sol";
import {
    Batch,
    BatchState,
    Claim,
    Contents,
    LaneState,
    LaneView,
    Submission
} from "../../contracts/types/BatchTypes.sol";
import {SeatState} from "../../contracts/types/CaseTypes.sol";
import {DelegationView, NodeState, NodeView} from "../../contracts/types/NodeTypes.sol";

import {Scrutiny} from "./Scrutiny.sol";

/// @notice Sources of no gain: another branch of the chain, a forged signature, a grant that is taken back,
///         trade with oneself. And the end of it all, when everybody leaves.
contract Trials is Scrutiny {
    struct Draw {
        uint256[] leaves;
        address[] seats;
    }

    uint256 public reorgs;
    uint256 public follows;
    uint256 public washes;
    uint256 public forgeries;
    uint256 public revocations;
    uint256 public grants;
    uint256 public excesses;

    /// @dev One node is past its probation, else only what is drawn whole would ever be seen.
    function setUp() public override {
        super.setUp();
        (Submission memory made, Claim[] memory claims) = _work(0, nodes[0].id, 0, 20, 20 * VCN);
        _submitted(made, claims);
        _convene(nodes[0].id, 0);
        _judge(nodes[0].id, 0, [uint16(0), 0, 0]);
        pass(profile.challengeSeconds);
        _finalize(nodes[0].id, 0);
        if (stakes.nodeOf(nodes[0].id).samplesLeft != 0) _complain("twenty good jobs end a probation");
    }

    // ---- other branches

    /// @notice The same batch on three branches: who seals, when, and what happens before change nothing of its draw; another
    ///         block hash does.
    function reorg(uint256 pick, bytes32 hash, uint8 later) external {
        (address node, uint8 slot) = _find(BatchState.Pending, pick);
        (uint256 epoch, uint256 seedBlock) = toSeed(node, slot);
        (bytes32 sealed_,) = beacon.seedOf(epoch);
        if (sealed_ != 0) revert("sealed before");
        uint256 here = vm.snapshotState();
        beacon.seal(epoch);
        Draw memory draw = _drawOf(node, slot);
        vm.revertToState(here);
        mine(later);
        address other = _node(pick).id;
        vm.prank(other);
        try court.leaveVerifiers(other, CLASS) {} catch {}
        vm.prank(other);
        try court.joinVerifiers(other, CLASS) {} catch {}
        vm.prank(address(0xBAD));
        beacon.seal(epoch);
        bool same = _isSame(draw, _drawOf(node, slot));
        bytes32 seed = settlement.batchSeedOf(node, slot);
        vm.revertToState(here);
        vm.setBlockhash(seedBlock, hash);
        beacon.seal(epoch);
        bool other_ = settlement.batchSeedOf(node, slot) != seed;
        vm.revertToStateAndDelete(here);
        ++reorgs;
        if (!same) _complain("who seals, or when, chooses the draw");
        if (!other_) _complain("another branch has the same seed");
    }

    function _drawOf(address node, uint8 slot) private view returns (Draw memory draw) {
        draw.leaves = settlement.sampledLeaves(node, slot);
        if (draw.leaves.length != 0) draw.seats = court.previewSeats(node, slot, _kept(node, slot));
    }

    function _isSame(Draw memory a, Draw memory b) private pure returns (bool) {
        return keccak256(abi.encode(a)) == keccak256(abi.encode(b));
    }

    /// @notice A submission that a reorganisation moves to another block is another batch; in the same block it is the same.
    function resubmit(uint256 whose, uint256 who, uint8 jobs, uint8 blocks) external {
        Node memory node = _node(whose);
        uint8 slot = _freeSlot(node.id, 0);
        (Submission memory made, Claim[] memory claims) = _work(who, node.id, slot, jobs, VCN);
        uint256 here = vm.snapshotState();
        _submitted(made, claims);
        bytes32 first = settlement.batchIdOf(node.id, slot);
        vm.revertToState(here);
        uint256 moved = blocks % 8;
        if (moved != 0) mine(moved);
        _submitted(made, claims);
        bytes32 second = settlement.batchIdOf(node.id, slot);
        vm.revertToStateAndDelete(here);
        ++reorgs;
        if ((first == second) != (moved == 0)) _complain("a batch is known by its block");
    }

    function _work(uint256 who, address node, uint8 slot, uint8 jobs, uint96 charge)
        private
        view
        returns (Submission memory made, Claim[] memory claims)
    {
        return _work(who, node, slot, jobs, charge, 0);
    }

    function _work(uint256 who, address node, uint8 slot, uint8 jobs, uint96 charge, uint8 flags)
        private
        view
        returns (Submission memory made, Claim[] memory claims)
    {
        jobs = uint8(bound(jobs, 1, 20));
        claims = claimsOf(_client(who), node, jobs, charge, 0, flags);
        made = submissionOf(node, slot, claims, jobs);
        made.flags = flags;
    }

    // ---- signatures

    /// @notice A claim that its signer has not signed.
    function forge(uint256 whose, uint256 who, uint8 kind) external {
        Node memory node = _node(whose);
        (Submission memory made, Claim[] memory claims) = _work(who, node.id, _freeSlot(node.id, 0), 3, VCN);
        uint256 here = vm.snapshotState();
        _submitted(made, claims);
        vm.revertToStateAndDelete(here);
        // As it stands it would be taken: what follows is refused for the forgery alone.
        if (kind % 5 == 0) signClaim(claims[0], node.id, node.key);
        else if (kind % 5 == 1) signClaim(claims[0], _node(whose + 1).id, _client(who).signerKey);
        else if (kind % 5 == 2) claims[0].cumulative += 1;
        else if (kind % 5 == 3) claims[0].index += 1;
        else claims[0].charge = made.priceSum = made.maxLeaf = VCN + 1;
        ++forgeries;
        vm.prank(node.id);
        try settlement.submit(made, claims) {
            _complain("a claim without a signature was taken");
        } catch {}
    }

    /// @notice A seat opens what it has not committed to.
    function speakUnbound(uint256 pick, uint8 seat, uint16 score) external {
        (address node, uint8 slot) = _find(BatchState.InCourt, pick);
        bytes32 caseId = settlement.batchIdOf(node, slot);
        uint8 count = uint8(court.seatsOf(caseId).length);
        seat %= count;
        for (uint8 i; i < count; ++i) {
            if (i != seat && court.seatsOf(caseId)[i].state == SeatState.Drawn) commitSeat(caseId, i);
        }
        bool bound = court.seatsOf(caseId)[seat].state != SeatState.Drawn;
        bytes32 salt = bound ? bytes32("other") : saltOf(seat);
        address who = court.seatsOf(caseId)[seat].node;
        uint16[] memory scores = scoresOf(caseId, score % 10_001);
        ++forgeries;
        vm.prank(who);
        try court.revealSeat(caseId, seat, digestOf(seat), scores, salt, 0) {
            _complain("a seat revealed what it had not committed to");
        } catch {}
    }

    /// @notice To take a signer's grant back, or let it lapse, voids nothing that it has signed on an open lane.
    function revoke(uint256 whose, uint256 who) external {
        Node memory node = _node(whose);
        Client memory one = _client(who);
        (Submission memory made, Claim[] memory claims) = _work(who, node.id, _freeSlot(node.id, 0), 3, VCN);
        uint256 here = vm.snapshotState();
        _submitted(made, claims);
        vm.revertToStateAndDelete(here);
        vm.prank(one.id);
        settlement.setSigner(one.signer, 0, 0);
        ++revocations;
        vm.prank(node.id);
        try settlement.submit(made, claims) {
            _contents[node.id][made.slot] = abi.encode(_contentsBefore(made, claims));
            _signed[_lane(one.id, node.id)] = claims[0].cumulative;
        } catch {
            _complain("a signed assignment died with its signer's grant");
        }
    }

    /// @dev As contentsOf, once the lane has moved.
    function _contentsBefore(Submission memory made, Claim[] memory claims)
        private
        view
        returns (Contents memory contents)
    {
        contents = contentsOf(made, claims);
        contents.debits[0].leaves = made.okCount;
    }

    /// @notice The signer opens a lane; the node sends it. Within budget and time it may, else not.
    function openBySigner(uint256 who, uint256 whose, uint96 amount, uint96 budget, bool late) external {
        Client memory one = _client(who);
        address node = _node(whose).id;
        amount = uint96(bound(amount, 1, 20 * VCN));
        budget = uint96(bound(budget, 1, 20 * VCN));
        uint40 time = uint40(vm.getBlockTimestamp());
        vm.prank(one.id);
        settlement.setSigner(one.signer, budget, late ? time - 1 : time);
        LaneView memory lane = settlement.laneOf(one.id, one.signer, node);
        uint128 total = uint128(lane.left) + lane.mark;
        bytes memory signed = _laneMessage(one, node, amount, total);
        bool might = amount <= settlement.accountOf(one.id) && vm.getBlockTimestamp() >= stakes.intakePausedUntil();
        vm.prank(node);
        try settlement.openLane(one.id, one.signer, node, amount, total, time, signed) {
            if (late || amount > budget) _complain("a signer spent what it may not");
            _spent[one.id] += amount;
            ++grants;
        } catch {
            if (might && !late && amount <= budget) _complain("a signer may spend its budget");
        }
    }

    function _laneMessage(Client memory one, address node, uint96 amount, uint128 total)
        private
        view
        returns (bytes memory)
    {
        uint40 time = uint40(vm.getBlockTimestamp());
        bytes32 message = EnvelopeLib.laneOpenHash(one.id, one.signer, node, amount, total, time);
        return signature(one.signerKey, digestFor(address(settlement), message));
    }

    // ---- too much, too soon

    /// @notice More than half of the owner's stake at once, in leaves that are each as large as may be.
    function overload(uint256 whose, uint256 who, bool fits) external {
        Node memory node = _node(whose);
        Client memory one = _client(who);
        uint96 leaf = stakes.termsOf(node.id).ownStake / 40;
        uint96 room = leaf * 20 - settlement.bookOf(node.id).openValue;
        uint96 charge = fits ? room * 9 / 10 : room;
        coin.approve(address(settlement), 2 * charge);
        settlement.depositFor(one.id, 2 * charge);
        openLane(one, node.id, charge * 11 / 10);
        _spent[one.id] += charge * 11 / 10;
        (Submission memory made, Claim[] memory claims) = _work(who, node.id, _freeSlot(node.id, 0), 20, charge);
        uint256 here = vm.snapshotState();
        vm.prank(node.id);
        try settlement.submit(made, claims) {
            vm.revertToStateAndDelete(here);
            if (!fits) _complain("more is open than the stake covers");
            else _submitted(made, claims);
        } catch {}
        ++excesses;
    }

    /// @notice One batch after the other in one slot: the next makes the last one final, and all is as after two calls.
    function follow(uint256 pick, uint256 who, uint8 jobs, bool late) external {
        (address node, uint8 slot) = _find(BatchState.Passed, pick);
        if (stateOf(node, slot) != BatchState.Passed) (node, slot) = _find(BatchState.Pending, pick);
        if (late) pass(profile.challengeSeconds);
        (Submission memory made, Claim[] memory claims) = _work(who, node, slot, jobs, VCN / 10);
        uint256 here = vm.snapshotState();
        settlement.finalize(node, slot);
        vm.prank(node);
        settlement.submit(made, claims);
        bytes32 apart = _looks(node, slot);
        vm.revertToState(here);
        vm.prank(node);
        settlement.submit(made, claims);
        bool same = _looks(node, slot) == apart;
        vm.revertToStateAndDelete(here);
        if (!same) _complain("two steps in one differ from the two");
        _finalize(node, slot);
        _submitted(made, claims);
        ++follows;
    }

    function _looks(address node, uint8 slot) private view returns (bytes32) {
        return keccak256(
            abi.encode(
                settlement.batchOf(node, slot),
                settlement.bookOf(node),
                stakes.nodeOf(node),
                settlement.pool(),
                settlement.burnPending()
            )
        );
    }

    /// @notice Blocks without time: the seed is there, the window is not over.
    function rush(uint256 whose, uint256 who) external {
        address node = _node(whose).id;
        uint8 slot = _freeSlot(node, 0);
        (Submission memory made, Claim[] memory claims) = _work(who, node, slot, 1, VCN / 100);
        _submitted(made, claims);
        uint256 epoch = beacon.epochOf(vm.getBlockNumber());
        (bytes32 seed,) = beacon.seedOf(epoch);
        vm.roll(beacon.seedBlockOf(epoch) + 1);
        if (seed == 0) beacon.seal(epoch);
        ++excesses;
        try settlement.finalize(node, slot) {
            _complain("final before its window is over");
        } catch {}
    }

    // ---- trade with oneself

    /// @notice Client, node and every seat in one hand. They lose what is burned, but for what the draw adds to the seats' pay
    ///         by chance: over all draws, that is nothing (see `test_the_pool_pays_the_fee_in_the_mean`).
    function wash(uint256 whose, uint256 who, uint8 jobs, uint96 charge, bool checked) external {
        Node memory node = _node(whose);
        uint8 slot = _freeSlot(node.id, 0);
        charge = uint96(bound(charge, VCN / 10, 10 * VCN));
        (Submission memory made, Claim[] memory claims) = _work(who, node.id, slot, jobs, charge, checked ? CHECKED : 0);
        uint256 before = _wealth();
        _submitted(made, claims);
        seal(node.id, slot);
        uint256 added;
        if (settlement.sampledLeaves(node.id, slot).length != 0) {
            _convene(node.id, slot);
            _judge(node.id, slot, [uint16(0), 0, 0]);
            Batch memory batch = settlement.batchOf(node.id, slot);
            uint256 drawn = settlement.sampledLeaves(node.id, slot).length;
            uint256 pay = SplitLib.seatPay(batch.fee, drawn, batch.leafCount, batch.ratePercent);
            if (pay > batch.fee) added = pay - batch.fee;
        }
        pass(profile.challengeSeconds);
        _finalize(node.id, slot);
        ++washes;
        if (_wealth() + claims[0].charge / 10 > before + added) _complain("trade with oneself pays");
    }

    /// @dev Of all clients, nodes and seats together, in Settlement.
    function _wealth() private view returns (uint256 total) {
        total = settlement.accountOf(address(this));
        for (uint256 i; i < ACTORS; ++i) {
            total += settlement.accountOf(clients[i].id);
            for (uint256 j; j < ACTORS; ++j) {
                total += settlement.laneOf(clients[i].id, clients[i].signer, nodes[j].id).left;
            }
        }
        for (uint256 i; i < nodes.length; ++i) {
            total += settlement.bookOf(nodes[i].id).rewards;
        }
    }

    // ---- the end

    /// @notice Sixty days later, with the intake shut: every batch ends, every party leaves, and what is left has no owner.
    function everybodyLeaves() external {
        mine(1);
        pass(60 days);
        vm.prank(keeper);
        guardian.pause(72 hours);
        uint256 until = stakes.intakePausedUntil();
        for (uint256 i; i < ACTORS; ++i) {
            for (uint8 slot; slot < SLOTS_USED; ++slot) {
                _end(nodes[i].id, slot);
            }
        }
        for (uint256 i; i < _challenged.length; ++i) {
            _endBond(i);
        }
        _lanesEnd();
        _stakesEnd();
        if (vm.getBlockTimestamp() >= until) _complain("a way out was longer than a pause");
        if (settlement.burnPending() != 0) settlement.flushBurn();
    }

    function _end(address node, uint8 slot) private {
        for (uint256 i; i < 4; ++i) {
            BatchState state = stateOf(node, slot);
            if (state == BatchState.None || state == BatchState.Final || state == BatchState.Refunded) return;
            if (state == BatchState.Passed) settlement.finalize(node, slot);
            else if (state == BatchState.Void) settlement.refund(node, slot, _kept(node, slot));
            else if (state == BatchState.Pending) _endPending(node, slot);
            else if (state == BatchState.Audited) audits.close(settlement.batchIdOf(node, slot));
            else court.voidStarved(node, slot, _kept(node, slot));
            // A doubt that a second round leaves is with the arbiters for a while.
            if (stateOf(node, slot) == BatchState.InCourt) pass(profile.arbiterSeconds + 1);
        }
        _complain("a batch has no end");
    }

    function _endBond(uint256 which) private {
        (, uint96 bond) = fraudProofs.challengeOf(_challenged[which]);
        if (bond == 0) return;
        (address node, uint8 slot, uint256 commitBlock) = abi.decode(_challengedAt[which], (address, uint8, uint256));
        fraudProofs.endChallenge(node, slot, commitBlock);
    }

    function _endPending(address node, uint8 slot) private {
        _sealLate(node, slot);
        if (settlement.sampledLeaves(node, slot).length == 0) settlement.finalize(node, slot);
        else court.voidStarved(node, slot, _kept(node, slot));
    }

    function _sealLate(address node, uint8 slot) private {
        (uint256 epoch,) = toSeed(node, slot);
        (bytes32 seed,) = beacon.seedOf(epoch);
        if (seed != 0) return;
        try beacon.seal(epoch) {}
        catch {
            mine(beacon.rearm(epoch) + 1 - vm.getBlockNumber());
            beacon.seal(epoch);
        }
    }

    function _lanesEnd() private {
        for (uint256 i; i < ACTORS; ++i) {
            Client memory one = clients[i];
            for (uint256 j; j < ACTORS; ++j) {
                if (settlement.laneOf(one.id, one.signer, nodes[j].id).state != LaneState.Open) continue;
                vm.prank(one.signer);
                settlement.closeLane(one.id, one.signer, nodes[j].id);
            }
            pass(profile.laneCloseSeconds);
            for (uint256 j; j < ACTORS; ++j) {
                if (settlement.laneOf(one.id, one.signer, nodes[j].id).state != LaneState.Closing) continue;
                settlement.reclaimLane(one.id, one.signer, nodes[j].id);
            }
            uint256 free = settlement.accountOf(one.id);
            if (free == 0) continue;
            vm.prank(one.id);
            settlement.withdraw(uint96(free));
        }
    }

    function _stakesEnd() private {
        for (uint256 i; i < nodes.length; ++i) {
            if (settlement.bookOf(nodes[i].id).rewards != 0) settlement.claim(nodes[i].id);
            for (uint256 j; j < STAKERS; ++j) {
                _unbondAll(nodes[i].id, stakers[j]);
                if (i < ACTORS && bondsOf[nodes[i].id][nodes[j].owner] != 0) {
                    stakes.missLiveness(nodes[i].id, nodes[j].owner);
                }
            }
            _unbondAll(nodes[i].id, nodes[i].owner);
        }
        pass(profile.unbondingSeconds);
        for (uint256 i; i < nodes.length; ++i) {
            for (uint256 j; j < STAKERS; ++j) {
                _takeAll(nodes[i].id, stakers[j]);
            }
            _takeAll(nodes[i].id, nodes[i].owner);
            NodeView memory shown = stakes.nodeOf(nodes[i].id);
            if (shown.state == NodeState.Active || shown.state == NodeState.Exiting) _complain("a node cannot leave");
        }
    }

    function _unbondAll(address id, address who) private {
        // What a penalty for absence takes is taken before.
        try stakes.penalizeOffline(id) {} catch {}
        uint96 there = stakes.delegationOf(id, who).active;
        if (there == 0) return;
        vm.prank(who);
        stakes.unbond(id, there);
    }

    function _takeAll(address id, address who) private {
        DelegationView memory has = stakes.delegationOf(id, who);
        if (has.unbonding != 0) {
            vm.prank(who);
            stakes.withdraw(id);
        }
        if (has.rewards != 0) {
            vm.prank(who);
            stakes.claimRewards(id);
        }
        has = stakes.delegationOf(id, who);
        if (has.active != 0 || has.unbonding != 0 || has.rewards != 0) _complain("somebody cannot leave");
    }
}
