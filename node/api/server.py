"""The control API: HTTP with JSON on a Unix socket that only the daemon's user may open.

    GET  /v1/status             Snapshot            GET  /v1/models             list of ModelView
    GET  /v1/nodes              list of PeerView    POST /v1/models             {source} > ModelView
    POST /v1/lanes/{id}/{step}  {amount_wei for open, dry_run} > MoveView; step: open, close or reclaim
    POST /v1/jobs               JobAsk > {id}       GET  /v1/account            AccountView
    GET  /v1/jobs               list of JobView     POST /v1/account/deposit    {amount_wei, dry_run} > MoveView
    GET  /v1/jobs/{id}          JobView             POST /v1/account/withdraw   {amount_wei, dry_run} > MoveView
    GET  /v1/jobs/{id}/events   JobUpdate a line    GET  /v1/score/{id}         ScoreView
    GET  /v1/cases/{id}         CaseView            GET  /metrics               the snapshot's numbers for Prometheus
    POST /v1/embeddings         as OpenAI's, and `checked`: waits for a job and answers with its vectors
    GET  /v1/cases/{id}/leaves  LeavesView          POST /v1/jobs/{id}/proof    {with_content} > a proof's file

An error is {code, message, hint}, with the status that its code has in node.api.faults.
"""

import json
import logging
import os
import socket as socketlib
from contextlib import aclosing
from pathlib import Path
from typing import Any, cast

import anycorn
import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from node.api import asks, embeddings
from node.api.backend import Backend as Backend
from node.api.backend import LaneStep
from node.api.faults import Fault, fault_of
from node.api.metrics import CONTENT_TYPE, exposition
from node.api.stream import FollowResponse
from node.api.views import plain
from protocol.errors import ConfigError, NodeError

log = logging.getLogger("vcoin.api")

LONGEST_PATH = 107
"""Bytes of a Unix socket's path that the kernel can hold."""
RESTART_AFTER_S = 1.0
BACKLOG = 64
KEEP_ALIVE_S = 5.0
_ONLY_ME = 0o177


