"""Two passes over one leaf beside each other: what an auditor holds against a seat, and what not."""

import struct

import pytest

from protocol.stages.verification import (
    DIMENSIONS,
    MAX_SHOWN_CHECK_BYTES,
    UNCALIBRATED,
    Calibration,
    Tolerance,
    checks_differ,
    is_check_shown,
)

TOKENS = 40
STRICT = Calibration(Tolerance(1_000, 2_000), Tolerance(5_000, 10_000), Tolerance(1, 2), Tolerance(1, 2))


def check(*, tokens: int = TOKENS, scale: float = 1.0, nudge: int = 0, chunk: int = 0) -> bytes:
    """A check.bin whose projections are all 100, those of one chunk moved by `nudge`; its margins are zero."""
    out = b""
    for number, first in enumerate(range(0, tokens, 32)):
        count = DIMENSIONS * min(32, tokens - first)
        moved = nudge if number == chunk else 0
        out += struct.pack(f"<f{count}hd", scale, *[100 + moved] * count, 100.0 * 100.0)
    return out + struct.pack(f"<{tokens + 1}i", *[0] * (tokens + 1))


def test_the_same_pass_is_the_same() -> None:
    assert not checks_differ(check(), check(), TOKENS, STRICT)


def test_what_a_machine_may_differ_by_is_no_difference() -> None:
    # A hundredth of every component is 10,000 ppm.
    assert not checks_differ(check(), check(nudge=1), TOKENS, UNCALIBRATED)
    assert checks_differ(check(), check(nudge=1), TOKENS, STRICT)


def test_one_false_chunk_is_enough() -> None:
    loose = Calibration(Tolerance(90_000, 99_000), Tolerance(5_000, 9_999), Tolerance(1, 2), Tolerance(1, 2))
    assert checks_differ(check(), check(nudge=1, chunk=1), TOKENS, loose)


def test_other_scales_may_say_the_same() -> None:
    rows, margins = DIMENSIONS * 32, struct.pack("<33I", *[0] * 33)
    own = struct.pack(f"<f{rows}hd", 1.0, *[100] * rows, 10_000.0) + margins
    other = struct.pack(f"<f{rows}hd", 0.5, *[200] * rows, 1.0) + margins
    assert not checks_differ(own, other, 32, STRICT)


@pytest.mark.parametrize(
    "shown",
    [
        b"",
        b"\x00",
        check()[:-1],
        check() + b"\x00",
        check(tokens=33),
        check(scale=float("nan")),
        check(scale=float("inf")),
    ],
)
def test_rubbish_differs_and_breaks_nothing(shown: bytes) -> None:
    assert checks_differ(check(), shown, TOKENS, UNCALIBRATED)


def test_where_there_is_nothing_to_compute_only_nothing_is_right() -> None:
    assert not checks_differ(b"", b"", 0, STRICT)
    assert checks_differ(b"", check(), TOKENS, STRICT)


def test_a_check_is_shown_as_long_as_it_fits_a_message() -> None:
    assert is_check_shown(0)
    most = max(count for count in range(5_900, 6_200) if is_check_shown(count))
    assert len(check(tokens=most)) <= MAX_SHOWN_CHECK_BYTES < len(check(tokens=most + 1))
