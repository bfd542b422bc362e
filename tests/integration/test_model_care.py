"""Models that come and go beside whole nodes: pulled over real streams, evicted for room, removed."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from node.api.backend import ModelStep
from node.api.faults import Fault
from node.api.views import PullView
from node.daemon.node import Node
from protocol.wire.ids import Cid
from tests.support import gguf_files
from tests.support.scenes.adapters import halves, make_adapter, make_base, tensors
from tests.support.scenes.daemon_jobs import heard, network
from tests.support.scenes.daemon_jobs import place as place
from tests.support.scenes.daemons import Place
from tests.support.scenes.models import make
from tests.support.scenes.stored_models import names, put_model, weights_of

pytestmark = [pytest.mark.anvil, pytest.mark.libp2p, pytest.mark.slow]

SIZE = 6_000_000
WITHIN_S = 60.0


async def pull(node: Node, name: str) -> list[PullView]:
    """A pull to its end."""
    with trio.fail_after(WITHIN_S):
        async with node.backend.shelf.pull(name) as updates:
            return [update async for update in updates]


def is_here(node: Node, cid: Cid) -> bool:
    return cid in node.parts.machine.member.models


async def test_model_is_pulled_by_its_id_and_the_oldest_one_leaves_for_the_next(place: Place) -> None:
    first, second = (put_model(place.root / "store", name, SIZE) for name in ("first", "second"))
    thin = place.root / "thin"
    async with network(place, executor__store=str(thin), executor__store_bytes="10MB") as cast:
        await heard(cast.asker, 1)
        *_, last = await pull(cast.asker, first.cid.hex())
        assert (last.is_done, last.done_bytes, last.name) == (True, SIZE + 2, "first")
        assert is_here(cast.asker, first.cid)
        assert (thin / "models" / first.cid.hex() / "model.safetensors").read_bytes() == weights_of("first", SIZE)
        await pull(cast.asker, second.cid.hex())
        assert names(thin) == {"first": "description", "second": "whole"}
        assert (is_here(cast.asker, first.cid), is_here(cast.asker, second.cid)) == (False, True)
        # A pinned model does not leave, and then there is no room.
        shelf = cast.asker.backend.shelf
        assert (await shelf.take_step(ModelStep.PIN, "second")).pinned
        with pytest.raises(Fault) as full:
            await pull(cast.asker, "first")
        assert full.value.code == "store_full"
        with pytest.raises(Fault) as pinned:
            await shelf.take_step(ModelStep.REMOVE, "second")
        assert pinned.value.code == "in_use"
        await shelf.take_step(ModelStep.UNPIN, "second")
        await shelf.take_step(ModelStep.REMOVE, second.cid.hex()[:12])
        assert names(thin) == {"first": "description"}
        assert not is_here(cast.asker, second.cid)
        # A disk that refuses is one sentence for the user.
        (thin / "care").rename(thin / "away")
        (thin / "care").write_bytes(b"")
        with pytest.raises(Fault) as broken:
            await shelf.take_step(ModelStep.PIN, "first")
        assert (broken.value.code, "executor.store" in broken.value.hint) == ("preflight", True)
        (thin / "care").unlink()
        (thin / "away").rename(thin / "care")
        # Of a model that was evicted the manifest tells the shape.
        assert (await shelf.shape("first")).stored_bytes == SIZE
        shown = await shelf.model("first")
        assert (shown.state, [file.path for file in shown.files]) == (
            "description",
            ["model.safetensors", "tokenizer.json"],
        )


async def command(node: Node, *arguments: str) -> subprocess.CompletedProcess[bytes]:
    """A `vcoin` command of the node's user."""
    words = [sys.executable, "-m", "node.cli", *arguments, "--data-dir", str(node.parts.config.node.data_dir)]
    return await trio.run_process(words, capture_stdout=True, capture_stderr=True, check=False)


async def test_user_pulls_shows_and_removes_a_model_by_commands(place: Place) -> None:
    model = put_model(place.root / "store", "large", SIZE)
    thin = place.root / "thin"
    async with network(place, executor__store=str(thin)) as cast:
        await heard(cast.asker, 1)
        pulled = await command(cast.asker, "model", "pull", model.cid.hex(), "--json")
        assert pulled.returncode == 0, pulled.stderr
        last = json.loads(pulled.stdout.splitlines()[-1])
        assert (last["is_done"], last["done_bytes"]) == (True, SIZE + 2)
        (row,) = json.loads((await command(cast.asker, "model", "list", "--json")).stdout)
        assert (row["name"], row["state"], row["pinned"], row["held_bytes"] > SIZE) == ("large", "whole", False, True)
        assert b"every byte checked" in (await command(cast.asker, "model", "pull", "large")).stderr
        assert (await command(cast.asker, "model", "pin", "large")).returncode == 0
        refused = await command(cast.asker, "model", "remove", "large")
        assert (refused.returncode, len(refused.stderr.splitlines())) == (1, 2)
        assert (await command(cast.asker, "model", "unpin", "large")).returncode == 0
        assert (await command(cast.asker, "model", "remove", "large")).returncode == 0
        assert names(thin) == {}
        unknown = await command(cast.asker, "model", "pull", "ab" * 32)
        assert (unknown.returncode, b"vcoin status --nodes" in unknown.stderr) == (75, True)


