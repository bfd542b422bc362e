// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "./ICourt.sol";

/// @notice People who come last: they may let a batch pass that the last round of seats doubts, or void it, and nothing else.
interface IPanel {
    event PanelSet(address[] arbiters, uint8 quorum);
    event Voted(bytes32 indexed caseId, address indexed arbiter, bool passes);

    error NotGovernor(address caller);
    error BadQuorum(uint256 quorum, uint256 count);
    error ArbitersNotSorted(address arbiter);
    error NotBeforePanel(bytes32 caseId);
    error NotArbiter(address caller);
    error AlreadyVoted(bytes32 caseId, address arbiter);

    /// @notice Names the arbiters and how many of them decide; only the governor of Params. With none, doubts are void at once.
    /// @dev Votes on open cases start anew.
    /// @param chosen at most 32, ascending
    /// @param quorum more than half of them
    function setArbiters(address[] calldata chosen, uint8 quorum) external;

    /// @notice An arbiter's vote, once a case.
    /// @return decided whether it was the one that made the quorum
    function vote(bytes32 caseId, bool passes) external returns (bool decided);

    function arbiters() external view returns (address[] memory);

    /// @notice How many arbiters decide; 0 while there are none.
    function quorum() external view returns (uint8);

    function votesOf(bytes32 caseId) external view returns (uint256 passes, uint256 voids);

    function court() external view returns (ICourt);
}
