"""One container from its creation to its removal, through the Docker Engine's API. Every call here blocks.

A container is created and started, never `run`: that would ask a registry for an image that is not here. A timer of its
own kills it when its time is over, whatever its output does, and it is removed whatever happens.
"""

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import replace
from typing import Any

import docker
import requests
from docker.errors import APIError, DockerException, ImageNotFound, NotFound

from executor.ending import Ending, Intent
from executor.sandbox import LABEL, Sandbox
from executor.transcript import Flood, Said, Transcript
from protocol.errors import ExecutorError, ImageMissing

DEFAULT_HOST = "unix:///var/run/docker.sock"
API_TIMEOUT_S = 60
# How long after a kill or an exit the Engine may take to say so.
GRACE_S = 30
READ_BYTES = 64 * 1024


class Engine:
    """The Docker Engine at `host`, as far as one node uses it: containers that carry the node's label."""

    def __init__(self, node: str, host: str = DEFAULT_HOST) -> None:
        """Raises: ExecutorError if nothing answers there."""
        self._node = node
        with engine_errors():
            self.api = docker.APIClient(base_url=host, version="auto", timeout=API_TIMEOUT_S)

    def close(self) -> None:
        self.api.close()

    def container(self, sandbox: Sandbox, job: str, deadline_s: int) -> "Container":
        """A container that does not exist yet; `job` and `deadline_s` (Unix time) are what a sweep will know it by."""
        labels = {**sandbox.labels, "node": self._node, "job": job, "deadline": str(deadline_s)}
        return Container(self.api, replace(sandbox, labels=labels))

    def sweep(self, known_jobs: Collection[str], now_s: float) -> list[str]:
        """Remove this node's containers whose job is unknown or late; returns their jobs. Raises ExecutorError."""
        removed = []
        with engine_errors():
            mine = self.api.containers(all=True, filters={"label": [f"{LABEL}node={self._node}"]})
            for found in mine:
                labels = found["Labels"]
                job = labels.get(LABEL + "job", "")
                if job not in known_jobs or _seconds(labels.get(LABEL + "deadline", "")) < now_s:
                    with contextlib.suppress(NotFound):
                        self.api.remove_container(found["Id"], force=True, v=True)
                    removed.append(job)
        return removed


class Container:
    """One run. `run` is called once; `stop` may be called from another thread at any time."""

    def __init__(self, api: docker.APIClient, sandbox: Sandbox) -> None:
        self._api: Any = api
        self._sandbox = sandbox
        self._lock = threading.Lock()
        self._intent: Intent | None = None
        self._running: str | None = None

    def run(self, on_said: Callable[[Said], None]) -> Ending:
        """Create, start, follow to the end, remove. Raises: ImageMissing; ExecutorError where the Engine fails us."""
        with engine_errors():
            try:
                container = str(self._api.create_container_from_config(self._sandbox.container())["Id"])
            except ImageNotFound as error:
                raise ImageMissing(f"the image {self._sandbox.image} is not on this machine") from error
        try:
            with engine_errors():
                return self._follow(container, on_said)
        finally:
            # A start that failed leaves a created container behind, too. What cannot be removed now, the sweep will.
            with contextlib.suppress(APIError, requests.RequestException):
                self._api.remove_container(container, force=True, v=True)

    def stop(self, intent: Intent) -> None:
        """Kill the container, or keep it from starting. The first intent stands."""
        with self._lock:
            self._intent = self._intent or intent
            container = self._running
        if container:
            # Already dead or gone is what we want; an Engine that is down ends the run through its broken stream.
            with contextlib.suppress(APIError, requests.RequestException):
                self._api.kill(container)

    def _follow(self, container: str, on_said: Callable[[Said], None]) -> Ending:
        limits = self._sandbox.limits
        transcript = Transcript(limits)
        timeout_s = limits.timeout_ms / 1000
        timer = threading.Timer(timeout_s, self.stop, [Intent.TIMEOUT])
        started = time.monotonic()
        try:
            try:
                # Attached before it starts, so that nothing it prints is missed.
                with _attached(self._api, container) as stream:
                    # Only for an Engine that hangs: a container's own time is up long before.
                    stream.settimeout(timeout_s + GRACE_S)
                    started = time.monotonic()
                    if self._start(container):
                        timer.start()
                        self._read(stream, transcript, on_said)
            except Flood:
                # Only now that we have let go of its output: as long as that waits to be read, the Engine can neither
                # kill the container nor see it end.
                self.stop(Intent.FLOOD)
            # A container that has closed its output may go on: only this says that it has ended.
            if self._running:
                self._api.wait(container, timeout=timeout_s + GRACE_S)
        finally:
            timer.cancel()
            self._running = None
        state = self._api.inspect_container(container)["State"]
        return Ending(
            exit_code=int(state["ExitCode"]),
            oom_killed=bool(state["OOMKilled"]),
            engine_error=str(state["Error"]),
            duration_ms=round((time.monotonic() - started) * 1000),
            intent=self._intent,
            runner_error=transcript.error,
            metrics=transcript.metrics,
            log=transcript.log.decode(errors="replace"),
        )

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
                on_said(said)


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
def engine_errors() -> Iterator[None]:
    """The vendors' errors as ours; all of them may pass by themselves, except those for a request that is wrong."""
    try:
        yield
    except APIError as error:
        wrong = error.status_code is not None and 400 <= error.status_code < 500
        raise ExecutorError(f"the Docker Engine refused: {error.explanation}", transient=not wrong) from error
    except (DockerException, requests.RequestException, OSError) as error:
        raise ExecutorError(f"the Docker Engine does not answer: {error}", transient=True) from error


def _seconds(label: str) -> int:
    return int(label) if label.isdecimal() else 0
