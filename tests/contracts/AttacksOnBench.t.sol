// SPDX-License-Identifier: Apache-2.0
pragma solidity 0.8.37;

import {ISettlement} from "../../contracts/interfaces/ISettlement.sol";
import {Claim, Contents, Submission} from "../../contracts/types/BatchTypes.sol";

import {CourtFixture} from "./CourtFixture.sol";

/// @notice Attacks by which a node would choose its judges: parties of a batch do not judge it, so the node makes parties.
/// @dev Sixteen honest verifiers, three of the node's friends. Batches of one block share their id and so their draw, whatever
///      is in them: what an attack moves is seen by comparing with the plain batch under the same seed.
contract AttacksOnBenchTest is CourtFixture {
    uint256 private constant SEEDS = 50;

    Node[] private honest;
    mapping(address verifier => bool) private isMate;

    function setUp() public override {
        super.setUp();
        Node[] memory strangers = bench(16, "honest");
        for (uint256 i; i < strangers.length; ++i) {
            honest.push(strangers[i]);
        }
        Node[] memory mates = bench(3, "mate");
        for (uint256 i; i < mates.length; ++i) {
            isMate[mates[i].id] = true;
        }
    }

    /// @dev A claim of nothing for each honest verifier, of so many leaves, that the node signs itself, and behind them a real one.
    function _naming(uint24 leaves) private view returns (Submission memory made, Claim[] memory claims) {
        claims = new Claim[](honest.length + 1);
        for (uint256 i; i < honest.length; ++i) {
            // Half by the verifier's own key, half by that of its owner: either is excluded.
            claims[i].client = i % 2 == 0 ? honest[i].id : honest[i].owner;
            (claims[i].signer, claims[i].index, claims[i].details) = (node.id, leaves, keccak256("nothing"));
            signClaim(claims[i], node.id, node.key);
        }
        claims[honest.length] = claimOf(one, node.id, 2, 40 * VCN, 0);
        made = submissionOf(node.id, 0, claims, 2);
        made.maxLeaf = 20 * VCN;
    }

    /// @dev Submits with the names if the chain takes them, else without.
    function _submitNaming(uint24 leaves) private {
        (Submission memory made, Claim[] memory claims) = _naming(leaves);
        Contents memory named = contentsOf(made, claims);
        vm.prank(node.id);
        try settlement.submit(made, claims) {
            keep(named);
        } catch {
            keep(submitted(one, node.id, 0, 2, 40 * VCN));
        }
    }

    function _countMates(address[] memory nodes) private view returns (uint256 count) {
        for (uint256 i; i < nodes.length; ++i) {
            if (isMate[nodes[i]]) ++count;
        }
    }

    function test_attack_claims_of_nothing_make_no_parties() public {
        (Submission memory made, Claim[] memory claims) = _naming(1);
        vm.prank(node.id);
        vm.expectRevert(ISettlement.LaneNotOpen.selector);
        settlement.submit(made, claims);
    }

    /// @notice On probation every leaf is drawn: one leaf a name is enough. Expected end: three of nineteen sit as often as
    ///         they would.
    function test_attack_a_first_bench_of_friends() public {
        _submitNaming(1);
        (uint256 epoch,) = toSeed(node.id, 0);
        uint256 owned;
        for (uint256 i; i < SEEDS; ++i) {
            _seedOf(epoch, i);
            if (_countMates(court.previewSeats(node.id, 0, contents())) == 3) ++owned;
        }
        // By chance one bench in 969.
        assertLt(owned, SEEDS / 10, "benches of three friends");
    }

    /// @notice Past its probation: ten leaves a name have one that is drawn, for certain.
    function test_attack_a_bench_of_friends_at_the_lowest_rate() public {
        graduate(node);
        mine(1);
        _submitNaming(10);
        assertEq(settlement.batchOf(node.id, 0).ratePercent, 10);
        (uint256 epoch,) = toSeed(node.id, 0);
        uint256 owned;
        uint256 drawn;
        for (uint256 i; i < 4 * SEEDS; ++i) {
            _seedOf(epoch, i);
            if (settlement.sampledLeaves(node.id, 0).length == 0) continue;
            ++drawn;
            address[] memory seats = court.previewSeats(node.id, 0, contents());
            if (_countMates(seats) == seats.length) ++owned;
        }
        assertGt(drawn, 20);
        assertLt(owned, drawn / 2, "benches of friends alone");
    }

    /// @notice The second look at a batch that friends let pass. Expected end: its auditors are strangers as well.
    function test_attack_auditors_of_friends() public {
        _submitNaming(1);
        caseId = convened(node.id, 0, contents());
        sit();
        resolve();
        uint256 owned;
        for (uint256 i; i < SEEDS; ++i) {
            address[] memory auditors = court.drawAuditors(caseId, keccak256(abi.encode(i)), contents());
            // Where friends have sat the others are excluded, too: then there is no audit at all.
            if (_countMates(auditors) == auditors.length) ++owned;
        }
        assertLt(owned, SEEDS / 10, "audits by friends, or none");
    }

    // ---- a lane that its client has opened

    /// @dev The verifier is a client of the node and has agreed to what it signs.
    function _asClient(Node memory judge, uint96 charge) private returns (Contents memory) {
        Client memory own = Client(judge.id, judge.key, judge.id, judge.key);
        coin.approve(address(settlement), 100 * VCN);
        settlement.depositFor(own.id, 100 * VCN);
        openLane(own, node.id, 100 * VCN);
        Claim[] memory claims = new Claim[](2);
        claims[0] = claimOf(one, node.id, 2, 40 * VCN, 0);
        claims[1] = claimOf(own, node.id, 1, charge, 0);
        Submission memory made = submissionOf(node.id, 0, claims, 3);
        made.maxLeaf = 20 * VCN;
        return submit(made, claims);
    }

    function _isSeatedIn(address who, uint256 seeds) private returns (uint256 count) {
        (uint256 epoch,) = toSeed(node.id, 0);
        for (uint256 i; i < seeds; ++i) {
            _seedOf(epoch, i);
            address[] memory seats = court.previewSeats(node.id, 0, contents());
            for (uint256 j; j < seats.length; ++j) {
                if (seats[j] == who) ++count;
            }
        }
    }

    function test_attack_a_job_of_nothing_keeps_no_client_off_the_bench() public {
        uint256 here = vm.snapshotState();
        keep(submitted(one, node.id, 0, 3, 40 * VCN));
        uint256 plain = _isSeatedIn(honest[0].id, SEEDS);
        assertGt(plain, 0);
        vm.revertToState(here);
        keep(_asClient(honest[0], 0));
        assertEq(_isSeatedIn(honest[0].id, SEEDS), plain, "who paid nothing judges as before");
    }

    function test_a_client_that_paid_does_not_judge() public {
        keep(_asClient(honest[0], 1));
        assertEq(_isSeatedIn(honest[0].id, SEEDS), 0);
    }

    /// @dev Another seed for the same batch, without a chain that moves on.
    function _seedOf(uint256 epoch, uint256 number) private {
        uint256 commitBlock = settlement.batchOf(node.id, 0).commitBlock;
        bytes memory answer = abi.encode(keccak256(abi.encode("seed", number)), false);
        vm.mockCall(address(beacon), abi.encodeCall(beacon.seedAt, (commitBlock)), answer);
        vm.mockCall(address(beacon), abi.encodeCall(beacon.seedOf, (epoch)), answer);
    }
}
