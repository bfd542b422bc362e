"""scripts/fuzz: finds what is there to be found, keeps it, and says how to see it again."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fuzz import __main__ as command
from tests.fuzz import planted
from tests.fuzz.target import attempt

REPOSITORY = Path(__file__).resolve().parent.parent.parent


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )


def test_planted_fault_and_endless_loop_are_found_and_kept(tmp_path: Path) -> None:
    done = run("tests.fuzz.planted", str(tmp_path))
    assert done.returncode == 1, done.stderr
    assert re.search(r"finding: KeyError at \S*planted\.py:\d+\n  again: \./scripts/fuzz faulty --input ", done.stdout)
    kept = [path for path in (tmp_path / "findings").iterdir() if path.suffix != ".why"]
    (loop,) = (path for path in kept if path.name.startswith("faulty-timeout-"))
    assert loop.read_bytes()[:3] == b"\1\2h"
    (fault,) = (path for path in kept if path != loop)
    again = attempt(planted.FAULTY, fault.read_bytes())
    assert again is not None
    assert again.kind == "KeyError"


def test_every_decoder_withstands_a_guided_share(tmp_path: Path) -> None:
    done = run("tests.fuzz", "--runs", "8000", "--seed", "7", "--folder", str(tmp_path))
    assert done.returncode == 0, done.stdout
    total = re.search(r"total: (\d+) inputs, 0 findings, seed 7", done.stdout)
    assert total is not None, done.stdout
    assert int(total[1]) >= 8_000
    reached = {line.split()[0]: int(line.split()[2]) for line in done.stdout.splitlines()[1:-1]}
    # A target that reached nothing was not instrumented, and so not guided.
    assert min(edges for name, edges in reached.items() if name != "acknowledgement") > 5, reached


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["nonsense"], "there is no target nonsense"),
        (["--runs", "0"], "--runs is 1 or more"),
        (["--input", "x"], "--input needs one TARGET"),
    ],
)
def test_what_makes_no_sense_is_refused_with_the_names(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["fuzz", *arguments])
    assert command.main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert words in err
    assert "hint: choose from: message, " in err
