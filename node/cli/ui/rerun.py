"""The computation of a proof's answer in containers of this machine: a seat's check, and a fresh run."""

import contextlib
import json
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from chain.calibration.files import packaged_for
from executor import images
from executor.containers.engine import Engine
from executor.models import ModelStore
from executor.runs.context import RunnerContext
from executor.runs.generation import Generation, PendingRun
from executor.runs.replay import Replay
from executor.workspace.folders import INPUT_JSON, RESULT_JSON, STOP_ORDER_BIN, Workspace
from node.cli.ui.options import Common
from node.cli.ui.settings import config_of
from node.daemon.text import load_tokenizer, text_of
from protocol.errors import ExecutorError
from protocol.proof.again import answer_of, check_fresh, check_score, nothing_to_compute, spec_of
from protocol.proof.check import Check
from protocol.proof.content import stop_order_of
from protocol.proof.file import Proof
from protocol.stages.execution import Outcome, RunSpec
from protocol.stages.request import GENERATE
from protocol.wire.ids import Cid


class ContainerBench:
    """Containers of a Docker Engine, each in a folder of its own that is gone afterwards."""

    def __init__(self, context: RunnerContext) -> None:
        self._context = context

    def check(self, spec: RunSpec, asked: bytes, answer: bytes, stop_order: bytes | None) -> tuple[bytes, str]:
        """check.bin of an answer, or what is wrong with it. Raises: ExecutorError where this machine cannot.

        Args: stop_order, the signature by which the answer may end early.
        """
        with _workspace() as workspace:
            workspace.put(INPUT_JSON, asked)
            workspace.put(RESULT_JSON, answer)
            if stop_order is not None:
                workspace.put(STOP_ORDER_BIN, stop_order)
            return Replay(self._context, spec, workspace).run()

    def answer(self, spec: RunSpec, asked: bytes) -> bytes:
        """A fresh result.json. Raises: ExecutorError."""
        with _workspace() as workspace:
            workspace.put(INPUT_JSON, asked)
            run, _ = Generation(self._context, PendingRun(self._context, spec, workspace)).run(lambda ids: None)
            fresh = workspace.get(RESULT_JSON)
            if run.outcome is not Outcome.OK or fresh is None:
                raise ExecutorError(f"the fresh run ended badly: {run.outcome}: {run.detail}")
            return fresh

    def text(self, manifest: bytes, ids: tuple[int, ...]) -> str:
        """Tokens as text."""
        models = self._context.models
        tokenizer = load_tokenizer(models.path(manifest) / models.manifest(manifest).tokenizer)
        return text_of(tokenizer, list(ids))


@contextlib.contextmanager
def open_bench(common: Common) -> Iterator[ContainerBench]:
    """The engine and the models that the node's settings name. Raises: ConfigError, ExecutorError."""
    settings = config_of(common.data_dir).executor
    # A name of its own: a daemon on the same engine sweeps its own containers only.
    with contextlib.closing(Engine(f"verify-{os.getpid()}", settings.docker_host)) as engine:
        image = settings.image or images.find(settings.docker_host)
        models, cpu_millis = ModelStore(settings.store), round(settings.cpus * 1000)
        yield ContainerBench(RunnerContext(engine, image, models, _weights, cpu_millis))


def rerun(proof: Proof, bench: ContainerBench, memory_bytes: int) -> tuple[Check, ...]:
    """Both computations; a file without content has nothing to compute. Raises: ExecutorError."""
    content, facts = proof.content, answer_of(proof)
    if content is None or content.result is None:
        return nothing_to_compute()
    spec = spec_of(proof, memory_bytes)
    scored = check_score(proof, *bench.check(spec, content.input, content.result, stop_order_of(proof)))
    if facts is None or proof.model is None:
        return (scored,)
    given, fresh = (told(bench, spec, raw) for raw in (content.result, bench.answer(spec, content.input)))
    return scored, check_fresh(spec.kind, given, fresh)


def told(bench: ContainerBench, spec: RunSpec, result: bytes) -> str:
    """A result.json that passed validation as it is compared: the text of an answer, a reading as it is."""
    if spec.kind != GENERATE:
        return result.decode()
    return bench.text(spec.manifest, tuple(json.loads(result)["output_token_ids"]))


def _weights(manifest: bytes) -> bytes | None:
    found = packaged_for(Cid(manifest))
    return found.act_weights if found else None


@contextlib.contextmanager
def _workspace() -> Iterator[Workspace]:
    with tempfile.TemporaryDirectory(prefix="vcoin-verify-") as folder:
        yield Workspace(Path(folder) / "job")
