"""An HTTP endpoint that answers JSON-RPC as a test wants, on a free port of this machine."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.request import Request, urlopen

Answer = Callable[[str, list[Any]], Any]
"""The result of a method; raises RpcFault for an error, Garbage for what is no JSON-RPC."""


class RpcFault(Exception):
    """An error as JSON-RPC carries it."""

    def __init__(self, code: int, message: str, data: Any = None) -> None:
        self.error = {"code": code, "message": message, "data": data}


class Garbage(Exception):
    """Answer with a status and bytes that are no JSON-RPC."""

    def __init__(self, status: int, body: bytes) -> None:
        self.status = status
        self.body = body


@dataclass
class Endpoint:
    """A running endpoint and the methods that it was asked for."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def endpoint(answer: Answer, *, batches: bool = True) -> Iterator[Endpoint]:
    """Serve `answer` until the block ends."""
    served = Endpoint("")

    def one(call: dict[str, Any]) -> dict[str, Any]:
        served.asked.append(call["method"])
        try:
            return {"jsonrpc": "2.0", "id": call["id"], "result": answer(call["method"], list(call["params"]))}
        except RpcFault as fault:
            return {"jsonrpc": "2.0", "id": call["id"], "error": fault.error}

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        # Head and body in one packet: two would wait for each other.
        wbufsize = 65_536

        def do_POST(self) -> None:
            call = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            status = 200
            try:
                if isinstance(call, list) and not batches:
                    body = json.dumps(
                        {"jsonrpc": "2.0", "id": None, "error": {"code": -32600, "message": "no batches"}}
                    )
                else:
                    body = json.dumps([one(each) for each in call] if isinstance(call, list) else one(call))
                content = body.encode()
            except Garbage as garbage:
                status, content = garbage.status, garbage.body
            self.send_response(status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *arguments: Any) -> None:
            """It is not read."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    served.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield served
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def forward(url: str) -> Answer:
    """Answers as another endpoint does."""

    def ask(method: str, parameters: list[Any]) -> Any:
        body = json.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": parameters}).encode()
        request = Request(url, body, {"Content-Type": "application/json"})
        with urlopen(request, timeout=10) as response:
            answer = json.load(response)
        if "error" in answer:
            raise RpcFault(**{"code": 0, "message": "", **answer["error"]})
        return answer["result"]

    return ask
