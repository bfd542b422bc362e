"""Sealing: what only the client, the hired node and drawn seats may read, and who holds the key to it.

Every input has one random content key. Input, streamed tokens and result are sealed with it in chunks; the key itself
is sealed to a node with HPKE (RFC 9180, base mode: X25519, HKDF-SHA256, ChaCha20-Poly1305). The id of the sealed input
is bound into that, so a sealed key opens nothing else.

sealed = salt (16) || chunks of 1 MiB, each with its tag (16)
salt = HMAC-SHA256(key, "vcoin/salt/1" || label || content), cut; nonce of a chunk = SHA-256("vcoin/nonce/1" || label ||
salt || number || is last), cut; the label is authenticated, too. The same content gives the same bytes, and other
content under the same label another nonce: a job that runs again after a crash gives nothing away.
"""

import hashlib
import hmac
import secrets
import struct
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import trio
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hpke import AEAD, KDF, KEM, Suite

from executor.workspace.folders import INPUT_JSON, RESULT_JSON, STOP_ORDER_BIN, Workspaces
from node.wallet.secrets import ContentKeys, HpkeSecrets, write_whole
from p2p.store import ContentStore
from protocol import effects, events
from protocol.errors import AdapterError, LocalProtocolError, Malformed
from protocol.judging.kinds import rows_of, validate
from protocol.params import MAX_INLINE_BYTES, MAX_INPUT_BYTES, MAX_OUTPUT_BYTES
from protocol.stages.assignment import kind_of
from protocol.stages.commitment import ResultDelivery
from protocol.stages.execution import InvalidResult
from protocol.stages.stop_order import stop_order_in
from protocol.stages.verification import NOT_FOR_US
from protocol.wire.envelope import Domain
from protocol.wire.ids import Cid, JobId, cid_of

T = TypeVar("T")
CHUNK_BYTES = 1 << 20
SALT_BYTES = 16
TAG_BYTES = 16
KEY_BYTES = 32
THREADS = 2
MAX_FRAME_TOKENS = 4_000
_SUITE = Suite(KEM.X25519, KDF.HKDF_SHA256, AEAD.CHACHA20_POLY1305)
_KEY_INFO = b"vcoin/content-key/1"


@dataclass(frozen=True, slots=True)
class StoredInput:
    """An input of our own, sealed and kept: what a JobAsked says of it."""

    input_cid: Cid
    content_key_hash: bytes
    sealed: bytes


@dataclass(frozen=True, slots=True)
class PlaintextCopy:
    """Question and answer in the clear, and the key that opens both."""

    key: bytes
    asked: bytes
    answer: bytes | None


class Unopened(Exception):
    """Sealed content that its key does not open, or that is not what it is said to be; the text is the reason."""


