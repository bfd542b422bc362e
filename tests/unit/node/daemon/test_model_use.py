"""Runs and fetches beside removals: a run finds its model, also one that another node has just removed."""

import dataclasses
from pathlib import Path

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from executor.models import ModelStore
from node.daemon.known import KnownModels
from node.daemon.model_use import ModelFetch, ModelUse
from node.daemon.remover import ModelRemover
from p2p.holdings import ModelHoldings, ModelInUse
from p2p.store import ContentStore, StoreFull
from protocol.effects import Effect, FetchModel, RunContainer
from protocol.errors import ExecutorError, P2PError
from protocol.events import ContainerExited, Event, ModelAdded
from protocol.stages.execution import Outcome, RunSpec, failed
from tests.fakes.inbox import MachineInbox
from tests.simulation.scene import CLASS
from tests.support.scenes.offers import NOW, provider
from tests.support.scenes.stored_models import names, put_model

WITHIN_S = 5.0


class Bench:
    """A store of one model, and adapters that note what they are asked: the peers hold the same model."""

    def __init__(self, root: Path) -> None:
        _, self.machine = provider()
        self.root, self.holdings = root, ModelHoldings(root)
        self.model = put_model(root, "model", 100)
        known = KnownModels(self.machine, ContentStore(root))
        inbox = MachineInbox(self.machine, NOW)
        self.remover = ModelRemover(
            self.machine, inbox, known, self.holdings, named=frozenset({self.model.cid}), limit_bytes=0
        )
        self.looks = 0
        self.fetch = ModelFetch(
            self,
            self.machine,
            self.remover,
            lambda: NOW,
            require_format=ModelStore(root).require_format,
            look_for_room=self.look,
        )
        self.use = ModelUse(self, self.holdings, self.remover, self.fetch)
        self.asked: list[type[Effect]] = []
        self.run = RunContainer(RunSpec(bytes(32), self.model.cid, CLASS, 1, 0, bytes(32), 2**30, 1_000))
        self.is_online, self.is_full = True, False

    def allow(self) -> None:
        """The operator names the model."""
        member = self.machine.member
        member.settings = dataclasses.replace(member.settings, models=frozenset({self.model.cid}))

    async def look(self) -> None:
        self.looks += 1

    async def perform(self, effect: Effect) -> Event:
        self.asked.append(type(effect))
        if isinstance(effect, FetchModel):
            if not self.is_online:
                raise P2PError("no peer is known to have it", transient=True)
            if self.is_full:
                raise StoreFull("no room")
            put_model(self.root, "model", 100)
            return ModelAdded(self.model)
        # While a container reads the model, nobody removes it.
        with pytest.raises(ModelInUse):
            self.holdings.retire(self.model.cid, keep_description=False)
        return ContainerExited(bytes(32), failed(Outcome.CLIENT, "x"), b"")


async def test_run_finds_its_model_here(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    await bench.use.perform(bench.run)
    assert bench.asked == [RunContainer]


async def test_run_whose_model_another_node_has_removed_fetches_it(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.allow()
    ModelHoldings(tmp_path).retire(bench.model.cid, keep_description=False)
    await bench.use.perform(bench.run)
    assert bench.asked == [FetchModel, RunContainer]
    assert names(tmp_path) == {"model": "whole"}


@pytest.mark.parametrize("is_allowed", [True, False])
async def test_run_without_its_model_fails_with_the_reason(tmp_path: Path, is_allowed: bool) -> None:
    bench = Bench(tmp_path)
    bench.is_online = False
    if is_allowed:
        bench.allow()
    bench.holdings.retire(bench.model.cid, keep_description=False)
    with pytest.raises(ExecutorError, match="has left the store") as refused:
        await bench.use.perform(bench.run)
    assert ("no peer" in str(refused.value), refused.value.transient) == (is_allowed, is_allowed)
    assert bench.asked == [FetchModel] * is_allowed


async def test_fetch_into_a_full_store_has_the_machine_told(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    bench.is_full = True
    with pytest.raises(StoreFull):
        await bench.fetch.perform(FetchModel(bench.model.cid, ()))
    assert bench.looks == 1


async def test_fetched_model_with_a_false_number_format_is_not_served(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    false = dataclasses.replace(bench.model, dtype="fp32")
    (tmp_path / "models" / bench.model.cid.hex()).rename(tmp_path / "models" / false.cid.hex())
    bench.model = false
    with pytest.raises(P2PError, match="states fp32 weights, and its files hold bf16"):
        await bench.fetch.perform(FetchModel(false.cid, ()))


async def test_fetch_waits_while_models_are_removed(tmp_path: Path) -> None:
    bench = Bench(tmp_path)
    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery, bench.remover.turn:
            nursery.start_soon(bench.fetch.perform, FetchModel(bench.model.cid, ()))
            await wait_all_tasks_blocked()
            assert bench.asked == []
            bench.holdings.retire(bench.model.cid, keep_description=False)
    assert bench.asked == [FetchModel]
