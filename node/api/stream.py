"""A followed job or pull as a response: one JSON object a line, until it has ended or the reader leaves."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any

import trio
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from node.api.faults import Fault, fault_of
from node.api.views import plain
from protocol.errors import NodeError


class FollowResponse(Response):
    """Sends every update as it comes. A fault before the first line is an error response; after it, a last line
    {code, message, hint}."""

    media_type = "application/x-ndjson"

    def __init__(self, source: AbstractAsyncContextManager[AsyncIterator[Any]]) -> None:
        super().__init__()
        self._source = source

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send until the job has ended or the reader leaves."""
        await unless_left(receive, partial(self._send_all, send))

    async def _send_all(self, send: Send) -> None:
        async with self._source as updates:
            headers = [(b"content-type", self.media_type.encode())]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            try:
                async for update in updates:
                    await _send_line(send, plain(update))
            except NodeError as error:
                await _send_line(send, fault_of(error).plain())
            except Exception:
                await _send_line(send, Fault("internal", "the daemon failed", "its log says more").plain())
                raise
        await send({"type": "http.response.body", "body": b"", "more_body": False})


async def unless_left(receive: Receive, work: Callable[[], Awaitable[None]]) -> None:
    """Do something for a caller, and break it off when the caller leaves. Its body must have been read."""
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_cancel_when_left, receive, nursery.cancel_scope)
        try:
            await work()
        except Exception as error:
            # Out of the nursery as it is, not in a group, so that it is reported like that of any other route.
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


async def _send_line(send: Send, content: Any) -> None:
    line = json.dumps(content).encode() + b"\n"
    await send({"type": "http.response.body", "body": line, "more_body": True})


async def _cancel_when_left(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    scope.cancel()
