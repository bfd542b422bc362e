"""Content by its hash, on /vcoin/blob/1. A request names an offset, so that a broken transfer is resumed.

The asker sends one request; the answer is one header and then the bytes in frames of at most a mebibyte. Nothing is
believed before its sha256 is right: then it appears in the store, all at once.
"""

import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

import trio

from p2p.calls import Reach
from p2p.partial import Partial
from p2p.store import MANIFEST, ContentStore
from p2p.streams import MAX_BLOB_CONTROL_BYTES, MAX_BLOB_DATA_BYTES, FramedStream
from p2p.transport import Transport
from protocol.errors import Malformed, P2PError, RemoteProtocolError
from protocol.params import MAX_OUTPUT_BYTES
from protocol.stages.blob import MAX_MANIFEST_BYTES, ModelManifest, read_manifest
from protocol.wire import codec
from protocol.wire.bounded import Counted
from protocol.wire.codec import U64, Bytes32
from protocol.wire.ids import Cid, PeerId

PROTOCOL = "/vcoin/blob/1"
MAX_BLOB_BYTES = MAX_OUTPUT_BYTES + 1024 * 1024
"""The largest result, sealed."""
MAX_MODEL_BYTES = 256 * 2**30
MAX_TOKENIZER_BYTES = 64 * 1024 * 1024
MAX_NAME_CHARS = 128
"""Of a model that comes from peers: it is shown, and jobs are asked for by it."""
CONTROL_S = 10.0
DATA_S = 16.0
"""A mebibyte must come within this: at least 64 KiB a second."""
RATE_BYTES_S = round(MAX_BLOB_DATA_BYTES / DATA_S)
LEAST_BYTES = 65_536
"""All peers together must bring so much in a round for another one to be worth it."""
MAX_SERVED = 32
MAX_SERVED_PER_PEER = 4


KeepRoom = Callable[[Cid, int], AbstractAsyncContextManager[None]]
"""Removes what is not needed before a model of so many bytes is fetched, and keeps the room as long as the block lasts.

Raises: P2PError if that is not enough.
"""


@dataclass(slots=True)
class ModelProgress:
    """How much of a model has come, with what had come before."""

    total_bytes: int
    partial: Partial | None = None
    _whole_bytes: int = 0

    @property
    def done_bytes(self) -> int:
        """Bytes of whole files, and of the one that is under way."""
        return self._whole_bytes + (self.partial.size if self.partial else 0)

    def end_file(self, size: int) -> None:
        """A file is whole."""
        self._whole_bytes, self.partial = self._whole_bytes + size, None


class BlobStatus(IntEnum):
    """Outcome of a request."""

    FOUND = 0
    MISSING = 1
    BUSY = 2


@dataclass(frozen=True, slots=True)
class BlobRequest:
    """Content from `offset` on."""

    cid: Bytes32
    offset: U64


@dataclass(frozen=True, slots=True)
class BlobHeader:
    """Announces the content: its `size` bytes from the requested offset on; none unless it was found."""

    status: BlobStatus
    size: U64


