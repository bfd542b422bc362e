"""How long the demo takes on a bare machine and once everything is cached, and what it takes of the machine."""

from __future__ import annotations

from tests.benchmarks.bare import BareMachine
from tests.benchmarks.line import Line
from tests.benchmarks.machine import anchor

NEEDS = ("runner image",)  # for mmdebstrap
KEYS = ("demo.bare_s", "demo.cached_s", "demo.peak_gb", "demo.disk_gb")
GB = 1e9


def run() -> list[Line]:
    """Raises: RuntimeError if a demo fails: a failed one has no time."""
    with BareMachine() as machine:
        empty = machine.disk_bytes()
        before_bare = anchor()
        bare = machine.run("./scripts/demo")
        before_cached = anchor()
        cached = machine.run("./scripts/demo")
        disk = machine.disk_bytes() - empty
    for name, spent in (("bare", bare), ("cached", cached)):
        if spent.code != 0:
            raise RuntimeError(f"the {name} demo exited with {spent.code}")
        if spent.left_running:
            raise RuntimeError(f"the {name} demo left running: {', '.join(spent.left_running)}")
    peak = max(bare.peak_bytes, cached.peak_bytes)
    return [
        Line("demo.bare_s", bare.seconds, "s", "<= 360", before_bare),
        Line("demo.cached_s", cached.seconds, "s", "<= 120", before_cached),
        Line(
            "demo.peak_gb",
            peak / GB,
            "GB",
            "<= 4",
            f"bare {bare.peak_bytes / GB:.2f}, cached {cached.peak_bytes / GB:.2f}",
        ),
        Line("demo.disk_gb", disk / GB, "GB", "", "on top of the bare machine"),
    ]
