"""Parts of dishonest nodes, each in place of one of the product's: an adapter, a runner, or what a machine hears.

A dishonest node here is the product's own node in everything else.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any

import trio

from chain.contracts.court import Court
from executor import images
from executor.adapter import Runner
from executor.models import ModelStore
from executor.scheduler.live_engine import OnTokens
from executor.workspace.folders import INPUT_JSON, RESULT_JSON, Workspaces
from node.daemon.parts import Parts
from node.daemon.runner import FindRunner, Site, Weights, find_docker
from node.performing import Adapter
from protocol.effects import CommitSeat, Effect, ReplaySample, RevealSeat, Send, SignMessage
from protocol.errors import ChainError
from protocol.events import (
    CaseConvened,
    ContainerExited,
    DataAnswered,
    Event,
    MessageReceived,
    MessageSent,
    RequestReceived,
    SampleReplayed,
    SeatAdded,
)
from protocol.messages import Message
from protocol.params import BPS
from protocol.roles.settler.settler import Settler
from protocol.stages.assignment import AssignmentOrder
from protocol.stages.commitment import Leaf, SettledJob
from protocol.stages.execution import CHUNK_TOKENS, Outcome, RunSpec
from protocol.stages.offer import Offer
from protocol.stages.verification import DIMENSIONS, SampleOpening
from protocol.wire.envelope import struct_hash
from protocol.wire.ids import PeerId, TimestampMs
from tests.adversaries.images import build
from tests.adversaries.models import copy_shallow

Bend = Callable[[Parts], None]


def both(*bends: Bend) -> Bend:
    """Several exchanges."""

    def bend(parts: Parts) -> None:
        for each in bends:
            each(parts)

    return bend


class Routed:
    """An adapter in place of another; what it does not change it passes on."""

    def __init__(self, honest: Adapter) -> None:
        self.honest = honest

    async def perform(self, effect: Any) -> Event:
        return await self.honest.perform(effect)


def exchange(kind: type[Any], make: Callable[[Adapter], Adapter]) -> Bend:
    """Have another adapter do one kind of effect."""

    def bend(parts: Parts) -> None:
        performer = parts.driver._performer
        performer._routes = {**performer._routes, kind: make(performer._routes[kind])}

    return bend


class Ears:
    """A machine that hears only what it wants to hear."""

    def __init__(self, machine: Any, wants: Callable[[Event], bool]) -> None:
        self._machine = machine
        self._wants = wants

    def start(self, now_ms: TimestampMs) -> tuple[Effect, ...]:
        return self._machine.start(now_ms)

    def judge(self, received: MessageReceived, now_ms: TimestampMs) -> Event | None:
        return self._machine.judge(received, now_ms)

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        return self._machine.handle(event, now_ms) if self._wants(event) else ()

    def fresh(self) -> Ears:
        return type(self)(self._machine.fresh(), self._wants)

    def become(self, other: Ears, *, keep_heard: bool) -> None:
        self._machine.become(other._machine, keep_heard=keep_heard)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._machine, name)


def deaf(wants: Callable[[Event], bool]) -> Bend:
    """Let a machine hear only these events."""

    def bend(parts: Parts) -> None:
        parts.driver._folding.machine = Ears(parts.driver._folding.machine, wants)

    return bend


class Eager(Ears):
    """A machine that bids at the first call, whatever its rank."""

    def handle(self, event: Event, now_ms: TimestampMs) -> tuple[Effect, ...]:
        if isinstance(event, RequestReceived):
            event = replace(event, signed=replace(event.signed, wide=True))
        return super().handle(event, now_ms)


def eager(parts: Parts) -> None:
    """Bid for every job, whatever its own rank among the market's nodes."""
    parts.driver._folding.machine = Eager(parts.driver._folding.machine, lambda _: True)


def only(*lengths: int) -> Bend:
    """Bid for jobs of these lengths alone."""
    return deaf(lambda event: _length_of(event) in (None, *lengths))


def never(lengths: Collection[int]) -> Bend:
    """Leave jobs of these lengths to others."""
    return deaf(lambda event: _length_of(event) not in lengths)


def _length_of(event: Event) -> int | None:
    return event.signed.request.max_new_tokens if isinstance(event, RequestReceived) else None


class Silent(Routed):
    """Says nothing of some kinds, and believes that it has."""

    def __init__(self, honest: Adapter, kinds: tuple[type[Message], ...]) -> None:
        super().__init__(honest)
        self._kinds = kinds

    async def perform(self, effect: Send) -> Event:
        if isinstance(effect.message, self._kinds):
            return MessageSent(PeerId(effect.to.rpartition("/")[2]), 1)
        return await self.honest.perform(effect)


def silent(*kinds: type[Message]) -> Bend:
    """Keep messages of these kinds to oneself."""
    return exchange(Send, lambda honest: Silent(honest, kinds))


# --- runners --------------------------------------------------------------------------------------------------------
def image(name: str, **arguments: str) -> FindRunner:
    """Run containers of an image of one's own, made of the honest runner's."""

    async def find(site: Site) -> tuple[Runner | None, str]:
        host = site.config.executor.docker_host
        tag = await trio.to_thread.run_sync(lambda: build(name, images.find(host), host, **arguments))
        executor = replace(site.config.executor, image=tag)
        return await find_docker(replace(site, config=replace(site.config, executor=executor)))

    return find


