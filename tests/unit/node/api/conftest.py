"""A control API on a real socket, over a daemon in memory."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from node.api.client import Client
from node.api.server import serve
from tests.fakes.backend import FakeBackend


@dataclass
class Door:
    """The socket, what is behind it, and the client that asks."""

    socket: Path
    backend: FakeBackend
    client: Client

    async def get(self, *path: str) -> Any:
        return await trio.to_thread.run_sync(partial(self.client.get, *path))

    async def post(self, *path: str, body: dict[str, Any]) -> Any:
        return await trio.to_thread.run_sync(partial(self.client.post, *path, body=body))

    async def call(self, action: Callable[..., Any], *args: Any) -> Any:
        return await trio.to_thread.run_sync(action, *args)

    async def raw(self, sent: bytes) -> bytes:
        """Send bytes as they are; what comes back until the other side closes."""
        stream = await trio.open_unix_socket(str(self.socket))
        async with stream:
            await stream.send_all(sent)
            await stream.send_eof()
            return b"".join([part async for part in stream])


@pytest.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    socket, backend = tmp_path / "vcoin.sock", FakeBackend()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, backend, socket)
        yield Door(socket, backend, Client(socket))
        nursery.cancel_scope.cancel()
