"""A seat that is shown too little, or cannot judge: its demands, its step down, its findings."""

import dataclasses
from typing import Any

import pytest

from protocol import effects as fx
from protocol import events as ev
from protocol.errors import RemoteProtocolError
from protocol.params import MAX_ANSWER_BYTES
from protocol.roles.holds import HOLD_RULES
from protocol.roles.member import NO_DEVICE
from protocol.roles.verifier.waiting import ASK_AGAIN_MS, TRY_AGAIN_MS
from protocol.stages.verification import NOT_FOR_US, FingerprintOpening, SampleQuery, seat_commitment
from protocol.timers import AbstainTimer, DataDemandTimer
from protocol.wire.ids import BatchId
from protocol.wire.merkle import SumNode, has_no_leaf, path
from tests.simulation.scene import CLASS, MANIFEST, NOISE, RULES, Work, check_bytes, fingerprint_bytes
from tests.support.scenes.sittings import Sitting, of

TURN_S = RULES.seat_window_s
QUARTER_S, EIGHTH_S, HALF_S = TURN_S // 4, TURN_S // 8, TURN_S // 2
OTHER_SEAT = 1


# --- margins ----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("margin_ppm", [0, 5_000, 100_000])
def test_a_seat_binds_itself_to_what_its_margins_say_before_it_sees_a_fingerprint(margin_ppm: int) -> None:
    seat = Sitting()
    llr_millinats = 3 * {0: -40, 5_000: 300, 100_000: 2_000}[margin_ppm]
    seat.take(ev.MessageReceived(seat.provider.peer_id, seat.opening))
    seat.take(seat.opened())
    (bound,) = of(
        seat.take(ev.SampleReplayed(seat.case.batch_id, 0, check_bytes(3, Work.HONEST, margin_ppm), "")), fx.CommitSeat
    )
    seat.bind()
    shown = FingerprintOpening(seat.case.batch_id, 0, fingerprint_bytes(3, Work.HONEST))
    (revealed,) = of(seat.take(ev.MessageReceived(seat.provider.peer_id, shown)), fx.RevealSeat)
    assert revealed.llr_millinats == llr_millinats
    assert bound.commitment == seat_commitment(
        seat.case.batch_id, 0, 0, revealed.digest, revealed.salt, revealed.llr_millinats
    )


def test_margins_say_nothing_without_a_table_or_where_nothing_was_computed() -> None:
    seat = Sitting()
    plain = dataclasses.replace(NOISE, margins=None)
    seat.machine.member.calibrations[MANIFEST.cid, CLASS] = plain
    seat.show()
    assert seat.own.llr_millinats == 0
    lost = Sitting()
    lost.take(ev.MessageReceived(lost.provider.peer_id, lost.opening))
    assert of(lost.take(lost.opened("no such key")), fx.CommitSeat)
    assert (lost.own.llr_millinats, lost.leaf.score) == (0, 0)


# --- demands ----------------------------------------------------------------------------------------------------------
def test_a_demand_names_the_leaf_and_the_key_that_this_seat_can_open() -> None:
    seat = Sitting()
    before, then = seat.until(HALF_S - 3), seat.until(HALF_S + 3)
    assert (of(before, fx.DemandData), len(of(before, fx.Send)) >= 5) == ([], True)
    assert of(then, fx.DemandData) == [fx.DemandData(seat.case.batch_id, 0, 0, seat.hpke_key)]


