"""How often the checks hurt the honest and miss the dishonest, from the measurement that this release publishes.

The counts stand in chain/calibration/measured/smollm2.json: one output of `vcoin calibrate --output`, or several
merged. `vcoin calibrate --compare` of that file repeats the measurement. The anchor of a line names the runner that
measured its answers, if that is not the present one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from chain.contracts.profiles import Profile, profiles
from executor import images
from node.calibration.statistics import interval
from protocol.params import BPS, PRICE_PER_STAKE
from scripts.calibration.merge import dated
from scripts.calibration.page import MEASURED, TINY
from scripts.economics import PROFILE, RATES_BPS, cheat_gain
from tests.benchmarks.line import Line

NEEDS = ("venv",)
KEYS = (
    *("truth.honest_reject_same", "truth.honest_reject_same_tiny", "truth.honest_reject_cross"),
    "truth.honest_reject_cross_tiny",
    *("truth.catch_checkpoint", "truth.catch_eos", "truth.catch_adaptive_1024_tiny"),
    *("truth.catch_token", "truth.catch_int8", "truth.catch_int8_block", "truth.catch_int4", "truth.catch_16_int4"),
    *(
        "truth.catch_16_checkpoint",
        "truth.catch_adaptive_int4",
        "truth.catch_adaptive_1024",
        "truth.ev_max",
        "truth.ev_weak",
    ),
)
MAIN, SHORT, WHOLE = "64", "16", "whole"
CHECKPOINT = ("noise", "merged_adapter", "dropped_layer", "cut_prompt", "copied")
ADAPTIVE = "adaptive "
WEAK = ("int8_block", "kv_8bit", "padded")
"""Too faithful for a single check, or not to be told where the model went on anyway: told openly, without a goal."""

Row = Mapping[str, Any]


def run() -> list[Line]:
    """Raises: OSError, ValueError or KeyError if no measurement comes with this release."""
    measured, tiny = (json.loads(path.read_text()) for path in (MEASURED, TINY))
    rows, tiny_rows = dated(measured["deployed_rates"], measured), dated(tiny["rates"], tiny)
    honest = [
        *_honest("truth.honest_reject_same", "<= 0.2", rows, is_across=False),
        *_honest("truth.honest_reject_same_tiny", "<= 0.2", tiny_rows, is_across=False),
        *_honest("truth.honest_reject_cross", "<= 0.5", rows, is_across=True),
        *_honest("truth.honest_reject_cross_tiny", "<= 0.5", tiny_rows, is_across=True),
    ]
    return [*honest, *_caught(rows), *_running(measured), *_running(tiny, "_tiny"), *_worth(rows)]


def _when(key: str, rows: Iterable[Row]) -> str:
    """Of which model, and with which runners where any is not the present one."""
    model = ", tiny model" if key.endswith("_tiny") else ""
    earlier = sorted({row["runtime"][:12] for row in rows} - {images.runtime()[:12]})
    return f"{model}, runner {' and '.join(earlier)}, not the present one" if earlier else model


def _honest(key: str, goal: str, rows: Sequence[Row], *, is_across: bool) -> Iterator[Line]:
    mine = [
        row
        for row in rows
        if row["variant"] == "honest"
        and row["length"] == WHOLE
        # A node of the coarser class cannot judge the finer one, and is not asked to.
        and (row["worker"] > row["checker"] if is_across else row["worker"] == row["checker"])
    ]
    if mine:
        yield _line(key, goal, mine)


def _caught(rows: Sequence[Row]) -> Iterator[Line]:
    for key, goal, variants, length in (
        ("truth.catch_checkpoint", ">= 99", CHECKPOINT, MAIN),
        ("truth.catch_eos", ">= 99", ("forced_eos",), MAIN),
        ("truth.catch_token", ">= 99", ("replaced_token",), MAIN),
        ("truth.catch_int8", ">= 95", ("int8_channel",), MAIN),
        ("truth.catch_int8_block", "", ("int8_block",), MAIN),
        ("truth.catch_int4", ">= 95", ("int4_block",), MAIN),
        ("truth.catch_16_int4", ">= 90", ("int4_block",), SHORT),
        ("truth.catch_16_checkpoint", ">= 90", CHECKPOINT, SHORT),
        ("truth.catch_adaptive_int4", ">= 99", (ADAPTIVE + "int4_block",), MAIN),
    ):
        mine = [
            row
            for row in rows
            if row["variant"] in variants and row["length"] == length and row["worker"] == row["checker"]
        ]
        if mine:
            yield _line(key, goal, mine)


def _running(measured: Mapping[str, Any], model: str = "") -> Iterator[Line]:
    key = "truth.catch_adaptive_1024" + model
    for class_id, each in measured["classes"].items():
        found = each.get("alarms", {}).get("int8_channel")
        if found:
            later = f"{found['later']['within_1024_ppm'] / 10_000:.1f} % and {found['later']['median_tokens']:,}"
            words = (
                f"class {class_id}: int8 per channel from the first case on, half found after "
                f"{found['median_tokens']:,} tokens; after honest cases {later}{_when(key, dated([found], measured))}"
            )
            yield Line(key, found["within_1024_ppm"] / 10_000, "%", ">= 95", words, found["answers"])


def _worth(rows: Sequence[Row]) -> Iterator[Line]:
    """The gain of the cheat that loses least, all of its reward for no work, drawn as seldom as any node is.

    Counted is the lower end of how often it fails.
    """
    profile: Profile = profiles()[PROFILE]
    price = profile.min_stake // PRICE_PER_STAKE
    found: dict[bool, list[tuple[float, str, int, str]]] = {True: [], False: []}
    for row in rows:
        if row["variant"].startswith(ADAPTIVE) or row["variant"] == "honest":
            continue
        if row["length"] == MAIN and row["worker"] == row["checker"]:
            caught = min(RATES_BPS) / BPS * interval(row["failed"], row["n"])[0]
            gain = cheat_gain(price, profile.min_stake, profile.slash_bps, caught) / price
            found[row["variant"] in WEAK].append((gain, row["variant"], row["n"], _when("", [row])))
    for key, goal, is_weak in (("truth.ev_max", "< 0", False), ("truth.ev_weak", "", True)):
        if found[is_weak]:
            gain, variant, n, when = max(found[is_weak])
            yield Line(key, gain, "prices", goal, f"{variant}, a tenth drawn{when}", n)


def _line(key: str, goal: str, rows: Sequence[Row]) -> Line:
    """The share of answers that do not pass, in percent: of the variant and class of which it is worst."""
    groups: dict[tuple[str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row["variant"], row["worker"]), []).append(row)
    choose: Callable[..., Any] = min if goal.startswith(">") or not goal else max
    # If several are as bad, the one with the fewest answers, which says least.
    (name, class_id), mine = choose(
        groups.items(), key=lambda found: (_share(found[1]), (1 if choose is min else -1) * _count(found[1]))
    )
    hits, n = sum(row["not_passed"] for row in mine), _count(mine)
    low, high = interval(hits, n)
    words = f"{hits} of {n}, {name}, class {class_id}, 95 %: {100 * low:.2f} to {100 * high:.2f}{_when(key, mine)}"
    return Line(key, 100 * hits / n, "%", goal, words, n)


def _share(rows: Sequence[Row]) -> float:
    return float(sum(row["not_passed"] for row in rows) / _count(rows))


def _count(rows: Sequence[Row]) -> int:
    return sum(row["n"] for row in rows)
