"""A small market that dishonest parties come to: a real chain, real peers, real containers with the small model.

The honest are a client, a provider and four verifiers. A dishonest party is a node of the product with one part
exchanged (`crooks`), with keys and a stake of its own; it comes up for its row and goes down after it. Everybody's
books are read before anything happens and again when a row is over. Jobs are told apart by their length: a row's node
bids for jobs of its row alone, which the honest provider leaves to it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import trio

from chain.calibration.files import CalibrationFile, packaged_for
from chain.tx.keystore import load_key, read_password
from chain.tx.wallet import Key
from node.api.backend import ChatMessage, JobAsk
from node.api.views import CaseView, JobView
from node.config import Config
from node.daemon.node import Node
from node.daemon.parts import Parts, open_parts
from node.daemon.runner import FindRunner, find_docker
from node.wallet.home import Home
from protocol.events import SeedRevealed
from protocol.params import VCN
from protocol.stages.blob import ModelManifest
from protocol.wire.ids import Address, JobId
from tests.adversaries import crooks
from tests.adversaries.books import Party, Worth, worth
from tests.adversaries.dice import Dice
from tests.adversaries.models import copy_model
from tests.support.anvil_ledger import DEPLOYER, RUNTIME, AnvilLedger, open_anvil_ledger, owner_of
from tests.support.jobs import CLASS, CLASSES, key
from tests.support.runner_context import docker_host, small_model
from tests.support.scenes.daemons import Place

BLOCK_S = 0.8
POLL_MS = 800
HOST_SLOTS = 2
"""Containers at a time, on the two cores of the smallest machine that runs this."""
HOST_ENGINES = 6
"""Models that stay loaded, of some thirty nodes: what the memory of that machine holds."""
AT_WORK = 3
"""Rows that may want containers at a time: more would only wait for each other, and seats have their time."""
RULES = {
    "seat_seconds": 150,
    "starved_seconds": 600,
    "challenge_seconds": 120,
    "unbonding_seconds": 3_600,
    "timelock_seconds": 7_200,
}
"""Time for seats that share two cores, and for an audit before a batch is final."""
CLIENT, HONEST = "client", "honest"
SEATS = tuple(f"seat-{number}" for number in range(4))
TIMEOUT_MS = 240_000
UP_WITHIN_S, HEARD_WITHIN_S, TAKEN_WITHIN_S, ENDED_WITHIN_S = 180.0, 180.0, 600.0, 600.0
QUESTION = "Explain how salt changed the history of human society, with examples from several countries."
SHORTEST = 8

Bend = Callable[[Parts], None]
"""Exchanges a part of a node before it runs."""


def _unbent(parts: Parts) -> None:
    """An honest node."""


@dataclass(frozen=True)
class Part:
    """A node of somebody: amounts in VCN; `owner` names the party whose cold wallet holds its stake; empty: its own.

    honest: it only plays along, and must not lose anything. runs: whether its node comes up with its row.
    """

    roles: str
    honest: bool = False
    runs: bool = True
    stake: int = 20_000
    price: int = 10
    deposit: int = 0
    owner: str = ""
    bend: Bend = _unbent
    find: FindRunner = find_docker
    settings: Mapping[str, object] = field(default_factory=dict)


HONEST_CAST = {
    CLIENT: Part("requester", honest=True, deposit=5_000),
    HONEST: Part("provider", honest=True, stake=10_000),
    **dict.fromkeys(SEATS, Part("verifier", honest=True, stake=10_000)),
}


@dataclass
class Member:
    """Somebody of the cast: what it owns, and its node while that runs."""

    part: Part
    config: Config
    operator: Key
    client: Key
    owner: Key
    party: Party
    node: Node | None = None
    scope: trio.CancelScope | None = None
    gone: trio.Event | None = None

    @property
    def address(self) -> Address:
        """The id of its node."""
        return self.operator.address

    @property
    def up(self) -> Node:
        """Its node, which runs."""
        assert self.node is not None
        return self.node


@dataclass
class Arena:
    """The market while it is open."""

    place: Place
    members: dict[str, Member]
    dice: Dice
    manifest: ModelManifest
    nursery: trio.Nursery
    at_work: trio.CapacityLimiter
    bench: trio.Lock = field(default_factory=trio.Lock)
    """Held by a row that needs a certain seat until its court is drawn: one seed that suits many is hard to throw."""
    before: dict[str, Worth] = field(default_factory=dict)

    @property
    def ledger(self) -> AnvilLedger:
        """The chain and its contracts."""
        return self.place.ledger

    @property
    def client(self) -> Node:
        """The honest client's node."""
        return self.members[CLIENT].up

    async def start(self, name: str) -> Node:
        """Bring somebody's node up."""
        member = self.members[name]
        boot = self.members[HONEST].node
        config = member.config
        if boot is not None:
            config = self.place.make_again(config, p2p__bootnodes=[boot.parts.host.addresses[0]])
        member.scope, member.gone = trio.CancelScope(), trio.Event()
        with trio.fail_after(UP_WITHIN_S):
            member.node = await self.nursery.start(self._live, member, config)
        return member.up

    async def _live(self, member: Member, config: Config, *, task_status: Any) -> None:
        assert member.scope is not None
        assert member.gone is not None
        try:
            with member.scope:
                async with open_parts(config, find_runner=member.part.find) as parts:
                    member.part.bend(parts)
                    await Node(parts).run(task_status=task_status)
        finally:
            member.node = None
            member.gone.set()

    async def stop(self, name: str) -> None:
        """Take somebody's node down where it stands."""
        member = self.members[name]
        if member.node is not None:
            assert member.scope is not None
            assert member.gone is not None
            member.scope.cancel()
            await member.gone.wait()

    @asynccontextmanager
    async def playing(self, names: Collection[str]) -> AsyncIterator[None]:
        """These come up, hear each other and the honest, and in the end go down."""
        up = [name for name in names if self.members[name].part.runs]
        workers = [name for name in up if self.members[name].party.node is not None]
        try:
            for name in up:
                await self.start(name)
            await self.heard(workers)
            for name in up:
                await self.heard([HONEST], by=name)
            yield
        finally:
            with trio.CancelScope(shield=True):
                for name in up:
                    await self.stop(name)

    async def heard(self, names: Collection[str], by: str = CLIENT) -> None:
        """Wait until somebody hears that these can work."""
        node, wanted = self.members[by].up, {self.members[name].address for name in names}
        events = node.parts.driver.subscribe()
        with trio.fail_after(HEARD_WITHIN_S):
            while not wanted <= {
                peer.node_id for peer in (await node.backend.snapshot()).nodes if peer.online and peer.class_ids
            }:
                await events.receive()

    async def ask(self, length: int, by: str = CLIENT, **changes: Any) -> str:
        """Ask for a job of so many tokens, as a user would who asks again while no node has time; its id."""
        ask = JobAsk(
            model=self.manifest.name,
            messages=(ChatMessage("user", QUESTION),),
            max_new_tokens=length,
            max_price_wei=0,
            timeout_ms=TIMEOUT_MS,
            min_reputation=0,
            with_bonus=True,
            uncalibrated=False,
        )
        give_up = trio.current_time() + TAKEN_WITHIN_S
        while True:
            job = await self.members[by].up.backend.ask_job(replace(ask, **changes))
            view = await self.until(job, _is_taken, by)
            if view.state != "failed":
                return job
            assert trio.current_time() < give_up, f"no provider takes it: {view.failure}"

    async def until(
        self, job: str, condition: Callable[[JobView], bool], by: str = CLIENT, within_s: float = ENDED_WITHIN_S
    ) -> JobView:
        """Follow a job until its view fulfils a condition."""
        backend = self.members[by].up.backend
        with trio.move_on_after(within_s):
            async with backend.follow(job) as updates:
                async for update in updates:
                    if update.job is not None and condition(update.job):
                        return update.job
        raise AssertionError(f"not within {within_s:.0f} s: {await backend.job(job)}")

    async def ended(self, job: str, by: str = CLIENT) -> JobView:
        """The job once its money has moved."""
        return await self.until(job, lambda view: view.ended, by)

    async def case(self, job: JobView, by: str = CLIENT) -> CaseView:
        """The court over a job."""
        return await self.members[by].up.backend.case(job.batch_id)

    def leaf_of(self, job: JobView) -> int:
        """The job's place in its batch: an order that was withdrawn before it has an empty leaf there."""
        provider = next(member for member in self.members.values() if member.address == job.node)
        batch = provider.up.parts.machine.settler.batch(bytes.fromhex(job.batch_id))
        assert batch is not None
        return batch.job_ids.index(JobId(bytes.fromhex(job.job_id)))

    async def worth(self, name: str) -> Worth:
        """The wealth of a party now."""
        nodes = [member.address for member in self.members.values()]
        return await worth(self.ledger.network, self.members[name].party, nodes)

    async def gain(self, *names: str) -> int:
        """How much richer these are together than before anything happened, in wei."""
        return sum([(await self.worth(name)).total - self.before[name].total for name in names])

    async def until_true(self, look: Callable[[], Awaitable[bool]], within_s: float = ENDED_WITHIN_S) -> None:
        """Look at every block until it is so."""
        events = self.client.parts.driver.subscribe()
        with trio.fail_after(within_s):
            while not await look():
                await events.receive()

    async def keep_time(self) -> None:
        """Blocks at an even pace and by nothing else; after the last one of an epoch its seed is thrown."""
        await self.ledger.controls.automine(on=False)
        while True:
            await self.ledger.controls.raw("evm_mine")
            head, _ = await self.ledger.now()
            await self.dice.after(head)
            await trio.sleep(BLOCK_S)

    async def tell(self, seed: SeedRevealed) -> None:
        """The event that the log of a sealed epoch would give every node."""
        for member in self.members.values():
            if member.node is not None:
                await member.node.parts.driver.report(seed)


