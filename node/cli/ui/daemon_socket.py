"""Which daemon a command talks to: the socket of a data directory.

`node.config` knows every setting, but takes as long to import as a command may take to answer. So the two that matter
here are read directly, by the same precedence, and anything unusual is left to it.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from node.api.client import Client
from node.api.faults import Fault

DEFAULT_DATA_DIR = Path("~/.vcoin")
FILE_NAME = "config.toml"
SOCKET_NAME = "vcoin.sock"
MAX_FILE_BYTES = 1 << 20


def client(data_dir: Path | None) -> Client:
    """A client of the daemon that the options and the environment name."""
    return Client(socket_of(data_dir, os.environ))


def socket_of(data_dir: Path | None, environment: Mapping[str, str]) -> Path:
    """The socket of the daemon. Raises: ConfigError for settings that cannot be used."""
    chosen, file = _named(data_dir, environment)
    settings, base = _settings(file), file.parent.absolute()
    found = _path(environment.get("VCOIN_API_SOCKET"), Path.cwd()) or _path(_key(settings, "api", "socket"), base)
    if found is None:
        found = _under(chosen or _path(_key(settings, "node", "data_dir"), base)) / SOCKET_NAME
    return found.absolute()


def data_dir_of(data_dir: Path | None, environment: Mapping[str, str]) -> Path:
    """The data directory that the options and the environment name; the file is read only where neither does.

    Raises: ConfigError, as socket_of.
    """
    chosen, file = _named(data_dir, environment)
    return _under(chosen or _path(_key(_settings(file), "node", "data_dir"), file.parent.absolute())).absolute()


def _named(data_dir: Path | None, environment: Mapping[str, str]) -> tuple[Path | None, Path]:
    """The data directory that the option or the environment names, and the configuration file."""
    chosen = data_dir or _path(environment.get("VCOIN_NODE_DATA_DIR"), Path.cwd())
    return chosen, _path(environment.get("VCOIN_CONFIG"), Path.cwd()) or _under(chosen) / FILE_NAME


def _under(data_dir: Path | None) -> Path:
    return Path(os.path.expanduser(data_dir or DEFAULT_DATA_DIR))


def _settings(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as opened:
            text = opened.read(MAX_FILE_BYTES + 1)
        if len(text) > MAX_FILE_BYTES:
            raise ValueError
        return tomllib.loads(text.decode())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError):
        # It has the words for what is wrong with a file.
        from node import config

        config.load(os.environ, {}, file)
        return {}


def _key(settings: dict[str, Any], section: str, name: str) -> str | None:
    body = settings.get(section)
    value = body.get(name) if isinstance(body, dict) else None
    return value if isinstance(value, str) else None


def _path(text: str | None, base: Path) -> Path | None:
    return base / os.path.expanduser(text) if text else None


def require_absolute(path: Path) -> str:
    """A path that means the same to the daemon. Raises: Fault not_found if nothing is there."""
    try:
        return str(path.resolve(strict=True))
    except (OSError, RuntimeError) as error:
        raise Fault("not_found", f"there is nothing at {path}") from error
