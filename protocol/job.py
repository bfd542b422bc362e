"""A job's way from request to money, for both of its sides.

The table says which moves are legal; it does not know whose job it is. A late or repeated fact is absorbed: it leaves
the stage as it is.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from protocol import events as ev
from protocol.stages.assignment import (
    Accept,
    Assignment,
    AssignmentOrder,
    Refuse,
    SignedAccept,
    SignedRefuse,
    Withdrawal,
)
from protocol.stages.commitment import Result, ResultDelivery
from protocol.stages.offer import SignedOffer
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address, BatchId, JobId, RequestId, TimestampMs, Wei


class Stage(StrEnum):
    """The stages of a job, in the words that users are shown."""

    REQUESTED = "requested"
    OFFERED = "offered"
    ASSIGNED = "assigned"
    RUNNING = "running"
    DELIVERED = "delivered"
    IN_BATCH = "in_batch"
    DRAWN = "drawn"
    PASSED = "passed"
    REVIEW = "review"
    FAILED = "failed"
    SPENDABLE = "spendable"
    REFUNDED = "refunded"
    UNSERVED = "unserved"
    """No node did it; the client's money was never taken."""
    UNPAID = "unpaid"
    """This node did not bring it to an end: charge 0."""


TERMINAL = frozenset({Stage.SPENDABLE, Stage.REFUNDED, Stage.UNSERVED, Stage.UNPAID})

TRANSITIONS: dict[Stage, dict[type[Any], frozenset[Stage]]] = {
    Stage.REQUESTED: {
        ev.JobAsked: frozenset({Stage.REQUESTED}),
        SignedOffer: frozenset({Stage.OFFERED}),
        ev.EffectFailed: frozenset({Stage.UNSERVED}),
        ev.DeadlinePassed: frozenset({Stage.UNSERVED}),
    },
    Stage.OFFERED: {
        Assignment: frozenset({Stage.ASSIGNED}),
        AssignmentOrder: frozenset({Stage.ASSIGNED}),
        ev.EffectFailed: frozenset({Stage.UNSERVED, Stage.REQUESTED}),
        ev.DeadlinePassed: frozenset({Stage.UNSERVED, Stage.REQUESTED}),
    },
    Stage.ASSIGNED: {
        Accept: frozenset({Stage.RUNNING}),
        SignedAccept: frozenset({Stage.RUNNING}),
        ResultDelivery: frozenset({Stage.RUNNING}),
        Refuse: frozenset({Stage.UNPAID}),
        SignedRefuse: frozenset({Stage.REQUESTED, Stage.UNSERVED}),
        Withdrawal: frozenset({Stage.UNPAID}),
        ev.EffectFailed: frozenset({Stage.REQUESTED, Stage.UNPAID, Stage.UNSERVED}),
        ev.DeadlinePassed: frozenset({Stage.REQUESTED, Stage.UNSERVED, Stage.UNPAID}),
    },
    Stage.RUNNING: {
        ev.ResultOpened: frozenset({Stage.DELIVERED}),
        Result: frozenset({Stage.DELIVERED}),
        ev.ContainerExited: frozenset({Stage.UNPAID}),
        Refuse: frozenset({Stage.UNPAID}),
        SignedRefuse: frozenset({Stage.REQUESTED, Stage.UNSERVED}),
        Withdrawal: frozenset({Stage.UNPAID}),
        ev.EffectFailed: frozenset({Stage.UNPAID, Stage.REQUESTED, Stage.UNSERVED}),
        ev.DeadlinePassed: frozenset({Stage.REQUESTED, Stage.UNSERVED}),
        # Checked and paid, while its answer never reached the requester.
        ev.BatchSettled: frozenset({Stage.SPENDABLE}),
    },
    Stage.DELIVERED: {
        ev.BatchMined: frozenset({Stage.IN_BATCH}),
        ev.BatchSubmitted: frozenset({Stage.IN_BATCH}),
        # Its batch was final before its answer came, after an absence.
        ev.ResultOpened: frozenset({Stage.IN_BATCH}),
        # Its client reclaimed the lane of a node that never brought it on chain.
        ev.LaneSeen: frozenset({Stage.REFUNDED}),
    },
    Stage.IN_BATCH: {
        ev.CaseConvened: frozenset({Stage.DRAWN}),
        # A leaf that was not drawn shares the fate of its batch.
        ev.CaseResolved: frozenset({Stage.PASSED, Stage.REVIEW, Stage.FAILED}),
        ev.BatchSettled: frozenset({Stage.SPENDABLE}),
        ev.BatchVoided: frozenset({Stage.FAILED}),
        ev.BatchRefunded: frozenset({Stage.REFUNDED}),
    },
    Stage.DRAWN: {
        ev.CaseResolved: frozenset({Stage.PASSED, Stage.REVIEW, Stage.FAILED}),
        ev.BatchVoided: frozenset({Stage.FAILED}),
        ev.BatchRefunded: frozenset({Stage.REFUNDED}),
    },
    Stage.PASSED: {
        ev.BatchSettled: frozenset({Stage.SPENDABLE}),
        # Until the batch is final, a fraud proof may show what the court did not see.
        ev.CaseResolved: frozenset({Stage.FAILED}),
        ev.BatchVoided: frozenset({Stage.FAILED}),
        ev.BatchRefunded: frozenset({Stage.REFUNDED}),
    },
    Stage.REVIEW: {ev.BatchRefunded: frozenset({Stage.REFUNDED})},
    Stage.FAILED: {ev.BatchRefunded: frozenset({Stage.REFUNDED})},
    Stage.SPENDABLE: {},
    Stage.REFUNDED: {},
    Stage.UNSERVED: {},
    Stage.UNPAID: {},
}
"""Which stage may follow on which event, or on which message signed or received."""


