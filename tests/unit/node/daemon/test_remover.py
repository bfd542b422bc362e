"""Removal of models beside the jobs of a node: what is needed stays, and the machine hears what is gone."""

import os
from pathlib import Path

import pytest

from node.api.faults import Fault
from node.daemon.known import KnownModels
from node.daemon.remover import ModelRemover
from p2p.holdings import Holding, ModelHoldings, ModelInUse
from p2p.store import ContentStore, StoreFull
from protocol.events import ContainerExited, ModelAdded, ModelRemoved
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import Outcome, failed
from protocol.wire.ids import Cid
from tests.fakes.inbox import MachineInbox
from tests.simulation.scene import MANIFEST, ask
from tests.simulation.world import World
from tests.support.scenes.offers import NOW
from tests.support.scenes.provided_jobs import Deal, accept
from tests.support.scenes.stored_models import names, put_model

OTHER = Cid(bytes(32))
WEIGHTS = 10_000


class House:
    """A node with a store, and an order for the model of the simulated world."""

    def __init__(self, root: Path, limit_bytes: int = 0, named: frozenset[Cid] = frozenset()) -> None:
        self.root = root
        self.deal = Deal()
        self.inbox = MachineInbox(self.deal.machine, NOW)
        self.known = KnownModels(self.deal.machine, ContentStore(root))
        self.holdings = ModelHoldings(root)
        self.remover = ModelRemover(
            self.deal.machine,
            self.inbox,
            self.known,
            self.holdings,
            named=named,
            limit_bytes=limit_bytes,
            let_go=self.let_go,
        )
        self.idle: dict[bytes, int] = {}

    def load(self, cid: Cid) -> None:
        """An engine of this node has the model loaded, and nothing to do."""
        self.idle[cid] = self.holdings.hold(cid)

    async def let_go(self, manifest: bytes) -> None:
        if (descriptor := self.idle.pop(manifest, None)) is not None:
            os.close(descriptor)

    async def put(self, name: str, size: int, used_s: float) -> ModelManifest:
        manifest = put_model(self.root, name, size, used_s)
        await self.inbox.deliver(ModelAdded(manifest))
        return manifest

    def holding(self, cid: Cid) -> Holding:
        found = self.holdings.find(cid)
        assert found is not None
        return found

    def take_job(self) -> None:
        """An order for MANIFEST is taken; its files stand in for it on the disk."""
        self.deal.lane()
        order = self.deal.order()
        self.deal.send(order)
        accept(self.deal.machine, order)

    def put_files_of(self, manifest: ModelManifest) -> None:
        folder = self.root / "models" / manifest.cid.hex()
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_bytes(manifest.encode())
        for file in manifest.files:
            (folder / file.path).write_bytes(bytes(100))
        (folder / "model.safetensors").write_bytes(bytes(WEIGHTS))


async def test_an_engine_without_work_ends_before_its_model_leaves(tmp_path: Path) -> None:
    house = House(tmp_path, limit_bytes=2_000)
    model = await house.put("loaded", 900, 1.0)
    house.load(model.cid)
    await house.remover.make_room(OTHER, 1_500)
    assert house.idle == {}
    assert names(tmp_path) == {"loaded": "description"}


async def test_least_recently_used_models_make_room_and_the_machine_hears_of_it(tmp_path: Path) -> None:
    house = House(tmp_path, limit_bytes=4_000)
    models = {name: await house.put(name, 900, at) for at, name in enumerate(("a", "b", "c"), start=1)}
    await house.remover.touch(models["a"].cid)
    await house.remover.make_room(OTHER, 900)
    assert names(tmp_path) == {"a": "whole", "b": "description", "c": "whole"}
    assert models["b"].cid not in house.deal.machine.member.models
    assert house.inbox.events[-1] == ModelRemoved(models["b"].cid)
    assert house.known.get(models["b"].cid) == models["b"]
    assert house.holdings.total_bytes() + 900 <= 4_000


async def test_pinned_and_named_models_stay_and_a_store_of_them_is_full(tmp_path: Path) -> None:
    named = put_model(tmp_path, "named", 900, 1.0)
    house = House(tmp_path, limit_bytes=3_000, named=frozenset({named.cid}))
    pinned = await house.put("pinned", 900, 2.0)
    house.holdings.pin(pinned.cid, is_pinned=True)
    with pytest.raises(StoreFull, match="store_bytes"):
        await house.remover.make_room(OTHER, 1_000)
    assert names(tmp_path) == {"named": "whole", "pinned": "whole"}
    assert house.inbox.events == [ModelAdded(pinned)]


async def test_what_cannot_fit_at_all_evicts_nothing(tmp_path: Path) -> None:
    house = House(tmp_path, limit_bytes=4_000)
    await house.put("a", 900, 1.0)
    with pytest.raises(StoreFull):
        await house.remover.make_room(OTHER, 4_001)
    assert names(tmp_path) == {"a": "whole"}


