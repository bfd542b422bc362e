"""A node's home: what lies where in its data directory, and making a new one.

config.toml          the operator's choices
keys/operator.json   the key that is the node: PeerId and address (Web3 secret storage, version 3)
keys/client.json     the key that pays for the node's own jobs
keys/password        what unlocks both, where the operator has not named a file
"""

import contextlib
import json
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from chain.tx.keystore import MAX_KEY_FILE_CHARS, create_key
from protocol.errors import ConfigError
from protocol.wire.ids import Address, PeerId, checksum

KEYS = "keys"


@dataclass(frozen=True, slots=True)
class Home:
    """The data directory of one node."""

    path: Path

    @property
    def config(self) -> Path:
        """The operator's choices."""
        return self.path / "config.toml"

    @property
    def operator_key(self) -> Path:
        """The key that is the node."""
        return self.path / KEYS / "operator.json"

    @property
    def client_key(self) -> Path:
        """The key that pays for the node's own jobs."""
        return self.path / KEYS / "client.json"

    @property
    def password(self) -> Path:
        """The file that unlocks the keys, unless the operator names another one."""
        return self.path / KEYS / "password"

    @property
    def work(self) -> Path:
        """Workspaces of the jobs that run here."""
        return self.path / "work"

    def operator_address(self) -> Address:
        """The node's id, as its key file names it; the file stays locked.

        Raises: ConfigError if there is no node here.
        """
        try:
            with self.operator_key.open(encoding="utf-8") as file:
                plain = json.loads(file.read(MAX_KEY_FILE_CHARS))
            return checksum("0x" + plain["address"].removeprefix("0x"))
        except FileNotFoundError as error:
            raise ConfigError(f"there is no node at {self.path}", "vcoin node init makes one") from error
        except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            raise ConfigError(f"{self.operator_key} is no key file") from error


@dataclass(frozen=True, slots=True)
class Founded:
    """A new node: its names, and where they lie."""

    home: Home
    operator: Address
    peer_id: PeerId
    client: Address


def found(
    home: Home, settings: Mapping[str, Mapping[str, object]], password: str, *, iterations: int | None
) -> Founded:
    """Make keys and settings file of a new node; all of it or nothing.

    Args: settings, by section and name, as config.toml holds them. password, empty to make one and keep it beside the
    keys. iterations of scrypt, None for what a key with money behind it needs.
    Raises: ConfigError if there is a node already, or the disk refuses.
    """
    try:
        begun = [path for path in (home.config, home.path / KEYS) if path.exists()]
        is_new = not home.path.exists()
    except OSError as error:
        raise ConfigError(f"cannot make a node at {home.path}: {error.strerror}") from error
    if begun:
        raise ConfigError(f"there is a node already: {begun[0]} exists", "name another data directory")
    try:
        home.path.mkdir(mode=0o700, parents=True, exist_ok=True)
        founded = _write(home, dict(settings), password, iterations)
    except BaseException as error:
        _undo(home, is_new)
        if isinstance(error, OSError):
            raise ConfigError(f"cannot make a node at {home.path}: {error.strerror}") from error
        raise
    return founded


def _write(home: Home, settings: dict[str, Mapping[str, object]], password: str, iterations: int | None) -> Founded:
    (home.path / KEYS).mkdir(mode=0o700)
    if not password:
        password = secrets.token_urlsafe(24)
        write_secret(home.password, password + "\n")
        settings["node"] = {**settings.get("node", {}), "password_file": f"{KEYS}/password"}
    operator = create_key(home.operator_key, password, iterations=iterations)
    client = create_key(home.client_key, password, iterations=iterations)
    # Last: without it there is no node, and what was made is removed again.
    home.config.write_text(to_toml(settings))
    return Founded(home, operator.address, operator.peer_id, client.address)


def write_secret(path: Path, text: str) -> None:
    """A new file that only its user may read."""
    with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(text)


def to_toml(settings: Mapping[str, Mapping[str, object]]) -> str:
    """Sections of texts, numbers, flags and lists as TOML. JSON writes each of them as TOML does, but for one sign."""
    lines = []
    for section, values in settings.items():
        lines += ["", f"[{section}]"]
        lines += [f"{name} = {json.dumps(value, ensure_ascii=False)}" for name, value in values.items()]
    return "\n".join(lines[1:]).replace("\x7f", "\\u007f") + "\n"


def _undo(home: Home, is_new: bool) -> None:
    shutil.rmtree(home.path / KEYS, ignore_errors=True)
    with contextlib.suppress(OSError):
        home.config.unlink(missing_ok=True)
    if is_new:
        shutil.rmtree(home.path, ignore_errors=True)