class Blobs:
    """Serves the content store to peers and fills it from them."""

    def __init__(
        self, transport: Transport, store: ContentStore, reach: Reach, keep_room: KeepRoom | None = None
    ) -> None:
        self._transport = transport
        self._store = store
        self._reach = reach
        self._keep_room = keep_room or _leave_all
        self._served: Counter[PeerId] = Counter()
        self._fetches: dict[tuple[str, Cid], trio.Lock] = {}
        self._begun: dict[Cid, ModelProgress] = {}
        transport.handle(PROTOCOL, self._serve)

    async def fetch(self, cid: Cid, peers: Sequence[PeerId]) -> Path:
        """Have a blob in the store; returns where it lies.

        Raises: P2PError if none of the peers has it, or there is no room for it.
        """
        async with self._alone("content", cid):
            if path := await trio.to_thread.run_sync(self._store.find, cid):
                return path
            target = self._store.blob_path(cid)
            await self._fetch_from_any(cid, peers, target, most=MAX_BLOB_BYTES)
            return target

    async def fetch_description(self, cid: Cid, peers: Sequence[PeerId]) -> ModelManifest:
        """Have the manifest and the tokenizer of a model in the store: enough to ask for jobs and to read answers.

        Raises: P2PError as `fetch`, and for content that is no manifest.
        """
        async with self._alone("description", cid):
            if manifest := await trio.to_thread.run_sync(self._store.description, cid):
                return manifest
            staged = self._store.staged_description_path(cid, MANIFEST)
            await self._fetch_missing(cid, peers, staged, most=MAX_MANIFEST_BYTES)
            manifest = _checked(cid, await trio.to_thread.run_sync(staged.read_bytes))
            tokenizer = manifest.file(manifest.tokenizer)
            target = self._store.staged_description_path(cid, tokenizer.path)
            await self._fetch_missing(tokenizer.sha256, peers, target, most=tokenizer.size)
            await trio.to_thread.run_sync(self._store.adopt_description, cid)
            return manifest

    async def fetch_model(self, cid: Cid, peers: Sequence[PeerId]) -> ModelManifest:
        """Have a model in the store: its description, then each of its files.

        Raises: P2PError as `fetch_description`.
        """
        async with self._alone("model", cid):
            if manifest := await trio.to_thread.run_sync(self._store.model, cid):
                return manifest
            manifest = await self.fetch_description(cid, peers)
            size = sum(file.size for file in manifest.files)
            if size > MAX_MODEL_BYTES:
                raise P2PError(f"model {cid.hex()} has {size} bytes, at most {MAX_MODEL_BYTES}")
            async with self._keep_room(cid, size):
                await self._fetch_files(manifest, size, peers)
            return manifest

    async def _fetch_files(self, manifest: ModelManifest, size: int, peers: Sequence[PeerId]) -> None:
        cid = manifest.cid
        await trio.to_thread.run_sync(self._store.require_room_for_model, cid, size)
        await trio.to_thread.run_sync(self._store.stage_description, manifest)
        progress = self._begun[cid] = ModelProgress(size)
        try:
            for file in manifest.files:
                target = self._store.staged_path(cid, file.path)
                await self._fetch_missing(file.sha256, peers, target, most=file.size, progress=progress)
                progress.end_file(file.size)
            await trio.to_thread.run_sync(self._store.stage_description, manifest)
            if gone := await trio.to_thread.run_sync(_unstaged, self._store, manifest):
                raise P2PError(f"{gone[0]} of model {cid.hex()} was removed while it was fetched", transient=True)
            await trio.to_thread.run_sync(self._store.adopt_model, cid)
        finally:
            del self._begun[cid]

    def require_room(self, model: Cid, size: int) -> None:
        """Blocks. Raises: StoreFull if there is no room for a model of so many bytes, as the store is now."""
        self._store.require_room_for_model(model, size)

    def progress(self, model: Cid) -> "ModelProgress | None":
        """The bytes of a model that is being fetched; None if it is not."""
        return self._begun.get(model)

    async def _fetch_missing(
        self, cid: Cid, peers: Sequence[PeerId], target: Path, *, most: int, progress: "ModelProgress | None" = None
    ) -> None:
        """As `_fetch_from_any`, unless it was done before a restart: only what was checked is ever put there.

        Two models may have a file in common, as a base and one with an adapter do: it is fetched once.
        """
        async with self._alone("content", cid):
            if await trio.to_thread.run_sync(target.is_file):
                return
            if not await trio.to_thread.run_sync(self._store.share, cid, target):
                await self._fetch_from_any(cid, peers, target, most=most, progress=progress)

    async def _fetch_from_any(
        self, cid: Cid, peers: Sequence[PeerId], target: Path, *, most: int, progress: "ModelProgress | None" = None
    ) -> None:
        """Ask one peer after the other, each from the offset that the last one reached, while any brings enough."""
        others = [peer_id for peer_id in dict.fromkeys(peers) if peer_id != self._transport.peer_id]
        failure = P2PError(f"no peer is known to have {cid.hex()}", transient=True)
        partial = await trio.to_thread.run_sync(self._store.partial, cid)
        if progress is not None:
            progress.partial = partial
        try:
            before = -LEAST_BYTES
            while partial.size >= before + LEAST_BYTES:
                before = partial.size
                for peer_id in others:
                    try:
                        await self._pull(peer_id, cid, partial, target, most)
                    except P2PError as error:
                        failure = error
                    except RemoteProtocolError as fault:
                        self._transport.report(peer_id, fault)
                        failure = P2PError(f"{peer_id}: {fault}", transient=True)
                    else:
                        return
            raise failure
        finally:
            partial.close()

    async def _pull(self, peer_id: PeerId, cid: Cid, partial: Partial, target: Path, most: int) -> None:
        """Fetch what is missing from one peer.

        Raises: P2PError, with what has come kept; Malformed if all of it came from this peer and is something else.
        """
        while True:
            offset = partial.size
            await self._reach(peer_id)
            stream = await self._transport.open(peer_id, PROTOCOL)
            try:
                size = await self._ask(stream, cid, offset, most)
                await self._receive(stream, partial, size)
            finally:
                await stream.abort()
            if await trio.to_thread.run_sync(partial.finish, target):
                return
            if offset == 0:
                raise Malformed(f"{cid.hex()} came as something else")
            # An earlier peer or this one sent the wrong bytes. Asked from the start, this one shows which.
            await trio.to_thread.run_sync(partial.restart)

    async def _ask(self, stream: FramedStream, cid: Cid, offset: int, most: int) -> int:
        """Send the request; returns the size of the whole content."""
        await stream.write_frame(codec.encode(BlobRequest(cid, offset)), within_s=CONTROL_S)
        answer = await stream.read_frame(MAX_BLOB_CONTROL_BYTES, within_s=CONTROL_S)
        header = codec.decode(BlobHeader, answer, MAX_BLOB_CONTROL_BYTES)
        if header.status is not BlobStatus.FOUND:
            raise P2PError(f"{stream.peer_id} has no {cid.hex()}: {header.status.name.lower()}", transient=True)
        if header.size > most:
            raise P2PError(f"{cid.hex()} has {header.size} bytes, at most {most}")
        await trio.to_thread.run_sync(self._store.require_room, max(header.size - offset, 0))
        return header.size

    async def _receive(self, stream: FramedStream, partial: Partial, size: int) -> None:
        """Take the rest of some content. A peer that sends little in every frame is as slow as one that sends none."""
        begun_s, before = trio.current_time(), partial.size
        while partial.size < size:
            due_s = begun_s + DATA_S * (1 + (partial.size - before) / MAX_BLOB_DATA_BYTES)
            left_s = min(due_s - trio.current_time(), DATA_S)
            if left_s <= 0:
                raise P2PError(f"{stream.peer_id} sends less than {RATE_BYTES_S} bytes a second", transient=True)
            data = await stream.read_frame(MAX_BLOB_DATA_BYTES, within_s=left_s)
            if not 0 < len(data) <= size - partial.size:
                raise Malformed("content longer than announced")
            # A thread: while the disk is slow, the peer's window must go on being read.
            await trio.to_thread.run_sync(partial.append, data)

    async def _serve(self, stream: FramedStream) -> None:
        frame = await stream.read_frame(MAX_BLOB_CONTROL_BYTES, within_s=CONTROL_S)
        request = codec.decode(BlobRequest, frame, MAX_BLOB_CONTROL_BYTES)
        peer_id = stream.peer_id
        if self._served[peer_id] >= MAX_SERVED_PER_PEER or self._served.total() >= MAX_SERVED:
            await _answer(stream, BlobStatus.BUSY)
            return
        with Counted(self._served, peer_id):
            path = await trio.to_thread.run_sync(self._store.find, Cid(request.cid))
            if path is None:
                await _answer(stream, BlobStatus.MISSING)
            else:
                await _send_file(stream, path, request.offset)

    @asynccontextmanager
    async def _alone(self, what: str, cid: Cid) -> AsyncIterator[None]:
        """One fetch of the same content at a time; what the disk refuses is an error of ours to the outside."""
        lock = self._fetches.setdefault((what, cid), trio.Lock())
        try:
            async with lock:
                await trio.to_thread.run_sync(self._store.sweep, time.time(), frozenset(self._begun))
                yield
        except OSError as error:
            raise P2PError(f"the content store failed: {error}") from error
        finally:
            if not lock.locked():
                self._fetches.pop((what, cid), None)


