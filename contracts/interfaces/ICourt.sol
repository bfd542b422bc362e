// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {BatchState, Contents} from "../types/BatchTypes.sol";
import {CaseState, CaseView, Seat, Verdict, VerifierSlot} from "../types/CaseTypes.sol";

/// @notice Drawn verifiers re-check the drawn leaves of a batch. One seat can only pass; three, then up to seven, decide by
///         their median; people come last.
/// @dev A case's id is the id of its batch. No case ends better for the node than by the last verdict that its seats reached.
interface ICourt {
    event VerifierJoined(address indexed node, uint8 indexed classId, uint256 index, uint16 weight);
    event VerifierLeft(address indexed node, uint8 indexed classId, uint256 index);
    event CaseConvened(
        bytes32 indexed caseId, address indexed node, uint8 slot, uint8 classId, address[] seats, uint256[] drawn
    );
    event SeatAdded(bytes32 indexed caseId, uint8 seat, address indexed node);
    /// @notice The seat was silent; it gets no pay.
    event SeatReplaced(bytes32 indexed caseId, uint8 seat, address indexed node);
    /// @notice The seat stepped down in time; SeatReplaced follows, and no fine.
    event SeatAbstained(bytes32 indexed caseId, uint8 seat, address indexed node);
    event SeatCommitted(bytes32 indexed caseId, uint8 seat, address indexed node, bytes32 commitment);
    event SeatRevealed(
        bytes32 indexed caseId, uint8 seat, address indexed node, uint16[] scores, bytes32 digest, int32 llrMillinats
    );
    /// @notice A case has moved the sums of its node on this class; all in thousandths of a nat.
    /// @param llrMillinats the median of the seats', at most a quarter of what is too much
    /// @param told the sum by what all seats said: from 4,605 on two more look where one seat passed a case
    /// @param confirmed the sum by what benches of three and more said against it: 21,417 is fraud
    event MarginCounted(
        bytes32 indexed caseId,
        address indexed node,
        uint8 indexed classId,
        int256 llrMillinats,
        uint256 told,
        uint256 confirmed
    );
    /// @notice The case goes on with a larger bench: SeatAdded follows for each of its seats, which commit with this round.
    /// @param firstSeat the first seat of the round; those before it have had their say
    /// @param standing what the round before has found
    event CaseGrown(bytes32 indexed caseId, uint8 round, uint8 firstSeat, Verdict standing, uint16 median);
    /// @notice Three seats agree on fraud; it has no consequences before `until`, and none if an appeal finds better.
    event CaseDecided(bytes32 indexed caseId, Verdict verdict, uint16 median, uint256 until);
    event CaseAppealed(bytes32 indexed caseId, address indexed appellant, uint96 bond);
    /// @param returned whether the bond went back to the appellant; else it went to the pool
    event BondSettled(bytes32 indexed caseId, address indexed appellant, uint96 bond, bool returned);
    /// @notice A seat wants a drawn leaf opened on chain; the seats' turns stop until then.
    /// @param key for which the content key is to be sealed
    event DataDemanded(bytes32 indexed caseId, uint8 seat, uint24 leaf, bytes32 key, uint256 until);
    event DataAnswered(bytes32 indexed caseId, bytes data);
    /// @notice The last round left a doubt; arbiters have until `until`, after that the batch is void.
    event PanelCalled(bytes32 indexed caseId, uint16 median, uint256 until);
    /// @notice The case is over; the only event of its end.
    /// @param median of the seats' scores, basis points; the single score or the lower of two where fewer than three sat. Severe
    ///        above 9500 is by the sum of margins, as the last MarginCounted of the case says
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
    /// @dev No verifier could be drawn; the batch waits for verifiers or starves.
    error NoSeats();
    error NoSuchCase(bytes32 caseId);
    error CaseClosed(bytes32 caseId);
    /// @dev No seat acts while a case waits for an appeal, for arbiters or for data.
    error CaseWaits(bytes32 caseId, CaseState state);
    error NotSeated(bytes32 caseId, uint8 seat, address caller);
    error ZeroCommitment();
    error AlreadyCommitted(bytes32 caseId, uint8 seat);
    error NotCommitted(bytes32 caseId, uint8 seat);
    /// @dev No seat reveals before every sitting seat has committed.
    error SeatsMissing(bytes32 caseId, uint8 seat);
    error CommitmentMismatch(bytes32 caseId, uint8 seat);
    error WrongScoreCount(uint256 given, uint256 drawn);
    error ScoreOutOfRange(uint256 score);
    error SeatStillHasTime(uint256 until);
    error SeatNotSilent(bytes32 caseId, uint8 seat);
    error NotAllRevealed(bytes32 caseId);
    error TooLateToAbstain(uint256 until);
    error AbstainedToday(address node);
    /// @dev A case that waits for an appeal or for arbiters cannot end before.
    error RulingWaits(uint256 until);
    error AlreadyRevealed(bytes32 caseId, uint8 seat);
    error DemandedBefore(bytes32 caseId);
    error LeafNotDrawn(uint256 leaf);
    error NothingDemanded(bytes32 caseId);
    /// @dev Empty, or more than 16 KiB.
    error BadAnswer(uint256 length);
    error NothingToAppeal(bytes32 caseId);
    error AppealOver(uint256 until);
    error CannotGrow(bytes32 caseId);
    error NotPanel(address caller);
    error PanelOver(uint256 until);
    /// @dev The batch is not before a case that could be opened or starve.
    error WrongState(BatchState state);
    /// @dev No leaf of the batch is drawn.
    error NotDrawn();
    /// @dev The time to convene or to answer is over.
    error TooLate(uint256 until);
    error NotStarved(uint256 until);
    /// @dev The contracts were deployed with other addresses than they have.
    error BadWiring();
    /// @dev Neither FraudProofs nor Audits, or not the one of them that may.
    error NotFraudProofs(address caller);

