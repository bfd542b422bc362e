"""Docker Engine: the one that answers, or one of our own on its own socket and data root.

Several commands may use our engine at once. Each holds a shared lock while it does, and the last one out stops it,
unless someone asked for it to be kept. An engine that set-up did not start is never stopped.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import json
import os
import socket
import subprocess
import time
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit

from node.localnet.processes import Process, start_of, stop
from scripts.setup.cache import cache_directory
from scripts.setup.failure import Missing
from scripts.setup.step import SetupStep, Workbench

RUN = Path("/run/vcoin")
SOCKET = RUN / "docker.sock"
SYSTEM_SOCKET = Path("/var/run/docker.sock")
RECORD = RUN / "engine.json"
LOCK = RUN / "engine.lock"
START_LOCK = RUN / "start.lock"

START_DEADLINE_S = 60
STOP_DEADLINE_S = 30
ANSWER_DEADLINE_S = 5
POLL_S = 0.1


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=ANSWER_DEADLINE_S)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def ask(host: str, path: str) -> bytes | None:
    """One GET to the Engine API, None if nothing answers well. `host` is what DOCKER_HOST holds, ssh and TLS apart."""
    parts = urlsplit(host)
    connection: http.client.HTTPConnection
    if parts.scheme == "unix":
        connection = _UnixConnection(parts.path)
    else:
        connection = http.client.HTTPConnection(
            parts.hostname or "localhost", parts.port or 2375, timeout=ANSWER_DEADLINE_S
        )
    try:
        with contextlib.closing(connection):
            connection.request("GET", path)
            answer = connection.getresponse()
            body = answer.read()
            return body if answer.status == 200 else None
    except (OSError, http.client.HTTPException):
        return None


def answers(host: str) -> bool:
    """Whether an engine is behind this address."""
    if host.startswith("ssh:") or os.environ.get("DOCKER_TLS_VERIFY"):
        command = ["docker", "--host", host, "version"]
        return subprocess.run(command, capture_output=True, timeout=START_DEADLINE_S, check=False).returncode == 0
    return ask(host, "/_ping") is not None


def find() -> str | None:
    """The address of the engine to use: what DOCKER_HOST names, the system's own, ours; None if none answers.

    Raises: Missing if DOCKER_HOST names one that does not answer: starting another would not be what was asked for.
    """
    if named := os.environ.get("DOCKER_HOST"):
        if answers(named):
            return named
        # Ours may be started again: a kept and named engine means this one.
        if named == f"unix://{SOCKET}":
            return None
        raise Missing(f"no Docker Engine answers at DOCKER_HOST={named}", "start it, or: unset DOCKER_HOST")
    return next((host for host in (f"unix://{SYSTEM_SOCKET}", f"unix://{SOCKET}") if answers(host)), None)


def _recorded() -> dict[str, str | int]:
    """The engine that set-up started and that still runs, or nothing."""
    try:
        record: dict[str, str | int] = json.loads(RECORD.read_text())
        return record if record["start"] and start_of(int(record["pid"])) == record["start"] else {}
    except (OSError, ValueError, KeyError):
        return {}


def _start(bench: Workbench) -> None:
    """Raises: StepFailed with the end of its log where it does not come up."""
    root = cache_directory() / "docker"
    command = ["dockerd", "--host", f"unix://{SOCKET}", "--data-root", str(root)]
    command += ["--exec-root", str(RUN / "exec"), "--pidfile", str(RUN / "engine.pid")]
    with bench.log.open("ab") as log:
        # Its own session: a Ctrl-C meant for the command must leave the engine up until containers are removed.
        engine = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    RECORD.write_text(json.dumps({"pid": engine.pid, "start": start_of(engine.pid), "data_root": str(root)}))
    deadline = time.monotonic() + START_DEADLINE_S
    while not answers(f"unix://{SOCKET}"):
        if engine.poll() is not None:
            raise bench.failure(f"dockerd exited with {engine.returncode}")
        if time.monotonic() > deadline:
            engine.kill()
            raise bench.failure(f"dockerd did not answer in {START_DEADLINE_S} s")
        time.sleep(POLL_S)


class Lease:
    """One command's use of an engine; `host` is filled by the step."""

    def __init__(self) -> None:
        self.host: str | None = None
        self._lock: IO[bytes] | None = None

    def step(self) -> SetupStep:
        return SetupStep(name="docker engine", ready=self._ready, make=self._make, after=("packages",))

    def _ready(self, bench: Workbench) -> bool:
        self._hold()
        self.host = find()
        if self.host:
            bench.env["DOCKER_HOST"] = self.host
        return self.host is not None

    def _make(self, bench: Workbench) -> None:
        if self._lock is None:
            raise Missing("no Docker Engine answers, and starting one needs root", "sudo systemctl start docker")
        with START_LOCK.open("ab") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # Another command may have started it since we looked.
            if not self._ready(bench):
                _start(bench)
                self.host = bench.env["DOCKER_HOST"] = f"unix://{SOCKET}"

    def _hold(self) -> None:
        if os.geteuid() == 0 and self._lock is None:
            RUN.mkdir(mode=0o755, exist_ok=True)
            self._lock = LOCK.open("ab")
            fcntl.flock(self._lock, fcntl.LOCK_SH)

    def release(self, *, keep: bool) -> str | None:
        """Stop the engine if set-up started it and no other uses it. Returns: what was left running, in words."""
        record = _recorded()
        if self._lock is None or not record or self.host != f"unix://{SOCKET}":
            return None
        if keep:
            RECORD.write_text(json.dumps({**record, "keep": 1}))
        with self._lock as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                # Another command uses it, and will stop it.
                return None
            pid = int(record["pid"])
            if _recorded().get("keep"):
                return f"the Docker Engine stays up at {self.host}; stop it with: kill {pid}"
            if count := _running_containers(self.host):
                return (
                    f"the Docker Engine stays up at {self.host}: {count} containers run in it; stop it with: kill {pid}"
                )
            stop([Process("dockerd", pid, str(record["start"]), "")], STOP_DEADLINE_S)
            RECORD.unlink(missing_ok=True)
        return None


def _running_containers(host: str) -> int:
    listed = ask(host, "/containers/json?" + "filters=" + quote('{"status":["running","paused"]}'))
    return len(json.loads(listed or b"[]"))
