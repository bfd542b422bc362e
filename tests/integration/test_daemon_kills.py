"""Kill -9 of whole daemons at every stage of a job: real chain, real peers, real journals; only containers are played.

One network stays up for all kills. Each kill has a job of its own: its victim ends its process at the very event by
which the job comes to the stage, as the victim sees it, so that no stage is too short to be caught. It is started again
at once. Two strands of such jobs run side by side, with providers of their own, so that no job meets two kills.
"""

from __future__ import annotations

import signal
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import trio

from chain.abi.enums import NodeState
from chain.tx.pending import Recorded, restore
from node.api.faults import Fault
from node.api.views import JobUpdate, JobView, read
from node.journal import open_journal
from protocol.events import ContainerExited, Event, MessageSigned
from protocol.job import Stage
from protocol.params import VCN
from protocol.stages.assignment import Assignment
from protocol.stages.commitment import Receipt, Result
from protocol.stages.execution import Outcome
from protocol.stages.offer import price_of
from protocol.wire.envelope import struct_hash
from protocol.wire.ids import Address, Wei
from tests.benchmarks.played_network import (
    DEPOSIT,
    MAX_NEW_TOKENS,
    STAKE,
    Member,
    Part,
    PlayedNetwork,
    open_played_network,
    until,
)
from tests.benchmarks.played_node import ARMED, READY, Death, Moment
from tests.simulation.kills import STAGES, VICTIMS
from tests.simulation.scene import Work
from tests.support.anvil_ledger import owner_of
from tests.support.jobs import CLASS
from tests.support.scenes.daemon_jobs import ANSWER, operator_of

pytestmark = [pytest.mark.anvil, pytest.mark.libp2p, pytest.mark.slow]

T = TypeVar("T")

MORTAL, STEADY, WORKER = "mortal", "steady", "worker"
PROVIDERS = ("provider0", "provider1")
SEATS = (*PROVIDERS, "seat0", "seat1")
CAST = {
    # Hires the cheapest node, and is killed.
    MORTAL: Part("requester", lane=0),
    # Hires all but its own node, which are killed.
    STEADY: Part("requester", lane=0),
    WORKER: Part("provider", price=1, owner=STEADY),
    **dict.fromkeys(PROVIDERS, Part("provider,verifier", price=2)),
    **dict.fromkeys(SEATS[2:], Part("verifier")),
}
HURRIED = {"epoch_blocks": 1, "lag_blocks": 1, "challenge_seconds": 1, "jail_seconds": 1, "slash_bps": 1}
"""No shorter windows than the contracts allow, and a cheat that can go on cheating."""
POLL_MS = 500
WORK_S = 0.1
TIMEOUT_MS = 30_000
ALL = 10_000
"""More transactions than a journal has."""
UP_WITHIN_S, DEAD_WITHIN_S, ENDED_WITHIN_S = 60.0, 60.0, 120.0

UNSEEN = {
    "requester": frozenset[Stage](),
    # A node hears of a job when it is assigned.
    "provider": frozenset({Stage.REQUESTED, Stage.OFFERED}),
    # And a seat when it is in a batch.
    "seat": frozenset({Stage.REQUESTED, Stage.OFFERED, Stage.ASSIGNED, Stage.RUNNING, Stage.DELIVERED}),
}
"""Stages at which a role cannot see a job; a stage that is new is walked in every role until it is named here."""
WORK = {Stage.REVIEW: Work.DOUBTFUL, Stage.FAILED: Work.DISHONEST}
"""How a node must work for its job to come to a stage, where that is not honestly."""
MOMENT = {
    ("requester", Stage.OFFERED): Moment.SENT,
    ("provider", Stage.DELIVERED): Moment.WRITTEN,
    ("provider", Stage.IN_BATCH): Moment.SENT,
    ("seat", Stage.DRAWN): Moment.WRITTEN,
    ("provider", Stage.PASSED): Moment.SENT,
    ("requester", Stage.REVIEW): Moment.WRITTEN,
    ("requester", Stage.FAILED): Moment.SENT,
}
"""A node with a transaction of its own to send at a stage dies of it; the others at once."""


