"""A seeded world: the shipped machines over an in-memory network, wallet, container and chain, on a virtual clock.

Nothing here decides for a node: it performs effects and reports what happened, as the adapters do.
"""

from __future__ import annotations

import hashlib
import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from coincurve import PrivateKey

from protocol import effects as fx
from protocol import events as ev
from protocol.params import SCORE_MAX, VCN
from protocol.roles.identity import Identity, Settings
from protocol.roles.role import Role
from protocol.stages.assignment import Assignment
from protocol.stages.execution import Outcome, RunResult, RunSpec, failed
from protocol.stages.heartbeat import DeviceStatus
from protocol.stages.offer import NodeRecord
from protocol.stages.stop_order import STOP_ORDER
from protocol.stages.verification import NOT_FOR_US
from protocol.wire.codec import encode_named
from protocol.wire.envelope import digest, sign_digest
from protocol.wire.ids import PeerId, TimestampMs, address_of, cid_of, peer_id_of
from tests.fakes.contracts import Refused
from tests.fakes.hand import confirmed
from tests.simulation.chain import Chain, Sent, is_too_early
from tests.simulation.node import Node, backoff_ms
from tests.simulation.scene import (
    CHEAPER_PPM,
    CLASS,
    DOMAIN,
    MANIFEST,
    NOISE,
    RULES,
    START_MS,
    Work,
    check_bytes,
    fingerprint_bytes,
    reading_bytes,
)
from tests.simulation.weather import FAIR, Weather

Answer = Callable[[ev.Event], None]
TOKENS_AFTER_MS, RUN_MS, CHECK_MS, CONFIRM_MS = 2_000, 4_000, 5_000, 500
NO_ANSWER_MS = 1_000
STANDING_MS = 500
"""How long after a node goes on its containers may say something, at most."""


@dataclass
class Container:
    """A run under way: it goes on while its node is away."""

    ends_ms: int
    run: RunResult
    fingerprint: bytes
    answer: Answer

    def exited(self, job_id: bytes) -> ev.ContainerExited:
        return ev.ContainerExited(job_id, self.run, self.fingerprint)