class Sealing:
    """The adapter of the SealingEffects.

    `results` is the folder that answers are kept in for the user. `stated_bytes` gives the size of a job's sealed input
    as its client has signed it, None for a job that is not here. `domain` is that of the signatures of clients.
    """

    def __init__(
        self,
        secrets_: HpkeSecrets,
        keys: ContentKeys,
        store: ContentStore,
        workspaces: Workspaces,
        results: Path,
        stated_bytes: Callable[[bytes], int | None],
        domain: Domain,
    ) -> None:
        self._secrets = secrets_
        self._keys = keys
        self._store = store
        self._workspaces = workspaces
        self._results = results
        self._stated_bytes = stated_bytes
        self._domain = domain
        self._threads = trio.CapacityLimiter(THREADS)
        self._performers: dict[type[effects.SealingEffect], Callable[[Any], events.Event]] = {
            effects.SealKey: self._seal_key,
            effects.OpenInput: self._open_input,
            effects.SealFrame: self._seal_frame,
            effects.OpenFrame: self._open_frame,
            effects.SealResult: self._seal_result,
            effects.OpenResult: self._open_result,
            effects.OpenSample: self._open_sample,
        }

    async def perform(self, effect: effects.SealingEffect) -> events.Event:
        """Do one effect.

        Raises: Malformed for a peer's content that is not what was agreed on; AdapterError if something is not here.
        """
        return await self._in_thread(lambda: self._performers[type(effect)](effect))

    async def store_input(self, content: bytes) -> StoredInput:
        """Seal an input of our own under a new key, and keep both. Raises: ValueError if it is too large."""
        if not 0 < len(content) <= MAX_INPUT_BYTES:
            raise ValueError(f"an input has 1 to {MAX_INPUT_BYTES} bytes, not {len(content)}")
        return await self._in_thread(lambda: self._store_input(content))

    async def show(self, job_id: bytes, input_cid: bytes, delivery: ResultDelivery | None) -> PlaintextCopy:
        """A job's content in the clear, for its proof; a result that is not in its delivery is in the store.

        Raises: AdapterError if the key or the content is not here, or no longer, or does not open.
        """

        def look() -> PlaintextCopy:
            key = self._key(input_cid)
            try:
                asked = self._open_stored(key, b"input", Cid(input_cid), b"", MAX_INPUT_BYTES)
                if delivery is None:
                    return PlaintextCopy(key, asked, None)
                label, blob_cid = b"result" + job_id, Cid(delivery.result.blob_cid)
                answer = self._open_stored(key, label, blob_cid, delivery.sealed_result, MAX_OUTPUT_BYTES)
                return PlaintextCopy(key, asked, answer)
            except Unopened as error:
                raise AdapterError(f"the content of this job does not open: {error}") from error

        return await self._in_thread(look)

    async def public_key(self, now_ms: int) -> bytes:
        """The key that content for this node is sealed to, a new one every day."""
        return await self._in_thread(lambda: public_key_of(self._secrets.current(now_ms)))

    async def forget_before(self, moment_ms: int, needed: Collection[Cid]) -> int:
        """Wipe keys and inputs kept before a moment, but those still needed; returns how many.

        What was sealed with them is lost to this node from then on.
        """

        def wipe() -> int:
            old = [cid for cid in self._keys.kept_before(moment_ms) if cid not in needed]
            for cid in old:
                self._keys.forget(cid)
                self._store.blob_path(cid).unlink(missing_ok=True)
            return len(old)

        return await self._in_thread(wipe)

    async def _in_thread(self, call: Callable[[], T]) -> T:
        try:
            return await trio.to_thread.run_sync(call, limiter=self._threads)
        except OSError as error:
            raise AdapterError(f"{error.filename or 'the disk'}: {error.strerror}", transient=True) from error

    # --- inputs and keys --------------------------------------------------------------------------------------------
    def _store_input(self, content: bytes) -> StoredInput:
        key = secrets.token_bytes(KEY_BYTES)
        sealed = seal(key, b"input", content)
        input_cid = cid_of(sealed)
        self._keys.put(input_cid, key)
        self._write_blob(input_cid, sealed)
        return StoredInput(input_cid, hashlib.sha256(key).digest(), sealed)

    def _seal_key(self, effect: effects.SealKey) -> events.KeySealed:
        key = self._key(effect.input_cid)
        return events.KeySealed(
            effect.input_cid, effect.hpke_key, seal_key(key, Cid(effect.input_cid), effect.hpke_key)
        )

    def _open_input(self, effect: effects.OpenInput) -> events.InputOpened:
        input_cid = Cid(effect.input_cid)
        try:
            key = self._open_key(effect.sealed_key, input_cid, effect.content_key_hash)
            content = self._open_stored(key, b"input", input_cid, effect.sealed_input, MAX_INPUT_BYTES)
            self._require_stated(effect.job_id, sealed_size(len(content)))
        except Unopened as error:
            raise Malformed(f"the input of an assignment: {error}") from error
        self._keys.put(input_cid, key)
        self._workspaces.of_job(effect.job_id).put(INPUT_JSON, content)
        return events.InputOpened(effect.job_id)

    def _require_stated(self, job_id: bytes, size: int) -> None:
        """Raises: Unopened for an input that is larger than signed: memory and time were promised for that."""
        stated = self._stated_bytes(job_id)
        if stated is not None and size > stated:
            raise Unopened(f"it has {size} bytes sealed, and its request says {stated}")

    # --- streamed tokens --------------------------------------------------------------------------------------------
    def _seal_frame(self, effect: effects.SealFrame) -> events.FrameSealed:
        if len(effect.ids) > MAX_FRAME_TOKENS:
            raise LocalProtocolError(f"{len(effect.ids)} tokens in one frame")
        content = struct.pack(f">{len(effect.ids)}I", *effect.ids)
        sealed = seal(self._key(effect.input_cid), _frame_label(effect.job_id, effect.seq), content)
        return events.FrameSealed(effect.job_id, effect.seq, sealed)

    def _open_frame(self, effect: effects.OpenFrame) -> events.FrameOpened:
        try:
            content = unseal(self._key(effect.input_cid), _frame_label(effect.job_id, effect.seq), effect.sealed)
            return events.FrameOpened(effect.job_id, effect.seq, struct.unpack(f">{len(content) // 4}I", content))
        except (Unopened, struct.error) as error:
            raise Malformed(f"frame {effect.seq}: {error}") from error

    # --- results ----------------------------------------------------------------------------------------------------
    def _seal_result(self, effect: effects.SealResult) -> events.ResultSealed:
        content = self._workspaces.of_job(effect.job_id).get(RESULT_JSON)
        if content is None:
            raise AdapterError("there is no result in the job's workspace")
        sealed = seal(self._key(effect.input_cid), b"result" + effect.job_id, content)
        blob_cid = cid_of(sealed)
        inline = len(sealed) <= MAX_INLINE_BYTES
        if not inline:
            self._write_blob(blob_cid, sealed)
        return events.ResultSealed(effect.job_id, blob_cid, sealed if inline else b"", secrets.token_bytes(32))

    def _open_result(self, effect: effects.OpenResult) -> events.ResultOpened:
        key, job_id, blob_cid = self._key(effect.input_cid), JobId(effect.job_id), Cid(effect.blob_cid)
        manifest = self._store.manifest(Cid(effect.manifest))
        if manifest is None:
            raise AdapterError("the manifest of the job's model is not in the content store")
        result_hash = bytes(32)
        try:
            input_json = self._open_stored(key, b"input", Cid(effect.input_cid), b"", MAX_INPUT_BYTES)
            content = self._open_stored(key, b"result" + job_id, blob_cid, effect.sealed_result, MAX_OUTPUT_BYTES)
            result_hash = hashlib.sha256(content).digest()
            # The role knows whether it has ordered a stop.
            limit = effect.max_new_tokens
            facts = validate(effect.kind, content, job_id, manifest, limit, input_json, stop_ordered=True)
        except (Unopened, InvalidResult) as error:
            return events.ResultOpened(effect.job_id, result_hash, 0, "", _problem(error))
        write_whole(self._results / f"{job_id.hex()}.json", content)
        return events.ResultOpened(effect.job_id, result_hash, facts.delivered, facts.finish, "")

    def _open_sample(self, effect: effects.OpenSample) -> events.SampleOpened:
        job, batch_id, index = effect.job, effect.batch_id, effect.leaf_index
        details, kind = job.details, kind_of(job.details)
        try:
            key = self._open_key(effect.sealed_key, Cid(details.input_cid), details.content_key_hash)
            asked = self._open_stored(key, b"input", Cid(details.input_cid), effect.sealed_input, MAX_INPUT_BYTES)
            label, blob_cid = b"result" + job.job_id, Cid(job.result.blob_cid)
            content = self._open_stored(key, label, blob_cid, effect.sealed_result, MAX_OUTPUT_BYTES)
            if hashlib.sha256(content).digest() != job.result.result_hash:
                raise Unopened("the result is not the one that the node signed")
            # A seat without the model fetches it after this; its runner applies the same rules again.
            manifest = self._store.manifest(Cid(details.manifest))
            if manifest is not None:
                limit = details.max_new_tokens
                validate(kind, content, JobId(job.job_id), manifest, limit, asked, stop_ordered=True)
            rows = rows_of(kind, content)
        except (Unopened, InvalidResult) as error:
            return events.SampleOpened(batch_id, index, 0, _problem(error))
        # A seat shows auditors what it was shown.
        self._keys.put(Cid(details.input_cid), key)
        workspace = self._workspaces.of_sample(batch_id, index)
        workspace.put(INPUT_JSON, asked)
        workspace.put(RESULT_JSON, content)
        if signature := stop_order_in(content, job.assignment, self._domain):
            # Without it the check takes no answer that ends early, and the leaf is condemned.
            workspace.put(STOP_ORDER_BIN, signature)
        return events.SampleOpened(batch_id, index, rows, "")

    # --- keys and content -------------------------------------------------------------------------------------------
    def _key(self, input_cid: bytes) -> bytes:
        key = self._keys.get(Cid(input_cid))
        if key is None:
            raise AdapterError("the content key of this job is not here, or no longer")
        return key

    def _open_key(self, sealed_key: bytes, input_cid: Cid, key_hash: bytes) -> bytes:
        """A content key sealed to any of our secrets. Raises: Unopened."""
        for secret in self._secrets.all():
            key = open_key(sealed_key, input_cid, secret)
            if key is None:
                continue
            if hashlib.sha256(key).digest() != key_hash:
                raise Unopened("the content key is not the one that was agreed on")
            return key
        raise Unopened(NOT_FOR_US)

    def _open_stored(self, key: bytes, label: bytes, cid: Cid, inline: bytes, limit: int) -> bytes:
        """Content that came with its message, or lies in the store. Raises: Unopened, AdapterError."""
        if inline:
            sealed = inline
        else:
            path = self._store.find(cid)
            if path is None:
                raise AdapterError(f"{cid.hex()} is not in the content store")
            if path.stat().st_size > sealed_size(limit):
                raise Unopened("too large")
            sealed = path.read_bytes()
        if cid_of(sealed) != cid:
            raise Unopened("the sealed content is not the one that was agreed on")
        return unseal(key, label, sealed)

    def _write_blob(self, cid: Cid, content: bytes) -> None:
        write_whole(self._store.blob_path(cid), content, mode=0o644)


