"""Content from peers that break off, lie, stall or have nothing, and a store that survives a restart."""

import dataclasses
import hashlib
import os
import shutil
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from p2p import blobs as blobs_module
from p2p.blobs import (
    MAX_BLOB_BYTES,
    MAX_SERVED_PER_PEER,
    PROTOCOL,
    BlobHeader,
    BlobRequest,
    Blobs,
    BlobStatus,
)
from p2p.store import PARTIAL_KEPT_S, ContentStore
from p2p.streams import MAX_BLOB_CONTROL_BYTES, FramedStream
from protocol.errors import Malformed, P2PError, RemoteProtocolError
from protocol.stages.blob import ModelFile
from protocol.wire import codec
from protocol.wire.ids import Cid, PeerId, cid_of
from tests.fakes.network import MemoryHost, MemoryNetwork
from tests.fakes.nodes import secret
from tests.support.manifests import model_of

CONTENT = b"".join(hashlib.sha256(b"%d" % index).digest() for index in range(100_000))
CID = cid_of(CONTENT)
MIB = 1024 * 1024


@dataclass
class Asker:
    """A host that fetches, connected to every other."""

    host: MemoryHost
    blobs: Blobs
    root: Path
    faults: list[tuple[PeerId, RemoteProtocolError]] = field(default_factory=list)

    def on_connected(self, peer_id: PeerId, dialled: bool) -> None: ...
    def on_disconnected(self, peer_id: PeerId) -> None: ...
    def on_fault(self, peer_id: PeerId, fault: RemoteProtocolError) -> None:
        self.faults.append((peer_id, fault))

    def stored(self, cid: Cid) -> bytes:
        return (self.root / "blobs" / cid.hex()).read_bytes()

    def partial(self) -> list[str]:
        return sorted(path.name for path in (self.root / "partial").iterdir())


@asynccontextmanager
async def scene(tmp_path: Path, others: int) -> AsyncIterator[tuple[Asker, list[MemoryHost]]]:
    """An asker, and other hosts whose answers are up to the test."""
    network = MemoryNetwork()
    with trio.fail_after(20):
        async with AsyncExitStack() as stack:
            hosts = [await stack.enter_async_context(network.open_host(secret(index))) for index in range(others + 1)]

            async def reach(to: str) -> PeerId:
                return PeerId(to)

            asker = Asker(hosts[0], Blobs(hosts[0], ContentStore(tmp_path / "asker"), reach), tmp_path / "asker")
            hosts[0].watch(asker)
            for host in hosts[1:]:
                await hosts[0].dial(host.addresses[0])
            yield asker, hosts[1:]


def serve(host: MemoryHost, tmp_path: Path, content: bytes = CONTENT) -> Blobs:
    """Let a host serve some content honestly."""
    folder = tmp_path / host.peer_id / "blobs"
    folder.mkdir(parents=True)
    (folder / cid_of(content).hex()).write_bytes(content)
    return Blobs(host, ContentStore(folder.parent), lambda to: host.dial(to))


@dataclass
class Script:
    """An answer that a test writes: header, frames, and then the end. Keeps the offsets that were asked for."""

    size: int
    frames: Callable[[int], list[bytes]]
    status: BlobStatus = BlobStatus.FOUND
    offsets: list[int] = field(default_factory=list)

    async def __call__(self, stream: FramedStream) -> None:
        frame = await stream.read_frame(MAX_BLOB_CONTROL_BYTES, within_s=5)
        request = codec.decode(BlobRequest, frame, MAX_BLOB_CONTROL_BYTES)
        self.offsets.append(request.offset)
        await stream.write_frame(codec.encode(BlobHeader(self.status, self.size)), within_s=5)
        for data in self.frames(request.offset):
            await stream.write_frame(data, within_s=5)


def ids(hosts: list[MemoryHost]) -> list[PeerId]:
    return [host.peer_id for host in hosts]


