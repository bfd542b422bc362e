"""A bare machine: a minimal Debian with Python, Node.js and git in a folder, and a clone of the repository in it.

What runs in it has its own processes and mounts, and shares the kernel and the network. So nothing that is installed on
this machine can help, everything that it leaves running is seen, and the memory of its containers counts with it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

REPOSITORY = Path(__file__).resolve().parents[2]
RELEASE = "trixie"
# The requirements of the README and of a clone.
GIVEN = ("python3", "nodejs", "npm", "git", "ca-certificates")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
# A company's proxy and certificates are part of the network, so a bare machine inside it knows them.
NETWORK_VARIABLES = ("SSL_CERT_FILE", "PIP_CERT", "NODE_EXTRA_CA_CERTS", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
SAMPLE_EVERY_S = 0.5

# Runs as the first process of its own process and mount namespaces. The folder becomes their root: in a mere chroot the
# kernel refuses what containers may do elsewhere, such as a user namespace.
ENTER = """
set -e
root=$1; shift
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount --rbind /sys "$root/sys"
mount --rbind /dev "$root/dev"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
cd "$root"
mkdir -p srv/outside
pivot_root . srv/outside
umount --lazy /srv/outside
exec bash -c "$INSIDE" bash "$@"
"""
# Its first process, so that orphans come to it; what is alive after the command was left running by it.
INSIDE = """
cd /srv/vcoin
"$@"
code=$?
for process in /proc/[0-9]*; do
    [ "$process" = "/proc/$$" ] || { read -r name < "$process/comm" && echo "$name"; }
done 2>/dev/null > /srv/left-running
exit $code
"""


@dataclass(frozen=True)
class Spent:
    """The cost of a command; peak_bytes is the greatest sum over all processes at a time, shared pages once."""

    code: int
    seconds: float
    peak_bytes: int
    left_running: tuple[str, ...]


class BareMachine:
    """Enter it to have it made, leave it to have it removed. Needs root and mmdebstrap, which set-up installs."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="vcoin-bare-", dir="/var/tmp"))
        self.root = self.folder / "root"

    def __enter__(self) -> BareMachine:
        try:
            self._make()
        except BaseException:
            self._remove()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._remove()

    def _make(self) -> None:
        install = [
            "mmdebstrap",
            "--quiet",
            "--variant=minbase",
            f"--include={','.join(GIVEN)}",
            RELEASE,
            str(self.root),
        ]
        subprocess.run(install, check=True)
        shutil.copy("/etc/resolv.conf", self.root / "etc" / "resolv.conf")
        if CERTIFICATES.is_file():
            shutil.copy(CERTIFICATES, self.root / CERTIFICATES.relative_to("/"))
        clone = ["git", "clone", "--quiet", f"file://{REPOSITORY}", str(self.root / "srv" / "vcoin")]
        subprocess.run(clone, check=True)

    def _remove(self) -> None:
        # Its mounts went with its namespace; a mount that did not must stop the removal, not be removed into.
        subprocess.run(["rm", "--recursive", "--force", "--one-file-system", str(self.folder)], check=True)

    def disk_bytes(self) -> int:
        """All that lies in it, as `du` counts it."""
        answer = subprocess.run(
            ["du", "-sx", "--block-size=1", str(self.root)], check=True, capture_output=True, text=True
        )
        return int(answer.stdout.split()[0])

    def run(self, *command: str) -> Spent:
        """Run a command of the clone as root; its output goes to stderr."""
        env = {"PATH": PATH, "HOME": "/root", "LANG": "C.UTF-8"}
        env |= {name: os.environ[name] for name in NETWORK_VARIABLES if name in os.environ}
        env["INSIDE"] = INSIDE
        enter = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "bash", "-c", ENTER, "bash", str(self.root)]
        started = time.monotonic()
        with subprocess.Popen([*enter, *command], env=env, stdin=subprocess.DEVNULL, stdout=sys.stderr) as process:
            meter = _Meter(process.pid)
            with meter:
                process.wait()
        seconds = time.monotonic() - started
        left = tuple((self.root / "srv" / "left-running").read_text().splitlines())
        return Spent(process.returncode, seconds, meter.peak_bytes, left)


class _Meter:
    """Adds up the memory of every process in the namespace below a process, twice a second."""

    def __init__(self, pid: int) -> None:
        self.peak_bytes = 0
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        namespace = None
        while not self._stop.wait(SAMPLE_EVERY_S):
            namespace = namespace or _namespace_of_children(self._pid)
            if namespace:
                self.peak_bytes = max(self.peak_bytes, sum(_memory(pid) for pid in _members(namespace)))


def _namespace_of_children(pid: int) -> str | None:
    try:
        return os.readlink(f"/proc/{pid}/ns/pid_for_children")
    except OSError:
        return None


def _members(namespace: str) -> list[int]:
    """Processes of the namespace. Containers have namespaces inside it, so a process belongs if an ancestor does."""
    parents: dict[int, int] = {}
    inside: set[int] = set()
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            parents[int(entry.name)] = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            if os.readlink(entry / "ns" / "pid") == namespace:
                inside.add(int(entry.name))
        except OSError:
            continue
    return [pid for pid in parents if _descends(pid, parents, inside)]


def _descends(pid: int, parents: dict[int, int], inside: set[int]) -> bool:
    while pid in parents:
        if pid in inside:
            return True
        pid = parents[pid]
    return False


def _memory(pid: int) -> int:
    """Proportional set size, so that what processes share is counted once."""
    try:
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1]) * 1024
    except OSError:
        pass
    return 0
