"""The small language model of demo and tests, converted once by `executor.conversion` into the store of the cache."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

from scripts.setup import venv
from scripts.setup.cache import REPOSITORY, cache_directory, content_key
from scripts.setup.step import SetupStep, Workbench

EXECUTOR = REPOSITORY / "executor"


def store() -> Path:
    """The content store that set-up fills; nodes of one machine may share it, read-only."""
    return cache_directory() / "store"


def manifest_id() -> bytes | None:
    """The Cid of the model, None before the step has run."""
    try:
        return bytes.fromhex(json.loads(_record().read_text())["manifest"])
    except (OSError, ValueError, KeyError):
        return None


def _record() -> Path:
    return store() / "small-model.json"


def _key() -> str:
    runner = EXECUTOR / "runner"
    made_from = (runner / "Dockerfile", runner / "requirements.lock", runner / "convert.py", EXECUTOR / "conversion.py")
    return content_key(*made_from)


def _ready(bench: Workbench) -> bool:
    cid = manifest_id()
    if cid is None or json.loads(_record().read_text()).get("key") != _key():
        return False
    return (store() / "models" / cid.hex() / "manifest.json").is_file()


def _make(bench: Workbench) -> None:
    bench.run(venv.PYTHON, "-m", __name__, venv.pip())


STEP = SetupStep(name="model", ready=_ready, make=_make, after=("runner image",))


def main() -> None:
    """Runs in the virtual environment; the argument is the Python that has pip."""
    from executor import images
    from executor.containers.engine import Engine
    from executor.conversion import add_wheel
    from executor.models import ModelStore
    from protocol.errors import ExecutorError

    host = os.environ["DOCKER_HOST"]
    try:
        engine = Engine("setup", host)
        manifest = add_wheel(engine, images.find(host), ModelStore(store()), pip=(sys.argv[1], "-m", "pip"))
        engine.close()
    except ExecutorError as error:
        sys.exit(f"error: {error}")
    _record().write_text(json.dumps({"key": _key(), "manifest": manifest.cid.hex(), "name": manifest.name}))


if __name__ == "__main__":
    main()
