"""Dishonest seats. Each sits where its row needs it; the dice see to that."""

from __future__ import annotations

from collections.abc import Sequence

from chain.contracts.audits import AuditSeen
from node.api.views import CaseView, JobView
from protocol.params import BPS, FULL_BENCH, NO_SHOW_BPS
from protocol.wire.ids import Address, BatchId
from tests.adversaries import crooks
from tests.adversaries.arena import Bend, Part
from tests.adversaries.dice import Wish
from tests.adversaries.providers import SYNDICATE
from tests.adversaries.row import Row, Stage

COURT_PRICE = 200
"""VCN of 1,000 tokens: so dear that a job of eight is worth three seats."""
LIE_DIVISOR = 20
"""Of its stake, what a seat loses that an audit has caught."""
SILENT = "its turn passes, another one is seated and the job is paid; the seat has lost half a percent of its stake"


def seat(*bends: Bend, owner: str = SYNDICATE) -> Part:
    """A dishonest seat."""
    return Part("verifier", owner=owner, bend=crooks.both(*bends))


def host(length: int, price: int = 10) -> Part:
    """An honest provider whose job the seat judges."""
    return Part("provider", honest=True, price=price, bend=crooks.only(length))


def accomplice(length: int, price: int = 10, owner: str = "") -> Part:
    """A provider that hands in another job's answer, for the seat to let it pass."""
    return Part("provider", price=price, owner=owner, bend=crooks.only(length), find=crooks.forging(crooks.Copier))


def alone(stage: Stage) -> None:
    """Have the row's seat judge its provider's job as the only one, and audit it."""
    crook, other = (stage.member(name).address for name in stage.row.cast)
    stage.arena.dice.wishes[other] = Wish(lambda order: order[:1] == [crook], is_audited=True)


def of_three(stage: Stage, also_honest: int) -> None:
    """Have it judge as one of three, and let so many seats that may come after them be honest."""
    crook, other = (stage.member(name).address for name in stage.row.cast)

    def bench(order: Sequence[Address]) -> bool:
        crooked = [node for node in order[: 3 + also_honest] if node in stage.arena.dice.crooked]
        return crooked == [crook] and crook in order[:3]

    stage.arena.dice.wishes[other] = Wish(bench)


async def drawn(stage: Stage) -> JobView:
    """A job of the row, once its court is there."""
    async with stage.arena.bench:
        return await stage.arena.until(await stage.ask(), lambda view: view.ended or view.state == "drawn")


async def passed(stage: Stage) -> JobView:
    """A job of the row that its one seat lets pass."""
    job = await drawn(stage)
    job = await stage.arena.until(job.id, lambda view: view.ended or view.state in ("passed", "failed"))
    case = await stage.arena.case(job)
    assert len(case.seats) == 1
    assert scores(stage, job, case) == {stage.member().address: BPS}
    assert job.state == "passed"
    return job


def scores(stage: Stage, job: JobView, case: CaseView) -> dict[str, int]:
    """The score of the job's own leaf by each seat; a seat that was replaced gave none."""
    place = case.drawn.index(stage.arena.leaf_of(job))
    return {seat.node: seat.scores[place] for seat in case.seats if seat.scores}


async def audited(stage: Stage, job: JobView) -> AuditSeen:
    """The audit of its case, once it is over."""
    network, name = stage.arena.ledger.network, BatchId(bytes.fromhex(job.batch_id))

    async def over() -> bool:
        return (await network.audits.audit_of(name)).ended

    await stage.arena.until_true(over)
    head, _ = await stage.arena.ledger.now()
    return next(seen for seen in await network.audits.seen(0, head) if seen.batch_id == name)


async def require_fined(stage: Stage) -> None:
    """The seat has lost what a lie costs."""
    assert await stage.slashed() * LIE_DIVISOR == stage.arena.before[stage.member().party.name].stake


async def caught_over_honest_work(stage: Stage) -> int:
    alone(stage)
    job = await passed(stage)
    audit = await audited(stage, job)
    assert (audit.caught, audit.fraud) == ((0,), False)
    await require_fined(stage)
    stage.rest()
    assert (await stage.arena.ended(job.id)).state == "spendable"
    return 0


async def caught_with_its_provider(stage: Stage) -> int:
    alone(stage)
    job = await passed(stage)
    audit = await audited(stage, job)
    assert (audit.caught, audit.fraud) == ((0,), True)
    await require_fined(stage)
    ended = await stage.arena.ended(job.id)
    assert (ended.state, ended.cost_wei) == ("refunded", 0)
    _, provider = stage.row.cast
    assert await stage.slashed(provider) * 2 == stage.arena.before[provider].stake
    return 0


