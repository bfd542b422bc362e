"""Whole histories of one job or a few: every way in which a batch ends, and what goes wrong before that."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import Any

from eth_utils.crypto import keccak

from chain.abi.enums import BatchState
from protocol import effects as fx
from protocol import events as ev
from protocol.job import TERMINAL, JobState, Stage
from protocol.params import VCN
from protocol.stages.request import EMBED
from protocol.stages.sampling import epoch_of, is_audited
from protocol.stages.verification import FingerprintOpening, SampleOpening
from protocol.wire.ids import BatchId, Wei
from tests.fakes.contracts import MemoryBatch
from tests.simulation.node import Node
from tests.simulation.scene import RULES, Work, ask
from tests.simulation.world import World
from tests.support.scenes.simulated_jobs import choose, network
from tests.support.scenes.unreceipted_jobs import hold_up, is_answer, lose

QUIET_MS = 15_000
LIMIT_S = 2_000


def requested(world: World) -> tuple[JobState, ...]:
    return world.node("requester").machine.requester.jobs


def told(world: World, kind: type[Any]) -> list[Any]:
    return list(world.told.get(kind, ()))


def settled(world: World, jobs: int = 1) -> World:
    """Run on until so many jobs and all batches have ended, and everybody has heard it."""
    world.run(lambda: len(requested(world)) == jobs and all(job.stage in TERMINAL for job in requested(world)), LIMIT_S)
    world.run(lambda: not world.chain.has_open_batches, LIMIT_S)
    return later(world, QUIET_MS)


def later(world: World, delay_ms: int) -> World:
    end_ms = world.now_ms + delay_ms
    world.run(lambda: world.now_ms > end_ms)
    return world


def one_job(work: Work = Work.HONEST, **terms: Any) -> World:
    world = network(work=work)
    world.soon(lambda: world.node("requester").take(ask(**terms)), 3_000)
    return settled(world)


def moved() -> World:
    """The first node fails."""
    world = network()
    world.join(world.add("broken", {"provider"}, 80_000, Work.FAILING))
    world.soon(lambda: world.node("requester").take(ask()), 3_000)
    return settled(world)


def starved() -> World:
    world = network()
    for node in world.nodes.values():
        node.silent = node.name.startswith("verifier")
    world.soon(lambda: world.node("requester").take(ask()), 3_000)
    return settled(world)


def silenced(after: type[Any]) -> World:
    """One seat of three is gone for good, once something has happened."""
    world = network()
    world.soon(lambda: world.node("requester").take(ask(max_new_tokens=2_000)), 3_000)
    world.run(lambda: bool(told(world, after)))
    # Of those who have committed, the first one.
    seat = told(world, ev.CaseConvened)[0].seats[told(world, after)[0].seat if after is ev.SeatCommitted else 0]
    world.kill(next(node for node in world.nodes.values() if node.address == seat), 1_000 * LIMIT_S)
    settled(world)
    assert told(world, ev.SeatSilenced)
    return world


def trusted(work: Work = Work.HONEST) -> World:
    """A node that is no longer on probation, and a batch of which nothing will be drawn."""
    world = network(work=work)
    provider = world.node("provider").address

    def trust(contracts: Any) -> None:
        contracts.nodes[provider].samples_left = 0
        contracts.show(provider)

    world.chain.change(trust)
    world.soon(lambda: world.node("requester").take(ask()), 3_000)
    return world


def undrawn() -> World:
    world = settled(trusted())
    assert not told(world, ev.CaseConvened)
    return world


def challenge(world: World) -> World:
    """The client of the first batch has it checked, as soon as it hears of it."""
    world.run(lambda: bool(told(world, ev.BatchSubmitted)))
    batch, client = told(world, ev.BatchSubmitted)[0], world.node("requester").address
    world.chain.change(lambda contracts: contracts.challenge_leaf(client, batch.node, batch.slot, batch.contents, 0))
    world.run(lambda: bool(told(world, ev.BatchChallenged)))
    return world


def challenged(work: Work = Work.HONEST) -> World:
    """A batch of which nothing would be drawn is checked, and whose bond it was is known."""
    world = settled(challenge(trusted(work)))
    batch = told(world, ev.BatchSubmitted)[0]
    world.chain.change(lambda contracts: contracts.end_challenge(batch.node, batch.slot, batch.block))
    return later(world, QUIET_MS)


def doubted() -> World:
    """A node claims a receipt that it never got, where no draw looks; its client has that checked."""
    world = trusted()
    provider = world.node("provider")
    lose(provider, is_answer)
    hold_up(world, provider, 0, mine_by=0)
    world.run(lambda: bool(told(world, ev.BatchRefunded) or told(world, ev.BatchSettled)), LIMIT_S)
    return later(world, 2 * QUIET_MS)


def proven(state: BatchState) -> World:
    """Somebody shows by code that a batch lies, when it has come so far."""
    world = crowd()

    def found() -> list[MemoryBatch]:
        return [batch for batch in world.chain.contracts.batches.values() if batch.state is state]

    world.run(lambda: bool(found()))
    batch = found()[0].batch
    world.chain.change(lambda contracts: contracts.condemn(contracts.batch(batch.node, batch.slot)))
    settled(world)
    assert requested(world)[0].stage is Stage.REFUNDED
    return world


def several() -> World:
    """Four jobs in batches of their own, over a lane that has to be opened further."""
    world = network()
    requester = world.node("requester")
    member = requester.machine.member
    member.settings = replace(member.settings, lane_amount=Wei(3 * VCN))
    for number in range(1, 5):
        world.soon(partial(requester.take, ask(number)), 6_500 * number)
    return settled(world, 4)


def late(work: Work) -> World:
    """A promise and the withdrawal after it are lost: two nodes do the job, and the client owes the first one, too."""
    world = network(work=work)
    requester, provider = world.node("requester"), world.node("provider")
    world.join(world.add("spare", {"provider"}, 10_000))
    world.soon(lambda: requester.take(ask()), 3_000)
    world.run(lambda: any(job.stage is Stage.ASSIGNED for job in requested(world)))
    requester.silent = True
    world.run(lambda: any(job.stage is Stage.RUNNING for job in provider.machine.provider.jobs))
    provider.silent = True
    world.run(lambda: requested(world)[0].attempt == 1)
    requester.silent = False
    later(world, 30_000)
    provider.silent = False
    world.run(lambda: len({event.batch_id for event in told(world, ev.BatchSubmitted)}) == 2, LIMIT_S)
    return settled(world)


def missed() -> World:
    """A node that was paid once, and then failed."""
    world = network()
    requester, provider = world.node("requester"), world.node("provider")
    world.join(world.add("spare", {"provider"}, 10_000))
    world.soon(lambda: requester.take(ask()), 3_000)
    settled(world)
    provider.work = Work.FAILING
    for number in (2, 3):
        requester.take(ask(number, now_ms=world.now_ms))
        settled(world, number)
    return world


def crowd(work: Work = Work.HONEST, **terms: Any) -> World:
    """A world with more verifiers than a case needs at first, and one job worth three seats."""
    world = network(work=work)
    for number in range(3, 10):
        world.join(world.add(f"verifier-{number}", {"verifier"}, 5_000))
    world.soon(lambda: world.node("requester").take(ask(max_new_tokens=2_000, **terms)), 3_000)
    return world


def grown(liars: int = 1) -> World:
    """Of three seats so many find fraud in honest work; seven others decide."""
    world = crowd()
    world.run(lambda: bool(told(world, ev.CaseConvened)))
    seats = told(world, ev.CaseConvened)[0].seats[:liars]
    for node in world.nodes.values():
        if node.address in seats:
            node.work = Work.DISHONEST
    return settled(world)


def appealed() -> World:
    """A node that is guilty appeals, and loses its bond as well."""
    world = crowd(Work.DISHONEST)
    world.run(lambda: bool(told(world, ev.CaseDecided)))
    node = told(world, ev.CaseConvened)[0].node
    batch = told(world, ev.BatchSubmitted)[0]
    world.chain.change(lambda contracts: contracts.appeal(node, batch.batch_id, batch.contents))
    return settled(world)


def asked_on_chain(of: type[Any] = ev.CaseConvened) -> World:
    """A seat that says it was shown nothing has the node show it on chain, once something has happened."""
    world = crowd()
    world.run(lambda: len(told(world, of)) == (1 if of is ev.CaseConvened else 3 * len(world.nodes)))
    case = told(world, ev.CaseConvened)[0]
    seat = next(node for node in world.nodes.values() if node.address == case.seats[0])
    demand = (seat.address, case.batch_id, 0, case.drawn[0], seat.machine.member.hpke_key)
    world.chain.change(lambda contracts: contracts.demand_data(*demand))
    settled(world)
    assert told(world, ev.DataAnswered)
    return world


def shown_nothing(kind: type[Any]) -> World:
    """A seat to which its node's answers of one kind do not come: it demands what is in them by itself."""
    world = network()
    provider = world.node("provider")
    perform = provider.perform

    def lose(who: Node, effect: fx.Effect, answer: Callable[[ev.Event], None]) -> None:
        if isinstance(effect, fx.Send) and isinstance(effect.message, kind):
            answer(ev.EffectFailed(fx.Send, fx.about(effect), "no answer", True))
        else:
            perform(who, effect, answer)

    provider.perform = lose
    world.soon(lambda: world.node("requester").take(ask()), 3_000)
    settled(world)
    assert told(world, ev.DataAnswered)
    return world


