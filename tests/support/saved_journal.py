"""`python -m tests.support.saved_journal`: writes the journal of a provider that a snapshot has cut in mid job.

Write it anew, under the new number, with every new STATE_VERSION.
"""

from pathlib import Path

import trio

from node.folding import Folding
from node.journal import FILE_NAME, Entry, open_journal
from protocol.roles.machine import STATE_VERSION
from tests.simulation.histories import one_job

SAVED = Path(__file__).resolve().parents[1] / "vectors" / f"state_{STATE_VERSION}.sqlite"
ROWS = 20
"""Rows that the snapshot takes the place of: the job runs by then."""


async def write(directory: Path) -> None:
    """Make the journal in a directory of its own."""
    provider = one_job().node("provider")
    rows = [Entry(*row) for row in provider.journal]
    with open_journal(directory) as journal:
        await Folding(provider.machine.fresh(), journal, lambda: 0).compact(await journal.append(rows[:ROWS]))
        await journal.append(rows[ROWS:])


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as made:
        trio.run(write, Path(made))
        SAVED.write_bytes((Path(made) / FILE_NAME).read_bytes())
