"""The answers of a request: its jobs are followed side by side, and answered in one piece or as they come."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import trio
from starlette.types import Send

from node.api.backend import Backend
from node.api.embeddings import answered
from node.api.faults import Fault
from node.api.gateway.answer_text import AnswerText
from node.api.gateway.completions import DONE, Envelope, event, finish_reason
from node.api.gateway.job_desk import JobDesk, PlacedJob
from node.api.gateway.refusals import GatewayRefusal, failed, refusal_of
from node.api.views import ANSWERED, JobUpdate, JobView
from protocol.errors import NodeError

log = logging.getLogger("vcoin.api.gateway")

Tell = Callable[[bytes], Awaitable[None]]
_HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-store"),
    # A proxy must not wait for the end of the answer.
    (b"x-accel-buffering", b"no"),
]


async def whole_answers(backend: Backend, desk: JobDesk, jobs: Sequence[PlacedJob]) -> list[JobView]:
    """The answers of some jobs. Raises: GatewayRefusal of the first that fails; the others go on unheard."""
    found: dict[int, JobView] = {}

    async def wait(place: int, placed: PlacedJob) -> None:
        try:
            job = await answered(backend, placed.job_id)
        except Fault as fault:
            raise await _reason(backend, placed, fault) from fault
        await desk.answered(placed, job)
        found[place] = job

    await _side_by_side([(wait, place, placed) for place, placed in enumerate(jobs)])
    return [found[place] for place in range(len(jobs))]


class CompletionStream:
    """Sends the answers of some jobs as server-sent events.

    The response begins with the first token, so that a job that no node takes has the status of its reason. After
    that, a fault is an event, as OpenAI's clients expect, and ends the stream without its last word.
    """

    def __init__(self, backend: Backend, desk: JobDesk, envelope: Envelope, *, with_usage: bool) -> None:
        self._backend = backend
        self._desk = desk
        self._envelope = envelope
        self._with_usage = with_usage
        self._has_begun = False

    async def send(self, jobs: Sequence[PlacedJob], send: Send) -> None:
        """Send all answers. Raises: the error of a job before the first token."""
        turn, ended = trio.Lock(), dict[int, JobView]()

        async def tell(content: bytes) -> None:
            if not self._has_begun:
                self._has_begun = True
                await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
            await send({"type": "http.response.body", "body": content, "more_body": True})

        async def follow(place: int, placed: PlacedJob) -> None:
            choice = _Choice(self._envelope, place, with_usage=self._with_usage)
            async with self._backend.follow(placed.job_id) as updates:
                async for update in updates:
                    if update.job is not None and update.job.failure is not None:
                        failure = update.job.failure
                        raise await _reason(self._backend, placed, Fault("job_failed", failure.message, failure.hint))
                    if said := choice.said(update):
                        async with turn:
                            await tell(said)
                    if update.job is not None and update.job.state in ANSWERED:
                        ended[place] = update.job
                        await self._desk.answered(placed, update.job)
                        return
            raise await _reason(self._backend, placed, Fault("job_failed", "the job ended without an answer"))

        try:
            await _side_by_side([(follow, place, placed) for place, placed in enumerate(jobs)])
            if self._with_usage:
                await tell(event(self._envelope.last_chunk([ended[place] for place in sorted(ended)])))
            await tell(DONE)
        except NodeError as error:
            if not self._has_begun:
                raise
            await tell(event(refusal_of(error).plain()))
        except Exception:
            if not self._has_begun:
                raise
            log.exception("a stream failed")
            await tell(event(refusal_of(Fault("internal", "a stream failed")).plain()))
        await send({"type": "http.response.body", "body": b"", "more_body": False})


class _Choice:
    """One answer of a stream, as events."""

    def __init__(self, envelope: Envelope, index: int, *, with_usage: bool) -> None:
        self._envelope = envelope
        self._index = index
        self._with_usage = with_usage
        self._text = AnswerText()
        self._has_begun = False

    def said(self, update: JobUpdate) -> bytes:
        """The events for an update; empty if it brings no text and is not the last one. Raises: GatewayRefusal."""
        new, job = self._text.new(update), update.job
        is_last = job is not None and job.state in ANSWERED
        events = b""
        if (new or is_last) and not self._has_begun:
            self._has_begun = True
            if (opening := self._envelope.opening()) is not None:
                events += self._event(opening, None)
        if new:
            events += self._event(self._envelope.part(new), None)
        if job is not None and is_last:
            events += self._event(self._envelope.part(""), finish_reason(job))
        return events

    def _event(self, part: dict[str, Any], finish: str | None) -> bytes:
        return event(self._envelope.chunk(self._index, part, finish, with_usage=self._with_usage))


async def _reason(backend: Backend, placed: PlacedJob, fault: Fault) -> GatewayRefusal:
    """Why a job failed: no node took it, or the node that had it did not do it."""
    job = await backend.job(placed.job_id)
    return failed(fault, hired=bool(job.node))


async def _side_by_side(
    tasks: Sequence[tuple[Callable[[int, PlacedJob], Awaitable[None]], int, PlacedJob]],
) -> None:
    """Run all; the first error of one ends the others, and is raised as it is."""
    first: list[Exception] = []

    async def run(act: Callable[[int, PlacedJob], Awaitable[None]], place: int, placed: PlacedJob) -> None:
        try:
            await act(place, placed)
        except Exception as error:
            # Out of the nursery as it is, not in a group, so that its status and its words are its own.
            first.append(error)
            nursery.cancel_scope.cancel()

    async with trio.open_nursery() as nursery:
        for act, place, placed in tasks:
            nursery.start_soon(run, act, place, placed)
    if first:
        raise first[0]
