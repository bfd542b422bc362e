"""A local network of two, played by the commands that a person types."""

from __future__ import annotations

import json
import os
import select
import signal
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from executor.containers.engine import Engine
from executor.workspace.mounts import mounts_below
from node.localnet.processes import Process
from node.localnet.record import read_record
from scripts.setup import model
from tests.support.ports import free_ports
from tests.support.runner_context import docker_host, small_model

VCOIN = (sys.executable, "-m", "node.cli")
WITHIN_S = 240
PLAN = """
[nodes.requester]
roles = ["requester"]
stake = "1000"
deposit = "500"
coins = "500"
[nodes.requester.settings]
"gateway.listen" = "127.0.0.1:{gateway}"
[nodes.provider]
roles = ["provider"]
stake = "5000"
"""


@dataclass
class NetworkOfTwo:
    """A requester with a gateway and a provider, each a process."""

    directory: Path
    port: int = field(default_factory=lambda: free_ports(4))

    def up(self) -> None:
        """Bring it up, if it is not."""
        record = read_record(self.directory)
        if record is not None and all(process.is_alive for process in record.processes):
            return
        plan = self.directory.with_suffix(".toml")
        plan.write_text(PLAN.format(gateway=self.port + 3))
        ports = ("--port", str(self.port), "--p2p-port", str(self.port + 1))
        self._run("localnet", "up", "--nodes", str(plan), *ports, "--store", str(model.store()), *self._dir)

    @property
    def gateway(self) -> str:
        """Its address for OpenAI's clients."""
        return f"http://127.0.0.1:{self.port + 3}/v1"

    def key(self) -> str:
        """A new gateway key."""
        words = ("gateway", "key", "create", "--budget", "50", "--json", "--data-dir", self._requester)
        return str(json.loads(self._run(*words, with_words=False))["key"])

    def down(self) -> str:
        return self._run("localnet", "down", *self._dir)

    def answer(self) -> str:
        """The answer to a short question."""
        return self._run(*self._question(8))

    def begin_a_long_job(self) -> subprocess.Popen[bytes]:
        """A job whose answer has begun, out of a container of the provider."""
        command = (*VCOIN, *self._question(1_024))
        asker = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert asker.stdout is not None
        assert select.select([asker.stdout], [], [], WITHIN_S)[0], self.logs()
        assert asker.stdout.read(1), self.logs()
        return asker

    def kill(self, *names: str) -> None:
        """As a power cut does it: no process gets to clean up."""
        record = read_record(self.directory)
        assert record is not None
        for process in record.processes:
            if process.name in names:
                os.kill(process.pid, signal.SIGKILL)
                _wait_for_end_of(process)

    def left(self) -> dict[str, list[str]]:
        """Leftovers of the provider's jobs on this machine."""
        listed = subprocess.run(["losetup", "--noheadings", "--output", "BACK-FILE"], capture_output=True, check=True)
        loops = [line for line in listed.stdout.decode().splitlines() if line.startswith(str(self.directory))]
        with closing(Engine("test", docker_host())) as engine:
            mounts = [mount["Source"] for found in engine.api.containers(all=True) for mount in found.get("Mounts", ())]
        containers = [source for source in mounts if source.startswith(str(self.directory))]
        return {"mounts": [*map(str, mounts_below(self.directory))], "loops": loops, "containers": containers}

    @property
    def _dir(self) -> tuple[str, str]:
        return "--dir", str(self.directory)

    @property
    def _requester(self) -> str:
        return str(self.directory / "requester")

    def _question(self, max_tokens: int) -> tuple[str, ...]:
        job = ("job", "run", "--model", small_model().cid.hex(), "--max-tokens", str(max_tokens))
        return (*job, "--data-dir", self._requester, "Tell a long story about the sea.")

    def _run(self, *words: str, with_words: bool = True) -> str:
        """The output of a command, which must succeed."""
        ended = subprocess.run([*VCOIN, *words], capture_output=True, text=True, timeout=WITHIN_S, check=False)
        assert ended.returncode == 0, f"{words}: {ended.stdout}\n{ended.stderr}\n{self.logs()}"
        return ended.stdout + (ended.stderr if with_words else "")

    def logs(self) -> str:
        """The ends of all logs."""
        return "\n".join(f"{log}:\n{log.read_text()[-2_000:]}" for log in self.directory.glob("*/node.log"))


def _wait_for_end_of(process: Process) -> None:
    """The kernel says of a process once that it has ended."""
    try:
        handle = os.pidfd_open(process.pid)
    except ProcessLookupError:
        return
    try:
        assert select.select([handle], [], [], WITHIN_S)[0]
    finally:
        os.close(handle)
