// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Assignment, JobDetails, Receipt, Result} from "../types/FraudTypes.sol";

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
    bytes32 internal constant JOB_DETAILS_TYPE = keccak256(
        "JobDetails(bytes32 requestId,bytes32 offerHash,uint96 price,uint96 bonusCap,uint96 verifyFee,bytes32 manifest,"
        "bytes32 inputCid,bytes32 contentKeyHash,uint32 temperature,bytes32 seedNonce,uint32 maxNewTokens,"
        "uint32 classes,uint32 expectedMs,uint40 deadline,uint8 attempt,uint96 maxTotal,uint32 flags)"
    );
    bytes32 internal constant RECEIPT_TYPE =
        keccak256("Receipt(bytes32 jobId,bytes32 resultHash,uint96 charge,uint32 actualMs)");
    bytes32 internal constant RESULT_TYPE =
        keccak256("Result(bytes32 jobId,bytes32 resultHash,bytes32 outputCommit,bytes32 blobCid)");
    bytes32 private constant _DOMAIN_TYPE =
        keccak256("EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)");

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

    function hashOf(Assignment memory order) internal pure returns (bytes32) {
        return keccak256(abi.encode(ASSIGNMENT_TYPE, order));
    }

    /// @notice The hash that an assignment signs as `details`.
    function jobDetailsHash(JobDetails memory details) internal pure returns (bytes32) {
        return keccak256(abi.encode(JOB_DETAILS_TYPE, details));
    }

    function receiptHash(Receipt memory receipt) internal pure returns (bytes32) {
        return keccak256(abi.encode(RECEIPT_TYPE, receipt));
    }

    function resultHash(Result memory result) internal pure returns (bytes32) {
        return keccak256(abi.encode(RESULT_TYPE, result));
    }

    /// @notice The digest that is signed for a contract on this chain.
    /// @dev For contracts that read what was signed for another one; the domain follows a fork of the chain.
    function digest(address verifying, bytes32 structHash) internal view returns (bytes32) {
        bytes32 domain = keccak256(
            abi.encode(_DOMAIN_TYPE, keccak256(bytes(NAME)), keccak256(bytes(VERSION)), block.chainid, verifying)
        );
        return keccak256(abi.encodePacked(hex"1901", domain, structHash));
    }
}
