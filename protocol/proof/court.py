"""The court: the draw from the seed, who sat, what each seat was bound to, and the verdict that its scores give."""

from collections.abc import Iterator

from protocol.judging.margins import MAX_LLR_MILLINATS, MOST_A_CASE, RUNNING_ALARM, median_llr
from protocol.params import BPS, FULL_BENCH, LARGEST_BENCH, MAX_BATCH_LEAVES, SCORE_MAX
from protocol.proof.check import Check, CheckOutcome, absent, compared
from protocol.proof.file import BatchPaper, CasePaper, DrawPaper, Finding, Listed, Place, Proof, SeatPaper
from protocol.stages.sampling import ListSlot, batch_seed, draw_order, draw_samples, epoch_of, seed_block
from protocol.stages.verdict import is_spread, median_of, verdict_of
from protocol.stages.verification import Verdict, seat_commitment
from protocol.wire.ids import Address, BatchId

TICKETS_PER_SEAT = 64
MAX_SEATS = 255
"""Seats are numbered in a byte."""
NOT_DRAWN_YET = "the seed of its epoch is not sealed yet: it is unknown what will be checked"
NOBODY_JUDGED = "no leaf of the batch was drawn, so no seat judged it"
NOT_CONVENED = "leaves were drawn, and no court was convened yet"
NOT_DECIDED = "the court has not decided yet"
COURT_CHECKS = ("seats drawn", "seats bound", "scores", "margins", "verdict")


def check_court(proof: Proof) -> Iterator[Check]:
    """The draw and the case."""
    batch, draw, case = proof.batch, proof.draw, proof.case
    if batch is None or draw is None:
        yield from (absent(name, NOT_DRAWN_YET) for name in ("seed", "leaves drawn"))
    else:
        yield _seed(batch, draw, proof.place)
        yield _leaves(batch, draw)
    if batch is None or draw is None or case is None:
        words = NOT_DRAWN_YET if draw is None else NOT_CONVENED if draw.leaves else NOBODY_JUDGED
        yield from (absent(name, words) for name in COURT_CHECKS)
        return
    if len(case.seats) > MAX_SEATS:
        yield from (compared(name, False, "", "no case has so many seats") for name in COURT_CHECKS)
        return
    yield _seats(proof, batch, draw, case)
    yield _bound(batch, case)
    yield _scores(draw, case)
    yield _margins(case)
    yield _verdict(batch, case)


# --- the draw -------------------------------------------------------------------------------------------------------
def _seed(batch: BatchPaper, draw: DrawPaper, place: Place) -> Check:
    if not place.epoch_blocks:
        return compared("seed", False, "", "an epoch has no blocks")
    wanted = seed_block(draw.epoch, place.epoch_blocks, place.lag_blocks)
    right = draw.seed_block > wanted if draw.rearmed else draw.seed_block == wanted
    return compared(
        "seed",
        right and draw.epoch == epoch_of(batch.block, place.epoch_blocks),
        f"the hash of block {draw.seed_block}, which came after epoch {draw.epoch} with the batch in it",
        f"block {draw.seed_block} does not seal the epoch of block {batch.block}",
    )


def _leaves(batch: BatchPaper, draw: DrawPaper) -> Check:
    rated = batch.rate_bps and not BPS % batch.rate_bps and draw.rate_bps in (batch.rate_bps, BPS)
    if not rated or not 0 < batch.leaf_count <= MAX_BATCH_LEAVES:
        return compared("leaves drawn", False, "", f"nothing is drawn at a rate of {draw.rate_bps} basis points")
    drawn = draw_samples(batch_seed(draw.seed, BatchId(batch.batch_id)), batch.leaf_count, draw.rate_bps)
    raised = ", raised by a challenge or an accusation" if draw.rate_bps != batch.rate_bps else ""
    return compared(
        "leaves drawn",
        drawn == draw.leaves,
        f"{len(drawn)} of {batch.leaf_count} by the seed, at {draw.rate_bps / 100:g} %{raised}",
        f"the seed draws {list(drawn)[:8]}, and the file has {list(draw.leaves)[:8]}",
    )


# --- the bench ------------------------------------------------------------------------------------------------------
def _seats(proof: Proof, batch: BatchPaper, draw: DrawPaper, case: CasePaper) -> Check:
    if case.verifiers is None:
        return absent("seats drawn", "the list of verifiers, which is too long for a file or was not at hand")
    if case.proven and not case.seats:
        return Check("seats drawn", CheckOutcome.OK, "no seat was needed: code alone has condemned the batch")
    order = _order(proof, batch, draw, case.verifiers, len(case.seats))
    first = case.seats if case.first_seat is None else case.seats[: case.first_seat]
    second = () if case.first_seat is None else case.seats[case.first_seat :]
    fresh = [seat.node for seat in second if seat.node not in {each.node for each in first}]
    again = [seat.node for seat in second if seat.node in {each.node for each in first}]
    sat = [*(seat.node for seat in first), *fresh]
    heard = {seat.node for seat in first if seat.scores is not None}
    return compared(
        "seats drawn",
        sat == order[: len(sat)] and set(again) <= heard and (not again or len(second) <= LARGEST_BENCH),
        f"{len(case.seats)} of {len(case.verifiers)} verifiers, by the same seed and in its order",
        "the seed draws others from the list of verifiers",
    )


