"""Dishonest providers."""

from __future__ import annotations

from node.api.views import JobView
from node.daemon.runner import FindRunner, find_docker
from protocol.effects import AnswerDemand
from protocol.stages.commitment import ResultDelivery, TokenFrame
from protocol.stages.verification import FingerprintOpening, SampleOpening
from tests.adversaries import crooks
from tests.adversaries.arena import Bend, Part
from tests.adversaries.clients import SOON_MS
from tests.adversaries.row import Row, Stage

SYNDICATE = "syndicate"
"""The owner of the dishonest providers and the dishonest seats: so none of these may judge any of those."""
CONDEMNED = "a seat doubts and two more agree: severe; half of its stake is gone, the client has its money back"
FAIL_UP_TO = 8_500


def worker(length: int, *bends: Bend, find: FindRunner = find_docker) -> Part:
    """A dishonest node that works."""
    return Part("provider", owner=SYNDICATE, bend=crooks.both(*bends, crooks.only(length)), find=find)


async def condemned(stage: Stage) -> int:
    """A job that its court finds to be another's than the model's."""
    job, case = await stage.done()
    assert (job.node, job.state) == (stage.member().address, "refunded")
    assert (case.verdict, len(case.seats)) == ("severe", 3)
    assert max(score for seat in case.seats for score in seat.scores) <= FAIL_UP_TO
    assert await stage.slashed() * 2 == stage.arena.before[stage.member().party.name].stake
    assert job.cost_wei == 0
    return 0


async def streamed(stage: Stage, job: str) -> tuple[str, JobView]:
    """The streamed tokens, and the job once its answer is here."""
    said = ""
    async with stage.arena.client.backend.follow(job) as updates:
        async for update in updates:
            said += update.text
            if update.job is not None and update.job.state == "delivered":
                return said, update.job
    raise AssertionError(f"it ended without an answer: {said}")


async def babbled(stage: Stage) -> int:
    """The client's node shows at the end what was committed to, not what was streamed."""
    said, answered = await streamed(stage, await stage.ask())
    word = said.strip()[:1]
    assert said.strip(word + " ") == "" != word
    assert answered.text.strip(word + " ") != ""
    stage.rest()
    paid = await stage.arena.ended(answered.id)
    case = await stage.arena.case(paid)
    assert (paid.node, paid.state, case.verdict, paid.text) == (case.node, "spendable", "pass", answered.text)
    return await stage.wage(case)


async def kept_to_itself(stage: Stage) -> int:
    """Paid for the work, which was done, and for nothing more; all of it was looked at."""
    job = await stage.ask(timeout_ms=SOON_MS)
    await stage.arena.until(job, lambda view: view.state == "running")
    stage.rest()
    paid = await stage.arena.ended(job)
    case = await stage.arena.case(paid)
    assert (paid.node, paid.state, case.verdict) == (stage.member().address, "spendable", "pass")
    assert (paid.text, case.bonus_wei, case.drawn) == ("", 0, (0,))
    return await stage.wage(case)


async def withheld(stage: Stage) -> int:
    """The data that it hides from its seat is demanded on chain, and is not shown there either."""
    job = await stage.ask()
    await stage.arena.until(job, lambda view: view.state == "drawn")
    stage.rest()
    ended = await stage.arena.ended(job)
    case = await stage.arena.case(ended)
    assert (ended.state, ended.cost_wei, case.verdict) == ("refunded", 0, "withheld")
    assert ended.text != ""
    assert await stage.slashed() > 0
    return 0


async def contradicted(stage: Stage) -> int:
    """A seat proves by papers that the leaf is not what its receipt says; no seat has to compute."""
    job, case = await stage.done()
    assert (job.node, job.state, job.cost_wei) == (stage.member().address, "refunded", 0)
    assert case.verdict == "severe"
    head, _ = await stage.arena.ledger.now()
    proven = await stage.arena.ledger.network.fraud_proofs.entries("FraudProven", 0, head)
    assert bytes.fromhex(case.id) in [value for entry in proven for value in entry.values]
    assert await stage.slashed() * 2 == stage.arena.before[stage.member().party.name].stake
    return 0


ROWS = [
    Row(
        "never-delivers",
        "does the work and commits to it, but gives its client no answer and no token",
        "no receipt, so all of it is drawn; it passes and is paid without the bonus",
        "the bonus",
        30,
        {"never-delivers": worker(30, crooks.silent(ResultDelivery, TokenFrame))},
        kept_to_itself,
    ),
    Row(
        "unavailable",
        "delivers, and shows its seat nothing, on chain neither",
        "withheld: stake is gone, the client keeps the answer and has its money back",
        "more than ten times what the batch was worth",
        31,
        {"unavailable": worker(31, crooks.silent(SampleOpening, FingerprintOpening), crooks.refuses(AnswerDemand))},
        withheld,
    ),
    Row(
        "babbler",
        "streams garbage and commits to the truth",
        "the client is shown what was committed to; it passes and is paid as any job",
        "nothing",
        32,
        {"babbler": worker(32, find=crooks.forging(crooks.Babbler))},
        babbled,
    ),
    Row(
        "wrong-model",
        "runs a third of the model's layers under the model's name",
        CONDEMNED,
        "half of its stake",
        10,
        {"wrong-model": worker(10, find=crooks.shallow(10))},
        condemned,
    ),
    Row(
        "int8",
        "runs the model with weights of 8 bits",
        CONDEMNED,
        "half of its stake",
        18,
        {"int8": worker(18, find=crooks.image("quantised_runner", BITS="8"))},
        condemned,
    ),
    Row(
        "int4",
        "runs the model with weights of 4 bits",
        CONDEMNED,
        "half of its stake",
        16,
        {"int4": worker(16, find=crooks.image("quantised_runner", BITS="4"))},
        condemned,
    ),
    Row(
        "copied-result",
        "hands in text and fingerprint of another job with the same question",
        CONDEMNED,
        "half of its stake",
        11,
        {"copied-result": worker(11, find=crooks.forging(crooks.Copier))},
        condemned,
    ),
    Row(
        "forged-eos",
        "stops in the middle of the answer and says that the model did",
        CONDEMNED,
        "half of its stake",
        20,
        {"forged-eos": worker(20, find=crooks.forging(crooks.Stopper))},
        condemned,
    ),
    Row(
        "own-constants",
        "makes its fingerprints by whitening weights of its own, by which everything looks alike",
        CONDEMNED,
        "half of its stake",
        12,
        {"own-constants": worker(12, find=crooks.own_weights)},
        condemned,
    ),
    Row(
        "two-results",
        "signs one result for its client and settles another for the same job",
        "proven by its papers alone: severe; half of its stake is gone, the client has its money back",
        "half of its stake",
        13,
        {"two-results": worker(13, crooks.two_results)},
        contradicted,
    ),
]
