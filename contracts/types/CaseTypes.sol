// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Life of a case. Arbiter and DataChallenge keep their places for what is decided by people and by answers on chain.
enum CaseState {
    None,
    Open,
    Closed,
    DataChallenge,
    Arbiter
}

/// @notice How a case ended.
/// @dev Short: something was found but too few verifiers were left to confirm it. Starved: nobody decided in time.
enum Verdict {
    None,
    Pass,
    Review,
    Severe,
    Short,
    Starved
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

struct Seat {
    address node;
    SeatState state;
    /// @dev Minimum of the score vector, basis points.
    uint16 score;
    /// @dev When it was drawn, then when it committed. A seat that has not committed may be replaced seatSeconds later, one
    ///      that has not revealed seatSeconds after the last of the sitting seats committed.
    uint40 since;
    bytes32 commitment;
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
    /// @dev Next i of the draw order.
    uint16 nextTry;
    uint16 drawnCount;
}
