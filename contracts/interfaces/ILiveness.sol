// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice Whether a node is there, by the day.
interface ILiveness {
    /// @param daysMissed for which it was charged: whole days without a sign, beyond the first seven
    event OfflinePenalized(address indexed id, uint24 daysMissed, uint96 burned);

    /// @param answerBy until when the node's operator may answer
    event LivenessChallenged(address indexed id, address indexed challenger, uint40 answerBy);
    event LivenessAnswered(address indexed id, address indexed challenger);
    /// @param isOffline it was the second miss
    event LivenessMissed(address indexed id, address indexed challenger, bool isOffline);

    /// @dev Both the node that is asked and that of the one who asks must be active.
    error NotActive(address id);
    error OwnChallenge(address id);
    error AlreadyChallenged(address id, address challenger);
    error NotChallenged(address id, address challenger);
    error AnswerTooLate(uint40 answerBy);
    /// @param lastDay of its last check-in or settled batch, or a week before the last day that was charged
    error NotOffline(address id, uint24 lastDay);

    /// @notice Burns 1% of the active stake for each day without a sign beyond the first seven; anyone, for nothing. However
    ///         often it is called, and by a check-in that comes before it, the same is lost but for a wei a call.
    /// @return lost wei, all of it burned
    function penalizeOffline(address id) external returns (uint96 lost);

    /// @notice Asks an active node for a sign within five minutes, for a bond of MIN_DEPOSIT; the owner of another active node.
    /// @param by a node of the caller's
    function challengeLiveness(address id, address by) external;

    /// @notice Gives the sign in time, which earns the bond for the node's payout; only its operator.
    function answerLiveness(address id, address challenger) external;

    /// @notice Says that none came in time, and gives the bond back; anyone. The second miss, by another owner, ten minutes to a
    ///         day after the first, means offline: a day that was counted today is taken back, and three jobs are drawn before
    ///         the node is drawn at its rate again.
    function missLiveness(address id, address challenger) external;
}