# The stubs of trio that libp2p brings do not know trio.TaskStatus.
async def serve(backend: Backend, socket: Path, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
    """Answer on `socket` until cancelled; started once connections are taken. A stale socket file is replaced.

    Whatever a caller sends, the daemon goes on: should the server itself fail, it is started again.
    Raises: ConfigError if the socket cannot be made.
    """
    app = application(backend)
    try:
        listener = _listen(socket)
        task_status.started()
        while True:
            try:
                await anycorn.serve(cast(Any, app), _settings(listener), mode="asgi")
            except Exception:
                log.exception("the control API failed and starts again")
            await trio.sleep(RESTART_AFTER_S)
            listener = _listen(socket)
    finally:
        _remove(socket)


def application(backend: Backend) -> ASGIApp:
    """The routes over a backend, as an ASGI application."""
    routes = _routes(backend)

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            # Starlette's own answer turns the cancellation of the daemon into an error of the server.
            for step in ("startup", "shutdown"):
                await receive()
                await send({"type": f"lifespan.{step}.complete"})
        else:
            await routes(scope, receive, send)

    return app


def _routes(backend: Backend) -> Starlette:
    doors = _Doors(backend)
    return Starlette(
        routes=[
            Route("/metrics", doors.metrics),
            Route("/v1/status", doors.status),
            Route("/v1/nodes", doors.nodes),
            Route("/v1/jobs", doors.jobs, methods=["GET"]),
            Route("/v1/jobs", doors.ask_job, methods=["POST"]),
            Route("/v1/jobs/{id}", doors.job),
            Route("/v1/jobs/{id}/events", doors.follow),
            Route("/v1/jobs/{id}/proof", doors.job_proof, methods=["POST"]),
            Route("/v1/cases/{id}", doors.case),
            Route("/v1/cases/{id}/leaves", doors.case_leaves),
            Route("/v1/models", doors.models, methods=["GET"]),
            Route("/v1/models", doors.add_model, methods=["POST"]),
            Route("/v1/account", doors.account),
            Route("/v1/account/deposit", doors.deposit, methods=["POST"]),
            Route("/v1/account/withdraw", doors.withdraw, methods=["POST"]),
            Route("/v1/lanes/{id}/{step}", doors.move_lane, methods=["POST"]),
            Route("/v1/score/{id}", doors.score),
            Route("/v1/embeddings", doors.embeddings, methods=["POST"]),
        ],
        exception_handlers={NodeError: _on_fault, HTTPException: _on_http, Exception: _on_bug},
    )


class _Doors:
    """One method a route: read the question, ask the backend, show the answer."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def status(self, request: Request) -> Response:
        return _shown(request, await self._backend.snapshot())

    async def metrics(self, request: Request) -> Response:
        _require_no_query(request)
        return Response(exposition(await self._backend.snapshot()), media_type=CONTENT_TYPE)

    async def nodes(self, request: Request) -> Response:
        return _shown(request, (await self._backend.snapshot()).nodes)

    async def jobs(self, request: Request) -> Response:
        return _shown(request, await self._backend.jobs())

    async def ask_job(self, request: Request) -> Response:
        ask = asks.job_ask(asks.read_object(await _body(request)))
        return _shown(request, {"id": await self._backend.ask_job(ask)}, status=202)

    async def embeddings(self, request: Request) -> Response:
        _require_no_query(request)
        ask = asks.embeddings_ask(asks.read_object(await _body(request)))
        return _json(await embeddings.answer(self._backend, ask), 200)

    async def job(self, request: Request) -> Response:
        return _shown(request, await self._backend.job(request.path_params["id"]))

    async def follow(self, request: Request) -> Response:
        _require_no_query(request)
        return FollowResponse(self._backend.follow(request.path_params["id"]))

    async def job_proof(self, request: Request) -> Response:
        with_content = asks.proof_ask(asks.read_object(await _body(request)))
        proof = await self._backend.job_proof(request.path_params["id"], with_content=with_content)
        return _shown(request, proof)

    async def case(self, request: Request) -> Response:
        return _shown(request, await self._backend.case(request.path_params["id"]))

    async def case_leaves(self, request: Request) -> Response:
        return _shown(request, await self._backend.case_leaves(request.path_params["id"]))

    async def models(self, request: Request) -> Response:
        return _shown(request, await self._backend.models())

    async def add_model(self, request: Request) -> Response:
        source = asks.model_source(asks.read_object(await _body(request)))
        return _shown(request, await self._backend.add_model(source), status=201)

    async def account(self, request: Request) -> Response:
        return _shown(request, await self._backend.account())

    async def deposit(self, request: Request) -> Response:
        ask = asks.move_ask(asks.read_object(await _body(request)))
        return _shown(request, await self._backend.deposit(ask.amount_wei, dry_run=ask.dry_run))

    async def withdraw(self, request: Request) -> Response:
        ask = asks.move_ask(asks.read_object(await _body(request)))
        return _shown(request, await self._backend.withdraw(ask.amount_wei, dry_run=ask.dry_run))

    async def move_lane(self, request: Request) -> Response:
        try:
            step = LaneStep(request.path_params["step"])
        except ValueError:
            raise HTTPException(404) from None
        ask = asks.lane_ask(asks.read_object(await _body(request)), step)
        node = request.path_params["id"]
        return _shown(request, await self._backend.move_lane(step, node, ask.amount_wei, dry_run=ask.dry_run))

    async def score(self, request: Request) -> Response:
        return _shown(request, await self._backend.score(request.path_params["id"]))


def _shown(request: Request, view: Any, status: int = 200) -> Response:
    _require_no_query(request)
    return _json(plain(view), status)


def _json(content: Any, status: int) -> Response:
    return Response(json.dumps(content).encode(), status, media_type="application/json")


def _require_no_query(request: Request) -> None:
    for name in request.query_params:
        raise Fault("unknown_field", f"unknown parameter {name[:64]!r}", "this address takes none")


async def _body(request: Request) -> bytes:
    """At most MAX_BODY_BYTES; nothing is kept of a longer one."""
    body = bytearray()
    async with aclosing(request.stream()) as chunks:
        async for chunk in chunks:
            body += chunk
            if len(body) > asks.MAX_BODY_BYTES:
                raise Fault("too_large", f"the body has more than {asks.MAX_BODY_BYTES} bytes")
    return bytes(body)


def fault_response(error: NodeError) -> Response:
    """An error of the tree as {code, message, hint}."""
    fault = fault_of(error)
    return _json({"code": fault.code, "message": fault.message, "hint": fault.hint}, fault.kind.status)


async def _on_fault(_request: Request, error: Exception) -> Response:
    return fault_response(cast(NodeError, error))


async def _on_http(request: Request, error: Exception) -> Response:
    found = cast(HTTPException, error)
    code = {404: "not_found", 413: "too_large"}.get(found.status_code, "bad_request")
    content = {"code": code, "message": f"{request.method} {request.url.path}: {found.detail}", "hint": ""}
    return _json(content, found.status_code)


async def _on_bug(_request: Request, error: Exception) -> Response:
    # The server logs it with its traceback; the caller need not see that.
    return fault_response(Fault("internal", f"the daemon failed: {type(error).__name__}", "its log says more"))


def _listen(path: Path) -> socketlib.socket:
    """Raises: ConfigError if nothing can listen there."""
    if len(str(path).encode()) > LONGEST_PATH:
        raise ConfigError(f"the socket's path is too long: {path}", "set api.socket to a shorter path")
    listener = socketlib.socket(socketlib.AF_UNIX)
    before = os.umask(_ONLY_ME)
    try:
        # The daemon holds the lock of its data directory, so that a socket already there is a leftover.
        path.unlink(missing_ok=True)
        listener.bind(str(path))
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise ConfigError(f"cannot listen on {path}: {error.strerror}", "set api.socket to another path") from error
    finally:
        os.umask(before)
    return listener


def _remove(path: Path) -> None:
    path.unlink(missing_ok=True)


def _settings(listener: socketlib.socket) -> anycorn.Config:
    # It announces itself as if it were the program.
    http = logging.getLogger("vcoin.api.http")
    http.setLevel(logging.WARNING)
    settings = anycorn.Config()
    settings.bind = [f"fd://{listener.detach()}"]
    settings.backlog = BACKLOG
    settings.accesslog = None
    settings.errorlog = http
    settings.include_server_header = False
    settings.keep_alive_timeout = KEEP_ALIVE_S
    return settings
