"""Parses the output of a container without trust: frames of the attach stream in, events out. No I/O.

A frame is one byte of stream number, three zero bytes, a big-endian length and the payload. stdout carries a JSON
object a line; of stderr only the end is kept. Lines that are no event are dropped. Too much output raises Flood.
"""

import json
from dataclasses import dataclass
from typing import TypeGuard

from executor.containers.ending import RunnerError, printable
from executor.containers.sandbox import Limits

HEADER = 8
STDOUT = 1
MAX_LINE_BYTES = 4096
FIRST_LINES = 100
MAX_IDS = 1024
MAX_TOKEN_ID = 2**32 - 1
LOG_TAIL_BYTES = 4096
MAX_METRICS = 32
MAX_JOBS = 64


class Flood(Exception):
    """The container printed more than an honest runner does."""


@dataclass(frozen=True, slots=True)
class Ready:
    """The model is loaded and the input understood."""


@dataclass(frozen=True, slots=True)
class Tokens:
    """New tokens, in order. `job` is the place of the job in a shared container, None in a container of its own."""

    ids: tuple[int, ...]
    job: int | None = None


@dataclass(frozen=True, slots=True)
class RunProgress:
    """`step` of `total` is done."""

    step: int
    total: int


@dataclass(frozen=True, slots=True)
class Answered:
    """The outputs of one job of a shared container are complete.

    run_ms: how long it took; most: how many answers were written beside each other at the busiest moment.
    """

    job: int
    run_ms: int = 0
    most: int = 0


@dataclass(frozen=True, slots=True)
class Unsettled:
    """A shared container is done with a job that it has not settled, because it cannot or was told to leave it."""

    job: int


@dataclass(frozen=True, slots=True)
class Declined:
    """One job of a shared container cannot be done as asked, and why."""

    job: int
    error: RunnerError


RunnerEvent = Ready | Tokens | RunProgress | Answered | Unsettled | Declined


class Transcript:
    """Takes the bytes of the socket. `error`, `metrics` and `log` hold the last report of the runner.

    `is_done`: the runner said that all outputs are written.
    """

    def __init__(self, limits: Limits) -> None:
        self.error: RunnerError | None = None
        self.is_done = False
        self.metrics: dict[str, int] = {}
        self.log = b""
        self._buffer = bytearray()
        self._line = bytearray()
        self._bytes_left = limits.stdout_bytes
        self._lines_left = FIRST_LINES + limits.stdout_lines_per_s * limits.timeout_ms // 1000

    def feed(self, data: bytes) -> list[RunnerEvent]:
        """Events that these bytes complete. Raises: Flood."""
        self._bytes_left -= len(data)
        if self._bytes_left < 0:
            raise Flood("too many bytes")
        self._buffer += data
        events: list[RunnerEvent] = []
        while len(self._buffer) >= HEADER:
            end = HEADER + int.from_bytes(self._buffer[4:HEADER], "big")
            if len(self._buffer) < end:
                break
            stream, payload = self._buffer[0], bytes(self._buffer[HEADER:end])
            del self._buffer[:end]
            if stream == STDOUT:
                events += self._stdout(payload)
            else:
                self.log = (self.log + payload)[-LOG_TAIL_BYTES:]
        return events

    def _stdout(self, payload: bytes) -> list[RunnerEvent]:
        *complete, rest = (bytes(self._line) + payload).split(b"\n")
        self._line = bytearray(rest)
        self._lines_left -= len(complete)
        if self._lines_left < 0 or any(len(line) > MAX_LINE_BYTES for line in (*complete, rest)):
            raise Flood("too many or too long lines")
        return [event for line in complete for event in self._events(line)]

    def _events(self, line: bytes) -> list[RunnerEvent]:
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            return []
        # After `done` no event counts: the results are closed by then.
        if not isinstance(said, dict) or self.is_done:
            return []
        job = said.get("job")
        match said.get("ev"):
            case "ready":
                return [Ready()]
            case "tokens" if "jobs" in said:
                return _tokens_of_jobs(said["jobs"])
            case "tokens":
                return _tokens(said.get("ids"), None)
            case "progress":
                return [RunProgress(_count(said.get("step")), _count(said.get("total")))]
            case "answer" if _is_number(job):
                return [Answered(job, _count(said.get("run_ms")), _count(said.get("most")))]
            case "later" | "left" if _is_number(job):
                return [Unsettled(job)]
            case "done":
                self.metrics, self.is_done = _metrics(said.get("metrics")), True
            case "error":
                error = RunnerError(printable(str(said.get("code"))), printable(str(said.get("message"))))
                if _is_number(job):
                    return [Declined(job, error)]
                self.error = error
        return []


def _tokens(ids: object, job: int | None) -> list[RunnerEvent]:
    if not isinstance(ids, list) or len(ids) > MAX_IDS:
        return []
    return [Tokens(tuple(ids), job)] if all(type(i) is int and 0 <= i <= MAX_TOKEN_ID for i in ids) else []


def _tokens_of_jobs(jobs: object) -> list[RunnerEvent]:
    if not isinstance(jobs, dict) or len(jobs) > MAX_JOBS:
        return []
    # Keys of JSON are text, and int() alone would accept ٣ and 1_000.
    numbers = {name: int(name) for name in jobs if name.isascii() and name.isdecimal() and len(name) < 4}
    return [event for name, job in numbers.items() if job < MAX_JOBS for event in _tokens(jobs[name], job)]


def _is_number(job: object) -> TypeGuard[int]:
    return type(job) is int and 0 <= job < MAX_JOBS


def _metrics(found: object) -> dict[str, int]:
    if not isinstance(found, dict):
        return {}
    return {str(name)[:40]: _count(value) for name, value in list(found.items())[:MAX_METRICS]}


def _count(value: object) -> int:
    return value if type(value) is int and 0 <= value <= MAX_TOKEN_ID else 0
