"""`vcoin calibrate` with a tiny model on real containers: measured, interrupted, gone on with, compared."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from executor.containers.engine import Engine
from executor.models import ModelStore
from node.api.faults import Exit
from node.calibration.plan import ALTERED, DRAWN, WEIGHTS
from tests.support.gguf_files import by_chance, facts, whole
from tests.support.runner_context import docker_host, open_context, run_inside

pytestmark = [pytest.mark.docker, pytest.mark.long]

SCRIPT = Path(__file__).with_name("tiny_model.py")
RUNS, SUBSTITUTES, LENGTH = 1_500, 10, 16
DEADLINE_S = 300
CLASS = "1"
TINY = ("--model", "tiny", "--class", CLASS)


@dataclass(frozen=True)
class Node:
    """A node with the tiny model in its store."""

    home: Path

    def start(self, *options: str, model: Sequence[str] = TINY) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "node.cli", "calibrate", *model]
        command += ["--data-dir", str(self.home), "--json", *options]
        environment = {**os.environ, "VCOIN_EXECUTOR_DOCKER_HOST": docker_host()}
        return subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def run(self, *options: str, model: Sequence[str] = TINY) -> tuple[int, str, str]:
        process = self.start(*options, model=model)
        out, err = process.communicate(timeout=DEADLINE_S)
        return process.returncode, out, err


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Node:
    home = tmp_path_factory.mktemp("calibrated")
    with open_context() as context:
        made = run_inside(context, SCRIPT, {}, home / "made")
    shutil.copytree(made, home / "tiny")
    ModelStore(home / "node" / "store").add(home / "tiny", "tiny")
    return Node(home / "node")


@pytest.fixture(scope="module")
def interrupted(node: Node) -> str:
    """The output of a measurement that is interrupted in its second part."""
    process = node.start("--runs", str(RUNS), "--substitutes", str(SUBSTITUTES), "--length", str(LENGTH))
    assert process.stderr is not None
    said = ""
    for line in process.stderr:
        said += line
        if line.startswith("part 2 of"):
            process.send_signal(signal.SIGINT)
            break
    _, rest = process.communicate(timeout=DEADLINE_S)
    assert process.returncode == Exit.INTERRUPTED, said + rest
    return said


@pytest.fixture(scope="module")
def measured(node: Node, interrupted: str) -> dict[str, Any]:
    """The result after it went on, with its output under `said`."""
    out = node.home / "report.json"
    options = ("--runs", str(RUNS), "--substitutes", str(SUBSTITUTES), "--length", str(LENGTH), "--output", str(out))
    code, printed, said = node.run(*options)
    assert code == Exit.OK, said
    assert json.loads(printed) == json.loads(out.read_text())
    return {**json.loads(printed), "said": said}


def rows(report: Mapping[str, Any], variant: str, length: str = str(LENGTH)) -> list[dict[str, Any]]:
    return [row for row in report["rates"] if row["variant"] == variant and row["length"] == length]


def test_interrupted_measurement_keeps_its_parts_and_nothing_running(node: Node, interrupted: str) -> None:
    assert "measured before" not in interrupted
    assert len(list((node.home / "calibration").rglob("key"))) == 1
    with closing(Engine("calibrate", docker_host())) as engine:
        assert not [place for place in engine.outputs() if place.is_relative_to(node.home)]


def test_measurement_goes_on_where_it_was(measured: Mapping[str, Any]) -> None:
    assert measured["said"].count("measured before") == 1


def test_held_out_honest_answers_confirm_the_constants(measured: Mapping[str, Any]) -> None:
    found = measured["classes"][CLASS]
    assert found["held_out"]["n"] >= RUNS // 2
    assert found["held_out"]["not_passed"] == 0
    assert found["proposed"]["n"] + found["held_out"]["n"] >= RUNS


def test_every_substitute_is_found(measured: Mapping[str, Any]) -> None:
    for variant in (*WEIGHTS, *ALTERED, *DRAWN):
        found = rows(measured, variant)
        assert found, variant
        for row in found:
            assert row["n"] >= SUBSTITUTES - 4
            assert row["not_passed"] >= 0.9 * row["n"], row


def test_cheap_tokens_under_a_true_fingerprint_are_found_by_the_running_margin(measured: Mapping[str, Any]) -> None:
    found = measured["classes"][CLASS]
    missed = [row for row in rows(measured, "adaptive int8_block") if row["not_passed"] < row["n"]]
    assert missed, "one job alone shows this cheat already, and the running margin is not needed"
    assert found["alarms"]["honest"]["within_1024_ppm"] == 0
    assert found["alarms"]["int8_block"]["within_1024_ppm"] >= 950_000
    assert all(bound <= 1 for _, bound in found["honest_ratios"].values())


def test_another_node_repeats_it_and_compares(node: Node, measured: Mapping[str, Any]) -> None:
    report = node.home / "report.json"
    code, out, err = node.run("--compare", str(report))
    assert (code, json.loads(out)["differences"]) == (Exit.OK, []), err
    theirs = json.loads(report.read_text())
    for row in theirs["rates"]:
        if row["variant"] == "noise":
            row["not_passed"] = 0
    other = node.home / "other.json"
    other.write_text(json.dumps(theirs))
    code, out, _ = node.run("--compare", str(other))
    assert code == Exit.FAILED
    assert len(json.loads(out)["differences"]) == len(rows(measured, "noise"))


def test_class_that_this_processor_has_not_is_refused(node: Node) -> None:
    code, _, err = node.run("--class", "77")
    assert (code, "does not run tiny in class 77" in err) == (Exit.USAGE, True)


def test_gguf_file_is_measured_in_the_class_of_its_type_by_answers_of_llama_cpp(node: Node) -> None:
    file = node.home / "chance.gguf"
    file.write_bytes(whole(facts(**{"llama.context_length": 1_024}), by_chance()))
    ModelStore(node.home / "store").add(file, "chance")
    # Two dozen answers cannot confirm constants, and may refute them.
    _, out, err = node.run(*("--runs", "24", "--substitutes", "2", "--length", "16"), model=("--model", "chance"))
    assert out, err
    (class_id, found), *others = json.loads(out)["classes"].items()
    assert (class_id, others) == ("3", [])
    # Twelve of each half; had torch answered itself, their states would lie a hundred times nearer.
    assert found["held_out"]["n"] + found["proposed"]["n"] >= 24
    assert found["proposed"]["act"][0] > 1_000
    code, _, err = node.run(model=("--model", "chance", "--class", "1"))
    assert (code, "does not run chance in class 1" in err) == (Exit.USAGE, True)
