// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {BatchState, Contents} from "../types/BatchTypes.sol";
import {CaseView, Seat, Verdict, VerifierSlot} from "../types/CaseTypes.sol";

/// @notice Drawn verifiers re-check the drawn leaves of a batch. One seat can only pass; three decide by their median.
/// @dev A case's id is the id of its batch.
interface ICourt {
    event VerifierJoined(address indexed node, uint8 indexed classId, uint256 index, uint16 weight);
    event VerifierLeft(address indexed node, uint8 indexed classId, uint256 index);
    event CaseConvened(
        bytes32 indexed caseId, address indexed node, uint8 slot, uint8 classId, address[] seats, uint256[] drawn
    );
    event SeatAdded(bytes32 indexed caseId, uint8 seat, address indexed node);
    /// @notice The seat was silent; it gets no pay.
    event SeatReplaced(bytes32 indexed caseId, uint8 seat, address indexed node);
    event SeatCommitted(bytes32 indexed caseId, uint8 seat, address indexed node, bytes32 commitment);
    event SeatRevealed(bytes32 indexed caseId, uint8 seat, address indexed node, uint16[] scores, bytes32 digest);
    /// @param median of the seats' scores, basis points; the single score or the lower of two where fewer than three sat
    event CaseResolved(bytes32 indexed caseId, address indexed node, uint8 slot, Verdict verdict, uint16 median);

    error UnknownNode(address node);
    error NotOfNode(address node, address caller);
    error NotActive(address node);
    error ClassNotRun(address node, uint8 classId);
    error AlreadyJoined(address node, uint8 classId);
    error NotJoined(address node, uint8 classId);
    error ScoreTooLow(uint256 hundredths, uint256 minimum);
    error StakeTooLow(uint256 stake, uint256 minimum);
    error TooYoung(uint256 ageSeconds, uint256 minimum);
    error WrongContents();
    /// @dev Nobody could be drawn; the batch waits for verifiers or starves.
    error NoSeats();
    error NoSuchCase(bytes32 caseId);
    error CaseClosed(bytes32 caseId);
    error NotSeated(bytes32 caseId, uint8 seat, address caller);
    error ZeroCommitment();
    error AlreadyCommitted(bytes32 caseId, uint8 seat);
    error NotCommitted(bytes32 caseId, uint8 seat);
    /// @dev Nobody reveals before every sitting seat has committed.
    error SeatsMissing(bytes32 caseId, uint8 seat);
    error CommitmentMismatch(bytes32 caseId, uint8 seat);
    error WrongScoreCount(uint256 given, uint256 drawn);
    error ScoreOutOfRange(uint256 score);
    error SeatStillHasTime(uint256 until);
    error SeatNotSilent(bytes32 caseId, uint8 seat);
    error NotAllRevealed(bytes32 caseId);
    /// @dev The batch is not before a case that could be opened or starve.
    error WrongState(BatchState state);
    /// @dev No leaf of the batch is drawn.
    error NotDrawn();
    /// @dev The time to convene is over; the batch starves.
    error TooLate(uint256 until);
    error NotStarved(uint256 until);
    /// @dev The contracts were deployed with other addresses than they have.
    error BadWiring();
    error NotEvidence(address caller);

    // ---- verifiers

    /// @notice Puts a node on the list of verifiers of a class; its operator or owner. The weight is fixed here.
    function joinVerifiers(address node, uint8 classId) external;

    /// @notice Takes a node off the list; its operator or owner, or anyone once the node may no longer sit.
    function leaveVerifiers(address node, uint8 classId) external;

    // ---- a case

    /// @notice Opens the case of a drawn batch and draws its seats; anyone, once the seed is sealed.
    /// @dev One seat if min(charge, maxLeaf x drawn) < COURT_VALUE, else three.
    function convene(address node, uint8 slot, Contents calldata contents) external returns (bytes32 caseId);

    /// @notice A seat binds itself to its own projections; the seat's operator.
    /// @param commitment keccak256(abi.encode(caseId, round, seat, digest, salt))
    function commitSeat(bytes32 caseId, uint8 seat, bytes32 commitment) external;

    /// @notice A seat opens its commitment and gives one score per drawn leaf; the seat's operator.
    /// @param scores basis points 0..10000 in drawn order
    function revealSeat(bytes32 caseId, uint8 seat, bytes32 digest, uint16[] calldata scores, bytes32 salt) external;

    /// @notice Puts the next verifier of the draw order in place of one that was silent for a whole turn; anyone.
    function replaceSeat(bytes32 caseId, uint8 seat, Contents calldata contents) external;

    /// @notice Decides a case whose seats have all revealed, or seats more where fewer than three cannot decide; anyone.
    /// @param contents needed only where seats are added; may be empty otherwise
    function resolve(bytes32 caseId, Contents calldata contents) external returns (Verdict);

    /// @notice Voids a batch that no court decided in time; anyone.
    /// @dev If seats could be drawn and nobody convened, the node loses 15 points: it must convene its own batches.
    function voidStarved(address node, uint8 slot, Contents calldata contents) external;

    // ---- what code has judged

    /// @notice Ends whatever case a batch has as severe: void, slash, penalty, jail. Only Evidence, for a lie that it has seen.
    /// @dev At most once a batch: Settlement refuses one that is void or final.
    function condemn(address node, uint8 slot) external returns (bytes32 caseId);

    // ---- views

    /// @notice The contract that may condemn.
    function evidence() external view returns (address);

    function caseOf(bytes32 caseId) external view returns (CaseView memory);

    function seatsOf(bytes32 caseId) external view returns (Seat[] memory);

    /// @notice The whole list of a class, tombstones included.
    function verifiersOf(uint8 classId) external view returns (VerifierSlot[] memory);

    /// @notice The seats that convene would draw now. Reverts as convene does.
    function previewSeats(address node, uint8 slot, Contents calldata contents) external view returns (address[] memory);
}