async def test_what_broke_off_goes_on_at_the_next_peer_where_it_stopped(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as (asker, hosts):
        first = Script(len(CONTENT), lambda offset: [CONTENT[offset : offset + MIB]])
        second = Script(
            len(CONTENT), lambda offset: [CONTENT[at : at + MIB] for at in range(offset, len(CONTENT), MIB)]
        )
        hosts[0].handle(PROTOCOL, first)
        hosts[1].handle(PROTOCOL, second)
        await asker.blobs.fetch(CID, ids(hosts))
        assert (first.offsets, second.offsets) == ([0], [MIB])
        assert asker.stored(CID) == CONTENT


async def test_the_same_peer_is_asked_again_as_long_as_it_brings_something(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        script = Script(len(CONTENT), lambda offset: [CONTENT[offset : offset + MIB]])
        hosts[0].handle(PROTOCOL, script)
        await asker.blobs.fetch(CID, ids(hosts))
        assert script.offsets == [0, MIB, 2 * MIB, 3 * MIB]
        assert asker.stored(CID) == CONTENT


async def test_what_came_before_a_restart_is_not_asked_for_again(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        hosts[0].handle(PROTOCOL, Script(len(CONTENT), lambda offset: [CONTENT[:MIB]] if not offset else []))
        with pytest.raises(P2PError):
            await asker.blobs.fetch(CID, ids(hosts))
        assert asker.partial() == [CID.hex()]
        script = Script(
            len(CONTENT), lambda offset: [CONTENT[at : at + MIB] for at in range(offset, len(CONTENT), MIB)]
        )
        hosts[0].handle(PROTOCOL, script)
        again = Blobs(asker.host, ContentStore(asker.root), asker.blobs._reach)
        await again.fetch(CID, ids(hosts))
        assert script.offsets == [MIB]
        assert asker.partial() == []


async def test_a_spoilt_beginning_is_fetched_again_and_nobody_blamed(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        (asker.root / "partial").mkdir(parents=True)
        (asker.root / "partial" / CID.hex()).write_bytes(b"x" * 1_000)
        serve(hosts[0], tmp_path)
        await asker.blobs.fetch(CID, ids(hosts))
        assert asker.stored(CID) == CONTENT
        assert asker.faults == []


async def test_a_beginning_longer_than_the_content_is_fetched_again(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        (asker.root / "partial").mkdir(parents=True)
        (asker.root / "partial" / CID.hex()).write_bytes(bytes(len(CONTENT) + 1))
        serve(hosts[0], tmp_path)
        await asker.blobs.fetch(CID, ids(hosts))
        assert asker.stored(CID) == CONTENT


async def test_wrong_content_is_the_fault_of_the_one_who_sent_all_of_it(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as (asker, hosts):
        hosts[0].handle(PROTOCOL, Script(5, lambda offset: [b"wrong"]))
        serve(hosts[1], tmp_path)
        await asker.blobs.fetch(CID, ids(hosts))
        ((peer_id, fault),) = asker.faults
        assert (peer_id, type(fault)) == (hosts[0].peer_id, Malformed)


async def test_a_liar_that_starts_does_not_put_the_blame_on_the_one_who_ends(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as (asker, hosts):
        hosts[0].handle(PROTOCOL, Script(len(CONTENT), lambda offset: [bytes(MIB)]))
        serve(hosts[1], tmp_path)
        await asker.blobs.fetch(CID, ids(hosts))
        assert asker.stored(CID) == CONTENT
        assert hosts[1].peer_id not in [peer_id for peer_id, _ in asker.faults]


@pytest.mark.parametrize(
    ("size", "frames"),
    [
        (10, [b"x" * 11]),
        (10, [b"x" * 5, b"x" * 6]),
        (10, [b""]),
        (2 * MIB, [bytes(MIB + 1)]),
    ],
)
async def test_more_than_announced_is_a_fault(tmp_path: Path, size: int, frames: list[bytes]) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        hosts[0].handle(PROTOCOL, Script(size, lambda offset: frames))
        with pytest.raises(P2PError):
            await asker.blobs.fetch(CID, ids(hosts))
        assert {peer_id for peer_id, _ in asker.faults} == {hosts[0].peer_id}


async def test_a_peer_that_sends_a_byte_at_a_time_is_left_for_the_next(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(blobs_module, "DATA_S", 2.0)
    async with scene(tmp_path, 2) as (asker, hosts):
        drip = Script(len(CONTENT), lambda offset: [CONTENT[at : at + 1] for at in range(len(CONTENT))])
        hosts[0].handle(PROTOCOL, drip)
        serve(hosts[1], tmp_path)
        await asker.blobs.fetch(CID, ids(hosts))
        assert asker.stored(CID) == CONTENT
        assert drip.offsets == [0]
        assert asker.faults == []


async def test_drips_alone_are_given_up(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        script = Script(len(CONTENT), lambda offset: [CONTENT[offset : offset + 100]])
        hosts[0].handle(PROTOCOL, script)
        with pytest.raises(P2PError):
            await asker.blobs.fetch(CID, ids(hosts))
        assert script.offsets == [0]


async def test_even_the_right_content_must_be_as_long_as_announced(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        hosts[0].handle(PROTOCOL, Script(4, lambda offset: [b"right"]))
        with pytest.raises(P2PError):
            await asker.blobs.fetch(cid_of(b"right"), ids(hosts))
        assert asker.partial() == []


async def test_content_over_the_limit_is_not_even_begun(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        hosts[0].handle(PROTOCOL, Script(MAX_BLOB_BYTES + 1, lambda offset: [bytes(MIB)]))
        with pytest.raises(P2PError, match="at most"):
            await asker.blobs.fetch(CID, ids(hosts))
        assert asker.partial() == []


async def test_a_full_disk_is_said_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        serve(hosts[0], tmp_path)
        monkeypatch.setattr("p2p.store.SPARE_BYTES", 1 << 62)
        with pytest.raises(P2PError, match="no room on the disk"):
            await asker.blobs.fetch(CID, ids(hosts))
        assert asker.partial() == []


async def test_the_same_content_asked_for_twice_is_fetched_once(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        script = Script(
            len(CONTENT), lambda offset: [CONTENT[at : at + MIB] for at in range(offset, len(CONTENT), MIB)]
        )
        hosts[0].handle(PROTOCOL, script)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(asker.blobs.fetch, CID, ids(hosts))
        assert script.offsets == [0]


async def test_one_peer_cannot_take_every_place(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as (asker, hosts):
        serve(hosts[0], tmp_path)
        held = []
        for _ in range(MAX_SERVED_PER_PEER + 1):
            stream = await asker.host.open(hosts[0].peer_id, PROTOCOL)
            await stream.write_frame(codec.encode(BlobRequest(CID, 0)), within_s=1)
            held.append(codec.decode(BlobHeader, await stream.read_frame(100, within_s=1), 100).status)
        assert held == [BlobStatus.FOUND] * MAX_SERVED_PER_PEER + [BlobStatus.BUSY]
        await hosts[1].dial(hosts[0].addresses[0])
        stream = await hosts[1].open(hosts[0].peer_id, PROTOCOL)
        await stream.write_frame(codec.encode(BlobRequest(CID, 0)), within_s=1)
        assert codec.decode(BlobHeader, await stream.read_frame(100, within_s=1), 100).status is BlobStatus.FOUND


async def test_places_are_free_again_when_streams_end(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        served = serve(hosts[0], tmp_path)
        for _ in range(3 * MAX_SERVED_PER_PEER):
            stream = await asker.host.open(hosts[0].peer_id, PROTOCOL)
            await stream.write_frame(codec.encode(BlobRequest(CID, 0)), within_s=1)
            await stream.read_frame(100, within_s=1)
            await stream.abort()
            await trio.testing.wait_all_tasks_blocked(0.02)
        assert served._served.total() == 0


async def test_a_request_that_is_none_is_a_fault(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        stream = await hosts[0].open((await hosts[0].dial(asker.host.addresses[0])), PROTOCOL)
        await stream.write_frame(b"../../etc/passwd", within_s=1)
        with pytest.raises(P2PError):
            await stream.read_frame(100, within_s=1)
        assert [type(fault) for _, fault in asker.faults] == [Malformed]


# --- models ---------------------------------------------------------------------------------------------------------
def serve_all(host: MemoryHost, tmp_path: Path, contents: list[bytes]) -> Blobs:
    folder = tmp_path / host.peer_id / "blobs"
    folder.mkdir(parents=True, exist_ok=True)
    for content in contents:
        (folder / cid_of(content).hex()).write_bytes(content)
    return Blobs(host, ContentStore(folder.parent), lambda to: host.dial(to))


async def test_a_model_appears_only_when_all_of_it_is_there(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        files = {"tokenizer.json": b"{}", "a.safetensors": CONTENT}
        manifest = model_of(files)
        serve_all(hosts[0], tmp_path, [manifest.encode(), b"{}"])
        with pytest.raises(P2PError):
            await asker.blobs.fetch_model(manifest.cid, ids(hosts))
        assert not (asker.root / "models").exists()
        # Checked blobs are not asked for again: they are no longer there.
        shutil.rmtree(tmp_path / hosts[0].peer_id)
        serve_all(hosts[0], tmp_path, [CONTENT])
        assert await asker.blobs.fetch_model(manifest.cid, ids(hosts)) == manifest
        assert (asker.root / "models" / manifest.cid.hex() / "a.safetensors").read_bytes() == CONTENT
        assert asker.partial() == []


async def test_a_description_brings_manifest_and_tokenizer_and_no_weights(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        manifest = model_of({"tokenizer.json": b"{}", "a.safetensors": CONTENT})
        serve_all(hosts[0], tmp_path, [manifest.encode(), b"{}"])
        assert await asker.blobs.fetch_description(manifest.cid, ids(hosts)) == manifest
        folder = asker.root / "descriptions" / manifest.cid.hex()
        assert {path.name: path.read_bytes() for path in folder.iterdir()} == {
            "manifest.json": manifest.encode(),
            "tokenizer.json": b"{}",
        }
        store = ContentStore(asker.root)
        assert (store.model(manifest.cid), store.description(manifest.cid)) == (None, manifest)
        assert store.descriptions() == (manifest,)
        # The weights come later; only they are asked for, and the description becomes part of the model.
        shutil.rmtree(tmp_path / hosts[0].peer_id)
        serve_all(hosts[0], tmp_path, [CONTENT])
        assert await asker.blobs.fetch_model(manifest.cid, ids(hosts)) == manifest
        assert (store.model(manifest.cid), store.descriptions(), asker.partial()) == (manifest, (), [])
        assert not folder.exists()


async def test_a_description_is_served_to_the_next_client(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as (asker, hosts):
        manifest = model_of({"tokenizer.json": b"{}", "a.safetensors": CONTENT})
        serve_all(hosts[0], tmp_path, [manifest.encode(), b"{}"])
        await asker.blobs.fetch_description(manifest.cid, ids(hosts[:1]))
        await hosts[1].dial(asker.host.addresses[0])

        async def reach(to: str) -> PeerId:
            return PeerId(to)

        other = Blobs(hosts[1], ContentStore(tmp_path / "other"), reach)
        assert await other.fetch_description(manifest.cid, [asker.host.peer_id]) == manifest


@pytest.mark.parametrize("harm", ["manifest.json", "tokenizer.json"])
async def test_a_description_of_wrong_bytes_is_blamed_and_taken_from_the_next_peer(tmp_path: Path, harm: str) -> None:
    async with scene(tmp_path, 2) as (asker, hosts):
        manifest = model_of({"tokenizer.json": b"[1,2]"})
        files = {"manifest.json": manifest.encode(), "tokenizer.json": b"[1,2]"}
        wrong = files[harm].replace(b"1", b"7")
        liar = tmp_path / hosts[0].peer_id / "blobs"
        liar.mkdir(parents=True)
        for name, content in files.items():
            (liar / cid_of(content).hex()).write_bytes(wrong if name == harm else content)
        Blobs(hosts[0], ContentStore(liar.parent), lambda to: hosts[0].dial(to))
        serve_all(hosts[1], tmp_path, list(files.values()))
        assert await asker.blobs.fetch_description(manifest.cid, ids(hosts)) == manifest
        assert {peer_id for peer_id, _ in asker.faults} == {hosts[0].peer_id}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"name": "a\x1b[2J"}, "its name"),
        ({"name": ""}, "its name"),
        ({"name": "x" * 129}, "its name"),
        ({"tokenizer": "other.json"}, "its tokenizer"),
        ({"files": (ModelFile("tokenizer.json", cid_of(b"{}"), 2**40),)}, "at most"),
        (
            {"files": (ModelFile("tokenizer.json", cid_of(b"{}"), 2), ModelFile("manifest.json/x", CID, 1))},
            "in the place",
        ),
        ({"files": (ModelFile("../tokenizer.json", cid_of(b"{}"), 2),)}, "not a model manifest"),
        ({"files": (ModelFile("/etc/passwd", cid_of(b"{}"), 2),)}, "not a model manifest"),
    ],
)
async def test_a_hostile_manifest_is_refused_and_leaves_nothing_outside(
    tmp_path: Path, change: dict[str, Any], reason: str
) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        manifest = dataclasses.replace(model_of({"tokenizer.json": b"{}"}), **change)
        serve_all(hosts[0], tmp_path, [manifest.encode(), b"{}"])
        for fetch in (asker.blobs.fetch_description, asker.blobs.fetch_model):
            with pytest.raises(P2PError, match=reason) as refused:
                await fetch(manifest.cid, ids(hosts))
            assert not refused.value.transient
        assert {path.name for path in asker.root.iterdir()} == {"partial"}


async def test_a_tokenizer_longer_than_its_manifest_says_is_not_taken(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        manifest = dataclasses.replace(
            model_of({}), files=(ModelFile("tokenizer.json", cid_of(CONTENT), len(CONTENT) - 1),)
        )
        serve_all(hosts[0], tmp_path, [manifest.encode(), CONTENT])
        with pytest.raises(P2PError, match="at most"):
            await asker.blobs.fetch_description(manifest.cid, ids(hosts))
        assert not (asker.root / "descriptions").exists()


async def test_two_models_with_a_file_in_common_are_fetched_side_by_side(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        models = [model_of({"tokenizer.json": word, "a.safetensors": CONTENT}) for word in (b"{}", b"[]")]
        serve_all(hosts[0], tmp_path, [*(each.encode() for each in models), b"{}", b"[]", CONTENT])
        async with trio.open_nursery() as nursery:
            for each in models:
                nursery.start_soon(asker.blobs.fetch_model, each.cid, ids(hosts))
        for each in models:
            assert (asker.root / "models" / each.cid.hex() / "a.safetensors").read_bytes() == CONTENT
        assert asker.faults == []


async def test_what_a_model_has_in_common_with_one_that_is_here_is_not_fetched_again(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        base = model_of({"tokenizer.json": b"{}", "a.safetensors": CONTENT})
        more = model_of({"tokenizer.json": b"{}", "a.safetensors": CONTENT, "adapter.safetensors": b"small"})
        serve_all(hosts[0], tmp_path, [base.encode(), b"{}", CONTENT])
        await asker.blobs.fetch_model(base.cid, ids(hosts))
        (tmp_path / hosts[0].peer_id / "blobs" / CID.hex()).unlink()
        for content in (more.encode(), b"small"):
            (tmp_path / hosts[0].peer_id / "blobs" / cid_of(content).hex()).write_bytes(content)
        await asker.blobs.fetch_model(more.cid, ids(hosts))
        files = [asker.root / "models" / each.cid.hex() / "a.safetensors" for each in (base, more)]
        assert len({path.stat().st_ino for path in files}) == 1
        assert asker.faults == []


async def test_a_damaged_file_of_another_model_is_fetched_anew(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        base = model_of({"tokenizer.json": b"{}", "a.safetensors": CONTENT})
        more = model_of({"tokenizer.json": b"{}", "a.safetensors": CONTENT, "adapter.safetensors": b"small"})
        serve_all(hosts[0], tmp_path, [base.encode(), more.encode(), b"{}", b"small", CONTENT])
        await asker.blobs.fetch_model(base.cid, ids(hosts))
        (asker.root / "models" / base.cid.hex() / "a.safetensors").write_bytes(bytes(len(CONTENT)))
        await asker.blobs.fetch_model(more.cid, ids(hosts))
        assert (asker.root / "models" / more.cid.hex() / "a.safetensors").read_bytes() == CONTENT


async def test_another_node_of_the_machine_waits_for_what_is_being_fetched(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        serve(hosts[0], tmp_path)
        (asker.root / "partial").mkdir(parents=True)
        held = ContentStore(asker.root).partial(CID)
        with pytest.raises(P2PError, match="another node of this machine") as refused:
            await asker.blobs.fetch(CID, ids(hosts))
        assert refused.value.transient
        held.close()
        await asker.blobs.fetch(CID, ids(hosts))
        assert asker.stored(CID) == CONTENT


async def test_a_damaged_manifest_in_the_store_is_replaced_by_the_whole_model(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        manifest = model_of({"tokenizer.json": b"{}"})
        serve_all(hosts[0], tmp_path, [manifest.encode(), b"{}"])
        folder = asker.root / "models" / manifest.cid.hex()
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_bytes(b"half")
        assert await asker.blobs.fetch_model(manifest.cid, ids(hosts)) == manifest
        assert (folder / "manifest.json").read_bytes() == manifest.encode()
        assert asker.partial() == []


async def test_model_whose_files_vanish_while_it_is_fetched_is_not_adopted(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        manifest = model_of({"tokenizer.json": b"{}", "a.safetensors": b"weights", "b.safetensors": CONTENT})
        serve_all(hosts[0], tmp_path, [manifest.encode(), b"{}", b"weights", CONTENT])
        staged = asker.root / "partial" / f"model-{manifest.cid.hex()}"

        async def reach(to: str) -> PeerId:
            (staged / "a.safetensors").unlink(missing_ok=True)
            return PeerId(to)

        blobs = Blobs(asker.host, ContentStore(asker.root), reach)
        with pytest.raises(P2PError, match="was removed while") as refused:
            await blobs.fetch_model(manifest.cid, ids(hosts))
        assert refused.value.transient
        assert not (asker.root / "models").exists()
        await asker.blobs.fetch_model(manifest.cid, ids(hosts))
        assert ContentStore(asker.root).model(manifest.cid) == manifest


async def test_progress_counts_what_had_come_before(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        manifest = model_of({"tokenizer.json": b"{}", "a.safetensors": CONTENT})
        serve_all(hosts[0], tmp_path, [manifest.encode(), b"{}", CONTENT])
        (asker.root / "partial").mkdir(parents=True)
        (asker.root / "partial" / CID.hex()).write_bytes(CONTENT[:MIB])
        seen: list[tuple[int, int]] = []

        async def reach(to: str) -> PeerId:
            if progress := blobs.progress(manifest.cid):
                seen.append((progress.done_bytes, progress.total_bytes))
            return PeerId(to)

        blobs = Blobs(asker.host, ContentStore(asker.root), reach)
        await blobs.fetch_model(manifest.cid, ids(hosts))
        assert seen == [(2 + MIB, 2 + len(CONTENT))]
        assert blobs.progress(manifest.cid) is None


async def test_every_file_of_a_model_can_be_read_by_its_container(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        manifest = model_of({"tokenizer.json": b"{}", "deep/er/a.txt": b"x"})
        serve_all(hosts[0], tmp_path, [manifest.encode(), b"{}", b"x"])
        before = os.umask(0o077)
        try:
            await asker.blobs.fetch_model(manifest.cid, ids(hosts))
        finally:
            os.umask(before)
        folder = asker.root / "models" / manifest.cid.hex()
        modes = {path.stat().st_mode & 0o777 for path in (folder, *folder.rglob("*"))}
        assert modes == {0o755, 0o644}


async def test_content_that_is_no_manifest_is_nobodys_fault(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        content = b'{"v":1}'
        serve_all(hosts[0], tmp_path, [content])
        with pytest.raises(P2PError, match="is no model") as raised:
            await asker.blobs.fetch_model(cid_of(content), ids(hosts))
        assert not raised.value.transient
        assert asker.faults == []


async def test_a_model_cannot_replace_its_own_manifest(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        manifest = model_of({"tokenizer.json": b"{}", "manifest.json": b"x"})
        serve_all(hosts[0], tmp_path, [manifest.encode(), b"{}", b"x"])
        with pytest.raises(P2PError, match="is no model"):
            await asker.blobs.fetch_model(manifest.cid, ids(hosts))


async def test_a_model_that_is_too_large_is_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        manifest = model_of({"tokenizer.json": b"{}", "a.safetensors": CONTENT})
        serve_all(hosts[0], tmp_path, [manifest.encode(), b"{}", CONTENT])
        monkeypatch.setattr(blobs_module, "MAX_MODEL_BYTES", len(CONTENT))
        with pytest.raises(P2PError, match="at most"):
            await asker.blobs.fetch_model(manifest.cid, ids(hosts))


async def test_models_take_no_more_of_the_disk_than_their_limit(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        first, second = (model_of({"tokenizer.json": word, "a.safetensors": CONTENT}) for word in (b"{}", b"[]"))
        serve_all(hosts[0], tmp_path, [first.encode(), second.encode(), b"{}", b"[]", CONTENT])
        held = len(CONTENT) + len(first.encode()) + 2
        store = ContentStore(asker.root, models_limit=held + len(CONTENT) + 1)
        asker.blobs._store = store
        await asker.blobs.fetch_model(first.cid, ids(hosts))
        with pytest.raises(P2PError, match="models_limit"):
            await asker.blobs.fetch_model(second.cid, ids(hosts))
        asker.blobs._store = ContentStore(asker.root, models_limit=held + len(CONTENT) + 2)
        await asker.blobs.fetch_model(second.cid, ids(hosts))


def test_what_was_begun_and_left_is_swept_and_what_goes_on_is_not(tmp_path: Path) -> None:
    store = ContentStore(tmp_path)
    begun = store.partial(CID)
    begun.append(b"x")
    begun.close()
    staged = store.staged_path(CID, "a.safetensors")
    staged.parent.mkdir(parents=True)
    staged.write_bytes(b"y")
    begun_s = max(path.stat().st_mtime for path in (tmp_path / "partial").rglob("*"))
    store.sweep(begun_s + PARTIAL_KEPT_S - 60)
    assert len(list((tmp_path / "partial").iterdir())) == 2
    store.sweep(begun_s + PARTIAL_KEPT_S + 1)
    assert list((tmp_path / "partial").iterdir()) == []


async def test_files_of_a_model_are_served_by_their_hash(tmp_path: Path) -> None:
    async with scene(tmp_path, 2) as (asker, hosts):
        manifest = model_of({"tokenizer.json": b"{}", "a.safetensors": CONTENT})
        serve_all(hosts[0], tmp_path, [manifest.encode(), b"{}", CONTENT])
        await asker.blobs.fetch_model(manifest.cid, ids(hosts[:1]))
        other = Blobs(hosts[1], ContentStore(tmp_path / "other"), lambda to: hosts[1].dial(to))
        await hosts[1].dial(asker.host.addresses[0])

        async def reach(to: str) -> PeerId:
            return PeerId(to)

        other._reach = reach
        await other.fetch(CID, [asker.host.peer_id])
        assert await other.fetch_model(manifest.cid, [asker.host.peer_id]) == manifest


async def test_two_files_in_each_others_way_are_an_error_of_the_store(tmp_path: Path) -> None:
    async with scene(tmp_path, 1) as (asker, hosts):
        manifest = model_of({"tokenizer.json": b"{}", "tokenizer.json/a": b"x"})
        serve_all(hosts[0], tmp_path, [manifest.encode(), b"{}", b"x"])
        with pytest.raises(P2PError, match="content store failed"):
            await asker.blobs.fetch_model(manifest.cid, ids(hosts))
