"""The plan: order, side by side, failure."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

import pytest

from scripts.setup.failure import EXIT_FAILED, EXIT_INTERRUPTED, EXIT_PREFLIGHT, Missing, StepFailed, report
from scripts.setup.step import SetupPlan, SetupStep, Workbench

DEADLINE_S = 10


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("VCOIN_CACHE", str(tmp_path))
    return tmp_path


def test_step_waits_for_what_it_stands_on() -> None:
    order: list[str] = []

    def named(name: str, *after: str) -> SetupStep:
        return SetupStep(name, ready=lambda bench: False, make=lambda bench: order.append(name), after=after)

    SetupPlan([named("last", "middle"), named("middle", "first"), named("first")]).run()
    assert order == ["first", "middle", "last"]


def test_step_not_in_the_plan_is_not_waited_for() -> None:
    done: list[str] = []
    SetupPlan([SetupStep("venv", lambda bench: False, lambda bench: done.append("venv"), after=("packages",))]).run()
    assert done == ["venv"]


def test_independent_steps_run_side_by_side() -> None:
    # Each waits for the other, so they end only if both run at once.
    barrier = threading.Barrier(2, timeout=DEADLINE_S)
    SetupPlan([SetupStep(name, lambda bench: False, lambda bench: void(barrier.wait())) for name in ("a", "b")]).run()


def void(_: object) -> None:
    """Drops a value where a step returns none."""


def test_ready_step_is_not_made_and_says_cached(capsys: pytest.CaptureFixture[str]) -> None:
    def make(bench: Workbench) -> None:
        raise AssertionError("made again")

    SetupPlan([SetupStep("node tools", lambda bench: True, make)]).run()
    assert "[1/1] node tools ... 0.0 s (cached)" in capsys.readouterr().err


def test_what_a_step_puts_into_the_environment_reaches_the_next() -> None:
    seen: list[str] = []
    first = SetupStep("a", lambda bench: False, lambda bench: bench.env.update(DOCKER_HOST="unix:///x"))
    second = SetupStep("b", lambda bench: False, lambda bench: seen.append(bench.env["DOCKER_HOST"]), after=("a",))
    SetupPlan([first, second]).run()
    assert seen == ["unix:///x"]


def test_failed_step_stops_what_stands_on_it_and_shows_its_last_words(capsys: pytest.CaptureFixture[str]) -> None:
    later: list[str] = []
    fails = SetupStep("a", lambda bench: False, lambda bench: bench.run(sys.executable, "-c", "print('why'); exit(3)"))
    with pytest.raises(StepFailed, match=r"exited with 3\n(.*\n)*\s+why"):
        SetupPlan([fails, SetupStep("b", lambda bench: False, lambda bench: later.append("b"), after=("a",))]).run()
    assert later == []
    assert "[1/2] a ... failed" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (
            Missing("no compiler", "apt-get install gcc"),
            EXIT_PREFLIGHT,
            "error: no compiler\nhint: apt-get install gcc\n",
        ),
        (StepFailed("npm exited with 1"), EXIT_FAILED, "error: npm exited with 1\n"),
        (KeyboardInterrupt(), EXIT_INTERRUPTED, "interrupted\n"),
    ],
)
def test_command_ends_with_a_line_and_a_code(
    error: BaseException, code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    def body() -> int:
        raise error

    assert report(body) == code
    assert capsys.readouterr().err == words
