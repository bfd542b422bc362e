"""The control API: HTTP with JSON on a Unix socket that only the daemon's user may open.

    GET  /v1/status             Snapshot            GET  /v1/models             list of ModelView
    GET  /v1/nodes              list of PeerView    POST /v1/models             {source, base?} > ModelView
    POST /v1/lanes/{id}/{step}  {amount_wei for open, dry_run} > PlanView; step: open, close or reclaim
    POST /v1/jobs               JobAsk > {id}       GET  /v1/account            AccountView
    GET  /v1/jobs               list of JobView     POST /v1/account/deposit    {amount_wei, dry_run} > PlanView
    GET  /v1/jobs/{id}          JobView             POST /v1/account/withdraw   {amount_wei, dry_run} > PlanView
    GET  /v1/jobs/{id}/events   JobUpdate a line    GET  /v1/score/{id}         ScoreView
    POST /v1/jobs/{id}/stop     {} > JobView: the job ends at its next token, or for nothing before its first one
    GET  /v1/cases/{id}         CaseView            GET  /metrics               the snapshot's numbers for Prometheus
    GET  /v1/models/{id}        ModelView           POST /v1/models/{id}/{step} {} > ModelView; pin, unpin or remove
    POST /v1/models/pull        {model} > PullView a line, until the model is here or the reader leaves
    GET  /v1/models/{id}/shape  ModelShape: of a model here or of peers, what the need of memory follows from
    POST /v1/embeddings         as OpenAI's, and `checked`: waits for a job and answers with its vectors
    GET  /v1/cases/{id}/leaves  LeavesView          POST /v1/jobs/{id}/proof    {with_content} > a proof's file
    GET  /v1/holds              HoldsView           POST /v1/holds/{step}       {} > HoldsView; drain, pause or resume
    GET  /v1/holds/events       HoldsView a line, until nothing runs

An error is {code, message, hint}, with the status that its code has in node.api.faults.
"""

import json
import logging
import os
import socket as socketlib
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from functools import partial
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
from node.api.backend import HoldStep, LaneStep, ModelStep
from node.api.faults import Fault, fault_of
from node.api.fields import MAX_BODY_BYTES, read_object
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
    async def nodes() -> Any:
        return (await backend.snapshot()).nodes

    async def ask_job(body: dict[str, Any]) -> Any:
        return {"id": await backend.ask_job(asks.job_ask(body))}

    async def move_lane(step: LaneStep, body: dict[str, Any], prefix: str) -> Any:
        return await backend.move_lane(step, prefix, **asks.lane_ask(body, step))

    async def step_model(step: ModelStep, body: dict[str, Any], name: str) -> Any:
        asks.require_empty(body)
        return await backend.shelf.take_step(step, name)

    async def step_hold(step: HoldStep, body: dict[str, Any]) -> Any:
        asks.require_empty(body)
        return await backend.holds.take_step(step)

    async def follow_holds(request: Request) -> Response:
        _require_no_query(request)
        return FollowResponse(backend.holds.follow())

    async def stop_job(body: dict[str, Any], prefix: str) -> Any:
        asks.require_empty(body)
        return await backend.stop_job(prefix)

    async def pull(request: Request) -> Response:
        _require_no_query(request)
        return FollowResponse(backend.shelf.pull(asks.model_name(read_object(await _body(request)))))

    async def metrics(request: Request) -> Response:
        _require_no_query(request)
        return Response(exposition(await backend.snapshot()), media_type=CONTENT_TYPE)

    async def follow(request: Request) -> Response:
        _require_no_query(request)
        return FollowResponse(backend.follow(request.path_params["prefix"]))

    return Starlette(
        routes=[
            Route("/metrics", metrics),
            _view("/v1/status", backend.snapshot),
            _view("/v1/nodes", nodes),
            _view("/v1/jobs", backend.jobs),
            _order("/v1/jobs", ask_job, status=202),
            _view("/v1/jobs/{prefix}", backend.job),
            Route("/v1/jobs/{prefix}/events", follow),
            _order("/v1/jobs/{prefix}/stop", stop_job),
            _order(
                "/v1/jobs/{prefix}/proof",
                lambda body, prefix: backend.job_proof(prefix, with_content=asks.proof_ask(body)),
            ),
            _view("/v1/cases/{prefix}", backend.case),
            _view("/v1/cases/{prefix}/leaves", backend.case_leaves),
            _view("/v1/models", backend.shelf.models),
            _order("/v1/models", lambda body: backend.add_model(*asks.model_source(body)), status=201),
            Route("/v1/models/pull", pull, methods=["POST"]),
            _view("/v1/models/{name}", backend.shelf.model),
            _view("/v1/models/{name}/shape", backend.shelf.shape),
            *(_order(f"/v1/models/{{name}}/{step}", partial(step_model, step)) for step in ModelStep),
            _view("/v1/holds", backend.holds.view),
            Route("/v1/holds/events", follow_holds),
            *(_order(f"/v1/holds/{step}", partial(step_hold, step)) for step in HoldStep),
            _view("/v1/account", backend.account),
            _order("/v1/account/deposit", lambda body: backend.deposit(**asks.plan_ask(body))),
            _order("/v1/account/withdraw", lambda body: backend.withdraw(**asks.plan_ask(body))),
            *(_order(f"/v1/lanes/{{prefix}}/{step}", partial(move_lane, step)) for step in LaneStep),
            _view("/v1/score/{prefix}", backend.score),
            _order("/v1/embeddings", lambda body: embeddings.answer(backend, asks.embeddings_ask(body))),
        ],
        exception_handlers={NodeError: _on_fault, HTTPException: _on_http, Exception: _on_bug},
    )


def _view(path: str, ask: Callable[..., Awaitable[Any]]) -> Route:
    """A question whose answer changes nothing; the names in its path are its arguments."""

    async def answer(request: Request) -> Response:
        _require_no_query(request)
        return _json(plain(await ask(**request.path_params)), 200)

    return Route(path, answer)


def _order(path: str, carry_out: Callable[..., Awaitable[Any]], *, status: int = 200) -> Route:
    """An order, whose body is a JSON object."""

    async def answer(request: Request) -> Response:
        _require_no_query(request)
        body = read_object(await _body(request))
        return _json(plain(await carry_out(body, **request.path_params)), status)

    return Route(path, answer, methods=["POST"])


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
            if len(body) > MAX_BODY_BYTES:
                raise Fault("too_large", f"the body has more than {MAX_BODY_BYTES} bytes")
    return bytes(body)


def fault_response(error: NodeError) -> Response:
    """An error of the tree as {code, message, hint}."""
    fault = fault_of(error)
    return _json(fault.plain(), fault.kind.status)


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
