// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";
import {TimelockController} from "@openzeppelin/contracts/governance/TimelockController.sol";

import {Vm} from "forge-std/Vm.sol";

import {IGuardian} from "../../contracts/interfaces/IGuardian.sol";
import {IDelegations} from "../../contracts/interfaces/IDelegations.sol";
import {IIntake} from "../../contracts/interfaces/IIntake.sol";
import {IParams} from "../../contracts/interfaces/IParams.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {IStakeManager} from "../../contracts/interfaces/IStakeManager.sol";
import {ITimelock} from "../../contracts/interfaces/ITimelock.sol";
import {Batch, BatchState, Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";
import {BatchRecord} from "../../contracts/types/NodeTypes.sol";
import {Calibration, DeviceClass, NoiseBand} from "../../contracts/types/ParamTypes.sol";

import {Fixture} from "./Fixture.sol";
import {Profiles} from "./Profiles.sol";

/// @notice The governor: everything it does is seen in time to leave, and it can do little.
contract TimelockTest is Fixture {
    bytes32 private constant PROPOSER = keccak256("PROPOSER_ROLE");
    bytes32 private constant CANCELLER = keccak256("CANCELLER_ROLE");
    bytes32 private constant ADMIN = bytes32(0);
    bytes32 private constant MANIFEST = keccak256("manifest");

    function _class(uint8 id, string memory name) private pure returns (DeviceClass memory) {
        return DeviceClass(id, name, sha256("runtime"), "fp32", "any");
    }

    function _noise(uint32 fail) private pure returns (Calibration memory) {
        NoiseBand memory band = NoiseBand(1, fail);
        return Calibration(band, band, band, band, band, band, bytes32(uint256(7)), bytes32(uint256(8)));
    }

    function _schedule(address target, bytes memory data) private returns (bytes32 id) {
        timelock.schedule(target, 0, data, 0, 0, profile.timelockSeconds);
        return timelock.hashOperation(target, 0, data, 0, 0);
    }

    function _expectNotReady(bytes32 id) private {
        bytes32 ready = bytes32(uint256(1) << uint8(TimelockController.OperationState.Ready));
        vm.expectRevert(abi.encodeWithSelector(TimelockController.TimelockUnexpectedOperationState.selector, id, ready));
    }

    /// @dev An administrator of the roles could name proposers who wait for nothing.
    function test_nobody_but_itself_gives_or_takes_roles() public {
        vm.recordLogs();
        address made = deployCode("Timelock.sol:Timelock", Profiles.timelock(profile, address(this), canceller));
        Vm.Log[] memory logs = vm.getRecordedLogs();
        uint256 admins;
        for (uint256 i; i < logs.length; ++i) {
            if (logs[i].topics[0] != IAccessControl.RoleGranted.selector || logs[i].topics[1] != ADMIN) continue;
            assertEq(address(uint160(uint256(logs[i].topics[2]))), made);
            ++admins;
        }
        assertEq(admins, 1);
    }

    // ---- the way of a change

    function test_a_row_is_added_after_the_delay_by_anyone() public {
        bytes memory data = abi.encodeCall(IParams.addClass, (_class(3, "cuda")));
        bytes32 id = _schedule(address(params), data);
        pass(profile.timelockSeconds - 1);
        _expectNotReady(id);
        timelock.execute(address(params), 0, data, 0, 0);
        pass(1);
        vm.prank(makeAddr("anyone"));
        timelock.execute(address(params), 0, data, 0, 0);
        assertEq(params.classOf(3).name, "cuda");
        _expectNotReady(id);
        timelock.execute(address(params), 0, data, 0, 0);
    }

    function test_only_a_proposer_proposes() public {
        bytes memory data = abi.encodeCall(IParams.addClass, (_class(3, "cuda")));
        address[3] memory others = [canceller, keeper, makeAddr("stranger")];
        for (uint256 i; i < others.length; ++i) {
            vm.prank(others[i]);
            vm.expectRevert();
            timelock.schedule(address(params), 0, data, 0, 0, profile.timelockSeconds);
            assertFalse(timelock.hasRole(PROPOSER, others[i]));
        }
    }

    function test_no_proposal_is_faster_than_the_delay() public {
        vm.expectRevert(
            abi.encodeWithSelector(
                TimelockController.TimelockInsufficientDelay.selector,
                profile.timelockSeconds - 1,
                profile.timelockSeconds
            )
        );
        timelock.schedule(address(params), 0, "", 0, 0, profile.timelockSeconds - 1);
    }

    function test_nobody_administers_it() public view {
        assertTrue(timelock.hasRole(ADMIN, address(timelock)));
        assertFalse(timelock.hasRole(ADMIN, address(this)));
        assertFalse(timelock.hasRole(ADMIN, keeper));
        assertTrue(timelock.hasRole(CANCELLER, canceller));
        assertTrue(timelock.hasRole(CANCELLER, address(this)));
    }

    function test_the_delay_grows_and_never_shrinks() public {
        uint256 delay = profile.timelockSeconds;
        bytes memory shorter = abi.encodeCall(TimelockController.updateDelay, (delay - 1));
        bytes memory longer = abi.encodeCall(TimelockController.updateDelay, (delay + 1 days));
        bytes memory back = abi.encodeCall(TimelockController.updateDelay, (delay));
        _schedule(address(timelock), shorter);
        _schedule(address(timelock), longer);
        pass(delay);
        vm.expectRevert(abi.encodeWithSelector(ITimelock.DelayTooShort.selector, delay - 1, delay));
        timelock.execute(address(timelock), 0, shorter, 0, 0);
        timelock.execute(address(timelock), 0, longer, 0, 0);
        assertEq(timelock.getMinDelay(), delay + 1 days);
        timelock.schedule(address(timelock), 0, back, 0, 0, delay + 1 days);
        pass(delay + 1 days);
        timelock.execute(address(timelock), 0, back, 0, 0);
        assertEq(timelock.getMinDelay(), delay, "back to what it was deployed with");
        assertEq(ITimelock(address(timelock)).shortestDelay(), delay);
    }

    function test_nobody_but_itself_sets_the_delay() public {
        uint256 delay = profile.timelockSeconds;
        vm.expectRevert(abi.encodeWithSelector(TimelockController.TimelockUnauthorizedCaller.selector, address(this)));
        timelock.updateDelay(delay + 1);
    }

    // ---- attacks

    /// @notice A stolen proposer key. Expected end: the proposal is public; a canceller ends it, and a party that does not
    ///         trust in that has left with all its stake before it could be carried out.
    function test_attack_a_stolen_proposer_key_before_its_delay() public {
        Node memory node = registered("node", 5_000 * VCN);
        address thief = makeAddr("thief");
        bytes memory data = abi.encodeCall(IGuardian.setKeeper, (thief));
        bytes memory more = abi.encodeCall(timelock.grantRole, (PROPOSER, thief));
        bytes32 id = _schedule(address(guardian), data);
        bytes32 second = _schedule(address(timelock), more);
        _expectNotReady(id);
        timelock.execute(address(guardian), 0, data, 0, 0);
        vm.prank(node.owner);
        stakes.unbond(node.id, 5_000 * VCN);
        pass(profile.unbondingSeconds);
        _expectNotReady(second);
        timelock.execute(address(timelock), 0, more, 0, 0);
        vm.prank(node.owner);
        assertEq(stakes.withdraw(node.id), 5_000 * VCN);
        vm.startPrank(canceller);
        timelock.cancel(id);
        timelock.cancel(second);
        vm.stopPrank();
        pass(profile.timelockSeconds);
        _expectNotReady(id);
        timelock.execute(address(guardian), 0, data, 0, 0);
        assertEq(guardian.keeper(), keeper);
        assertFalse(timelock.hasRole(PROPOSER, thief));
    }

    /// @notice A governor that tries to change what stands. Expected end: rows are only added.
    function test_attack_a_governor_changes_a_row() public {
        DeviceClass memory other = _class(1, "another");
        DeviceClass memory added = _class(3, "cuda");
        vm.startPrank(address(timelock));
        params.addCalibration(MANIFEST, 1, _noise(2));
        bytes32 before = keccak256(abi.encode(params.profile(), params.classOf(1), params.calibrationOf(MANIFEST, 1)));
        vm.expectRevert(abi.encodeWithSelector(IParams.ClassExists.selector, 1));
        params.addClass(other);
        vm.expectRevert(abi.encodeWithSelector(IParams.CalibrationExists.selector, MANIFEST, 1));
        params.addCalibration(MANIFEST, 1, _noise(9));
        params.addClass(added);
        params.addCalibration(MANIFEST, 3, _noise(9));
        vm.stopPrank();
        bytes32 later = keccak256(abi.encode(params.profile(), params.classOf(1), params.calibrationOf(MANIFEST, 1)));
        assertEq(before, later);
    }

    /// @notice A governor that tries to take funds. Expected end: every call that moves somebody's money refuses it.
    function test_attack_a_governor_takes_funds() public {
        bench(3);
        Node memory node = registered("node", 5_000 * VCN);
        Client memory one = client("client", 100 * VCN);
        openLane(one, node.id, 50 * VCN);
        Contents memory contents = submitted(one, node.id, 0, 2, 20 * VCN);
        uint256 staked = coin.balanceOf(address(stakes));
        uint256 settled = coin.balanceOf(address(settlement));
        vm.startPrank(address(timelock));
        _cannotTouchStake(node.id);
        _cannotTouchSettlement(one, node.id, contents);
        vm.expectRevert();
        coin.transferFrom(address(settlement), address(timelock), 1);
        vm.stopPrank();
        assertEq(coin.balanceOf(address(timelock)), 0);
        assertEq(coin.balanceOf(address(stakes)), staked);
        assertEq(coin.balanceOf(address(settlement)), settled);
        assertEq(stakes.nodeOf(node.id).activeStake, 5_000 * VCN);
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Pending));
    }

    function _cannotTouchStake(address id) private {
        address governor = address(timelock);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotCourt.selector, governor));
        stakes.slash(id, 1, 0);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotCourt.selector, governor));
        stakes.penalise(id, 1, true);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotCourt.selector, governor));
        stakes.jail(id, 0);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotSettlement.selector, governor));
        stakes.recordBatch(id, BatchRecord(1, 0, 1, 1));
        vm.expectRevert(abi.encodeWithSelector(IDelegations.NotStaker.selector, id, governor));
        stakes.unbond(id, 1);
        vm.expectRevert(abi.encodeWithSelector(IDelegations.NotStaker.selector, id, governor));
        stakes.withdraw(id);
        vm.expectRevert(abi.encodeWithSelector(IStakeManager.NotOwner.selector, id, governor));
        stakes.setPayout(id, governor);
        vm.expectRevert(abi.encodeWithSelector(IIntake.NotGuardian.selector, governor));
        stakes.pauseIntake(type(uint40).max);
    }

    function _cannotTouchSettlement(Client memory one, address node, Contents memory contents) private {
        address governor = address(timelock);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotEnoughFree.selector, 1, 0));
        settlement.withdraw(1);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotCourt.selector, governor));
        settlement.openCase(node, 0, governor);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotCourt.selector, governor));
        settlement.closeCase(node, 0, true, 0, new address[](0));
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotCourt.selector, governor));
        settlement.accuse(node, 0);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotStakeManager.selector, governor));
        settlement.drawAllOf(node);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotStakeManager.selector, governor));
        settlement.creditPool(1);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.NotLaneOwner.selector, governor));
        settlement.closeLane(one.id, one.signer, node);
        vm.expectRevert(abi.encodeWithSelector(ISettlement.WrongState.selector, BatchState.Pending));
        settlement.refund(node, 0, contents);
    }

    /// @notice A governor that adds constants while a batch is open. Expected end: the batch is judged by what it was
    ///         submitted as.
    function test_attack_a_governor_adds_constants_under_an_open_batch() public {
        bench(3);
        Node memory node = registered("node", 5_000 * VCN);
        Client memory one = client("client", 100 * VCN);
        openLane(one, node.id, 50 * VCN);
        Claim[] memory claims = claimsOf(one, node.id, 2, 20 * VCN, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 2);
        made.flags = UNCALIBRATED;
        Contents memory contents = submit(made, claims);
        Batch memory before = settlement.batchOf(node.id, 0);
        vm.prank(address(timelock));
        params.addCalibration(MANIFEST, CLASS, _noise(2));
        assertEq(keccak256(abi.encode(settlement.batchOf(node.id, 0))), keccak256(abi.encode(before)));
        bytes32 caseId = convened(node.id, 0, contents);
        judge(caseId, three(0, 0, 0));
        court.resolve(caseId, contents);
        assertEq(stakes.nodeOf(node.id).activeStake, 5_000 * VCN, "a class without constants is never slashed");
    }
}