def advance(stage: Stage, fact: object, to: Stage) -> Stage:
    """The stage after a fact: `to` where the table allows it, else the same stage, for facts that come late."""
    return to if to in TRANSITIONS[stage].get(type(fact), frozenset()) else stage


class Staged(Protocol):
    """Anything that goes through the stages and remembers when."""

    stage: Stage
    history: list[tuple[Stage, TimestampMs]]


def move(staged: Staged, fact: object, to: Stage, now_ms: TimestampMs) -> None:
    """Take the stage that a fact leads to, if the table allows it, and note the moment."""
    after = advance(staged.stage, fact, to)
    if after is not staged.stage:
        staged.stage = after
        staged.history.append((after, now_ms))


def verdict_stage(verdict: Verdict) -> Stage:
    """The stage that a verdict leads to."""
    return {Verdict.PASS: Stage.PASSED, Verdict.REVIEW: Stage.REVIEW}.get(verdict, Stage.FAILED)


@dataclass(frozen=True, slots=True)
class JobState:
    """A job as it is shown: amounts in wei, times in ms since 1970, temperature in thousandths; None: not known yet.

    checked: its client pays to have it checked. max_price: what its client would have paid for all tokens; most: what
    it may cost, bonus and all; fee: what its checks cost.
    """

    request_id: RequestId | None
    job_id: JobId | None
    ask_id: bytes
    stage: Stage
    node: Address | None
    client: Address | None
    manifest: bytes
    input_cid: bytes
    kind: int
    max_new_tokens: int
    temperature: int
    new_tokens: int
    finish: str
    checked: bool
    max_price: Wei
    price: Wei
    most: Wei
    charge: Wei
    fee: Wei
    bonus: Wei
    debit: Wei
    attempt: int
    batch_id: BatchId | None
    position: int | None
    """Its place among the leaves of its batch, from 0."""
    reason: str
    asked_ms: TimestampMs
    history: tuple[tuple[Stage, TimestampMs], ...]
    next_step_ms: int | None
    """How long the next step may take at most, from the last one."""

    @property
    def shown_id(self) -> bytes:
        """The name that it is shown by: before its request is signed a job has none but that of its ask."""
        return self.request_id or self.ask_id
