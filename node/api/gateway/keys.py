"""Gateway keys: a secret that lets a program order jobs, within a budget, for a while."""

import hmac
import secrets
from dataclasses import dataclass
from hashlib import sha256
from typing import NamedTuple

PREFIX = "vcoin"
ID_BYTES = 4
SECRET_BYTES = 32
"""256 random bits cannot be guessed, so a plain hash protects them; a slow one is for passwords."""
MAX_SECRET_CHARS = 128
MAX_NAME_CHARS = 64
MAX_MODELS = 64
MAX_RATE = 100_000
MAX_EXPIRES_S = 36_500 * 86_400
"""A hundred years: a later time has no date that can be shown."""


@dataclass(frozen=True, slots=True)
class GatewayKey:
    """A key without its secret, of which only the hash is kept.

    budget_wei: all that its jobs may cost together. spent_wei: the cost of jobs that have ended; reserved_wei: the
    most that the others may cost. rate: requests a minute, 0 for any number. models: the names or ids that it may
    use, empty for all. Times in ms since 1970; 0: it does not expire, it is not revoked.
    """

    id: str
    name: str
    secret_hash: bytes
    budget_wei: int
    spent_wei: int
    reserved_wei: int
    rate: int
    models: tuple[str, ...]
    created_ms: int
    expires_ms: int
    revoked_ms: int

    @property
    def left_wei(self) -> int:
        """The part of the budget that no job has been promised, never below 0."""
        return max(self.budget_wei - self.spent_wei - self.reserved_wei, 0)

    def is_expired(self, now_ms: int) -> bool:
        """Whether its time is over."""
        return 0 < self.expires_ms <= now_ms

    def state(self, now_ms: int) -> str:
        """One word for a list."""
        if self.revoked_ms:
            return "revoked"
        if self.is_expired(now_ms):
            return "expired"
        return "active" if self.left_wei else "used up"

    def may_use(self, name: str, manifest: str) -> bool:
        """Whether a model is one of its models, by name or by id."""
        return not self.models or name in self.models or manifest in self.models


class Credential(NamedTuple):
    """A key as its holder shows it: the id, by which its row is found, and the secret."""

    id: str
    secret: str

    @property
    def text(self) -> str:
        """As a client sends it."""
        return f"{PREFIX}_{self.id}_{self.secret}"

    @property
    def hash(self) -> bytes:
        """What is kept of the secret."""
        return sha256(self.secret.encode()).digest()


def new_credential() -> Credential:
    """A key that exists nowhere else yet."""
    return Credential(secrets.token_hex(ID_BYTES), secrets.token_urlsafe(SECRET_BYTES))


def credential_of(authorization: str) -> Credential | None:
    """The key in an Authorization header; None if it holds none."""
    scheme, _, shown = authorization.partition(" ")
    prefix, _, rest = shown.strip().partition("_")
    key_id, _, secret = rest.partition("_")
    well_formed = len(key_id) == 2 * ID_BYTES and 0 < len(secret) <= MAX_SECRET_CHARS and secret.isascii()
    return Credential(key_id, secret) if scheme.lower() == "bearer" and prefix == PREFIX and well_formed else None


def opens(credential: Credential, key: GatewayKey) -> bool:
    """Whether a shown key is this one; takes the same time however many letters fit."""
    return hmac.compare_digest(credential.hash, key.secret_hash)
