"""One container from its creation to its removal, through the Docker Engine's API. Every call here blocks.

A container is created and started, never `run`: that would ask a registry for an image that is not here. A timer of its
own ends it when its time is over, whatever its output does, and it is removed whatever happens.

Neither this process nor the Engine is sure to live as long as a container. One that an earlier process of this node has
left is found by its labels and followed to its end like any other; an Engine that goes away is waited for, and asked
again what has become of the container.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import datetime
from typing import Any

import requests
from docker.errors import APIError, ImageNotFound, NotFound

from executor.containers.ending import EXIT_KILLED, Ending, Intent
from executor.containers.faults import engine_errors, has_stumbled, is_away
from executor.containers.sandbox import LABEL, Sandbox
from executor.containers.transcript import Flood, Said, Tokens, Transcript
from protocol.errors import ImageMissing

# How long after a kill or an exit the Engine may take to say so.
GRACE_S = 30
# Between SIGTERM and SIGKILL at the end of a job's time: enough to stop computing, not to go on.
TERM_GRACE_S = 0.5
# An Engine that is starting takes connections long before it answers, so each wait has a deadline.
PING_S = 0.5
# How long a run waits for an Engine that went away. A restart takes 1 to 11 seconds; after that another node is faster.
ENGINE_BACK_S = 20.0
# What the Engine says of a container that ended while it was away.
EXIT_UNKNOWN = 255
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 2.0
READ_BYTES = 64 * 1024
# What tells two containers of a node apart: what is run, and for whom.
NAMING = ("node", "job", "kind", "spec")


class Container:
    """One run. `run` or `adopt` is called once; `stop` may be called from another thread at any time."""

    def __init__(self, api: Any, probe: Any, sandbox: Sandbox) -> None:
        self._api = api
        self._probe = probe
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._intent: Intent | None = None
        self._running: str | None = None
        self._ended = threading.Event()
        self._told = threading.Event()
        self._unseen = False
        # Tokens that were passed on: where the output is read again from its start, these are not news.
        self._heard = 0

    def left_behind(self) -> str | None:
        """The container that an earlier process has started for the very same run; others for its job are removed.

        Raises: ExecutorError.
        """
        labels = self._sandbox.labels
        wanted = [f"{LABEL}{name}={labels[name]}" for name in NAMING if name != "spec" and name in labels]
        left = None
        with engine_errors():
            for found in self._probe.containers(all=True, filters={"label": wanted}):
                same = found["Labels"].get(LABEL + "spec") == labels.get("spec")
                # One that was created and never started has nothing to give.
                if same and left is None and found["State"] in ("running", "exited"):
                    left = str(found["Id"])
                else:
                    self._remove(found["Id"])
        return left

    def run(self, on_said: Callable[[Said], None]) -> Ending:
        """Create, start, follow to the end, remove. Raises: ImageMissing; ExecutorError where the Engine fails us."""
        with engine_errors():
            try:
                container = str(self._api.create_container_from_config(self._sandbox.container())["Id"])
            except ImageNotFound as error:
                raise ImageMissing(f"the image {self._sandbox.image} is not on this machine") from error
        return self._to_the_end(container, on_said, started=False)

    def adopt(self, container: str, on_said: Callable[[Said], None]) -> Ending:
        """As `run`, for one that was left behind: what it has said is heard again from the start."""
        self._running = container
        self._unseen = True
        return self._to_the_end(container, on_said, started=True)

    def remove(self, container: str) -> None:
        """Remove one that was left behind and is of no use. Raises: ExecutorError."""
        with engine_errors():
            self._remove(container)

    def stop(self, intent: Intent) -> None:
        """Kill the container, or keep it from starting. The first intent stands."""
        with self._lock:
            self._intent = self._intent or intent
            container = self._running
        self._told.set()
        if container is None:
            return
        if intent is Intent.TIMEOUT:
            self._kill(container, "SIGTERM")
            self._ended.wait(TERM_GRACE_S)
        if not self._ended.is_set():
            self._kill(container, "SIGKILL")

    def _kill(self, container: str, signal: str) -> None:
        # Already dead or gone is what we want; while the Engine is away, the waiting task kills again.
        with contextlib.suppress(APIError, requests.RequestException):
            self._probe.kill(container, signal)

    def _remove(self, container: str) -> None:
        with contextlib.suppress(NotFound):
            self._api.remove_container(container, force=True, v=True)

    def _to_the_end(self, container: str, on_said: Callable[[Said], None], *, started: bool) -> Ending:
        try:
            with engine_errors():
                return self._follow(container, on_said, started=started)
        finally:
            # A start that failed leaves a created container behind, too. What cannot be removed now, a sweep will.
            with contextlib.suppress(APIError, requests.RequestException):
                self._remove(container)

    def _follow(self, container: str, on_said: Callable[[Said], None], *, started: bool) -> Ending:
        limits = self._sandbox.limits
        began = time.monotonic() - (self._age_s(container) if started else 0)
        timer = threading.Timer(
            max(0.0, began + limits.timeout_ms / 1000 - time.monotonic()), self.stop, [Intent.TIMEOUT]
        )
        if started:
            timer.start()
        transcript = Transcript(limits)
        state: dict[str, Any] | None = None
        failed_starts = 0
        try:
            while state is None:
                try:
                    if started:
                        # From the start again: what was said meanwhile is in the Engine's log of it.
                        transcript = Transcript(limits)
                        self._read_again(container, transcript, on_said)
                    else:
                        began = time.monotonic()
                        # Attached before it starts, so that nothing it prints is missed.
                        with _attached(self._api, container) as stream:
                            # Only for an Engine that hangs: a container's own time is up long before.
                            stream.settimeout(limits.timeout_ms / 1000 + GRACE_S)
                            began = time.monotonic()
                            if started := self._start(container):
                                timer.start()
                                self._read(stream, transcript, on_said)
                    state = self._state(container)
                except Flood:
                    # Only now that we have let go of its output: as long as that waits to be read, the Engine can
                    # neither kill the container nor see it end.
                    self.stop(Intent.FLOOD)
                    state = self._state(container)
                except (APIError, requests.RequestException, OSError) as error:
                    if not started and not failed_starts and has_stumbled(error):
                        failed_starts += 1
                        continue
                    if not started or not is_away(error) or not self._is_back():
                        if self._intent is None:
                            raise
                        # The reason of its end is known already.
                        state = {}
        finally:
            timer.cancel()
            self._ended.set()
            self._running = None
        return Ending(
            exit_code=int(state.get("ExitCode", EXIT_KILLED)),
            oom_killed=bool(state.get("OOMKilled")),
            engine_error=str(state.get("Error", "")),
            duration_ms=round((time.monotonic() - began) * 1000),
            intent=self._intent,
            unseen=self._unseen and state.get("ExitCode") == EXIT_UNKNOWN,
            runner_error=transcript.error,
            metrics=transcript.metrics,
            log=transcript.log.decode(errors="replace"),
        )

    def _state(self, container: str) -> dict[str, Any]:
        """How it ended. A container that has closed its output may go on: only this says that it has ended."""
        if self._running:
            if self._intent:
                # Where the Engine was away when we wanted to.
                self._kill(container, "SIGKILL")
            self._api.wait(container, timeout=self._sandbox.limits.timeout_ms / 1000 + GRACE_S)
        state: dict[str, Any] = self._api.inspect_container(container)["State"]
        return state

    def _age_s(self, container: str) -> float:
        """Since when a container runs, or how long it has run; it is over its time if that was over its limit."""
        state = self._api.inspect_container(container)["State"]
        end_s = time.time() if state["Running"] else _moment(state["FinishedAt"])
        age_s = max(0.0, end_s - _moment(state["StartedAt"]))
        if not state["Running"] and age_s >= self._sandbox.limits.timeout_ms / 1000:
            # Killed for that by a process which did not live to say so.
            self._intent = self._intent or Intent.TIMEOUT
        return age_s

    def _start(self, container: str) -> bool:
        """Whether it was started: not if it was stopped before."""
        with self._lock:
            if self._intent is None:
                self._api.start(container)
                self._running = container
            return self._running is not None

    def _read(self, stream: socket.socket, transcript: Transcript, on_said: Callable[[Said], None]) -> None:
        while data := stream.recv(READ_BYTES):
            for said in transcript.feed(data):
                self._heard += len(said.ids) if isinstance(said, Tokens) else 0
                on_said(said)

    def _read_again(self, container: str, transcript: Transcript, on_said: Callable[[Said], None]) -> None:
        again = 0
        with _log_of(self._api, container, self._sandbox.limits.timeout_ms / 1000 + GRACE_S) as chunks:
            for data in chunks:
                for said in transcript.feed(data):
                    if isinstance(said, Tokens):
                        news = said.ids[max(0, self._heard - again) :]
                        again += len(said.ids)
                        self._heard = max(self._heard, again)
                        if not news:
                            continue
                        on_said(replace(said, ids=news))
                    else:
                        on_said(said)

    def _is_back(self) -> bool:
        """Wait for an Engine that went away: whether it is back in time to be asked, before a stop of our own."""
        self._unseen = True
        deadline, backoff_s = time.monotonic() + ENGINE_BACK_S, FIRST_BACKOFF_S
        while self._intent is None and time.monotonic() < deadline:
            try:
                self._probe.get(self._probe._url("/_ping"), timeout=PING_S).raise_for_status()
            except (APIError, requests.RequestException):
                self._told.wait(backoff_s)
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
            else:
                # Not at once: one that answers this and nothing else must not be asked without end.
                self._told.wait(FIRST_BACKOFF_S)
                return True
        return False


@contextlib.contextmanager
def _attached(api: Any, container: str) -> Iterator[socket.socket]:
    raw = api.attach_socket(container, params={"stdout": 1, "stderr": 1, "stream": 1})
    stream: socket.socket = getattr(raw, "_sock", raw)
    try:
        yield stream
    finally:
        # From the outside in: a response that finds its socket closed complains when it is collected.
        raw._response.close()
        stream.close()
        raw.close()


@contextlib.contextmanager
def _log_of(api: Any, container: str, timeout_s: float) -> Iterator[Iterator[bytes]]:
    """What a container has said and goes on saying, in the frames of an attached stream."""
    response = api.get(
        api._url("/containers/{0}/logs", container),
        params={"stdout": 1, "stderr": 1, "follow": 1},
        stream=True,
        timeout=timeout_s,
    )
    try:
        response.raise_for_status()
        yield response.iter_content(chunk_size=None)
    finally:
        response.close()


def _moment(text: str) -> float:
    """Unix time of the Engine's, which has nanoseconds."""
    return datetime.fromisoformat(text).timestamp()
