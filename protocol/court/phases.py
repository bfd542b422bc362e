"""Life cycles of a batch, of the case about it and of a seat in that case: which final event leads from where to where.

An event without an entry in the row of the present phase changes nothing: it was told before, or comes too late.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Any, TypeVar

from protocol import events as ev

Phase = TypeVar("Phase", bound=StrEnum)
Transitions = Mapping[Phase, Mapping[type[Any], Phase]]


class BatchPhase(StrEnum):
    """The place of the money of a submitted batch."""

    PENDING = "pending"
    FINAL = "final"
    VOID = "void"
    REFUNDED = "refunded"


class CasePhase(StrEnum):
    """The event that a case waits for: from its seats, data that a seat demanded on chain, an appeal; or none."""

    SITTING = "in court"
    STOPPED = "waits for data"
    DECIDED = "found guilty, open to an appeal"
    CLOSED = "closed"


class SeatPhase(StrEnum):
    """How far a seat is in its turn."""

    DRAWN = "drawn"
    COMMITTED = "committed"
    REVEALED = "revealed"
    SILENT = "silent"


BATCH_TRANSITIONS: Transitions[BatchPhase] = {
    BatchPhase.PENDING: {
        ev.BatchSettled: BatchPhase.FINAL,
        ev.BatchVoided: BatchPhase.VOID,
        ev.BatchRefunded: BatchPhase.REFUNDED,
    },
    BatchPhase.VOID: {ev.BatchRefunded: BatchPhase.REFUNDED},
    BatchPhase.FINAL: {},
    BatchPhase.REFUNDED: {},
}
CASE_TRANSITIONS: Transitions[CasePhase] = {
    CasePhase.SITTING: {
        ev.DataDemanded: CasePhase.STOPPED,
        ev.CaseDecided: CasePhase.DECIDED,
        ev.CaseGrown: CasePhase.SITTING,
        ev.CaseResolved: CasePhase.CLOSED,
    },
    CasePhase.STOPPED: {ev.DataAnswered: CasePhase.SITTING, ev.CaseResolved: CasePhase.CLOSED},
    CasePhase.DECIDED: {ev.CaseGrown: CasePhase.SITTING, ev.CaseResolved: CasePhase.CLOSED},
    # A fraud proof overrules a court that let the batch pass.
    CasePhase.CLOSED: {ev.CaseResolved: CasePhase.CLOSED},
}
SEAT_TRANSITIONS: Transitions[SeatPhase] = {
    SeatPhase.DRAWN: {ev.SeatCommitted: SeatPhase.COMMITTED, ev.SeatSilenced: SeatPhase.SILENT},
    SeatPhase.COMMITTED: {ev.SeatRevealed: SeatPhase.REVEALED, ev.SeatSilenced: SeatPhase.SILENT},
    SeatPhase.REVEALED: {},
    SeatPhase.SILENT: {},
}


def phase_after(transitions: Transitions[Phase], phase: Phase, event: ev.Event) -> Phase | None:
    """The phase that an event leads to; None if it changes nothing."""
    return transitions[phase].get(type(event))
