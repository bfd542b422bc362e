"""The addresses of the gateway, as an ASGI application.

    GET /v1/models, /v1/models/{name}      POST /v1/chat/completions, /v1/completions, /v1/embeddings

An error is {error: {message, type, param, code}}, as OpenAI's clients read it.
"""

import json
import logging
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from typing import Any, cast

import trio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp, Receive, Scope, Send

from node.api.admission import find_model
from node.api.backend import Backend
from node.api.faults import Fault
from node.api.fields import MAX_BODY_BYTES, read_object
from node.api.gateway import completions
from node.api.gateway.bodies import CompletionBody, chat_body, embeddings_body, text_body
from node.api.gateway.callers import Doorkeeper, require_program
from node.api.gateway.chats import CompletionStream, whole_answers
from node.api.gateway.job_desk import JobDesk, usable_models
from node.api.gateway.keys import GatewayKey
from node.api.gateway.rates import KeyRates
from node.api.gateway.refusals import GatewayRefusal, refusal_of
from node.api.stream import unless_left
from protocol.errors import NodeError

log = logging.getLogger("vcoin.api.gateway")

BODY_S = 30.0
"""For a whole body: a client that dawdles makes room for the next."""
MAX_SHOWN = 200
Handler = Callable[[Request, GatewayKey, Send], Awaitable[None]]


class GatewayRoutes:
    """What is answered where."""

    def __init__(
        self,
        backend: Backend,
        desk: JobDesk,
        doorkeeper: Doorkeeper,
        rates: KeyRates,
        *,
        hosts: tuple[str, ...],
        clock_ms: Callable[[], int],
    ) -> None:
        self._backend = backend
        self._desk = desk
        self._doorkeeper = doorkeeper
        self._rates = rates
        self._hosts = hosts
        self._clock_ms = clock_ms

    def application(self) -> ASGIApp:
        """The routes, behind the checks that every request must pass."""
        routes = Starlette(
            routes=[
                self._route("/v1/models", self._models, "GET"),
                self._route("/v1/models/{name:path}", self._model, "GET"),
                self._route("/v1/chat/completions", self._chat, "POST"),
                self._route("/v1/completions", self._completions, "POST"),
                self._route("/v1/embeddings", self._embeddings, "POST"),
            ],
            exception_handlers={NodeError: _on_refusal, HTTPException: _on_http, Exception: _on_bug},
        )
        # A redirect names http behind a proxy with TLS, and the client would send its prompt there in the clear.
        routes.router.redirect_slashes = False

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            if scope["type"] != "http" or scope["http_version"] not in ("1.0", "1.1"):
                refusal = GatewayRefusal(505, "the gateway speaks HTTP/1.1", code="http_version")
            else:
                try:
                    require_program(Request(scope).headers, self._hosts)
                    return await routes(scope, receive, send)
                except GatewayRefusal as found:
                    refusal = found
            if scope["type"] == "http":
                await _refuse(refusal)(scope, receive, send)
            return None

        return app

    def _route(self, path: str, handler: Handler, method: str) -> Route:
        return Route(path, _Endpoint(self._doorkeeper, self._rates, handler), methods=[method])

    # --- handlers ---------------------------------------------------------------------------------------------------
    async def _models(self, request: Request, key: GatewayKey, send: Send) -> None:
        views = await usable_models(key, self._backend)
        await _answer(request, {"object": "list", "data": [completions.model(view) for view in views]}, send)

    async def _model(self, request: Request, key: GatewayKey, send: Send) -> None:
        views = await usable_models(key, self._backend)
        await _answer(request, completions.model(find_model(request.path_params["name"], views)), send)

    async def _chat(self, request: Request, key: GatewayKey, send: Send) -> None:
        await self._complete(request, key, send, chat_body(read_object(await _body(request))))

    async def _completions(self, request: Request, key: GatewayKey, send: Send) -> None:
        await self._complete(request, key, send, text_body(read_object(await _body(request))))

    async def _complete(self, request: Request, key: GatewayKey, send: Send, body: CompletionBody) -> None:
        async def answer() -> None:
            try:
                placed = await self._desk.place(key, body.ask, body.choices)
            except Fault as fault:
                refusal = refusal_of(fault)
                if body.ask.prompt and refusal.param == "messages":
                    refusal.param = "prompt"
                raise refusal from fault
            form, sort = (completions.TextEnvelope, "cmpl") if body.ask.prompt else (completions.Envelope, "chatcmpl")
            name, created_s = f"{sort}-{placed.jobs[0].job_id}", self._clock_ms() // 1000
            envelope = form(name, placed.model, created_s, placed.prompt_tokens)
            is_heard = False
            try:
                if body.is_streamed:
                    stream = CompletionStream(self._backend, self._desk, envelope, with_usage=body.with_usage)
                    await stream.send(placed.jobs, send)
                else:
                    jobs = await whole_answers(self._backend, self._desk, placed.jobs)
                    await _answer(request, envelope.completion(jobs), send)
                is_heard = True
            finally:
                if not is_heard:
                    self._desk.leave(placed.jobs)

        await unless_left(request.receive, answer)

    async def _embeddings(self, request: Request, key: GatewayKey, send: Send) -> None:
        body = embeddings_body(read_object(await _body(request)))

        async def answer() -> None:
            placed = await self._desk.place(key, body.ask, 1)
            (job,) = await whole_answers(self._backend, self._desk, placed.jobs)
            await _answer(request, completions.embeddings(job, as_base64=body.as_base64), send)

        await unless_left(request.receive, answer)


