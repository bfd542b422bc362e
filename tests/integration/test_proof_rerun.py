"""A proof of a real answer, computed again in containers of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from chain.calibration.files import packaged_for
from executor.runs.context import RunnerContext
from executor.runs.generation import Generation, PendingRun
from executor.workspace.folders import RESULT_JSON, Workspace
from node.api.faults import Exit
from node.cli import main
from protocol.proof.file import NoisePaper, Proof
from protocol.stages.execution import Outcome as Ended
from protocol.stages.execution import RunSpec, sampling_seed
from protocol.wire.ids import Cid
from scripts.setup import model
from tests.support.proofs import CLASS, TOKENS, Answered, proof_of
from tests.support.runner_context import docker_host, open_context, small_model

pytestmark = [pytest.mark.docker, pytest.mark.slow]
MEMORY = 4 * 2**30
ASKED = {"v": 1, "salt": "5a" * 16, "messages": [{"role": "user", "content": "Name three colours."}]}


@pytest.fixture(scope="module")
def context() -> Iterator[RunnerContext]:
    with open_context() as opened:
        yield opened


def generated(context: RunnerContext, folder: Path) -> Proof:
    """A job that this machine has done."""
    asked, manifest = json.dumps(ASKED, sort_keys=True, separators=(",", ":")).encode(), small_model()

    def answer(job: bytes, nonce: bytes) -> Answered:
        workspace = Workspace(folder / "job")
        workspace.put("input.json", asked)
        seed = sampling_seed(job, nonce)
        spec = RunSpec(job, manifest.cid, CLASS, TOKENS, 0, seed, MEMORY, 120_000)
        run, proof = Generation(context, PendingRun(context, spec, workspace)).run(lambda ids: None)
        assert run.outcome is Ended.OK, run.detail
        return Answered(workspace.get(RESULT_JSON) or b"", proof, run.new_tokens)

    proof = proof_of(model=manifest, asked=asked, answer=answer)
    return _with_constants(proof)


def _with_constants(proof: Proof) -> Proof:
    found = packaged_for(Cid(proof.papers.details.manifest))
    assert found is not None
    return replace(proof, noise=NoisePaper(found.classes[CLASS].calibration, found.act_weights_hash, bytes(32)))


def test_an_honest_answer_passes_again_and_a_fresh_one_is_the_same(
    context: RunnerContext, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "told.json"
    file.write_bytes(generated(context, tmp_path).encode())
    monkeypatch.delenv("VCOIN_CONFIG", raising=False)
    monkeypatch.setenv("VCOIN_NODE_DATA_DIR", str(tmp_path / "node"))
    monkeypatch.setenv("VCOIN_EXECUTOR_STORE", str(model.store()))
    monkeypatch.setenv("VCOIN_EXECUTOR_DOCKER_HOST", docker_host())
    code = main(["job", "verify", str(file), "--rerun", "--json"])
    found = {each["check"]: each for each in json.loads(capsys.readouterr().out)["checks"]}
    scored, fresh = found["score again"], found["fresh answer"]
    assert (code, scored["result"], fresh["result"]) == (Exit.OK, "ok", "ok"), scored["words"]
    assert "by fingerprint and check: a pass" in scored["words"]
    assert fresh["words"].startswith("100 % of its words, in")