@dataclass(frozen=True)
class Kill:
    """The nodes that die, and the stage of the job then."""

    role: str
    stage: Stage

    def __str__(self) -> str:
        return f"{self.role} at {self.stage}"

    @property
    def asker(self) -> str:
        """Whose job it is."""
        return MORTAL if self.role == "requester" else STEADY

    @property
    def victims(self) -> Sequence[str]:
        """The nodes that may come to see that job: the first of the providers, and every seat that is drawn."""
        return {"requester": (MORTAL,), "provider": PROVIDERS, "seat": SEATS}[self.role]

    @property
    def work(self) -> Work:
        """How it is done."""
        return WORK.get(self.stage, Work.HONEST)


KILLS = [Kill(role, stage) for role in VICTIMS for stage in STAGES if stage not in UNSEEN[role]]


@dataclass(frozen=True)
class Sent:
    """A transaction of a journal, and whether it is in a block without a revert."""

    sender: Address
    nonce: int
    effect: bytes | None
    call: bytes
    succeeded: bool


@dataclass
class Walk:
    """The outcome of the jobs, with the journals' and the chain's records of them. Amounts in wei, by node."""

    ends: dict[Kill, JobView] = field(default_factory=dict)
    deaths: dict[Kill, list[int | None]] = field(default_factory=dict)
    broken: dict[Kill, Exception] = field(default_factory=dict)
    billed: dict[str, int] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    stakes: dict[str, int] = field(default_factory=dict)
    events: dict[str, list[Event]] = field(default_factory=dict)
    sent: list[Sent] = field(default_factory=list)
    nonces: dict[Address, int] = field(default_factory=dict)
    """How many transactions the chain has of a key."""
    growing: bytes = b""
    """The selector of a call that a court takes twice: first it is given more seats, then it is closed."""

    def signed(self, kind: type[T]) -> Iterator[T]:
        """Every message of a kind that a node signed."""
        for events in self.events.values():
            for event in events:
                if isinstance(event, MessageSigned) and isinstance(event.message, kind):
                    yield event.message