async def test_model_of_an_open_job_stays_until_the_job_has_run(tmp_path: Path) -> None:
    house = House(tmp_path, limit_bytes=WEIGHTS)
    house.put_files_of(MANIFEST)
    house.take_job()
    assert house.remover.needed() == {MANIFEST.cid}
    with pytest.raises(StoreFull):
        await house.remover.make_room(OTHER, 0)
    with pytest.raises(Fault) as refused:
        await house.remover.remove(house.holding(MANIFEST.cid))
    assert (refused.value.code, "vcoin job list" in refused.value.hint) == ("in_use", True)
    # The machine was told of no removal that stays, and the model is there for the job.
    assert MANIFEST.cid in house.deal.machine.member.models
    (job,) = house.deal.machine.provider.jobs
    assert job.job_id is not None
    await house.inbox.deliver(ContainerExited(job.job_id, failed(Outcome.CLIENT, "x"), b""))
    assert house.remover.needed() == frozenset()
    await house.remover.remove(house.holding(MANIFEST.cid))
    assert names(tmp_path) == {}
    assert MANIFEST.cid not in house.deal.machine.member.models


async def test_needs_of_this_node_are_locked_against_other_processes(tmp_path: Path) -> None:
    house = House(tmp_path)
    house.put_files_of(MANIFEST)
    house.take_job()
    await house.remover.show_needs()
    await house.remover.show_needs()
    stranger = House(tmp_path, limit_bytes=WEIGHTS)
    with pytest.raises(StoreFull):
        await stranger.remover.make_room(OTHER, 0)
    # It took the model out of its own machine, found it in use, and put it back.
    assert stranger.inbox.events == [ModelRemoved(MANIFEST.cid), ModelAdded(MANIFEST)]
    assert names(tmp_path) == {"tiny": "whole"}
    house.remover.close()
    await stranger.remover.enforce()
    assert names(tmp_path) == {"tiny": "description"}


async def test_disk_that_takes_no_lock_ends_no_daemon_and_removes_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    house = House(tmp_path, limit_bytes=1)
    house.put_files_of(MANIFEST)
    house.take_job()
    holding = house.holding(MANIFEST.cid)
    (tmp_path / "care").write_bytes(b"")
    await house.remover.show_needs()
    await house.remover.touch(MANIFEST.cid)
    await house.remover.enforce()
    assert [record.levelname for record in caplog.records] == ["WARNING"] * 3
    with pytest.raises(Fault, match="content store failed"):
        await house.remover.remove(holding)
    assert MANIFEST.cid in house.deal.machine.member.models
    assert (tmp_path / "models" / MANIFEST.cid.hex() / "manifest.json").is_file()


async def test_held_model_is_passed_over_and_the_next_one_goes(tmp_path: Path) -> None:
    house = House(tmp_path, limit_bytes=3_000)
    first, _ = await house.put("a", 900, 1.0), await house.put("b", 900, 2.0)
    descriptor = house.holdings.hold(first.cid)
    await house.remover.make_room(OTHER, 900)
    os.close(descriptor)
    assert names(tmp_path) == {"a": "whole", "b": "description"}
    assert first.cid in house.deal.machine.member.models


async def test_two_nodes_that_evict_at_once_evict_no_more_than_one_would(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    house = House(tmp_path, limit_bytes=3_000)
    first, _ = await house.put("a", 900, 1.0), await house.put("b", 900, 2.0)
    retire = house.holdings.retire

    def retire_second(cid: Cid, *, keep_description: bool) -> None:
        retire(cid, keep_description=keep_description)
        if cid == first.cid:
            raise ModelInUse("another node of this machine removes it")

    monkeypatch.setattr(house.holdings, "retire", retire_second)
    await house.remover.make_room(OTHER, 900)
    assert names(tmp_path) == {"a": "description", "b": "whole"}


async def test_bytes_that_have_come_of_a_model_are_not_counted_twice(tmp_path: Path) -> None:
    house = House(tmp_path, limit_bytes=2_000)
    model = await house.put("a", 900, 1.0)
    await house.remover.make_room(model.cid, 1_900)
    assert names(tmp_path) == {"a": "whole"}


async def test_pinned_model_is_not_removed(tmp_path: Path) -> None:
    house = House(tmp_path)
    model = await house.put("a", 10, 1.0)
    house.holdings.pin(model.cid, is_pinned=True)
    with pytest.raises(Fault) as refused:
        await house.remover.remove(house.holding(model.cid))
    assert refused.value.hint.startswith("vcoin model unpin")


async def test_description_stays_while_a_job_that_this_node_has_asked_for_goes_on(tmp_path: Path) -> None:
    client = World().add("requester", {"requester"})
    client.take(ask())
    house = House(tmp_path)
    house.put_files_of(MANIFEST)
    machine = client.machine
    remover = ModelRemover(machine, house.inbox, house.known, house.holdings, named=frozenset(), limit_bytes=0)
    assert (remover.needed(), remover.asked_for()) == (frozenset(), {MANIFEST.cid})
    with pytest.raises(Fault, match="has asked for"):
        await remover.remove(house.holding(MANIFEST.cid))
    assert names(tmp_path) == {"tiny": "whole"}
