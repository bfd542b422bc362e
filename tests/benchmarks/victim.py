"""A process that is attacked, seen from outside: every wait for it ends, whatever the attack has made of it."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from protocol.wire.ids import PeerId

REPOSITORY = Path(__file__).resolve().parents[2]
START_S = 30.0
ANSWER_S = 5.0
MAX_LAST_WORD = 60


class Ended(Exception):
    """It closed its output."""


@dataclass
class Victim:
    """A process that shows its pulse."""

    process: trio.Process
    errors: Path
    address: str = ""

    @property
    def port(self) -> int:
        return int(self.address.split("/")[4])

    @property
    def peer_id(self) -> PeerId:
        return PeerId(self.address.rpartition("/")[2])

    def memory_mb(self) -> float:
        """Resident memory as the kernel counts it, for a process that hangs cannot say; 0 after its end."""
        lines = self._told("status").splitlines()
        return next((int(line.split()[1]) for line in lines if line.startswith("VmRSS:")), 0) / 1024

    def core_s(self) -> float:
        """How long it has had a core since it was started; 0 after its end."""
        ticks = self._told("stat").rpartition(")")[2].split()[11:13]
        return sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")

    def _told(self, name: str) -> str:
        try:
            return Path(f"/proc/{self.process.pid}/{name}").read_text()
        except FileNotFoundError:
            return ""

    async def lag_ms(self, within_s: float = ANSWER_S) -> float | None:
        """The worst lag of its loop since the last call; None if it has ended or does not answer."""
        assert self.process.stdin is not None
        with trio.move_on_after(within_s), contextlib.suppress(Ended):
            with contextlib.suppress(trio.BrokenResourceError):
                await self.process.stdin.send_all(b"\n")
            return float(json.loads(await self.read_line())["lag_ms"])
        return None

    async def read_line(self) -> str:
        """Its next line. Raises: Ended, once it has."""
        assert self.process.stdout is not None
        line = b""
        while not line.endswith(b"\n"):
            piece = await self.process.stdout.receive_some(1)
            if not piece:
                await self.process.wait()
                raise Ended(self.last_word())
            line += piece
        return line.decode().strip()

    def last_word(self) -> str:
        """The cause of its end; empty while it runs."""
        code = self.process.poll()
        if code is None:
            return ""
        lines = self.errors.read_text(errors="replace").split("\n")
        said = next((line.strip(" |+-") for line in reversed(lines) if line.strip(" |+-")), "")
        return said[:MAX_LAST_WORD] or (signal.Signals(-code).name if code < 0 else f"exit code {code}")


@asynccontextmanager
async def open_victim(command: Sequence[str]) -> AsyncIterator[Victim]:
    """Run a command that shows its pulse, and kill it at the end of the block.

    Raises: RuntimeError if it does not start.
    """
    with tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        errors = Path(made) / "stderr"
        with errors.open("wb") as stderr:
            process = await trio.lowlevel.open_process(
                command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=stderr,
                cwd=REPOSITORY,
                # Its leftovers go with this folder, for it is killed.
                env={**os.environ, "TMPDIR": made},
            )
        victim = Victim(process, errors)
        try:
            try:
                with trio.fail_after(START_S):
                    victim.address = await victim.read_line()
            except (trio.TooSlowError, Ended) as error:
                raise RuntimeError(f"{' '.join(command)} did not start: {error}") from error
            yield victim
        finally:
            process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for pipe in (process.stdin, process.stdout):
                    assert pipe is not None
                    await pipe.aclose()


def module(name: str) -> Sequence[str]:
    """The command that runs a module of this folder."""
    return (sys.executable, "-m", f"tests.benchmarks.{name}")
