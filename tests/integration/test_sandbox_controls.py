"""Every control of the sandbox in a real container: the attack fails with it, and succeeds once it is taken away."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import docker
import pytest

from executor import images
from executor.containers.container import GRACE_S
from executor.containers.sandbox import MIB, WORKER, Limits, Mount, Sandbox
from tests.support.runner_context import docker_host

pytestmark = pytest.mark.docker

Change = Callable[[dict[str, Any]], None]

LIMITS = Limits(memory_bytes=96 * MIB, cpu_millis=300, pids=64, open_files=256, file_bytes=8 * MIB, tmp_bytes=16 * MIB)


@dataclass(frozen=True)
class Control:
    """An attack, what it prints where the control holds, and where `without` has removed it."""

    name: str
    attack: str
    held: str
    without: Change
    broken: str


def host(**fields: Any) -> Change:
    return lambda body: body["HostConfig"].update(fields)


def as_root(*changes: Change) -> Change:
    """Root with Docker's default capabilities: what a container is without hardening."""

    def change(body: dict[str, Any]) -> None:
        body["User"] = "0:0"
        body["HostConfig"]["CapDrop"] = []
        for each in changes:
            each(body)

    return change


def ulimit(name: str) -> Change:
    def change(body: dict[str, Any]) -> None:
        body["HostConfig"]["Ulimits"] = [u for u in body["HostConfig"]["Ulimits"] if u["Name"] != name]

    return change


def networked(body: dict[str, Any]) -> None:
    body["NetworkDisabled"] = False
    body["HostConfig"]["NetworkMode"] = "bridge"


def writable_mounts(body: dict[str, Any]) -> None:
    for mount in body["HostConfig"]["Mounts"]:
        mount["ReadOnly"] = False


CONTROLS = [
    Control(
        "network none",
        "import socket\nprint('alone' if [n for _, n in socket.if_nameindex()] == ['lo'] else 'connected')",
        "alone",
        networked,
        "connected",
    ),
    Control(
        "read-only root",
        "try: open('/etc/owned', 'w'); print('wrote')\nexcept OSError as e: print(e.strerror)",
        "Read-only file system",
        as_root(host(ReadonlyRootfs=False)),
        "wrote",
    ),
    Control(
        "worker uid",
        "try: open('/etc/shadow'); print('read')\nexcept OSError as e: print(e.strerror)",
        "Permission denied",
        as_root(),
        "read",
    ),
    Control(
        "no capabilities",
        "import os\ntry: os.chown('/tmp', 1234, 1234); print('owned')\nexcept OSError as e: print(e.strerror)",
        "Operation not permitted",
        as_root(),
        "owned",
    ),
    Control(
        "no new privileges",
        "import os\nos.execv('/suid/id', ['id', '-u'])",
        "1000",
        host(SecurityOpt=[]),
        "0",
    ),
    Control(
        "default seccomp",
        "import ctypes\nprint(ctypes.CDLL(None).unshare(0x10000000))",
        "-1",
        host(SecurityOpt=["no-new-privileges", "seccomp=unconfined"]),
        "0",
    ),
    Control(
        "memory",
        "b = bytearray(160 << 20)\nfor i in range(0, len(b), 4096): b[i] = 1\nprint('allocated')",
        "OOM-killed",
        host(Memory=512 * MIB, MemorySwap=512 * MIB),
        "allocated",
    ),
    Control(
        "processes",
        "import os, time\nn = 0\ntry:\n  while n < 200:\n    if os.fork() == 0: time.sleep(30)\n    n += 1\n"
        "  print('forked')\nexcept OSError as e: print(e.strerror)",
        "Resource temporarily unavailable",
        host(PidsLimit=1000),
        "forked",
    ),
    Control(
        "processor time",
        # Throttling is counted by the kernel, so that busy cores cannot pass for a limit.
        "import glob, time\nend = time.monotonic() + 1.5\nwhile time.monotonic() < end: pass\n"
        "text = ''.join(open(p).read() for p in glob.glob('/sys/fs/cgroup/cpu.stat')"
        " + glob.glob('/sys/fs/cgroup/cpu,cpuacct/cpu.stat') + glob.glob('/sys/fs/cgroup/cpu/cpu.stat'))\n"
        "n = max(int(l.split()[1]) for l in text.splitlines() if l.startswith('nr_throttled'))\n"
        "print('throttled' if n > 3 else 'free')",
        "throttled",
        host(NanoCpus=0),
        "free",
    ),
    Control(
        "open files",
        "f = []\ntry:\n  for i in range(2000): f.append(open('/dev/null'))\n  print('opened')\n"
        "except OSError as e: print(e.strerror)",
        "Too many open files",
        ulimit("nofile"),
        "opened",
    ),
    Control(
        "file size",
        "try:\n  with open('/output/big', 'wb') as f:\n    for i in range(16): f.write(bytes(1 << 20)); f.flush()\n"
        "  print('wrote')\nexcept OSError as e: print(e.strerror)",
        "File too large",
        ulimit("fsize"),
        "wrote",
    ),
    Control(
        "no core dumps",
        "import resource\nprint(resource.getrlimit(resource.RLIMIT_CORE)[1])",
        "0",
        ulimit("core"),
        "-1",
    ),
    Control(
        "size of /tmp",
        "try:\n  for n in range(8):\n    with open(f'/tmp/{n}', 'wb') as f: f.write(bytes(4 << 20))\n"
        "  print('wrote')\nexcept OSError as e: print(e.strerror)",
        "No space left on device",
        host(Tmpfs={"/tmp": "size=64m,mode=1777"}),
        "wrote",
    ),
    Control(
        "nothing to execute in /tmp",
        "import os, shutil\nshutil.copy('/usr/bin/id', '/tmp/id')\n"
        "try: os.execv('/tmp/id', ['id', '-u'])\nexcept OSError as e: print(e.strerror)",
        "Permission denied",
        host(Tmpfs={"/tmp": "size=64m,mode=1777,exec"}),
        "1000",
    ),
    Control(
        "read-only input",
        "try: open('/input/a', 'w'); print('wrote')\nexcept OSError as e: print(e.strerror)",
        "Read-only file system",
        writable_mounts,
        "wrote",
    ),
    Control(
        "own message queues",
        "import os\nprint(os.readlink('/proc/self/ns/ipc') != os.environ['HOST_IPC'])",
        "True",
        host(IpcMode="host"),
        "False",
    ),
    Control(
        "not privileged",
        "import os\nprint(len(os.listdir('/dev')) < 30)",
        "True",
        host(Privileged=True),
        "False",
    ),
    Control(
        "killed before the node",
        "print(open('/proc/self/oom_score_adj').read().strip())",
        "500",
        host(OomScoreAdj=0),
        "0",
    ),
    Control(
        "somebody reaps the dead",
        "print(open('/proc/1/comm').read().strip())",
        "docker-init",
        host(Init=False),
        "python3",
    ),
]


