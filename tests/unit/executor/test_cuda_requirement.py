"""What a CUDA release asks of driver, compiler and cards."""

from __future__ import annotations

import itertools

import pytest

from executor.cuda.image import CUDA
from executor.cuda.requirement import RELEASES, card_faults, format_faults, parts_of, release_of, toolkit_faults

CARD = "GPU-1"


@pytest.mark.parametrize(
    ("version", "driver", "capability", "faults"),
    [
        ("13.2", "580.65.06", "9.0", ()),
        ("13.2", "595.10", "7.5", ()),
        ("13.2", "580.65.06", "12.0", ()),
        ("13.2", "580.65.05", "9.0", ("driver 580.65.05 is too old for CUDA 13: install 580.65.06 or newer",)),
        ("12.4", "535.104.05", "9.0", ()),
        ("12.4", "525.60.13", "6.1", ()),
        ("12.8", "570.26", "12.0", ()),
        ("11.8", "450.80.02", "8.6", ()),
    ],
)
def test_driver_and_card_against_a_release(version: str, driver: str, capability: str, faults: tuple[str, ...]) -> None:
    assert card_faults(release_of(version), driver, {CARD: capability}) == faults


@pytest.mark.parametrize(
    ("version", "capability", "words"),
    [
        ("13.2", "7.0", "begins with 7.5: leave this card out"),
        ("13.2", "6.1", "begins with 7.5: leave this card out"),
        ("12.4", "10.0", "ends with 9.0: use the image of a later CUDA"),
        ("12.8", "13.0", "ends with 12.0: use the image of a later CUDA"),
    ],
)
def test_card_outside_of_a_release_is_named(version: str, capability: str, words: str) -> None:
    (fault,) = card_faults(release_of(version), "999.0", {CARD: capability, "GPU-2": "8.6"})
    assert fault.startswith(f"card {CARD} has compute capability {capability}")
    assert words in fault


def test_every_card_and_the_driver_have_a_line_each() -> None:
    faults = card_faults(release_of(CUDA), "470.1", {"GPU-2": "5.2", CARD: "6.1", "GPU-3": "8.0"})
    assert [fault.split()[:2] for fault in faults] == [["driver", "470.1"], ["card", CARD], ["card", "GPU-2"]]


def test_machine_without_driver_or_card_is_told_what_to_install() -> None:
    assert "no NVIDIA driver: install 580.65.06" in card_faults(release_of(CUDA), "", {})[0]
    assert "shows no card" in card_faults(release_of(CUDA), "580.65.06", {})[0]


@pytest.mark.parametrize("version", ["10.2", "14.0", "1", "11.7"])
def test_release_that_the_table_does_not_have_is_refused(version: str) -> None:
    with pytest.raises(ValueError, match="in none of the releases"):
        release_of(version)


@pytest.mark.parametrize("text", ["", "N/A", "x.1", "-1"])
def test_what_is_no_version_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no version"):
        parts_of(text)


def test_later_releases_ask_for_later_drivers_and_cards() -> None:
    for earlier, later in itertools.pairwise(RELEASES):
        assert earlier.version < later.version
        assert parts_of(earlier.driver) <= parts_of(later.driver)
        assert earlier.oldest <= later.oldest
        assert earlier.newest <= later.newest


@pytest.mark.parametrize(
    ("dtype", "capability", "refused"), [("bf16", "7.5", True), ("bf16", "8.0", False), ("fp32", "7.5", False)]
)
def test_bfloat16_needs_ampere(dtype: str, capability: str, refused: bool) -> None:
    assert bool(format_faults(dtype, {CARD: capability})) == refused


@pytest.mark.parametrize(
    ("compiler", "architectures", "words"),
    [
        ("13.2", ("75-real", "120-real"), None),
        ("", ("90",), "there is no nvcc"),
        ("12.4", ("90",), "nvcc 12.4 does not fit the runtime of CUDA 13"),
        ("13.0", ("61-real",), "makes no kernels for 61-real: it makes them for 7.5 to 12.1"),
    ],
)
def test_compiler_against_the_runtime_and_its_kernels(
    compiler: str, architectures: tuple[str, ...], words: str | None
) -> None:
    faults = toolkit_faults(release_of(CUDA), compiler, architectures)
    assert len(faults) == (words is not None)
    assert all(words in fault for fault in faults if words)
