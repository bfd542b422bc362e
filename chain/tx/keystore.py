"""Key files: Web3 secret storage (version 3), one secp256k1 key each, readable by its owner alone.

eth_account takes a while to import, so it is imported where a file is made or opened.
"""

import json
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from coincurve import PrivateKey

from chain.tx.wallet import Key
from protocol.errors import ConfigError
from protocol.wire.ids import Address, checksum

PASSWORD_VARIABLE = "VCOIN_PASSWORD"  # noqa: S105 - the name of a variable, no password
MAX_KEY_FILE_CHARS = 1 << 16
MAX_PASSWORD_CHARS = 4_096
MAX_KDF_WORK = 2**23
"""scrypt's n x r, of which geth takes 2^21 (256 MiB of memory), or the rounds of pbkdf2."""
MAX_KDF_PARALLEL = 16
Prompt = Callable[[str], str]
"""Asks a person, without showing what is typed."""


def read_password(path: Path | None, environment: Mapping[str, str], prompt: Prompt | None, question: str) -> str:
    """The password of a key: from its file, else from VCOIN_PASSWORD, else from a person.

    Raises: ConfigError if none of the three has one.
    """
    if path is not None:
        try:
            # One line; editors end it with a line break that belongs to no password.
            with path.open(encoding="utf-8") as file:
                password = file.read(MAX_PASSWORD_CHARS + 1).rstrip("\r\n")
        except (OSError, ValueError) as error:
            raise ConfigError(f"the password file {path} cannot be read: {_why(error)}") from error
        if len(password) > MAX_PASSWORD_CHARS:
            raise ConfigError(f"the password file {path} is too long", "its one line is the password")
        if not password:
            raise ConfigError(f"the password file {path} is empty")
        return password
    if password := environment.get(PASSWORD_VARIABLE, ""):
        return password
    if prompt is not None and (password := prompt(question)):
        return password
    raise ConfigError("no password for the key", f"name a password file, or set {PASSWORD_VARIABLE}")


def create_key(path: Path, password: str, *, secret: bytes | None = None, iterations: int | None = None) -> Key:
    """Make a key, or take `secret`, and write it to a new file of mode 0600.

    Args: iterations of scrypt, a power of two; None is what eth_account takes, about a second.
    Raises: ConfigError if the file exists or cannot be written.
    """
    from eth_account import Account

    key = Key(secret if secret is not None else PrivateKey().secret)
    sealed = Account.encrypt(key.secret, password, kdf="scrypt", iterations=iterations)
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError as error:
        raise ConfigError(f"{path} exists already", "a key is never overwritten: name another file") from error
    except OSError as error:
        raise ConfigError(f"{path} cannot be written: {_why(error)}") from error
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            json.dump(sealed, file)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        # Half a key file would look like a key.
        with suppress(OSError):
            path.unlink()
        raise ConfigError(f"{path} cannot be written: {_why(error)}") from error
    return key


def load_key(path: Path, password: str) -> Key:
    """Open a key file. Takes about a second of CPU: call it from a worker thread where something else runs.

    Raises: ConfigError if there is none, others may read it, it is no key file, or the password is wrong.
    """
    from eth_account import Account

    try:
        sealed = json.loads(_read(path))
        _require_affordable(sealed)
        return Key(bytes(Account.decrypt(sealed, password)))
    except ValueError as error:
        if "MAC mismatch" in str(error):
            raise ConfigError(f"wrong password for {path}", "give the one the key was created with") from error
        raise ConfigError(f"{path} is no key file") from error
    except (KeyError, TypeError, AttributeError, NotImplementedError, RecursionError) as error:
        raise ConfigError(f"{path} is no key file") from error


def address_of(path: Path) -> Address:
    """Whose key a file holds, as it says itself; the key stays locked.

    Raises: ConfigError if there is none.
    """
    try:
        return checksum("0x" + json.loads(_read(path))["address"].removeprefix("0x"))
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ConfigError(f"{path} is no key file") from error


def _require_affordable(sealed: Any) -> None:
    """A key file says itself how much work opens it: no more than any wallet asks for.

    Raises: ValueError, KeyError, TypeError or AttributeError if it is none, or asks for more.
    """
    if sealed["version"] != 3:
        raise ValueError("version")
    (crypto,) = (sealed[name] for name in ("crypto", "Crypto") if name in sealed)
    work = crypto["kdfparams"]
    rounds, size, lanes = [work[name] for name in "nrp"] if crypto["kdf"] == "scrypt" else (work["c"], 1, 1)
    # Before any arithmetic: a number times a text is a text of that many copies.
    if not all(type(value) is int for value in (rounds, size, lanes, work["dklen"])) or not 32 <= work["dklen"] <= 64:
        raise ValueError("kdfparams")
    if min(rounds, size, lanes) < 1 or rounds * size > MAX_KDF_WORK or lanes > MAX_KDF_PARALLEL:
        raise ValueError("kdfparams ask for too much")
    if crypto["kdf"] == "pbkdf2" and work["prf"] != "hmac-sha256":
        raise ValueError("prf")


def _read(path: Path) -> str:
    try:
        mode = path.stat().st_mode
        with path.open(encoding="utf-8") as file:
            # A longer file is cut, and then is no JSON any more.
            text = file.read(MAX_KEY_FILE_CHARS)
    except FileNotFoundError as error:
        raise ConfigError(f"there is no key file {path}", "make one with: vcoin key create FILE") from error
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path} cannot be read: {_why(error)}") from error
    if mode & 0o077:
        raise ConfigError(f"others may read {path}", f"chmod 600 {path}")
    return text


def _why(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else "not text"