@pytest.fixture(scope="module")
def api() -> Iterator[Any]:
    client = docker.APIClient(base_url=docker_host(), version="auto")
    yield client
    client.close()


@pytest.fixture
def body(tmp_path: Path) -> dict[str, Any]:
    for name in ("input", "output"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    (tmp_path / "input" / "a").write_text("a")
    (tmp_path / "input" / "a").chmod(0o666)
    (tmp_path / "suid").mkdir()
    shutil.copy("/usr/bin/id", tmp_path / "suid" / "id")
    (tmp_path / "suid" / "id").chmod(0o4755)
    sandbox = Sandbox(
        image=images.find(docker_host()),
        limits=LIMITS,
        mounts=(
            Mount(str(tmp_path / "input"), "/input"),
            Mount(str(tmp_path / "output"), "/output", read_only=False),
            Mount(str(tmp_path / "suid"), "/suid"),
        ),
        environment={"HOST_IPC": os.readlink("/proc/self/ns/ipc")},
        labels={"node": "test-controls"},
    )
    return copy.deepcopy(sandbox.container())


def outcome(api: Any, body: dict[str, Any], program: str) -> str:
    """The last word of a Python program in a container with this body."""
    body["Entrypoint"], body["Cmd"] = ["/usr/bin/python3", "-c"], [program]
    container = api.create_container_from_config(body)["Id"]
    try:
        api.start(container)
        api.wait(container, timeout=GRACE_S)
        if api.inspect_container(container)["State"]["OOMKilled"]:
            return "OOM-killed"
        return str(api.logs(container, tail=1).decode().strip())
    finally:
        api.remove_container(container, force=True)


@pytest.mark.parametrize("control", CONTROLS, ids=lambda control: control.name)
def test_attack_fails_with_the_control_and_succeeds_without(api: Any, body: dict[str, Any], control: Control) -> None:
    assert body["User"] == WORKER
    assert outcome(api, copy.deepcopy(body), control.attack) == control.held
    control.without(body)
    assert outcome(api, body, control.attack) == control.broken


def test_log_on_disk_stays_small(api: Any, body: dict[str, Any]) -> None:
    body["Entrypoint"], body["Cmd"] = ["/usr/bin/python3", "-c"], ["print(('y' * 1023 + '\\n') * 8192)"]
    container = api.create_container_from_config(body)["Id"]
    try:
        api.start(container)
        api.wait(container, timeout=GRACE_S)
        kept = sum(len(part) for part in api.logs(container, stream=True))
    finally:
        api.remove_container(container, force=True)
    assert kept < 1.5 * MIB
