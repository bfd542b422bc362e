"""A step of set-up, and the plan that runs steps side by side as soon as what they need is there."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from pathlib import Path

from scripts.setup.cache import REPOSITORY, cache_directory
from scripts.setup.failure import StepFailed

# Two cores, and most steps wait for a registry or a disk half of the time.
PARALLEL_STEPS = 3
LOG_TAIL_LINES = 25


@dataclass
class Workbench:
    """The context of one step: the environment that earlier steps have filled, and its own log file."""

    log: Path
    env: dict[str, str]

    @classmethod
    def open(cls, name: str, env: dict[str, str] | None = None) -> Workbench:
        """A workbench with a fresh log named after the step."""
        logs = cache_directory() / "logs"
        logs.mkdir(exist_ok=True)
        log = logs / f"{name.replace(' ', '-')}.log"
        log.write_bytes(b"")
        return cls(log, dict(os.environ) if env is None else env)

    def run(self, *command: str | Path, cwd: Path = REPOSITORY, env: Mapping[str, str] | None = None) -> None:
        """Run a command with its output in the log. Raises: StepFailed with the end of the log."""
        with self.log.open("ab") as log:
            log.write(("$ " + " ".join(map(str, command)) + "\n").encode())
            log.flush()
            code = subprocess.run(
                [str(part) for part in command],
                cwd=cwd,
                env={**self.env, **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                check=False,
            ).returncode
        if code != 0:
            raise self.failure(f"`{Path(command[0]).name}` exited with {code}")

    def failure(self, what: str) -> StepFailed:
        """The failure of the step, with the end of its log."""
        tail = "\n".join("    " + line for line in self.log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:])
        return StepFailed(f"{what}\n{tail}\n(all of it: {self.log})")


@dataclass(frozen=True)
class SetupStep:
    """One thing that must be on the machine. `ready` looks and changes nothing; `make` may be repeated safely."""

    name: str
    ready: Callable[[Workbench], bool]
    make: Callable[[Workbench], None]
    after: tuple[str, ...] = ()


@dataclass
class SetupPlan:
    """Runs steps in the order that `after` allows and prints one line for each."""

    steps: Sequence[SetupStep]
    env: dict[str, str] = field(default_factory=lambda: dict(os.environ))

    def run(self) -> None:
        """Raises: whatever the first failing step raised, once the steps beside it have ended."""
        names = {step.name for step in self.steps}
        waiting = list(self.steps)
        done: set[str] = set()
        running: dict[Future[None], SetupStep] = {}
        with ThreadPoolExecutor(PARALLEL_STEPS) as pool:
            while waiting or running:
                for step in [s for s in waiting if done.issuperset(names.intersection(s.after))]:
                    waiting.remove(step)
                    running[pool.submit(self._run_step, step)] = step
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    step = running.pop(future)
                    future.result()
                    done.add(step.name)

    def _run_step(self, step: SetupStep) -> None:
        started = time.monotonic()
        bench = Workbench.open(step.name, self.env)
        place = f"[{list(self.steps).index(step) + 1}/{len(self.steps)}] {step.name}"
        try:
            cached = step.ready(bench)
            if not cached:
                print(f"{place} ...", file=sys.stderr, flush=True)
                step.make(bench)
        except BaseException:
            print(f"{place} ... failed", file=sys.stderr, flush=True)
            raise
        seconds = time.monotonic() - started
        print(f"{place} ... {seconds:.1f} s{' (cached)' if cached else ''}", file=sys.stderr, flush=True)
