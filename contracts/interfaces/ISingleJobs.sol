// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Assignment, JobDetails, Receipt} from "../types/EvidenceTypes.sol";
import {JobOutput, JobTerms} from "../types/SingleTypes.sol";

/// @notice Jobs without a lane: open > committed > settled, or expired. One slot a job holds a hash; the rest is given again.
/// @dev A job is paid with its client's receipt or not at all. To check one without a receipt would take a court, which costs
///      more gas than many jobs: so here the node risks the one job, as a client does in a lane. Who wants more opens a lane.
interface ISingleJobs {
    event JobOpened(bytes32 indexed jobId, address indexed client, address indexed node, JobTerms terms);
    event JobCommitted(bytes32 indexed jobId, address indexed node, JobOutput output);
    event JobSettled(
        bytes32 indexed jobId,
        address indexed client,
        address indexed node,
        uint96 charge,
        uint96 burned,
        uint96 reward,
        uint96 bonus,
        uint96 pooled,
        uint96 returned
    );
    event JobExpired(bytes32 indexed jobId, address indexed client, address indexed node, uint96 returned);

    error ZeroAmount();
    /// @dev Numbers above 0 are for lanes.
    error NotSingle(uint24 index);
    error WrongDetails();
    error JobExists(bytes32 jobId);
    /// @dev No job in this state with these terms: never opened, or settled, or expired, or other terms.
    error NoSuchJob(bytes32 jobId);
    error DeadlinePassed(uint256 deadline);
    error BonusTooHigh(uint256 bonus, uint256 limit);
    /// @dev The order must sign for price, fee and bonus cap together.
    error WrongTotal(uint256 signed, uint256 total);
    /// @dev A job without a lane is not checked: one that is ordered to be needs a lane.
    error NoChecks(uint32 flags);
    error NodeNotActive(address node);
    /// @dev Jobs on probation are all checked, and these never are.
    error OnProbation(address node);
    error BadOrderSignature(address client, address signer);
    error NotOperator(address node, address caller);
    error ZeroCommitment();
    /// @dev The receipt is for another job or result.
    error WrongReceipt(bytes32 jobId);
    error OverPrice(uint256 charge, uint256 price);
    error BadReceiptSignature(address signer);
    error StillRunning(uint256 until);
    error BadWiring();

    /// @notice Locks price, fee and bonus cap of one job for its node out of the client's account; anyone with the signed order.
    /// @dev The order is an Assignment with number 0, which no lane can claim, over price + fee + bonus cap. Client or signer
    ///      need no signature when they call. A signer's lock comes off its grant.
    function open(Assignment calldata order, JobDetails calldata details, bytes calldata signature)
        external
        returns (bytes32 jobId);

    /// @notice Binds the node to a result before its client signs for it; the operator, until the deadline.
    function commit(bytes32 jobId, JobTerms calldata terms, JobOutput calldata output) external;

    /// @notice Pays a committed job by the client's receipt, and the rest back to the client; anyone.
    function settle(
        bytes32 jobId,
        JobTerms calldata terms,
        JobOutput calldata output,
        Receipt calldata receipt,
        bytes calldata signature
    ) external;

    /// @notice Gives the client its money back: after the deadline, or LANE_CLOSE later if the node had committed; anyone.
    /// @param output zero if the node never committed
    function expire(bytes32 jobId, JobTerms calldata terms, JobOutput calldata output) external;

    /// @notice The hash that a job's slot holds: 0 if it was never opened, 1 when it is over.
    function stateOf(bytes32 jobId) external view returns (bytes32);
}
