"""`python -m tests.simulation [--nodes N] [--jobs J] [--seed S] [--weather fair|storm|hurricane] [--kills] [--json]`.

Runs the shipped machines over an in-memory network and chain, on a virtual clock. Every block is checked for wei that
were made or lost, no job number may be signed twice, every job and every batch must end, every client must have paid
just what its jobs say, and no honest node may lose stake. The same arguments give the same history, to the hash.

With --kills it kills each role at each stage of a job instead, and prints how the job ends.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from dataclasses import asdict

from protocol.params import VCN
from tests.simulation.kills import ends_of, every_kill, table
from tests.simulation.run import Broken, Summary, simulate
from tests.simulation.weather import WEATHERS


def main() -> int:
    parser = argparse.ArgumentParser(prog="scripts/simulate", description=__doc__)
    parser.add_argument("--nodes", type=_number(3, 1_000), default=20, metavar="N", help="a fifth asks, the rest works")
    parser.add_argument("--jobs", type=_number(1, 1_000_000), default=50, metavar="J", help="one every five seconds")
    parser.add_argument("--seed", type=_number(0, 2**63), default=0, metavar="S", help="of everything left to chance")
    parser.add_argument("--weather", choices=sorted(WEATHERS), default="storm", help="what goes wrong, and how often")
    parser.add_argument("--kills", action="store_true", help="a table of every kill; only --json counts beside it")
    parser.add_argument("--json", action="store_true", help="print JSON to stdout")
    arguments = parser.parse_args()
    if arguments.kills:
        return _kill(as_json=arguments.json)
    started = time.monotonic()
    try:
        summary = simulate(arguments.nodes, arguments.jobs, arguments.seed, WEATHERS[arguments.weather], _progress)
    except Broken as broken:
        print(f"error: {broken}", file=sys.stderr)
        print(f"hint: seed {arguments.seed} finds it again", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(asdict(summary)))
    else:
        _show(summary, time.monotonic() - started)
    return 0


def _kill(*, as_json: bool) -> int:
    ends, faults = ends_of(every_kill(), _progress)
    if as_json:
        print(json.dumps([{**kill.names, "end": end} for kill, end in ends.items()]))
    else:
        print("\n".join(table(ends)))
    for broken in faults:
        print(f"error: {broken}", file=sys.stderr)
    return 1 if faults else 0


def _show(summary: Summary, took_s: float) -> None:
    ends = ", ".join(f"{count} {end}" for end, count in summary.ends.items())
    rows = [
        ("nodes, jobs, seed", f"{summary.nodes}, {summary.jobs}, {summary.seed}"),
        ("jobs ended", ends),
        ("moved to another node", str(summary.moved)),
        ("kills, reorgs", f"{summary.kills}, {summary.reorgs}"),
        ("cheats slashed", str(summary.slashed)),
        ("burned", f"{summary.burned / VCN:.4f} VCN"),
        ("simulated", f"{summary.simulated_s} s in {took_s:.1f} s"),
        ("history", summary.digest[:32]),
    ]
    for name, value in rows:
        print(f"{name:<24}{value}")


def _progress(ended: int, jobs: int) -> None:
    if sys.stderr.isatty():
        print(f"\r{ended} of {jobs} jobs ended", end="\n" if ended == jobs else "", file=sys.stderr, flush=True)


def _number(lowest: int, highest: int):  # type: ignore[no-untyped-def]
    def read(text: str) -> int:
        try:
            value = int(text)
        except ValueError:
            value = -1
        if not lowest <= value <= highest:
            raise argparse.ArgumentTypeError(f"{text!r} is no number from {lowest} to {highest}")
        return value

    return read


if __name__ == "__main__":
    sys.exit(main())
