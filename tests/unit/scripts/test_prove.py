"""The proofs that have a name."""

from __future__ import annotations

import sys

import pytest

from scripts.commands import prove


def test_whatever_has_a_command_line_can_be_proved() -> None:
    assert prove.names() == ["coverage", "histories", "mutants", "slither", "symbolic"]


def test_unknown_name_is_refused_before_anything_is_set_up(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["prove", "nonsense"])
    assert prove.main() == 4
    assert "choose from: coverage, histories" in capsys.readouterr().err
