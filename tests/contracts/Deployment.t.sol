// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IAudits} from "../../contracts/interfaces/IAudits.sol";
import {ICourt} from "../../contracts/interfaces/ICourt.sol";
import {IFraudProofs} from "../../contracts/interfaces/IFraudProofs.sol";
import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {BatchState} from "../../contracts/types/BatchTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice How the contracts name each other.
contract DeploymentTest is Fixture {
    function test_the_contracts_name_each_other() public view {
        assertEq(stakes.court(), address(court));
        assertEq(stakes.settlement(), address(settlement));
        assertEq(settlement.court(), address(court));
        assertEq(settlement.fraudProofs(), address(fraudProofs));
        assertEq(court.fraudProofs(), address(fraudProofs));
    }

    function test_a_court_at_another_address_does_not_come_to_be() public {
        bytes memory code = abi.encodePacked(
            vm.getCode("Court.sol:Court"), abi.encode(params, stakes, settlement, fraudProofs, audits)
        );
        vm.expectRevert(ICourt.BadWiring.selector);
        this.create(code);
    }

    function test_fraud_proofs_or_audits_at_another_address_do_not_come_to_be() public {
        bytes memory code =
            abi.encodePacked(vm.getCode("FraudProofs.sol:FraudProofs"), abi.encode(params, stakes, settlement, court));
        vm.expectRevert(IFraudProofs.BadWiring.selector);
        this.create(code);
        code = abi.encodePacked(vm.getCode("Audits.sol:Audits"), abi.encode(params, stakes, settlement, court, beacon));
        vm.expectRevert(IAudits.BadWiring.selector);
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

    function test_settlement_does_not_open_a_case_without_a_drawn_leaf() public {
        bench(3);
        Node memory node = registered("node", 10_000 * VCN);
        graduate(node);
        Client memory one = client("client", 100 * VCN);
        openLane(one, node.id, 100 * VCN);
        submitted(one, node.id, 0, 5, 50 * VCN);
        sealDrawing(node.id, 0, 1_000, 0);
        vm.prank(address(court));
        vm.expectRevert(ISettlement.NotDrawn.selector);
        settlement.openCase(node.id, 0, address(this));
        assertEq(uint8(stateOf(node.id, 0)), uint8(BatchState.Pending));
    }
}
