"""People who give commands at one terminal, each with a wallet's key file, on a network of its own."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest
import trio

from chain.tx.keystore import create_key
from chain.tx.wallet import Key
from node.api.faults import Exit
from node.cli import main
from tests.support.anvil_ledger import AnvilLedger, open_anvil_ledger
from tests.unit.node.cli.conftest import Ran

PASSWORD = "secret"
FAST = 2


@dataclass
class Desk:
    """A ledger, a folder for key files, and what was printed."""

    ledger: AnvilLedger
    folder: Path
    capsys: pytest.CaptureFixture[str]

    async def vcoin(self, *arguments: str) -> Ran:
        """A command, in a thread of its own, as the chain goes on."""
        self.capsys.readouterr()
        code = await trio.to_thread.run_sync(partial(main, arguments))
        return Ran(code, *self.capsys.readouterr())

    def file_of(self, owner: Key) -> str:
        """The key file of somebody."""
        path = self.folder / f"{owner.address}.json"
        if not path.exists():
            create_key(path, PASSWORD, secret=owner.secret, iterations=FAST)
        return str(path)

    async def by(self, owner: Key, *arguments: str) -> Ran:
        """A command that somebody's wallet sends, without a question."""
        return await self.vcoin(*arguments, "--key", self.file_of(owner), "--yes")

    async def done(self, owner: Key, *arguments: str) -> Ran:
        """As `by`, which must go well."""
        ran = await self.by(owner, *arguments)
        assert ran.code == Exit.OK, ran.err
        return ran

    async def refused(self, owner: Key, error: str, *arguments: str) -> str:
        """As `by`, which the contract must refuse before anything is sent. Returns: the hint."""
        nonce = await self.ledger.network.ethereum.nonce(owner.address)
        ran = await self.by(owner, *arguments)
        said = ran.err.splitlines()
        assert (ran.code, ran.out) == (Exit.REVERTED, ""), ran.err
        assert error in said[0]
        assert said[1].startswith("hint: ")
        assert await self.ledger.network.ethereum.nonce(owner.address) == nonce
        return said[1].removeprefix("hint: ")


@asynccontextmanager
async def open_desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    """A desk on a network that was just deployed."""
    async with open_anvil_ledger() as ledger:
        yield desk_at(ledger, tmp_path, capsys, monkeypatch)


def desk_at(
    ledger: AnvilLedger, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Desk:
    """A desk on a network that is there; its commands find it by their surroundings."""
    ledger.deployment.write(tmp_path / "deployment.json")
    monkeypatch.setenv("VCOIN_CHAIN_DEPLOYMENT", str(tmp_path / "deployment.json"))
    monkeypatch.setenv("VCOIN_CHAIN_RPC_URLS", ledger.chain.url)
    monkeypatch.setenv("VCOIN_NODE_DATA_DIR", str(tmp_path / "node"))
    monkeypatch.setenv("VCOIN_PASSWORD", PASSWORD)
    monkeypatch.delenv("VCOIN_CONFIG", raising=False)
    return Desk(ledger, tmp_path, capsys)
