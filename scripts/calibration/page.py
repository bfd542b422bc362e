"""`python -m scripts.calibration.page [--write]`: the tables of docs/calibration.md, as measured."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from node.calibration.report import in_words
from scripts import pages
from scripts.setup.cache import REPOSITORY

PAGE = REPOSITORY / "docs" / "calibration.md"
_FOLDER = REPOSITORY / "chain" / "calibration" / "measured"
MEASURED, TINY = _FOLDER / "smollm2.json", _FOLDER / "tiny.json"
"""SmolLM2, and a model of two layers with random weights, of which any machine can measure as much as it likes."""
Row = Mapping[str, Any]


def rates(measured: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """The answers that do not pass by the deployed constants."""
    yield ("class", "seen by", "who answers", "temperature", "tokens", "n", "did not pass", "95 %", "failed")
    yield from _rows(measured["deployed_rates"])


def honest(measured: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """Honest answers alone, by the constants that the other half of the prompts gave."""
    yield ("class", "seen by", "who answers", "temperature", "tokens", "n", "did not pass", "95 %", "failed")
    yield from _rows(row for row in measured["rates"] if row["variant"] == "honest" and row["length"] == "whole")


def _rows(rows: Iterable[Row]) -> Iterator[Sequence[str]]:
    for row in sorted(rows, key=_order):
        worker, checker, variant, *rest = in_words(row)
        yield (worker, checker, variant.replace("_", " "), *rest, str(row["failed"]))


def constants(measured: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """The constants that this measurement proposes beside the deployed ones, in ppm."""
    yield ("class", "term", "D0 measured", "D1 measured", "D0 deployed", "D1 deployed")
    for class_id, each in measured["classes"].items():
        for term in ("act", "chunk", "tok", "worst"):
            deployed = each.get("deployed", {}).get(term, ("", ""))
            yield (class_id, term, *(f"{value:,}" for value in each["proposed"][term]), *(f"{v:,}" for v in deployed))


def margins(measured: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """The adaptive cheat: tokens of a cheap model under the fingerprint of a true pass."""
    yield (
        *("class", "tokens of", "answers", "within 1,024 checked tokens from the first case on", "half after"),
        *("within 1,024 after honest cases", "half after"),
    )
    for class_id, each in measured["classes"].items():
        for name, alarm in each.get("alarms", {}).items():
            yield (class_id, name.replace("_", " "), str(alarm["answers"]), *_soon(alarm), *_soon(alarm["later"]))


def _soon(found: Row) -> tuple[str, str]:
    within, median = found["within_1024_ppm"] / 10_000, found["median_tokens"]
    return f"{within:.1f} %", f"{median:,}" if median < 10**6 else "not found"


def likelihood_ratios(measured: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """The mean likelihood ratio of honest answers; above 1 it would drive honest nodes to the alarm."""
    yield ("class", "prompts", "mean", "at most, 95 %")
    for class_id, each in measured["classes"].items():
        for family, (mean, bound) in sorted(each.get("honest_ratios", {}).items()):
            yield (class_id, family, f"{mean:.2f}", f"{bound:.2f}")


def alarms(measured: Mapping[str, Any]) -> Iterator[Sequence[str]]:
    """The share of int8 per channel that an earlier alarm would find."""
    yield ("class", "alarm, nats", "found within 1,024 checked tokens", "half found after")
    for class_id, each in measured["classes"].items():
        cheat = each.get("alarms", {}).get("int8_channel", {})
        for alarm, found in cheat.get("by_lower_alarm", {}).items():
            median = f"{found['median_tokens']:,}"
            yield (class_id, f"{int(alarm) / 1000:.1f}", f"{found['within_1024_ppm'] / 10_000:.1f} %", median)


TABLES: dict[str, tuple[Path, Callable[[Mapping[str, Any]], Iterable[Sequence[str]]]]] = {
    "rates": (MEASURED, rates),
    "constants": (MEASURED, constants),
    "margins": (MEASURED, margins),
    "alarms": (MEASURED, alarms),
    "evidence": (MEASURED, likelihood_ratios),
    "tiny_honest": (TINY, honest),
    "tiny_margins": (TINY, margins),
}


def refreshed(page: str) -> str:
    """The page with every table as the measurements have it. Raises: KeyError for one that is nowhere."""
    return pages.refreshed(page, _table)


def _table(name: str) -> str:
    source, make = TABLES[name]
    return pages.markdown(make(json.loads(source.read_text())))


def _order(row: Row) -> tuple[Any, ...]:
    """Honest ones first, then by class; what has the same name stays together."""
    length = int(row["length"]) if row["length"].isdigit() else 0
    honest = row["variant"] != "honest"
    return (honest, -row["worker"], row["worker"] != row["checker"], row["variant"], row["temperature_milli"], length)


def main() -> None:
    parser = argparse.ArgumentParser(prog="scripts.calibration.page", description=__doc__)
    parser.add_argument("--write", action="store_true", help="put the tables into the page")
    chosen = parser.parse_args()
    if chosen.write:
        PAGE.write_text(refreshed(PAGE.read_text()))
    else:
        print("\n".join(map(_table, TABLES)))


if __name__ == "__main__":
    main()