@dataclass
class World:
    """Machines, and everything between them."""

    seed: int = 0
    weather: Weather = FAIR
    now_ms: int = START_MS
    nodes: dict[PeerId, Node] = field(default_factory=dict)
    log: list[tuple[str, ev.Event]] = field(default_factory=list)
    heard: dict[str, list[tuple[TimestampMs, ev.Event]]] = field(default_factory=dict)
    told: dict[type[ev.Event], list[ev.Event]] = field(default_factory=dict)
    """The events of `log`, by class: scenes ask for it after each event."""
    specs: list[tuple[str, RunSpec]] = field(default_factory=list)
    """The runs of each node's runner, work and checks."""
    kills: int = 0

    def __post_init__(self) -> None:
        self.random = random.Random(self.seed)
        self._by_name: dict[str, Node] = {}
        self.started_ms = self.now_ms
        self.chain = Chain(self.now_ms // 1_000)
        self._containers: dict[tuple[str, bytes], Container] = {}
        self._standing: set[str] = set()
        self._signed: dict[tuple[object, ...], bytes] = {}
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()

    # --- who is there -----------------------------------------------------------------------------------------------
    def add(self, name: str, roles: set[str], stake_vcn: int = 0, work: Work = Work.HONEST) -> Node:
        """A node; it is registered if it has a stake, and judges if it is a verifier."""
        secret = hashlib.sha256(name.encode()).digest()
        key = PrivateKey(secret).public_key.format()
        peer_id = peer_id_of(key)
        asks = address_of(key) if "requester" in roles else None
        identity = Identity(
            operator=address_of(key),
            peer_id=peer_id,
            domain=DOMAIN,
            addresses=(f"/ip4/127.0.0.1/tcp/4001/p2p/{peer_id}",),
            client=asks,
            signer=asks,
        )
        settings = Settings(secret, frozenset(map(Role, roles)))
        node = Node(name, secret, identity, settings, self._perform, self._hear, lambda: self.now_ms, work)
        node.lag_ms = self.random.randint(0, 900)
        self.nodes[peer_id] = self._by_name[name] = node
        node.stake = stake_vcn * VCN
        if stake_vcn:
            owner = address_of(PrivateKey(hashlib.sha256(b"owner" + secret).digest()).public_key.format())
            self.chain.register(node.address, owner, stake_vcn * VCN, verifier="verifier" in roles)
        return node

    def node(self, name: str) -> Node:
        return self._by_name[name]

    def record(self, node: Node) -> NodeRecord:
        """A node as the chain has it."""
        if not self.chain.head:
            self.chain.mine(self.now_ms // 1_000)
        seen = (event for block in reversed(self.chain.blocks) for event in reversed(block.events))
        return next(
            event.record for event in seen if isinstance(event, ev.NodeSeen) and event.record.node_id == node.address
        )

    def earn(self, name: str, jobs: int) -> None:
        """Give a node the record of so many good jobs."""
        address = self.node(name).address

        def change(contracts: object) -> None:
            known = contracts.nodes[address]  # type: ignore[attr-defined]
            known.successes, known.total, known.response_ms = jobs, jobs, 1_000 * jobs
            contracts.show(address)  # type: ignore[attr-defined]

        self.chain.change(change)

    def start(self) -> None:
        """Bring every node up."""
        for node in self.nodes.values():
            self._introduce(node)
        self.at(self.now_ms, self._second)

    def join(self, node: Node) -> None:
        """Bring one more node up."""
        self._introduce(node)

    def _introduce(self, node: Node) -> None:
        node.take(ev.HpkeKeyRotated(hashlib.sha256(b"hpke" + node.secret).digest()))
        if node.has_model:
            node.take(ev.ModelAdded(MANIFEST))
        if node.is_calibrated:
            node.take(ev.CalibrationSeen(MANIFEST.cid, CLASS, NOISE))
        self._report_device(node)

    def _report_device(self, node: Node) -> None:
        node.take(ev.DeviceReported(DeviceStatus((CLASS,), (), 2**33, 1, (50,))))

    def trace(self) -> str:
        """A hash of all that was heard: two runs with the same are the same."""
        trace = hashlib.sha256()
        # Most events are heard by many nodes.
        written: dict[int, bytes] = {}
        for name, event in self.log:
            if id(event) not in written:
                written[id(event)] = encode_named(event)
            trace.update(name.encode() + written[id(event)])
        return trace.hexdigest()

    # --- time -------------------------------------------------------------------------------------------------------
    def at(self, when_ms: int, call: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when_ms, next(self._order), call))

    def soon(self, call: Callable[[], None], delay_ms: int | None = None) -> None:
        longest = self.weather.delay_ms
        self.at(self.now_ms + (self.random.randint(1, longest) if delay_ms is None else delay_ms), call)

    def run(self, until: Callable[[], bool], limit_s: int = 600) -> None:
        """Let time pass until something holds. Raises: AssertionError if it does not within `limit_s`."""
        end = self.now_ms + limit_s * 1_000
        while not until():
            assert self._queue
            assert self.now_ms < end, "the world stood still"
            self.now_ms, _, call = heapq.heappop(self._queue)
            call()

    def _second(self) -> None:
        now_s, weather = self.now_ms // 1_000, self.weather
        self.chain.mine(now_s)
        if weather.reorg and self.random.random() < weather.reorg:
            self.chain.reorg(self.random.randint(1, RULES.final_depth), now_s)
        for node in self.nodes.values():
            self.soon(lambda node=node: self._follow_chain(node), node.lag_ms)  # type: ignore[misc]
            node.take(ev.Tick())
            if weather.crash and node.up and self.random.random() < weather.crash:
                self.kill(node, self.random.randint(1, weather.away_s) * 1_000)
        self.at(self.now_ms + 1_000, self._second)

    # --- death ------------------------------------------------------------------------------------------------------
    def kill(self, node: Node, away_ms: int) -> None:
        """End a node at once, and start it again after a while."""
        self.kills += 1
        node.kill()
        self.soon(lambda: self._revive(node), away_ms)

    def _revive(self, node: Node) -> None:
        node.restart()
        self._report_device(node)

    # --- what nodes hear --------------------------------------------------------------------------------------------
    def _hear(self, node: Node, event: ev.Event) -> None:
        self.log.append((node.name, event))
        self.told.setdefault(type(event), []).append(event)
        self.heard.setdefault(node.name, []).append((TimestampMs(self.now_ms), event))

    def _follow_chain(self, node: Node) -> None:
        """The events of a node's watcher: final blocks after its cursor, then the head."""
        if not node.up:
            return
        final = max(node.cursor, self.chain.final)
        for number in range(node.cursor + 1, final + 1):
            for event in self.chain.blocks[number].events:
                node.take(event)
        node.cursor = final
        node.take(ev.BlockSeen(self.chain.head, final, self.chain.contracts.timestamp))

    # --- what nodes want --------------------------------------------------------------------------------------------
    def _perform(self, node: Node, effect: fx.Effect, answer: Answer) -> None:
        """Do an effect a moment later, unless its node has died by then."""
        life = node.life

        def act() -> None:
            if node.life == life:
                self._act(node, effect, answer)

        self.soon(act)

    def _act(self, node: Node, effect: fx.Effect, answer: Answer) -> None:
        match effect:
            case fx.AwaitDeadline(timer, at_ms):
                self.at(max(at_ms, self.now_ms), lambda: answer(ev.DeadlinePassed(timer)))
            case fx.PublishHeartbeat(heartbeat):
                answer(ev.HeartbeatPublished(heartbeat.counter))
                self._gossip(node, ev.HeartbeatReceived(node.peer_id, heartbeat))
            case fx.PublishRequest(signed):
                answer(ev.RequestPublished(signed.request))
                self._gossip(node, ev.RequestReceived(signed))
            case fx.Send():
                self._send(node, effect, answer, 1)
            case fx.SignMessage(message):
                self._note(node, message)
                answer(ev.MessageSigned(message, sign_digest(digest(message, DOMAIN), node.secret)))
            case fx.RunContainer(spec):
                self.specs.append((node.name, spec))
                self._run_container(node, spec, answer)
            case fx.ShortenRun(job_id):
                answer(ev.RunShortened(job_id))
                self._shorten(node, job_id)
            case fx.StopContainer(job_id):
                # The answer to its run, which comes beside it, is the same.
                answer(ev.ContainerExited(job_id, failed(Outcome.CANCELLED, ""), b""))
            case fx.HoldContainers(is_held):
                (self._standing.add if is_held else self._standing.discard)(node.name)
                answer(ev.ContainersHeld(is_held))
            case fx.ReplaySample(batch, leaf_index, spec):
                self.specs.append((node.name, spec))
                seat, work = Work.DISHONEST if node.is_lazy else node.work, self._work_of(spec)
                margin_ppm = CHEAPER_PPM if work is Work.ADAPTIVE else 0
                text = check_bytes(3, seat, margin_ppm)
                check = reading_bytes(spec.kind, 3, work, seat) if spec.kind else text
                replayed = ev.SampleReplayed(batch, leaf_index, check, "")
                self.soon(lambda: self._once_free(node, lambda: answer(replayed)), CHECK_MS)
            case fx.FetchModel(manifest):
                # No node passes models on here.
                self.soon(
                    lambda: answer(ev.EffectFailed(fx.FetchModel, manifest, "no peer has it", True)), NO_ANSWER_MS
                )
            case (
                fx.SealKey()
                | fx.OpenInput()
                | fx.SealFrame()
                | fx.OpenFrame()
                | fx.SealResult()
                | fx.OpenResult()
                | fx.OpenSample()
            ):
                answer(_sealed(node, effect))
            case fx.ConfirmLane():
                self._confirm(node, effect, answer)
            case _:
                self._transact(node, effect, answer, 1)

    def _note(self, node: Node, message: object) -> None:
        """No number of a lane is ever signed for two different jobs."""
        if isinstance(message, Assignment):
            signed = digest(message, DOMAIN)
            key = (message.client, message.signer, message.node, message.index)
            assert self._signed.setdefault(key, signed) == signed, f"{node.name} signed job {message.index} twice"

    # --- peers ------------------------------------------------------------------------------------------------------
    def _gossip(self, node: Node, event: ev.Event) -> None:
        for other in self.nodes.values():
            if other is node or other.silent or self.random.random() < self.weather.loss:
                continue
            self.soon(lambda other=other: other.take(event))  # type: ignore[misc]

    def _send(self, node: Node, send: fx.Send, answer: Answer, tried: int) -> None:
        """One call: the receiver has it on its disk before the sender is told, if it is told."""
        target = self.nodes.get(PeerId(send.to.rsplit("/", 1)[-1]))
        weather, chance = self.weather, self.random
        message = send.message
        lost = chance.random() < weather.loss
        started = self.now_ms

        def arrive() -> None:
            reached = target is not None and target.up and not target.silent and not lost
            if reached and target is not None:
                target.take(ev.MessageReceived(node.peer_id, message))
                if chance.random() < weather.duplicate:
                    self.soon(lambda: target.take(ev.MessageReceived(node.peer_id, message)))
            if reached and target is not None and chance.random() >= weather.loss:
                self.soon(lambda: answer(ev.MessageSent(target.peer_id, self.now_ms - started)))
                return
            wait = backoff_ms(tried, chance) if node.is_young else None
            if wait is None:
                failure = ev.EffectFailed(fx.Send, fx.about(send), "no answer", True)
                self.soon(lambda: answer(failure), NO_ANSWER_MS)
            else:
                self._later(node, lambda: self._send(node, send, answer, tried + 1), wait)

        self.soon(arrive)

    def _later(self, node: Node, call: Callable[[], None], delay_ms: int) -> None:
        life = node.life
        self.soon(lambda: call() if node.life == life else None, delay_ms)

    # --- containers -------------------------------------------------------------------------------------------------
    def _run_container(self, node: Node, spec: RunSpec, answer: Answer) -> None:
        """Start a container, or find the one that is there for the job already."""
        if node.work is Work.FAILING:
            answer(ev.ContainerExited(spec.job_id, failed(Outcome.JOB, "timeout"), b""))
            return
        key = (node.name, spec.job_id)
        if key not in self._containers:
            fingerprint, result = fingerprint_bytes(3, node.work), bytes([3]) + spec.job_id
            node.disk[spec.job_id] = result
            run = RunResult(Outcome.OK, "", cid_of(result), cid_of(fingerprint), 3, "eos", RUN_MS)
            self._containers[key] = Container(self.now_ms + RUN_MS, run, fingerprint, answer)
            tokens = ev.TokensProduced(spec.job_id, (5, 6, 7))
            self._later(node, lambda: self._once_free(node, lambda: node.take(tokens)), TOKENS_AFTER_MS)
        container = self._containers[key]
        container.answer = answer

        def end() -> None:
            answer(container.exited(spec.job_id))

        self.at(max(self.now_ms, container.ends_ms), lambda: self._once_free(node, end))

    def _once_free(self, node: Node, call: Callable[[], None]) -> None:
        """Do what a container does once it stands still no more."""
        if node.name in self._standing:
            self.soon(lambda: self._once_free(node, call), STANDING_MS)
        else:
            call()

    def _shorten(self, node: Node, job_id: bytes) -> None:
        """End a run with the tokens that it has, if it has not ended."""
        container = self._containers.get((node.name, job_id))
        if container is None or container.ends_ms <= self.now_ms:
            return
        node.disk[job_id] = result = bytes([3]) + STOP_ORDER.encode() + job_id
        container.run = replace(container.run, result_hash=cid_of(result), finish=STOP_ORDER)
        container.ends_ms = self.now_ms
        container.answer(container.exited(job_id))

    def _work_of(self, spec: RunSpec) -> Work:
        """How the node works that ran a job."""
        return next(self.node(name).work for name, job_id in self._containers if job_id == spec.job_id)

    def _confirm(self, node: Node, effect: fx.ConfirmLane, answer: Answer) -> None:
        """Look at the chain until an order for a lane has counted, or never will."""
        head = self.chain.head
        deep, final = head - effect.confirmations + 1, head - RULES.final_depth
        try:
            found = confirmed(self.chain.state_at(deep), self.chain.state_at(final), effect)
        except Refused as refused:
            answer(ev.EffectFailed(fx.ConfirmLane, fx.about(effect), f"ConfirmLane: {refused}()", False))
            return
        if found is not None:
            answer(found)
        else:
            self._later(node, lambda: self._confirm(node, effect, answer), CONFIRM_MS)

    # --- chain ------------------------------------------------------------------------------------------------------
    def _transact(self, node: Node, effect: fx.ChainEffect, answer: Answer, tried: int) -> None:
        if (node.is_lazy or node.is_bribed) and isinstance(effect, fx.RevealSeat):
            effect = replace(effect, scores=(SCORE_MAX,) * len(effect.scores))

        def heard(end: ev.Event | Refused) -> None:
            if not isinstance(end, Refused):
                self.soon(lambda: answer(end))
                return
            wait = backoff_ms(tried, self.random) if is_too_early(end) else None
            if wait is None:
                kind = type(effect).__name__
                answer(ev.EffectFailed(type(effect), fx.about(effect), f"{kind}: {end}()", is_too_early(end)))
            else:
                self._later(node, lambda: self._transact(node, effect, answer, tried + 1), wait)

        self.chain.send(Sent(node.hand, effect, heard))


def _sealed(node: Node, effect: fx.SealingEffect) -> ev.Event:
    """Answers of sealing; nothing is hidden here, but a key that is sealed to one node opens nothing for another."""
    match effect:
        case fx.SealKey(input_cid, hpke_key):
            return ev.KeySealed(input_cid, hpke_key, b"key for " + hpke_key)
        case fx.OpenInput(job_id=job_id):
            return ev.InputOpened(job_id)
        case fx.SealFrame(job_id, _, seq, ids):
            return ev.FrameSealed(job_id, seq, bytes(ids))
        case fx.OpenFrame(job_id, _, seq, sealed):
            return ev.FrameOpened(job_id, seq, tuple(sealed))
        case fx.SealResult(job_id, _):
            sealed = b"sealed" + node.disk[job_id]
            return ev.ResultSealed(job_id, cid_of(sealed), sealed, hashlib.sha256(job_id).digest())
        case fx.OpenResult(job_id=job_id, sealed_result=sealed):
            finish = STOP_ORDER if sealed[7:].startswith(STOP_ORDER.encode()) else "eos"
            return ev.ResultOpened(job_id, cid_of(sealed[6:]), sealed[6], finish, "")
        case fx.OpenSample(batch, leaf_index, _, sealed_key, _, sealed):
            is_ours = sealed_key == b"key for " + node.machine.member.hpke_key
            return ev.SampleOpened(batch, leaf_index, sealed[6] if is_ours else 0, "" if is_ours else NOT_FOR_US)
