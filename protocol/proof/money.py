"""The money, and the order in which the chain tells of the batch."""

from collections.abc import Iterator

from protocol.proof.check import Check, absent, compared
from protocol.proof.file import BatchPaper, CasePaper, PayPaper, Proof, Step
from protocol.stages.settlement import split
from protocol.stages.verification import Verdict

NOT_PAID = "the batch is neither paid nor given back yet"
PHASES = ("BatchSubmitted", "EpochSealed", "CaseConvened", "SeatCommitted", "SeatRevealed", "CaseResolved")


def check_money(proof: Proof) -> Iterator[Check]:
    """How the charges were split, or given back, and the steps of the batch on the chain."""
    batch, pay = proof.batch, proof.pay
    if batch is None or pay is None or (pay.price is None and pay.refunded is None):
        yield absent("money", NOT_PAID)
    else:
        yield _money(batch, pay, proof.case)
    yield _steps(proof)


def _money(batch: BatchPaper, pay: PayPaper, case: CasePaper | None) -> Check:
    verdict = case.verdict if case else None
    if pay.refunded is not None:
        back = _refunds(batch)
        part = "all that was locked" if pay.refunded == back[0] else "all but the fee of a check that was ordered"
        return compared(
            "money",
            pay.refunded in back and verdict is not Verdict.PASS and pay.price is None,
            f"{pay.refunded} wei are back with the clients, {part}",
            f"{pay.refunded} wei went back, {' or '.join(map(str, back))} were due, at {_word(verdict)}",
        )
    sums = batch.sums
    paid = split(sums.charge, batch.fee, sums.bonus, batch.score)
    said = (pay.price, pay.burned, pay.reward, pay.bonus, pay.pooled)
    return compared(
        "money",
        said == (sums.charge, paid.burned, paid.reward, paid.bonus, paid.pooled) and verdict in (None, Verdict.PASS),
        f"{sums.charge} wei: {paid.burned} burned, {paid.reward + paid.bonus} to the node, {paid.pooled} to the pool",
        f"a score of {batch.score} splits {sums.charge} wei otherwise, or nothing is paid at {_word(verdict)}",
    )


def _refunds(batch: BatchPaper) -> list[int]:
    """The refund of a void batch: all, or all but the fee of a check that was ordered and made."""
    amounts = [debit.amount for debit in batch.contents.debits]
    locked = sum(amounts)
    if not batch.checked or not locked:
        return [locked]
    return [locked, sum(amount - amount * batch.fee // locked for amount in amounts)]


def _word(verdict: Verdict | None) -> str:
    return verdict.name.lower() if verdict else "no verdict"


def _steps(proof: Proof) -> Check:
    steps, batch = proof.steps, proof.batch
    if steps is None or batch is None:
        return absent("steps", "no transaction of the batch is known yet")
    wrong = _unordered(steps) or _missing(proof, batch, steps)
    return compared("steps", not wrong, f"{len(steps)} logs from block {steps[0].block if steps else 0} on", wrong)


def _unordered(steps: tuple[Step, ...]) -> str:
    blocks = [step.block for step in steps]
    if blocks != sorted(blocks):
        return "they are not in the order of their blocks"
    firsts = [at for phase in PHASES if (at := _first(steps, phase)) is not None]
    if firsts != sorted(firsts):
        return f"a step comes before one that it follows: {', '.join(PHASES)}"
    return ""


def _missing(proof: Proof, batch: BatchPaper, steps: tuple[Step, ...]) -> str:
    """Claims of the other parts without a step, and the reverse."""
    wanted = {**_told_by_case(proof.case), **_told_by_rest(proof)}
    for event, count in wanted.items():
        if sum(step.event == event for step in steps) != count:
            return f"the other parts of the file want {event} {count} times among the steps"
    decided, draw = proof.case is not None and proof.case.verdict is not None, proof.draw
    counted = proof.case is not None and proof.case.margin is not None
    if decided != (_first(steps, "CaseResolved") is not None):
        return "a verdict and its log belong together"
    if counted != (_first(steps, "MarginCounted") is not None):
        return "counted margins and their log belong together"
    if steps[0].event != "BatchSubmitted" or steps[0].block != batch.block:
        return "the batch was not submitted where it says"
    sealed = _first(steps, "EpochSealed")
    if draw is not None and sealed is not None and steps[sealed].block <= draw.seed_block:
        return "the seed was kept before its block was there"
    return ""


def _told_by_case(case: CasePaper | None) -> dict[str, int]:
    """How often logs of the court are to be there."""
    seats = case.seats if case else ()
    return {
        "CaseConvened": int(bool(seats)),
        "SeatCommitted": sum(seat.commitment is not None for seat in seats),
        "SeatRevealed": sum(seat.scores is not None for seat in seats),
        "SeatReplaced": sum(seat.silent for seat in seats),
        "CaseGrown": int(case is not None and case.first_seat is not None),
        "CaseAppealed": int(case is not None and case.appealed),
        "PanelCalled": int(case is not None and case.arbiters),
        "DataDemanded": int(case is not None and case.demanded),
        "DataAnswered": int(case is not None and case.answered),
    }


def _told_by_rest(proof: Proof) -> dict[str, int]:
    """How often each of the other logs must be there."""
    pay, draw = proof.pay, proof.draw
    return {
        "BatchSubmitted": 1,
        "EpochSealed": int(draw is not None),
        "EpochRearmed": int(draw is not None and draw.rearmed),
        "BatchFinal": int(pay is not None and pay.price is not None),
        "BatchRefunded": int(pay is not None and pay.refunded is not None),
    }


def _first(steps: tuple[Step, ...], event: str) -> int | None:
    return next((at for at, step in enumerate(steps) if step.event == event), None)
