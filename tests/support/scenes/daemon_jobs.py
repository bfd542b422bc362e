"""Daemons that run jobs for each other."""

import hashlib
import json
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import trio

from chain.calibration.files import CalibrationFile, ClassNoise
from chain.tx.keystore import load_key, read_password
from chain.tx.wallet import Key
from executor.adapter import Runner
from executor.cards.card_desk import CardsReport
from executor.models import ModelStore
from executor.scheduler.serving import RunWatch, ServingReport, ServingTally
from executor.standing import StandingContainers
from executor.workspace.folders import STOP_ORDER_BIN
from node.api.backend import ChatMessage, JobAsk
from node.api.views import JobView
from node.config import Config
from node.daemon.node import Node
from node.daemon.process import run
from node.daemon.runner import Site
from node.wallet.home import Home
from protocol.effects import ReplaySample, ShortenRun
from protocol.events import ContainerExited, ContainersHeld, DeviceReported, RunShortened, SampleReplayed
from protocol.params import VCN
from protocol.stages.blob import ModelFile, ModelManifest
from protocol.stages.execution import CHUNK_TOKENS, Outcome, RunResult, RunSpec
from protocol.stages.heartbeat import DeviceStatus
from protocol.stages.stop_order import STOP_ORDER, with_stop_order
from protocol.stages.token_rules import rules_of
from protocol.stages.verification import Calibration, Tolerance
from protocol.wire.ids import cid_of
from tests.fakes import reader
from tests.support.anvil_ledger import RUNTIME, open_anvil_ledger
from tests.support.scenes.daemons import Place
from tests.support.scenes.tokenizers import TOKENIZER, encode

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
        # If set, each piece of an answer waits until the client has read the one before.
        self.read_pieces: trio.Semaphore | None = None
        self.standing = StandingContainers(_stand)
        self._begun: set[bytes] = set()
        self._all_begun = trio.Event()
        self._tally = ServingTally()

    async def recover(self) -> None:
        """Nothing was left behind."""

    async def serve(self) -> None:
        """Nothing is shared here."""
        self.is_served = True
        try:
            await trio.sleep_forever()
        finally:
            self.is_served = False

    async def let_go(self, manifest: bytes) -> None:
        """Nothing stays loaded here."""

    async def hold(self, *, is_held: bool) -> ContainersHeld:
        return ContainersHeld(await self.standing.hold(is_held=is_held))

    async def report(self) -> DeviceReported:
        return DeviceReported(DeviceStatus((1,), (), 2**33, 1, (20,)))

    async def run_job(self, spec: RunSpec, on_tokens: Callable[[tuple[int, ...]], Awaitable[None]]) -> ContainerExited:
        with self._tally.watch(spec, on_tokens) as watch:
            return await self._run(spec, watch)

    async def _run(self, spec: RunSpec, watch: RunWatch) -> ContainerExited:
        self.runs += 1
        self._begun.add(spec.job_id)
        if len(self._begun) >= self.together:
            self._all_begun.set()
        await self._all_begun.wait()
        await self.standing.until_free()
        watch.begin()
        workspace = self._workspaces.of_job(spec.job_id)
        if spec.kind:
            asked = json.loads(workspace.get("input.json") or b"{}")
            model = b"" if self._claims == self._said else b"cheaper"
            result, fingerprint = reader.result(spec, MODEL, asked, model), reader.fingerprint(spec, asked, model)
            workspace.put("result.json", result)
            hashes = hashlib.sha256(result).digest(), hashlib.sha256(fingerprint).digest()
            run = RunResult(Outcome.OK, "", *hashes, reader.delivered(result), "", 50)
            return ContainerExited(spec.job_id, run, fingerprint)
        asked = workspace.get("input.json") or b"{}"
        ids, finish = _until_stop(encode(self._claims), rules_of(asked).stop)
        for at in range(0, len(ids), 7):
            if workspace.get(STOP_ORDER_BIN) is not None:
                ids, finish = ids[:at], STOP_ORDER
                break
            await watch.hear(tuple(ids[at : at + 7]))
            if self.read_pieces is not None:
                await self.read_pieces.acquire()
        result = _result(spec, json.loads(asked)["salt"], ids, finish)
        result = with_stop_order(result, workspace.get(STOP_ORDER_BIN) or b"")
        workspace.put("result.json", result)
        fingerprint = _proof(encode(self._said)[: len(ids)])
        hashes = hashlib.sha256(result).digest(), hashlib.sha256(fingerprint).digest()
        return ContainerExited(spec.job_id, RunResult(Outcome.OK, "", *hashes, len(ids), finish, 50), fingerprint)

    async def shorten(self, effect: ShortenRun) -> RunShortened:
        self._workspaces.of_job(effect.job_id).put(STOP_ORDER_BIN, effect.signature)
        if self.read_pieces is not None:
            self.read_pieces.release()
        return RunShortened(effect.job_id)

    async def replay(self, effect: ReplaySample) -> SampleReplayed:
        workspace = self._workspaces.of_sample(effect.batch_id, effect.leaf_index)
        if effect.spec.kind:
            asked, result = (workspace.get(name) or b"" for name in ("input.json", "result.json"))
            found = reader.check(effect.spec, MODEL, json.loads(asked), result)
            return SampleReplayed(effect.batch_id, effect.leaf_index, *found)
        said = json.loads(workspace.get("result.json") or b"{}")
        ids = said["output_token_ids"]
        if said["finish"] == STOP_ORDER and workspace.get(STOP_ORDER_BIN) is None:
            return SampleReplayed(effect.batch_id, effect.leaf_index, b"", "bad_result: the answer ends early")
        return SampleReplayed(effect.batch_id, effect.leaf_index, _check(ids), "")

    def serving(self) -> ServingReport:
        return self._tally.report()

    def cards(self) -> CardsReport:
        return CardsReport()

    async def card_news(self) -> None:
        await trio.sleep_forever()

    def add_small_model(self, models: ModelStore) -> ModelManifest:
        raise AssertionError("the models are there from the start")

    def close(self) -> None:
        """Nothing is open."""


def _until_stop(ids: list[int], stops: tuple[str, ...]) -> tuple[list[int], str]:
    """The tokens up to the one that completes a stop string, and why they end."""
    for end in range(1, len(ids) + 1):
        if any(stop in TOKENIZER.decode(ids[:end]) for stop in stops):
            return ids[:end], "stop"
    return ids, "eos"


def _result(spec: RunSpec, salt: str, ids: list[int], finish: str) -> bytes:
    plain = {
        "v": 1,
        "job_id": spec.job_id.hex(),
        "salt": salt,
        "manifest_sha256": spec.manifest.hex(),
        "dtype": "fp32",
        "device_class": 1,
        "prompt_token_ids_sha256": "0" * 64,
        "output_token_ids": ids,
        "finish": finish,
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
        # Its output is not read, and a full pipe would stop it.
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
    asker = place.make("asker", **{"executor__store": str(place.root / "store"), **asker_settings})
    await place.ledger.deposit(_key(asker, "client"), 1_000 * VCN)
    async with trio.open_nursery() as nursery:
        town = Town(nursery)
        provider = await town.up(await worker(place, "provider", "provider"), claims=claims)
        boot = (provider.parts.host.addresses[0],)
        for number in range(3):
            verifier = await town.up(await worker(place, f"verifier{number}", "verifier", boot))
        nursery.start_soon(place.ledger.keep_mining)
        # A node that knows one other node alone is by itself when that comes back under another address.
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


async def _stand(is_held: bool) -> None:
    """No container has to be stopped."""
