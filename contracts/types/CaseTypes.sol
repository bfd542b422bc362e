// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Life of a case: open > closed for most. Three seats that agree on fraud make it decided: it closes once the time to
///         appeal is over, or an appeal opens it again. A doubt that the last round leaves goes to the arbiters. A data challenge
///         stops the clock of the seats until the node has answered. Proven is a case only while code ends it.
enum CaseState {
    None,
    Open,
    Closed,
    DataChallenge,
    Arbiter,
    Decided,
    Proven
}

/// @notice How a case ended.
/// @dev Short: something was found but too few verifiers were left to confirm it. Starved: undecided in time. Withheld: the
///      node did not show on chain what a seat had asked for.
enum Verdict {
    None,
    Pass,
    Review,
    Severe,
    Short,
    Starved,
    Withheld
}

enum SeatState {
    None,
    Drawn,
    Committed,
    Revealed,
    Silent
}

/// @notice A verifier's place in the list of its class. Places never move; who leaves keeps a tombstone.
struct VerifierSlot {
    address node;
    uint40 fromBlock;
    /// @dev type(uint40).max while the verifier stays.
    uint40 untilBlock;
    /// @dev Basis points, fixed when it joined.
    uint16 weight;
}

/// @notice The end of a class's list of verifiers.
struct ListEnd {
    /// @dev A place costs a transaction: 32 bits are enough for all that there will ever be.
    uint32 count;
    /// @dev The block in which the last one joined.
    uint40 lastBlock;
}

/// @notice A seat as stored: one word, for every holder and every commitment.
struct Sitting {
    /// @dev Until it reveals the place of its node in the list of its case's class; from then on its ratio, an int32.
    uint32 placeOrLlr;
    SeatState state;
    /// @dev As in Seat.
    uint16 score;
    /// @dev As in Seat.
    uint32 since;
    /// @dev While the seat is Committed the first 21 bytes of its commitment, which is as strong as an address; before and
    ///      after that its node, so that no call needs to look it up.
    bytes21 held;
}

/// @notice A seat as it shows.
struct Seat {
    address node;
    SeatState state;
    /// @dev Minimum of the score vector, basis points.
    uint16 score;
    /// @dev When it was drawn, then when it committed. A seat that has not committed may be replaced seatSeconds later, one
    ///      that has not revealed seatSeconds after the last of the sitting seats committed.
    uint40 since;
    /// @dev The first 21 bytes of what it committed to, zeros after them; 0 unless it is Committed.
    bytes32 commitment;
    /// @dev The ratio that it has revealed, thousandths of a nat; 0 before.
    int32 llrMillinats;
}

/// @notice A case as stored: one word, in the order of CaseView.
struct Case {
    address node;
    uint8 slot;
    uint8 classId;
    CaseState state;
    Verdict verdict;
    uint8 round;
    uint8 seatsWanted;
    /// @dev Seats of all rounds; seats are numbered through.
    uint8 seatCount;
    /// @dev Next i of the draw order. Once the case has passed no seat is drawn by it: then the epoch in which it passed, of
    ///      which the lowest 16 bits.
    uint16 nextTry;
    uint16 drawnCount;
    /// @dev The first seat of this round.
    uint8 firstSeat;
}

/// @notice The finding of a round, kept only if the case goes on after it.
struct Ruling {
    /// @dev When the state of now began: the next round, the time to appeal, the arbiters' time. Seconds.
    uint40 since;
    Verdict verdict;
    uint16 median;
    address appellant;
    /// @dev Held by the court until the round that was appealed for has ended; wei.
    uint96 bond;
    /// @dev When a seat asked for data on chain, which happens once in a case, and when it was answered; 0 before.
    uint40 demandedAt;
    uint40 resumedAt;
}

struct CaseView {
    address node;
    uint8 slot;
    uint8 classId;
    CaseState state;
    Verdict verdict;
    uint8 round;
    uint8 seatsWanted;
    uint8 seatCount;
    /// @dev As in Case.
    uint16 nextTry;
    uint16 drawnCount;
    /// @dev The first seat of this round; those before it sat in an earlier one.
    uint8 firstSeat;
    /// @dev The last verdict that a round reached, None before; the case never ends better for the node than by a later one.
    Verdict standing;
    /// @dev The median behind `standing`, basis points.
    uint16 median;
    /// @dev When the case may be ended by anyone, in seconds: starved, unappealed, unanswered or undecided by then.
    uint40 until;
    address appellant;
    uint96 bond;
}
