// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IGuardian} from "../../contracts/interfaces/IGuardian.sol";
import {IIntake} from "../../contracts/interfaces/IIntake.sol";
import {Claim, Submission} from "../../contracts/types/BatchTypes.sol";
import {Permit} from "../../contracts/types/NodeTypes.sol";
import {Profile} from "../../contracts/types/ParamTypes.sol";

import {Papers} from "./Papers.sol";
import {Profiles} from "./Profiles.sol";

/// @notice The brake: who may pull it, for how long, how often, and that it lets go by itself.
contract GuardianTest is Papers {
    uint40 private constant LONGEST = 72 hours;
    uint40 private constant INTERVAL = 7 days;

    function _pause(uint40 duration) private returns (uint40 until) {
        until = uint40(vm.getBlockTimestamp()) + duration;
        vm.prank(keeper);
        guardian.pause(duration);
    }

    function _isOpen() private view returns (bool) {
        try stakes.requireIntake() {
            return true;
        } catch {
            return false;
        }
    }

    function _expectPaused(uint40 until) private {
        vm.expectRevert(abi.encodeWithSelector(IIntake.IntakePaused.selector, until));
    }

    // ---- who, for how long

    function test_the_contracts_name_each_other() public view {
        assertEq(params.guardian(), address(guardian));
        assertEq(stakes.guardian(), address(guardian));
        assertEq(address(guardian.intake()), address(stakes));
        assertEq(guardian.governor(), params.governor());
        assertEq(guardian.MAX_PAUSE(), LONGEST);
        assertEq(guardian.PAUSE_INTERVAL(), INTERVAL);
        assertEq(stakes.intakePausedUntil(), 0);
    }

    function test_only_the_keeper_pauses() public {
        address[3] memory others = [address(this), address(timelock), makeAddr("stranger")];
        for (uint256 i; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(IGuardian.NotKeeper.selector, others[i]));
            guardian.pause(1);
        }
    }

    function test_nobody_goes_past_the_guardian() public {
        address[3] memory others = [keeper, address(timelock), address(court)];
        for (uint256 i; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(IIntake.NotGuardian.selector, others[i]));
            stakes.pauseIntake(type(uint40).max);
        }
    }

    function test_a_pause_lasts_a_second_to_72_hours() public {
        uint40[3] memory bad = [0, LONGEST + 1, type(uint40).max];
        for (uint256 i; i < bad.length; ++i) {
            vm.prank(keeper);
            vm.expectRevert(abi.encodeWithSelector(IGuardian.BadPause.selector, bad[i], LONGEST));
            guardian.pause(bad[i]);
        }
        uint40 until = uint40(vm.getBlockTimestamp()) + LONGEST;
        vm.expectEmit(address(guardian));
        emit IGuardian.Paused(keeper, until, uint40(vm.getBlockTimestamp()) + INTERVAL);
        vm.expectEmit(address(stakes));
        emit IIntake.IntakeStopped(until);
        _pause(LONGEST);
        assertEq(stakes.intakePausedUntil(), until);
    }

    function test_it_ends_by_itself_to_the_second() public {
        uint40 until = _pause(1 hours);
        vm.warp(until - 1);
        _expectPaused(until);
        stakes.requireIntake();
        vm.warp(until);
        stakes.requireIntake();
    }

    // ---- how often

    function test_once_a_week() public {
        uint40 next = uint40(vm.getBlockTimestamp()) + INTERVAL;
        _pause(1);
        vm.warp(next - 1);
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IGuardian.PausedLately.selector, next));
        guardian.pause(1);
        vm.warp(next);
        _pause(LONGEST);
        assertEq(guardian.nextPauseAt(), next + INTERVAL);
    }

    function test_a_pause_that_was_ended_early_counts_as_one() public {
        uint40 next = uint40(vm.getBlockTimestamp()) + INTERVAL;
        _pause(LONGEST);
        vm.prank(keeper);
        guardian.resume();
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IGuardian.PausedLately.selector, next));
        guardian.pause(1);
    }

    /// @dev Whatever a keeper tries: over any seven days the intake is open for four of them.
    function testFuzz_at_most_72_hours_of_any_7_days(uint256 seed) public {
        uint256[] memory starts = new uint256[](24);
        uint256[] memory ends = new uint256[](24);
        uint256 count;
        for (uint256 i; i < 24; ++i) {
            seed = uint256(keccak256(abi.encode(seed)));
            vm.prank(keeper);
            if (seed % 8 == 0) {
                try guardian.resume() {
                    ends[count - 1] = vm.getBlockTimestamp();
                } catch {}
            } else {
                try guardian.pause(uint40(bound(seed >> 8, 0, 100 hours))) {
                    starts[count] = vm.getBlockTimestamp();
                    ends[count++] = stakes.intakePausedUntil();
                } catch {}
            }
            assertEq(_isOpen(), count == 0 || vm.getBlockTimestamp() >= ends[count - 1], "open unless it was paused");
            vm.warp(vm.getBlockTimestamp() + bound(seed >> 64, 0, 4 days));
        }
        for (uint256 i; i < count; ++i) {
            assertLe(_pausedBetween(starts, ends, count, starts[i], starts[i] + INTERVAL), LONGEST, "from a start");
            uint256 from = ends[i] > INTERVAL ? ends[i] - INTERVAL : 0;
            assertLe(_pausedBetween(starts, ends, count, from, ends[i]), LONGEST, "to an end");
        }
    }

    function _pausedBetween(uint256[] memory starts, uint256[] memory ends, uint256 count, uint256 from, uint256 to)
        private
        pure
        returns (uint256 total)
    {
        for (uint256 i; i < count; ++i) {
            uint256 first = starts[i] > from ? starts[i] : from;
            uint256 last = ends[i] < to ? ends[i] : to;
            if (first < last) total += last - first;
        }
    }

    // ---- an early end

    function test_keeper_and_governor_may_end_it_early() public {
        address[2] memory may = [keeper, address(timelock)];
        for (uint256 i; i < may.length; ++i) {
            vm.warp(vm.getBlockTimestamp() + INTERVAL);
            _pause(LONGEST);
            pass(1);
            vm.expectEmit(address(guardian));
            emit IGuardian.Resumed(may[i]);
            vm.prank(may[i]);
            guardian.resume();
            stakes.requireIntake();
        }
    }

    function test_nobody_else_ends_it_and_nobody_ends_what_is_over() public {
        uint40 until = _pause(1 hours);
        vm.expectRevert(abi.encodeWithSelector(IGuardian.NotKeeper.selector, address(this)));
        guardian.resume();
        vm.warp(until);
        vm.prank(keeper);
        vm.expectRevert(IGuardian.NotPaused.selector);
        guardian.resume();
    }

    // ---- the keeper

    function test_only_the_governor_names_the_keeper() public {
        address[2] memory others = [keeper, address(this)];
        for (uint256 i; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert(abi.encodeWithSelector(IGuardian.NotGovernor.selector, others[i]));
            guardian.setKeeper(others[i]);
        }
    }

    function test_a_new_keeper_inherits_the_week_and_a_pause_goes_on() public {
        uint40 until = _pause(LONGEST);
        address other = makeAddr("new keeper");
        vm.expectEmit(address(guardian));
        emit IGuardian.KeeperChanged(keeper, other);
        vm.prank(address(timelock));
        guardian.setKeeper(other);
        assertEq(stakes.intakePausedUntil(), until);
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IGuardian.NotKeeper.selector, keeper));
        guardian.resume();
        uint40 next = until - LONGEST + INTERVAL;
        vm.prank(other);
        vm.expectRevert(abi.encodeWithSelector(IGuardian.PausedLately.selector, next));
        guardian.pause(1);
    }

    function test_a_network_may_have_no_keeper() public {
        vm.prank(address(timelock));
        guardian.setKeeper(address(0));
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IGuardian.NotKeeper.selector, keeper));
        guardian.pause(1);
    }

    function test_a_guardian_that_the_intake_does_not_name_does_not_come_to_be() public {
        bytes memory code = abi.encodePacked(vm.getCode("Guardian.sol:Guardian"), abi.encode(timelock, keeper, stakes));
        vm.expectRevert(IGuardian.BadWiring.selector);
        this.create(code);
    }

    function create(bytes memory code) external {
        assembly {
            if iszero(create(0, add(code, 32), mload(code))) {
                returndatacopy(code, 0, returndatasize())
                revert(code, returndatasize())
            }
        }
    }

    // ---- what stands still

    function test_register_stands_still() public {
        Node memory node = makeNode("node");
        fundOwner(node, 5_000 * VCN);
        uint40 until = _pause(1 minutes);
        uint40 deadline = until;
        bytes memory consent = consentOf(node, node.owner, deadline);
        Permit memory permit;
        vm.startPrank(node.owner);
        _expectPaused(until);
        stakes.register(node.id, address(0), 5_000 * VCN, 6, deadline, consent);
        _expectPaused(until);
        stakes.registerWithPermit(node.id, address(0), 5_000 * VCN, 6, deadline, consent, permit);
        vm.warp(until);
        stakes.register(node.id, address(0), 5_000 * VCN, 6, deadline, consent);
        assertEq(stakes.nodeOf(node.id).owner, node.owner);
    }

    function test_lanes_and_batches_stand_still() public {
        Node memory node = registered("node", 10_000 * VCN);
        Client memory one = client("client", 100 * VCN);
        openLane(one, node.id, 50 * VCN);
        Claim[] memory claims = claimsOf(one, node.id, 1, 1 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 1);
        uint40 until = _pause(1 minutes);
        vm.prank(one.id);
        _expectPaused(until);
        settlement.openLane(one.id, one.signer, node.id, 1 * VCN, 50 * VCN, until, "");
        vm.prank(node.id);
        _expectPaused(until);
        settlement.submit(made, claims);
        vm.warp(until);
        vm.prank(one.id);
        settlement.openLane(one.id, one.signer, node.id, 1 * VCN, 50 * VCN, until, "");
        vm.prank(node.id);
        settlement.submit(made, claims);
        assertEq(settlement.batchOf(node.id, 0).leafCount, 1);
    }

    // ---- attacks

    /// @notice A stolen guardian key, on the numbers of the main network: expected end: the intake stands still for three days in
    ///         seven until the governor has replaced the key; no coin moves, and nothing that runs is held up.
    function test_attack_a_stolen_guardian_key() public {
        deploy(Profiles.load(vm, "main"));
        Client memory one = client("client", 100 * VCN);
        bytes memory data = abi.encodeCall(IGuardian.setKeeper, (makeAddr("new keeper")));
        timelock.schedule(address(guardian), 0, data, 0, 0, profile.timelockSeconds);
        uint256 start = vm.getBlockTimestamp();
        uint256 paused;
        while (vm.getBlockTimestamp() < start + profile.timelockSeconds) {
            vm.prank(keeper);
            try guardian.pause(LONGEST) {
                paused += LONGEST;
            } catch {}
            pass(12 hours);
            uint96 free = settlement.accountOf(one.id);
            vm.prank(one.id);
            settlement.withdraw(1 * VCN);
            assertEq(settlement.accountOf(one.id), free - 1 * VCN);
        }
        assertEq(paused, 3 * uint256(LONGEST), "16 days hold three pauses");
        timelock.execute(address(guardian), 0, data, 0, 0);
        pass(INTERVAL);
        vm.prank(keeper);
        vm.expectRevert(abi.encodeWithSelector(IGuardian.NotKeeper.selector, keeper));
        guardian.pause(LONGEST);
        stakes.requireIntake();
        assertEq(coin.balanceOf(keeper), 0);
    }

    /// @notice Somebody with a stolen guardian key and a lane closes it under a pause. Expected end: what the node had signed
    ///         orders for and had not submitted is lost to it, which is the price of letting clients out; never more than that.
    function test_attack_a_lane_is_emptied_under_a_pause() public {
        Node memory node = registered("node", 10_000 * VCN);
        Client memory thief = client("thief", 100 * VCN);
        openLane(thief, node.id, 50 * VCN);
        submitted(thief, node.id, 0, 5, 10 * VCN);
        Claim[] memory claims = claimsOf(thief, node.id, 1, 1 * VCN, 0);
        Submission memory late = submissionOf(node.id, 1, claims, 1);
        _pause(LONGEST);
        vm.prank(thief.id);
        settlement.closeLane(thief.id, thief.signer, node.id);
        pass(profile.laneCloseSeconds);
        settlement.reclaimLane(thief.id, thief.signer, node.id);
        assertEq(settlement.accountOf(thief.id), 89.5 ether, "what was submitted stays with the batch");
        vm.warp(stakes.intakePausedUntil());
        vm.prank(node.id);
        vm.expectRevert();
        settlement.submit(late, claims);
    }
}
