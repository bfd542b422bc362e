"""Builds the stub of NVML with the machine's C compiler, and drives it: cards with heat, faults, processes and hangs.

The stub has the soname of the real library. Loaded before the client asks for that name, it is what the client gets.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import subprocess
import tempfile
from pathlib import Path

SOURCE = Path(__file__).parents[1] / "stubs" / "nvml.c"
LIBRARY = "libnvidia-ml.so.1"
ABSENT = 0xFFFFFFFF
"""A sensor that the card does not have."""
GIB = 1 << 30
_CARDS, _INSTANCES, _PROCESSES = 16, 7, 16

# Errors of NVML.
NO_PERMISSION, DRIVER_NOT_LOADED, LOST, UNKNOWN = 4, 9, 15, 999
POWER_CAP, HW_SLOWDOWN, SW_THERMAL = 4, 8, 32


class StubProcess(ctypes.Structure):
    _fields_ = (("used_bytes", ctypes.c_uint64), ("pid", ctypes.c_uint32), ("instance", ctypes.c_uint32))


class StubCard(ctypes.Structure):
    """See CardState in nvml.c."""

    _fields_ = (
        ("uuid", ctypes.c_char * 96),
        ("model", ctypes.c_char * 96),
        ("instance_uuid", (ctypes.c_char * 96) * _INSTANCES),
        *((name, ctypes.c_uint64) for name in ("total_bytes", "used_bytes", "instance_bytes", "throttles", "ecc")),
        *((name, ctypes.c_uint32) for name in ("error", "temperature", "utilisation", "power_mw", "limit_mw")),
        *((name, ctypes.c_uint32) for name in ("least_mw", "most_mw", "major", "minor", "mig", "mig_pending")),
        *((name, ctypes.c_uint32) for name in ("instances", "processes", "hang_ms", "may_cap")),
        ("process", StubProcess * _PROCESSES),
    )

    def run(self, *processes: tuple[int, int], instance: int = 0) -> None:
        """These processes, and no others, have memory of the card: pid and bytes of each."""
        self.processes = len(processes)
        for number, (pid, used_bytes) in enumerate(processes):
            self.process[number] = StubProcess(used_bytes, pid, instance)
        self.used_bytes = sum(used_bytes for _, used_bytes in processes)


class _State(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_uint32) for name in ("count", "init_error", "delay_ms", "hang_ms", "calls", "inits")),
        ("driver", ctypes.c_char * 80),
        ("cuda", ctypes.c_uint32),
        ("card", StubCard * _CARDS),
    )


class NvmlStub:
    """The machine that the stub shows: `count` cool, empty cards of 24 GiB to begin with."""

    def __init__(self, path: Path, count: int = 1) -> None:
        path.write_bytes(bytes(ctypes.sizeof(_State)))
        self.path = path
        with path.open("r+b") as file:
            self._memory = mmap.mmap(file.fileno(), 0)
        self.state = _State.from_buffer(self._memory)
        self.state.driver, self.state.cuda, self.state.count = b"550.54.15", 12040, count
        for number, card in enumerate(self.state.card):
            card.uuid, card.model = b"GPU-%08x" % number, b"NVIDIA Stub 24GB"
            card.total_bytes, card.temperature, card.utilisation = 24 * GIB, 40, 0
            card.power_mw, card.limit_mw, card.least_mw, card.most_mw = 60_000, 300_000, 100_000, 350_000
            card.major, card.minor, card.ecc, card.mig = 8, 9, ABSENT, ABSENT
            for instance in range(_INSTANCES):
                card.instance_uuid[instance].value = b"MIG-%08x-%d" % (number, instance)

    def __getitem__(self, index: int) -> StubCard:
        return self.state.card[index]

    def split(self, index: int, instances: int, each_bytes: int) -> None:
        """Turn MIG on, with so many instances."""
        card = self[index]
        card.mig = card.mig_pending = 1
        card.instances, card.instance_bytes = instances, each_bytes

    def show(self) -> None:
        """Let the library of this process show this machine from now on."""
        if ctypes.CDLL(str(library())).stub_open(str(self.path).encode()):
            raise OSError(f"the stub cannot map {self.path}")


@functools.cache
def library(*flags: str) -> Path:
    """The stub, compiled once a process; with -DOLD_DRIVER, that of an old driver."""
    folder = Path(tempfile.mkdtemp(prefix="vcoin-nvml-"))
    built = folder / LIBRARY
    command = ["cc", "-shared", "-fPIC", "-O1", "-Wall", "-Werror", f"-Wl,-soname,{LIBRARY}", *flags]
    subprocess.run([*command, "-o", str(built), str(SOURCE)], check=True)
    return built
