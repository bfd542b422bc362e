"""What draw, fingerprint and check cost beside the model's own passes, in one container on one core."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from tests.benchmarks.line import Line
from tests.support.runner_context import open_context, run_inside

NEEDS = ("venv", "docker engine", "runner image", "model")
KEYS = ("draw.us_a_token", "check.pass_ratio", "check.pass_ratio_answering", "check.padded_ratio")
INSIDE = Path(__file__).with_name("inside_passes.py")


def run() -> list[Line]:
    """Raises: AssertionError with the log of a container that fails."""
    with open_context() as context, tempfile.TemporaryDirectory(prefix="vcoin-bench-") as made:
        kept = run_inside(context, INSIDE, {}, Path(made), with_model=True)
        found: dict[str, float] = json.loads((kept / "found.json").read_text())
    draw_us = (found["token_s"] - found["pass_s"]) * 1e6
    check_s, texts = found["check_s"], f"a text of {found['tokens']} tokens"
    return [
        Line("draw.us_a_token", draw_us, "us", "<= 200", f"a pass takes {found['pass_s'] * 1e3:.1f} ms", 8),
        Line(
            "check.pass_ratio",
            check_s / found["read_s"],
            "ratio",
            "<= 1.2",
            f"{texts}: {found['read_s'] * 1e3:.0f} ms to read it with torch, logits of the answer's places included",
        ),
        Line(
            "check.pass_ratio_answering",
            check_s / found["answering_s"],
            "ratio",
            "<= 2",
            f"{texts}: {found['answering_s'] * 1e3:.0f} ms to read it with llama.cpp, logits included",
        ),
        Line(
            "check.padded_ratio",
            found["padded_s"] / found["apart_s"],
            "ratio",
            "",
            f"four texts in one padded pass; {found['apart_s'] * 1e3:.0f} ms one after the other",
        ),
    ]
