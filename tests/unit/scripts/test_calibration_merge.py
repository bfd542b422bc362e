"""Measurements of several times in one file: what was measured anew, and what stays."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from scripts.calibration import merge
from scripts.calibration.merge import merged
from scripts.calibration.page import MEASURED


def row(variant: str, n: int, **more: Any) -> dict[str, Any]:
    return {"worker": 2, "checker": 2, "variant": variant, "temperature_milli": 800, "length": "64", "n": n, **more}


def report(runtime: str, *rows: dict[str, Any], **classes: Any) -> dict[str, Any]:
    told = {"v": 1, "manifest": "ab", "act_w": "cd", "runtime": runtime, "classes": classes}
    return {**told, "rates": list(rows), "deployed_rates": list(rows)}


def test_what_was_measured_anew_stands_in_place_of_what_was() -> None:
    both = merged(report("old", row("honest", 1), row("noise", 2)), report("new", row("noise", 3), row("copied", 4)))
    assert both["runtime"] == "new"
    assert both["rates"] == both["deployed_rates"]
    told = {each["variant"]: (each["n"], each["runtime"]) for each in both["rates"]}
    assert told == {"honest": (1, "old"), "noise": (3, "new"), "copied": (4, "new")}


def test_a_row_keeps_the_runner_that_it_names() -> None:
    twice = merged(merged(report("1", row("honest", 1)), report("2", row("noise", 2))), report("3"))
    assert {each["variant"]: each["runtime"] for each in twice["rates"]} == {"honest": "1", "noise": "2"}


def test_other_classes_and_cheats_that_were_not_measured_stay() -> None:
    before = {"alarms": {"noise": {"answers": 1}, "int8": {"answers": 2}}, "held_out": {"n": 3}}
    both = merged(
        report("old", **{"1": {"held_out": 5}, "2": before}),
        report("new", **{"2": {"alarms": {"int8": {"answers": 9}}, "held_out": {"n": 8}}}),
    )
    assert both["classes"]["1"] == {"held_out": 5}
    assert both["classes"]["2"] == {
        "alarms": {"noise": {"answers": 1, "runtime": "old"}, "int8": {"answers": 9, "runtime": "new"}},
        "held_out": {"n": 8},
    }


@pytest.mark.parametrize("name", ["v", "manifest", "act_w"])
def test_what_cannot_be_compared_is_not_merged(name: str, tmp_path: Path) -> None:
    found = {**json.loads(MEASURED.read_text()), name: "another"}
    with pytest.raises(ValueError, match=f"differ in {name}: only those of one model"):
        merged(json.loads(MEASURED.read_text()), found)
    file = tmp_path / "found.json"
    file.write_text(json.dumps(found))
    with pytest.raises(SystemExit, match=rf"found\.json: the measurements differ in {name}"):
        merge.main([str(file)])


@pytest.mark.parametrize("text", ["", "[]", "{}"])
def test_a_file_that_is_no_report_ends_in_a_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "found.json").write_text(text)
    with pytest.raises(SystemExit, match=r"^error: .*found\.json is no report: give what vcoin calibrate"):
        merge.main([str(tmp_path / "found.json")])


def test_the_published_file_merged_with_itself_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy = tmp_path / "published.json"
    copy.write_bytes(MEASURED.read_bytes())
    monkeypatch.setattr(merge, "MEASURED", copy)
    merge.main([str(MEASURED)])
    before, after = json.loads(MEASURED.read_text()), json.loads(copy.read_text())
    assert after == before
