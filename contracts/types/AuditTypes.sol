// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SeatState} from "./CaseTypes.sol";

/// @notice A case that passed and is checked once more. Its id is that of the case.
struct Audit {
    /// @dev Whose batch it is.
    address node;
    uint8 slot;
    /// @dev When it was convened, in seconds; 0 if it never was.
    uint40 since;
    bool ended;
    /// @dev The pay that its auditors share at its end, wei.
    uint96 due;
}

/// @notice One of the verifiers that check the seats.
struct Auditor {
    address node;
    SeatState state;
    /// @dev Its score of the worst drawn leaf, basis points; `NOTHING_SHOWN` if it was shown nothing to judge.
    uint16 score;
    bytes32 commitment;
    /// @dev Bit i: what seat i has bound itself to are not its own projections of these leaves.
    uint256 off;
}