def _checked(cid: Cid, data: bytes) -> ModelManifest:
    """The manifest in content whose hash is right, so that its sender is not at fault: the id names no model.

    Raises: P2PError unless it is one that this node can take.
    """
    try:
        manifest = read_manifest(data)
    except RemoteProtocolError as error:
        raise P2PError(f"{cid.hex()} is no model: {error}") from error
    if any(file.path.split("/")[0] == MANIFEST for file in manifest.files):
        raise P2PError(f"{cid.hex()} is no model: a file in the place of its manifest")
    if not manifest.name.isprintable() or not 0 < len(manifest.name) <= MAX_NAME_CHARS:
        raise P2PError(f"{cid.hex()} is no model: its name is not 1 to {MAX_NAME_CHARS} characters that can be shown")
    try:
        tokenizer = manifest.file(manifest.tokenizer)
    except KeyError as error:
        raise P2PError(f"{cid.hex()} is no model: its tokenizer is none of its files") from error
    if tokenizer.size > MAX_TOKENIZER_BYTES:
        raise P2PError(f"the tokenizer of {cid.hex()} has {tokenizer.size} bytes, at most {MAX_TOKENIZER_BYTES}")
    return manifest


def _unstaged(store: ContentStore, manifest: ModelManifest) -> list[str]:
    """Files of a model that are not staged, or not with their size."""
    paths = {file: store.staged_path(manifest.cid, file.path) for file in manifest.files}
    return [file.path for file, path in paths.items() if not path.is_file() or path.stat().st_size != file.size]


@asynccontextmanager
async def _leave_all(_model: Cid, _size: int) -> AsyncIterator[None]:
    """Without a quota nothing is removed."""
    yield


async def _answer(stream: FramedStream, status: BlobStatus, size: int = 0) -> None:
    await stream.write_frame(codec.encode(BlobHeader(status, size)), within_s=CONTROL_S)


async def _send_file(stream: FramedStream, path: Path, offset: int) -> None:
    try:
        async with await trio.open_file(path, "rb") as file:
            size = await file.seek(0, os.SEEK_END)
            await _answer(stream, BlobStatus.FOUND, size)
            await file.seek(min(offset, size))
            while data := await file.read(MAX_BLOB_DATA_BYTES):
                await stream.write_frame(data, within_s=DATA_S)
    except OSError as error:
        raise P2PError(f"the content store failed: {error}") from error
