"""A seat's fraud proofs: about which leaf, when, and which faults it holds against no party."""

import dataclasses
from typing import Any

import pytest

from protocol import effects as fx
from protocol import events as ev
from protocol.errors import Malformed
from protocol.judging.fraud_proofs import FraudKind, OpenedLeaf, Papers
from protocol.roles.verifier.fraud_proofs import AGAIN_MS, TURN_MS
from protocol.stages.commitment import BatchSums, Leaf, LeafStatus
from protocol.stages.verification import SampleOpening, Verdict
from protocol.timers import FraudProofTimer
from protocol.wire.ids import ZERO_HASH
from protocol.wire.merkle import path, root
from tests.support.scenes.sittings import Sitting, of


class Shown(Sitting):
    """A seat whose node has settled these changes of its one leaf; the papers stay as they were."""

    def __init__(self, batch: dict[str, Any] | None = None, **leaf: Any) -> None:
        super().__init__()
        self.settle([dataclasses.replace(self.opening.entry.leaf, **leaf)], **(batch or {}))

    @property
    def batch(self) -> ev.BatchSubmitted:
        return self.case.batch.submitted

    def settle(self, leaves: list[Leaf], max_leaf: int = 0, **told: Any) -> None:
        """The batch has these leaves, and says so."""
        self.leaves, nodes = leaves, [leaf.node for leaf in leaves]
        top, contents = root(nodes), self.batch.contents
        (debit,) = contents.debits
        debit = dataclasses.replace(debit, leaves=told.get("leaf_count", len(leaves)), index=leaves[-1].index)
        contents = dataclasses.replace(contents, root=top.hash, max_leaf=max_leaf or contents.max_leaf, debits=(debit,))
        sums = BatchSums(top.charge, top.bonus, top.ms, len(leaves), 0)
        self.change(**{"leaf_count": len(leaves), "sums": sums, "contents": contents, **told})
        self.own.leaves = {}
        self.draw(len(leaves))

    def change(self, **told: Any) -> None:
        """The batch was submitted otherwise than it was."""
        self.case.batch.submitted = dataclasses.replace(self.batch, **told)

    def of_leaf(self, index: int = 0) -> SampleOpening:
        entry, leaf = self.opening.entry, self.leaves[index]
        # Another number's papers are none of this one's.
        entry = dataclasses.replace(entry, leaf=leaf, job=entry.job if leaf.index == entry.leaf.index else None)
        siblings = path([leaf.node for leaf in self.leaves], index)
        return dataclasses.replace(self.opening, leaf_index=index, entry=entry, siblings=siblings)

    def send(self, index: int = 0) -> list[fx.Effect]:
        return self.take(ev.MessageReceived(self.provider.peer_id, self.of_leaf(index)))

    def send_or_refuse(self, index: int) -> list[fx.Effect]:
        try:
            return self.send(index)
        except Malformed:
            return []

    def turn(self) -> list[fx.Effect]:
        return self.take(ev.DeadlinePassed(self.timer))

    @property
    def timer(self) -> FraudProofTimer:
        return FraudProofTimer(self.case.batch_id)


def numbered(seat: Sitting, *numbers: int) -> list[Leaf]:
    return [dataclasses.replace(seat.opening.entry.leaf, index=number) for number in numbers]


def test_a_lie_is_proved_when_the_seats_turn_comes_and_the_seat_goes_on() -> None:
    seat = Shown(receipt_hash=ZERO_HASH)
    asked = seat.send()
    assert of(asked, fx.AwaitDeadline) == [fx.AwaitDeadline(seat.timer, seat.now_ms)]
    assert (len(of(asked, fx.CommitSeat)), seat.leaf.score, seat.leaf.problem) == (
        1,
        0,
        "code can prove it: no receipt",
    )
    job = seat.opening.entry.job
    assert job is not None
    assert job.receipt is not None
    proof = fx.ProveFraud(
        batch_id=seat.case.batch_id,
        node=seat.case.node,
        slot=seat.batch.slot,
        contents=seat.batch.contents,
        fraud_kind=FraudKind.NO_RECEIPT,
        leaves=(OpenedLeaf(0, seat.leaves[0], ()),),
        papers=Papers(job.assignment, job.details, job.receipt.receipt),
    )
    assert seat.turn() == [proof]
    assert (seat.turn(), seat.send()) == ([], [])
    seat.bind()
    assert of(seat.until(6), fx.RevealSeat) or seat.own.revealing