class Town:
    """The network under way, and the kills in it."""

    def __init__(self, network: PlayedNetwork, walk: Walk) -> None:
        self._network = network
        self._walk = walk
        self._ledger = network.ledger

    async def up(self) -> None:
        """Bring everybody up, blocks too."""
        for member in self._network.members.values():
            self._network.start(member)
        with trio.fail_after(UP_WITHIN_S):
            for member in self._network.members.values():
                await _hear(member, READY)

    async def strand(self, kills: Sequence[Kill]) -> None:
        """One after the other, until one goes wrong."""
        for kill in kills:
            try:
                await self._kill(kill)
            except Exception as error:
                self._walk.broken[kill] = error
                return

    async def _kill(self, kill: Kill) -> None:
        asker = self._network.members[kill.asker]
        # It has just been killed itself, and cannot hire whom it has not heard again.
        await _in_thread(self._network.wait_ready, [asker])
        known = {job.id for job in await _in_thread(_jobs, asker)}
        moment = MOMENT.get((kill.role, kill.stage), Moment.AT_ONCE)
        death = Death(kill.role, kill.stage, asker.client_key.address, moment)
        victims = [self._network.members[name] for name in kill.victims]
        for victim in victims:
            await _order(victim, death)
        deaths = self._walk.deaths[kill] = []
        waits, back = [trio.CancelScope() for _ in victims], trio.Event()
        async with trio.open_nursery() as nursery:
            for victim, wait in zip(victims, waits, strict=True):
                # One provider is enough: the next one does the job.
                nursery.start_soon(self._revive, victim, wait, deaths, back, waits if kill.role == "provider" else ())
            await _in_thread(_ask, asker, kill)
            if asker in victims:
                with trio.fail_after(DEAD_WITHIN_S):
                    await back.wait()
            self._walk.ends[kill] = await _end(asker, known)
            for wait in waits:
                wait.cancel()
        if kill.stage is Stage.FAILED:
            await self._let_out()

    async def _revive(
        self,
        victim: Member,
        wait: trio.CancelScope,
        deaths: list[int | None],
        back: trio.Event,
        spared: Collection[trio.CancelScope],
    ) -> None:
        """Start a victim again once it has died; one that did not is told to live on when the wait is over.

        Args: spared, waits that are over when this one has died.
        """
        assert victim.process is not None
        with wait:
            await trio.lowlevel.wait_readable(victim.process.sentinel)
        if wait.cancelled_caught:
            await _order(victim, None)
            return
        for other in spared:
            other.cancel()
        deaths.append(victim.process.wait())
        self._network.start(victim)
        with trio.fail_after(UP_WITHIN_S):
            await _hear(victim, READY)
        back.set()

    async def _let_out(self) -> None:
        """Let a provider that was caught out of jail, and back on the list of verifiers: others need it there."""
        for name in PROVIDERS:
            node = self._network.members[name]
            seen = await self._ledger.network.stakes.node_of(node.node_id)
            if seen is None or seen.state is not NodeState.JAILED:
                continue
            with trio.fail_after(UP_WITHIN_S):
                while (await self._ledger.now())[1] < seen.jailed_until_s:
                    await trio.lowlevel.checkpoint()
            owner = self._ledger.actions(owner_of(operator_of(node.config)))
            await owner.unjail(node.node_id)
            await owner.join_verifiers(node.node_id, CLASS)

    async def count(self) -> None:
        """Once no node has anything left to do: the money, and the state of the nodes."""
        members, network = self._network.members, self._ledger.network
        workers = [members[name] for name in (WORKER, *PROVIDERS)]
        for worker in workers:
            await _in_thread(
                until, lambda worker=worker: all(job.ended for job in _jobs(worker)), ENDED_WITHIN_S, worker.name
            )
        for name in (MORTAL, STEADY):
            client = members[name].client_key.address
            left = (await network.settlement.account_of(client)).free
            for worker in workers:
                left += (await network.settlement.lane_of(client, client, worker.node_id)).left
            self._walk.gone[name] = DEPOSIT - left
            self._walk.billed[name] = sum(job.cost_wei for job in await _in_thread(_jobs, members[name]))
        for name in SEATS:
            node = await network.stakes.node_of(members[name].node_id)
            self._walk.stakes[name] = node.active_stake if node else 0

    async def read_journals(self) -> None:
        """Once no node runs any more: what each has written, and whether the chain has it."""
        ethereum = self._ledger.network.ethereum
        for name, member in self._network.members.items():
            with open_journal(member.config.node.data_dir) as journal:
                self._walk.events[name] = [entry.event for entry in journal.read_all() if entry.event is not None]
                kept = await journal.transactions(ALL)
            for sent in kept:
                (slot,) = restore([Recorded(sent.raw, sent.effect)], sent.sender, 0)
                receipt = await ethereum.receipt(slot.hashes[0])
                done = receipt is not None and receipt.succeeded
                self._walk.sent.append(Sent(sent.sender, sent.nonce, sent.effect, slot.pending.call.data, done))
                self._walk.nonces[sent.sender] = await ethereum.nonce(sent.sender)
        self._walk.growing = self._ledger.network.court.interface.functions["resolve"].selector


def _ask(asker: Member, kill: Kill) -> None:
    max_price = price_of(Wei(CAST[WORKER].price * VCN), MAX_NEW_TOKENS) if asker.name == MORTAL else 0
    # A node that dies of it does not answer.
    with suppress(Fault) if kill.asker in kill.victims else nullcontext():
        asker.ask(kill.work.value, TIMEOUT_MS, max_price)


def _jobs(member: Member) -> list[JobView]:
    return [read(JobView, job) for job in member.client.get("jobs")]


async def _end(asker: Member, known: Collection[str]) -> JobView:
    """The end of the one job that is not known, as its requester shows it."""

    def signed() -> str | None:
        # Before its request is signed a job has another name.
        new = [job.id for job in _jobs(asker) if job.id not in known and job.state != Stage.REQUESTED]
        return new[0] if new else None

    job_id = await _in_thread(until, signed, UP_WITHIN_S, f"{asker.name} has an offer")

    def follow() -> JobView:
        updates = [read(JobUpdate, line) for line in asker.client.lines("jobs", job_id, "events")]
        return next(update.job for update in reversed(updates) if update.job is not None)

    with trio.fail_after(ENDED_WITHIN_S):
        return await _in_thread(follow)


async def _order(victim: Member, death: Death | None) -> None:
    assert victim.process is not None
    victim.process.voice.send(death)
    with trio.fail_after(UP_WITHIN_S):
        await _hear(victim, ARMED)


