// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {
    Batch,
    BatchState,
    Book,
    Claim,
    Contents,
    Docket,
    LaneView,
    SignerGrant,
    Submission
} from "../types/BatchTypes.sol";
import {Permit} from "../types/NodeTypes.sol";
import {IVCoin} from "./IVCoin.sol";

/// @notice Clients' accounts, lanes to nodes, batches of finished jobs, and who is paid what.
interface ISettlement {
    event Deposited(address indexed client, address indexed from, uint96 amount, uint96 free);
    event Withdrawn(address indexed client, uint96 amount, uint96 free);
    event SignerSet(address indexed client, address indexed signer, uint96 budget, uint40 expiry);
    /// @notice The lane after any change.
    event LaneChanged(
        address indexed client,
        address indexed signer,
        address indexed node,
        uint96 left,
        uint96 mark,
        uint24 jobs,
        uint40 closeAt
    );
    /// @notice Money of a lane went back to the client's account.
    event LaneReclaimed(address indexed client, address indexed signer, address indexed node, uint96 amount);
    /// @param contents give it again to convene, resolve, refund
    event BatchSubmitted(
        address indexed node, uint8 indexed slot, bytes32 indexed batchId, Batch batch, Contents contents
    );
    event BatchInCourt(
        address indexed node, uint8 indexed slot, bytes32 indexed batchId, uint16 rateBps, uint16 drawnCount
    );
    /// @notice Once when its case has let it pass, and again when an audit has.
    event BatchPassed(address indexed node, uint8 indexed slot, bytes32 indexed batchId);
    /// @notice It is not final before the audit of its case has ended.
    event BatchAudited(address indexed node, uint8 indexed slot, bytes32 indexed batchId);
    event BatchFinal(
        address indexed node,
        uint8 indexed slot,
        bytes32 indexed batchId,
        uint96 price,
        uint96 burned,
        uint96 reward,
        uint96 bonus,
        uint96 pooled
    );
    event BatchVoided(address indexed node, uint8 indexed slot, bytes32 indexed batchId);
    /// @param amount what went back: all that was debited, or without the fee
    event BatchRefunded(address indexed node, uint8 indexed slot, bytes32 indexed batchId, uint96 amount);
    event SeatPaid(bytes32 indexed batchId, address indexed node, uint96 amount);
    /// @notice Out of the pool, to the node's rewards or, if it is none, to the account that convened.
    event ConvenerPaid(bytes32 indexed batchId, address indexed convener, uint96 amount);
    /// @notice The amount that went to the payout.
    event RewardClaimed(address indexed node, address indexed payout, uint96 amount);
    event PoolFunded(address indexed from, uint96 amount);
    event Burned(uint256 amount);

    error ZeroAddress();
    error ZeroAmount();
    error DepositTooLow(uint256 amount, uint256 minimum);
    error NotEnoughFree(uint256 asked, uint256 free);
    error NotCourt(address caller);
    /// @dev Neither FraudProofs nor Audits, or not the one of them that may.
    error NotHolder(address caller);
    error NotStakeManager(address caller);
    error DeadlinePassed(uint40 deadline);
    error DeadlineTooFar(uint40 deadline);
    error LaneMoved(uint128 prevTotal, uint256 total);
    error BadLaneSignature(address client, address signer);
    error SignerExpired(address signer, uint40 expiry);
    error OverBudget(uint256 asked, uint256 budget);
    error NotLaneOwner(address caller);
    /// @dev It is closing already; or its client never opened it, and then nothing is claimed on it either.
    error LaneNotOpen();
    error LaneNotClosing();
    error LaneStillClosing(uint40 closeAt);
    error UnknownNode(address node);
    error NotOperator(address node, address caller);
    error NodeNotActive(address node);
    error ClassNotRun(address node, uint8 classId);
    error BadFlags(uint8 flags);
    error BadMineBy(uint40 mineBy);
    error StaleJob(uint40 mineBy);
    error SlotOutOfRange(uint256 slot);
    /// @dev The slot's batch is void, or open and not ready to be final.
    error SlotBusy(uint8 slot);
    error StakeTooLow(uint256 stake, uint256 minimum);
    error NoClaims();
    error TooManyClaims(uint256 count);
    error TooManyLeaves(uint256 count, uint256 limit);
    error BadAssignmentSignature(uint256 claim);
    error IndexNotAbove(uint256 claim, uint24 index, uint24 jobs);
    error BelowMark(uint256 claim, uint96 cumulative, uint96 mark);
    /// @dev More than the client signed for.
    error OverSigned(uint256 claim, uint256 debit, uint256 signed);
    /// @dev More than the lane holds.
    error OverLane(uint256 claim, uint256 debit, uint256 left);
    /// @dev The claims do not add up to the submission.
    error SumMismatch();
    error BadCounts(uint256 okCount, uint256 failedCount, uint256 leafCount);
    error BadMaxLeaf(uint96 maxLeaf);
    error BonusTooHigh(uint256 bonus, uint256 limit);
    error LeafTooBig(uint256 maxLeaf, uint256 limit);
    error OpenValueTooHigh(uint256 value, uint256 limit);
    error WrongState(BatchState state);
    error WrongContents();
    error NoSeed(uint256 epoch);
    /// @dev No leaf of the batch is drawn: it needs no court.
    error NotDrawn();
    /// @dev Drawn leaves, or a jailed node: only a case can end this batch.
    error NeedsCourt();
    error WindowOpen(uint256 closesAt);
    error SeedNotLost(uint256 epoch);
    error NothingToClaim(address node);
    /// @dev Seats were paid what has to go back; anyone may fund the pool.
    error PoolTooLow(uint256 pool, uint256 needed);

