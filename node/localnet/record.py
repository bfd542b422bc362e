"""localnet.json: what a local network consists of and which processes belong to it, for people, scripts and `down`."""

import json
import os
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from node.localnet.processes import Process
from protocol.errors import ConfigError

NAME = "localnet.json"
VERSION = 1
MAX_CHARS = 1 << 20


@dataclass(frozen=True, slots=True)
class LocalNode:
    """A node of the network: its names, its keys, its money in wei, its process where it was started."""

    name: str
    roles: tuple[str, ...]
    data_dir: str
    socket: str
    node_id: str
    peer_id: str
    client: str
    owner: str
    operator_key: str
    client_key: str
    password_file: str
    owner_key: str
    owner_password_file: str
    listen: str
    stake_wei: int
    deposit_wei: int
    process: Process | None = None


@dataclass(frozen=True, slots=True)
class LocalnetRecord:
    """The network; `contracts` by name. `chain` is Anvil's process, `ready` that everything came up."""

    directory: str
    rpc: str
    chain_id: int
    profile: str
    deployment: str
    contracts: dict[str, str]
    deployer: str
    deployer_key: str
    store: str
    chain: Process | None
    nodes: tuple[LocalNode, ...] = ()
    ready: bool = False

    def plain(self) -> dict[str, Any]:
        """As the file holds it."""
        return {"v": VERSION, **asdict(self)}

    def write(self) -> None:
        """Replace the file in one step. Raises: ConfigError."""
        path = Path(self.directory) / NAME
        draft = path.with_suffix(".part")
        try:
            draft.write_text(json.dumps(self.plain(), indent=2) + "\n")
            draft.replace(path)
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error

    @property
    def processes(self) -> tuple[Process, ...]:
        """All that were started, the chain last: nodes end better while it still answers."""
        nodes = tuple(node.process for node in self.nodes if node.process)
        return nodes + ((self.chain,) if self.chain else ())

    def with_process(self, name: str, process: Process) -> "LocalnetRecord":
        """One node now has a process."""
        nodes = tuple(replace(node, process=process) if node.name == name else node for node in self.nodes)
        return replace(self, nodes=nodes)

    def node(self, name: str) -> LocalNode:
        """A node by its name. Raises: ConfigError if there is none."""
        for node in self.nodes:
            if node.name == name:
                return node
        raise ConfigError(f"the local network has no node {name!r}", ", ".join(node.name for node in self.nodes))


def default_directory() -> Path:
    """The folder of this user's local network."""
    state = os.environ.get("XDG_STATE_HOME")
    base = Path(state or os.path.expanduser("~/.local/state"))
    return base / "vcoin" / "localnet"


def read_record(directory: Path) -> LocalnetRecord | None:
    """The network of a directory; None if there is none. Raises: ConfigError if its file cannot be used."""
    path = directory / NAME
    try:
        with path.open(encoding="utf-8") as file:
            # A longer file is cut, and then is no JSON any more.
            plain: dict[str, Any] = json.loads(file.read(MAX_CHARS))
        if (version := plain.pop("v")) != VERSION:
            raise ValueError(f"it is of version {version!r}, and this program knows version {VERSION}")
        nodes = tuple(_member(node) for node in plain.pop("nodes"))
        chain = plain.pop("chain")
        return LocalnetRecord(**plain, chain=Process(**chain) if chain else None, nodes=nodes)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} cannot be used: {error}", f"stop its processes, then remove {directory}") from error


def forget(directory: Path) -> None:
    """Remove the file. Raises: ConfigError."""
    try:
        (directory / NAME).unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"cannot remove {directory / NAME}: {error.strerror}", "remove it by hand") from error


def _member(plain: dict[str, Any]) -> LocalNode:
    process = plain.pop("process")
    roles = tuple(plain.pop("roles"))
    return LocalNode(**plain, roles=roles, process=Process(**process) if process else None)
