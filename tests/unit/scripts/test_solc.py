"""The compiler that forge, py-solc-x and slither start keeps its answers."""

from __future__ import annotations

import json
import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts.solc import TOOLS

pytestmark = pytest.mark.slow


@dataclass
class Desk:
    """A folder of sources, and a cache."""

    folder: Path
    cache: Path

    def compiled(self, base: str) -> str:
        """The bytecode of a contract that imports another one."""
        (self.folder / "Base.sol").write_text(base)
        request = {
            "language": "Solidity",
            "sources": {"Top.sol": {"content": "import './Base.sol'; contract Top is Base {}"}},
            "settings": {"outputSelection": {"Top.sol": {"Top": ["evm.bytecode.object"]}}},
        }
        command = [str(TOOLS / "tools" / "solc"), "--standard-json", "--base-path", str(self.folder)]
        done = subprocess.run(
            command,
            input=json.dumps(request),
            env={**os.environ, "VCOIN_CACHE": str(self.cache)},
            capture_output=True,
            text=True,
            check=True,
        )
        return str(json.loads(done.stdout)["contracts"]["Top.sol"]["Top"]["evm"]["bytecode"]["object"])


@pytest.fixture
def desk(tmp_path: Path) -> Desk:
    for name in ("sources", "cache"):
        (tmp_path / name).mkdir()
    return Desk(tmp_path / "sources", tmp_path / "cache")


def test_answer_is_kept_for_the_same_sources_and_for_no_others(desk: Desk) -> None:
    one, other = "contract Base { uint public one; }", "contract Base { uint one; }"
    first = desk.compiled(one)
    (entry,) = (desk.cache / "solc").iterdir()
    written = entry.stat().st_ino
    assert desk.compiled(one) == first
    assert entry.stat().st_ino == written, "the same was compiled again"
    assert desk.compiled(other) != first
    assert entry.stat().st_ino != written
    entry.write_bytes(b"damaged")
    assert desk.compiled(one) == first


def test_answer_comes_without_a_cache(desk: Desk) -> None:
    desk.cache.rmdir()
    desk.cache.write_text("not a folder")
    assert desk.compiled("contract Base {}")
