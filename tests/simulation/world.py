"""A seeded world: the shipped machines over an in-memory network, wallet, container and ledger, on a virtual clock.

Nothing here decides for a node: it performs effects and reports what happened, as the adapters do.
"""

import hashlib
import heapq
import itertools
import random
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from coincurve import PrivateKey

from protocol import effects as fx
from protocol import events as ev
from protocol.errors import RemoteProtocolError
from protocol.params import PROBATION_JOBS, VCN, ChainRules
from protocol.roles.identity import Identity, Settings
from protocol.roles.machine import Machine
from protocol.stages.assignment import Account, Lane, LaneOpen
from protocol.stages.blob import ModelFile, ModelManifest
from protocol.stages.commitment import BatchContents, LaneDebit, batch_id
from protocol.stages.execution import Outcome, RunResult, failed
from protocol.stages.heartbeat import DeviceStatus
from protocol.stages.offer import NodeRecord
from protocol.stages.sampling import batch_seed, draw_samples, epoch_of, seed_block
from protocol.stages.settlement import split
from protocol.stages.verification import Calibration, Tolerance, Verdict, seat_commitment
from protocol.wire.codec import encode_named
from protocol.wire.envelope import Domain, digest, require_signer, sign_digest
from protocol.wire.ids import (
    Address,
    BatchId,
    PeerId,
    TimestampMs,
    Wei,
    address_of,
    checksum,
    cid_of,
    peer_id_of,
)

DOMAIN = Domain(31337, checksum("0x" + "11" * 20))
RULES = ChainRules(
    profile="local",
    chain_id=31337,
    settlement=DOMAIN.contract,
    stake_manager=checksum("0x" + "22" * 20),
    epoch=4,
    lag=2,
    final_depth=2,
    seat_window_s=60,
    challenge_window_s=5,
    convene_s=30,
    starved_s=120,
    court_value=VCN,
    min_stake=1_000 * VCN,
    recommended_stake=10_000 * VCN,
    min_deposit=10 * VCN,
    heartbeat_ms=5_000,
)
MANIFEST = ModelManifest(
    name="tiny",
    files=(ModelFile("tokenizer.json", cid_of(b"t"), 1),),
    tokenizer="tokenizer.json",
    eos_ids=(2,),
    pad_id=2,
    dtype="bf16",
    hidden=8,
    vocab=64,
    layers=1,
    context=256,
    needs_bytes=1,
)
NOISE = Calibration(
    Tolerance(32_000, 36_000), Tolerance(36_000, 44_000), Tolerance(15_000, 30_000), Tolerance(10**6, 2 * 10**6)
)
START_MS = 1_800_000_000_000


@dataclass
class Node:
    """A machine with its key and what the world keeps for it."""

    name: str
    secret: bytes
    machine: Machine
    score: int
    honest: bool = True
    silent: bool = False
    lag_ms: int = 0
    """How far behind the others its view of the chain is."""
    records: dict[bytes, bytes] = field(default_factory=dict)

    @property
    def address(self) -> Address:
        return self.machine.identity.operator

    @property
    def peer_id(self) -> PeerId:
        return self.machine.identity.peer_id


