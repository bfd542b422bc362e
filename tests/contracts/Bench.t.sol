// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";

import {Fixture} from "./Fixture.sol";

/// @notice How many sit in a case.
contract BenchTest is Fixture {
    Node internal node;
    Client internal one;

    function setUp() public override {
        super.setUp();
        node = registered("node", 20_000 * VCN);
        one = client("client", 100 * VCN);
        openLane(one, node.id, 100 * VCN);
    }

    function test_a_silent_seat_makes_room_for_exactly_one() public {
        bench(6);
        Contents memory contents = submitted(one, node.id, 0, 4, 40 * VCN);
        bytes32 caseId = convened(node.id, 0, contents);
        assertEq(court.seatsOf(caseId).length, 3);
        pass(profile.seatSeconds + 1);
        court.replaceSeat(caseId, 0, contents);
        assertEq(court.seatsOf(caseId).length, 4);
        court.replaceSeat(caseId, 1, contents);
        assertEq(court.seatsOf(caseId).length, 5);
    }

    function test_a_batch_is_worth_no_more_than_it_charges() public {
        bench(3);
        Claim[] memory claims = claimsOf(one, node.id, 10, profile.courtValue - 1, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 10);
        // All ten leaves are drawn; ten times the largest would be more than the court's value.
        made.maxLeaf = profile.courtValue / 2;
        Contents memory contents = submit(made, claims);
        assertEq(court.seatsOf(convened(node.id, 0, contents)).length, 1);
    }
}