    // ---- verifiers

    /// @notice Puts a node on the list of verifiers of a class; its operator or owner. The weight is fixed here.
    function joinVerifiers(address node, uint8 classId) external;

    /// @notice Takes a node off the list; its operator or owner, or anyone once the node may no longer sit.
    function leaveVerifiers(address node, uint8 classId) external;

    // ---- a case

    /// @notice Opens the case of a drawn batch and draws its seats; anyone, once the seed is sealed.
    /// @dev One seat if min(charge, maxLeaf x drawn) < COURT_VALUE, else three. Its sender gets up to a fifth of the seats' pay.
    function convene(address node, uint8 slot, Contents calldata contents) external returns (bytes32 caseId);

    /// @notice A seat binds itself to its own projections; the seat's operator.
    /// @param commitment keccak256(abi.encode(caseId, round, seat, digest, llrMillinats, salt))
    function commitSeat(bytes32 caseId, uint8 seat, bytes32 commitment) external;

    /// @notice A seat opens its commitment and gives one score per drawn leaf; the seat's operator.
    /// @param scores basis points 0..10000 in drawn order
    /// @param llrMillinats_ what the margins of its own pass say, over all drawn leaves; thousandths of a nat
    function revealSeat(
        bytes32 caseId,
        uint8 seat,
        bytes32 digest,
        uint16[] calldata scores,
        bytes32 salt,
        int32 llrMillinats_
    ) external;

    /// @notice Puts the next verifier of the draw order in place of one that was silent for a whole turn; anyone.
    /// @dev A silent seat loses 5 points, and 0.5% of its stake if another seat of the round has committed.
    function replaceSeat(bytes32 caseId, uint8 seat, Contents calldata contents) external;

    /// @notice Steps down from a seat within a quarter of its first turn; the seat's operator, once a day.
    function abstain(bytes32 caseId, uint8 seat, Contents calldata contents) external;

