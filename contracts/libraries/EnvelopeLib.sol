// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The EIP-712 structs that the contracts read. Twin of protocol/wire/envelope.py; tests/vectors/messages.json.
library EnvelopeLib {
    string internal constant NAME = "VCoin";
    string internal constant VERSION = "1";

    bytes32 internal constant ASSIGNMENT_TYPE = keccak256(
        "Assignment(address client,address signer,address node,uint24 index,uint96 cumulative,bytes32 details)"
    );
    bytes32 internal constant LANE_OPEN_TYPE = keccak256(
        "LaneOpen(address client,address signer,address node,uint96 amount,uint128 prevTotal,uint40 deadline)"
    );
    bytes32 internal constant OPERATOR_CONSENT_TYPE =
        keccak256("OperatorConsent(address owner,address operator,uint40 deadline)");

    /// @notice Hash of a client's order: `cumulative` wei cover all jobs of the lane up to `index`.
    function assignmentHash(
        address client,
        address signer,
        address node,
        uint24 index,
        uint96 cumulative,
        bytes32 details
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(ASSIGNMENT_TYPE, client, signer, node, index, cumulative, details));
    }

    function laneOpenHash(
        address client,
        address signer,
        address node,
        uint96 amount,
        uint128 prevTotal,
        uint40 deadline
    ) internal pure returns (bytes32) {
        return keccak256(abi.encode(LANE_OPEN_TYPE, client, signer, node, amount, prevTotal, deadline));
    }

    function operatorConsentHash(address owner, address operator, uint40 deadline) internal pure returns (bytes32) {
        return keccak256(abi.encode(OPERATOR_CONSENT_TYPE, owner, operator, deadline));
    }
}