# --- seats ----------------------------------------------------------------------------------------------------------
class Lazy(Routed):
    """Runs nothing and makes up what it has computed."""

    def __init__(self, honest: Adapter, workspaces: Workspaces) -> None:
        super().__init__(honest)
        self._workspaces = workspaces

    async def perform(self, effect: ReplaySample) -> Event:
        workspace = self._workspaces.of_sample(effect.batch_id, effect.leaf_index)
        count = len(json.loads(workspace.get(RESULT_JSON) or b"{}")["output_token_ids"])
        return SampleReplayed(effect.batch_id, effect.leaf_index, made_up_check(count), "")


def made_up_check(tokens: int) -> bytes:
    """A check.bin of the right length that was not computed: all states alike, no margins."""
    lengths = [min(CHUNK_TOKENS, tokens - first) for first in range(0, tokens, CHUNK_TOKENS)]
    chunks = [struct.pack(f"<f{DIMENSIONS * k}hd", 0.01, *[100] * (DIMENSIONS * k), 1.0) for k in lengths]
    return b"".join(chunks) + bytes(4 * (tokens + 1))


def lazy(parts: Parts) -> None:
    """Compute nothing on a seat."""
    workspaces = Workspaces(parts.config.node.data_dir / "work")
    exchange(ReplaySample, lambda honest: Lazy(honest, workspaces))(parts)


class Yes(Routed):
    """Finds everything perfect."""

    async def perform(self, effect: RevealSeat) -> Event:
        return await self.honest.perform(replace(effect, scores=(BPS,) * len(effect.scores)))


always_passes = exchange(RevealSeat, Yes)


# --- messages -------------------------------------------------------------------------------------------------------
class Refusing(Routed):
    """Does one kind of effect never."""

    async def perform(self, effect: Effect) -> Event:
        raise ChainError(f"{type(effect).__name__} is not what this node wants")


def refuses(kind: type[Any]) -> Bend:
    """Never do effects of this kind."""
    return exchange(kind, Refusing)


class Classy(Routed):
    """Offers a device class that there is not."""

    CLASS = 9

    async def perform(self, effect: SignMessage) -> Event:
        if isinstance(effect.message, Offer):
            return await self.honest.perform(SignMessage(replace(effect.message, class_id=self.CLASS)))
        return await self.honest.perform(effect)


made_up_class = exchange(SignMessage, Classy)


class Double(Routed):
    """Orders twice with one number of a lane; the second order differs by its nonce, which makes it another job."""

    def __init__(self, honest: Adapter, parts: Parts) -> None:
        super().__init__(honest)
        self._wallet = parts.wallet

    async def perform(self, effect: Send) -> Event:
        sent = await self.honest.perform(effect)
        if isinstance(effect.message, AssignmentOrder):
            await self.honest.perform(replace(effect, message=self._other(effect.message)))
        return sent

    def _other(self, order: AssignmentOrder) -> AssignmentOrder:
        assert self._wallet.client is not None
        details = replace(order.details, seed_nonce=bytes(32))
        assignment = replace(order.assignment, details=struct_hash(details))
        signature = self._wallet.client.sign(assignment, self._wallet.domain)
        return replace(order, details=details, assignment=assignment, signature=signature)


def orders_twice(parts: Parts) -> None:
    """Sign two orders with one number."""
    exchange(Send, lambda honest: Double(honest, parts))(parts)


class TwoFaced:
    """A settler that puts another result into the batch than the one that its client has a signature for."""

    def __init__(self, honest: Settler) -> None:
        self._honest = honest

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    def add(self, leaf: Leaf, job: SettledJob, order: AssignmentOrder, now_ms: TimestampMs) -> tuple[Effect, ...]:
        other = hashlib.sha256(job.result.result_hash).digest()
        result = replace(job.result, result_hash=other)
        return self._honest.add(replace(leaf, result_hash=other), replace(job, result=result), order, now_ms)


class TwoTongued(Ears):
    """A machine that settles another result than it delivers, also after its journal was folded."""

    def __init__(self, machine: Any, wants: Callable[[Event], bool]) -> None:
        super().__init__(machine, wants)
        settling = machine.provider._settling
        settling.settler = TwoFaced(settling.settler)


def two_results(parts: Parts) -> None:
    """Deliver one result and settle another."""
    parts.driver._folding.machine = TwoTongued(parts.driver._folding.machine, lambda _: True)


# --- what a provider hands in ---------------------------------------------------------------------------------------
def shallow(layers: int) -> FindRunner:
    """Run a model with fewer layers in place of the one that was asked for."""

    async def find(site: Site) -> tuple[Runner | None, str]:
        store = site.config.node.data_dir / "store"
        for manifest in site.models.manifests():
            await trio.to_thread.run_sync(copy_shallow, store, manifest.cid, layers)
        return await find_docker(replace(site, models=ModelStore(store)))

    return find


