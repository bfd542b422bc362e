"""How a container ended, and who is to blame. Pure: the order of the checks is the rule."""

from dataclasses import dataclass, field
from enum import StrEnum

from protocol.stages.execution import Outcome

EXIT_BAD_SPEC, EXIT_BAD_INPUT, EXIT_INTERNAL, EXIT_RESUMABLE = 64, 65, 70, 75
EXIT_FILE_TOO_LARGE = 128 + 25
EXIT_KILLED = 128 + 9
MAX_TEXT = 300
LIMIT_CODES = {"out_of_memory", "output_quota"}
"""Errors of the runner that name a limit of the job: the job was given less than it needs."""


class Intent(StrEnum):
    """Why this node killed a container. Noted before the kill, since its end does not show the reason."""

    DONE = "done"
    TIMEOUT = "timeout"
    CANCELLED = "cancelled"
    FLOOD = "flood"
    CARD_STOPPED = "card_stopped"
    """Its card was hot, in use by its owner or unreadable for longer than the job can wait."""
    CARD_LOST = "card_lost"
    """Its card fell off the bus, or has errors in its memory."""
    CARD_MEMORY = "card_memory"
    """It took more of a card's memory than its share."""


MOVING = frozenset({Intent.CARD_STOPPED, Intent.CARD_LOST})
"""Ends after which the same job may run on another card of this machine."""


def printable(text: str, limit: int = MAX_TEXT) -> str:
    """Text of a container made safe for a journal, a log and a terminal: short, without control characters."""
    return "".join(c if c.isprintable() else " " for c in text[:limit])


@dataclass(frozen=True, slots=True)
class RunnerError:
    """The runner's report of its own failure. It comes from the container, so it is not trusted."""

    code: str
    message: str


@dataclass(slots=True)
class Ending:
    """Everything that is known about a container that has ended."""

    exit_code: int
    oom_killed: bool
    engine_error: str
    duration_ms: int
    intent: Intent | None = None
    # It ended while the Engine was away: the exit code means nothing.
    unseen: bool = False
    runner_error: RunnerError | None = None
    metrics: dict[str, int] = field(default_factory=dict)
    # The end of stderr, for the operator.
    log: str = ""


def classify(ending: Ending) -> tuple[Outcome, str]:
    """Outcome and detail. OK is only the claim of the container: its output is checked next."""
    error = ending.runner_error
    said = f"{error.code}: {error.message}" if error else ""
    match ending.intent:
        case Intent.DONE:
            return Outcome.OK, ""
        case Intent.TIMEOUT:
            return Outcome.JOB, f"timeout: killed after {ending.duration_ms} ms"
        case Intent.CANCELLED:
            return Outcome.CANCELLED, "cancelled"
        case Intent.FLOOD:
            return Outcome.HOSTILE, "flood: the container printed more than it may"
        case Intent.CARD_STOPPED:
            return Outcome.PROVIDER, "card: too hot or in use for longer than the job can wait"
        case Intent.CARD_LOST:
            return Outcome.PROVIDER, "card: lost, or its memory has errors"
        case Intent.CARD_MEMORY:
            return Outcome.JOB, "out_of_memory: the job took more than its share of the card's memory"
    # The kernel also sets the flag if only a child died and the job finished.
    if ending.oom_killed and ending.exit_code != 0:
        return Outcome.JOB, "out_of_memory: the container went over its memory limit"
    if ending.engine_error:
        return Outcome.PROVIDER, f"engine: {ending.engine_error}"
    if ending.unseen:
        return Outcome.PROVIDER, "engine: away when the container ended"
    match ending.exit_code:
        case 0:
            return Outcome.OK, ""
        case code if code in (EXIT_BAD_SPEC, EXIT_BAD_INPUT):
            return Outcome.CLIENT, said or "the runner refused the job"
        case code if code == EXIT_RESUMABLE:
            return Outcome.RESUMABLE, "stopped, and may be started again"
        case code if code == EXIT_FILE_TOO_LARGE or (error and error.code in LIMIT_CODES):
            return Outcome.JOB, said or "output_quota: a file grew over its limit"
        case code:
            return Outcome.PROVIDER, said or f"the container exited with {code}"
