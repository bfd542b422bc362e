"""Connections of the gateway's clients: few at a time, and none may hold its place by silence.

The server takes any number of connections and waits without end for a client that does not read. Here each has a
deadline for its handshake, its head, and every piece that is sent to it.
"""

import logging
import socket as socketlib
import ssl
from collections import Counter
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

MAX_CONNECTIONS = 256
"""At the same time. If all have a request, the next one waits, and those after it in the kernel's queue."""
BACKLOG = 256
HEAD_S = 5.0
"""From the connection, or the answer before, to the end of the next request's head."""
HANDSHAKE_S = 5.0
SILENT_S = 0.2
"""An honest client has sent its request's head by then; a longer silence may have to make room."""
SEND_S = 10.0
"""For each piece that is sent: a client that does not read so long has left."""
STOP_S = 0.5
"""For the piece that is being sent when the gateway stops; the server would wait for SEND_S."""
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
        self._sending = trio.CancelScope()
        self._send_until = inf

    def hurry(self) -> None:
        """The gateway stops: what is being sent has STOP_S left."""
        self._send_until = trio.current_time() + STOP_S
        self._sending.deadline = min(self._sending.deadline, self._send_until)

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
        with trio.CancelScope(deadline=min(trio.current_time() + SEND_S, self._send_until)) as self._sending:
            return await self._stream.send(item)
        raise TimeoutError

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


class ConnectionPlace:
    """The place of one connection. It is silent while it has no request, from its handshake on."""

    def __init__(self, address: str) -> None:
        self.address = address
        self.scope = trio.CancelScope()
        self.silent_since_s: float | None = trio.current_time()


class ConnectionRoom:
    """The places of all connections. If it is full, a silent one makes room.

    That is one of the address that has the most silent ones, and of these the one that has been so for the longest: a
    program that only connects costs nothing but its own places.
    """

    def __init__(self) -> None:
        self._places: set[ConnectionPlace] = set()
        self._changed = trio.Event()

    async def take(self, address: str) -> ConnectionPlace:
        """A place, once there is one."""
        while len(self._places) >= MAX_CONNECTIONS:
            self._changed = trio.Event()
            with trio.move_on_at(self._evict()):
                await self._changed.wait()
        place = ConnectionPlace(address)
        self._places.add(place)
        return place

    def _evict(self) -> float:
        """End the silent connection that makes room, once it may be. Returns: when to look again."""
        silent = {each: each.silent_since_s for each in self._places if each.silent_since_s is not None}
        if not silent:
            return inf
        held = Counter(each.address for each in silent)
        chosen = min(silent, key=lambda each: (-held[each.address], silent[each]))
        if silent[chosen] + SILENT_S > trio.current_time():
            return silent[chosen] + SILENT_S
        chosen.scope.cancel()
        return inf

    def give_back(self, place: ConnectionPlace) -> None:
        """Its connection is closed."""
        self._places.discard(place)
        self._changed.set()

    @contextmanager
    def request(self, place: ConnectionPlace) -> Iterator[None]:
        """A request of a connection: until its end it keeps its place."""
        place.silent_since_s = None
        try:
            yield
        finally:
            place.silent_since_s = trio.current_time()
            self._changed.set()


async def serve_connections(app: ASGIApp, listener: socketlib.socket, tls: ssl.SSLContext | None) -> None:
    """Answer on a listening socket until cancelled. Whatever a client sends, the others are served on."""
    room, settings = ConnectionRoom(), _settings()

    async def serve(stream: anyio.abc.SocketStream, place: ConnectionPlace) -> None:
        try:
            with place.scope:
                await _serve_one(app, settings, PatientStream(await _secured(stream, tls)), room, place)
        except (anyio.BrokenResourceError, anyio.EndOfStream, OSError) as error:
            log.debug("a connection was lost: %s", error)
        except Exception:
            log.exception("a connection failed")
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.aclose_forcefully(stream)
            room.give_back(place)

    async with await anyio.abc.SocketListener.from_socket(listener) as door, trio.open_nursery() as nursery:
        while True:
            try:
                stream = await door.accept()
            except OSError as error:
                # Out of file descriptors, for example: that passes.
                log.warning("no connection can be taken: %s", error)
                await trio.sleep(ACCEPT_AGAIN_S)
            else:
                nursery.start_soon(serve, stream, await _place_for(stream, room))


async def _place_for(stream: anyio.abc.SocketStream, room: ConnectionRoom) -> ConnectionPlace:
    try:
        address = str(stream.extra(anyio.abc.SocketAttribute.remote_address)[0])  # noqa: S610 - no query of a database
    except (anyio.TypedAttributeLookupError, OSError):
        # It has left already.
        address = ""
    try:
        return await room.take(address)
    except BaseException:
        with anyio.CancelScope(shield=True):
            await anyio.aclose_forcefully(stream)
        raise


async def _serve_one(
    app: ASGIApp, settings: Config, stream: PatientStream, room: ConnectionRoom, place: ConnectionPlace
) -> None:
    async def counted(scope: Scope, receive: Receive, send: Send) -> None:
        with stream.request(), room.request(place):
            await app(scope, receive, send)

    async def hurry_at_the_end() -> None:
        try:
            await trio.sleep_forever()
        finally:
            stream.hurry()

    wrapped = wrap_app(cast(Any, counted), 0, "asgi")
    handle = tcp_server_handler(wrapped, settings, WorkerContext(None), cast(Any, ConnectionState({})))
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(hurry_at_the_end)
        try:
            await handle(cast(Any, stream))
        except Exception as error:
            # Out of the nursery as it is, not in a group.
            failure = error
        nursery.cancel_scope.cancel()
    if failure is not None:
        raise failure


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