@pytest.mark.parametrize(
    ("fraud_kind", "batch", "leaf"),
    [
        (FraudKind.FALSE_SUMS, {"sums": BatchSums(0, 0, 0, 1, 0)}, {}),
        (FraudKind.ABOVE_LARGEST, {"max_leaf": 1}, {}),
        (FraudKind.PAID_FOR_NOTHING, {}, {"status": LeafStatus.FAILED}),
        (FraudKind.MISCOUNTED, {"sums": None}, {}),
        (FraudKind.OVERPRICED, {"max_leaf": 2**90}, {"charge": 2**90}),
        (FraudKind.TOO_LATE, {"unreceipted": True, "timestamp": 2**40 - 1}, {"bonus": 0}),
        (FraudKind.WRONG_CLASS, {"class_id": 7}, {}),
        (FraudKind.NOT_AGREED, {"uncalibrated": True}, {}),
        (FraudKind.FEE_NOT_AGREED, {"checked": True}, {}),
        (FraudKind.RECEIPT_DIFFERS, {}, {"actual_ms": 1}),
    ],
    ids=lambda value: value.name if isinstance(value, FraudKind) else "",
)
def test_each_lie_is_found_by_what_the_chain_told_of_the_batch(
    fraud_kind: FraudKind, batch: dict[str, Any], leaf: Any
) -> None:
    seat = Shown()
    if batch.get("sums", ...) is None:
        batch = {"sums": dataclasses.replace(seat.batch.sums, ok_count=0, failed_count=1)}
    seat.settle([dataclasses.replace(seat.leaves[0], **leaf)], **batch)
    seat.send()
    (proof,) = seat.turn()
    assert isinstance(proof, fx.ProveFraud)
    assert (proof.fraud_kind, seat.leaf.score) == (fraud_kind, 0)


def test_nothing_is_proved_of_an_honest_leaf() -> None:
    seat = Shown()
    assert of(seat.send(), fx.AwaitDeadline) == []
    assert (seat.turn(), seat.leaf.opening is None, seat.leaf.score) == ([], False, None)


def test_a_leaf_that_contradicts_its_papers_without_a_lie_is_refused_as_before() -> None:
    seat = Shown(output_commit=bytes(32))
    with pytest.raises(Malformed, match="contradicts its papers"):
        seat.send()
    assert (seat.turn(), seat.leaf.opening) == ([], None)


def test_a_leaf_of_another_batch_proves_nothing() -> None:
    seat = Shown(receipt_hash=ZERO_HASH)
    seat.leaves = numbered(seat, 5)
    with pytest.raises(Malformed, match="not in the batch"):
        seat.send()
    assert seat.turn() == []


def test_a_leaf_before_its_place_is_not_held_against_a_node_that_a_reorganisation_took_leaves_from() -> None:
    seat = Shown()
    own = seat.leaves[0].index
    # The batch before this one fell out, so the chain counts its last number in this one.
    seat.settle(numbered(seat, own, own + 1, own + 2), leaf_count=4)
    for index in range(3):
        assert of(seat.send_or_refuse(index), fx.AwaitDeadline) == []
    assert (seat.turn(), {leaf.score for leaf in seat.own.leaves.values()}) == ([], {None})
    # Its own leaf is checked as any other.
    assert seat.leaf.opening is not None


def test_a_leaf_without_a_receipt_that_no_code_can_place_scores_zero_all_the_same() -> None:
    seat = Shown(receipt_hash=ZERO_HASH)
    # The chain counts more leaves than a tree of this depth has.
    seat.settle(seat.leaves, leaf_count=2)
    opening, entry = seat.of_leaf(), seat.opening.entry
    assert entry.job is not None
    bare = dataclasses.replace(entry, leaf=seat.leaves[0], job=dataclasses.replace(entry.job, receipt=None))
    asked = seat.take(ev.MessageReceived(seat.provider.peer_id, dataclasses.replace(opening, entry=bare)))
    assert ([type(each) for each in asked], seat.leaf.score) == ([fx.CommitSeat], 0)
    assert seat.turn() == []


