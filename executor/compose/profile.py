"""The inference profile: the container that a node's sandbox makes, and the compose file that says the same. Pure.

The file is for people who start the image without a node. Its names are those of the specification: `vcoin/inference`,
`vcoin-net`, GPU_ID, MODEL_NAME, MAX_MEMORY and TIMEOUT. The node itself needs no compose file.
"""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor.containers.card_access import RuntimeChoice
from executor.containers.sandbox import INPUT, MODELS, OUTPUT, Limits, Mount, Sandbox

PROJECT, SERVICE, NETWORK = "vcoin", "inference", "vcoin-net"
REFERENCE = Path(__file__).with_name("docker-compose.yaml")
NO_CARD = "void"
CARD = re.compile(r"(?:GPU|MIG)-[0-9A-Za-z-]{1,120}")
"""The UUID of a card, or of an instance of one."""
NO_REACH = {
    "com.docker.network.bridge.enable_icc": "false",
    "com.docker.network.bridge.inhibit_ipv4": "true",
}
"""An internal network still reaches its neighbours and the host: with these options it reaches neither."""
HEAD = """\
# The inference profile: the sandbox of a node, for `docker compose`. `vcoin node compose` wrote it.
# After an edit, `vcoin node compose --check FILE` names each field that is weaker than the sandbox.
# MODEL_NAME is a folder of the model store, GPU_ID the UUID of a card, MAX_MEMORY bytes, TIMEOUT seconds.
# Beside this file lie the folders input (spec.json and what it lists) and output (writable for user 1000).
"""
REASONS = {
    "pull_policy": "Built here by ./scripts/image: an image of this name in a registry is another program.",
    "security_opt": "The default seccomp profile stays on: no other is named here.",
    "memswap_limit": "Equal to mem_limit: no swap.",
    "volumes": "One model, not the store.",
}


@dataclass(frozen=True, slots=True)
class InferenceProfile:
    """What differs from node to node.

    models: the folder of the model store's models. folder: where input and output lie. model: the name of a folder in
    `models`, empty if MODEL_NAME is to say it. card: the UUID of a card, empty for none. runtime: Docker's runtime for
    it, empty for the default.
    """

    image: str = "vcoin/inference:latest"
    limits: Limits = field(default_factory=Limits)
    models: str = "./models"
    folder: str = "."
    model: str = ""
    card: str = ""
    runtime: str = ""

    def sandbox(self) -> Sandbox:
        """The container that this node's sandbox would make."""
        inside = f"{MODELS}/{self.model}"
        mounts = (
            Mount(f"{self.folder}/input", INPUT),
            Mount(f"{self.folder}/output", OUTPUT, read_only=False),
            Mount(f"{self.models}/{self.model}", inside),
        )
        return Sandbox(
            *(self.image, self.limits, mounts, {"MODEL_PATH": inside}),
            gpu_uuids=(self.card,) if self.card else (),
            # One variable says what may be taken, of the card and of the machine.
            card_bytes=self.limits.memory_bytes if self.card else 0,
            choice=RuntimeChoice(self.runtime),
        )


def compose_file(profile: InferenceProfile) -> str:
    """The text of docker-compose.yaml, made of the request that the sandbox would send."""
    network = {"name": NETWORK, "internal": True, "driver_opts": NO_REACH}
    lines = [f"name: {PROJECT}", "services:", f"  {SERVICE}:", *_lines(_service(profile), 4)]
    lines += ["networks:", f"  {NETWORK}:", *_lines(network, 4)]
    return HEAD + "\n".join(lines) + "\n"


def _service(profile: InferenceProfile) -> dict[str, object]:
    """The container's request in the words of compose, with the specification's variables left to the caller."""
    body: Any = profile.sandbox().container()
    host = body["HostConfig"]
    memory = f"${{MAX_MEMORY:-{host['Memory']}}}"
    chosen = f":-{profile.model}" if profile.model else ":?a folder of the model store"
    name = f"${{MODEL_NAME{chosen}}}"
    card = f"${{GPU_ID:-{profile.card or NO_CARD}}}"
    environment = dict(each.split("=", 1) for each in body["Env"])
    environment |= {
        "MAX_MEMORY": memory,
        "MODEL_PATH": f"{MODELS}/{name}",
        "NVIDIA_VISIBLE_DEVICES": card,
        "TIMEOUT": f"${{TIMEOUT:-{environment['TIMEOUT']}}}",
    }
    mounts = [(m["Source"], m["Target"], m["ReadOnly"]) for m in host["Mounts"] if m["Target"] in (INPUT, OUTPUT)]
    mounts.append((f"{profile.models}/{name}", f"{MODELS}/{name}", True))
    service: dict[str, object] = {
        "image": body["Image"],
        "pull_policy": "never",
        "user": body["User"],
        "read_only": host["ReadonlyRootfs"],
        "cap_drop": host["CapDrop"],
        "security_opt": [f"{each}:true" if each == "no-new-privileges" else each for each in host["SecurityOpt"]],
        "privileged": host["Privileged"],
        "ipc": host["IpcMode"],
        "cgroup": host["CgroupnsMode"],
        "init": host["Init"],
        "mem_limit": memory,
        "memswap_limit": memory,
        "cpus": host["NanoCpus"] / 10**9,
        "pids_limit": host["PidsLimit"],
        "shm_size": host["ShmSize"],
        "oom_score_adj": host["OomScoreAdj"],
        "restart": host["RestartPolicy"]["Name"],
        "tmpfs": [f"{path}:{options}" for path, options in host["Tmpfs"].items()],
        "ulimits": {each["Name"]: {"soft": each["Soft"], "hard": each["Hard"]} for each in host["Ulimits"]},
        "logging": {"driver": host["LogConfig"]["Type"], "options": host["LogConfig"]["Config"]},
        "environment": dict(sorted(environment.items())),
        "volumes": [
            {"type": "bind", "source": source, "target": target, "read_only": read_only}
            for source, target, read_only in mounts
        ],
        "networks": [NETWORK],
    }
    if host["Runtime"]:
        service["runtime"] = host["Runtime"]
    if host["DeviceRequests"]:
        device = {"driver": "nvidia", "device_ids": [card], "capabilities": ["gpu"]}
        service["deploy"] = {"resources": {"reservations": {"devices": [device]}}}
    return service


def _lines(values: Mapping[str, object], indent: int) -> Iterator[str]:
    """YAML: a line for each key, and for each entry of what holds more than one; JSON is YAML, too."""
    space = " " * indent
    for key, value in values.items():
        if reason := REASONS.get(key):
            yield f"{space}# {reason}"
        if isinstance(value, dict):
            yield f"{space}{key}:"
            yield from _lines(value, indent + 2)
        elif isinstance(value, list) and value and isinstance(value[0], dict):
            yield f"{space}{key}:"
            yield from (f"{space}  - {json.dumps(each)}" for each in value)
        else:
            yield f"{space}{key}: {json.dumps(value)}"
