"""How long a node's restart takes after a year, and how large its journal is: killed at a random row, tail included."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import trio

from node.driver import Driver
from node.folding import COMPACT_ROWS
from node.journal import open_journal
from tests.benchmarks.line import Line
from tests.benchmarks.machine import anchor
from tests.benchmarks.year import fresh_machine

NEEDS = ("venv",)
KEYS = ("restart.fold_s", "journal.mb", "restart.rows")
ROWS = 2_000_000


def run() -> list[Line]:
    """Raises: RuntimeError if the node that writes ends by itself."""
    before = anchor()
    rows = int(sys.argv[sys.argv.index("--rows") + 1]) if "--rows" in sys.argv else ROWS
    with tempfile.TemporaryDirectory() as folder:
        directory = Path(folder)
        _write_and_kill(directory, rows + random.randrange(COMPACT_ROWS))
        size = sum(file.stat().st_size for file in directory.iterdir())
        started = time.monotonic()
        folded = trio.run(_fold, directory)
        seconds = time.monotonic() - started
    return [
        Line("restart.fold_s", seconds, "s", "<= 5", before),
        Line("journal.mb", size / 1e6, "MB", "<= 200", before),
        Line("restart.rows", folded, "rows", "", before),
    ]


def _write_and_kill(directory: Path, last: int) -> None:
    """A process that writes a year's rows and compacts them, until it is killed once it has written so many."""
    command = [sys.executable, "-m", "tests.benchmarks.year", str(directory), str(last + 10 * COMPACT_ROWS)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        assert writer.stdout is not None
        for line in writer.stdout:
            if int(line) >= last:
                writer.send_signal(signal.SIGKILL)
                break
    if writer.returncode != -signal.SIGKILL:
        raise RuntimeError(f"the writer ended with {writer.returncode}")


async def _fold(directory: Path) -> int:
    """Open the journal and fold it, as a start does. Returns the rows that came after the snapshot."""
    with open_journal(directory) as journal:
        saved = journal.snapshot()
        driver = Driver(fresh_machine(), journal, {}, lambda: time.time_ns() // 1_000_000, lambda peer, error: None)
        await driver.fold()
        assert not journal.aside
        return sum(1 for _ in journal.rows_before(after=saved.seq if saved else 0))
