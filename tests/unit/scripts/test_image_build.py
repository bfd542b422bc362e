"""`scripts/image`: what is told of an image before it is built."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from executor.cuda import image as cuda
from executor.image_weight import ImageWeight
from scripts import image_build
from scripts.setup.failure import Missing

SMALL, HUGE = ImageWeight(1, 1, 60), ImageWeight(1, 1 << 62, 60)


def smi(folder: Path, text: str, code: int = 0) -> None:
    (folder / "nvidia-smi").write_text(f"#!/bin/sh\ncat <<'E'\n{text}\nE\nexit {code}\n")
    (folder / "nvidia-smi").chmod(0o755)


@pytest.mark.parametrize(
    ("text", "code", "cards"),
    [
        ("GPU-1, 580.65.06, 9.0\nGPU-2, 580.65.06, 8.6", 0, ("580.65.06", {"GPU-1": "9.0", "GPU-2": "8.6"})),
        ("NVIDIA-SMI has failed because it could not communicate with the driver, a, b", 9, ("", {})),
        ("GPU-1, [N/A], [N/A]", 0, ("", {})),
        ("", 0, ("", {})),
    ],
)
def test_cards_are_those_that_the_drivers_program_tells(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, code: int, cards: tuple[str, dict[str, str]]
) -> None:
    smi(tmp_path, text, code)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert image_build.machine_cards() == cards


def test_card_that_does_not_fit_is_told_with_the_weight(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    smi(tmp_path, "GPU-1, 535.1, 6.1")
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("sys.argv", ["scripts/image", "weigh", "cuda"])
    monkeypatch.setattr(image_build.engine, "find", lambda: None)
    assert image_build.main() == 0
    weight, *faults = capsys.readouterr().out.splitlines()
    assert weight == cuda.weight().sentence("cuda")
    assert [fault.split()[0] for fault in faults] == ["driver", "card"]


def test_weights_as_json(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.argv", ["scripts/image", "weigh", "--llama", "--json"])
    monkeypatch.setattr(image_build.engine, "find", lambda: None)
    assert image_build.main() == 0
    told = {each["name"]: each for each in json.loads(capsys.readouterr().out)}
    assert told["cuda"]["fetch_bytes"] == cuda.weight(llama=True).fetch_bytes
    assert told["runner"]["here"] is None


def test_weight_is_told_before_the_build_and_a_full_disk_ends_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made: list[str] = []
    monkeypatch.setenv("DOCKER_HOST", "unix:///nowhere.sock")
    monkeypatch.setattr(image_build.images, "exists", lambda tag, host: False)

    def make(host: str) -> str:
        assert "x: fetches" in capsys.readouterr().err
        made.append(host)
        return "x"

    assert image_build.build(image_build.ImagePlan("x", "x:1", SMALL, ()), make, False) == 0
    assert made == ["unix:///nowhere.sock"]
    with pytest.raises(Missing, match="GB of disk, and"):
        image_build.build(image_build.ImagePlan("x", "x:1", HUGE, ()), make, False)
    assert len(made) == 1


@pytest.mark.parametrize("words", [("build",), ("weigh", "other"), ("burn",), ()])
def test_wrong_usage_ends_with_two(monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...]) -> None:
    monkeypatch.setattr("sys.argv", ["scripts/image", *words])
    with pytest.raises(SystemExit) as ended:
        image_build.main()
    assert ended.value.code == 2
