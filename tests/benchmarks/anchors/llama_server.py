"""llama.cpp's own server as an anchor: built once a machine, and run in a container with as many cores as ours."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from executor import images
from tests.support.runner_context import docker_host

HERE = Path(__file__).parent
FILE = HERE / "llama_server.Dockerfile"
BUILD_TIMEOUT_S, RUN_TIMEOUT_S = 1800, 900


def build(runner: str) -> str:
    """Build the image on top of the runner's, if it is missing. Returns: its tag. Raises: RuntimeError."""
    tag = runner.replace("vcoin-runner:", "vcoin-llama-server:")
    pinned = dict(re.findall(r'^ARG (LLAMA_\w+)="(.+)"$', (images.RUNNER / "Dockerfile").read_text(), re.MULTILINE))
    arguments = {"BASE": images.BASE, "RUNNER": runner, **pinned}
    given = [word for name, value in arguments.items() for word in ("--build-arg", f"{name}={value}")]
    command = ("docker", "build", "-q", "--pull=false", "--tag", tag, "--file", str(FILE), *given)
    _run((*command, *images.certificates(), str(images.RUNNER)), BUILD_TIMEOUT_S)
    return tag


def rates(tag: str, model: Path, cores: int, milli: int, tokens: int, questions: Sequence[str]) -> dict[str, float]:
    """Tokens a second, prompts included, of `one` stream and of `eight`. Raises: RuntimeError."""
    inside = HERE / "inside_llama_server.py"
    mounts = ("-v", f"{model}:/model:ro", "-v", f"{inside}:/inside.py:ro")
    command = ("docker", "run", "--rm", "--network", "none", "--cpus", str(cores), *mounts)
    python = ("--entrypoint", "/opt/vcoin/venv/bin/python", tag, "/inside.py", str(cores), str(milli), str(tokens))
    found: dict[str, float] = json.loads(_run((*command, *python, *questions), RUN_TIMEOUT_S))
    return found


def _run(command: Sequence[str], timeout_s: float) -> str:
    try:
        ended = subprocess.run(
            ["env", f"DOCKER_HOST={docker_host()}", "DOCKER_BUILDKIT=1", *command],
            check=True,
            capture_output=True,
            text=True,
            timeout=timeout_s,
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.strip().splitlines() or ["nothing"]
        raise RuntimeError(f"llama.cpp's server cannot be measured here; the last it said: {said[-1]}") from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise RuntimeError(f"llama.cpp's server cannot be measured here: {error}") from error
    return ended.stdout
