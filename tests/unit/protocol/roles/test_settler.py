"""How finished jobs become batches: what the contract takes at once, and that nothing holds a lane up without end."""

import dataclasses

import pytest

from protocol.court.drawing import drawn_leaves
from protocol.effects import AwaitDeadline, ConveneCourt, Effect, ReplaceSeat, SealEpoch, SubmitBatch, about
from protocol.events import (
    BatchChallenged,
    BatchMined,
    BatchSubmitted,
    BlockSeen,
    CaseConvened,
    DeadlinePassed,
    EffectFailed,
    IntakeStopped,
    NodeSeen,
    SeatAdded,
    SeatCommitted,
    SeatRevealed,
    SeatSilenced,
    SeedRevealed,
    TransactionMined,
)
from protocol.params import (
    BATCH_AGE_MS,
    BATCH_JOBS,
    MAX_BATCH_LEAVES,
    MINE_WITHIN_MS,
    OPEN_VALUE_PER_STAKE,
    PROBATION_JOBS,
    RETRY_AFTER_DEADLINE_S,
    VCN,
)
from protocol.roles.settler.settler import LONGEST_REST_MS, SUBMIT_AGAIN_MS
from protocol.stages.assignment import CHECK_ORDERED, AssignmentOrder, job_id, verify_fee
from protocol.stages.commitment import (
    Batch,
    BatchContents,
    LaneDebit,
    LeafStatus,
    Receipt,
    Result,
    SettledJob,
    SignedReceipt,
    batch_id,
    leaf_of,
    unpaid_leaf,
)
from protocol.timers import BatchTimer
from protocol.wire.ids import BatchId, TimestampMs, Wei, checksum
from tests.simulation.scene import DOMAIN, RULES
from tests.support.jobs import sums_of
from tests.support.scenes.offers import NOW
from tests.support.scenes.provided_jobs import Deal

LATER = TimestampMs(NOW + 10_000)


class Books(Deal):
    """A provider whose jobs have ended, each without a receipt."""

    def __init__(self) -> None:
        super().__init__()
        self.lane(1_000 * VCN)
        self.owed = 0

    def probation(self, *, over: bool = False, stake: int | None = None) -> None:
        record = self.world.record(self.node)
        changed = dataclasses.replace(record, rate_bps=1_000 if over else 10_000)
        if stake is not None:
            changed = dataclasses.replace(changed, stake=Wei(stake))
        self.machine.handle(NodeSeen(changed), NOW)

    def end(
        self, index: int, status: LeafStatus = LeafStatus.OK, *, receipted: bool = False, checked: bool = False
    ) -> tuple[Effect, ...]:
        order = self.order(index, self.owed, **({"flags": CHECK_ORDERED} if checked else {}))
        self.owed = order.assignment.cumulative
        return self.settler.add(*self.papers(order, status, receipted=receipted), order, NOW)

    def papers(self, order: AssignmentOrder, status: LeafStatus, *, receipted: bool = False):
        job = job_id(order.assignment, DOMAIN)
        result = Result(job, bytes(32), bytes(32), bytes(32))
        receipt = Receipt(job, bytes(32), order.details.price, 1_000) if receipted else None
        signed = SignedReceipt(receipt, bytes(65)) if receipt else None
        leaf = leaf_of(order, result, 64, receipt) if status is LeafStatus.OK else unpaid_leaf(order.assignment, status)
        return leaf, SettledJob(job, order.assignment, order.details, order.signature, signed, result, bytes(32))

    def due(self, now: TimestampMs = LATER) -> SubmitBatch | None:
        asked = self.settler.handle(DeadlinePassed(BatchTimer()), now)
        return next((effect for effect in asked if isinstance(effect, SubmitBatch)), None)

    @property
    def settler(self):
        return self.machine.provider.settler


def leaves(submitted: SubmitBatch | None) -> int:
    assert submitted is not None
    return sum(claim.leaves for claim in submitted.batch.claims)


def refuse(books: Books, submitted: SubmitBatch, now: TimestampMs = LATER) -> None:
    books.settler.handle(EffectFailed(SubmitBatch, submitted.batch.root, "TooManyLeaves", False), now)


