"""`vcoin model fit`: cards and processors of this machine, a card that only has a size, and models from anywhere."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executor import devices
from executor.cards import nvml
from executor.cards.card import NO_CARDS, Card, CardFacts, CardFault, CardsReading
from node.api.faults import Exit
from node.cli.commands.fit import memory_bytes
from tests.fakes.backend import SMOL
from tests.support.source_tree import REPOSITORY
from tests.unit.node.cli.conftest import Shell

QWEN = json.loads((REPOSITORY / "tests/vectors/model_configs.json").read_bytes())["published"]["Qwen2.5-7B"]
CARDS = (
    Card(CardFacts("GPU-1", 0, "NVIDIA A", 24 << 30), 40, 4 << 30),
    Card(CardFacts("GPU-2", 1, "NVIDIA B", 80 << 30), 40, 10 << 30),
)


@pytest.fixture
def config(tmp_path: Path) -> str:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(QWEN))
    return str(path)


def test_memory_stands_for_a_card(shell: Shell, config: str) -> None:
    ran = shell.run("model", "fit", config, "--memory", "24GB", "--context", "4096")
    assert ran.code == Exit.OK, ran.err
    lines = ran.out.splitlines()
    assert "7,615,616,512 weights in bf16, 15.2 GB" in lines[1]
    rows = [line.split() for line in lines[5:]]
    # Name, free memory, engine, format, whether it fits, context, streams.
    assert [row[5:] for row in rows] == [row[5:] for row in rows if row[:5] == ["a", "card", "of", "24.0", "GB"]]
    assert [row[7:12] for row in rows] == [
        ["torch", "fp32", "no", "0", "0"],
        ["torch", "bf16", "yes", "4096", rows[1][11]],
        ["llama.cpp", "bf16", "yes", "4096", "16"],
        ["vLLM", "bf16", "yes", "4096", rows[3][11]],
    ]
    assert int(rows[3][11]) > int(rows[1][11]) > 1
    assert ran.err == "the rows of cards are estimates: no engine was measured on a card\n"


def test_each_card_has_its_own_rows(shell: Shell, config: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nvml, "read_once", lambda: CardsReading(CARDS, "12.4", "550.54"))
    told = shell.run("model", "fit", config, "--json").json["fits"]
    cards = {each["device"]: each for each in told if (each["engine"], each["format"]) == ("torch", "bf16")}
    assert set(cards) == {"NVIDIA A", "NVIDIA B", "processors"}
    assert (cards["NVIDIA A"]["free_bytes"], cards["NVIDIA A"]["total_bytes"]) == (20 << 30, 24 << 30)
    assert 0 < cards["NVIDIA A"]["context"] < cards["NVIDIA B"]["context"] <= 131_072
    assert not cards["NVIDIA A"]["is_measured"]
    assert cards["processors"]["is_measured"]
    for each in cards.values():
        parts = ("weights_bytes", "kept_bytes", "runtime_bytes", "work_bytes")
        assert each["needs_bytes"] == sum(each[name] for name in parts) <= each["peak_bytes"]


def test_a_machine_without_a_driver_says_so_in_a_line(
    shell: Shell, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nvml, "read_once", lambda: NO_CARDS)
    ran = shell.run("model", "fit", config)
    assert ran.err == ("no graphics card is known: NVML does not answer here; --memory 24GB stands for a card\n")
    assert {line.split()[0] for line in ran.out.splitlines()[5:]} == {"processors"}
    assert shell.run("model", "fit", config, "--json").json["words"] == [ran.err.strip()]


def test_cards_that_cannot_be_read_leave_the_processors(
    shell: Shell, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = CardsReading(fault=CardFault.LOST, words="NVML: GPU is lost")
    monkeypatch.setattr(nvml, "read_once", lambda: lost)
    ran = shell.run("model", "fit", config)
    assert (ran.code, ran.err.splitlines()) == (
        Exit.OK,
        ["the graphics cards cannot be read: NVML: GPU is lost; --memory 24GB stands for a card"],
    )
    assert "processors" in ran.out


def test_only_the_formats_of_these_processors_are_shown(
    shell: Shell, config: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(devices, "class_ids", lambda: (1, 3))
    told = shell.run("model", "fit", config, "--json").json["fits"]
    assert {each["format"] for each in told if each["kind"] == "processor"} == {"fp32"}


async def test_a_model_is_named_as_the_daemon_knows_it(vcoin: Shell) -> None:
    told = (await vcoin("model", "fit", "smol", "--memory", "2GiB", "--json")).json["fits"]
    assert {each["weights_bytes"] for each in told if each["format"] == "bf16"} == {SMOL.size_bytes}
    unknown = await vcoin("model", "fit", "unheard")
    assert (unknown.code, unknown.out, len(unknown.err.splitlines())) == (Exit.FAILED, "", 2)


def test_a_path_needs_no_daemon_and_says_what_is_wrong_with_it(shell: Shell, tmp_path: Path) -> None:
    ran = shell.run("model", "fit", str(tmp_path / "away"))
    assert ran.code == Exit.FAILED
    assert ran.err.splitlines()[0].startswith("error: there is no ")
    assert ran.err.splitlines()[1] == "hint: give a folder, a config.json, a GGUF file or a name"


@pytest.mark.parametrize(("text", "found"), [("24GB", 24 * 10**9), ("16GiB", 16 << 30), ("512MB", 512 * 10**6)])
def test_memory_as_people_write_it(text: str, found: int) -> None:
    assert memory_bytes(text) == found


@pytest.mark.parametrize("text", ["24", "GB", "0GB", "-1GB", "1.5GB", "24 GB", "9" * 15 + "GB", "9" * 40 + "GB", "²GB"])
def test_what_is_no_memory_is_a_usage_error(shell: Shell, config: str, text: str) -> None:
    ran = shell.run("model", "fit", config, f"--memory={text}")
    assert (ran.code, ran.out) == (Exit.USAGE, "")
    assert "for example 24GB" in ran.err


@pytest.mark.parametrize("option", ["--context", "--streams"])
def test_negative_numbers_are_refused(shell: Shell, config: str, option: str) -> None:
    ran = shell.run("model", "fit", config, f"{option}=-1")
    assert f"{option} must be a whole number from 1 to" in ran.err