def _order(proof: Proof, batch: BatchPaper, draw: DrawPaper, listed: tuple[Listed, ...], seats: int) -> list[Address]:
    parties = _parties(batch, draw)
    own = proof.worker.owner
    excluded = {each.node for each in listed if each.owner == own or parties & {each.node, each.owner, each.operator}}
    slots = [ListSlot(each.node, each.from_block, each.until_block, each.weight_bps) for each in listed]
    seed, name = batch_seed(draw.seed, BatchId(batch.batch_id)), BatchId(batch.batch_id)
    tickets = TICKETS_PER_SEAT * max(seats, 1)
    return draw_order(seed, name, batch.block, slots, frozenset(excluded), tickets)


def _parties(batch: BatchPaper, draw: DrawPaper) -> set[Address]:
    """Clients and signers who pay for drawn leaves. A debit of nothing makes no party."""
    parties: set[Address] = set()
    end = 0
    for debit in batch.contents.debits:
        first, end = end, end + debit.leaves
        if debit.amount and any(first <= leaf < end for leaf in draw.leaves):
            parties |= {debit.client, debit.signer}
    return parties


def _bound(batch: BatchPaper, case: CasePaper) -> Check:
    shown = [(seat, number) for number, seat in enumerate(case.seats) if seat.scores is not None]
    if not shown:
        return absent("seats bound", "no seat has shown what it had bound itself to")
    if any(seat.digest is None or seat.commitment is None for seat, _ in shown):
        return compared("seats bound", False, "", "a seat has scores and had bound itself to nothing")
    opened = [(seat, number) for seat, number in shown if seat.salt is not None]
    wrong = [number for seat, number in opened if not _opens(batch, case, seat, number)]
    hidden = len(shown) - len(opened)
    return compared(
        "seats bound",
        not wrong,
        f"{len(opened)} opened what they had bound themselves to" + (f"; {hidden} without a salt here" * bool(hidden)),
        f"seat {wrong[0] if wrong else ''} has not opened what it had bound itself to",
    )


def _opens(batch: BatchPaper, case: CasePaper, seat: SeatPaper, number: int) -> bool:
    assert seat.digest is not None
    assert seat.salt is not None
    llr_millinats = seat.llr_millinats or 0
    if abs(llr_millinats) > MAX_LLR_MILLINATS:
        return False
    round_number = int(case.first_seat is not None and number >= case.first_seat)
    name = BatchId(batch.batch_id)
    return seat.commitment == seat_commitment(name, round_number, number, seat.digest, seat.salt, llr_millinats)


def _scores(draw: DrawPaper, case: CasePaper) -> Check:
    shown = [seat.scores for seat in case.seats if seat.scores is not None]
    if not shown:
        return absent("scores", "no seat has shown any yet")
    right = all(len(scores) == len(draw.leaves) and max(scores, default=0) <= SCORE_MAX for scores in shown)
    lowest = ", ".join(str(min(scores)) for scores in shown if scores)
    return compared(
        "scores",
        right and all(shown),
        f"one a drawn leaf; the lowest of each seat: {lowest}",
        "a seat has not one score from 0 to 10000 for every drawn leaf",
    )


def _margins(case: CasePaper) -> Check:
    """The ratio of the last bench against the ratio that the case counted; the sums are the chain's."""
    counted = case.margin
    if counted is None:
        return absent("margins", "the case has counted none: it did not pass, or they say nothing of its node")
    # A bench that did not pass the batch counts nothing, so the one before it may have been the last to.
    benches = (
        (case.seats,) if case.first_seat is None else (case.seats[: case.first_seat], case.seats[case.first_seat :])
    )
    said = {_said(bench) for bench in benches}
    return compared(
        "margins",
        counted.llr_millinats in said and max(counted.told, counted.confirmed) <= RUNNING_ALARM,
        f"{counted.llr_millinats} millinats, to {counted.confirmed} of {RUNNING_ALARM} over the node's cases",
        f"the case counted {counted.llr_millinats} millinats, and its seats said {sorted(said)}",
    )


def _said(bench: tuple[SeatPaper, ...]) -> int:
    """The ratio of a bench, as far as it counts."""
    return min(median_llr([seat.llr_millinats or 0 for seat in bench if seat.scores]), MOST_A_CASE)


def _is_alarm(case: CasePaper) -> bool:
    """Whether the node was condemned by what its margins add up to."""
    return case.margin is not None and case.margin.confirmed >= RUNNING_ALARM


