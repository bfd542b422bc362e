// This contract is deployed, by Court.
// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ICourt} from "../interfaces/ICourt.sol";
import {IPanel} from "../interfaces/IPanel.sol";
import {IParams} from "../interfaces/IParams.sol";
import {CaseState} from "../types/CaseTypes.sol";

/// @notice The arbiters of one court and their votes. See IPanel.
/// @dev A contract of its own, made by the court: what people decide needs nothing of what seats do, and the court has no room.
contract Panel is IPanel {
    struct Votes {
        uint32 voted;
        uint8 passes;
        uint8 voids;
    }

    uint256 private constant MOST_ARBITERS = 32;

    IParams private immutable _params;
    ICourt public immutable court;

    uint8 public quorum;
    /// @dev Counts panels: votes under one that was replaced do not count any more.
    uint256 private _number;
    address[] private _arbiters;
    mapping(bytes32 caseId => mapping(uint256 number => Votes)) private _votes;

    constructor(IParams params_) {
        _params = params_;
        court = ICourt(msg.sender);
    }

    function setArbiters(address[] calldata chosen, uint8 quorum_) external {
        if (msg.sender != _params.governor()) revert NotGovernor(msg.sender);
        uint256 count = chosen.length;
        // More than half, so that two answers never both have their quorum. No arbiters have the quorum 0.
        bool decides = count == 0 ? quorum_ == 0 : quorum_ <= count && 2 * uint256(quorum_) > count;
        if (count > MOST_ARBITERS || !decides) revert BadQuorum(quorum_, count);
        address last;
        for (uint256 i; i < count; ++i) {
            if (chosen[i] <= last) revert ArbitersNotSorted(chosen[i]);
            last = chosen[i];
        }
        ++_number;
        _arbiters = chosen;
        quorum = quorum_;
        emit PanelSet(chosen, quorum_);
    }

    function vote(bytes32 caseId, bool passes) external returns (bool decided) {
        if (court.caseOf(caseId).state != CaseState.Arbiter) revert NotBeforePanel(caseId);
        uint32 voter = uint32(1 << _placeOf(msg.sender));
        Votes storage votes = _votes[caseId][_number];
        if (votes.voted & voter != 0) revert AlreadyVoted(caseId, msg.sender);
        votes.voted |= voter;
        emit Voted(caseId, msg.sender, passes);
        decided = (passes ? ++votes.passes : ++votes.voids) >= quorum;
        if (decided) court.rule(caseId, passes);
    }

    function arbiters() external view returns (address[] memory) {
        return _arbiters;
    }

    function votesOf(bytes32 caseId) external view returns (uint256 passes, uint256 voids) {
        Votes memory votes = _votes[caseId][_number];
        return (votes.passes, votes.voids);
    }

    function _placeOf(address who) private view returns (uint256) {
        for (uint256 i; i < _arbiters.length; ++i) {
            if (_arbiters[i] == who) return i;
        }
        revert NotArbiter(who);
    }
}
