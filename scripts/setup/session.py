"""A command's time on a machine that has what it needs: set-up on entry, on exit nothing left that set-up started."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from types import FrameType

from scripts.setup import analysers, clients, engine, image, model, node_tools, packages, venv
from scripts.setup.cache import REPOSITORY, cache_directory
from scripts.setup.failure import report
from scripts.setup.packages import Requirement
from scripts.setup.step import SetupPlan, SetupStep

CLEANUP_DEADLINE_S = 60
# All there is to set up.
SERVICES = ("venv", "node tools", "docker engine", "runner image", "model")


class Session:
    """Enter it to set up what is named in `needs`; `env` is then what child processes are started with.

    needs: some of SERVICES; what those stand on comes by itself.
    keep: leave the Docker Engine running at the end, if set-up started it.
    """

    def __init__(self, needs: Iterable[str], *, keep: bool = False) -> None:
        self._needs = set(needs)
        self._keep = keep
        self._lease = engine.Lease()
        self.env = dict(os.environ)

    def __enter__(self) -> Session:
        # A plain kill must clean up too, like Ctrl-C.
        signal.signal(signal.SIGTERM, _interrupt)
        self.env["VCOIN_CACHE"] = str(cache_directory())
        try:
            with (cache_directory() / "setup.lock").open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                SetupPlan(self._steps(), self.env).run()
        except BaseException:
            self._release()
            raise
        self.env["PATH"] = f"{venv.VENV / 'bin'}:{self.env.get('PATH', '')}"
        return self

    def __exit__(self, *_: object) -> None:
        self._release()

    def call(self, *command: str | Path) -> int:
        """Run a command in the repository with the session's environment. Returns: its exit code.

        When this process is asked to stop, the command is too, and has time to clean up after itself.
        """
        with subprocess.Popen([str(part) for part in command], cwd=REPOSITORY, env=self.env) as process:
            try:
                return process.wait()
            except KeyboardInterrupt as stop:
                # A Ctrl-C has reached the command already: the terminal sends it to the whole group.
                if isinstance(stop, _Terminated):
                    process.terminate()
                try:
                    process.wait(CLEANUP_DEADLINE_S)
                except subprocess.TimeoutExpired:
                    process.kill()
                raise

    def _release(self) -> None:
        if left := self._lease.release(keep=self._keep):
            print(left, file=sys.stderr)

    def _steps(self) -> list[SetupStep]:
        needs = set(self._needs)
        for step in (model.STEP, image.STEP, node_tools.STEP):
            needs.update(step.after if step.name in needs else ())
        required: dict[str, tuple[Requirement, ...]] = {
            "venv": packages.PYTHON,
            "node tools": packages.NODE,
            "analysers": packages.PYTHON,
            "clients": packages.PYTHON,
            "docker engine": () if "docker engine" not in needs or engine.find() else packages.ENGINE,
            "runner image": packages.IMAGE,
        }
        steps = (venv.STEP, node_tools.STEP, analysers.STEP, clients.STEP, self._lease.step(), image.STEP, model.STEP)
        chosen = [step for step in steps if step.name in needs]
        return [packages.step([r for step in chosen for r in required.get(step.name, ())]), *chosen]


def run_module(needs: Iterable[str], *command: str, keep: bool = False) -> int:
    """The whole of a command that sets up and then runs a module of the project. Returns: its exit code."""

    def body() -> int:
        with Session(needs, keep=keep) as session:
            return session.call(venv.PYTHON, "-m", *command)

    return report(body)


class _Terminated(KeyboardInterrupt):
    """SIGTERM: cleans up like Ctrl-C, but only this process received it."""


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise _Terminated