def stepped_down() -> World:
    """Seats without the model, and one that has it."""
    for late_s in range(8):
        world = World()
        world.chain.deposit(world.add("requester", {"requester"}).address, 100 * VCN)
        world.add("provider", {"provider"}, 20_000)
        for number in range(3):
            world.add(f"verifier-{number}", {"verifier"}, 5_000).has_model = number == 0
        world.start()
        world.soon(lambda world=world: world.node("requester").take(ask()), 3_000 + 1_000 * late_s)  # type: ignore[misc]
        # The draw, by the number of a block, may have chosen only the one that has it.
        if told(settled(world), ev.SeatSilenced):
            return world
    raise AssertionError("no draw chose a seat without the model")


def unconfirmed() -> World:
    """A node begins at its owner's risk; its client's transaction gets lost, and the node brings the lane on chain."""
    world = network()
    provider, requester = world.node("provider"), world.node("requester")
    choose(provider, risk_wei=20 * VCN)
    world.join(provider)
    perform = requester.perform

    def lose_lane(node: Node, effect: fx.Effect, answer: Callable[[ev.Event], None]) -> None:
        if not isinstance(effect, fx.OpenLane):
            perform(node, effect, answer)

    requester.perform = lose_lane
    world.soon(lambda: requester.take(ask()), 5_000)
    settled(world)
    assert told(world, ev.LaneTried)
    return world


