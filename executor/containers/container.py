"""One container from its creation to its removal, through the Docker Engine's API. Every call here blocks.

A container is created and started, never `run`: that would ask a registry for a missing image. A timer ends it when its
time is over, and it is removed on every path. One that says that it is done is killed: Python and torch would take
half a second more to leave.

A container may outlive this process and the Engine. The next process of the node finds it by its labels and follows it
to its end. If the Engine goes away, the run waits for it and asks it again how the container ended.
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
from executor.containers.transcript import Flood, RunnerEvent, Tokens, Transcript
from protocol.errors import ExecutorError, ImageMissing

GRACE_S = 30
"""How long the Engine may take to report a kill or an exit."""
TERM_GRACE_S = 0.5
"""Between SIGTERM and SIGKILL when a job's time is over: enough to stop, not to compute on."""
PING_S = 0.5
"""An Engine that starts takes connections long before it answers: a ping must not wait for that."""
ENGINE_BACK_S = 20.0
"""How long a run waits for an Engine that went away. A restart takes 1 to 11 s; later another node is faster."""
EXIT_UNKNOWN = 255
"""The exit code that the Engine gives a container that ended while the Engine was away."""
FIRST_BACKOFF_S, LONGEST_BACKOFF_S = 0.1, 2.0
READ_BYTES = 64 * 1024
NAMING = ("node", "job", "kind", "spec")
"""The labels that identify a container."""


