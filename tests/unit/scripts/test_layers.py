"""Which layers the test command runs and how it counts them; which benchmarks a name means."""

from __future__ import annotations

import io
import itertools
import os
import sys
import threading
from pathlib import Path
from typing import TextIO

import pytest

from scripts.commands import bench, test
from scripts.commands.test import CORES, ENGINE, FORGE, LAYERS, PEERS, Layer, LayerLane, LayerOutcome, Run
from scripts.setup.failure import Missing
from scripts.setup.session import Session


def test_layers_without_tests_are_not_listed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(test, "TESTS", tmp_path)
    for file in (
        "test_architecture.py",
        "unit/protocol/test_offer.py",
        "contracts/Stake.t.sol",
        "property/strategies.py",
    ):
        (tmp_path / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / file).touch()
    assert [layer.name for layer in test.choose([])] == ["unit", "static", "contracts"]
    assert [layer.name for layer in test.choose([], fast=True)] == ["unit", "static"]
    assert [layer.name for layer in test.choose(["unit"])] == ["unit"]
    with pytest.raises(Missing, match="no layer property"):
        test.choose(["property"])


@pytest.mark.parametrize(
    ("folder", "names"),
    [
        ("integration", ["containers", "nodes", "chain", "substitutes"]),
        ("conformance", ["sandboxes", "adapters"]),
        ("proof", ["proof", "proof-long"]),
    ],
)
def test_folder_of_several_layers_names_them_all_and_they_leave_no_test_out(folder: str, names: list[str]) -> None:
    parts = test.choose([folder])
    assert [part.name for part in parts] == names
    assert test.choose([names[1]]) == [parts[1]]
    for marks in itertools.product([False, True], repeat=3):
        borne = dict(zip(("docker", "libp2p", "long"), marks, strict=True))
        assert sum(eval(part.marks, {}, borne) for part in parts) == 1, borne


def test_long_layers_run_by_themselves_and_every_other_one_every_day() -> None:
    every_day, long = test.choose([]), test.choose([], long=True)
    assert {layer.name for layer in long} == {"adversaries", "substitutes", "proof-long"}
    assert set(every_day).isdisjoint(long)
    assert {*every_day, *long} == set(test.layers())
    assert test.choose(["adversaries"]) == test.choose(["adversaries", "unit"], long=True) == long[:1]
    assert test.choose([], fast=True) == [layer for layer in every_day if layer.fast]


def test_layers_of_a_lane_take_turns_and_those_of_two_lanes_meet(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each waits for one of the other lane: alone it would wait in vain."""
    one, two = LayerLane("one"), LayerLane("two")
    chosen = [Layer(name, "", lane) for name, lane in (("a", one), ("b", two), ("c", one), ("d", two))]
    meet, busy = threading.Barrier(2, timeout=60), {one: threading.Lock(), two: threading.Lock()}

    def play(run: Run, layer: Layer, out: TextIO) -> LayerOutcome:
        assert busy[layer.lane].acquire(blocking=False)
        meet.wait()
        busy[layer.lane].release()
        print(layer.name, file=out)
        return LayerOutcome(layer, out)

    monkeypatch.setattr(test, "LANES", (one, two))
    monkeypatch.setattr(Run, "layer", play)
    outcomes = Run(Session([]), fast=False).all(chosen)
    assert [outcome.layer for outcome in outcomes] == chosen


@pytest.mark.parametrize(("niceness", "ahead"), [(0, 0), (2, 0), (5, 3)])
def test_lane_gives_way_by_its_niceness(niceness: int, ahead: int, tmp_path: Path) -> None:
    command = [sys.executable, "-c", "import os; print(os.nice(0), 'passed in 1 s')"]
    outcome = LayerOutcome(Layer("", "", LayerLane("", niceness=niceness), ahead=ahead), io.StringIO())
    Run(Session([]), fast=False)._stream(outcome, command, tmp_path)
    assert outcome.passed == min(os.nice(0) + niceness - ahead, 19)


def test_what_computes_gives_way_to_what_has_deadlines() -> None:
    assert CORES.niceness == FORGE.niceness > PEERS.niceness == ENGINE.niceness == 0
    assert [layer.name for layer in LAYERS if layer.ahead] == ["adversaries"]


def test_containers_of_the_engine_are_made_by_one_layer_at_a_time() -> None:
    assert {layer.lane for layer in LAYERS if "docker engine" in layer.needs} == {ENGINE}


@pytest.mark.parametrize(
    ("closing", "code", "counts"),
    [
        ("== 3 failed, 20 passed, 1 error in 0.94s ==", 1, (20, 4, False)),
        ("28 passed, 2 deselected in 0.80s", 0, (28, 0, True)),
        (
            "Ran 9 test suites in 1.23s (4s CPU time): 40 tests passed, 1 failed, 0 skipped (41 total tests)",
            1,
            (40, 1, False),
        ),
        ("no tests ran in 0.01s", 5, (0, 0, False)),
    ],
)
def test_counts_come_from_the_closing_line(
    closing: str, code: int, counts: tuple[int, int, bool], tmp_path: Path
) -> None:
    outcome = LayerOutcome(LAYERS[0], io.StringIO())
    script = f"print('1 passed'); print({closing!r}); raise SystemExit({code})"
    Run(Session([]), fast=True)._stream(outcome, [sys.executable, "-c", script], tmp_path)
    assert (outcome.passed, outcome.failed, outcome.good) == counts


def test_runner_that_crashes_is_named_with_its_signal(tmp_path: Path) -> None:
    out = io.StringIO()
    outcome = LayerOutcome(LAYERS[0], out)
    crash = "import os, signal; print('28 passed in 0.80s', flush=True); os.kill(os.getpid(), signal.SIGSEGV)"
    Run(Session([]), fast=True)._stream(outcome, [sys.executable, "-c", crash], tmp_path)
    assert not outcome.good
    assert "was ended by SIGSEGV" in out.getvalue()


def test_benchmark_is_found_by_name_or_by_the_start_of_a_key() -> None:
    assert bench.choose(["demo"]) == ["demo"]
    assert bench.choose(["test.cached"]) == ["suite"]
    assert set(bench.choose([])) == set(bench.benchmarks())
    with pytest.raises(Missing, match="no benchmark nonsense"):
        bench.choose(["nonsense"])
