"""The executor without containers: a model that is a hash function, with results, proofs and checks that fit together.

It keeps the contract that tests/conformance/test_sandbox.py holds the real one to. A dishonest one answers with other
hidden states than its model has, which a check of its answers finds out.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Mapping, Sequence
from typing import Any

import trio

from executor.cards.card_desk import CardsReport
from executor.scheduler.live_engine import OnTokens
from executor.scheduler.serving import RunWatch, ServingReport, ServingTally
from executor.standing import StandingContainers
from executor.workspace.folders import (
    CHECK_BIN,
    FINGERPRINT_BIN,
    INPUT_JSON,
    RESULT_JSON,
    RUN_JSON,
    STOP_ORDER_BIN,
    Workspace,
    Workspaces,
)
from protocol.effects import ReplaySample, ShortenRun
from protocol.errors import ExecutorError
from protocol.events import ContainerExited, ContainersHeld, DeviceReported, RunShortened, SampleReplayed
from protocol.params import MAX_TEMPERATURE_MILLI
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import CHUNK_TOKENS, CLASS_DTYPES, Outcome, RunResult, RunSpec, failed
from protocol.stages.heartbeat import DeviceStatus
from protocol.stages.request import GENERATE
from protocol.stages.stop_order import STOP_ORDER, with_stop_order
from protocol.stages.token_rules import milli_of
from tests.fakes import reader

LEAST_TIMEOUT_MS = 100
LEAST_MEMORY = 256 << 20
TOKENS_PER_EVENT = 4
DIMENSIONS = 8


class FakeSandbox:
    """Takes the place of DockerRunner. `manifests` are the models of its store."""

    def __init__(
        self, workspaces: Workspaces, manifests: Mapping[bytes, ModelManifest], slots: int = 1, *, honest: bool = True
    ) -> None:
        self._workspaces = workspaces
        self._manifests = manifests
        self._slots = trio.CapacityLimiter(slots)
        self._honest = honest
        self._tally = ServingTally()
        self._standing = StandingContainers(_stand)

    def serving(self) -> ServingReport:
        return self._tally.report()

    def cards(self) -> CardsReport:
        return CardsReport()

    async def card_news(self) -> None:
        await trio.sleep_forever()

    async def recover(self) -> None:
        self._workspaces.sweep()

    async def serve(self) -> None:
        """Nothing is shared here."""
        await trio.sleep_forever()

    async def let_go(self, manifest: bytes) -> None:
        """Nothing stays loaded here."""

    async def hold(self, *, is_held: bool) -> ContainersHeld:
        return ContainersHeld(await self._standing.hold(is_held=is_held))

    async def report(self) -> DeviceReported:
        await trio.lowlevel.checkpoint()
        return DeviceReported(DeviceStatus((2, 1), (), 8 << 30, int(self._slots.total_tokens), (1, 1)))

    async def run_job(self, spec: RunSpec, on_tokens: OnTokens) -> ContainerExited:
        with self._tally.watch(spec, on_tokens) as watch:
            return await self._run_job(spec, watch)

    async def _run_job(self, spec: RunSpec, watch: RunWatch) -> ContainerExited:
        await self._standing.until_free()
        async with self._slots:
            watch.begin()
            workspace = self._workspaces.of_job(spec.job_id)
            manifest, chat = self._manifests.get(spec.manifest), workspace.get(INPUT_JSON)
            if manifest is None or chat is None:
                return ContainerExited(spec.job_id, failed(Outcome.PROVIDER, "model or input is not here"), b"")
            if workspace.get(RUN_JSON) is None:
                refusal = _refusal(spec, manifest, json.loads(chat))
                if refusal:
                    return ContainerExited(spec.job_id, failed(*refusal), b"")
                if spec.kind != GENERATE:
                    model = b"" if self._honest else b"cheaper"
                    workspace.put(RESULT_JSON, reader.result(spec, manifest, json.loads(chat), model))
                    workspace.put(FINGERPRINT_BIN, reader.fingerprint(spec, json.loads(chat), model))
                    workspace.put(RUN_JSON, b"{}")
                    return _exited(spec, workspace)
                ids, finish = _answer(spec, manifest, chat)
                for start in range(0, len(ids), TOKENS_PER_EVENT):
                    if workspace.get(STOP_ORDER_BIN) is not None:
                        ids, finish = ids[:start], STOP_ORDER
                        break
                    await watch.hear(tuple(ids[start : start + TOKENS_PER_EVENT]))
                    await trio.lowlevel.checkpoint()
                self._leave(workspace, spec, chat, ids, finish)
            return _exited(spec, workspace)

    async def shorten(self, effect: ShortenRun) -> RunShortened:
        self._workspaces.of_job(effect.job_id).put(STOP_ORDER_BIN, effect.signature)
        return RunShortened(effect.job_id)

    async def replay(self, effect: ReplaySample) -> SampleReplayed:
        await self._standing.until_free()
        async with self._slots:
            spec = effect.spec
            workspace = self._workspaces.of_sample(effect.batch_id, effect.leaf_index)
            manifest = self._manifests.get(spec.manifest)
            chat, result = workspace.get(INPUT_JSON), workspace.get(RESULT_JSON)
            if manifest is None or chat is None or result is None:
                raise ExecutorError("model, input or result is not here")
            if spec.kind != GENERATE:
                found, problem = reader.check(spec, manifest, json.loads(chat), result)
                workspace.put(CHECK_BIN, found)
                return SampleReplayed(effect.batch_id, effect.leaf_index, found, problem)
            claim = json.loads(result)
            if claim["finish"] == STOP_ORDER and workspace.get(STOP_ORDER_BIN) is None:
                return SampleReplayed(effect.batch_id, effect.leaf_index, b"", "bad_result: the answer ends early")
            if claim["prompt_token_ids_sha256"] != _prompt_hash(chat):
                return SampleReplayed(effect.batch_id, effect.leaf_index, b"", "prompt_mismatch: another prompt")
            refusal = _refusal(spec, manifest, json.loads(chat))
            if refusal:
                return SampleReplayed(effect.batch_id, effect.leaf_index, b"", refusal[1])
            check = _check(spec, manifest, chat, claim["output_token_ids"])
            workspace.put(CHECK_BIN, check)
            return SampleReplayed(effect.batch_id, effect.leaf_index, check, "")

    def _leave(self, workspace: Workspace, spec: RunSpec, chat: bytes, ids: list[int], finish: str) -> None:
        result = {
            "v": 1,
            "job_id": spec.job_id.hex(),
            "salt": json.loads(chat)["salt"],
            "manifest_sha256": spec.manifest.hex(),
            "dtype": CLASS_DTYPES[spec.class_id],
            "device_class": spec.class_id,
            "prompt_token_ids_sha256": _prompt_hash(chat),
            "output_token_ids": ids,
            "finish": finish,
        }
        raw = json.dumps(result, sort_keys=True, separators=(",", ":")).encode()
        workspace.put(RESULT_JSON, with_stop_order(raw, workspace.get(STOP_ORDER_BIN) or b""))
        workspace.put(FINGERPRINT_BIN, _proof(spec, ids, b"" if self._honest else b"cheaper"))
        workspace.put(RUN_JSON, b"{}")


async def _stand(is_held: bool) -> None:
    """There is nothing to stop: a run here takes no time."""


def _refusal(spec: RunSpec, manifest: ModelManifest, chat: dict[str, Any]) -> tuple[Outcome, str] | None:
    if spec.timeout_ms < LEAST_TIMEOUT_MS:
        return Outcome.JOB, "timeout: killed"
    if spec.memory_bytes < LEAST_MEMORY:
        return Outcome.JOB, "out_of_memory: killed"
    highest = MAX_TEMPERATURE_MILLI if spec.kind == GENERATE else 0
    if milli_of(spec.temperature) > highest:
        return Outcome.CLIENT, f"bad_param: params.temperature_milli must be 0 to {highest}"
    if spec.kind != GENERATE:
        return reader.refusal(spec, manifest, chat)
    if not chat["messages"]:
        return Outcome.CLIENT, "bad_messages: there is none"
    length = sum(len(message["content"]) for message in chat["messages"])
    if length + spec.max_new_tokens > manifest.context:
        return Outcome.CLIENT, f"prompt_too_long: {length}"
    return None


def _answer(spec: RunSpec, manifest: ModelManifest, chat: bytes) -> tuple[list[int], str]:
    planned = 5 + _number(b"length", chat) % 200
    ids = [_choice(spec, manifest, chat, place) for place in range(min(planned, spec.max_new_tokens))]
    return ids, "length" if planned >= spec.max_new_tokens else "eos"


def _choice(spec: RunSpec, manifest: ModelManifest, chat: bytes, place: int) -> int:
    draw = spec.temperature.to_bytes(4, "big") + spec.seed if spec.temperature else b""
    token = _number(b"token", chat, place.to_bytes(4, "big"), draw) % manifest.vocab
    return token if token not in manifest.eos_ids else max(manifest.eos_ids) + 1


def _prompt_hash(chat: bytes) -> str:
    return hashlib.sha256(json.dumps(json.loads(chat)["messages"]).encode()).hexdigest()


def _exited(spec: RunSpec, workspace: Workspace) -> ContainerExited:
    result, fingerprint = workspace.get(RESULT_JSON) or b"", workspace.get(FINGERPRINT_BIN) or b""
    if spec.kind == GENERATE:
        claim = json.loads(result)
        count, finish = len(claim["output_token_ids"]), claim["finish"]
    else:
        count, finish = reader.delivered(result), ""
    hashes = hashlib.sha256(result).digest(), hashlib.sha256(fingerprint).digest()
    return ContainerExited(spec.job_id, RunResult(Outcome.OK, "", *hashes, count, finish, 10), fingerprint)


def _rows(spec: RunSpec, ids: Sequence[int], start: int, model: bytes) -> list[int]:
    """Eight projections of each token of a chunk, whole numbers; they depend on all tokens so far."""
    rows = []
    for place in range(start, min(start + CHUNK_TOKENS, len(ids))):
        so_far = struct.pack(f"<{place + 1}I", *ids[: place + 1])
        state = hashlib.sha256(model + spec.job_id + so_far).digest()
        rows += struct.unpack("<8h", state[:16])
    return rows


def _proof(spec: RunSpec, ids: list[int], model: bytes) -> bytes:
    out = b""
    for start in range(0, len(ids), CHUNK_TOKENS):
        rows = _rows(spec, ids, start, model)
        scale = max(1, max(map(abs, rows)) // 127 + 1)
        (scale_read,) = struct.unpack("<e", struct.pack("<e", scale))
        out += struct.pack(f"<e{len(rows)}b", scale, *(max(-127, min(127, round(p / scale_read))) for p in rows))
    return out


def _check(spec: RunSpec, manifest: ModelManifest, chat: bytes, ids: list[int]) -> bytes:
    out = b""
    for start in range(0, len(ids), CHUNK_TOKENS):
        rows = _rows(spec, ids, start, b"")
        out += struct.pack(f"<f{len(rows)}hd", 1.0, *rows, sum(p * p for p in rows) / len(rows))
    margins = [0 if token == _choice(spec, manifest, chat, place) else 3_000_000 for place, token in enumerate(ids)]
    return out + struct.pack(f"<{len(ids) + 1}i", *margins, 0)


def _number(*parts: bytes) -> int:
    return int.from_bytes(hashlib.sha256(b"".join(parts)).digest()[:8], "big")
