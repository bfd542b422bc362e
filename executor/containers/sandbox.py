"""The sandbox of a job: its limits as data, and the Docker Engine request that they make. Pure.

Each field of the request is a control of its own; tests/integration/test_sandbox_controls.py tries each in a container.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from executor.containers.card_access import RuntimeChoice

MIB = 1 << 20
GIB = 1 << 30

WORKER = "1000:1000"
INPUT, OUTPUT, MODELS = "/input", "/output", "/models"
LABEL = "org.vcoin."
CARDS_LABEL, CARD_BYTES_LABEL = "cards", "card_bytes"


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a job, in bytes, milliseconds and counts. The kernel enforces them without the job's help."""

    timeout_ms: int = 120_000
    memory_bytes: int = 2 * GIB
    cpu_millis: int = 1000
    pids: int = 256
    open_files: int = 1024
    # The largest single file, and all of /output together. Only the second needs root on the host.
    file_bytes: int = 64 * MIB
    output_bytes: int = 64 * MIB
    output_files: int = 256
    tmp_bytes: int = 256 * MIB
    shm_bytes: int = 64 * MIB
    # stdout and stderr, which the daemon reads: more than this is an attack.
    stdout_bytes: int = 8 * MIB
    stdout_lines_per_s: int = 20

    def __post_init__(self) -> None:
        for name in self.__slots__:
            if getattr(self, name) <= 0:
                raise ValueError(f"{name} must be positive")

    @property
    def threads(self) -> int:
        """Threads to compute with. With more threads than cores a job takes ten times as long."""
        return max(1, self.cpu_millis // 1000)


@dataclass(frozen=True, slots=True)
class Mount:
    source: str
    target: str
    read_only: bool = True

    def request(self) -> dict[str, object]:
        return {"Type": "bind", "Source": self.source, "Target": self.target, "ReadOnly": self.read_only}


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One container before it exists. `labels` are the names without prefix (node, job, deadline, spec).

    card_bytes: its share of the memory of each of its cards.
    """

    image: str
    limits: Limits
    mounts: tuple[Mount, ...]
    environment: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)
    gpu_uuids: tuple[str, ...] = ()
    card_bytes: int = 0
    choice: RuntimeChoice = field(default_factory=RuntimeChoice)
    command: tuple[str, ...] = ()
    is_served: bool = False
    """Whether it hears on its standard input what it shall do next."""

    def container(self) -> dict[str, object]:
        """The body of POST /containers/create."""
        body: dict[str, object] = {
            "Image": self.image,
            "User": WORKER,
            "Env": [f"{name}={value}" for name, value in sorted(self._environment().items())],
            "Labels": {LABEL + name: value for name, value in {**self.labels, **self._card_labels()}.items()},
            "NetworkDisabled": True,
            "AttachStdin": self.is_served,
            "OpenStdin": self.is_served,
            "StdinOnce": self.is_served,
            "AttachStdout": True,
            "AttachStderr": True,
            "HostConfig": self.host_config(),
        }
        if self.command:
            body["Entrypoint"], body["Cmd"] = [self.command[0]], list(self.command[1:])
        return body

    def host_config(self) -> dict[str, object]:
        """The HostConfig of that body, which holds the controls."""
        limits = self.limits
        return {
            "NetworkMode": "none",
            "ReadonlyRootfs": True,
            "CapDrop": ["ALL"],
            # The default seccomp profile stays on: no other is named here.
            "SecurityOpt": ["no-new-privileges"],
            "Privileged": False,
            "IpcMode": "private",
            "CgroupnsMode": "private",
            "Init": True,
            "Memory": limits.memory_bytes,
            # Equal to Memory: no swap.
            "MemorySwap": limits.memory_bytes,
            "NanoCpus": limits.cpu_millis * 1_000_000,
            "PidsLimit": limits.pids,
            "ShmSize": limits.shm_bytes,
            "Tmpfs": {"/tmp": f"size={limits.tmp_bytes},mode=1777,nosuid,nodev,noexec"},  # noqa: S108 (the job's own)
            "Ulimits": [
                {"Name": "nofile", "Soft": limits.open_files, "Hard": limits.open_files},
                {"Name": "core", "Soft": 0, "Hard": 0},
                {"Name": "fsize", "Soft": limits.file_bytes, "Hard": limits.file_bytes},
            ],
            "Mounts": [mount.request() for mount in self.mounts],
            # Without compress=false Docker refuses to start a container whose log is a single file.
            "LogConfig": {"Type": "local", "Config": {"max-size": "1m", "max-file": "1", "compress": "false"}},
            "RestartPolicy": {"Name": "no"},
            # The kernel kills a job before the node that runs it.
            "OomScoreAdj": 500,
            **self.choice.fields(self.gpu_uuids),
        }

    def _environment(self) -> dict[str, str]:
        threads = str(self.limits.threads)
        return {
            # What the engine may take where the model lies: of each card, or of the machine.
            "MAX_MEMORY": str(self.card_bytes if self.gpu_uuids else self.limits.memory_bytes),
            "TIMEOUT": str(self.limits.timeout_ms // 1000),
            "NVIDIA_VISIBLE_DEVICES": ",".join(self.gpu_uuids) or "void",
            "OMP_NUM_THREADS": threads,
            "OPENBLAS_NUM_THREADS": threads,
            "OMP_WAIT_POLICY": "PASSIVE",
            **self.environment,
            **({"NVIDIA_DRIVER_CAPABILITIES": "compute,utility"} if self.gpu_uuids else {}),
        }

    def _card_labels(self) -> dict[str, str]:
        """By these the daemon finds what runs on a card, also after a restart."""
        if not self.gpu_uuids:
            return {}
        return {CARDS_LABEL: ",".join(self.gpu_uuids), CARD_BYTES_LABEL: str(self.card_bytes)}
