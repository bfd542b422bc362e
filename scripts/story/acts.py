"""The two acts: an honest job that is judged and paid, and a dishonest one that is caught, voided and refunded."""

from __future__ import annotations

from node.api.views import CaseView, JobView
from node.localnet.record import LocalnetRecord
from protocol.stages.assignment import order_total
from protocol.wire.ids import Wei
from scripts.story import books, cast, screen, stage

QUESTION = "What is the capital of France? Then explain in two sentences what photosynthesis is."
SECOND_QUESTION = "Write a short poem about the sea and the stars."
ATTEMPTS = 3
"""A busy machine may keep the better offer from coming in time."""
PASS_ABOVE = 9_500
FAIL_UP_TO = 8_500


def honest(record: LocalnetRecord, model: str) -> None:
    """A question of at most 1,024 tokens: worth three seats, one of them the cheat's."""
    screen.scene("Act 1: an honest job")
    before = books.read(record)
    screen.say(f"  {cast.REQUESTER} asks: {QUESTION}")
    job = stage.ask(record, cast.REQUESTER, _body(model, QUESTION, 1_024))
    screen.must(job.state == "spendable", f"the job of {job.tokens} tokens was paid")
    screen.must(stage.names(record)[job.node] == cast.HONEST, f"{cast.HONEST} did it")
    view = stage.case(record, cast.REQUESTER, job)
    _show_case(record, view)
    screen.must(len(view.seats) == 3, "three seats judged it")
    screen.must(all(seat.scores for seat in view.seats), "all of them said what they found")
    by_name = {stage.names(record)[seat.node]: min(seat.scores) for seat in view.seats}
    screen.must(by_name[cast.CHEAT] <= FAIL_UP_TO, f"{cast.CHEAT} sat in judgement and found {by_name[cast.CHEAT]}")
    screen.must(
        view.median_bps > PASS_ABOVE, f"it was outvoted: the median is {view.median_bps}, verdict {view.verdict}"
    )
    _show_bill(job, view)
    after = books.read(record)
    spent = _client_money(before) - _client_money(after)
    screen.must(
        spent == job.cost_wei, f"the client is {screen.vcn(spent)} VCN poorer: charge, fee and bonus, nothing else"
    )


def dishonest(record: LocalnetRecord, model: str) -> None:
    """A job of 64 tokens: one seat, which may only pass; then two more."""
    screen.scene("Act 2: a dishonest job")
    for _ in range(ATTEMPTS):
        before = books.read(record)
        screen.say(f"  {cast.REQUESTER} asks: {SECOND_QUESTION}")
        job = stage.ask(record, cast.REQUESTER, _body(model, SECOND_QUESTION, 64))
        if stage.names(record)[job.node] == cast.CHEAT:
            break
        screen.say(f"  {cast.CHEAT}'s offer came after the window: asked again")
    screen.must(stage.names(record)[job.node] == cast.CHEAT, f"{cast.CHEAT} outranked {cast.HONEST} by its stake")
    view = stage.case(record, cast.REQUESTER, job)
    _show_case(record, view)
    screen.must(view.drawn == (0,), "on probation every job is drawn")
    first = min(view.seats[0].scores)
    screen.must(first <= PASS_ABOVE and len(view.seats) == 3, f"its one seat found {first}: two more were seated")
    screen.must(view.median_bps <= FAIL_UP_TO, f"the median of three is {view.median_bps}: {view.verdict}")
    screen.must(job.state == "refunded", "the batch is void and refunded")
    after = books.read(record)
    lost = before.people[f"{cast.CHEAT}: stake"] - after.people[f"{cast.CHEAT}: stake"]
    screen.must(
        2 * lost == before.people[f"{cast.CHEAT}: stake"],
        f"{cast.CHEAT} lost half of its stake: {screen.vcn(lost)} VCN",
    )
    screen.must(_client_money(after) == _client_money(before), "the client has its money back")


def _body(model: str, question: str, max_new_tokens: int) -> dict[str, object]:
    messages = [{"role": "user", "content": question}]
    return {"model": model, "messages": messages, "max_new_tokens": max_new_tokens}


def _show_case(record: LocalnetRecord, view: CaseView) -> None:
    names = stage.names(record)
    screen.say(f"\n  case {view.id[:8]} about {names[view.node]}: {len(view.drawn)} of {view.leaf_count} leaves drawn")
    rows = [(str(seat.seat), names[seat.node], seat.state, ", ".join(map(str, seat.scores))) for seat in view.seats]
    screen.table(("seat", "node", "state", "scores"), rows)
    screen.say(f"  median {view.median_bps}, verdict: {view.verdict}\n")


def _show_bill(job: JobView, view: CaseView) -> None:
    """The split of the order's money; it must add up to the wei."""
    fee_and_charge = job.charge_wei + job.fee_wei
    signed = order_total(Wei(job.price_wei), with_bonus=True)
    rows = [
        ("signed by the client", screen.vcn(signed)),
        ("  charge", screen.vcn(job.charge_wei)),
        ("  verify fee", screen.vcn(job.fee_wei)),
        ("  bonus", screen.vcn(job.bonus_wei)),
        ("  returned to its lane", screen.vcn(signed - job.cost_wei)),
        ("paid to the node", screen.vcn(view.reward_wei)),
        ("bonus to the node", screen.vcn(view.bonus_wei)),
        ("burned", screen.vcn(view.burned_wei)),
        ("pooled, for the seats", screen.vcn(view.pooled_wei)),
    ]
    screen.table(("the bill", "VCN"), rows)
    parts = view.reward_wei + view.burned_wei + view.pooled_wei
    screen.must(parts == fee_and_charge and view.bonus_wei == job.bonus_wei, "every wei of it is accounted for")


def _client_money(books_: books.Books) -> int:
    return sum(books_.people[f"{cast.REQUESTER}: {what}"] for what in ("account", "lanes", "wallets"))
