"""`python -m scripts.calibration.golden`: an honest and a 4-bit run with their checks, into tests/vectors/fingerprint.

The distances beside them come from numpy inside the image, and every other implementation must find the same. Run it
again only when a layout or the calibration changes: another processor rounds otherwise, so the bytes are not the same.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from executor import devices, images
from executor.containers.engine import Engine
from executor.containers.sandbox import Limits, Sandbox
from executor.models import ModelStore
from executor.runs.context import RunnerContext
from executor.workspace.folders import CHECK_BIN, FINGERPRINT_BIN, INPUT_JSON, RESULT_JSON
from executor.workspace.io_volume import IoVolume
from protocol.stages.execution import Outcome, RunSpec
from scripts.calibration.__main__ import FOLDER
from scripts.setup.cache import REPOSITORY
from scripts.setup.model import manifest_id, store
from tests.adversaries.images import build

VECTORS = REPOSITORY / "tests" / "vectors" / "fingerprint"
# A whole chunk and a shorter one.
TOKENS = 40
QUESTION = "You are a teacher. Prepare a lesson on volcanoes with goals, a short quiz, and the correct answers."
DISTANCES = """
import json, sys
from runner.fingerprint import distances
proof, check = (open('/input/' + name, 'rb').read() for name in ('proof.bin', 'check.bin'))
found = distances(proof, check, int(sys.argv[1]))
open('/output/found.json', 'w').write(json.dumps(dict(zip(('act', 'chunk', 'tok', 'worst'), found))))
"""


def main() -> None:
    host, cid = os.environ["DOCKER_HOST"], manifest_id()
    assert cid is not None, "the model is not in the store"
    class_id = max(devices.class_ids_for("bf16"))
    act_w = bytes.fromhex(json.loads((FOLDER / f"{cid.hex()}.json").read_text())["act_w"])
    honest = images.find(host)
    facts = {}
    with contextlib.closing(Engine("golden", host)) as engine:
        for name, image in (("honest", honest), ("quantised", build("quantised_runner", honest, host))):
            job_id = hashlib.sha256(name.encode()).digest()
            spec = RunSpec(job_id, cid, class_id, TOKENS, 0, bytes(32), 2 << 30, 600_000)
            chat = {"v": 1, "salt": "5a" * 16, "messages": [{"role": "user", "content": QUESTION}]}
            files: dict[str, bytes | Path] = {INPUT_JSON: json.dumps(chat).encode()}
            contexts = [
                RunnerContext(engine, each, ModelStore(store()), lambda manifest: act_w) for each in (image, honest)
            ]
            with tempfile.TemporaryDirectory(prefix="vcoin-golden-") as made:
                kept = Path(made) / "kept"
                _run(contexts[0], "generate", spec, files, (RESULT_JSON, FINGERPRINT_BIN), kept)
                result = (kept / RESULT_JSON).read_bytes()
                files[RESULT_JSON] = result
                _run(contexts[1], "check", spec, files, (CHECK_BIN,), kept)
                tokens = len(json.loads(result)["output_token_ids"])
                found = _distances(engine, honest, kept, tokens)
                facts[name] = {"tokens": tokens, "job_id": job_id.hex(), "class_id": class_id, "distances_ppm": found}
                (VECTORS / name).mkdir(parents=True, exist_ok=True)
                for file in (RESULT_JSON, FINGERPRINT_BIN, CHECK_BIN):
                    shutil.copyfile(kept / file, VECTORS / name / file)
    (VECTORS / "expected.json").write_text(json.dumps(facts, indent=1, sort_keys=True) + "\n")


def _run(
    context: RunnerContext,
    kind: str,
    spec: RunSpec,
    files: Mapping[str, bytes | Path],
    wanted: tuple[str, ...],
    kept: Path,
) -> None:
    finish = context.run_of_job(kind, spec, dict(files), wanted).run(kept.parent / "run", kept, lambda said: None)
    if finish.outcome is not Outcome.OK:
        raise SystemExit(f"error: {kind}: {finish.detail}")


def _distances(engine: Engine, image: str, kept: Path, tokens: int) -> dict[str, float]:
    limits = Limits()
    with IoVolume(kept.parent / "numpy", limits) as exchange:
        for name in (FINGERPRINT_BIN, CHECK_BIN):
            exchange.put(name, kept / name)
        command = ("/opt/vcoin/venv/bin/python", "-c", DISTANCES, str(tokens))
        engine.container(Sandbox(image, limits, exchange.mounts, command=command), "golden", 0).run(lambda said: None)
        found: dict[str, float] = json.loads(exchange.outputs.read("found.json", 1000) or b"")
        return found


if __name__ == "__main__":
    main()