class _Endpoint:
    """One address: a handler for callers with a key."""

    def __init__(self, doorkeeper: Doorkeeper, rates: KeyRates, handler: Handler) -> None:
        self._doorkeeper = doorkeeper
        self._rates = rates
        self._handler = handler

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        # Before the body: a caller without a key makes the node read nothing.
        key = await self._doorkeeper.admit(request.headers)
        with self._rates.admitted(key):
            try:
                await self._handler(request, key, send)
            except ClientDisconnect:
                log.debug("a client left before the end of its request")


async def _body(request: Request) -> bytes:
    """At most MAX_BODY_BYTES within BODY_S; nothing is kept of another one. Raises: GatewayRefusal 413, 408."""
    body = bytearray()
    with trio.move_on_after(BODY_S):
        async with aclosing(request.stream()) as chunks:
            async for chunk in chunks:
                body += chunk
                if len(body) > MAX_BODY_BYTES:
                    raise GatewayRefusal(413, f"the body has more than {MAX_BODY_BYTES} bytes", code="too_large")
        return bytes(body)
    raise GatewayRefusal(408, f"the body did not come within {BODY_S:g} s", code="body_timeout")


async def _answer(request: Request, content: dict[str, Any], send: Send) -> None:
    await _json(content, 200)(request.scope, request.receive, send)


def _json(content: dict[str, Any], status: int, headers: dict[str, str] | None = None) -> Response:
    return Response(json.dumps(content).encode(), status, headers, media_type="application/json")


def _refuse(refusal: GatewayRefusal) -> Response:
    return _json(refusal.plain(), refusal.status, refusal.headers())


async def _on_refusal(_request: Request, error: Exception) -> Response:
    return _refuse(refusal_of(cast(NodeError, error)))


async def _on_http(request: Request, error: Exception) -> Response:
    found = cast(HTTPException, error)
    where = f"{request.method} {request.url.path}"[:MAX_SHOWN]
    return _refuse(GatewayRefusal(found.status_code, f"{where}: {found.detail}", code="unknown_url"))


async def _on_bug(_request: Request, error: Exception) -> Response:
    # The server logs it with its traceback; the caller need not see that.
    words = f"the node failed: {type(error).__name__}"
    return _refuse(GatewayRefusal(500, words, kind="server_error", code="internal"))
