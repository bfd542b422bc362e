"""The run queue: which waiting jobs start next, how long a new one would wait, and by when a run must have ended.

Pure functions over what the journal holds. A time that decides about a job comes from its signed offer, not from the
speed that this machine has now, which a fold of the journal would not find again.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from protocol.params import MINE_WITHIN_MS, READ_BYTES_PER_STEP, RETRY_AFTER_DEADLINE_S
from protocol.stages.assignment import JobDetails
from protocol.stages.execution import RunSpec, containers, side_by_side_ms
from protocol.stages.offer import FETCH_MS, START_MS, Offer
from protocol.stages.request import GENERATE, Request
from protocol.wire.ids import Address, JobId

TIME_FACTOR = 2
"""A client allows at least this many times what the node says that its job takes."""


@dataclass(frozen=True, slots=True)
class WaitingRun:
    """A job that is ready to start, and the account that pays for it."""

    job_id: JobId
    client: Address
    spec: RunSpec


@dataclass(slots=True)
class StreamedTokens:
    """The stream of a run so far: its tokens, and when the first of them came, in ms since 1970.

    Not in the journal: nothing but what is streamed may rest on it.
    """

    first_ms: int = 0
    first_tokens: int = 0
    tokens: int = 0
    is_muted: bool = False

    def count(self, tokens: int, now_ms: int) -> None:
        """Take note of new tokens."""
        if not self.tokens:
            self.first_ms, self.first_tokens = now_ms, tokens
        self.tokens += tokens


def plan_starts(
    running: Sequence[RunSpec], waiting: Sequence[WaitingRun], turns: Mapping[Address, int], slots: int, at_once: int
) -> tuple[WaitingRun, ...]:
    """Choose the jobs that start now, in this order, as many as the containers hold; the clients take turns.

    Args: waiting, oldest first; turns, for each client the number of its last start, so that the one that waits
        longest for a turn is next.
    """
    started, left, counts = list(running), list(waiting), dict(turns)
    newest = max(counts.values(), default=0)
    chosen: list[WaitingRun] = []
    while left:
        # Of equals, min takes the first, which has waited longest.
        run = min(left, key=lambda each: counts.get(each.client, 0))
        if containers([*started, run.spec], at_once) > slots:
            break
        newest += 1
        counts[run.client] = newest
        started.append(run.spec)
        chosen.append(run)
        left.remove(run)
    return tuple(chosen)


def wait_ms(ahead: Collection[RunSpec], run: RunSpec, offers: Collection[Offer], slots: int, at_once: int) -> int:
    """How long a new run would wait for a container, roughly: 0 where there is room for it now.

    Args: ahead, runs that have a container or wait for one; offers, those that they were ordered by, in the same order.
    """
    if containers([*ahead, run], at_once) <= slots:
        return 0
    alone_ms, shared_ms, together = 0, 0, 0
    for each, offer in zip(ahead, offers, strict=True):
        if each.is_alone:
            alone_ms += run_ms(offer)
        else:
            shared_ms, together = shared_ms + run_ms(offer), min(at_once, together + 1)
    if together:
        alone_ms += side_by_side_ms(shared_ms, together) // together
    return alone_ms // slots


def run_ms(offer: Offer) -> int:
    """How long the container of an offered job takes, by what its node said."""
    return offer.eta_ms if offer.cached else max(0, offer.eta_ms - FETCH_MS)


def least_timeout_ms(request: Request, ms_per_token: int) -> int:
    """The least time limit with which a node offers for a request: then no run of it is cut off that goes as promised.

    Counts the start of the container, the reading of the input and all tokens.
    """
    steps = request.max_new_tokens + (request.input_bytes // READ_BYTES_PER_STEP if request.kind == GENERATE else 0)
    return TIME_FACTOR * (START_MS + ms_per_token * steps)


def ends_at_ms(progress: StreamedTokens, ms_per_token: int, max_new_tokens: int, now_ms: int) -> int:
    """When a run that streams its tokens will have ended, by the slower one of its pace and the speed of the node."""
    later = progress.tokens - progress.first_tokens
    pace_ms = max(ms_per_token, (now_ms - progress.first_ms) // later if later else 0)
    return now_ms + pace_ms * max(0, max_new_tokens - progress.tokens)


def end_by_ms(details: JobDetails) -> int:
    """When a run must have ended, in ms since 1970: later its batch may not be mined in time.

    Without a receipt a batch counts until RETRY_AFTER_DEADLINE_S after the deadline; mining it takes MINE_WITHIN_MS.
    """
    return (details.deadline + RETRY_AFTER_DEADLINE_S) * 1000 - MINE_WITHIN_MS