def test_on_probation_a_batch_has_no_more_leaves_than_the_contract_takes():
    books = Books()
    books.probation()
    for index in range(1, PROBATION_JOBS + 6):
        books.end(index)
    submitted = books.due()
    assert leaves(submitted) == PROBATION_JOBS
    assert submitted.batch.claims[0].jobs == PROBATION_JOBS


def test_after_probation_all_waiting_jobs_go_at_once():
    books = Books()
    books.probation(over=True, stake=100_000 * 10**18)
    for index in range(1, PROBATION_JOBS + 6):
        books.end(index)
    assert leaves(books.due()) == PROBATION_JOBS + 5
    assert PROBATION_JOBS + 5 < MAX_BATCH_LEAVES


def test_jobs_to_be_checked_go_into_batches_of_their_own():
    books = Books()
    books.probation(over=True, stake=100_000 * 10**18)
    for index in range(1, 7):
        books.end(index, receipted=True, checked=index in (3, 4))
    first = books.due()
    assert (first.batch.checked, leaves(first)) == (False, 2)
    made_final(books, first.batch)
    second = books.due()
    assert (second.batch.checked, leaves(second), second.batch.claims[0].jobs) == (True, 2, 4)
    charge = second.batch.price_sum
    assert sum(second.batch.debits) == charge + verify_fee(charge, checked=True) + second.batch.bonus_sum
    made_final(books, second.batch)
    third = books.due()
    assert (third.batch.checked, leaves(third)) == (False, 2)


def test_a_number_without_pay_rides_with_checked_jobs_as_with_any():
    books = Books()
    books.probation(over=True, stake=100_000 * 10**18)
    books.end(1, receipted=True, checked=True)
    books.end(2, LeafStatus.FAILED)
    books.end(4, receipted=True, checked=True)
    submitted = books.due()
    assert (submitted.batch.checked, leaves(submitted)) == (True, 4)


@pytest.mark.parametrize("receipted", [True, False])
def test_receipts_and_paid_checks_are_told_apart_each_by_itself(receipted: bool):
    books = Books()
    books.end(1, receipted=receipted, checked=True)
    submitted = books.due()
    assert (submitted.batch.checked, submitted.batch.unreceipted) == (True, not receipted)


def test_a_run_of_checked_jobs_is_cut_where_the_stake_does_not_cover_their_checks():
    books = Books()
    books.end(1, checked=True)
    (one,) = books.due().batch.debits
    books = Books()
    books.probation(stake=one * 3 * OPEN_VALUE_PER_STAKE)
    for index in range(1, 6):
        books.end(index, checked=True)
    assert leaves(books.due()) == 3


def test_a_batch_of_checked_jobs_takes_no_more_than_the_least_stake_but_for_a_single_job():
    books = Books()
    books.end(1, checked=True)
    (one,) = books.due().batch.debits
    for least_stake, taken in ((one * 3, 3), (one - 1, 1)):
        books = Books()
        books.probation(over=True, stake=one * 100)
        books.machine.member.rules = dataclasses.replace(RULES, min_stake=least_stake)
        for index in range(1, 6):
            books.end(index, checked=True)
        assert leaves(books.due()) == taken


def test_a_run_worth_more_than_the_stake_covers_is_cut_not_kept():
    books = Books()
    books.end(1)
    (one,) = books.due().batch.debits
    books = Books()
    books.probation(stake=one * 3 * OPEN_VALUE_PER_STAKE)
    for index in range(1, 6):
        books.end(index)
    assert leaves(books.due()) == 3


def test_jobs_without_pay_do_not_hold_up_a_paid_one_behind_them():
    books = Books()
    books.probation()
    for index in range(1, PROBATION_JOBS + 1):
        books.end(index, LeafStatus.CLIENT_FAULT)
    books.end(PROBATION_JOBS + 1)
    first = books.due()
    assert leaves(first) == PROBATION_JOBS
    assert (first.batch.price_sum, first.batch.ok_count, first.batch.max_leaf) == (0, 0, 0)


def test_jobs_without_pay_wait_for_a_paid_one():
    books = Books()
    books.probation()
    for index in range(1, PROBATION_JOBS):
        books.end(index, LeafStatus.CLIENT_FAULT)
    assert books.due() is None
    books.end(PROBATION_JOBS)
    assert leaves(books.due()) == PROBATION_JOBS


