"""A Docker Engine of a test's own, to be killed, stopped and started again; the one that others use is not touched."""

from __future__ import annotations

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from executor import images
from scripts.setup import engine
from tests.adversaries.images import build
from tests.support.runner_context import docker_host

UP_S = 60
POLL_S = 0.05


class PrivateEngine:
    """dockerd with its own data, sockets and containerd under one folder. `live_restore`: containers outlive it."""

    def __init__(self, home: Path) -> None:
        self._home = home
        self.host = f"unix://{home}/docker.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *, live_restore: bool = False) -> None:
        """Returns once it answers."""
        home = self._home
        # In a network of its own: without a bridge it would take away that of the machine's engine.
        command = ["unshare", "--net", "dockerd", "--host", self.host, "--bridge=none", "--iptables=false"]
        command += [
            "--data-root",
            str(home / "data"),
            "--exec-root",
            str(home / "exec"),
            "--pidfile",
            str(home / "pid"),
        ]
        if live_restore:
            command.append("--live-restore")
        with (home / "log").open("ab") as log:
            self._process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
        deadline = time.monotonic() + UP_S
        while not engine.answers(self.host):
            assert self._process.poll() is None, (home / "log").read_text()[-2000:]
            assert time.monotonic() < deadline, "dockerd does not come up"
            time.sleep(POLL_S)

    def kill(self) -> None:
        """As a crash would. Its containerd dies with it: one that starts too early finds the old and waits 10 s."""
        pid = int((self._home / "exec" / "containerd" / "containerd.pid").read_text())
        self.signal(signal.SIGKILL)
        self._reap()
        deadline = time.monotonic() + UP_S
        while Path(f"/proc/{pid}").exists() and time.monotonic() < deadline:
            time.sleep(POLL_S)

    def signal(self, number: int) -> None:
        assert self._process is not None
        os.kill(self._process.pid, number)

    def stop(self) -> None:
        """End it, and its containers."""
        if self._process is not None:
            self._process.terminate()
            self._reap()

    def _reap(self) -> None:
        assert self._process is not None
        self._process.wait(timeout=UP_S)
        self._process = None


@contextmanager
def open_private_engine() -> Iterator[tuple[PrivateEngine, str]]:
    """A stopped engine that has the hostile image, and that image's tag. Gone without a trace at the end."""
    # A socket's path must be short.
    with tempfile.TemporaryDirectory(prefix="vcoin-engine-") as made:
        private = PrivateEngine(Path(made))
        private.start()
        try:
            # Without the runner's torch and its weight: these containers need Python only.
            saved = subprocess.Popen(["docker", "--host", docker_host(), "save", images.BASE], stdout=subprocess.PIPE)
            load = ["docker", "--host", private.host, "load", "-q"]
            subprocess.run(load, stdin=saved.stdout, check=True, capture_output=True)
            assert saved.stdout is not None
            saved.stdout.close()
            assert saved.wait() == 0
            tag = build("hostile_image", images.BASE, private.host)
            private.stop()
            yield private, tag
        finally:
            private.stop()
            # dockerd binds its data onto itself; killed, it leaves that behind.
            subprocess.run(["umount", f"{made}/data"], check=False, capture_output=True)
