"""Connections of the gateway's clients: few at a time, and none may hold its place by silence.

The server takes any number of connections and waits without end for a client that does not read. Here each has a
deadline for its handshake, its head, and every piece that is sent to it.
"""

import logging
import socket as socketlib
import ssl
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import Any, cast

import anyio
import anyio.abc
import anyio.streams.tls
import trio
from anycorn import Config
from anycorn.tcp_server import tcp_server_handler
from anycorn.typing import ConnectionState
from anycorn.utils import wrap_app
from anycorn.worker_context import WorkerContext
from starlette.types import ASGIApp, Receive, Scope, Send

log = logging.getLogger("vcoin.api.gateway")

MAX_CONNECTIONS = 64
"""At the same time; the others wait in the kernel's queue."""
BACKLOG = 64
HEAD_S = 5.0
"""From the connection, or the answer before, to the end of the next request's head."""
HANDSHAKE_S = 5.0
SEND_S = 10.0
"""For each piece that is sent: a client that does not read so long has left. Less than a daemon may take to stop."""
ACCEPT_AGAIN_S = 0.1
MAX_HEAD_BYTES = 16 * 1024


class PatientStream(anyio.abc.ByteStream):
    """A stream that waits HEAD_S for a request, and SEND_S for its reader.

    The server has such a limit only while it speaks HTTP/1.1. A client can have it speak HTTP/2, in which every request
    is refused, and would then keep its place.
    """

    def __init__(self, stream: anyio.abc.ByteStream) -> None:
        self._stream = stream
        self._requests = 0
        self._listening = trio.CancelScope()
        self._idle_until = trio.current_time() + HEAD_S

    @contextmanager
    def request(self) -> Iterator[None]:
        """A request of this connection, from its head to the end of its answer."""
        self._requests += 1
        self._listening.deadline = inf
        try:
            yield
        finally:
            self._requests -= 1
            if not self._requests:
                self._listening.deadline = self._idle_until = trio.current_time() + HEAD_S

    async def send(self, item: bytes) -> None:
        """See ByteStream. Raises: TimeoutError if the other side does not read."""
        with anyio.fail_after(SEND_S):
            await self._stream.send(item)

    async def receive(self, max_bytes: int = 65_536) -> bytes:
        """See ByteStream. Raises: EndOfStream if no request is running and none comes."""
        while True:
            with trio.CancelScope(deadline=inf if self._requests else self._idle_until) as self._listening:
                return await self._stream.receive(max_bytes)
            if not self._requests:
                raise anyio.EndOfStream

    async def send_eof(self) -> None:
        """See ByteStream."""
        await self._stream.send_eof()

    async def aclose(self) -> None:
        """See ByteStream."""
        await self._stream.aclose()

    @property
    def extra_attributes(self) -> Mapping[Any, Callable[[], Any]]:
        """See ByteStream."""
        return self._stream.extra_attributes


async def serve_connections(app: ASGIApp, listener: socketlib.socket, tls: ssl.SSLContext | None) -> None:
    """Answer on a listening socket until cancelled. Whatever a client sends, the others are served on."""
    room = trio.Semaphore(MAX_CONNECTIONS, max_value=MAX_CONNECTIONS)
    settings = _settings()

    async def serve(stream: anyio.abc.SocketStream) -> None:
        try:
            await _serve_one(app, settings, PatientStream(await _secured(stream, tls)))
        except (anyio.BrokenResourceError, anyio.EndOfStream, OSError) as error:
            log.debug("a connection was lost: %s", error)
        except Exception:
            log.exception("a connection failed")
        finally:
            room.release()

    async with await anyio.abc.SocketListener.from_socket(listener) as door, trio.open_nursery() as nursery:
        while True:
            await room.acquire()
            try:
                stream = await door.accept()
            except OSError as error:
                # Out of file descriptors, for example: that passes.
                log.warning("no connection can be taken: %s", error)
                room.release()
                await trio.sleep(ACCEPT_AGAIN_S)
            else:
                nursery.start_soon(serve, stream)


async def _serve_one(app: ASGIApp, settings: Config, stream: PatientStream) -> None:
    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        with stream.request():
            await app(scope, receive, send)

    wrapped = wrap_app(cast(Any, counted), 0, "asgi")
    await tcp_server_handler(wrapped, settings, WorkerContext(None), cast(Any, ConnectionState({})))(cast(Any, stream))


async def _secured(stream: anyio.abc.SocketStream, tls: ssl.SSLContext | None) -> anyio.abc.ByteStream:
    """Raises: OSError (of which ssl.SSLError and TimeoutError are kinds), BrokenResourceError, EndOfStream."""
    if tls is None:
        return stream
    try:
        with anyio.fail_after(HANDSHAKE_S):
            # HTTP says itself where a message ends, so no goodbye of TLS is waited for.
            return await anyio.streams.tls.TLSStream.wrap(
                stream, server_side=True, ssl_context=tls, standard_compatible=False
            )
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
        raise


def _settings() -> Config:
    http = logging.getLogger("vcoin.api.http")
    http.setLevel(logging.WARNING)
    settings = Config()
    settings.accesslog = None
    settings.errorlog = http
    settings.include_server_header = False
    settings.keep_alive_timeout = HEAD_S
    settings.h11_max_incomplete_size = MAX_HEAD_BYTES
    settings.h2_max_concurrent_streams = 1
    return settings
