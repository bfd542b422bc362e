"""A job from bid to pay between whole nodes: real chain, gossip, calls, sealing and journals; a played container."""

import hashlib
import json
import struct
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import trio

from chain.calibration.files import CalibrationFile, ClassNoise
from chain.contracts.settlement import CHECKED
from chain.tx.keystore import load_key, read_password
from chain.tx.wallet import Key
from executor.models import ModelStore
from node.api.backend import ChatMessage, JobAsk
from node.api.snapshot import JobView
from node.config import Config
from node.daemon.node import Node
from node.daemon.process import run
from node.daemon.runner import Runner, Site
from node.driver import Adapter
from node.wallet.home import Home
from protocol.effects import ReplaySample, Send
from protocol.errors import P2PError
from protocol.events import ContainerExited, DeviceReported, Event, SampleReplayed
from protocol.judging.reading import units_of
from protocol.params import VCN
from protocol.stages.assignment import verify_fee
from protocol.stages.blob import ModelFile, ModelManifest
from protocol.stages.execution import CHUNK_TOKENS, Outcome, RunResult, RunSpec
from protocol.stages.heartbeat import DeviceStatus
from protocol.stages.verification import Calibration, SampleOpening, Tolerance
from protocol.wire.ids import Address, cid_of
from tests.fakes import reader
from tests.integration.test_daemon import REPOSITORY, Place
from tests.support.anvil_ledger import RUNTIME, open_anvil_ledger
from tests.unit.node.test_text import TOKENIZER, encode

pytestmark = [pytest.mark.anvil, pytest.mark.libp2p, pytest.mark.slow]

ANSWER = "the lazy dog jumps over the quick brown fox"
TOKENIZER_JSON = TOKENIZER.to_str().encode()
MODEL = ModelManifest(
    name="tiny",
    files=(ModelFile("tokenizer.json", cid_of(TOKENIZER_JSON), len(TOKENIZER_JSON)),),
    tokenizer="tokenizer.json",
    eos_ids=(0,),
    pad_id=0,
    dtype="fp32",
    hidden=8,
    vocab=400,
    layers=1,
    context=4_096,
    needs_bytes=1,
)
NOISE = Calibration(
    Tolerance(32_000, 36_000),
    Tolerance(36_000, 44_000),
    Tolerance(15_000, 30_000),
    Tolerance(10**6, 2 * 10**6),
    embed=Tolerance(15_000, 30_000),
)
CALIBRATION = CalibrationFile(MODEL.cid, bytes(2 * MODEL.hidden), {1: ClassNoise(NOISE, 200, RUNTIME)})
Condition = Callable[[JobView], bool]