@asynccontextmanager
async def open_arena(root: Path, cast: Mapping[str, Part], taken: Collection[int]) -> AsyncIterator[Arena]:
    """The market with its honest people up, and the cast of the rows registered and funded.

    taken: lengths of jobs that the honest provider leaves to others.
    """
    manifest = small_model()
    noise = packaged_for(manifest.cid)
    assert noise is not None, "this release carries no calibration of the small model"
    # Everybody computes in fp32, which every machine can; whatever hash the runner has at present.
    calibration = CalibrationFile(
        noise.manifest, noise.act_weights, {CLASS: replace(noise.classes[CLASS], runtime=RUNTIME)}
    )
    async with open_anvil_ledger(calibrations=[calibration], **RULES) as ledger:
        await ledger.controls.raw("anvil_setLoggingEnabled", False)
        place = Place(root, ledger)
        copy_model(root / "store", manifest.cid)
        honest = {**HONEST_CAST, HONEST: replace(HONEST_CAST[HONEST], bend=crooks.never(taken))}
        members = {name: _make(place, name, part) for name, part in {**honest, **cast}.items()}
        await _found(ledger, members)
        owners = {member.address: member.owner.address for member in members.values()}
        crooked = frozenset(
            members[name].address for name in cast if "verifier" in cast[name].roles and not cast[name].honest
        )
        async with trio.open_nursery() as nursery:
            arena: Arena

            async def tell(seed: SeedRevealed) -> None:
                await arena.tell(seed)

            dice = Dice(ledger, owners, crooked, tell)
            arena = Arena(place, members, dice, manifest, nursery, trio.CapacityLimiter(AT_WORK))
            for name in members:
                arena.before[name] = await arena.worth(name)
            nursery.start_soon(arena.keep_time)
            for name in (HONEST, *SEATS, CLIENT):
                await arena.start(name)
            await arena.heard([HONEST, *SEATS])
            yield arena
            nursery.cancel_scope.cancel()


