"""The life of engines: when one is spent, which goes first for memory, and which is started before a job comes."""

from pathlib import Path

import pytest
import trio
import trio.testing

from executor.runs.context import EngineKey
from executor.runs.engines import TORCH
from executor.scheduler import live_engine
from executor.scheduler.engine_use import EngineUse
from executor.scheduler.idle_engines import QUIET_S
from executor.scheduler.live_engine import LONGEST_RUN_MS, MAX_AGE_S
from executor.workspace.outputs import HostileOutput
from protocol.stages.execution import Outcome
from tests.support.scenes.engines import LOAD_S, A, B, Machine, Market, Task, spec

C = b"c" * 32
Clock = trio.testing.MockClock


def job(name: str, manifest: bytes = A, length: int = 5) -> Task:
    return Task(spec(name, manifest=manifest, length=length))


async def test_an_engine_that_is_never_idle_is_replaced_once_it_is_old(autojump_clock: Clock) -> None:
    market, every_s = Market(Machine()), 30
    asked = [job(str(number), length=40) for number in range(round(MAX_AGE_S) // every_s + 10)]
    async with market.open() as jobs:
        for task in asked:
            jobs.start_soon(market.ask, task)
            await trio.sleep(every_s)
    assert {outcome for _, outcome in market.ends.values()} == {Outcome.OK}
    assert [word for word in market.joined() if not word.startswith("join")] == ["start a", "stop a", "start a"]
    # None was begun twice.
    assert {task.begun for task in asked} == {1}


async def test_an_engine_is_replaced_after_many_runs(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live_engine, "MAX_RUNS", 2)
    market = Market(Machine())
    async with market.open() as jobs:
        for number in range(3):
            jobs.start_soon(market.ask, job(str(number)))
    assert market.joined() == ["start a", "join 0", "join 1", "stop a", "start a", "join 0"]


async def test_an_engine_that_takes_no_more_runs_does_not_stay_loaded(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(live_engine, "MAX_RUNS", 1)
    market = Market(Machine(), keep_s=600)
    async with market.open():
        await market.ask(job("only"))
        await trio.testing.wait_all_tasks_blocked()
        assert market.scheduler.count() == (0, 0)


async def test_an_engine_that_leaves_hostile_outputs_is_replaced(autojump_clock: Clock) -> None:
    market, bad = Market(Machine()), Task(spec("bad", length=5), fault=HostileOutput("a link"))
    async with market.open():
        await market.ask(bad)
        await market.ask(job("next"))
    assert market.ends[bad.spec][1] is None
    assert market.joined() == ["start a", "join 0", "stop a", "start a", "join 0"]


async def test_a_run_that_might_outlive_an_engine_has_its_own_container(autojump_clock: Clock) -> None:
    market, long = Market(Machine()), spec("long", timeout_ms=LONGEST_RUN_MS + 1)
    async with market.open():
        await market.ask(Task(long))
        await market.ask(Task(spec("as long as may be", timeout_ms=LONGEST_RUN_MS)))
    assert market.ends[long] == (0, None)
    assert market.joined() == ["start a", "join 0"]


async def test_the_engine_that_was_unused_longest_ends_for_one_more(autojump_clock: Clock) -> None:
    market = Market(Machine(free_bytes=20))
    async with market.open():
        for name, manifest in (("a", A), ("b", B), ("a again", A), ("c", C)):
            await market.ask(job(name, manifest))
        assert market.joined()[-3:] == ["stop b", "start c", "join 0"]
        assert market.scheduler.count() == (2, 0)


async def test_the_engine_that_was_unused_longest_ends_where_one_may_stay_loaded(autojump_clock: Clock) -> None:
    market = Market(Machine(room=1))
    async with market.open():
        await market.ask(job("a"))
        await market.ask(job("b", B))
        await trio.testing.wait_all_tasks_blocked()
        assert market.joined() == ["start a", "join 0", "start b", "join 0", "stop a"]
        # It is not started ahead: another one would have to go for it.
        market.scheduler.look()
        await trio.sleep(QUIET_S / 2)
        assert market.scheduler.starts == 2


async def test_a_machine_that_is_short_of_memory_ends_engines_without_work_only(autojump_clock: Clock) -> None:
    market = Market(Machine(free_bytes=20))
    async with market.open() as jobs:
        await market.ask(job("a"))
        jobs.start_soon(market.ask, job("b", B, length=50))
        await trio.sleep(LOAD_S + 1)
        market.machine.free_bytes -= 15
        for _ in range(2):
            market.scheduler.look()
            await trio.testing.wait_all_tasks_blocked()
        assert market.joined() == ["start a", "join 0", "start b", "join 0", "stop a"]
    assert market.ends[spec("b", manifest=B, length=50)][1] is Outcome.OK


async def test_an_engine_that_ended_for_memory_is_started_again_when_there_is_enough(autojump_clock: Clock) -> None:
    market = Market(Machine(free_bytes=10), keep_s=10 * QUIET_S)
    async with market.open():
        await market.ask(job("a"))
        market.machine.free_bytes -= 5
        market.scheduler.look()
        await trio.testing.wait_all_tasks_blocked()
        assert market.joined() == ["start a", "join 0", "stop a"]
        market.machine.free_bytes += 5
        # Not at once: it would end again if it takes more than was counted.
        for waits_s, starts in ((1, 1), (QUIET_S, 2), (QUIET_S, 2)):
            await trio.sleep(waits_s)
            market.scheduler.look()
            await trio.sleep(LOAD_S + 1)
            assert market.scheduler.starts == starts


async def test_the_most_used_engine_is_started_before_a_job_comes_after_a_restart(autojump_clock: Clock) -> None:
    market = Market(Machine())
    for key in (EngineKey(B, 2, TORCH), EngineKey(A, 2, TORCH), EngineKey(A, 2, TORCH)):
        market.use.note(key)
    async with market.open():
        market.scheduler.look()
        await trio.sleep(LOAD_S + 1)
        assert market.joined() == ["start a"]
        await market.ask(job("a"))
    # The job did not wait for its load.
    assert market.ends[spec("a", length=5)][0] == LOAD_S + 1 + 5


@pytest.mark.parametrize("reason", ["off", "no memory", "no slot", "wanted", "at work"])
async def test_no_engine_is_started_ahead_where_it_would_be_in_the_way(reason: str, autojump_clock: Clock) -> None:
    machine = Machine(free_bytes=9 if reason == "no memory" else 100, wanted=reason == "wanted")
    market = Market(machine)
    market.scheduler.starts_ahead = reason != "off"
    market.use.note(EngineKey(A, 2, TORCH))
    async with market.open() as jobs:
        if reason == "no slot":
            await machine.slots.acquire_on_behalf_of(machine)
        if reason == "at work":
            jobs.start_soon(market.ask, job("b", B, length=20))
            await trio.sleep(1)
        market.scheduler.look()
        await trio.sleep(LOAD_S + 1)
        assert "start a" not in market.joined()


async def test_an_engine_that_is_started_ahead_gives_way_to_a_client(autojump_clock: Clock) -> None:
    market = Market(Machine())
    market.use.note(EngineKey(A, 2, TORCH))
    async with market.open():
        market.scheduler.look()
        await trio.sleep(1)
        await market.ask(job("b", B))
        assert market.joined() == ["start a", "stop a", "start b", "join 0"]
    assert market.ends[spec("b", manifest=B, length=5)][0] == 1 + LOAD_S + 5


async def test_a_job_of_the_model_that_is_started_ahead_joins_it(autojump_clock: Clock) -> None:
    market = Market(Machine())
    market.use.note(EngineKey(A, 2, TORCH))
    async with market.open():
        market.scheduler.look()
        await trio.sleep(1)
        await market.ask(job("a"))
    assert market.joined() == ["start a", "join 0"]
    assert market.ends[spec("a", length=5)][0] == LOAD_S + 5


async def test_an_engine_that_nobody_used_for_long_is_not_started_again(autojump_clock: Clock) -> None:
    market = Market(Machine(), keep_s=30)
    async with market.open():
        await market.ask(job("a"))
        await trio.sleep(31)
        market.scheduler.look()
        await trio.sleep(LOAD_S + 1)
    assert market.joined() == ["start a", "join 0", "stop a"]


async def test_a_model_that_leaves_the_store_leaves_its_idle_engines(autojump_clock: Clock) -> None:
    market = Market(Machine())
    async with market.open() as jobs:
        await market.ask(job("a"))
        jobs.start_soon(market.ask, job("b", B, length=20))
        await trio.sleep(LOAD_S + 1)
        for manifest in (A, B):
            await market.scheduler.let_go(manifest)
        assert market.joined()[-1] == "stop a"
        assert market.scheduler.count() == (1, 0)


def test_the_use_of_an_hour_outlives_the_process(tmp_path: Path) -> None:
    now, path = [10_000.0], tmp_path / "work" / "use.json"
    use = EngineUse(lambda: now[0])
    keys: list[EngineKey] = [EngineKey(A, 2, TORCH), EngineKey(B, 1, TORCH), EngineKey(B, 1, TORCH)]
    for key in keys:
        use.note(key)
    use.save(path)
    later = EngineUse(lambda: now[0])
    later.load(path)
    assert later.ranking() == (EngineKey(B, 1, TORCH), EngineKey(A, 2, TORCH))
    now[0] += 3_600
    assert later.ranking() == ()


@pytest.mark.parametrize("content", [b"", b"{}", b'{"uses": [[1]]}', b'{"uses": [[1, "x", 2, 3]]}', b"\xff", b"[]"])
def test_a_damaged_note_of_use_says_nothing(content: bytes, tmp_path: Path) -> None:
    path, use = tmp_path / "use.json", EngineUse(lambda: 100.0)
    path.write_bytes(content)
    use.load(path)
    use.load(tmp_path / "absent")
    assert use.ranking() == ()
