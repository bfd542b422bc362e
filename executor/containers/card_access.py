"""How a container gets its cards, and which runtime of Docker starts it. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from protocol.errors import ExecutorError

NVIDIA = "nvidia"
CDI_KIND = "nvidia.com/gpu"


class CardAccess(StrEnum):
    """Ways to give a container a card by its UUID; all of them name it in NVIDIA_VISIBLE_DEVICES, too."""

    AUTO = "auto"
    DEVICES = "devices"
    """Docker's own device requests, which need the hook of NVIDIA's container toolkit."""
    RUNTIME = "runtime"
    """The runtime of NVIDIA's container toolkit, or the one that `executor.runtime` names."""
    CDI = "cdi"
    """The Container Device Interface: its specification on this machine names the cards by UUID."""


@dataclass(frozen=True, slots=True)
class RuntimeChoice:
    """How the containers of this machine are started. runtime: its name; empty: Docker's default."""

    runtime: str = ""
    access: CardAccess = CardAccess.DEVICES

    def fields(self, uuids: Sequence[str]) -> dict[str, object]:
        """The fields of HostConfig for a container with these cards, or with none."""
        if not uuids:
            return {"Runtime": self.runtime, "DeviceRequests": []}
        match self.access:
            case CardAccess.RUNTIME:
                return {"Runtime": self.runtime or NVIDIA, "DeviceRequests": []}
            case CardAccess.CDI:
                names = [f"{CDI_KIND}={uuid}" for uuid in uuids]
                return {"Runtime": self.runtime, "DeviceRequests": [{"Driver": "cdi", "DeviceIDs": names}]}
            case _:
                request = {"Driver": "", "DeviceIDs": list(uuids), "Capabilities": [["gpu"]]}
                return {"Runtime": self.runtime, "DeviceRequests": [request]}


def resolve(choice: RuntimeChoice, engine: Mapping[str, Any], *, has_cards: bool) -> RuntimeChoice:
    """What the Docker Engine of this machine can do of an owner's choice.

    Args: engine, its answer to GET /info.
    Raises: ExecutorError, with the fix, where it has no such runtime or knows no card.
    """
    runtimes = engine.get("Runtimes") or {}
    if choice.runtime and choice.runtime not in runtimes:
        raise _no_runtime("executor.runtime", choice.runtime, runtimes)
    if not has_cards:
        return choice
    access = _best(engine) if choice.access is CardAccess.AUTO else choice.access
    if access is CardAccess.RUNTIME and not choice.runtime and NVIDIA not in runtimes:
        raise _no_runtime("executor.gpu_access = runtime", NVIDIA, runtimes)
    if access is CardAccess.CDI and "CDISpecDirs" in engine and not engine["CDISpecDirs"]:
        raise ExecutorError(
            'executor.gpu_access = cdi, and CDI is off in this Docker Engine: set "features": {"cdi": true} in '
            "/etc/docker/daemon.json, or another executor.gpu_access"
        )
    return RuntimeChoice(choice.runtime, access)


def _best(engine: Mapping[str, Any]) -> CardAccess:
    """CDI where the Engine has found cards by it, then NVIDIA's runtime, then device requests."""
    devices = engine.get("DiscoveredDevices") or []
    if any(str(device.get("ID", "")).startswith(CDI_KIND) for device in devices):
        return CardAccess.CDI
    return CardAccess.RUNTIME if NVIDIA in (engine.get("Runtimes") or {}) else CardAccess.DEVICES


_FIXES = {
    "runsc": "install gVisor (Debian: apt install runsc) and name it in /etc/docker/daemon.json",
    NVIDIA: "install nvidia-container-toolkit, then sudo nvidia-ctk runtime configure --runtime=docker",
}


def _no_runtime(key: str, wanted: str, runtimes: Mapping[str, Any]) -> ExecutorError:
    there = ", ".join(sorted(runtimes)) or "none that it names"
    fix = _FIXES.get(wanted, "name it in /etc/docker/daemon.json")
    return ExecutorError(f"{key}: Docker has no runtime {wanted}, only {there}: {fix}, restart Docker, or set another")