class Played:
    """Containers without an engine: every model says the same, and its hidden states are made of what was said."""

    def __init__(self, site: Site, said: str = ANSWER, *, claims: str | None = None) -> None:
        self._workspaces = site.workspaces
        self._said = said
        # A cheat hands in one text with the fingerprint of another.
        self._claims = claims or said
        self.runs = 0
        self.is_served = False
        # So many runs must have begun before one goes on.
        self.together = 1
        self._begun: set[bytes] = set()
        self._all_begun = trio.Event()

    async def recover(self) -> None:
        """Nothing was left behind."""

    async def serve(self) -> None:
        """Nothing is shared here."""
        self.is_served = True
        try:
            await trio.sleep_forever()
        finally:
            self.is_served = False

    async def report(self) -> DeviceReported:
        return DeviceReported(DeviceStatus((1,), (), 2**33, 1, 20))

    async def run_job(self, spec: RunSpec, on_tokens: Callable[[tuple[int, ...]], Awaitable[None]]) -> ContainerExited:
        self.runs += 1
        self._begun.add(spec.job_id)
        if len(self._begun) >= self.together:
            self._all_begun.set()
        await self._all_begun.wait()
        workspace = self._workspaces.of_job(spec.job_id)
        if spec.kind:
            asked = json.loads(workspace.get("input.json") or b"{}")
            model = b"" if self._claims == self._said else b"cheaper"
            result, proof = reader.result(spec, MODEL, asked, model), reader.proof(spec, asked, model)
            workspace.put("result.json", result)
            hashes = hashlib.sha256(result).digest(), hashlib.sha256(proof).digest()
            run = RunResult(Outcome.OK, "", *hashes, reader.delivered(result), "", 50)
            return ContainerExited(spec.job_id, run, proof)
        ids = encode(self._claims)
        for at in range(0, len(ids), 7):
            await on_tokens(tuple(ids[at : at + 7]))
        result = _result(spec, json.loads(workspace.get("input.json") or b"{}")["salt"], ids)
        workspace.put("result.json", result)
        proof = _proof(encode(self._said)[: len(ids)])
        hashes = hashlib.sha256(result).digest(), hashlib.sha256(proof).digest()
        return ContainerExited(spec.job_id, RunResult(Outcome.OK, "", *hashes, len(ids), "eos", 50), proof)

    async def replay(self, effect: ReplaySample) -> SampleReplayed:
        workspace = self._workspaces.of_sample(effect.batch_id, effect.leaf_index)
        if effect.spec.kind:
            asked, result = (workspace.get(name) or b"" for name in ("input.json", "result.json"))
            found = reader.check(effect.spec, MODEL, json.loads(asked), result)
            return SampleReplayed(effect.batch_id, effect.leaf_index, *found)
        ids = json.loads(workspace.get("result.json") or b"{}")["output_token_ids"]
        return SampleReplayed(effect.batch_id, effect.leaf_index, _check(ids), "")

    def add_small_model(self, models: ModelStore) -> ModelManifest:
        raise AssertionError("the models are there from the start")

    def close(self) -> None:
        """Nothing is open."""


def _result(spec: RunSpec, salt: str, ids: list[int]) -> bytes:
    plain = {
        "v": 1,
        "job_id": spec.job_id.hex(),
        "salt": salt,
        "manifest_sha256": spec.manifest.hex(),
        "dtype": "fp32",
        "device_class": 1,
        "prompt_token_ids_sha256": "0" * 64,
        "output_token_ids": ids,
        "finish": "eos",
    }
    return json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()


def _rows(ids: list[int]) -> list[int]:
    return [(token * 31 + component * 17) % 121 - 60 for token in ids for component in range(8)]


def _proof(ids: list[int]) -> bytes:
    chunks = (ids[at : at + CHUNK_TOKENS] for at in range(0, len(ids), CHUNK_TOKENS))
    return b"".join(struct.pack(f"<e{8 * len(chunk)}b", 1.0, *_rows(chunk)) for chunk in chunks)


def _check(ids: list[int]) -> bytes:
    chunks = [_rows(ids[at : at + CHUNK_TOKENS]) for at in range(0, len(ids), CHUNK_TOKENS)]
    packed = (
        struct.pack(f"<f{len(rows)}hd", 1.0, *rows, sum(row * row for row in rows) / len(rows)) for rows in chunks
    )
    return b"".join(packed) + bytes(4 * (len(ids) + 1))


@pytest.fixture
async def place(tmp_path: Path) -> AsyncIterator[Place]:
    async with open_anvil_ledger(calibrations=[CALIBRATION]) as ledger:
        # Nobody reads what it prints, and a full pipe would stop it.
        await ledger.controls.ethereum.rpc.request("anvil_setLoggingEnabled", False)
        folder = tmp_path / "store" / "models" / MODEL.cid.hex()
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_bytes(MODEL.encode())
        (folder / "tokenizer.json").write_bytes(TOKENIZER_JSON)
        yield Place(tmp_path, ledger)


def operator_of(config: Config) -> Key:
    return _key(config, "operator")


def _key(config: Config, which: str) -> Key:
    home = Home(config.node.data_dir)
    path = home.operator_key if which == "operator" else home.client_key
    return load_key(path, read_password(home.password, {}, None, ""))


async def worker(place: Place, name: str, roles: str, bootnodes: tuple[str, ...] = ()) -> Config:
    """A staked node, on the list of verifiers where it is to be one."""
    config = place.make(
        name, node__roles=roles, p2p__bootnodes=list(bootnodes), executor__store=str(place.root / "store")
    )
    operator = operator_of(config)
    await place.ledger.register(operator)
    if "verifier" in roles:
        await place.ledger.join(operator)
    return config