    /// @notice Takes a case as far as it goes now; anyone. A round whose seats have all revealed is counted: it ends the case,
    ///         or seats more, or makes it wait for an appeal or for arbiters. A case that has waited long enough ends.
    /// @param contents may be empty where no seat could be added: one or three seats that pass and whose ratios are not too
    ///        much, and every end of waiting
    /// @return the verdict that the case ended with, None if it goes on
    function resolve(bytes32 caseId, Contents calldata contents) external returns (Verdict);

    /// @notice Ends what was not ended in time; anyone. A batch that no court decided is void; a second round that never came
    ///         to its end leaves the first one's verdict, and a case that waited long enough ends as by `resolve`.
    /// @dev If seats could be drawn and the case was not convened, the node loses 15 points: it must convene its own batches.
    function voidStarved(address node, uint8 slot, Contents calldata contents) external;

    // ---- data

    /// @notice Asks the node to open a drawn leaf on chain; the operator of a seat that sits and has not revealed, once a case.
    /// @dev A seat that has committed asks for the fingerprint, so all seats must have committed.
    /// @param leaf its index in the batch
    function demandData(bytes32 caseId, uint8 seat, uint24 leaf, bytes32 key) external;

    /// @notice Answers a demand, in time; the node's owner or operator. Every seat's turn begins anew.
    /// @param data up to 16 KiB, for the seats to judge
    function answerData(bytes32 caseId, bytes calldata data) external;

    // ---- appeals and arbiters

    /// @notice Asks a larger bench whether a decided case is fraud, for a bond; the node's owner or operator, which must have
    ///         allowed the court to take it. It comes back if that bench finds better, else it goes to the pool.
    function appeal(bytes32 caseId, Contents calldata contents) external;

    /// @notice Ends a case that waits for arbiters, in time, as they voted. Only the panel.
    function rule(bytes32 caseId, bool passes) external;

    // ---- what code has judged

    /// @notice Ends whatever case a batch has as severe: void, slash, penalty, jail. Only FraudProofs, for a lie that it has seen,
    ///         and Audits, for a fraud that all of its auditors found.
    /// @dev At most once a batch: Settlement refuses one that is void or final.
    function condemn(address node, uint8 slot) external returns (bytes32 caseId);

    // ---- audits

    /// @notice Takes a part of the stake of a seat that an audit has caught, or of an auditor that was silent, and 5 points. Only
    ///         Audits.
    function fine(address node, uint16 bps, bytes32 caseId) external;

    /// @notice The first three verifiers of this seed's order who are no party to the batch and had no seat in its case; fewer
    ///         if there are none left.
    function drawAuditors(bytes32 caseId, bytes32 seed, Contents calldata contents)
        external
        view
        returns (address[] memory);

    // ---- views

    /// @notice The contract that condemns for a lie.
    function fraudProofs() external view returns (address);

    /// @notice The contract that has passed cases checked once more.
    function audits() external view returns (address);

    /// @notice The cost of an appeal of this node now: a hundredth of its stake and of what unbonds of it, rounded up; wei.
    function appealBondOf(address node) external view returns (uint96);

    /// @notice The arbiters of this court.
    function panel() external view returns (address);

    function caseOf(bytes32 caseId) external view returns (CaseView memory);

    function seatsOf(bytes32 caseId) external view returns (Seat[] memory);

    /// @notice The running margin of a node on a class, thousandths of a nat; see MarginCounted.
    function runningOf(address node, uint8 classId) external view returns (uint32 told, uint32 confirmed);

    /// @notice The whole list of a class, tombstones included.
    function verifiersOf(uint8 classId) external view returns (VerifierSlot[] memory);

    /// @notice The seats that convene would draw now. Reverts as convene does.
    function previewSeats(address node, uint8 slot, Contents calldata contents) external view returns (address[] memory);
}