    // ---- accounts

    /// @notice Pays `amount` into the caller's account; at least MIN_DEPOSIT.
    function deposit(uint96 amount) external;

    /// @notice Pays `amount` of the caller's coins into `client`'s account.
    function depositFor(address client, uint96 amount) external;

    /// @notice As `deposit`, with an ERC-2612 permission instead of an earlier approve.
    function depositWithPermit(uint96 amount, Permit calldata permit) external;

    /// @notice Pays free money out to the caller, at once.
    function withdraw(uint96 amount) external;

    /// @notice Lets `signer` move up to `budget` of the caller's free money into lanes until `expiry` (seconds). Replaces the last grant.
    function setSigner(address signer, uint96 budget, uint40 expiry) external;

    // ---- lanes

    /// @notice Moves `amount` from the client's free money into its lane with this signer and node; a lane that was closing is open again.
    /// @dev The client itself needs no signature. Else `signature` is over LaneOpen by the client (ERC-1271 too) or by `signer`, within its grant.
    /// @param prevTotal left + mark of the lane before; so each message counts once and no other lane can jam it
    /// @param deadline at most one hour ahead, seconds
    function openLane(
        address client,
        address signer,
        address node,
        uint96 amount,
        uint128 prevTotal,
        uint40 deadline,
        bytes calldata signature
    ) external;

    /// @notice Starts the clock after which the client may take the rest of a lane back; client or signer.
    function closeLane(address client, address signer, address node) external;

    /// @notice Moves what is left in a lane whose clock ran out into the client's free money; anyone.
    /// @dev The mark rises by what was left: assignments signed but never claimed die with the lane.
    function reclaimLane(address client, address signer, address node) external;

    // ---- batches

    /// @notice Puts a batch of finished jobs into a slot of the node's ring and debits its lanes; only the node's operator.
    /// @dev A batch that is ready to be final becomes so first, as by `finalize`; the new one is taken as if that had been a call
    ///      of its own. Any other batch that is neither final nor refunded keeps its slot: SlotBusy.
    function submit(Submission calldata submission, Claim[] calldata claims) external returns (bytes32 batchId);

    /// @notice Pays out a batch that was not drawn, once its window is over, or that passed in court.
    function finalize(address node, uint8 slot) external;

    /// @notice Finalizes each slot that is ready and leaves the others alone.
    /// @return count how many became final
    function finalizeMany(address node, uint8[] calldata slots) external returns (uint256 count);

    /// @notice Gives every lane of a void batch its debit back; to the account where the lane was reclaimed.
    /// @dev All of it, but for a checked batch: seats that looked at that without its node being jailed for it are paid by its
    ///      fee, of which each debit bears its share.
    function refund(address node, uint8 slot, Contents calldata contents) external;

    /// @notice Voids a batch whose seed was lost twice.
    function voidLost(address node, uint8 slot) external;

    // ---- the court's side

