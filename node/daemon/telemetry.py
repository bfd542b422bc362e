"""Telemetry of the daemon: its log, and the few numbers that are watched.

The log is for a person on a terminal and JSON elsewhere; facts ride in `extra`, never in the message. The numbers are
a fold over events, kept in memory; every reader gets them from the one snapshot that the daemon makes of itself.
"""

import json
import logging
import os
import re
import sys
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from protocol.events import CaseResolved, ContainerExited, DeviceReported, Event, MessageSent, MessageUnanswered
from protocol.params import DELAY_ALERT_MS, FAILURE_RING, PAUSE_ABOVE_C
from protocol.roles.latency import DELAYS_KEPT, SILENCE_MS
from protocol.stages.execution import Outcome
from protocol.stages.heartbeat import GpuGroup
from protocol.stages.verification import Verdict

FAILURE_ALERT_PERCENT = 20
NOISY = ("multiaddr", "web3", "urllib3", "docker", "anycorn")
"""Libraries whose own words help only those who work on them; p2p silences its own."""

_PLAIN = set(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_COLOURS = {"WARNING": "\33[33m", "ERROR": "\33[31m", "CRITICAL": "\33[31m", "DEBUG": "\33[2m"}
_FAILURES = {Outcome.JOB, Outcome.PROVIDER, Outcome.HOSTILE}


def set_up_logging(form: str, level: str, stream: TextIO | None = None) -> None:
    """Send the log to a stream, stderr by default. `form` is human, json, or auto: human on a terminal."""
    stream = stream or sys.stderr
    human = form == "human" or (form == "auto" and stream.isatty())
    handler = logging.StreamHandler(stream)
    handler.setFormatter(HumanFormatter(coloured=stream.isatty()) if human else JsonFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for name in NOISY:
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


class HumanFormatter(logging.Formatter):
    """One line: time, level, message, then the facts as name=value."""

    def __init__(self, *, coloured: bool) -> None:
        super().__init__()
        self._coloured = coloured

    def format(self, record: logging.LogRecord) -> str:
        at = time.strftime("%H:%M:%S", time.localtime(record.created))
        facts = "".join(f"  {name}={_short(value)}" for name, value in _facts(record).items())
        line = _harmless(f"{at} {record.levelname.lower():<7} {record.getMessage()}{facts}")
        if record.exc_info:
            line += "\n" + _harmless(self.formatException(record.exc_info))
        colour = _COLOURS.get(record.levelname) if self._coloured else None
        return f"{colour}{line}\33[0m" if colour else line


class JsonFormatter(logging.Formatter):
    """One object a line: time in milliseconds, level, logger, message, and each fact under its own name."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {name: _plain(value) for name, value in _facts(record).items()}
        line |= {
            "time_ms": int(record.created * 1000),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        # JSON leaves signs as they are that a terminal obeys.
        return "".join(c if c.isprintable() else json.dumps(c)[1:-1] for c in json.dumps(line, ensure_ascii=False))


def _harmless(text: str) -> str:
    """Without what a terminal obeys: facts hold words of peers, containers and endpoints."""
    return "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in text)


def _facts(record: logging.LogRecord) -> dict[str, Any]:
    return {name: value for name, value in vars(record).items() if name not in _PLAIN}


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return value.hex()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _short(value: Any) -> str:
    text = str(_plain(value))
    # The beginning of an id of 64 digits is enough for a person.
    return f"{text[:12]}..." if len(text) == 64 and all(digit in "0123456789abcdef" for digit in text) else text


@dataclass(frozen=True, slots=True)
class Alert:
    """A rule that is broken right now: its name, and the number that broke it in words."""

    name: str
    words: str


class Metrics:
    """Counts what happens on this node since it was started."""

    def __init__(self) -> None:
        self.tasks: dict[Outcome, int] = dict.fromkeys(Outcome, 0)
        """Containers by how they ended."""
        self.task_ms = 0
        """Time of those that ended well, all together."""
        self.cases: dict[Verdict, int] = {Verdict.PASS: 0, Verdict.REVIEW: 0, Verdict.SEVERE: 0}
        """Cases that were resolved, by verdict; those without judges are none."""
        self._recent: deque[bool] = deque(maxlen=FAILURE_RING)
        self._latency: deque[int] = deque(maxlen=DELAYS_KEPT)
        self._gpus: tuple[GpuGroup, ...] = ()

    def observe(self, event: Event) -> None:
        """Take one event into the numbers."""
        match event:
            case ContainerExited(result=result):
                self.tasks[result.outcome] += 1
                if result.outcome is Outcome.OK:
                    self.task_ms += result.duration_ms
                # A client's bad input counts neither way.
                if result.outcome is Outcome.OK or result.outcome in _FAILURES:
                    self._recent.append(result.outcome in _FAILURES)
            case MessageSent(round_trip_ms=round_trip_ms):
                self._latency.append(round_trip_ms)
            case MessageUnanswered():
                self._latency.append(SILENCE_MS)
            case DeviceReported(status):
                self._gpus = status.gpus
            case CaseResolved(verdict=verdict) if verdict in self.cases:
                self.cases[verdict] += 1

    @property
    def mean_task_ms(self) -> int:
        """Mean time of the tasks that ended well; 0 before the first."""
        done = self.tasks[Outcome.OK]
        return self.task_ms // done if done else 0

    @property
    def failure_percent(self) -> int:
        """Failed ones of the last 50 tasks."""
        return 100 * sum(self._recent) // len(self._recent) if self._recent else 0

    @property
    def temperature_c(self) -> int:
        """Of the hottest card; 0 without one."""
        return max((gpu.temperature_c for gpu in self._gpus), default=0)

    @property
    def mean_delay_ms(self) -> int:
        """Mean of the last round trips to peers."""
        return sum(self._latency) // len(self._latency) if self._latency else 0

    @property
    def pass_percent(self) -> int:
        """Cases that ended in a pass; 100 before the first."""
        cases = sum(self.cases.values())
        return 100 * self.cases[Verdict.PASS] // cases if cases else 100

    def alerts(self) -> tuple[Alert, ...]:
        """The rules that act by themselves, as far as they are broken now."""
        found = []
        if self.temperature_c > PAUSE_ABOVE_C:
            words = f"a GPU has {self.temperature_c} C, above {PAUSE_ABOVE_C} C: no new jobs until it is cooler"
            found.append(Alert("hot", words))
        # A first failure is no rate.
        if len(self._recent) >= FAILURE_RING // 5 and self.failure_percent > FAILURE_ALERT_PERCENT:
            words = (
                f"{self.failure_percent} % of the last {len(self._recent)} jobs failed: more of them will be checked"
            )
            found.append(Alert("failing", words))
        if self.mean_delay_ms > DELAY_ALERT_MS:
            found.append(Alert("slow", f"peers answer after {self.mean_delay_ms} ms in the mean: hired last"))
        return tuple(found)


def memory_used() -> tuple[int, int]:
    """Bytes in use on this machine, and by this process; 0 where the system does not say."""
    try:
        meminfo = Path("/proc/meminfo").read_text()
        resident = int(Path("/proc/self/statm").read_text().split()[1])
    except OSError:
        return 0, 0
    free = {name: int(value) for name, value in re.findall(r"^(MemTotal|MemAvailable):\s+(\d+) kB", meminfo, re.M)}
    return (free.get("MemTotal", 0) - free.get("MemAvailable", 0)) * 1024, resident * os.sysconf("SC_PAGE_SIZE")
