"""Money of jobs: set aside before, counted after, whatever happens between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

from node.api.backend import JobAsk
from node.api.faults import Fault
from node.api.gateway.bodies import chat_body, embeddings_body
from node.api.gateway.budgets import KeyBudgets
from node.api.gateway.job_desk import JobDesk, PlacedJobs, settle_lost
from node.api.gateway.key_file import open_key_file
from node.api.gateway.keys import GatewayKey
from node.api.gateway.refusals import GatewayRefusal
from protocol.stages.assignment import order_total
from tests.fakes.answering import COST_WEI, AnsweringBackend
from tests.fakes.backend import PROVIDER, SMOL, VCN, VERIFIER, FakeBackend, peer
from tests.support.scenes.gateways import CHAT, WITHIN_S, kept_key, make_key

ASK = chat_body(CHAT).ask
MOST_WEI = order_total(64 * VCN // 100, with_bonus=True)
"""For 64 tokens at 10 VCN for 1,000."""
OpenDesk = Callable[..., AbstractAsyncContextManager[JobDesk]]


@pytest.fixture
def open_desk(tmp_path: Path) -> OpenDesk:
    @asynccontextmanager
    async def opened(backend: FakeBackend, *, checked: bool = False) -> AsyncIterator[JobDesk]:
        with open_key_file(tmp_path) as file:
            settle_lost(file)
            async with trio.open_nursery() as nursery:
                desk = JobDesk(backend, KeyBudgets(file), nursery, checked=checked)
                yield desk
                nursery.cancel_scope.cancel()

    return opened


def money(directory: Path, key: GatewayKey) -> tuple[int, int]:
    """Spent and reserved, in wei."""
    found = kept_key(directory, key)
    return found.spent_wei, found.reserved_wei


def named_jobs(directory: Path) -> list[str]:
    """The jobs that are reserved for, by their ids."""
    with open_key_file(directory) as file:
        return [each.job_id for each in file.reservations() if each.job_id]


class SlowBackend(FakeBackend):
    """Takes asks, and makes jobs of them once the test says so."""

    begun = 0

    def __init__(self) -> None:
        super().__init__()
        self.go = trio.Event()

    async def ask_job(self, ask: JobAsk) -> str:
        self.begun += 1
        await self.go.wait()
        return await super().ask_job(ask)


class RefusingBackend(FakeBackend):
    """Refuses asks as it is told."""

    fault = Fault("no_able_node", "no able node: none is online")

    async def ask_job(self, ask: JobAsk) -> str:
        raise self.fault


async def test_most_that_a_job_may_cost_is_set_aside(tmp_path: Path, open_desk: OpenDesk) -> None:
    _, key = make_key(tmp_path)
    backend = FakeBackend()
    async with open_desk(backend) as desk:
        placed = await desk.place(key, ASK, 2)
    assert (placed.model, placed.prompt_tokens, len(placed.jobs)) == (SMOL.name, 5, 2)
    assert money(tmp_path, key) == (0, 2 * MOST_WEI)
    assert [ask.max_price_wei for ask in backend.asked] == [64 * VCN // 100] * 2


async def test_check_of_the_nodes_settings_is_set_aside_too(tmp_path: Path, open_desk: OpenDesk) -> None:
    _, key = make_key(tmp_path)
    backend = FakeBackend()
    async with open_desk(backend, checked=True) as desk:
        await desk.place(key, ASK, 1)
    assert backend.asked[0].checked is True
    assert money(tmp_path, key) == (0, order_total(64 * VCN // 100, with_bonus=True, checked=True))


async def test_neither_the_dearest_nor_the_cheapest_node_sets_the_cap(tmp_path: Path, open_desk: OpenDesk) -> None:
    _, key = make_key(tmp_path)
    nodes = [peer(PROVIDER, price_wei=20 * VCN), peer(VERIFIER, price_wei=2_000 * VCN, stake_wei=10**9 * VCN)]
    backend = FakeBackend(nodes=[*nodes, peer("0x" + "66" * 20, price_wei=1)])
    async with open_desk(backend) as desk:
        await desk.place(key, ASK, 1)
    assert backend.asked[0].max_price_wei == 20 * 64 * VCN // 1_000


async def test_texts_are_priced_by_their_units(tmp_path: Path, open_desk: OpenDesk) -> None:
    _, key = make_key(tmp_path)
    backend = FakeBackend()
    async with open_desk(backend) as desk:
        await desk.place(key, embeddings_body({"model": SMOL.name, "input": ["a b", "c"]}).ask, 1)
    assert money(tmp_path, key) == (0, order_total(2 * 10 * VCN // 1_000, with_bonus=True))


async def test_budget_that_does_not_hold_all_jobs_asks_for_none(tmp_path: Path, open_desk: OpenDesk) -> None:
    _, key = make_key(tmp_path, budget_wei=2 * MOST_WEI)
    backend = FakeBackend()
    async with open_desk(backend) as desk:
        with pytest.raises(GatewayRefusal, match="left of its budget") as caught:
            await desk.place(key, ASK, 3)
        assert (caught.value.status, caught.value.code) == (402, "insufficient_quota")
        await desk.place(key, ASK, 2)
        with pytest.raises(GatewayRefusal, match="this key has 0 VCN left"):
            await desk.place(key, ASK, 1)
    assert len(backend.asked) == 2


async def test_many_requests_at_once_stay_within_the_budget(tmp_path: Path, open_desk: OpenDesk) -> None:
    _, key = make_key(tmp_path, budget_wei=3 * MOST_WEI)
    backend, refused = FakeBackend(), []

    async with open_desk(backend) as desk:

        async def ask() -> None:
            try:
                await desk.place(key, ASK, 1)
            except GatewayRefusal as refusal:
                refused.append(refusal.status)

        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(ask)
    assert (len(backend.asked), refused) == (3, [402] * 7)


async def test_refused_job_costs_nothing(tmp_path: Path, open_desk: OpenDesk) -> None:
    _, key = make_key(tmp_path)
    async with open_desk(RefusingBackend()) as desk:
        with pytest.raises(Fault, match="none is online"):
            await desk.place(key, ASK, 2)
    assert money(tmp_path, key) == (0, 0)


async def test_job_that_may_still_be_signed_stays_counted(tmp_path: Path, open_desk: OpenDesk) -> None:
    _, key = make_key(tmp_path)
    backend = RefusingBackend()
    backend.fault = Fault("busy", "the request is not signed yet")
    async with open_desk(backend) as desk:
        with pytest.raises(Fault, match="not signed yet"):
            await desk.place(key, ASK, 1)
    assert money(tmp_path, key) == (0, MOST_WEI)


async def test_model_that_the_key_may_not_use_is_not_there(tmp_path: Path, open_desk: OpenDesk) -> None:
    _, key = make_key(tmp_path, models=("other",))
    async with open_desk(FakeBackend()) as desk:
        with pytest.raises(Fault, match="unknown model") as caught:
            await desk.place(key, ASK, 1)
    assert caught.value.code == "unknown_model"


async def leave(desk: JobDesk, backend: SlowBackend, key: GatewayKey) -> None:
    """A caller that leaves while its job is asked for."""
    with trio.fail_after(WITHIN_S):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(desk.place, key, ASK, 1)
            while not backend.begun:
                await trio.lowlevel.checkpoint()
            nursery.cancel_scope.cancel()


async def test_job_whose_caller_left_while_it_was_asked_for_is_counted_by_its_id(
    tmp_path: Path, open_desk: OpenDesk
) -> None:
    _, key = make_key(tmp_path)
    backend = SlowBackend()
    async with open_desk(backend) as desk:
        await leave(desk, backend, key)
        backend.go.set()
        with trio.fail_after(WITHIN_S):
            while not named_jobs(tmp_path):
                await trio.lowlevel.checkpoint()
        assert named_jobs(tmp_path) == list(backend.held)
    assert money(tmp_path, key) == (0, MOST_WEI)


async def test_job_of_a_killed_daemon_counts_in_full(tmp_path: Path, open_desk: OpenDesk) -> None:
    _, key = make_key(tmp_path)
    backend = SlowBackend()
    async with open_desk(backend) as desk:
        await leave(desk, backend, key)
    assert money(tmp_path, key) == (0, MOST_WEI)
    async with open_desk(FakeBackend()):
        assert money(tmp_path, key) == (MOST_WEI, 0)


async def placed_job(desk: JobDesk, backend: FakeBackend, key: GatewayKey, **changes: Any) -> PlacedJobs:
    """A job that has come so far."""
    placed = await desk.place(key, ASK, 1)
    backend.change(placed.jobs[0].job_id, **changes)
    return placed


@pytest.mark.parametrize(
    ("changes", "spent_wei", "reserved_wei"),
    [
        ({"state": "running"}, 0, MOST_WEI),
        ({"state": "delivered", "cost_wei": 7}, 0, 7),
        ({"state": "passed", "cost_wei": 7}, 0, 7),
        ({"state": "spendable", "cost_wei": 7}, 7, 0),
        ({"state": "refunded", "cost_wei": 0}, 0, 0),
        ({"state": "failed", "cost_wei": 0}, 0, 0),
        ({"state": "failed", "batch_id": "ab", "cost_wei": 7}, 0, MOST_WEI),
    ],
)
async def test_job_is_settled_by_its_state_after_a_restart(
    tmp_path: Path, open_desk: OpenDesk, changes: dict[str, Any], spent_wei: int, reserved_wei: int
) -> None:
    _, key = make_key(tmp_path)
    backend = FakeBackend()
    async with open_desk(backend) as desk:
        await placed_job(desk, backend, key, **changes)
    async with open_desk(backend) as desk:
        await desk.settle()
    assert money(tmp_path, key) == (spent_wei, reserved_wei)


async def test_answer_frees_what_it_did_not_cost_and_a_refund_the_rest(tmp_path: Path, open_desk: OpenDesk) -> None:
    _, key = make_key(tmp_path)
    backend = AnsweringBackend()
    async with open_desk(backend) as desk:
        placed = await desk.place(key, ASK, 1)
        (job,) = placed.jobs
        await desk.answered(job, backend.held[job.job_id])
        assert money(tmp_path, key) == (0, COST_WEI)
        backend.change(job.job_id, state="refunded", cost_wei=0)
        await desk.settle()
    assert money(tmp_path, key) == (0, 0)


async def test_job_that_the_node_has_forgotten_is_counted_as_it_stood(tmp_path: Path, open_desk: OpenDesk) -> None:
    _, key = make_key(tmp_path)
    backend = FakeBackend()
    async with open_desk(backend) as desk:
        await placed_job(desk, backend, key, state="running")
        backend.held.clear()
        await desk.settle()
    assert money(tmp_path, key) == (MOST_WEI, 0)
