"""Processes that outlive the command that started them, and are found again by more than their number.

A process id is used again by the system; together with the moment of its start it is one process for good.
"""

import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from protocol.errors import ConfigError

POLL_S = 0.05
TAIL_LINES = 12
_children: dict[int, "subprocess.Popen[bytes]"] = {}
"""Those that this very command started: what is left of one that has ended is ours to collect."""


@dataclass(frozen=True, slots=True)
class Process:
    """A process of ours: its id, when it started (in the kernel's words), and where its output goes."""

    name: str
    pid: int
    started: str
    log: str

    @property
    def is_alive(self) -> bool:
        """Whether this very process still runs."""
        _reap(self.pid)
        return bool(self.started) and start_of(self.pid) == self.started

    def tail(self) -> str:
        """The last lines of its output."""
        try:
            lines = Path(self.log).read_text(errors="replace").splitlines()
        except OSError:
            return ""
        return "\n".join(lines[-TAIL_LINES:])


def start(name: str, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None) -> Process:
    """Start a process in a session of its own: a Ctrl-C at this terminal is not for it.

    Raises: ConfigError if it cannot be started.
    """
    try:
        with log.open("ab") as output:
            child = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
                env=None if environment is None else dict(environment),
            )
    except OSError as error:
        raise ConfigError(f"cannot start {command[0]}: {error.strerror}") from error
    _children[child.pid] = child
    return Process(name, child.pid, start_of(child.pid), str(log))


def stop(processes: Sequence[Process], within_s: float) -> list[str]:
    """Ask all to end, and kill those that have not after `within_s`. Returns: the names of those killed.

    A process that is no longer ours is left alone.
    """
    for process in processes:
        _signal(process, signal.SIGTERM)
    deadline = time.monotonic() + within_s
    while any(process.is_alive for process in processes) and time.monotonic() < deadline:
        time.sleep(POLL_S)
    killed = [process for process in processes if process.is_alive]
    for process in killed:
        _signal(process, signal.SIGKILL)
    for process in killed:
        while process.is_alive:
            time.sleep(POLL_S)
    return [process.name for process in killed]


def start_of(pid: int) -> str:
    """When a process started; empty if there is none, or only what is left of one."""
    try:
        state, *rest = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state in ("Z", "X") else rest[18]
    except (OSError, ValueError, IndexError):
        return "" if Path("/proc/self/stat").exists() else _start_by_ps(pid)


def _start_by_ps(pid: int) -> str:
    """Liveness of a process on a system without /proc."""
    asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return asked.stdout.strip()


def _signal(process: Process, number: signal.Signals) -> None:
    if process.is_alive:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, number)


def _reap(pid: int) -> None:
    child = _children.get(pid)
    if child is not None and child.poll() is not None:
        del _children[pid]
