"""The secrets of a node beside its wallet, each in a file of its own that only its user can read.

    <data>/keys/hpke/<created, ms>     secret that content is sealed to; a new one every day, old ones kept for a while
    <data>/keys/content/<input id>     content key of a job's input, until the job is settled and a day has passed
    <data>/keys/node                   what salts and seeds are derived from

Here secrets are only bytes; what is done with them is in `node.wallet.sealing`.
"""

import itertools
import os
import secrets
from pathlib import Path

from protocol.errors import ConfigError
from protocol.wire.ids import Cid

SECRET_BYTES = 32
ROTATE_AFTER_MS = 86_400_000
KEEP_MS = 2 * 86_400_000
"""How long a secret still opens things after a newer one has taken its place."""


def write_whole(path: Path, content: bytes, mode: int = 0o600) -> None:
    """Write a file whole or not at all; it is on the disk when this returns. Raises: OSError."""
    # Not by a name that a second thread may be writing, too.
    partial = path.with_name(f"{path.name}.{secrets.token_hex(4)}.partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with open(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        partial.rename(path)
    except OSError:
        partial.unlink(missing_ok=True)
        raise


class SecretFiles:
    """A directory of 32-byte secrets by name. All calls block and raise OSError where the disk does."""

    def __init__(self, directory: Path) -> None:
        """Raises: ConfigError if the directory cannot be made or others may look into it."""
        self._directory = directory
        try:
            directory.mkdir(mode=0o700, parents=True, exist_ok=True)
            mode = directory.stat().st_mode
        except OSError as error:
            raise ConfigError(
                f"cannot use {directory}: {error.strerror}", "the keys belong to the user that runs the daemon"
            ) from error
        if mode & 0o077:
            raise ConfigError(f"others may read {directory}", f"chmod 700 {directory}")

    def names(self) -> list[str]:
        """The names that are there, ascending."""
        return sorted(path.name for path in self._directory.iterdir() if not path.name.endswith(".partial"))

    def get(self, name: str) -> bytes | None:
        """A secret; None if there is none of that name, or not a whole one."""
        try:
            secret = (self._directory / name).read_bytes()
        except FileNotFoundError:
            return None
        return secret if len(secret) == SECRET_BYTES else None

    def put(self, name: str, secret: bytes) -> None:
        """Keep a secret: whole and on the disk when this returns."""
        assert len(secret) == SECRET_BYTES
        write_whole(self._directory / name, secret)

    def written_ms(self, name: str) -> int:
        """When a secret was kept, in milliseconds since 1970; 0 if there is none."""
        try:
            return (self._directory / name).stat().st_mtime_ns // 1_000_000
        except FileNotFoundError:
            return 0

    def forget(self, name: str) -> None:
        """Remove a secret; does nothing if there is none."""
        (self._directory / name).unlink(missing_ok=True)


class HpkeSecrets:
    """The secrets that content for this node is sealed to."""

    def __init__(self, files: SecretFiles) -> None:
        self._files = files

    def current(self, now_ms: int) -> bytes:
        """The newest secret; a new one is made when it is a day old, and unused ones go."""
        names = self._names()
        if not names or now_ms - names[-1] >= ROTATE_AFTER_MS:
            self._files.put(str(now_ms), secrets.token_bytes(SECRET_BYTES))
            names.append(now_ms)
        # A secret's time ends where its successor's began.
        for name, successor in itertools.pairwise(names):
            if now_ms - successor >= KEEP_MS:
                self._files.forget(str(name))
        newest = self._files.get(str(names[-1]))
        assert newest is not None
        return newest

    def all(self) -> list[bytes]:
        """Every secret that is kept, newest first."""
        found = (self._files.get(str(name)) for name in reversed(self._names()))
        return [secret for secret in found if secret is not None]

    def _names(self) -> list[int]:
        whole = (name for name in self._files.names() if name.isdecimal() and self._files.get(name) is not None)
        return sorted(int(name) for name in whole)


class ContentKeys:
    """Content keys by the id of the sealed input that they open."""

    def __init__(self, files: SecretFiles) -> None:
        self._files = files

    def get(self, input_cid: Cid) -> bytes | None:
        """The key of an input; None if it is not here or no longer."""
        return self._files.get(input_cid.hex())

    def put(self, input_cid: Cid, key: bytes) -> None:
        """Keep the key of an input."""
        self._files.put(input_cid.hex(), key)

    def kept_before(self, moment_ms: int) -> list[Cid]:
        """The inputs whose keys were kept before a moment, in milliseconds since 1970."""
        return [Cid(bytes.fromhex(name)) for name in self._files.names() if self._files.written_ms(name) < moment_ms]

    def forget(self, input_cid: Cid) -> None:
        """The job is settled, and no party may ask for its content any more."""
        self._files.forget(input_cid.hex())


def node_secret(files: SecretFiles) -> bytes:
    """The secret that this node's salts and seeds are derived from; made at the first start."""
    secret = files.get("node")
    if secret is None:
        secret = secrets.token_bytes(SECRET_BYTES)
        files.put("node", secret)
    return secret
