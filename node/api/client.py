"""The command line's side of the control API: blocking HTTP over the daemon's Unix socket.

h11 on a plain socket: a whole HTTP library costs more time to import than the answer takes to come.
"""

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import h11

from node.api.faults import KINDS, OTHER_VERSION, Fault

ANSWER_WITHIN_S = 30.0
CONNECT_WITHIN_S = 5.0
MAX_NAME = 1_024
MAX_ANSWER_BYTES = 64 * 2**20
_CHUNK = 65_536


class Client:
    """Asks one daemon; each call is its own connection."""

    def __init__(self, socket_path: Path) -> None:
        self._path = socket_path

    def get(self, *path: str) -> Any:
        """The JSON answer at /v1/ and the parts of `path`. Raises: Fault, as the daemon says, or no_daemon."""
        return _json(self._read("GET", _target(path), None, ANSWER_WITHIN_S))

    def post(self, *path: str, body: dict[str, Any], within_s: float = ANSWER_WITHIN_S) -> Any:
        """As get, with a JSON body; `within_s` for what the daemon needs time for."""
        return _json(self._read("POST", _target(path), body, within_s))

    def metrics(self) -> str:
        """The daemon's numbers in Prometheus' text format. Raises: as get."""
        return self._read("GET", "/metrics", None, ANSWER_WITHIN_S).decode()

    def lines(self, *path: str, body: dict[str, Any] | None = None) -> Iterator[Any]:
        """The JSON lines of a stream, as they come, for as long as they come; of an order if it has a body.

        Raises: Fault, also for an error in the middle, or unavailable where the daemon goes away before the end.
        """
        rest = b""
        for part in self._exchange("GET" if body is None else "POST", _target(path), body, None):
            *whole, rest = (rest + part).split(b"\n")
            for line in whole:
                yield _checked(_json(line))

    def _read(self, method: str, target: str, body: dict[str, Any] | None, within_s: float) -> bytes:
        answer = bytearray()
        for part in self._exchange(method, target, body, within_s):
            answer += part
            if len(answer) > MAX_ANSWER_BYTES:
                raise Fault("unavailable", f"the daemon's answer exceeds {MAX_ANSWER_BYTES} bytes")
        return bytes(answer)

    def _exchange(
        self, method: str, target: str, body: dict[str, Any] | None, within_s: float | None
    ) -> Iterator[bytes]:
        """The parts of the response's body. Raises: Fault, for a response that is an error, too."""
        http, status, error = h11.Connection(h11.CLIENT), 0, bytearray()
        with self._connect(within_s) as connection:
            _send(http, connection, method, target, body)
            while not isinstance(event := _next(http, connection), h11.EndOfMessage):
                if isinstance(event, h11.Response):
                    status = event.status_code
                elif isinstance(event, h11.Data) and status < 400:
                    yield bytes(event.data)
                elif isinstance(event, h11.Data):
                    error += event.data
        if status >= 400:
            _checked(_decoded(bytes(error), status))
            raise Fault("internal", f"the daemon answered with status {status}")

    def _connect(self, within_s: float | None) -> socket.socket:
        connection = socket.socket(socket.AF_UNIX)
        connection.settimeout(CONNECT_WITHIN_S)
        try:
            connection.connect(str(self._path))
        except OSError as error:
            connection.close()
            raise _unreachable(self._path, error) from error
        connection.settimeout(within_s)
        return connection


def _send(
    http: h11.Connection, connection: socket.socket, method: str, target: str, body: dict[str, Any] | None
) -> None:
    content = b"" if body is None else json.dumps(body).encode()
    headers = [("Host", "vcoin"), ("Connection", "close"), ("Content-Length", str(len(content)))]
    request = h11.Request(method=method, target=target, headers=headers)
    try:
        for event in (request, h11.Data(data=content), h11.EndOfMessage()):
            connection.sendall(http.send(event) or b"")
    except (BrokenPipeError, ConnectionResetError):
        # It may have refused and closed before it read everything; what it said then can still be read.
        pass
    except OSError as error:
        raise _gone(error) from error


def _next(http: h11.Connection, connection: socket.socket) -> Any:
    try:
        while (event := http.next_event()) is h11.NEED_DATA:
            http.receive_data(connection.recv(_CHUNK))
    except (OSError, h11.RemoteProtocolError) as error:
        raise _gone(error) from error
    return event


def _target(path: tuple[str, ...]) -> str:
    if any(len(part) > MAX_NAME for part in path):
        raise Fault("bad_request", f"a name of more than {MAX_NAME} characters belongs to no node")
    return "/v1/" + "/".join(quote(part, safe="", errors="surrogateescape") for part in path)


def _checked(answer: Any) -> Any:
    """Raises: Fault if the answer is an error that the daemon reports."""
    if isinstance(answer, dict) and "message" in answer and str(answer.get("code")) in KINDS:
        raise Fault(answer["code"], str(answer["message"]), str(answer.get("hint", "")))
    return answer


def _json(raw: bytes | bytearray) -> Any:
    try:
        return json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise Fault("internal", "the daemon's answer is not JSON", OTHER_VERSION) from error


def _decoded(raw: bytes, status: int) -> Any:
    try:
        return json.loads(raw)
    except ValueError as error:
        raise Fault("internal", f"the daemon answered with status {status} and no reason") from error


def _unreachable(path: Path, error: OSError) -> Fault:
    if isinstance(error, PermissionError):
        return Fault("no_daemon", f"{path} belongs to another user's daemon", "run the command as that user")
    if isinstance(error, FileNotFoundError | ConnectionRefusedError):
        return Fault("no_daemon", f"no daemon answers at {path}", "start one: vcoin node run")
    return Fault("no_daemon", f"no daemon answers at {path}: {error.strerror or error}", "check node.data_dir")


def _gone(error: Exception) -> Fault:
    if isinstance(error, TimeoutError):
        return Fault("unavailable", "the daemon did not answer in time", "its log says what it is busy with")
    return Fault("unavailable", "the daemon went away before it answered", "vcoin status")