def test_a_refused_batch_is_made_again_from_the_same_jobs():
    books = Books()
    books.probation()
    for index in range(1, 4):
        books.end(index)
    first = books.due()
    refuse(books, first)
    assert books.due() is None
    again = books.due(TimestampMs(LATER + SUBMIT_AGAIN_MS))
    assert again.batch.root == first.batch.root


def rest_after_a_refusal(books: Books, submitted: SubmitBatch, now: TimestampMs) -> tuple[SubmitBatch, TimestampMs]:
    """The next try, and when it came, to the second."""
    refuse(books, submitted, now)
    while not (again := books.due(now)):
        now = TimestampMs(now + 1_000)
    return again, now


def test_batches_that_are_refused_again_and_again_are_tried_ever_less_often():
    books, now = Books(), LATER
    books.end(1)
    submitted, rests = books.due(), []
    for _ in range(4):
        submitted, then = rest_after_a_refusal(books, submitted, now)
        now, rests = then, [*rests, then - now]
    assert rests == [10_000, 20_000, 40_000, LONGEST_REST_MS]
    assert LONGEST_REST_MS < MINE_WITHIN_MS
    books.machine.handle(BatchMined(bytes(32), 0, 1, submitted.batch.root), now)
    books.end(2)
    again, then = rest_after_a_refusal(books, books.due(now), now)
    assert (again.batch.claims[0].jobs, then - now) == (2, SUBMIT_AGAIN_MS)


def late(books: Books) -> TimestampMs:
    """When a job without a receipt may be brought on chain no more."""
    return TimestampMs((books.order().details.deadline + RETRY_AFTER_DEADLINE_S) * 1_000)


def test_a_batch_without_receipts_says_when_it_is_too_late():
    books = Books()
    books.end(1)
    assert books.due().batch.mine_by * 1_000 == late(books)
    books = Books()
    books.end(1, receipted=True)
    assert books.due().batch.mine_by == 0


@pytest.mark.parametrize("profile", BATCH_AGE_MS)
def test_a_job_without_a_receipt_does_not_wait_for_others_until_it_is_too_late(profile: str):
    books = Books()
    books.settler.member.settings = dataclasses.replace(books.settler.member.settings, profile=profile)
    (receipted,) = books.end(1, receipted=True)
    assert receipted.at_ms == NOW + BATCH_AGE_MS[profile]
    sooner = [effect.at_ms for effect in books.end(2) if isinstance(effect, AwaitDeadline)]
    assert min([receipted.at_ms, *sooner]) <= late(books) - MINE_WITHIN_MS


def test_a_job_that_was_too_late_charges_nothing_and_keeps_its_place():
    books = Books()
    books.end(1)
    assert books.due(late(books)) is None
    books.end(2, receipted=True)
    submitted = books.due(late(books))
    assert submitted is not None
    (claim,) = submitted.batch.claims
    assert (claim.leaves, submitted.batch.ok_count, submitted.batch.mine_by) == (2, 1, 0)


def test_a_batch_that_came_too_late_is_made_again_without_its_late_jobs():
    books = Books()
    books.probation()
    books.end(1)
    first = books.due(TimestampMs(late(books) - 1))
    refuse(books, first)
    books.end(2, receipted=True)
    again = books.due(late(books))
    assert (again.batch.ok_count, again.batch.claims[0].leaves) == (1, 2)


@pytest.mark.parametrize("is_late", [False, True])
def test_a_receipt_that_comes_after_all_counts(is_late: bool):
    books = Books()
    order = books.order(1)
    books.settler.add(*books.papers(order, LeafStatus.OK), order, NOW)
    now = late(books) if is_late else TimestampMs(NOW + 1)
    assert books.due(now) is None
    wanted = books.settler.add(*books.papers(order, LeafStatus.OK, receipted=True), order, now)
    at_once = (effect for effect in wanted if isinstance(effect, SubmitBatch))
    submitted = next(at_once, None) or books.due(TimestampMs(now + 10_000))
    assert (submitted.batch.ok_count, submitted.batch.mine_by) == (1, 0)


