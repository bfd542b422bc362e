"""Numbers and names as people read them."""

from datetime import datetime

from node.api.faults import vcn
from node.api.views import HoldsView, HoldView

BLANK = "-"
VERDICTS = {
    "review": "the seats doubted it, and no arbiter let it pass",
    "severe": "fraud",
    "short": "something was found, and too few verifiers were left to confirm it",
    "starved": "it was not judged in time, though verifiers were there",
    "withheld": "it did not show on chain what a seat had asked for",
}


def coins(wei: int) -> str:
    """An amount in VCN with at most six decimals, cut, not rounded up: 1.5 VCN."""
    step = 10**12
    cut = abs(wei) // step * step
    if wei and not cut:
        return "< 0.000001 VCN"
    return f"{'-' if wei < 0 else ''}{vcn(cut)} VCN"


def exact_coins(wei: int) -> str:
    """An amount in VCN with every digit."""
    return f"{vcn(wei)} VCN"


def span(milliseconds: int) -> str:
    """A time span: 340 ms, 2.5 s, 12 s, 3 min, 2 h, 4 d."""
    seconds = milliseconds / 1000
    if seconds < 1:
        return f"{max(milliseconds, 0)} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    for limit, unit, name in ((120, 1, "s"), (7_200, 60, "min"), (172_800, 3_600, "h")):
        if seconds < limit:
            return f"{seconds / unit:.0f} {name}"
    return f"{seconds / 86_400:.0f} d"


def size(count: int) -> str:
    """A number of bytes: 512 B, 269 MB, 4.3 GB."""
    value = float(count)
    for unit in ("B", "kB", "MB"):
        if value < 1000:
            return f"{value:.0f} {unit}"
        value /= 1000
    return f"{value:.1f} GB"


def points(hundredths: int) -> str:
    """A score or a term of one: 45.00."""
    return f"{hundredths / 100:.2f}"


def percent(bps: int) -> str:
    """Basis points as a percentage: 95 %, 94.99 %."""
    return f"{bps / 100:.2f}".rstrip("0").rstrip(".") + " %"


def short(name: str) -> str:
    """An id or an address, shortened so that it can still be told apart and typed as a prefix."""
    kept = 10 if name.startswith("0x") else 8
    return name[:kept] if len(name) > kept + 4 else name or BLANK


def state(name: str) -> str:
    """A state of a job: in batch."""
    return name.replace("_", " ")


def moment(seconds: int) -> str:
    """A time of the chain as the clock on the wall here shows it."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M %Z}"


def held(hold: HoldView) -> str:
    """A reason for no new work: drained by the owner since 2026-01-02 22:00 CET."""
    return f"{hold.words} since {moment(hold.from_ms // 1000)}"


def left(holds: HoldsView) -> str:
    """The work that is left: 2 jobs and 0 checks run, 1 batch is open."""
    runs = f"{count(holds.jobs_left, 'job')} and {count(holds.checks_left, 'check')} left"
    return f"{'nothing runs' if holds.is_idle else runs}, {count(holds.batches_open, 'batch', 'batches')} open"


def count(number: int, noun: str, plural: str = "") -> str:
    """A number of things: 1 job, 2 jobs."""
    return f"{number} {noun if number == 1 else plural or noun + 's'}"