class Container:
    """One container. `run` or `adopt` is called once; another thread may call `stop` at any time."""

    def __init__(self, api: Any, probe: Any, sandbox: Sandbox) -> None:
        self._api = api
        self._probe = probe
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._intent: Intent | None = None
        self._running: str | None = None
        self._ended = threading.Event()
        self._stop_asked = threading.Event()
        self._unseen = False
        # Tokens that were passed on. If the output is read again from its start, these are left out.
        self._passed_on = 0
        self._stdin: socket.socket | None = None

    def left_behind(self) -> str | None:
        """Find the container that an earlier process started for the same run; remove others of its job.

        Raises: ExecutorError.
        """
        labels = self._sandbox.labels
        wanted = [f"{LABEL}{name}={labels[name]}" for name in NAMING if name != "spec" and name in labels]
        left = None
        with engine_errors():
            for found in self._probe.containers(all=True, filters={"label": wanted}):
                same = found["Labels"].get(LABEL + "spec") == labels.get("spec")
                # A container that was created and never started has no output.
                if same and left is None and found["State"] in ("running", "paused", "exited"):
                    left = str(found["Id"])
                else:
                    self._remove(found["Id"])
        return left

    def run(self, on_event: Callable[[RunnerEvent], None]) -> Ending:
        """Create, start, follow to the end, remove. Raises: ImageMissing; ExecutorError if the Engine fails."""
        with engine_errors():
            try:
                container = str(self._api.create_container_from_config(self._sandbox.container())["Id"])
            except ImageNotFound as error:
                raise ImageMissing(f"the image {self._sandbox.image} is not on this machine") from error
        return self._to_the_end(container, on_event, started=False)

    def adopt(self, container: str, on_event: Callable[[RunnerEvent], None]) -> Ending:
        """As `run`, for a container that was left behind: its output is read again from the start."""
        self._running = container
        self._unseen = True
        return self._to_the_end(container, on_event, started=True)

    def remove(self, container: str) -> None:
        """Remove a container that was left behind and cannot be used. Raises: ExecutorError."""
        with engine_errors():
            self._remove(container)

    def send(self, line: bytes) -> None:
        """Write a line to the standard input of a served container. Raises: ExecutorError if it does not run."""
        with self._lock:
            try:
                if self._stdin is None:
                    raise ExecutorError("the container does not listen", transient=True)
                self._stdin.sendall(line)
            except OSError as error:
                raise ExecutorError(f"the container does not listen: {error}", transient=True) from error

    def stop(self, intent: Intent) -> None:
        """Kill the container, or keep it from starting. The first intent stands."""
        with self._lock:
            self._intent = self._intent or intent
            container = self._running
        self._stop_asked.set()
        if container is None:
            return
        if intent is Intent.TIMEOUT:
            self._kill(container, "SIGTERM")
            self._ended.wait(TERM_GRACE_S)
        if not self._ended.is_set():
            self._kill(container, "SIGKILL")

    def _kill(self, container: str, signal: str) -> None:
        # A dead container is what we want. If the Engine is away, the thread that follows the container kills it later.
        with contextlib.suppress(APIError, requests.RequestException):
            self._probe.kill(container, signal)

    def _remove(self, container: str) -> None:
        with contextlib.suppress(NotFound):
            self._api.remove_container(container, force=True, v=True)

    def _to_the_end(self, container: str, on_event: Callable[[RunnerEvent], None], *, started: bool) -> Ending:
        try:
            with engine_errors():
                return self._follow(container, on_event, started=started)
        finally:
            # A start that failed leaves a created container, too. If it cannot be removed now, a sweep removes it.
            with contextlib.suppress(APIError, requests.RequestException):
                self._remove(container)

    def _follow(self, container: str, on_event: Callable[[RunnerEvent], None], *, started: bool) -> Ending:
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
                        # Read from the start: the Engine's log has the output that was missed.
                        transcript = Transcript(limits)
                        self._read_again(container, transcript, on_event)
                    else:
                        began = time.monotonic()
                        # Attach before the start, so that no output is missed.
                        with _attached(self._api, container, self._sandbox.is_served) as stream:
                            # Only for an Engine that hangs: the timeout of the container passes long before.
                            stream.settimeout(limits.timeout_ms / 1000 + GRACE_S)
                            began = time.monotonic()
                            if started := self._start(container):
                                timer.start()
                                self._stdin = stream if self._sandbox.is_served else None
                                self._read(stream, transcript, on_event)
                    state = self._state(container)
                except Flood:
                    # After the stream was closed: while output waits to be read, the Engine can neither kill the
                    # container nor see it end.
                    self.stop(Intent.FLOOD)
                    state = self._state(container)
                except (APIError, requests.RequestException, OSError) as error:
                    if not started and not failed_starts and has_stumbled(error):
                        failed_starts += 1
                        continue
                    # A served container that hears nothing more is of no use.
                    is_lost = self._sandbox.is_served or not is_away(error)
                    if not started or is_lost or not self._is_back():
                        if self._intent is None:
                            raise
                        # The reason for the end is known without the Engine.
                        state = {}
        finally:
            timer.cancel()
            self._ended.set()
            with self._lock:
                self._stdin = None
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
        """Wait for the end. Returns: the Engine's state of it. A container may close its output and go on."""
        if self._running:
            if self._intent:
                # The Engine may have been away at the first kill.
                self._kill(container, "SIGKILL")
            self._api.wait(container, timeout=self._sandbox.limits.timeout_ms / 1000 + GRACE_S)
        state: dict[str, Any] = self._api.inspect_container(container)["State"]
        return state

    def _age_s(self, container: str) -> float:
        """How long a container has run. Notes the timeout if it ended with its time over."""
        state = self._api.inspect_container(container)["State"]
        end_s = time.time() if state["Running"] else _moment(state["FinishedAt"])
        age_s = max(0.0, end_s - _moment(state["StartedAt"]))
        if not state["Running"] and age_s >= self._sandbox.limits.timeout_ms / 1000:
            # An earlier process killed it, and died before it could note why.
            self._intent = self._intent or Intent.TIMEOUT
        return age_s

    def _start(self, container: str) -> bool:
        """Start it unless it was stopped before. Returns: whether it runs."""
        with self._lock:
            if self._intent is None:
                self._api.start(container)
                self._running = container
            return self._running is not None

    def _read(self, stream: socket.socket, transcript: Transcript, on_event: Callable[[RunnerEvent], None]) -> None:
        while data := stream.recv(READ_BYTES):
            for event in transcript.feed(data):
                self._passed_on += len(event.ids) if isinstance(event, Tokens) else 0
                on_event(event)
            self._end_if_done(transcript)

    def _read_again(self, container: str, transcript: Transcript, on_event: Callable[[RunnerEvent], None]) -> None:
        again = 0
        with _log_of(self._api, container, self._sandbox.limits.timeout_ms / 1000 + GRACE_S) as chunks:
            for data in chunks:
                for event in transcript.feed(data):
                    if isinstance(event, Tokens):
                        new = event.ids[max(0, self._passed_on - again) :]
                        again += len(event.ids)
                        self._passed_on = max(self._passed_on, again)
                        if not new:
                            continue
                        on_event(replace(event, ids=new))
                    else:
                        on_event(event)
                self._end_if_done(transcript)

    def _end_if_done(self, transcript: Transcript) -> None:
        if transcript.is_done and not self._stop_asked.is_set():
            self.stop(Intent.DONE)

    def _is_back(self) -> bool:
        """Wait for an Engine that went away. Returns: whether it came back in time and before a stop."""
        self._unseen = True
        deadline, backoff_s = time.monotonic() + ENGINE_BACK_S, FIRST_BACKOFF_S
        while self._intent is None and time.monotonic() < deadline:
            try:
                self._probe.get(self._probe._url("/_ping"), timeout=PING_S).raise_for_status()
            except (APIError, requests.RequestException):
                self._stop_asked.wait(backoff_s)
                backoff_s = min(2 * backoff_s, LONGEST_BACKOFF_S)
            else:
                # Wait: an Engine that answers pings and nothing else must not be asked without pause.
                self._stop_asked.wait(FIRST_BACKOFF_S)
                return True
        return False


@contextlib.contextmanager
def _attached(api: Any, container: str, is_served: bool) -> Iterator[socket.socket]:
    streams = {"stdout": 1, "stderr": 1, "stream": 1, **({"stdin": 1} if is_served else {})}
    raw = api.attach_socket(container, params=streams)
    stream: socket.socket = getattr(raw, "_sock", raw)
    try:
        yield stream
    finally:
        # In this order: a response whose socket is closed already warns when it is collected.
        raw._response.close()
        stream.close()
        raw.close()


@contextlib.contextmanager
def _log_of(api: Any, container: str, timeout_s: float) -> Iterator[Iterator[bytes]]:
    """The output of a container so far and from now on, in the frames of an attached stream."""
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
    """Unix time in seconds from the Engine's text, which has nanoseconds."""
    return datetime.fromisoformat(text).timestamp()