    /// @notice Puts a pending, drawn batch before the court, fixes its rate and pays who convened: anyone at once, but its own
    ///         node when it is final or void. Only Court.
    /// @return what `drawOf` said before
    function openCase(address node, uint8 slot, address convener) external returns (Docket memory);

    /// @notice Ends the case of a batch and shares the seats' pay among `seats`; one that was never heard, or one that a court let
    ///         pass and code has proved a lie since, can only be voided. Only Court.
    /// @param drawn how many of its leaves the court has checked
    function closeCase(address node, uint8 slot, bool passed, uint16 drawn, address[] calldata seats) external;

    /// @notice Keeps a batch that passed from being final until its audit ends; one that is final already stays so. Only Audits.
    /// @param drawn how many of its leaves are checked
    /// @return due what the auditors share: what the seats did, wei
    /// @return commitTime when it was submitted, seconds
    function openAudit(address node, uint8 slot, uint16 drawn) external returns (uint96 due, uint40 commitTime);

    /// @notice Pays the auditors, and lets the batch pass if it still waits for them. Only Audits.
    /// @param batchId the slot may hold another batch by now
    function closeAudit(address node, uint8 slot, bytes32 batchId, uint96 due, address[] calldata auditors) external;

    /// @notice Three seats found fraud in a batch: until its case ends, everything that its node has open is drawn in full. Only
    ///         Court, once a case.
    function accuse(address node, uint8 slot) external;

    /// @notice A node is in jail: everything that it has open is drawn in full. Only StakeManager.
    /// @dev Its next submit takes this back: by then it is out of jail, which takes that nothing of it is open.
    function drawAllOf(address node) external;

    // ---- held for challenges

    /// @notice Takes free money of a client for a bond; a signer's share of it comes off its grant. Only FraudProofs.
    /// @dev Held money stays in this contract; the caller keeps the owner's name.
    function hold(address client, address signer, uint96 amount) external;

    /// @notice Puts held money back into a client's account. Only FraudProofs.
    function release(address client, uint96 amount) external;

    /// @notice Has every leaf of a pending batch drawn. Only FraudProofs, for a client that challenges it.
    function drawAll(address node, uint8 slot) external;

    // ---- rewards, pool, burn

    /// @notice Pays a node's rewards to its payout address; anyone. If others stake on the node, their part goes to
    ///         StakeManager, which holds it for them.
    /// @return amount all that left the node's book, wei
    function claim(address node) external returns (uint96 amount);

    /// @notice Adds to the pool that seats are paid from; anyone.
    function fundPool(uint96 amount) external;

    /// @notice Books coins for the pool that are here already: a slash's share, a lost bond. Only StakeManager, Court and FraudProofs.
    function creditPool(uint96 amount) external;

    /// @notice Burns what batches have set aside to burn; anyone.
    function flushBurn() external returns (uint256 amount);

    // ---- views

    function coin() external view returns (IVCoin);

    /// @notice Free money of a client, wei.
    function accountOf(address client) external view returns (uint96 free);

    function signerOf(address client, address signer) external view returns (SignerGrant memory);

    function laneOf(address client, address signer, address node) external view returns (LaneView memory);

    function batchOf(address node, uint8 slot) external view returns (Batch memory);

    /// @notice keccak256(abi.encode(node, slot, commitBlock)) of the batch in this slot; 0 if the slot was never used.
    function batchIdOf(address node, uint8 slot) external view returns (bytes32);

    /// @notice keccak256(abi.encode(epochSeed, batchId)). Reverts NoSeed until the epoch is sealed.
    function batchSeedOf(address node, uint8 slot) external view returns (bytes32);

    /// @notice The drawn leaves of the batch in this slot, ascending; empty if none. Reverts NoSeed until the epoch is sealed.
    function sampledLeaves(address node, uint8 slot) external view returns (uint256[] memory);

    /// @notice All that a court asks of a batch, in one call. Reverts NoSeed until the epoch is sealed.
    function drawOf(address node, uint8 slot) external view returns (Docket memory);

    function bookOf(address node) external view returns (Book memory);

    function pool() external view returns (uint128);

    function burnPending() external view returns (uint128);

    function court() external view returns (address);

    /// @notice The contract that holds bonds of challenges.
    function fraudProofs() external view returns (address);
}