def public_key_of(secret: bytes) -> bytes:
    """The X25519 public key of a secret, 32 bytes."""
    return X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()


def seal_key(key: bytes, input_cid: Cid, hpke_key: bytes) -> bytes:
    """A content key for the holder of `hpke_key`: encapsulated key (32), then ciphertext and tag (48).

    Raises: Malformed if `hpke_key` is no public key.
    """
    try:
        public = X25519PublicKey.from_public_bytes(hpke_key)
        return bytes(_SUITE.encrypt(key, public, _KEY_INFO + input_cid))
    except ValueError as error:
        # A point of low order would seal to everybody.
        raise Malformed("not an encryption key") from error


def open_key(sealed_key: bytes, input_cid: Cid, secret: bytes) -> bytes | None:
    """The content key; None if it was not sealed to this secret for this input."""
    try:
        key = _SUITE.decrypt(sealed_key, X25519PrivateKey.from_private_bytes(secret), _KEY_INFO + input_cid)
    except (InvalidTag, ValueError):
        return None
    return bytes(key) if len(key) == KEY_BYTES else None


def sealed_size(length: int) -> int:
    """How many bytes content of this length has when it is sealed."""
    return SALT_BYTES + length + TAG_BYTES * max(1, -(-length // CHUNK_BYTES))


def seal(key: bytes, label: bytes, content: bytes) -> bytes:
    """Seal content under a content key. `label` says what it is, and of which job where a key serves several."""
    salt = hmac.digest(key, b"vcoin/salt/1" + _framed(label) + content, "sha256")[:SALT_BYTES]
    cipher = ChaCha20Poly1305(key)
    count = max(1, -(-len(content) // CHUNK_BYTES))
    chunks = (
        cipher.encrypt(
            _nonce(label, salt, index, last=index == count - 1),
            content[index * CHUNK_BYTES : (index + 1) * CHUNK_BYTES],
            label,
        )
        for index in range(count)
    )
    return salt + b"".join(chunks)


def unseal(key: bytes, label: bytes, sealed: bytes) -> bytes:
    """Raises: Unopened if a byte was changed, cut off or added, or if key or label are others."""
    salt, body = sealed[:SALT_BYTES], sealed[SALT_BYTES:]
    cipher = ChaCha20Poly1305(key)
    step = CHUNK_BYTES + TAG_BYTES
    count = max(1, -(-len(body) // step))
    try:
        return b"".join(
            cipher.decrypt(
                _nonce(label, salt, index, last=index == count - 1), body[index * step : (index + 1) * step], label
            )
            for index in range(count)
        )
    except InvalidTag:
        raise Unopened("the content does not open with its key") from None


def _nonce(label: bytes, salt: bytes, index: int, *, last: bool) -> bytes:
    message = b"vcoin/nonce/1" + _framed(label) + salt + index.to_bytes(8, "big") + bytes([last])
    return hashlib.sha256(message).digest()[:12]


def _framed(label: bytes) -> bytes:
    return len(label).to_bytes(2, "big") + label


def _frame_label(job_id: bytes, seq: int) -> bytes:
    return b"frame" + job_id + seq.to_bytes(4, "big")


def _problem(error: Exception) -> str:
    return (str(error) or "not usable")[:500]