class World:
    """Machines, and everything between them."""

    def __init__(self, seed: int = 0) -> None:
        self.random = random.Random(seed)
        self.now_ms = START_MS
        self.nodes: dict[PeerId, Node] = {}
        self.ledger = Ledger(self)
        self.log: list[tuple[str, ev.Event]] = []
        self.heard: dict[str, list[tuple[TimestampMs, ev.Event]]] = {}
        self.trace = hashlib.sha256()
        self._queue: list[tuple[int, int, Callable[[], None]]] = []
        self._order = itertools.count()

    def add(self, name: str, roles: set[str], stake_vcn: int = 0, score: int = 4_000, *, honest: bool = True) -> Node:
        secret = hashlib.sha256(name.encode()).digest()
        key = PrivateKey(secret).public_key.format()
        peer_id = peer_id_of(key)
        identity = Identity(
            operator=address_of(key),
            peer_id=peer_id,
            domain=DOMAIN,
            addresses=(f"/ip4/127.0.0.1/tcp/4001/p2p/{peer_id}",),
            client=address_of(key) if "requester" in roles else None,
            signer=address_of(key) if "requester" in roles else None,
        )
        node = Node(name, secret, Machine(identity, RULES, Settings(secret, frozenset(roles))), score, honest)
        node.lag_ms = self.random.randint(0, 900)
        self.nodes[peer_id] = node
        if stake_vcn:
            self.ledger.register(node, stake_vcn * VCN, verifier="verifier" in roles)
        return node

    def start(self) -> None:
        for node in self.nodes.values():
            self.emit(node, ev.HpkeKeyRotated(hashlib.sha256(b"hpke" + node.secret).digest()))
            self.emit(node, ev.ModelAdded(MANIFEST))
            self.emit(node, ev.CalibrationSeen(MANIFEST.cid, 2, NOISE))
            self.emit(node, ev.DeviceReported(DeviceStatus((2,), (), 2**33, 1, 50)))
        self.ledger.announce()
        self.at(self.now_ms, self._second)

    def at(self, when_ms: int, call: Callable[[], None]) -> None:
        heapq.heappush(self._queue, (when_ms, next(self._order), call))

    def soon(self, call: Callable[[], None], delay_ms: int | None = None) -> None:
        self.at(self.now_ms + (self.random.randint(1, 20) if delay_ms is None else delay_ms), call)

    def run(self, until: Callable[[], bool], limit_s: int = 600) -> None:
        end = self.now_ms + limit_s * 1_000
        while not until():
            assert self._queue
            assert self.now_ms < end, "the world stood still"
            self.now_ms, _, call = heapq.heappop(self._queue)
            call()

    def emit(self, node: Node, event: ev.Event) -> None:
        self.log.append((node.name, event))
        self.heard.setdefault(node.name, []).append((TimestampMs(self.now_ms), event))
        self.trace.update(node.name.encode() + encode_named(event))
        try:
            effects = node.machine.handle(event, TimestampMs(self.now_ms))
        except RemoteProtocolError as error:
            self.log.append((node.name, ev.EffectFailed("RemoteProtocolError", b"", str(error), False)))
            return
        for effect in effects:
            self.soon(lambda effect=effect: self.perform(node, effect))

    def perform(self, node: Node, effect: fx.Effect) -> None:
        match effect:
            case fx.AwaitDeadline(name, at_ms):
                self.at(max(at_ms, self.now_ms), lambda: self.emit(node, ev.DeadlinePassed(name)))
            case fx.PublishHeartbeat(heartbeat):
                for other in self._others(node):
                    self.soon(lambda other=other: self.emit(other, ev.HeartbeatReceived(node.peer_id, heartbeat)))
            case fx.PublishRequest(signed):
                self.emit(node, ev.RequestPublished(signed.request))
                for other in self._others(node):
                    self.soon(lambda other=other: self.emit(other, ev.RequestReceived(signed)))
            case fx.Send(to, message):
                target = self.nodes.get(PeerId(to.rsplit("/", 1)[-1]))
                if target is None or target.silent:
                    self.emit(node, ev.EffectFailed("Send", fx.about(effect), "no answer", True))
                else:
                    self.soon(lambda: self.emit(target, ev.MessageReceived(node.peer_id, message)))
            case fx.SignMessage(message):
                self.emit(node, ev.MessageSigned(message, sign_digest(digest(message, DOMAIN), node.secret)))
            case fx.SealKey(input_cid, hpke_key):
                self.emit(node, ev.KeySealed(input_cid, hpke_key, b"key"))
            case fx.OpenInput(job_id=job_id):
                self.emit(node, ev.InputOpened(job_id))
            case fx.SealFrame(job_id, _, seq, ids):
                self.emit(node, ev.FrameSealed(job_id, seq, bytes(ids)))
            case fx.OpenFrame(job_id, _, seq, sealed):
                self.emit(node, ev.FrameOpened(job_id, seq, tuple(sealed)))
            case fx.RunContainer(spec):
                self._run(node, spec)
            case fx.SealResult(job_id, _):
                sealed = b"sealed" + node.records[job_id]
                self.emit(node, ev.ResultSealed(job_id, cid_of(sealed), sealed, hashlib.sha256(job_id).digest()))
            case fx.OpenResult(job_id=job_id, sealed_result=sealed):
                opened = ev.ResultOpened(job_id, cid_of(sealed[6:]), sealed[6], "eos", "")
                self.emit(node, opened)
            case fx.OpenSample(batch, leaf_index, _, _, _, sealed):
                self.emit(node, ev.SampleOpened(batch, leaf_index, sealed[6], ""))
            case fx.ReplaySample(batch, leaf_index, spec):
                check = check_bytes(3, honest=node.honest)
                self.soon(lambda: self.emit(node, ev.SampleReplayed(batch, leaf_index, check, "")), 5_000)
            case _:
                self.ledger.perform(node, effect)

    def _run(self, node: Node, spec: fx.RunSpec) -> None:
        if node.name.startswith("broken"):
            self.emit(node, ev.ContainerExited(spec.job_id, failed(Outcome.JOB, "timeout"), b""))
            return
        proof, result = proof_bytes(3, honest=node.honest), bytes([3]) + spec.job_id
        node.records[spec.job_id] = result
        run = RunResult(Outcome.OK, "", cid_of(result), cid_of(proof), 3, "eos", 4_000)
        self.soon(lambda: self.emit(node, ev.TokensProduced(spec.job_id, (5, 6, 7))), 2_000)
        self.soon(lambda: self.emit(node, ev.ContainerExited(spec.job_id, run, proof)), 4_000)

    def _others(self, node: Node) -> list[Node]:
        return [other for other in self.nodes.values() if other is not node and not other.silent]

    def _second(self) -> None:
        self.ledger.mine()
        for node in self.nodes.values():
            self.emit(node, ev.Tick())
        self.at(self.now_ms + 1_000, self._second)