async def test_pull_that_its_user_leaves_goes_on_where_it_stopped(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = put_model(place.root / "store", "large", 40 * 2**20)
    content = model.file("model.safetensors").sha256.hex()
    thin = place.root / "thin"
    async with network(place, executor__store=str(thin)) as cast:
        await heard(cast.asker, 1)
        monkeypatch.setattr("node.daemon.shelf.UPDATE_S", 0.02)
        with trio.fail_after(WITHIN_S):
            async with cast.asker.backend.shelf.pull(model.cid.hex()) as updates:
                async for update in updates:
                    if update.done_bytes > 2**20:
                        break
        left = (thin / "partial" / content).stat().st_size
        assert left >= 2**20
        assert names(thin) == {"large": "partial"}
        first, *_, last = await pull(cast.asker, "large")
        assert last.is_done
        assert (thin / "models" / model.cid.hex() / "model.safetensors").stat().st_size == 40 * 2**20
        counted = [update for update in (first, last) if update.done_bytes]
        assert counted[0].done_bytes >= left
        assert list((thin / "partial").iterdir()) == []


async def test_model_that_another_node_of_the_machine_removes_is_no_longer_promised(place: Place) -> None:
    model = put_model(place.root / "store", "shared", 1_000)
    async with network(place) as cast:
        await heard(cast.asker, 1)
        assert is_here(cast.provider, model.cid)
        events = cast.provider.parts.driver.subscribe()
        await cast.asker.backend.shelf.take_step(ModelStep.REMOVE, "shared")
        with trio.fail_after(WITHIN_S):
            while is_here(cast.provider, model.cid):
                await events.receive()
        assert names(Path(place.root / "store")) == {"tiny": "whole"}


async def test_local_model_takes_the_place_of_others_only_when_it_is_here(place: Place) -> None:
    thin = place.root / "thin"
    put_model(thin, "old", SIZE)
    folder = make(place.root / "added")
    (folder / "notes.txt").write_bytes(bytes(SIZE))
    async with network(place, executor__store=str(thin), executor__store_bytes="10MB") as cast:
        (folder / "config.json").rename(folder / "config.away")
        with pytest.raises(Fault) as unusable:
            await cast.asker.backend.add_model(str(folder))
        assert unusable.value.code == "bad_model"
        assert names(thin) == {"old": "whole"}
        (folder / "config.away").rename(folder / "config.json")
        await cast.asker.backend.add_model(str(folder))
        assert names(thin) == {"added": "whole", "old": "description"}
        (folder / "more.txt").write_bytes(bytes(2 * SIZE))
        with pytest.raises(Fault) as large:
            await cast.asker.backend.add_model(str(folder))
        assert large.value.code == "store_full"
        assert names(thin) == {"added": "whole", "old": "description"}


async def test_gguf_file_is_a_model_and_one_that_means_harm_is_a_sentence(place: Place) -> None:
    thin, file = place.root / "thin", place.root / "small-Q8_0.gguf"
    file.write_bytes(gguf_files.small())
    async with network(place, executor__store=str(thin)) as cast:
        added = await cast.asker.backend.add_model(str(file))
        assert (added.name, added.dtype) == ("small-Q8_0", "q8_0")
        assert names(thin) == {"small-Q8_0": "whole"}
        shown = await cast.asker.backend.shelf.model("small-Q8_0")
        assert {each.path for each in shown.files} >= {"model.gguf", "tokenizer.json", "chat_template.jinja"}
        for harm in (b"GGUF" + bytes(60), gguf_files.small(**{"split.count": 2}), file.read_bytes()[:-1]):
            file.write_bytes(harm)
            with pytest.raises(Fault, match=r"small-Q8_0\.gguf cannot be added") as refused:
                await cast.asker.backend.add_model(str(file))
            assert refused.value.code == "bad_model"
        assert names(thin) == {"small-Q8_0": "whole"}


async def test_adapter_is_a_model_that_shares_its_bases_files_with_whoever_pulls_it(place: Place) -> None:
    base_folder, adapter = make_base(place.root / "plain"), make_adapter(place.root / "pirate")
    stores = [place.root / "store", place.root / "thin"]
    async with network(place, executor__store=str(stores[1])) as cast:
        await heard(cast.asker, 1)
        provider, asker = cast.provider.backend, cast.asker.backend
        base = await provider.add_model(str(base_folder))
        made = await provider.add_model(str(adapter), "plain")
        assert (made.name, made.base, len(made.adapter)) == ("plain+pirate", base.manifest, 64)
        for model in (base, made):
            await pull(cast.asker, model.manifest)
        for store in stores:
            files = [store / "models" / model.manifest / "model.safetensors" for model in (base, made)]
            assert len({path.stat().st_ino for path in files}) == 1
        for name in ("plain+pirate", f"plai+{made.adapter[:8]}", f"{base.manifest}+{made.adapter}"):
            assert (await asker.shelf.find(name)).cid.hex() == made.manifest
        assert (await asker.shelf.find("plai")).cid.hex() == base.manifest
        (adapter / "adapter_model.safetensors").write_bytes(tensors(halves(down=(4, 9))))
        for name, code in (("plain", "bad_model"), ("plain+pirate", "bad_model"), ("nobody", "unknown_model")):
            with pytest.raises(Fault) as refused:
                await provider.add_model(str(adapter), name)
            assert refused.value.code == code
        assert set(names(stores[0]).values()) == {"whole"}