async def outvoted(stage: Stage) -> int:
    of_three(stage, also_honest=2)
    job = await stage.arena.ended((await drawn(stage)).id)
    case = await stage.arena.case(job)
    assert (job.state, job.cost_wei, case.verdict) == ("refunded", 0, "severe")
    # Three that differ so much call for a larger bench: two more, and those who sat.
    assert len(case.seats) == FULL_BENCH + FULL_BENCH + 2
    by = scores(stage, job, case)
    assert by.pop(stage.member().address) == BPS
    assert max(by.values()) <= 8_500
    _, provider = stage.row.cast
    assert await stage.slashed(provider) * 2 == stage.arena.before[provider].stake
    return 0


async def require_replaced(stage: Stage, job: JobView) -> CaseView:
    """The job is paid though a seat stayed silent, which costs the seat."""
    case = await stage.arena.case(job)
    assert (job.state, case.verdict) == ("spendable", "pass")
    silent = [one.node for one in case.seats if one.state == "silent"]
    assert (silent, len(case.seats)) == ([stage.member().address], 4)
    before = stage.arena.before[stage.member().party.name].stake
    assert await stage.slashed() == before * NO_SHOW_BPS // BPS
    return case


async def silent_for_a_turn(stage: Stage) -> int:
    of_three(stage, also_honest=1)
    job = await drawn(stage)
    stage.rest()
    await require_replaced(stage, await stage.arena.ended(job.id))
    return 0


async def says_it_was_shown_nothing(stage: Stage) -> int:
    """It demands on chain what it was sent at once; the node shows it to everybody, and is not hurt."""
    of_three(stage, also_honest=1)
    crook, network = stage.member(), stage.arena.ledger.network
    job = await drawn(stage)
    name = BatchId(bytes.fromhex(job.batch_id))
    seats = [one.node for one in await network.court.seats_of(name)]
    sender = crook.up.parts.chain.sender_of(crook.address)
    key = crook.up.parts.machine.member.hpke_key
    await sender.send(network.court.demand_data(name, seats.index(crook.address), 0, key))
    stage.rest()
    await require_replaced(stage, await stage.arena.ended(job.id))
    head, _ = await stage.arena.ledger.now()
    answered = await network.court.entries("DataAnswered", 0, head)
    assert name in [entry.values[0] for entry in answered]
    return 0


ROWS = [
    Row(
        "absent",
        "a seat that is not there",
        SILENT,
        "half a percent of its stake",
        8,
        {"absent": seat(crooks.absent), "absent-host": host(8, COURT_PRICE)},
        silent_for_a_turn,
    ),
    Row(
        "copied-commitment",
        "a seat that computes nothing and commits to what another seat has committed to",
        "it cannot open what it has bound itself to: " + SILENT,
        "half a percent of its stake",
        9,
        {"copied-commitment": seat(crooks.parrot), "copied-host": host(9, COURT_PRICE)},
        silent_for_a_turn,
    ),
    Row(
        "unavailability-liar",
        "a seat that says it was shown nothing, demands it on chain, and stays silent",
        "the node shows it on chain; " + SILENT,
        "half a percent of its stake",
        14,
        {"unavailability-liar": seat(crooks.deaf(crooks.shown_nothing)), "liar-host": host(14, COURT_PRICE)},
        says_it_was_shown_nothing,
    ),
    Row(
        "lazy",
        "a seat that runs nothing and finds honest work perfect",
        "the job is paid; an audit finds that the seat has not computed: a twentieth of its stake is gone",
        "a twentieth of its stake",
        15,
        {"lazy": seat(crooks.lazy, crooks.always_passes), "lazy-host": host(15)},
        caught_over_honest_work,
    ),
    Row(
        "always-passes",
        "a seat that runs nothing and lets a fraud pass",
        "an audit condemns the node, half of its stake, and fines the seat; the client has its money back",
        "a twentieth of its stake, the node half of its own",
        17,
        {"always-passes": seat(crooks.lazy, crooks.always_passes), "passed-fraud": accomplice(17)},
        caught_with_its_provider,
    ),
    Row(
        "bribed",
        "a seat that computes as it should and lets its accomplice's fraud pass",
        "an audit condemns the node, half of its stake, and fines the seat; the client has its money back",
        "a twentieth of its stake, the node half of its own",
        19,
        {"bribed": seat(crooks.always_passes), "briber": accomplice(19)},
        caught_with_its_provider,
    ),
    Row(
        "colluder",
        "one seat of three that lets its accomplice's fraud pass",
        "three that differ call for a larger bench, which finds it severe: half of the accomplice's stake is gone",
        "the accomplice half of its stake",
        21,
        # By its owner no other dishonest seat may judge the accomplice, so a larger bench is of honest ones.
        {"colluder": seat(crooks.always_passes, owner=""), "colluding": accomplice(21, COURT_PRICE, SYNDICATE)},
        outvoted,
    ),
]
