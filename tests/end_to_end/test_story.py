"""The demo's story in five real processes: an honest job is judged and paid, a dishonest one is caught."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.ports import free_ports

pytestmark = [pytest.mark.anvil, pytest.mark.docker, pytest.mark.libp2p, pytest.mark.slow]

REPOSITORY = Path(__file__).parents[2]
WITHIN_S = 600


def test_an_honest_job_is_paid_and_a_dishonest_one_costs_half_of_a_stake(tmp_path: Path) -> None:
    directory = tmp_path / "net"
    command = [sys.executable, "-m", "scripts.story", "--dir", str(directory), "--port", str(free_ports(8))]
    told = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, timeout=WITHIN_S, check=False)
    logs = "\n".join(f"{log}:\n{log.read_text()[-2_000:]}" for log in directory.glob("*/node.log"))
    assert told.returncode == 0, f"{told.stdout}\n{told.stderr}\n{logs}"
    assert "The end" in told.stdout
    assert not (directory / "localnet.json").exists()
    assert not _processes_in(directory)


def _processes_in(directory: Path) -> list[str]:
    """The processes of the network that still run."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            words = process.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(directory) in words:
            found.append(words)
    return found
