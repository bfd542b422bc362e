"""`python -m scripts.calibration.merge FILE`: merges FILE into chain/calibration/measured/smollm2.json.

FILE is what `vcoin calibrate --output` wrote, or a part of it. Its rows stand in place of those about the same answers,
and what it says of a class in place of what was said; the rest stays. Each row says with which runner it was measured,
because not all are measured anew whenever the runner changes.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from node.calibration.report import key_of
from scripts.calibration.page import MEASURED

RATES = ("rates", "deployed_rates")
SAME = ("v", "manifest", "act_w")


def merged(known: Mapping[str, Any], found: Mapping[str, Any]) -> dict[str, Any]:
    """Both in one. Raises: ValueError if they are not of one model and one way to compare."""
    for name in SAME:
        if known[name] != found[name]:
            raise ValueError(f"the measurements differ in {name}: only those of one model and whitening can be merged")
    told = {name: _newest([*dated(known[name], known), *dated(found[name], found)]) for name in RATES}
    classes = dict(known["classes"])
    for class_id, each in found["classes"].items():
        before = classes.get(class_id, {})
        alarms = {**_alarms(before, known), **_alarms(each, found)}
        classes[class_id] = {**before, **each, **({"alarms": alarms} if alarms else {})}
    return {**known, **told, "classes": classes, "runtime": found["runtime"]}


def dated(rows: Iterable[Mapping[str, Any]], measured: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Rows that say with which runner they were measured; those of a single measurement leave it to its head."""
    return [{"runtime": measured["runtime"], **row} for row in rows]


def _newest(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    return list({key_of(row): row for row in rows}.values())


def _alarms(found: Mapping[str, Any], measured: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    alarms = found.get("alarms", {})
    return dict(zip(alarms, dated(alarms.values(), measured), strict=True))


def main(arguments: Sequence[str] | None = None) -> None:
    """Raises: SystemExit with a sentence for a file that cannot be merged."""
    parser = argparse.ArgumentParser(prog="python -m scripts.calibration.merge", description=__doc__)
    parser.add_argument("file", type=Path, metavar="FILE", help="what vcoin calibrate --output wrote")
    chosen = parser.parse_args(arguments)
    try:
        both = merged(json.loads(MEASURED.read_text()), json.loads(chosen.file.read_text()))
    except (json.JSONDecodeError, KeyError, TypeError, AttributeError) as error:
        raise SystemExit(f"error: {chosen.file} is no report: give what vcoin calibrate --output wrote") from error
    except (OSError, ValueError) as error:
        raise SystemExit(f"error: {chosen.file}: {error}") from error
    MEASURED.write_text(json.dumps(both, indent=1, sort_keys=True) + "\n")


if __name__ == "__main__":
    main()
