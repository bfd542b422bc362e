"""A gateway on a real port over a daemon in memory, and a key for it."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import trio

from node.api.gateway.key_file import open_key_file
from node.api.gateway.keys import GatewayKey, new_credential
from node.api.gateway.server import GatewaySettings, serve_gateway
from tests.fakes.backend import SMOL, VCN, FakeBackend

QUESTION = [{"role": "user", "content": "Why is the sky blue?"}]
CHAT: dict[str, Any] = {"model": SMOL.name, "messages": QUESTION, "max_tokens": 64}
WITHIN_S = 20.0
"""For anything that a test waits for."""


def now_ms() -> int:
    return time.time_ns() // 1_000_000


def make_key(directory: Path, **changes: Any) -> tuple[str, GatewayKey]:
    """A new key of 100 VCN: as a client shows it, and as it is kept."""
    credential = new_credential()
    key = GatewayKey(credential.id, "test", credential.hash, 100 * VCN, 0, 0, 0, (), now_ms(), 0, 0)
    key = replace(key, **changes)
    with open_key_file(directory) as file:
        file.create(key)
    return credential.text, key


def kept_key(directory: Path, key: GatewayKey) -> GatewayKey:
    """A key as its file has it now."""
    with open_key_file(directory) as file:
        found = file.find(key.id)
    assert found is not None
    return found


@dataclass
class Gateway:
    """The port, what is behind it, and a client that shows its key."""

    port: int
    directory: Path
    backend: FakeBackend
    key: GatewayKey
    shown: str
    client: httpx.AsyncClient

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    async def post(self, path: str, body: Any, **headers: str) -> httpx.Response:
        return await self.client.post(path, json=body, headers=headers)

    async def chat(self, **changes: Any) -> httpx.Response:
        return await self.post("/chat/completions", CHAT | changes)

    def kept(self) -> GatewayKey:
        return kept_key(self.directory, self.key)

    async def asked(self, count: int = 1) -> list[str]:
        """The ids of the jobs, once so many were asked for."""
        with trio.fail_after(WITHIN_S):
            while len(self.backend.held) < count:
                await trio.lowlevel.checkpoint()
        return list(self.backend.held)

    async def raw(self, sent: bytes) -> bytes:
        """Send bytes as they are; all that comes back until the other side closes."""
        with trio.fail_after(WITHIN_S):
            async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
                await stream.send_all(sent)
                heard = b""
                try:
                    while part := await stream.receive_some():
                        heard += part
                except trio.BrokenResourceError:
                    pass
                return heard


@asynccontextmanager
async def open_gateway(
    directory: Path, backend: FakeBackend, settings: GatewaySettings | None = None, **changes: Any
) -> AsyncIterator[Gateway]:
    """A running gateway; `changes`, of its key."""
    shown, key = make_key(directory, **changes)
    async with trio.open_nursery() as nursery:
        settings = settings or GatewaySettings(directory, "127.0.0.1:0")
        port = await nursery.start(serve_gateway, backend, settings, now_ms)
        headers = {"Authorization": f"Bearer {shown}"}
        base = f"http://127.0.0.1:{port}/v1"
        async with httpx.AsyncClient(base_url=base, headers=headers, timeout=WITHIN_S, trust_env=False) as client:
            yield Gateway(port, directory, backend, key, shown, client)
        nursery.cancel_scope.cancel()