@pytest.mark.parametrize("numbers", [(1, 1, 3), (1, 9, 3)], ids=["again", "foreign"])
def test_a_leaf_behind_its_place_or_of_no_number_of_the_batch_is_proved(numbers: tuple[int, ...]) -> None:
    seat = Shown()
    seat.settle(numbered(seat, *numbers))
    seat.send(1)
    (proof,) = seat.turn()
    assert isinstance(proof, fx.ProveFraud)
    assert (proof.fraud_kind, proof.leaves[0].position) == (FraudKind.WRONG_PLACE, 1)


def test_leaves_that_are_one_more_than_declared_are_proved_together() -> None:
    seat = Shown()
    own = seat.leaves[0].index
    seat.settle(numbered(seat, own, own + 1, own + 2))
    seat.change(sums=dataclasses.replace(seat.batch.sums, ok_count=1, failed_count=1))
    seat.send(0)
    assert (seat.turn(), seat.leaf.score) == ([], None)
    seat.send(2)
    (proof,) = seat.turn()
    assert isinstance(proof, fx.ProveFraud)
    assert (proof.fraud_kind, [leaf.position for leaf in proof.leaves]) == (FraudKind.MISCOUNTED, [0, 2])
    # A paper that is no leaf of the batch is none of them.
    seat.leaves[1] = dataclasses.replace(seat.leaves[1], charge=0)
    with pytest.raises(Malformed, match="not in the batch"):
        seat.send(1)


def test_seats_take_turns_and_the_first_proof_of_a_case_is_the_only_one() -> None:
    seat = Shown()
    seat.settle([dataclasses.replace(leaf, receipt_hash=ZERO_HASH) for leaf in numbered(seat, 1, 2)])
    seat.reseat()
    assert of(seat.send(1), fx.AwaitDeadline) == [fx.AwaitDeadline(seat.timer, seat.now_ms + 2 * TURN_MS)]
    assert of(seat.send(0), fx.AwaitDeadline) == []
    assert [leaf.score for leaf in seat.own.leaves.values()] == [0, 0]
    (proof,) = seat.turn()
    assert isinstance(proof, fx.ProveFraud)
    assert [leaf.position for leaf in proof.leaves] == [1]


@pytest.mark.parametrize(("verdict", "sent"), [(Verdict.PASS, 1), (Verdict.SEVERE, 0), (Verdict.STARVED, 0)])
def test_what_has_passed_is_proved_still_and_what_is_void_is_not(verdict: Verdict, sent: int) -> None:
    seat = Shown(receipt_hash=ZERO_HASH)
    seat.send()
    seat.take(ev.CaseResolved(seat.case.batch_id, verdict, 0, 1))
    assert len(seat.turn()) == sent


def test_what_failed_for_now_is_sent_again_and_what_was_refused_is_not() -> None:
    seat = Shown(receipt_hash=ZERO_HASH)
    seat.send()
    first = seat.turn()
    assert seat.fail(fx.ProveFraud) == [fx.AwaitDeadline(seat.timer, seat.now_ms + AGAIN_MS)]
    assert (seat.turn(), len(first)) == (first, 1)
    assert (seat.fail(fx.ProveFraud, transient=False), seat.turn()) == ([], [])


def test_a_lie_that_is_shown_on_chain_at_this_seats_demand_is_proved_as_well() -> None:
    seat = Shown(receipt_hash=ZERO_HASH)
    seat.demanded()
    asked = seat.answer(seat.of_leaf())
    assert [type(each) for each in asked] == [fx.AwaitDeadline, fx.CommitSeat]
    assert [type(each) for each in seat.turn()] == [fx.ProveFraud]


def test_a_fold_of_the_same_events_asks_for_the_same_proof() -> None:
    first, second = Shown(receipt_hash=ZERO_HASH), Shown(receipt_hash=ZERO_HASH)
    assert first.send() == second.send()
    (one,), (other,) = first.turn(), second.turn()
    assert fx.effect_key(one) == fx.effect_key(other)
    assert fx.about(one) == first.case.batch_id