def _make(place: Place, name: str, part: Part) -> Member:
    settings: dict[str, object] = {
        "node__roles": part.roles,
        "node__price": str(part.price),
        "executor__store": str(place.root / "store"),
        "executor__docker_host": docker_host(),
        "executor__host_slots": HOST_SLOTS,
        "executor__host_engines": HOST_ENGINES,
        "chain__poll_ms": POLL_MS,
        **part.settings,
    }
    config = place.make(name, **settings)
    home = Home(config.node.data_dir)
    password = read_password(home.password, {}, None, "")
    operator, client = load_key(home.operator_key, password), load_key(home.client_key, password)
    owner = key(part.owner) if part.owner else owner_of(operator)
    asks = "requester" in part.roles
    holders = (operator.address, client.address, *(() if part.owner else (owner.address,)))
    works = part.roles != "requester"
    party = Party(name, operator.address if works else None, client.address if asks else None, holders)
    return Member(part, config, operator, client, owner, party)


async def _found(ledger: AnvilLedger, members: Mapping[str, Member]) -> None:
    """Owners get coins; nodes are registered and put on the list; clients deposit."""
    everybody = list(members.values())
    await ledger.controls.enrich(*(each.operator for each in everybody), *(each.client for each in everybody))
    bank, given = ledger.actions(DEPLOYER), set[Address]()
    for member in everybody:
        part = member.part
        if member.party.node is not None:
            if member.owner.address not in given:
                given.add(member.owner.address)
                await ledger.controls.enrich(member.owner)
            await bank.transfer(member.owner.address, part.stake * VCN)
            await ledger.actions(member.owner).register(member.operator, part.stake * VCN, CLASSES)
            if "verifier" in part.roles:
                await ledger.join(member.operator)
        if part.deposit:
            await bank.transfer(member.client.address, part.deposit * VCN)
            await ledger.actions(member.client).deposit(part.deposit * VCN)


def names_of(arena: Arena, nodes: Sequence[str]) -> list[str]:
    """The ids of these nodes."""
    names = {member.address: name for name, member in arena.members.items()}
    return [names.get(Address(node), node) for node in nodes]


def _is_taken(job: JobView) -> bool:
    """Whether a node has promised it, or none ever will."""
    return job.state not in ("requested", "offered", "assigned")