class Town:
    """The nodes of a test, side by side; each can be taken down and brought up again."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scopes: dict[Path, tuple[trio.CancelScope, trio.Event]] = {}

    async def up(self, config: Config, said: str = ANSWER, *, claims: str | None = None) -> Node:
        """Bring a node up. `claims`: what it hands in for what it said."""

        async def find(site: Site) -> tuple[Runner | None, str]:
            return (None, "") if config.node.roles == ("requester",) else (Played(site, said, claims=claims), "")

        scope, gone = trio.CancelScope(), trio.Event()

        async def live(*, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
            with scope:
                await run(config, find, task_status=task_status)
            gone.set()

        self._scopes[config.node.data_dir] = scope, gone
        with trio.fail_after(60):
            node: Node = await self._nursery.start(live)
        return node

    async def down(self, config: Config) -> None:
        """Take it down where it stands."""
        scope, gone = self._scopes[config.node.data_dir]
        scope.cancel()
        await gone.wait()


@dataclass
class Cast:
    """A requester with money, one provider, three verifiers, and blocks that come by themselves."""

    town: Town
    asker: Node
    provider: Node


@asynccontextmanager
async def network(place: Place, *, claims: str | None = None, **asker_settings: object) -> AsyncIterator[Cast]:
    asker = place.make("asker", executor__store=str(place.root / "store"), **asker_settings)
    await place.ledger.deposit(_key(asker, "client"), 1_000 * VCN)
    async with trio.open_nursery() as nursery:
        town = Town(nursery)
        provider = await town.up(await worker(place, "provider", "provider"), claims=claims)
        boot = (provider.parts.host.addresses[0],)
        for number in range(3):
            verifier = await town.up(await worker(place, f"verifier{number}", "verifier", boot))
        nursery.start_soon(place.ledger.keep_mining)
        # Who knows one other node alone is by itself when that comes back under another address.
        boot = (*boot, verifier.parts.host.addresses[0])
        yield Cast(town, await town.up(place.make_again(asker, p2p__bootnodes=list(boot))), provider)
        nursery.cancel_scope.cancel()


async def heard(node: Node, count: int) -> None:
    """Wait until a node has heard the beats of so many others that can work."""
    events = node.parts.driver.subscribe()
    with trio.fail_after(60):
        while sum(peer.online and peer.class_ids != () for peer in (await node.backend.snapshot()).nodes) < count:
            await events.receive()


async def until(node: Node, job: str, condition: Condition, within_s: float) -> JobView:
    """Follow a job until its view fulfils a condition."""
    with trio.fail_after(within_s):
        async with node.backend.follow(job) as updates:
            async for update in updates:
                if update.job is not None and condition(update.job):
                    return update.job
    raise AssertionError(await node.backend.job(job))


ASK = JobAsk("tiny", (ChatMessage("user", "jump"),), 64, 0, 30_000, 0, with_bonus=True, uncalibrated=False)


async def test_job_from_bid_to_pay(place: Place) -> None:
    async with network(place) as cast:
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(replace(ASK, temperature_milli=800))
        done = await until(cast.asker, job, lambda view: view.state == "delivered", 60)
        assert (done.text, done.finish, done.tokens) == (ANSWER, "eos", len(encode(ANSWER)))
        assert done.temperature_milli == 800
        assert done.charge_wei > 0
        paid = await until(cast.asker, job, lambda view: view.ended, 120)
        assert paid.state == "spendable"
        case = await cast.asker.backend.case(job)
        # A new node is on probation: all of its leaves are drawn.
        assert (case.verdict, case.state, len(case.seats)) == ("pass", "final", 1)
        assert case.price_wei == paid.charge_wei
        assert case.burned_wei == -(-paid.charge_wei // 10)
        # The provider's watcher may see the same block a moment later.
        served = await until(cast.provider, job, lambda view: view.ended, 30)
        assert (served.side, served.state) == ("provider", "spendable")
        assert cast.asker.parts.metrics.pass_percent == 100


TEXTS = ("the quick brown fox", "jumps over the lazy dog " * 12)
READ = replace(ASK, kind="embed", messages=(), texts=TEXTS, max_new_tokens=0)


async def test_chats_of_one_model_are_at_the_machine_at_the_same_time(place: Place) -> None:
    async with network(place) as cast:
        await heard(cast.asker, 1)
        played = cast.provider.parts.runner
        assert isinstance(played, Played)
        assert played.is_served
        played.together = 3
        jobs = [await cast.asker.backend.ask_job(replace(ASK, max_new_tokens=length)) for length in (64, 65, 66)]
        for job in jobs:
            assert (await until(cast.asker, job, lambda view: view.state == "delivered", 60)).text == ANSWER


async def test_embeddings_from_bid_to_pay(place: Place) -> None:
    async with network(place) as cast:
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(READ)
        done = await until(cast.asker, job, lambda view: view.state == "delivered", 60)
        vectors = [json.loads(line) for line in done.text.splitlines()]
        assert [len(vector) for vector in vectors] == [MODEL.hidden] * 2
        assert all(abs(sum(number**2 for number in vector) - 1) < 1e-3 for vector in vectors)
        # The played model counts words, and the asker the tokens of a real one, of which there are more.
        assert (done.kind, done.tokens) == ("embed", units_of(len(text.split()) for text in TEXTS))
        assert 0 < done.charge_wei <= done.price_wei
        assert (await until(cast.asker, job, lambda view: view.ended, 120)).state == "spendable"
        case = await cast.asker.backend.case(job)
        assert (case.verdict, case.state) == ("pass", "final")


async def test_embeddings_of_a_cheaper_model_are_refunded_and_punished(place: Place) -> None:
    async with network(place, claims="something else") as cast:
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(READ)
        assert (await until(cast.asker, job, lambda view: view.ended, 180)).state == "refunded"
        case = await cast.asker.backend.case(job)
        assert case.verdict == "severe"
        assert case.slashed_wei > 0


async def test_every_job_of_a_client_that_orders_checks_is_checked_though_its_node_has_proven_itself(
    place: Place,
) -> None:
    async with network(place, node__checked=True) as cast:
        await place.ledger.graduate(_key(cast.provider.parts.config, "operator"))
        await heard(cast.asker, 1)
        for ask in (ASK, replace(ASK, checked=False)):
            job = await cast.asker.backend.ask_job(ask)
            ended = await until(cast.asker, job, lambda view: view.ended, 120)
            assert (ended.state, ended.checked) == ("spendable", ask.checked is None)
            batch = await place.ledger.network.settlement.batch_of(Address(ended.node), 0)
            assert (batch.flags & CHECKED != 0, batch.rate_percent) == ((True, 100) if ended.checked else (False, 10))
            assert ended.fee_wei == batch.fee == verify_fee(ended.charge_wei, checked=ended.checked)
            assert ended.cost_wei == ended.charge_wei + ended.fee_wei + ended.bonus_wei <= ended.most_wei
            if ended.checked:
                assert "passed" in [step.state for step in ended.steps]
                assert ended.scores_bps == (10_000,)
                seat = (await cast.asker.backend.case(job)).seats[0].node
                paid = (await place.ledger.network.settlement.book_of(Address(seat))).rewards
                assert 0 < paid <= ended.fee_wei


async def test_cheat_in_a_checked_job_is_caught_though_its_node_has_proven_itself(place: Place) -> None:
    async with network(place, claims="the quick brown fox jumps over the lazy dog") as cast:
        await place.ledger.graduate(_key(cast.provider.parts.config, "operator"))
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(replace(ASK, checked=True))
        ended = await until(cast.asker, job, lambda view: view.ended, 180)
        assert (ended.state, ended.cost_wei) == ("refunded", 0)
        assert max(ended.scores_bps) <= 8_500
        assert (await cast.asker.backend.case(job)).slashed_wei > 0


async def test_provider_that_was_down_between_answer_and_pay_is_paid(place: Place) -> None:
    async with network(place) as cast:
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(ASK)
        await until(cast.asker, job, lambda view: view.state == "delivered", 60)
        config = cast.provider.parts.config
        await cast.town.down(config)
        provider = await cast.town.up(config)
        served = next(view for view in await provider.backend.jobs() if view.id == job)
        assert served.state in ("delivered", "in_batch")
        assert (await until(cast.asker, job, lambda view: view.ended, 120)).state == "spendable"


async def test_provider_killed_in_the_middle_of_a_job_ends_it_when_it_is_back(place: Place) -> None:
    asker = place.make("asker", executor__store=str(place.root / "store"))
    await place.ledger.deposit(_key(asker, "client"), 1_000 * VCN)
    # Somebody must be there to judge, or nobody would hire; and it is how the two find each other.
    verifier = await worker(place, "verifier", "verifier")
    async with trio.open_nursery() as nursery:
        town = Town(nursery)
        boot = ((await town.up(verifier)).parts.host.addresses[0],)
        provider = await worker(place, "provider", "provider", boot)
        nursery.start_soon(place.ledger.keep_mining)
        node = await town.up(place.make_again(asker, p2p__bootnodes=list(boot)))
        async with played_process(place, provider, "hang") as said:
            assert await said() == "ready"
            await heard(node, 2)
            job = await node.backend.ask_job(ASK)
            assert await said() == "running"
            await until(node, job, lambda view: view.state == "running", 30)
        # Killed by now; what it had promised is in its journal.
        async with played_process(place, provider, "work") as said:
            assert await said() == "ready"
            done = await until(node, job, lambda view: view.state in ("delivered", "in_batch"), 60)
            assert (done.text, done.attempt) == (ANSWER, 0)
        nursery.cancel_scope.cancel()


@asynccontextmanager
async def played_process(place: Place, config: Config, how: str) -> AsyncIterator[Callable[[], Awaitable[str]]]:
    """A node in a process of its own, killed at the end of the block; gives what waits for its next word."""
    flags = place.root / f"{how}.json"
    flags.write_text(json.dumps(place.flags(config)))
    command = [sys.executable, "-m", "tests.integration.played_node", str(flags), how]
    process = await trio.lowlevel.open_process(command, cwd=REPOSITORY, stdout=subprocess.PIPE)
    assert process.stdout is not None
    out, heard_bytes = process.stdout, bytearray()

    async def said() -> str:
        with trio.fail_after(60):
            while b"\n" not in heard_bytes:
                heard_bytes.extend(await out.receive_some())
        line, _, rest = bytes(heard_bytes).partition(b"\n")
        heard_bytes[:] = rest
        return line.decode()

    async with process.stdout:
        try:
            yield said
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()


class Withholding:
    """Sends everything but what seats have to check."""

    def __init__(self, peers: Adapter) -> None:
        self._peers = peers

    async def perform(self, effect: Send) -> Event:
        if isinstance(effect.message, SampleOpening):
            raise P2PError("withheld", transient=True)
        return await self._peers.perform(effect)


async def test_what_a_node_withholds_from_its_seat_is_demanded_sealed_and_checked_on_chain(place: Place) -> None:
    async with network(place) as cast:
        await heard(cast.asker, 1)
        driver = cast.provider.parts.driver
        driver._routes = {**driver._routes, Send: Withholding(driver._routes[Send])}
        job = await cast.asker.backend.ask_job(ASK)
        paid = await until(cast.asker, job, lambda view: view.ended, 180)
        case = await cast.asker.backend.case(job)
        assert (paid.state, case.verdict, len(case.seats)) == ("spendable", "pass", 1)
        head, _ = await place.ledger.now()
        court = place.ledger.network.court
        (demanded,) = await court.entries("DataDemanded", 0, head)
        (answered,) = await court.entries("DataAnswered", 0, head)
        assert demanded.values[0] == answered.values[0] == bytes.fromhex(paid.batch_id)


async def test_cheat_is_caught_and_the_client_gets_its_money_back(place: Place) -> None:
    async with network(place, claims="the quick brown fox jumps over the lazy dog") as cast:
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(ASK)
        ended = await until(cast.asker, job, lambda view: view.ended, 180)
        assert ended.state == "refunded"
        case = await cast.asker.backend.case(job)
        # One seat may only pass a batch: a fail takes three of them.
        assert (case.verdict, len(case.seats)) == ("severe", 3)
        assert case.slashed_wei > 0
        assert case.refunded_wei >= case.price_wei