async def _hear(member: Member, word: str) -> None:
    assert member.process is not None
    await trio.lowlevel.wait_readable(member.process.voice.fileno())
    assert member.process.voice.recv() == word


async def _in_thread(call: Callable[..., T], *arguments: Any) -> T:
    return await trio.to_thread.run_sync(call, *arguments, abandon_on_cancel=True)


async def _walk(root: Path) -> Walk:
    walk = Walk()
    log = root / "nodes.log"
    async with open_played_network(root, CAST, WORK_S, log, poll_ms=POLL_MS, **HURRIED) as network:
        town = Town(network, walk)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(network.ledger.keep_mining)
            await town.up()
            async with trio.open_nursery() as strands:
                for asker in (MORTAL, STEADY):
                    strands.start_soon(town.strand, [kill for kill in KILLS if kill.asker == asker])
            if not walk.broken:
                await town.count()
            nursery.cancel_scope.cancel()
        network.stop()
        await town.read_journals()
    return walk


@pytest.fixture(scope="module")
def walk(tmp_path_factory: pytest.TempPathFactory) -> Walk:
    """All kills, on one network."""
    return trio.run(_walk, tmp_path_factory.mktemp("kills"))


@pytest.mark.parametrize("kill", KILLS, ids=str)
def test_job_ends_well_whoever_is_killed_at_whatever_stage(walk: Walk, kill: Kill) -> None:
    if kill in walk.broken:
        raise walk.broken[kill]
    assert kill in walk.ends, f"not walked, because of {', '.join(map(str, walk.broken))}"
    # The node that was to die has reached the stage, and has died of nothing else.
    assert set(walk.deaths[kill]) == {-signal.SIGKILL}
    end = walk.ends[kill]
    assert end.state == (Stage.SPENDABLE if kill.work is Work.HONEST else Stage.REFUNDED), end
    assert end.state == Stage.REFUNDED or end.text == ANSWER


def test_clients_have_paid_what_their_jobs_say(walk: Walk) -> None:
    assert walk.gone == walk.billed
    assert walk.gone.keys() == {MORTAL, STEADY}
    assert all(walk.gone.values())


def test_number_of_a_lane_is_signed_for_one_order(walk: Walk) -> None:
    orders = defaultdict(set)
    for order in walk.signed(Assignment):
        orders[order.client, order.signer, order.node, order.index].add(struct_hash(order))
    assert len(orders) >= len(KILLS)
    assert [lane for lane, signed in orders.items() if len(signed) > 1] == []


@pytest.mark.parametrize("kind", [Result, Receipt])
def test_job_has_one_signed_paper_of_a_kind(walk: Walk, kind: type[Result | Receipt]) -> None:
    papers = defaultdict(set)
    for paper in walk.signed(kind):
        papers[paper.job_id].add(struct_hash(paper))
    assert len(papers) >= len(KILLS)
    assert [job for job, signed in papers.items() if len(signed) > 1] == []


def test_container_that_has_ended_well_is_not_run_again(walk: Walk) -> None:
    exits = (event for events in walk.events.values() for event in events if isinstance(event, ContainerExited))
    # One whose job was withdrawn may end as it is stopped.
    ends = Counter(exited.job_id for exited in exits if exited.result.outcome is Outcome.OK)
    assert len(ends) >= len(KILLS)
    assert set(ends.values()) == {1}


def test_nonce_is_taken_by_one_effect_and_none_is_left_out(walk: Walk) -> None:
    effects = defaultdict(set)
    for sent in walk.sent:
        effects[sent.sender, sent.nonce].add(sent.effect)
    assert [nonce for nonce, taken in effects.items() if len(taken) > 1] == []
    for key, count in walk.nonces.items():
        nonces = sorted(nonce for sender, nonce in effects if sender == key)
        assert nonces == list(range(nonces[0], count))


def test_effect_is_done_by_one_transaction(walk: Walk) -> None:
    nonces = defaultdict(set)
    for sent in walk.sent:
        if sent.succeeded and not sent.call.startswith(walk.growing):
            nonces[sent.effect].add((sent.sender, sent.nonce))
    assert len(nonces) > len(KILLS)
    assert [taken for taken in nonces.values() if len(taken) > 1] == []


def test_seats_have_lost_no_stake(walk: Walk) -> None:
    assert {walk.stakes[name] for name in SEATS if name not in PROVIDERS} == {STAKE}
