// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {IPanel} from "../../contracts/interfaces/IPanel.sol";
import {Contents} from "../../contracts/types/BatchTypes.sol";
import {CaseState, CaseView, Seat, SeatState, Verdict} from "../../contracts/types/CaseTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice A batch in court, verifiers some of whom lie, and arbiters.
abstract contract CourtFixture is Fixture {
    uint96 internal constant STAKE = 10_000 * VCN;

    Node internal node;
    Client internal one;
    bytes32 internal caseId;
    bytes private _kept;
    Contents internal none;
    /// @dev What an honest seat finds.
    uint16 internal truth = 10_000;
    mapping(address verifier => bool) internal fraudKinds;
    uint16 internal fraudKind;
    address[] internal people;

    function setUp() public virtual override {
        super.setUp();
        node = registered("node", STAKE);
        one = client("client", 1_000 * VCN);
        openLane(one, node.id, 500 * VCN);
        // Its bonds.
        coin.transfer(node.owner, 1_000 * VCN);
        coin.transfer(node.id, 1_000 * VCN);
        vm.prank(node.owner);
        coin.approve(address(court), type(uint256).max);
        vm.prank(node.id);
        coin.approve(address(court), type(uint256).max);
    }

    function keep(Contents memory made) internal {
        _kept = abi.encode(made);
    }

    function contents() internal view returns (Contents memory) {
        return abi.decode(_kept, (Contents));
    }

    /// @dev Two leaves of 20 VCN each: three seats.
    function openCase(uint256 verifiers) internal {
        bench(verifiers);
        keep(submitted(one, node.id, 0, 2, 40 * VCN));
        caseId = convened(node.id, 0, contents());
    }

    function liar(uint256 count) internal {
        for (uint8 seat; seat < count; ++seat) {
            fraudKinds[court.seatsOf(caseId)[seat].node] = true;
        }
    }

    /// @dev Every seat of this round commits and reveals.
    function sit() internal {
        CaseView memory shown = court.caseOf(caseId);
        for (uint8 seat = shown.firstSeat; seat < shown.seatCount; ++seat) {
            if (court.seatsOf(caseId)[seat].state == SeatState.Drawn) commitSeat(caseId, seat);
        }
        Seat[] memory seats = court.seatsOf(caseId);
        for (uint8 seat = shown.firstSeat; seat < shown.seatCount; ++seat) {
            if (seats[seat].state == SeatState.Silent || seats[seat].state == SeatState.Revealed) continue;
            revealSeat(caseId, seat, fraudKinds[seats[seat].node] ? fraudKind : truth);
        }
    }

    function resolve() internal returns (Verdict) {
        return court.resolve(caseId, contents());
    }

    /// @dev A unanimous finding of fraud that waits for an appeal.
    function decide(uint256 verifiers) internal {
        openCase(verifiers);
        truth = 0;
        sit();
        assertVerdict(resolve(), Verdict.None);
        assertState(CaseState.Decided);
    }

    function appeal() internal {
        vm.prank(node.owner);
        court.appeal(caseId, contents());
    }

    function waitFor(uint256 secs) internal {
        pass(secs + 1);
    }

    /// @dev Three arbiters, two of whom decide.
    function callPanel() internal {
        people = [address(0xA1), address(0xA2), address(0xA3)];
        address panel = court.panel();
        vm.prank(address(timelock));
        IPanel(panel).setArbiters(people, 2);
    }

    function vote(uint256 who, bool passes) internal returns (bool) {
        IPanel panel = IPanel(court.panel());
        vm.prank(people[who]);
        return panel.vote(caseId, passes);
    }

    function assertVerdict(Verdict got, Verdict expected) internal pure {
        assertEq(uint8(got), uint8(expected), "verdict");
    }

    function assertState(CaseState expected) internal view {
        assertEq(uint8(court.caseOf(caseId).state), uint8(expected), "state of the case");
    }

    function assertEnded(Verdict expected) internal view {
        assertState(CaseState.Closed);
        assertVerdict(court.caseOf(caseId).verdict, expected);
        assertEq(coin.balanceOf(address(court)), 0, "bonds");
    }
}
