"""Jobs as their user follows them: their texts so far, and every step to each follower."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import replace

import trio

from node.api import views as api
from node.api.faults import Fault
from node.api.feed import Feed
from node.api.prefix import complete
from node.daemon.answers import Answers
from node.daemon.asked_rules import AskedRules
from node.daemon.known import KnownModels
from node.daemon.views import Views
from protocol.errors import AdapterError
from protocol.events import Event, FrameOpened
from protocol.job import Stage
from protocol.roles.machine import Machine
from protocol.wire.ids import Cid

SIGNED_WITHIN_S = 30.0
"""How long the signature of a request may take before the user is told to look later."""


class FollowedJobs:
    """Finds jobs by the beginning of an id, with their texts, and tells followers what is new."""

    def __init__(self, machine: Machine, known: KnownModels, views: Views, answers: Answers, rules: AskedRules) -> None:
        self._machine = machine
        self._known = known
        self._views = views
        self._answers = answers
        self._rules = rules
        self._feed = Feed()
        self._shown: dict[str, api.JobView] = {}
        self._changed = trio.Event()

    def find(self, prefix: str) -> api.JobView:
        """A job without its text. Raises: Fault not_found or ambiguous."""
        jobs = {job.id: job for job in self._views.jobs()}
        return jobs[complete(prefix, jobs, "job")]

    async def with_text(self, view: api.JobView) -> api.JobView:
        """A job with all text that is known of it."""
        if view.side != "requester" or not view.job_id:
            return view
        manifest = self._known.get(Cid(bytes.fromhex(view.manifest)))
        job_id = bytes.fromhex(view.job_id)
        return replace(view, text=await self._answers.text(manifest, job_id, await self._rules.stops(job_id)))

    async def signed_id(self, ask_id: bytes) -> str:
        """The id of a job once its request is signed. Raises: Fault job_failed, busy."""
        with trio.move_on_after(SIGNED_WITHIN_S):
            while True:
                view = self._views.requested(ask_id)
                if view is not None and view.stage is Stage.UNSERVED:
                    raise Fault("job_failed", view.reason)
                if view is not None and view.request_id is not None:
                    return view.request_id.hex()
                await self._changed.wait()
        raise Fault("busy", "the request is not signed yet", "vcoin job list shows it once it is")

    def follow(self, prefix: str) -> AbstractAsyncContextManager[AsyncIterator[api.JobUpdate]]:
        """See Backend."""
        job_id = self.find(prefix).id
        return self._feed.follow(job_id, lambda: self._look(job_id), self._answered)

    def _look(self, job_id: str) -> api.JobView:
        """A job with the text that is known without waiting for the disk."""
        view = next(job for job in self._views.jobs() if job.id == job_id)
        self._shown[job_id] = view
        if view.side != "requester" or not view.job_id:
            return view
        return replace(view, text=self._answers.streamed(bytes.fromhex(view.job_id)))

    async def _answered(self, view: api.JobView) -> api.JobView:
        """With the text of its result if there is one: frames may be lost, or belong to a run that began again."""
        return await self.with_text(view) if view.ended or view.state in api.ANSWERED else view

    async def follow_events(self, events: trio.MemoryReceiveChannel[Event]) -> None:
        """Keep texts and followers up to date, until cancelled."""
        async for event in events:
            self._changed.set()
            self._changed = trio.Event()
            if isinstance(event, FrameOpened):
                await self._frame(event)
            await self._publish_changes()

    async def _frame(self, event: FrameOpened) -> None:
        view = next((view for view in self._machine.requester.jobs if view.job_id == event.job_id), None)
        manifest = self._known.get(Cid(view.manifest)) if view else None
        if view is None or manifest is None:
            return
        try:
            stops = await self._rules.stops(event.job_id)
            text = await self._answers.add_frame(manifest, event.job_id, event.seq, event.ids, stops)
        except AdapterError:
            return
        if text and view.request_id:
            self._feed.publish(view.request_id.hex(), api.JobUpdate("text", text=text, attempt=view.attempt))

    async def _publish_changes(self) -> None:
        followed = self._feed.followed
        self._shown = {job_id: view for job_id, view in self._shown.items() if job_id in followed}
        if not followed:
            return
        for view in self._views.jobs():
            # Tokens come as text; only a step of the job is news.
            if view.id in followed and _step_of(view) != _step_of(self._shown.get(view.id)):
                self._shown[view.id] = view
                self._feed.publish(view.id, api.JobUpdate("state", job=await self.with_text(view)))


def _step_of(view: api.JobView | None) -> tuple[object, ...]:
    return () if view is None else (view.state, view.attempt, view.node, view.batch_id, view.cost_wei, view.finish)
