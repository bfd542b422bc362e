// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

/// @notice The door for new obligations: new nodes, new locks, new batches. It may be shut for a while; no way out leads through it.
interface IIntake {
    /// @param until when it opens again by itself, seconds; not in the future means that it is open
    event IntakeStopped(uint40 until);

    error IntakePaused(uint40 until);
    error NotGuardian(address caller);

    /// @notice Shuts the intake until `until`, or opens it where that is not in the future. Only the guardian contract.
    function pauseIntake(uint40 until) external;

    /// @notice Reverts IntakePaused while the intake is shut. Asked by register and, through requireTaken and admissionOf, by openLane and submit.
    function requireIntake() external view;

    /// @notice When the intake opens again, seconds; in the past or 0 while it is open.
    function intakePausedUntil() external view returns (uint40);

    /// @notice The contract that may pause; 0 if none may.
    function guardian() external view returns (address);
}