class OwnWeights(Weights):
    """Whitening weights that make all hidden states look alike."""

    def get(self, manifest: bytes) -> bytes | None:
        held = super().get(manifest)
        return b"\x00\x3c" + bytes(len(held) - 2) if held else None

    def copy(self, honest: Weights) -> None:
        self._known = honest._known


async def own_weights(site: Site) -> tuple[Runner | None, str]:
    """Make fingerprints by constants of one's own."""
    weights = OwnWeights()
    weights.copy(site.weights)
    return await find_docker(replace(site, weights=weights))


@dataclass(frozen=True)
class HandedIn:
    """The files that a container has left: result.json as it reads, and the fingerprint."""

    result: dict[str, Any]
    fingerprint: bytes


class Forger:
    """Runs the honest containers, and changes what came out of them."""

    def __init__(self, honest: Runner, workspaces: Workspaces) -> None:
        self._honest = honest
        self._workspaces = workspaces

    def __getattr__(self, name: str) -> Any:
        return getattr(self._honest, name)

    async def run_job(self, spec: RunSpec, on_tokens: OnTokens) -> ContainerExited:
        ended = await self._honest.run_job(self.ordered(spec), on_tokens)
        assert ended.result.outcome is Outcome.OK, ended.result.detail
        left = self._workspaces.of_job(ended.job_id).get(RESULT_JSON)
        made = self.forge(HandedIn(json.loads(left or b"{}"), ended.fingerprint))
        result = {**made.result, "job_id": spec.job_id.hex()}
        raw = json.dumps(result, sort_keys=True, separators=(",", ":")).encode()
        self._workspaces.of_job(spec.job_id).put(RESULT_JSON, raw)
        facts = replace(
            ended.result,
            result_hash=hashlib.sha256(raw).digest(),
            fingerprint_hash=hashlib.sha256(made.fingerprint).digest(),
            new_tokens=len(result["output_token_ids"]),
            finish=result["finish"],
        )
        return ContainerExited(spec.job_id, facts, made.fingerprint)

    def ordered(self, spec: RunSpec) -> RunSpec:
        """The image that it runs."""
        return spec

    def forge(self, honest: HandedIn) -> HandedIn:
        """The answer that it forges."""
        return honest


class Copier(Forger):
    """Hands in what was computed for another job with the same question."""

    def ordered(self, spec: RunSpec) -> RunSpec:
        other = replace(spec, job_id=hashlib.sha256(spec.job_id).digest())
        question = self._workspaces.of_job(spec.job_id).get(INPUT_JSON)
        self._workspaces.of_job(other.job_id).put(INPUT_JSON, question or b"")
        return other


class Stopper(Forger):
    """Ends the answer in the middle, as if the model had."""

    def forge(self, honest: HandedIn) -> HandedIn:
        half = len(honest.result["output_token_ids"]) // 2
        # A chunk of 32 tokens has one scale, of two bytes; each token's numbers come after it.
        assert half <= CHUNK_TOKENS
        ids = honest.result["output_token_ids"][:half]
        result = {**honest.result, "output_token_ids": ids, "finish": "eos"}
        return HandedIn(result, honest.fingerprint[: 2 + DIMENSIONS * half])


class Babbler(Forger):
    """Streams one word over and over, whatever the model says; what it commits to is true."""

    WORD = 28

    async def run_job(self, spec: RunSpec, on_tokens: OnTokens) -> ContainerExited:
        async def babble(ids: tuple[int, ...]) -> None:
            await on_tokens((self.WORD,) * len(ids))

        return await self._honest.run_job(spec, babble)


def forging(forger: type[Forger]) -> FindRunner:
    """Have containers run through somebody's hands."""

    async def find(site: Site) -> tuple[Runner | None, str]:
        runner, why = await find_docker(site)
        assert runner is not None, why
        return forger(runner, site.workspaces), ""

    return find


# --- seats that answer for others, or not at all --------------------------------------------------------------------
class Parrot(Routed):
    """Commits to what another seat has committed to."""

    def __init__(self, honest: Adapter, court: Court) -> None:
        super().__init__(honest)
        self._court = court

    async def perform(self, effect: CommitSeat) -> Event:
        while True:
            head = await self._court.ethereum.head()
            said = await self._court.entries("SeatCommitted", 0, head)
            heard = [entry.values[3] for entry in said if entry.values[0] == effect.batch_id]
            if heard:
                return await self.honest.perform(replace(effect, commitment=heard[0]))
            await trio.sleep(PARROT_POLL_S)


PARROT_POLL_S = 0.2


def parrot(parts: Parts) -> None:
    """Compute nothing, and repeat the first commitment of the case."""
    lazy(parts)
    exchange(CommitSeat, lambda honest: Parrot(honest, parts.chain.network.court))(parts)


absent = deaf(lambda event: not isinstance(event, CaseConvened | SeatAdded))


def shown_nothing(event: Event) -> bool:
    """Events of a seat that hide every opening, from a peer or on chain."""
    if isinstance(event, MessageReceived):
        return not isinstance(event.message, SampleOpening)
    return not isinstance(event, DataAnswered)
