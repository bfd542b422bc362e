// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {SafeERC20} from "@openzeppelin/contracts/token/ERC20/utils/SafeERC20.sol";

import {Margins} from "./Margins.sol";
import {ISettlement} from "../interfaces/ISettlement.sol";
import {IStakeManager} from "../interfaces/IStakeManager.sol";
import {IVCoin} from "../interfaces/IVCoin.sol";
import {Contents} from "../types/BatchTypes.sol";
import {Case, CaseState, Ruling, Verdict} from "../types/CaseTypes.sol";
import {NodeView} from "../types/NodeTypes.sol";
import {Profile} from "../types/ParamTypes.sol";

/// @notice A node that three seats found guilty may ask for seven, for a bond.
/// @dev Every coin that the court holds is the bond of an appeal whose round goes on.
abstract contract Appeals is Margins {
    using SafeERC20 for IVCoin;

    uint256 private constant BOND_DIVISOR = 100;

    IVCoin private immutable _coin;
    uint32 internal immutable _appealSeconds;

    constructor(IStakeManager stakes_, ISettlement settlement_, Profile memory profile)
        Margins(stakes_, settlement_, profile)
    {
        _coin = settlement_.coin();
        _appealSeconds = profile.appealSeconds;
    }

    function appeal(bytes32 caseId, Contents calldata contents) external {
        Case storage decided = _cases[caseId];
        if (decided.state != CaseState.Decided) revert NothingToAppeal(caseId);
        Ruling storage ruling = _rulings[caseId];
        uint256 until = uint256(ruling.since) + _appealSeconds;
        if (block.timestamp > until) revert AppealOver(until);
        _requireNodes(decided.node);
        uint96 bond = appealBondOf(decided.node);
        ruling.appellant = msg.sender;
        ruling.bond = bond;
        emit CaseAppealed(caseId, msg.sender, bond);
        // It could grow when it was decided, by a list that cannot have changed since.
        if (!_grow(caseId, decided, contents, ruling.verdict, ruling.median)) revert CannotGrow(caseId);
        _coin.safeTransferFrom(msg.sender, address(this), bond);
    }

    function appealBondOf(address node) public view returns (uint96) {
        NodeView memory shown = _nodeOf(node);
        uint256 stake = uint256(shown.activeStake) + shown.unbondingStake;
        return uint96((stake + BOND_DIVISOR - 1) / BOND_DIVISOR);
    }

    /// @dev Gives the bond back if the seats of the appeal found better, else to the pool. Nothing if there was no appeal.
    function _settleBond(bytes32 caseId, Verdict found) internal {
        Ruling storage ruling = _rulings[caseId];
        address appellant = ruling.appellant;
        uint96 bond = ruling.bond;
        if (bond == 0) return;
        bool stands = found >= ruling.verdict;
        ruling.bond = 0;
        emit BondSettled(caseId, appellant, bond, !stands);
        if (!stands) {
            _coin.safeTransfer(appellant, bond);
        } else {
            _coin.safeTransfer(address(_settlement), bond);
            _settlement.creditPool(bond);
        }
    }
}