class Ledger:
    """Lanes, batches, seeds and cases with the rules of the contracts, as far as one happy and one severe case need."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.block = 100
        self.records: dict[Address, NodeRecord] = {}
        self.verifiers: list[Address] = []
        self.free: dict[Address, int] = {}
        self.lanes: dict[tuple[Address, Address, Address], Lane] = {}
        self.batches: dict[BatchId, ev.BatchSubmitted] = {}
        self.sums: dict[BatchId, tuple[int, int]] = {}
        self.seeds: dict[int, bytes] = {}
        self.cases: dict[BatchId, dict[str, object]] = {}
        self.ended: dict[BatchId, str] = {}
        self.paid = self.burned = self.pooled = 0

    def register(self, node: Node, stake: int, *, verifier: bool) -> None:
        owner = address_of(PrivateKey(hashlib.sha256(b"owner" + node.secret).digest()).public_key.format())
        self.records[node.address] = NodeRecord(
            node.address, owner, node.address, owner, True, 0b110, Wei(stake), Wei(0), node.score, 10_000
        )
        if verifier:
            self.verifiers.append(node.address)

    def deposit(self, client: Address, amount: int) -> None:
        self.free[client] = self.free.get(client, 0) + amount

    def announce(self) -> None:
        for record in self.records.values():
            self._tell(ev.NodeSeen(record))
        for client, free in self.free.items():
            self._tell(ev.AccountSeen(Account(client, Wei(free))))

    def mine(self) -> None:
        self.block += 1
        self._tell(ev.BlockSeen(self.block, self.block - RULES.final_depth, self.world.now_ms // 1_000))

    def perform(self, node: Node, effect: fx.Effect) -> None:
        match effect:
            case fx.OpenLane(order, signature):
                self._open_lane(order, signature)
            case fx.SubmitBatch(batch):
                self._submit(node, batch)
            case fx.SealEpoch(epoch):
                assert self.block > seed_block(epoch, RULES.epoch, RULES.lag)
                if epoch not in self.seeds:
                    self.seeds[epoch] = hashlib.sha256(b"seed%d" % epoch).digest()
                    self._final(ev.SeedRevealed(epoch, self.seeds[epoch]))
            case fx.ConveneCourt(batch_id=key):
                self._convene(BatchId(key))
            case fx.CommitSeat(key, seat, commitment):
                case = self.cases[BatchId(key)]
                assert case["seats"][seat] == node.address
                case["commitments"][seat] = commitment
                self._final(ev.SeatCommitted(key, seat))
            case fx.RevealSeat(key, seat, check_digest, scores, salt):
                case = self.cases[BatchId(key)]
                assert len(case["commitments"]) == len(case["seats"])
                assert seat_commitment(BatchId(key), 0, seat, check_digest, salt) == case["commitments"][seat]
                case["scores"][seat] = scores
                self._final(ev.SeatRevealed(key, seat, node.address, scores))
            case fx.ResolveCase(key, _):
                self._resolve(BatchId(key))
            case fx.FinalizeBatch(batch_id=key):
                self._finalize(BatchId(key))
            case fx.VoidStarved(batch_id=key):
                assert self.world.now_ms // 1_000 > self.batches[BatchId(key)].timestamp + RULES.starved_s
                self.ended[BatchId(key)] = "STARVED"
                self._final(ev.BatchVoided(key, self.batches[BatchId(key)].node))
            case fx.ReplaceSeat():
                pass
            case fx.RefundBatch(batch_id=key):
                self._refund(BatchId(key))
            case fx.CheckIn():
                pass
            case _:
                raise AssertionError(f"no rule for {effect}")
        self.world.emit(node, ev.TransactionMined(type(effect).__name__, fx.about(effect), self.block))

    def _open_lane(self, order: LaneOpen, signature: bytes) -> None:
        require_signer(order, signature, DOMAIN, order.signer)
        key = (order.client, order.signer, order.node)
        lane = self.lanes.get(key, Lane(*key, 0, 0, 0))
        assert lane.left + lane.mark == order.prev_total
        self.free[order.client] -= order.amount
        assert self.free[order.client] >= 0
        self.lanes[key] = replace(lane, left=lane.left + order.amount)
        self._final(ev.AccountSeen(Account(order.client, Wei(self.free[order.client]))))
        self._final(ev.LaneSeen(self.lanes[key]))

    def _submit(self, node: Node, batch: fx.Batch) -> None:
        debits = []
        assert sum(claim.leaves for claim in batch.claims) <= PROBATION_JOBS
        for claim in batch.claims:
            key = (claim.client, claim.signer, batch.node)
            lane = self.lanes[key]
            assert claim.jobs - lane.jobs == claim.leaves
            assert claim.debit <= min(claim.cumulative - lane.mark, lane.left)
            self.lanes[key] = replace(lane, left=lane.left - claim.debit, mark=claim.cumulative, jobs=claim.jobs)
            debits.append(LaneDebit(claim.client, claim.signer, claim.leaves, claim.debit))
            self._final(ev.LaneSeen(self.lanes[key]))
        key = batch_id(batch.node, batch.slot, self.block)
        submitted = ev.BatchSubmitted(
            batch_id=key,
            node=batch.node,
            slot=batch.slot,
            class_id=batch.class_id,
            block=self.block,
            timestamp=self.world.now_ms // 1_000,
            rate_bps=10_000,
            leaf_count=sum(claim.leaves for claim in batch.claims),
            unreceipted=batch.unreceipted,
            uncalibrated=batch.uncalibrated,
            contents=BatchContents(batch.root, batch.max_leaf, tuple(debits)),
            lane_jobs=tuple(claim.jobs for claim in batch.claims),
        )
        self.batches[key] = submitted
        fees = sum(claim.debit - claim.charge - claim.bonus for claim in batch.claims)
        self.sums[key] = (batch.price_sum, batch.bonus_sum, fees)
        self.world.emit(node, ev.BatchMined(key, batch.slot, self.block, batch.root))
        self._final(submitted)

    def _convene(self, key: BatchId) -> None:
        if key in self.cases:
            return
        batch = self.batches[key]
        seed = batch_seed(self.seeds[epoch_of(batch.block, RULES.epoch)], key)
        drawn = draw_samples(seed, batch.leaf_count, batch.rate_bps)
        able = [node for node in self.verifiers if node != batch.node]
        random.Random(seed).shuffle(able)
        count = 3 if self.sums[key][0] >= RULES.court_value else 1
        self.cases[key] = {
            "seats": able[:count],
            "spare": able[count:],
            "commitments": {},
            "scores": {},
        }
        self._final(
            ev.CaseConvened(
                key, batch.node, batch.slot, batch.class_id, drawn, tuple(able[:count]), self.world.now_ms // 1_000
            )
        )

    def _resolve(self, key: BatchId) -> None:
        case = self.cases[key]
        if key in self.ended or len(case["scores"]) < len(case["seats"]):
            return
        lowest = sorted(min(scores) for scores in case["scores"].values())
        median = lowest[len(lowest) // 2]
        if len(lowest) == 1 and median <= 9_500:
            for node in case["spare"][:2]:
                case["seats"].append(node)
                self._final(ev.SeatAdded(key, len(case["seats"]) - 1, node, self.world.now_ms // 1_000))
            return
        verdict = Verdict.PASS if median > 9_500 else Verdict.REVIEW if median > 8_500 else Verdict.SEVERE
        self.ended[key] = verdict.name
        self._final(ev.CaseResolved(key, verdict, median))
        if verdict is not Verdict.PASS:
            node = self.batches[key].node
            self._final(ev.BatchVoided(key, node))
            record = self.records[node]
            self.records[node] = replace(record, stake=Wei(record.stake // 2), active=False)
            self._final(ev.NodeSlashed(node, record.stake // 2, key))
            self._final(ev.NodeSeen(self.records[node]))

    def _finalize(self, key: BatchId) -> None:
        if self.ended.get(key) == "SETTLED":
            return
        assert self.ended.get(key, "PASS") == "PASS"
        price, bonus, fees = self.sums[key]
        batch = self.batches[key]
        parts = split(price, fees, bonus, self.records[batch.node].score)
        self.ended[key] = "SETTLED"
        self.paid, self.burned, self.pooled = parts.reward + bonus, parts.burned, parts.pooled
        self._final(ev.BatchSettled(key, batch.node, price, parts.burned, parts.reward, parts.bonus, parts.pooled))

    def _refund(self, key: BatchId) -> None:
        if self.ended.get(key) == "REFUNDED":
            return
        batch = self.batches[key]
        self.ended[key] = "REFUNDED"
        for debit in batch.contents.debits:
            lane_key = (debit.client, debit.signer, batch.node)
            self.lanes[lane_key] = replace(self.lanes[lane_key], left=self.lanes[lane_key].left + debit.amount)
            self._final(ev.LaneSeen(self.lanes[lane_key]))
        self._final(ev.BatchRefunded(key, batch.node))

    def _final(self, event: ev.Event) -> None:
        self.world.soon(lambda: self._tell(event), RULES.final_depth * 1_000)

    def _tell(self, event: ev.Event) -> None:
        for node in self.world.nodes.values():
            self.world.soon(lambda node=node: self.world.emit(node, event), node.lag_ms)


def proof_bytes(tokens: int, *, honest: bool) -> bytes:
    """A fingerprint of `tokens` tokens (at most 32); an honest one agrees with `check_bytes`."""
    values = [40 if honest else -40 if i % 2 else 25 for i in range(8 * tokens)]
    return struct.pack(f"<e{8 * tokens}b", 1.0, *values)


def check_bytes(tokens: int, *, honest: bool) -> bytes:
    """An honest seat's own pass over such a result."""
    values = [40 if honest else 13 for _ in range(8 * tokens)]
    return struct.pack(f"<f{8 * tokens}hd{tokens + 1}I", 1.0, *values, 1_600.0, *[0] * (tokens + 1))


def ask(number: int = 1, max_new_tokens: int = 128, max_price_vcn: int = 20) -> ev.JobAsked:
    """A job for the tiny model."""
    return ev.JobAsked(
        ask_id=number.to_bytes(16, "big"),
        manifest=MANIFEST.cid,
        max_new_tokens=max_new_tokens,
        input_cid=cid_of(b"input%d" % number),
        input_bytes=100,
        content_key_hash=cid_of(b"key%d" % number),
        max_price=max_price_vcn * VCN,
        max_memory=2**32,
        classes=0b110,
        timeout_ms=120_000,
        deadline=START_MS // 1_000 + 600,
        min_reputation=0,
        with_bonus=True,
        uncalibrated=False,
        nonce=number,
        sealed_input=b"sealed input",
    )
