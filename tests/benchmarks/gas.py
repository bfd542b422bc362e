"""What transactions cost in gas, each beside its budget: the lines of GasReport, as receipts have them."""

from __future__ import annotations

from scripts.snapshots import measured
from tests.benchmarks.line import Line

NEEDS = ("venv", "node tools")
KEYS = ("gas.",)


def run() -> list[Line]:
    """Raises: RuntimeError if a budget is broken."""
    return [Line(f"gas.{name}", line.used, "gas", f"<= {line.budget}") for name, line in measured().items()]
