"""The door for Prometheus: GET /metrics at one address of this machine, and nothing else.

Anybody on the machine may knock, web pages in a browser included, so the door gives little away and costs little: few
callers at a time, few a second, one short question each, and an answer that is made at most once a second.
"""

import ipaddress
import logging
from typing import Any
from urllib.parse import urlsplit

import h11
import trio

from node.api.backend import Backend
from node.api.metrics import CONTENT_TYPE, exposition
from protocol.errors import ConfigError

log = logging.getLogger("vcoin.api.metrics")

MAX_CALLERS = 8
"""At the same time; the others wait in the kernel's queue."""
BACKLOG = 16
PACE_S = 0.02
"""Between two callers, so that a flood of them leaves the daemon its core."""
CALL_S = 3.0
"""For a whole call: one that dawdles makes room for the next."""
MAX_HEAD_BYTES = 8 * 1024
FRESH_S = 1.0
"""An answer serves all callers for so long."""
_READ_BYTES = 4_096


# The stubs of trio that libp2p brings do not know trio.TaskStatus.
async def serve_metrics(backend: Backend, address: str, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    """Answer at `address` (host:port) until cancelled. Started, with the port, once connections are taken.

    Raises: ConfigError if nothing can listen there.
    """
    listener = await _listen(address)
    port = listener.socket.getsockname()[1]
    log.info("metrics", extra={"at": f"http://{address.rpartition(':')[0]}:{port}/metrics"})
    task_status.started(port)
    await answer_callers(MetricsListener(listener), MetricsDesk(backend))


async def answer_callers(door: "MetricsListener", desk: "MetricsDesk") -> None:
    """Let callers in and answer them until cancelled."""

    async def handle(stream: trio.abc.Stream) -> None:
        try:
            await desk.answer(stream)
        finally:
            door.left()

    await trio.serve_listeners(handle, [door])


async def _listen(address: str) -> trio.SocketListener:
    parts = urlsplit(f"//{address}")
    try:
        (listener,) = await trio.open_tcp_listeners(parts.port or 0, host=parts.hostname, backlog=BACKLOG)
    except OSError as error:
        words = f"cannot listen on {address}: {error.strerror or error}"
        raise ConfigError(words, "set metrics.listen to an address that is free") from error
    return listener


class MetricsListener(trio.abc.Listener[trio.abc.Stream]):
    """Lets in so many at a time, and not all at once."""

    def __init__(self, listener: trio.abc.Listener[Any]) -> None:
        self._listener = listener
        self._room = trio.Semaphore(MAX_CALLERS, max_value=MAX_CALLERS)

    async def accept(self) -> trio.abc.Stream:
        """The next caller, once there is room for it. `left` must be called when it is gone."""
        await self._room.acquire()
        try:
            await trio.sleep(PACE_S)
            caller: trio.abc.Stream = await self._listener.accept()
            return caller
        except BaseException:
            self.left()
            raise

    def left(self) -> None:
        """A caller is gone."""
        self._room.release()

    async def aclose(self) -> None:
        """See Listener."""
        await self._listener.aclose()


class MetricsDesk:
    """Answers one caller after the other, each once."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend
        self._text = b""
        self._stale_at = -1.0
        self._making = trio.Lock()

    async def answer(self, stream: trio.abc.Stream) -> None:
        """Read one request, answer it, and close. Any fault is the caller's loss."""
        with trio.move_on_after(CALL_S):
            async with stream:
                try:
                    await self._exchange(stream)
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    return
                except Exception:
                    log.exception("a scrape could not be answered")

    async def _exchange(self, stream: trio.abc.Stream) -> None:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEAD_BYTES)
        try:
            request = await _read_request(http, stream)
        except h11.RemoteProtocolError as error:
            await _send(http, stream, error.error_status_hint, b"this is no request\n")
            return
        if request is None:
            return
        status, body = await self._respond(request)
        await _send(http, stream, status, body, told=request.method != b"HEAD")

    async def _respond(self, request: h11.Request) -> tuple[int, bytes]:
        host = next((value for name, value in request.headers if name == b"host"), b"")
        if not _is_this_machine(host):
            # A web page may have a name of its own point here.
            return 421, b"ask for this machine by its address\n"
        if request.target.partition(b"?")[0] != b"/metrics":
            return 404, b"there is only /metrics\n"
        if request.method not in (b"GET", b"HEAD"):
            return 405, b"only GET and HEAD\n"
        return 200, await self._numbers()

    async def _numbers(self) -> bytes:
        async with self._making:
            if trio.current_time() >= self._stale_at:
                self._text = exposition(await self._backend.snapshot())
                self._stale_at = trio.current_time() + FRESH_S
            return self._text


async def _read_request(http: h11.Connection, stream: trio.abc.Stream) -> h11.Request | None:
    """The head of a request; what follows it is not read. None if the caller left before it was whole."""
    while True:
        event = http.next_event()
        if isinstance(event, h11.Request):
            return event
        if event is not h11.NEED_DATA:
            return None
        http.receive_data(await stream.receive_some(_READ_BYTES))


async def _send(http: h11.Connection, stream: trio.abc.Stream, status: int, body: bytes, *, told: bool = True) -> None:
    """`told`: whether the body is sent, and not only its length."""
    kind = CONTENT_TYPE if status == 200 else "text/plain; charset=utf-8"
    headers = [
        ("Content-Type", kind),
        ("Content-Length", str(len(body))),
        ("Connection", "close"),
        *([("Allow", "GET, HEAD")] if status == 405 else []),
    ]
    answer = http.send(h11.Response(status_code=status, headers=headers)) or b""
    await stream.send_all(answer + (body if told else b""))


def _is_this_machine(host: bytes) -> bool:
    try:
        name = urlsplit(f"//{host.decode('ascii')}").hostname or ""
        return name == "localhost" or ipaddress.ip_address(name).is_loopback
    except ValueError:
        return False