# --- the verdict ----------------------------------------------------------------------------------------------------
def _verdict(batch: BatchPaper, case: CasePaper) -> Check:
    if case.verdict is None or case.median is None:
        return absent("verdict", _waits(case))
    if any(seat.scores is not None and not seat.scores for seat in case.seats):
        return compared("verdict", False, "", "a seat has shown no scores")
    ends = {(_softened(batch, case, verdict), median) for verdict, median in _ends(case)}
    word = f"{case.verdict.name.lower()} at a median of {case.median}"
    ways = " or ".join(sorted(f"{verdict.name.lower()} at {median}" for verdict, median in ends))
    if not _is_found_right(case):
        return compared("verdict", False, "", "the first seats' scores give no reason for the case to go on as it did")
    return compared(
        "verdict",
        (case.verdict, case.median) in ends,
        f"{word}: above 9500 passes, 8500 and below fails",
        f"{word}, where the seats' scores give {ways or 'none'}",
    )


def _waits(case: CasePaper) -> str:
    if case.demanded and not case.answered:
        return "it waits for what a seat has asked the node to show on chain"
    if case.arbiters:
        return "it waits for the arbiters"
    if case.found is not None and case.first_seat is None:
        return "a finding of fraud waits for an appeal"
    return NOT_DECIDED


def _softened(batch: BatchPaper, case: CasePaper, verdict: Verdict) -> Verdict:
    """Without constants noise is no fraud; what code has proved is no noise."""
    noisy = batch.uncalibrated and not case.proven and verdict in (Verdict.SEVERE, Verdict.SHORT)
    return Verdict.REVIEW if noisy else verdict


def _ends(case: CasePaper) -> Iterator[tuple[Verdict, int]]:
    """How the case may have ended by what its seats showed; which of several depends on when somebody ended it."""
    if case.proven:
        yield Verdict.SEVERE, 0
        return
    ends = list(_first_round(case) if case.first_seat is None else _second_round(case))
    yield from ends
    if case.arbiters:
        yield from ((Verdict.PASS, median) for verdict, median in ends if verdict is Verdict.REVIEW)
    if case.demanded and not case.answered:
        found = case.found or Finding(Verdict.NONE, 0)
        yield (Verdict.SEVERE if found.verdict is Verdict.SEVERE else Verdict.WITHHELD), found.median


def _first_round(case: CasePaper) -> Iterator[tuple[Verdict, int]]:
    lows, median = _lows(case.seats), median_of(_lows(case.seats))
    if case.found is not None:
        yield case.found.verdict, case.found.median
        return
    if lows and not _waits_for_seats(case.seats):
        # Fewer than three can only pass.
        decided = len(lows) >= FULL_BENCH or verdict_of(median) is Verdict.PASS
        yield (_found(case, median) if decided else Verdict.SHORT), median
    # It was never ended, or no verifier was there: an unconfirmed doubt is not dropped.
    lowest = min(lows, default=0)
    yield (Verdict.SHORT if lows and verdict_of(lowest) is not Verdict.PASS else Verdict.STARVED), lowest


def _second_round(case: CasePaper) -> Iterator[tuple[Verdict, int]]:
    seats = case.seats[case.first_seat :]
    lows, median = _lows(seats), median_of(_lows(seats))
    waits, found = _waits_for_seats(seats), case.found
    if len(lows) >= FULL_BENCH and not (waits and found and verdict_of(median) <= found.verdict):
        yield _found(case, median), median
    elif found is not None:
        yield found.verdict, found.median


def _found(case: CasePaper, median: int) -> Verdict:
    """The finding of a bench: fraud also where every score passes and the margins of many cases add up to too much."""
    verdict = verdict_of(median)
    return Verdict.SEVERE if verdict is Verdict.PASS and _is_alarm(case) else verdict


def _lows(seats: tuple[SeatPaper, ...]) -> list[int]:
    """A seat's score is that of its worst leaf."""
    return [min(seat.scores) for seat in seats if seat.scores]


def _waits_for_seats(seats: tuple[SeatPaper, ...]) -> bool:
    return any(seat.scores is None and not seat.silent for seat in seats)


def _is_found_right(case: CasePaper) -> bool:
    """Whether what the first round is said to have found, before the case went on, is what its seats give."""
    if case.found is None:
        return case.first_seat is None or case.proven
    lows = _lows(case.seats[: case.first_seat])
    by_margins = case.found.verdict is Verdict.SEVERE and case.margin is not None
    expected = {verdict_of(median_of(lows))} | ({Verdict.SEVERE} if by_margins else set())
    if case.found.verdict not in expected or case.found.median != median_of(lows):
        return False
    grown = case.first_seat is not None
    return not grown or case.appealed or case.found.verdict is Verdict.REVIEW or is_spread(lows)
