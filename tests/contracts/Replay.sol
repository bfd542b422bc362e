// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {console2} from "forge-std/console2.sol";

import {Fixture} from "./Fixture.sol";

/// @notice Plays histories that were told elsewhere on the contracts, call by call, and compares every answer.
/// @dev Run by tests/proof/histories. It knows no call and no rule: what is called, and what must come of it, stands in the file.
contract Replay is Fixture {
    struct Look {
        uint8 target;
        bytes data;
        uint16[] words;
        bytes32[] values;
    }

    struct Step {
        uint40 time;
        uint64 number;
        /// @dev A block that has the hash beside it from now on; 0 for none.
        uint64 hashed;
        bytes32 blockHash;
        address sender;
        uint8 target;
        bytes data;
        bool succeeds;
        Look[] looks;
    }

    /// @dev How a history ends that went as told: everything it did is undone.
    error Played(uint256 calls);
    error Differs(uint256 step, string what);

    bytes4 private constant PANIC = 0x4e487b71;

    /// @dev In the order of TARGETS in replay.py.
    function _targets() private view returns (address[6] memory) {
        return [address(coin), address(stakes), address(settlement), address(beacon), address(court), court.panel()];
    }

    function where() external view {
        string[6] memory names = ["VCoin", "StakeManager", "Settlement", "EpochBeacon", "Court", "Panel"];
        for (uint256 i; i < names.length; ++i) {
            console2.log(string.concat(names[i], " at ", vm.toString(_targets()[i])));
        }
        console2.log(string.concat("Timelock at ", vm.toString(address(timelock))));
        console2.log(string.concat("deployer is ", vm.toString(address(this))));
    }

    /// @notice Plays the first line of a file for good, then every other line as it goes on from there.
    function play(string calldata path) external {
        uint256 calls;
        try this.kept(vm.readLine(path)) returns (uint256 count) {
            calls = count;
        } catch (bytes memory why) {
            calls = _callsOf(0, why);
        }
        for (uint256 history = 1;; ++history) {
            string memory line = vm.readLine(path);
            if (bytes(line).length == 0) break;
            try this.undone(line) {}
            catch (bytes memory why) {
                calls += _callsOf(history, why);
            }
        }
        console2.log(string.concat("played ", vm.toString(calls), " calls"));
    }

    /// @notice Plays one line.
    function kept(string calldata line) external returns (uint256) {
        return _steps(abi.decode(vm.parseBytes(line), (Step[])));
    }

    /// @notice Plays one line and reverts, with Played if all went as told.
    function undone(string calldata line) external {
        revert Played(_steps(abi.decode(vm.parseBytes(line), (Step[]))));
    }

    function _callsOf(uint256 history, bytes memory why) private pure returns (uint256) {
        bytes memory rest = new bytes(why.length - 4);
        for (uint256 i; i < rest.length; ++i) {
            rest[i] = why[i + 4];
        }
        if (bytes4(why) == Played.selector) return abi.decode(rest, (uint256));
        (uint256 step, string memory what) =
            bytes4(why) == Differs.selector ? abi.decode(rest, (uint256, string)) : (0, vm.toString(why));
        revert(string.concat("history ", vm.toString(history), ", step ", vm.toString(step), ": ", what));
    }

    function _steps(Step[] memory steps) private returns (uint256) {
        address[6] memory targets = _targets();
        for (uint256 i; i < steps.length; ++i) {
            Step memory step = steps[i];
            vm.warp(step.time);
            vm.roll(step.number);
            if (step.hashed != 0) vm.setBlockhash(step.hashed, step.blockHash);
            vm.prank(step.sender);
            (bool succeeded, bytes memory answer) = targets[step.target].call(step.data);
            if (succeeded != step.succeeds) {
                revert Differs(i, succeeded ? "succeeded" : string.concat("reverted with ", vm.toString(answer)));
            }
            // A refusal says why; arithmetic that gave up does not.
            if (!succeeded && (answer.length < 4 || bytes4(answer) == PANIC)) revert Differs(i, "panicked");
            for (uint256 j; j < step.looks.length; ++j) {
                _compare(i, j, targets[step.looks[j].target], step.looks[j]);
            }
        }
        return steps.length;
    }

    function _compare(uint256 step, uint256 number, address target, Look memory look) private view {
        (bool succeeded, bytes memory answer) = target.staticcall(look.data);
        if (!succeeded) revert Differs(step, string.concat("look ", vm.toString(number), " reverted"));
        for (uint256 i; i < look.words.length; ++i) {
            uint256 word = look.words[i];
            bytes32 found;
            assembly ("memory-safe") {
                found := mload(add(answer, mul(32, add(word, 1))))
            }
            if (answer.length >= 32 * (word + 1) && found == look.values[i]) continue;
            string memory place = string.concat("look ", vm.toString(number), " word ", vm.toString(word));
            revert Differs(
                step,
                string.concat(place, ": ", vm.toString(uint256(found)), " not ", vm.toString(uint256(look.values[i])))
            );
        }
    }
}
