// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Test} from "forge-std/Test.sol";

import {IEpochBeacon} from "../../contracts/interfaces/IEpochBeacon.sol";
import {HistoryMock} from "./mocks/HistoryMock.sol";
import {Profile} from "../../contracts/types/ParamTypes.sol";

import {Profiles} from "./Profiles.sol";

/// @dev Local profile: epochs of 4 blocks, lag 2. Epoch 250 is blocks 1000..1003; its seed is the hash of block 1006.
contract EpochBeaconTest is Test {
    address private constant HISTORY = 0x0000F90827F1C53a10cb7A02335B175320002935;
    uint256 private constant EPOCH = 250;
    uint256 private constant SEED_BLOCK = 1_006;
    bytes32 private constant HASH = keccak256("hash of block 1006");
    IEpochBeacon private beacon;

    function setUp() public {
        vm.roll(1_000);
        Profile memory local = Profiles.load(vm, "local");
        address timelock = deployCode("Timelock.sol:Timelock", Profiles.timelock(local, address(this), address(this)));
        address params = deployCode("Params.sol:Params", Profiles.params(local, timelock, address(0)));
        beacon = IEpochBeacon(deployCode("EpochBeacon.sol:EpochBeacon", abi.encode(params)));
    }

    function test_the_seed_block_lies_behind_the_epoch() public view {
        assertEq(beacon.epochOf(999), EPOCH - 1);
        assertEq(beacon.epochOf(1_000), EPOCH);
        assertEq(beacon.epochOf(1_003), EPOCH);
        assertEq(beacon.seedBlockOf(EPOCH), SEED_BLOCK);
    }

    function test_seal_keeps_the_hash_of_the_seed_block() public {
        vm.roll(SEED_BLOCK + 1);
        vm.setBlockhash(SEED_BLOCK, HASH);
        vm.expectEmit(address(beacon));
        emit IEpochBeacon.EpochSealed(EPOCH, HASH, SEED_BLOCK);
        assertEq(beacon.seal(EPOCH), HASH);
        (bytes32 seed, bool rearmed) = beacon.seedOf(EPOCH);
        assertEq(seed, HASH);
        assertFalse(rearmed);
    }

    function test_seal_waits_for_the_block_after() public {
        vm.roll(SEED_BLOCK);
        vm.expectRevert(abi.encodeWithSelector(IEpochBeacon.SeedNotYet.selector, EPOCH, SEED_BLOCK));
        beacon.seal(EPOCH);
    }

    function test_seal_once() public {
        vm.roll(SEED_BLOCK + 1);
        beacon.seal(EPOCH);
        vm.expectRevert(abi.encodeWithSelector(IEpochBeacon.AlreadySealed.selector, EPOCH));
        beacon.seal(EPOCH);
    }

    function test_seal_reaches_256_blocks_back() public {
        vm.roll(SEED_BLOCK + 256);
        vm.setBlockhash(SEED_BLOCK, HASH);
        assertEq(beacon.seal(EPOCH), HASH);
    }

    function test_without_history_the_seed_is_lost_after_256_blocks() public {
        vm.roll(SEED_BLOCK + 257);
        vm.expectRevert(abi.encodeWithSelector(IEpochBeacon.SeedLost.selector, EPOCH, SEED_BLOCK));
        beacon.seal(EPOCH);
    }

    function test_history_reaches_further() public {
        _giveHistory(SEED_BLOCK, HASH);
        vm.roll(SEED_BLOCK + 8_000);
        assertEq(beacon.seal(EPOCH), HASH);
    }

    function test_history_that_has_forgotten_the_block() public {
        _giveHistory(SEED_BLOCK + 1, HASH);
        vm.roll(SEED_BLOCK + 9_000);
        vm.expectRevert(abi.encodeWithSelector(IEpochBeacon.SeedLost.selector, EPOCH, SEED_BLOCK));
        beacon.seal(EPOCH);
    }

    function test_rearm_gives_one_more_seed_block() public {
        vm.roll(SEED_BLOCK + 257);
        vm.expectEmit(address(beacon));
        emit IEpochBeacon.EpochRearmed(EPOCH, SEED_BLOCK + 259);
        beacon.rearm(EPOCH);
        vm.expectRevert(abi.encodeWithSelector(IEpochBeacon.SeedNotYet.selector, EPOCH, SEED_BLOCK + 259));
        beacon.seal(EPOCH);
        vm.roll(SEED_BLOCK + 260);
        vm.setBlockhash(SEED_BLOCK + 259, HASH);
        beacon.seal(EPOCH);
        (bytes32 seed, bool rearmed) = beacon.seedOf(EPOCH);
        assertEq(seed, HASH);
        assertTrue(rearmed);
        vm.expectRevert(abi.encodeWithSelector(IEpochBeacon.AlreadySealed.selector, EPOCH));
        beacon.seal(EPOCH);
        vm.roll(SEED_BLOCK + 259 + 257);
        vm.expectRevert(abi.encodeWithSelector(IEpochBeacon.AlreadySealed.selector, EPOCH));
        beacon.rearm(EPOCH);
        assertFalse(beacon.isLost(EPOCH));
    }

    function test_rearm_only_when_the_seed_is_lost() public {
        vm.roll(SEED_BLOCK);
        vm.expectRevert(abi.encodeWithSelector(IEpochBeacon.SeedStillThere.selector, EPOCH, SEED_BLOCK));
        beacon.rearm(EPOCH);
        vm.roll(SEED_BLOCK + 256);
        vm.expectRevert(abi.encodeWithSelector(IEpochBeacon.SeedStillThere.selector, EPOCH, SEED_BLOCK));
        beacon.rearm(EPOCH);
    }

    function test_rearm_not_after_the_seal_and_not_twice() public {
        vm.roll(SEED_BLOCK + 1);
        beacon.seal(EPOCH);
        vm.expectRevert(abi.encodeWithSelector(IEpochBeacon.AlreadySealed.selector, EPOCH));
        beacon.rearm(EPOCH);
        vm.roll(SEED_BLOCK + 1_000);
        beacon.rearm(EPOCH + 1);
        vm.expectRevert(abi.encodeWithSelector(IEpochBeacon.RearmedBefore.selector, EPOCH + 1));
        beacon.rearm(EPOCH + 1);
    }

    function test_lost_means_lost_twice() public {
        vm.roll(SEED_BLOCK + 257);
        assertFalse(beacon.isLost(EPOCH));
        beacon.rearm(EPOCH);
        assertFalse(beacon.isLost(EPOCH));
        vm.roll(SEED_BLOCK + 259 + 256);
        assertFalse(beacon.isLost(EPOCH));
        vm.roll(SEED_BLOCK + 259 + 257);
        assertTrue(beacon.isLost(EPOCH));
    }

    function _giveHistory(uint256 blockNumber, bytes32 hash) private {
        vm.etch(HISTORY, address(new HistoryMock()).code);
        HistoryMock(payable(HISTORY)).remember(blockNumber, hash);
    }
}
