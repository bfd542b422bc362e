"""Gas of transactions, each beside its budget: the lines of GasReport, as receipts have them.

A whole batch with its court is in batches.py. Some have goals, and keys that stay when a line of GasReport is called
otherwise.
"""

from __future__ import annotations

from scripts.snapshots import GasLine, measured
from tests.benchmarks.line import Line

NEEDS = ("venv", "node tools")
KEYS = ("gas.",)
GOALS = {
    "gas.stake": (("stakes: register",), 120_000, "registers and stakes"),
    "gas.unbond": (("stakes: unbond",), 80_000, "the owner's"),
    "gas.withdraw": (("stakes: withdraw",), 50_000, "the owner's"),
    "gas.slash": (("slash: slash of stake and unbonding",), 80_000, "the call of the court"),
    "gas.single": (
        ("single_job: submit 1 job, the last one becomes final",),
        150_000,
        "one job after the other on an open lane, not drawn: each receipt has the submit of one and the finalize of "
        "one; its epoch's seal apart",
    ),
    "gas.single_apart": (
        ("single_job: submit 1 job, slot used before", "single_job: finalize, not drawn"),
        170_000,
        "the same in two transactions",
    ),
}


def run() -> list[Line]:
    """Raises: RuntimeError if a budget is broken."""
    lines = measured()
    goals = [Line(key, _sum(lines, names), "gas", f"<= {goal}", what) for key, (names, goal, what) in GOALS.items()]
    return goals + [Line(f"gas.{name}", line.used, "gas", f"<= {line.budget}") for name, line in lines.items()]


def _sum(lines: dict[str, GasLine], names: tuple[str, ...]) -> int:
    return sum(lines[name].used for name in names)