def mined(books: Books, rate_bps: int) -> BatchId:
    """A batch of twenty leaves in block 100, final, its seed block over."""
    for index in range(1, PROBATION_JOBS + 1):
        books.end(index)
    return made_final(books, books.due().batch, rate_bps)


def made_final(books: Books, batch: Batch, rate_bps: int = 10_000) -> BatchId:
    name = batch_id(batch.node, batch.slot, 100)
    books.machine.handle(BlockSeen(120, 118, NOW // 1_000), LATER)
    books.machine.handle(BatchMined(name, batch.slot, 100, batch.root), LATER)
    debits = tuple(
        LaneDebit(claim.client, claim.signer, claim.leaves, debit, claim.jobs)
        for claim, debit in zip(batch.claims, batch.debits, strict=True)
    )
    final = BatchSubmitted(
        batch_id=name,
        node=batch.node,
        slot=batch.slot,
        class_id=batch.class_id,
        block=100,
        timestamp=NOW // 1_000,
        rate_bps=rate_bps,
        leaf_count=sum(claim.leaves for claim in batch.claims),
        unreceipted=batch.unreceipted,
        uncalibrated=batch.uncalibrated,
        checked=batch.checked,
        sums=sums_of(batch),
        contents=BatchContents(batch.root, batch.max_leaf, debits),
        lane_jobs=tuple(claim.jobs for claim in batch.claims),
    )
    books.machine.handle(final, LATER)
    return name


EPOCH = 100 // RULES.epoch
SEALED = TransactionMined(SealEpoch, about(SealEpoch(EPOCH)), 121)


def test_a_batch_of_which_everything_is_drawn_goes_to_court_as_soon_as_its_seed_is_mined():
    books = Books()
    name = mined(books, 10_000)
    asked = books.settler.handle(SEALED, LATER)
    assert [(type(effect), effect.batch_id) for effect in asked] == [(ConveneCourt, name)]


def test_a_batch_of_which_a_part_is_drawn_waits_until_its_seed_is_final():
    books = Books()
    name = mined(books, 5_000)
    assert books.settler.handle(SEALED, LATER) == ()
    asked = books.settler.handle(SeedRevealed(EPOCH, b"s" * 32), LATER)
    assert [(type(effect), effect.batch_id) for effect in asked] == [(ConveneCourt, name)]
    batch = books.machine.docket.batch(name)
    assert len(drawn_leaves(batch, b"s" * 32)) == PROBATION_JOBS // 2


def test_a_batch_that_was_challenged_goes_to_court_with_all_its_leaves():
    books = Books()
    name = mined(books, 5_000)
    books.settler.handle(SEALED, LATER)
    batch = books.settler.own.all[0].batch
    asked = books.machine.handle(BatchChallenged(name, batch.node, batch.claims[0].client, 3), LATER)
    assert [(type(effect), effect.batch_id) for effect in asked] == [(ConveneCourt, name)]
    assert drawn_leaves(books.machine.docket.batch(name), b"s" * 32) == tuple(range(PROBATION_JOBS))


def test_the_seal_of_another_epoch_convenes_nothing():
    books = Books()
    mined(books, 10_000)
    asked = books.settler.handle(TransactionMined(SealEpoch, about(SealEpoch(EPOCH + 1)), 121), LATER)
    assert asked == (SealEpoch(EPOCH),)


SEATED_S = NOW // 1_000
SCORES = (10_000,) * PROBATION_JOBS


def court(books: Books) -> BatchId:
    """A batch before three seats, as a node knows it that was restarted: no block was seen since."""
    name = mined(books, 10_000)
    books.machine.handle(SeedRevealed(EPOCH, b"s" * 32), LATER)
    seats = tuple(checksum("0x" + f"{number:02x}" * 20) for number in (1, 2, 3))
    drawn = tuple(range(PROBATION_JOBS))
    books.machine.handle(CaseConvened(name, books.node.address, 0, 1, drawn, seats, SEATED_S), LATER)
    books.machine.member.timestamp = 0
    return name


def replaced(books: Books, head: int, timestamp: int) -> list[int]:
    """The seats that the node wants replaced when it sees a block."""
    wanted = books.machine.handle(BlockSeen(head, head - 2, timestamp), LATER)
    return [effect.seat for effect in wanted if isinstance(effect, ReplaceSeat)]


def test_after_a_restart_no_seat_that_has_committed_is_asked_to_go():
    books = Books()
    name = court(books)
    for seat in (0, 2):
        books.machine.handle(SeatCommitted(name, seat), LATER)
    assert replaced(books, 200, SEATED_S + RULES.seat_window_s) == []
    assert replaced(books, 201, SEATED_S + RULES.seat_window_s + 1) == [1]


def test_after_a_restart_every_seat_has_a_whole_window_for_its_reveal():
    books = Books()
    name = court(books)
    for seat in range(3):
        books.machine.handle(SeatCommitted(name, seat), LATER)
    for seat in (0, 1):
        books.machine.handle(SeatRevealed(name, seat, books.node.address, SCORES, bytes(32)), LATER)
    back_s = SEATED_S + 10 * RULES.seat_window_s
    assert replaced(books, 200, back_s) == []
    assert replaced(books, 201, back_s + RULES.seat_window_s) == []
    assert replaced(books, 202, back_s + RULES.seat_window_s + 1) == [2]


def test_a_new_seat_gives_those_that_have_committed_time_to_wait_for_it():
    books = Books()
    name = court(books)
    for seat in range(3):
        books.machine.handle(SeatCommitted(name, seat), LATER)
    late_s = SEATED_S + RULES.seat_window_s + 1
    assert replaced(books, 200, SEATED_S) == []
    assert replaced(books, 201, late_s) == [0]
    books.machine.handle(SeatSilenced(name, 0, books.node.address), LATER)
    books.machine.handle(SeatAdded(name, 3, books.client.address, late_s), LATER)
    assert replaced(books, 202, late_s + RULES.seat_window_s) == []
    assert replaced(books, 203, late_s + RULES.seat_window_s + 1) == [3]


# --- a pause of the network -------------------------------------------------------------------------------------------
UNTIL_S = LATER // 1_000 + 3_600


def stop_intake(books: Books, until_s: int) -> list[Effect]:
    return list(books.settler.handle(IntakeStopped(until_s), LATER))


def pause(books: Books, until_s: int) -> None:
    books.machine.member.handle(IntakeStopped(until_s), LATER)


def test_batches_wait_for_the_end_of_a_pause_however_many_jobs_wait():
    books = Books()
    books.probation(over=True, stake=100_000 * 10**18)
    pause(books, UNTIL_S)
    for index in range(1, BATCH_JOBS + 6):
        assert not [each for each in books.end(index, receipted=True) if isinstance(each, SubmitBatch)]
    assert books.due() is None
    # The end is what it waits for, and is asked for once.
    assert (books.settler._due_ms, books.due(TimestampMs(UNTIL_S * 1_000 - 1))) == (UNTIL_S * 1_000, None)
    assert leaves(books.due(TimestampMs(UNTIL_S * 1_000))) == BATCH_JOBS + 5


def test_the_end_of_a_pause_sends_what_has_waited_long_enough():
    books = Books()
    books.probation()
    pause(books, UNTIL_S)
    books.end(1, receipted=True)
    assert stop_intake(books, UNTIL_S) == []
    pause(books, 0)
    (submitted,) = stop_intake(books, 0)
    assert leaves(submitted) == 1


def test_a_job_without_a_receipt_that_a_pause_outlasts_is_forgone_in_time():
    books = Books()
    books.probation()
    pause(books, UNTIL_S + 86_400)
    books.end(1)
    order = books.order(1, 0)
    late_ms = (order.details.deadline + RETRY_AFTER_DEADLINE_S) * 1_000
    assert books.settler._due_ms == late_ms
    books.settler.handle(DeadlinePassed(BatchTimer()), TimestampMs(late_ms - 1))
    assert books.settler.leaf_of(job_id(order.assignment, DOMAIN)).status == LeafStatus.OK
    books.settler.handle(DeadlinePassed(BatchTimer()), TimestampMs(late_ms))
    assert books.settler.leaf_of(job_id(order.assignment, DOMAIN)).status == LeafStatus.CLIENT_FAULT
