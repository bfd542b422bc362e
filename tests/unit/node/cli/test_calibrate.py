"""The report of `vcoin calibrate`, and its refusals before anything is measured."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from node.api.faults import Exit
from node.cli.commands.calibrate import shown
from scripts.calibration.page import MEASURED
from tests.unit.node.cli.conftest import Shell


def test_report_is_told_in_constants_and_a_table() -> None:
    told = "\n".join(shown(json.loads(MEASURED.read_text())))
    for words in ("held-out honest answers do not pass", "DEPLOYED D0", "NOT PASSED", "adaptive int4_block"):
        assert words in told
    assert "int8_channel, with the fingerprint of a true pass: " in told


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--runs", "3"), "at least 24 runs"),
        (("--substitutes", "1"), "2 substitutes"),
        (("--length", "0"), "of 1 to 4096 tokens"),
        (("--length", "5000"), "of 1 to 4096 tokens"),
        (("--compare", "/nowhere"), "cannot read /nowhere"),
        ((), "no model abc in the content store"),
    ],
)
def test_what_cannot_be_measured_is_refused(shell: Shell, tmp_path: Path, options: tuple[str, ...], words: str) -> None:
    ran = shell.run("calibrate", "--model", "abc", "--data-dir", str(tmp_path), *options)
    assert ran.code in (Exit.USAGE, Exit.FAILED)
    assert words in ran.err


def test_a_file_that_is_no_report_is_not_compared_with(shell: Shell, tmp_path: Path) -> None:
    for content in ("", "[]", "{}", '{"v": 1, "runs": "many", "substitutes": 1, "lengths": [1]}'):
        (tmp_path / "report.json").write_text(content)
        ran = shell.run("calibrate", "--model", "abc", "--compare", str(tmp_path / "report.json"))
        assert (ran.code, "is not what vcoin calibrate --output writes" in ran.err) == (Exit.USAGE, True)