def paused() -> World:
    """Nothing new is taken when a job is done."""
    world = network()
    world.soon(lambda: world.node("requester").take(ask()), 3_000)
    world.run(lambda: bool(requested(world)) and requested(world)[0].stage is Stage.RUNNING)
    world.chain.change(lambda contracts: contracts.pause_intake(contracts.timestamp + 60))
    return settled(world)


def claimed() -> World:
    """A node claims that its work is uncalibrated, which no seat slashes for; its client had not agreed to that."""
    world = crowd()
    hold_up(world, world.node("provider"), 0, uncalibrated=True)
    settled(world)
    assert any(event.effect is fx.ProveFraud for event in told(world, ev.TransactionMined))
    return world


def passed(lazy: int = 0, work: Work = Work.HONEST, bribed: int = 0, **terms: Any) -> World:
    """A case that three seats let pass, and that the chain will draw for an audit.

    Args: lazy, how many of them have not looked; bribed, how many find everything perfect though they have.
    """
    world = crowd(work, **terms)
    world.run(lambda: bool(told(world, ev.CaseConvened)))
    for node in seated(world)[:lazy]:
        node.is_lazy = True
    for node in seated(world)[:bribed]:
        node.is_bribed = True
    return drawn(world)


def seated(world: World) -> list[Node]:
    """The nodes on the first three seats."""
    by_address = {node.address: node for node in world.nodes.values()}
    return [by_address[seat] for seat in told(world, ev.CaseConvened)[0].seats]


def drawn(world: World) -> World:
    """Run on to the verdict, which the chain will draw for an audit."""
    world.run(lambda: bool(told(world, ev.CaseResolved)))
    resolved = told(world, ev.CaseResolved)[0]
    epoch = epoch_of(resolved.block, RULES.epoch)
    tried = (keccak(number.to_bytes(4, "big")) for number in range(1_000))
    seed = next(each for each in tried if is_audited(each, BatchId(resolved.batch_id)))
    world.chain.change(lambda contracts: contracts.seeds.__setitem__(epoch, seed))
    return world


def audited(lazy: int = 0) -> World:
    """Three verifiers check those who let a case pass."""
    world = passed(lazy)
    world.run(lambda: bool(told(world, ev.AuditEnded)))
    return settled(world)


HISTORIES: dict[str, Callable[[], World]] = {
    "honest": one_job,
    "honest, three seats": partial(one_job, max_new_tokens=2_000),
    "doubtful": partial(one_job, Work.DOUBTFUL),
    "dishonest": partial(one_job, Work.DISHONEST),
    "failing": moved,
    "starved": starved,
    "a silent seat": partial(silenced, ev.CaseConvened),
    "a seat that goes silent": partial(silenced, ev.SeatCommitted),
    "not drawn": undrawn,
    "challenged": challenged,
    "challenged and dishonest": partial(challenged, Work.DISHONEST),
    "proven before a court": partial(proven, BatchState.PENDING),
    "proven in court": partial(proven, BatchState.IN_COURT),
    "proven after a court": partial(proven, BatchState.PASSED),
    "proven by its seats": claimed,
    "several jobs": several,
    "late and honest": partial(late, Work.HONEST),
    "late and dishonest": partial(late, Work.DISHONEST),
    "missed": missed,
    "a seat that lies": grown,
    "found guilty by three": lambda: settled(crowd(Work.DISHONEST)),
    "appealed": appealed,
    "asked on chain": asked_on_chain,
    "a seat that is shown nothing": partial(shown_nothing, SampleOpening),
    "a seat that is shown no fingerprint": partial(shown_nothing, FingerprintOpening),
    "a seat that steps down": stepped_down,
    "audited": audited,
    "audited, a lazy seat": partial(audited, 1),
    "a pause": paused,
    "a lane that its node brings on chain": unconfirmed,
    "texts that are only read": partial(one_job, kind=EMBED),
}
