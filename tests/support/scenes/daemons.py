"""Daemons on a chain, one process a test."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.config import Config, load
from node.wallet.home import Home, found
from tests.support.anvil_ledger import AnvilLedger, open_anvil_ledger

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
async def ledger() -> AsyncIterator[AnvilLedger]:
    async with open_anvil_ledger() as opened:
        yield opened


class Place:
    """A directory with the homes of a test's nodes, and the file that names the network."""

    def __init__(self, root: Path, ledger: AnvilLedger) -> None:
        self.root = root
        self.ledger = ledger
        self.deployment = root / "deployment.json"
        self._flags: dict[Path, dict[str, object]] = {}
        ledger.deployment.write(self.deployment)

    def make(self, name: str, **changes: object) -> Config:
        """A new node's settings; its keys are made with little scrypt."""
        home = Home(self.root / name)
        found(home, {"node": {"name": name}}, "", iterations=2)
        flags: dict[str, object] = {
            "node.data_dir": str(home.path),
            "node.roles": "requester",
            "p2p.listen": "/ip4/127.0.0.1/tcp/0",
            "p2p.fast": True,
            "chain.rpc_urls": [self.ledger.chain.url],
            "chain.deployment": str(self.deployment),
            "executor.docker_host": f"unix://{self.root}/no-docker.sock",
        }
        self._flags[home.path] = {**flags, **{key.replace("__", "."): value for key, value in changes.items()}}
        return load({}, self._flags[home.path])

    def flags(self, config: Config) -> dict[str, object]:
        """The sources of a node's settings."""
        return self._flags[config.node.data_dir]

    def make_again(self, config: Config, **changes: object) -> Config:
        """The same node with other settings."""
        flags = self._flags[config.node.data_dir]
        return load({}, {**flags, **{key.replace("__", "."): value for key, value in changes.items()}})