def test_seats_demand_one_after_the_other() -> None:
    seat = Sitting()
    seat.reseat()
    assert of(seat.until(HALF_S + TURN_S // 8 - 1), fx.DemandData) == []
    assert len(of(seat.until(HALF_S + TURN_S // 8 + 3), fx.DemandData)) == 1


def test_a_node_is_asked_a_few_times_first_by_a_seat_that_was_away() -> None:
    seat = Sitting()
    asked = [effect for second in (HALF_S, HALF_S + 3, HALF_S + 6) for effect in seat.at(second)]
    assert (of(asked, fx.DemandData), len(of(asked, fx.Send))) == ([], 3)
    assert len(of(seat.at(HALF_S + 9), fx.DemandData)) == 1


def test_nothing_is_demanded_once_the_turn_is_over() -> None:
    seat = Sitting()
    seat.until(HALF_S - 3)
    assert of(seat.at(TURN_S + 1), fx.DemandData) == []


def test_nothing_is_demanded_of_a_case_that_had_its_demand() -> None:
    seat = Sitting()
    seat.until(HALF_S - 3)
    seat.demanded(OTHER_SEAT)
    waiting = seat.until(HALF_S + 3)
    seat.answer(seat.opening)
    assert of(waiting + seat.until(TURN_S), fx.DemandData) == []
    assert seat.moments == []
    # But the node is asked on.
    assert of(waiting, fx.Send)


def test_nothing_is_demanded_by_a_moment_that_came_too_late() -> None:
    seat = Sitting()
    seat.until(HALF_S - 3)
    seat.show()
    assert seat.take(ev.DeadlinePassed(DataDemandTimer(seat.case.batch_id, 0))) == []
    assert seat.take(ev.DeadlinePassed(DataDemandTimer(bytes(32), 0))) == []


def test_a_demand_that_was_refused_for_now_or_fell_out_is_made_again() -> None:
    seat = Sitting()
    assert len(of(seat.until(HALF_S + 3), fx.DemandData)) == 1
    assert of(seat.at(HALF_S + 6), fx.DemandData) == []
    seat.fail(fx.DemandData)
    assert len(of(seat.until(HALF_S + 12), fx.DemandData)) == 1
    seat.head += 100
    assert len(of(seat.until(HALF_S + 24), fx.DemandData)) == 1


def test_a_moment_is_asked_for_once() -> None:
    seat = Sitting()
    seat.until(HALF_S - 3)
    seen = ev.BlockSeen(2_000, 1_998, seat.convened.timestamp + HALF_S + 3)
    first, again = seat.take(seen), seat.take(seen)
    assert (len(of(first, fx.AwaitDeadline)), of(again, fx.AwaitDeadline)) == (1, [])


def test_the_fingerprint_is_demanded_once_all_are_bound_and_half_of_that_turn_is_over() -> None:
    seat = Sitting()
    assert len(of(seat.show(), fx.CommitSeat)) == 1
    seat.until(TURN_S - 3)
    for bound in (0, 1):
        seat.take(ev.SeatCommitted(seat.case.batch_id, bound))
    assert of(seat.until(2 * TURN_S), fx.DemandData) == []
    seat.take(ev.SeatCommitted(seat.case.batch_id, 2))
    start = seat.second
    assert of(seat.until(start + HALF_S), fx.DemandData) == []
    assert len(of(seat.until(start + HALF_S + 6), fx.DemandData)) == 1


def test_an_order_that_its_client_has_not_signed_shows_nothing_so_that_the_leaf_is_demanded() -> None:
    seat = Sitting()
    entry = seat.opening.entry
    assert entry.job is not None
    forged = dataclasses.replace(entry, job=dataclasses.replace(entry.job, signature=bytes(65)))
    with pytest.raises(RemoteProtocolError):
        seat.take(ev.MessageReceived(seat.provider.peer_id, dataclasses.replace(seat.opening, entry=forged)))
    assert seat.leaf.opening is None
    assert len(of(seat.until(HALF_S + 3), fx.DemandData)) == 1


# --- answers ----------------------------------------------------------------------------------------------------------
def test_the_answer_to_its_own_demand_is_checked_and_committed_to() -> None:
    seat = Sitting()
    seat.until(HALF_S + 3)
    seat.demanded()
    (opens,) = seat.answer(seat.opening)
    assert isinstance(opens, fx.OpenSample)
    seat.take(seat.opened())
    done = seat.take(ev.SampleReplayed(seat.case.batch_id, 0, check_bytes(3, Work.HONEST), ""))
    assert len(of(done, fx.CommitSeat)) == 1


def test_what_was_sealed_to_another_seat_is_left_to_it() -> None:
    seat = Sitting()
    seat.demanded(OTHER_SEAT)
    assert seat.answer(seat.opening) == []
    assert (seat.leaf.opening, seat.leaf.score) == (None, None)
    assert of(seat.until(9), fx.Send)


def test_a_fingerprint_on_chain_is_for_all_seats() -> None:
    seat = Sitting()
    seat.show()
    seat.bind()
    seat.demanded(OTHER_SEAT)
    shown = FingerprintOpening(seat.case.batch_id, 0, fingerprint_bytes(3, Work.HONEST))
    (revealed,) = seat.answer(shown)
    assert (type(revealed), revealed.scores) == (fx.RevealSeat, (10_000,))


@pytest.mark.parametrize("data", [b"rubbish", FingerprintOpening(bytes(32), 0, b""), "another leaf", "another kind"])
def test_rubbish_to_its_own_demand_condemns_the_leaf(data: Any) -> None:
    seat = Sitting()
    seat.demanded()
    if data == "another leaf":
        data = dataclasses.replace(seat.opening, leaf_index=1)
    if data == "another kind":
        data = FingerprintOpening(seat.case.batch_id, 0, fingerprint_bytes(3, Work.HONEST))
    asked = seat.answer(data)
    assert (len(of(asked, fx.CommitSeat)), seat.leaf.score) == (1, 0)
    assert seat.leaf.problem


def test_rubbish_to_the_demand_of_another_condemns_nothing() -> None:
    seat = Sitting()
    seat.demanded(OTHER_SEAT)
    assert (seat.answer(b"rubbish"), seat.leaf.score) == ([], None)


def test_rubbish_condemns_nothing_that_was_shown_meanwhile() -> None:
    seat = Sitting()
    seat.demanded()
    seat.show()
    (committed,) = seat.answer(b"rubbish")
    assert (type(committed), seat.leaf.score) == (fx.CommitSeat, None)


def test_a_fingerprint_too_large_for_the_chain_condemns_nothing() -> None:
    seat = Sitting()
    seat.show()
    seat.bind()
    seat.leaf.new_tokens = MAX_ANSWER_BYTES // 8
    seat.demanded()
    assert (seat.answer(b"larger than an answer on chain: ask us"), seat.leaf.score) == ([], None)
    seat = Sitting()
    seat.show()
    seat.bind()
    seat.demanded()
    (revealed,) = seat.answer(b"larger than an answer on chain: ask us")
    assert revealed.scores == (0,)


def test_a_leaf_that_the_tree_proves_not_to_exist_condemns_nobody() -> None:
    seat = Sitting()
    seat.show()
    # The contract counts a second one, which a reorganisation has taken from the node.
    seat.draw(2)
    seat.demanded(leaf=1)
    assert (seat.answer(b"no such leaf"), seat.own.leaves[1].score) == ([], None)


def test_a_key_sealed_to_somebody_else_is_demanded_anew_and_condemned_if_that_is_no_better() -> None:
    seat = Sitting()
    seat.take(ev.MessageReceived(seat.provider.peer_id, seat.opening))
    assert (seat.take(seat.opened(NOT_FOR_US)), seat.leaf.score) == ([], None)
    assert len(of(seat.until(HALF_S + 3), fx.DemandData)) == 1
    seat.demanded()
    (opens,) = seat.answer(seat.opening)
    assert isinstance(opens, fx.OpenSample)
    asked = seat.take(seat.opened(NOT_FOR_US))
    assert (len(of(asked, fx.CommitSeat)), seat.leaf.score) == (1, 0)


def test_what_contradicts_its_leaf_is_condemned_at_once() -> None:
    seat = Sitting()
    seat.take(ev.MessageReceived(seat.provider.peer_id, seat.opening))
    asked = seat.take(seat.opened("the result is not the one that the node signed"))
    assert (len(of(asked, fx.CommitSeat)), seat.leaf.score) == (1, 0)


def test_a_case_that_waits_for_data_takes_no_commitment_and_no_scores() -> None:
    seat = Sitting()
    seat.demanded(OTHER_SEAT)
    assert seat.show() == []
    assert of(seat.until(9), fx.CommitSeat) == []
    (committed,) = seat.answer(b"rubbish")
    assert isinstance(committed, fx.CommitSeat)
    other = Sitting()
    other.show()
    other.bind()
    other.demanded(OTHER_SEAT)
    shown = FingerprintOpening(other.case.batch_id, 0, fingerprint_bytes(3, Work.HONEST))
    assert of(other.take(ev.MessageReceived(other.provider.peer_id, shown)), fx.RevealSeat) == []
    (revealed,) = other.answer(b"rubbish")
    assert isinstance(revealed, fx.RevealSeat)


def test_a_demand_that_nobody_answers_is_ended_by_the_seats() -> None:
    seat = Sitting()
    seat.demanded()
    assert of(seat.until(20), fx.ResolveCase) == []
    assert len(of(seat.at(24), fx.ResolveCase)) == 1


# --- what fails for a while -------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", [fx.CommitSeat, fx.RevealSeat])
def test_what_was_refused_for_now_is_tried_again_and_what_was_refused_for_good_once_it_is_overdue(
    kind: type[fx.CommitSeat | fx.RevealSeat],
) -> None:
    seat = Sitting()
    seat.show()
    if kind is fx.RevealSeat:
        seat.bind()
        shown = FingerprintOpening(seat.case.batch_id, 0, fingerprint_bytes(3, Work.HONEST))
        seat.take(ev.MessageReceived(seat.provider.peer_id, shown))
    seat.own.asked_at_block = seat.head
    seat.fail(kind)
    assert len(of(seat.until(6), kind)) == 1
    seat.fail(kind, transient=False)
    assert of(seat.until(12), kind) == []
    seat.head += 100
    assert len(of(seat.until(18), kind)) == 1


def test_a_blob_that_was_not_to_be_had_is_fetched_again_and_demanded() -> None:
    seat = Sitting()
    bare = dataclasses.replace(seat.opening, sealed_input=b"", sealed_result=b"")
    (fetch,) = seat.take(ev.MessageReceived(seat.provider.peer_id, bare))
    seat.fail(fx.FetchBlob, about=fetch.cid)
    asked = seat.until(HALF_S + 3)
    fetched, tried = of(asked, fx.FetchBlob), HALF_S * 1_000 // TRY_AGAIN_MS
    assert {each.cid for each in fetched} == {fetch.cid}
    assert tried <= len(fetched) <= tried + 1
    assert len(of(asked, fx.DemandData)) == 1
    # If it comes after all, the seat goes on.
    (second,) = seat.take(ev.BlobFetched(fetch.cid))
    assert isinstance(second, fx.FetchBlob)


def test_a_check_that_could_not_be_run_is_run_again_where_the_machine_can() -> None:
    seat = Sitting()
    seat.take(ev.MessageReceived(seat.provider.peer_id, seat.opening))
    seat.take(seat.opened())
    seat.take(ev.SeatAdded(seat.case.batch_id, 9, "0x" + "00" * 20, 0))  # type: ignore[arg-type]
    seat.fail(fx.ReplaySample, transient=False)
    device = seat.machine.member.device
    seat.take(ev.DeviceReported(NO_DEVICE))
    assert of(seat.until(EIGHTH_S - 3), fx.ReplaySample) == []
    seat.take(ev.DeviceReported(device))
    assert of(seat.until(HALF_S), fx.ReplaySample)


# --- stepping down ----------------------------------------------------------------------------------------------------
def lose_model(seat: Sitting) -> None:
    seat.machine.member.models.clear()
    seat.take(ev.MessageReceived(seat.provider.peer_id, seat.opening))


def lose_noise(seat: Sitting) -> None:
    seat.machine.member.calibrations.clear()
    seat.take(ev.MessageReceived(seat.provider.peer_id, seat.opening))


def lose_engine(seat: Sitting) -> None:
    seat.take(ev.DeviceReported(NO_DEVICE))


def fail_to_check(seat: Sitting) -> None:
    seat.take(ev.MessageReceived(seat.provider.peer_id, seat.opening))
    seat.take(seat.opened())
    seat.fail(fx.ReplaySample, transient=False)


def pause(seat: Sitting) -> None:
    seat.take(ev.HoldBegun(ev.Hold.PAUSE, seat.now_ms))


each_ailment = pytest.mark.parametrize("ail", [lose_model, lose_noise, lose_engine, fail_to_check, pause])


@each_ailment
def test_a_seat_steps_down_between_an_eighth_and_a_quarter_of_its_turn(ail: Any) -> None:
    seat = Sitting()
    ail(seat)
    assert of(seat.until(EIGHTH_S - 1, step=1), fx.AbstainSeat) == []
    (left,) = of(seat.until(QUARTER_S - 1, step=1), fx.AbstainSeat)
    batch = seat.case.batch.submitted
    assert left == fx.AbstainSeat(seat.case.batch_id, 0, batch.contents)
    assert of(seat.until(TURN_S), fx.AbstainSeat) == []


@each_ailment
def test_later_it_stays(ail: Any) -> None:
    seat = Sitting()
    ail(seat)
    assert of(seat.at(QUARTER_S), fx.AbstainSeat) == []


@pytest.mark.parametrize("hold", [hold for hold in ev.Hold if not HOLD_RULES[hold].stops_runs])
def test_a_node_that_takes_no_new_work_keeps_its_seat(hold: ev.Hold) -> None:
    seat = Sitting()
    seat.take(ev.HoldBegun(hold, seat.now_ms))
    assert of(seat.until(TURN_S, step=1), fx.AbstainSeat) == []


def test_who_is_well_or_has_not_looked_at_its_machine_yet_does_not() -> None:
    seat = Sitting()
    assert of(seat.until(QUARTER_S), fx.AbstainSeat) == []
    unseen = Sitting()
    unseen.machine.member.device, unseen.machine.member.measured = NO_DEVICE, False
    assert of(unseen.until(QUARTER_S), fx.AbstainSeat) == []


def test_who_has_committed_stays() -> None:
    seat = Sitting()
    seat.show()
    lose_engine(seat)
    assert of(seat.until(QUARTER_S), fx.AbstainSeat) == []
    assert seat.take(ev.DeadlinePassed(AbstainTimer(seat.case.batch_id, 0))) == []


def test_a_seat_does_not_step_down_twice_unless_the_first_time_was_too_early() -> None:
    seat = Sitting()
    lose_engine(seat)
    assert len(of(seat.at(EIGHTH_S), fx.AbstainSeat)) == 1
    moment = ev.DeadlinePassed(AbstainTimer(seat.case.batch_id, 0))
    assert seat.take(moment) == []
    seat.fail(fx.AbstainSeat, transient=False)
    assert of(seat.at(EIGHTH_S + 1), fx.AbstainSeat) == []
    seat.fail(fx.AbstainSeat)
    assert len(of(seat.at(EIGHTH_S + 2), fx.AbstainSeat)) == 1


def test_who_sits_no_more_asks_for_nothing_more() -> None:
    seat = Sitting()
    batch_id, node = seat.case.batch_id, seat.machine.identity.node_id
    seat.take(ev.SeatSilenced(batch_id, 0, node))
    assert seat.until(TURN_S) == []
    received = ev.MessageReceived(seat.provider.peer_id, seat.opening)
    assert seat.machine.judge(received, seat.now_ms) is None
    assert seat.own.seat is None


# --- small things -----------------------------------------------------------------------------------------------------
def test_a_node_is_asked_no_more_often_than_that() -> None:
    seat = Sitting()
    questions = of(seat.until(HALF_S - 1, step=1), fx.Send)
    assert all(isinstance(each.message, SampleQuery) for each in questions)
    assert len(questions) <= HALF_S * 1_000 // ASK_AGAIN_MS


@pytest.mark.parametrize("count", range(1, 10))
def test_a_path_shows_where_a_tree_ends(count: int) -> None:
    leaves = [SumNode(bytes([index]) * 32, index, 0, 0) for index in range(1, count + 1)]
    paths = {index: path(leaves, index) for index in range(count)}
    shown = {(index, other) for index in paths for other in range(20) if has_no_leaf(index, paths[index], other)}
    assert all(wanted >= count for _, wanted in shown)
    # The last leaf's own path shows that none follows it.
    assert {wanted for index, wanted in shown if index == count - 1} == set(range(count, 20))


def test_the_scene_is_what_it_says() -> None:
    seat = Sitting()
    assert (seat.own.seat, seat.case.case.drawn, seat.case.class_id) == (0, (0,), CLASS)
    assert seat.leaf.opening is None
    assert seat.machine.member.models.keys() == {MANIFEST.cid}
    assert BatchId(seat.opening.batch_id) == seat.case.batch_id


def test_a_receipt_that_its_client_has_not_signed_scores_zero_without_a_run() -> None:
    seat = Sitting()
    entry = seat.opening.entry
    assert entry.job is not None
    assert entry.job.receipt is not None
    # The leaf names the receipt alone, not its signature: this one is the client's, for the order.
    forged = dataclasses.replace(entry.job.receipt, signature=entry.job.signature)
    entry = dataclasses.replace(entry, job=dataclasses.replace(entry.job, receipt=forged))
    shown = dataclasses.replace(seat.opening, entry=entry)
    asked = seat.take(ev.MessageReceived(seat.provider.peer_id, shown))
    assert of(asked, fx.OpenSample) == []
    assert len(of(asked, fx.CommitSeat)) == 1
    assert (seat.leaf.score, seat.leaf.problem) == (0, "its client has not signed the receipt")
