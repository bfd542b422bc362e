"""Leftovers of killed nodes on a machine: containers, mounts and loop devices below their data directories."""

import os
import shutil
from contextlib import ExitStack, closing, suppress
from pathlib import Path

from executor.containers.engine import DEFAULT_HOST, Engine
from executor.workspace.mounts import OUTPUT_DIR, discard_all, mounts_below, volumes_below
from node.api.faults import Fault
from node.config import load
from node.journal import LOCK_NAME, own_directory
from node.localnet.record import NAME
from node.localnet.running import Say
from node.wallet.home import Home
from protocol.errors import ConfigError, ExecutorError


def clean(directory: Path, say: Say) -> list[str]:
    """Remove what dead nodes of a local network have left; a node that lives keeps all that is its own.

    Returns: for each node that lives, where it runs. Problems that leave something behind are said.
    """
    alive: list[str] = []
    if not directory.is_dir():
        return alive
    with ExitStack() as locks:
        for home in sorted(path for path in directory.iterdir() if path.is_dir()):
            try:
                if (home / LOCK_NAME).exists():
                    locks.enter_context(own_directory(home))
            except ConfigError as error:
                alive.append(str(error))
            else:
                _clean_home(Home(home), say)
    return alive


def clear(directory: Path, say: Say) -> None:
    """Remove an earlier network from a directory, and make the directory; one that holds anything else is not touched.

    Raises: Fault preflight for a node that lives there; ConfigError.
    """
    try:
        if directory.exists() and any(directory.iterdir()):
            if not _is_ours(directory):
                raise ConfigError(f"{directory} holds something else", "name an empty directory")
            if alive := clean(directory, say):
                raise Fault("preflight", "; ".join(alive), "stop that process, then try again")
            if mounted := mounts_below(directory):
                raise ConfigError(f"{mounted[0]} is a mount point", f"umount {mounted[0]}, then try again")
            shutil.rmtree(directory)
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    except OSError as error:
        raise ConfigError(
            f"cannot clear {error.filename or directory}: {error.strerror}", f"remove {directory}, or name another"
        ) from error


def _clean_home(home: Home, say: Say) -> None:
    left, count = volumes_below(home.work), 0
    try:
        count = _remove_containers(home, is_needed=bool(left))
    except ExecutorError as error:
        say(f"containers that {home.path.name} may have left cannot be removed: {error}")
    try:
        discard_all(left)
    except ExecutorError as error:
        say(str(error))
    if count or left:
        say(f"removed what {home.path.name} has left: {count} containers, {len(left)} mounts")


def _remove_containers(home: Home, *, is_needed: bool) -> int:
    """Args: is_needed, an Engine that does not answer is an error. Raises: ExecutorError."""
    host = _docker_host(home)
    if not is_needed and host.startswith("unix://") and not Path(host.removeprefix("unix://")).exists():
        return 0
    with closing(Engine("localnet", host)) as engine:
        return engine.sweep_below(home.work)


def _docker_host(home: Home) -> str:
    """The node's Docker Engine by its settings; if these are lost, the one that this shell names."""
    with suppress(ConfigError):
        if home.config.exists():
            return load({}, {"node.data_dir": str(home.path)}).executor.docker_host
    return os.environ.get("DOCKER_HOST", DEFAULT_HOST)


def _is_ours(directory: Path) -> bool:
    """Whether a directory holds a network, or only the folders and the mounts that `rm -rf` has left of one."""
    if (directory / NAME).exists() or (directory / "deployment.json").exists():
        return True
    homes = (Home(path) for path in directory.iterdir())
    mounted = [left / OUTPUT_DIR for home in homes for left in volumes_below(home.work)]
    files = (path for path in directory.resolve().rglob("*") if not path.is_dir())
    return all(any(path.is_relative_to(point) for point in mounted) for path in files)
