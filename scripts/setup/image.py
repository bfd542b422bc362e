"""The runner image in the session's engine, built by `executor.images` unless it is there under its content's name."""

from __future__ import annotations

import os
import sys

from scripts.setup import venv
from scripts.setup.failure import StepFailed
from scripts.setup.step import SetupStep, Workbench


def _ready(bench: Workbench) -> bool:
    try:
        bench.run(venv.PYTHON, "-m", __name__, "find")
    except StepFailed:
        return False
    return True


def _make(bench: Workbench) -> None:
    env = {}
    # A company's own certificates, which the build lends to pip as a secret.
    if "SSL_CERT_FILE" in os.environ and "PIP_CERT" not in os.environ:
        env["PIP_CERT"] = os.environ["SSL_CERT_FILE"]
    bench.run(venv.PYTHON, "-m", __name__, "build", env=env)


STEP = SetupStep(name="runner image", ready=_ready, make=_make, after=("packages", "venv", "docker engine"))


def main() -> None:
    """Runs in the virtual environment, because that is where Docker's client is."""
    from executor import images
    from protocol.errors import ExecutorError

    host = os.environ["DOCKER_HOST"]
    try:
        print(images.build(host, log=sys.stdout.fileno()) if sys.argv[1] == "build" else images.find(host))
    except ExecutorError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
