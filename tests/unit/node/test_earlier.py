"""Journal rows that an earlier version wrote are read as the events of today."""

from typing import get_args

import cbor2
import pytest

from node.earlier import present_form
from node.journal import MAX_EVENT_BYTES
from protocol.effects import OpenLane, SubmitBatch
from protocol.errors import Malformed
from protocol.events import DeadlinePassed, Durable, EffectFailed, Event, MessageReceived, TransactionMined
from protocol.stages.verification import FingerprintOpening
from protocol.timers import (
    AbstainTimer,
    AcceptTimer,
    BatchTimer,
    CallTimer,
    CommitAuditTimer,
    LaneTimer,
    LatencyTimer,
    OffersTimer,
    Timer,
)
from protocol.wire.codec import decode_named
from protocol.wire.ids import BatchId, PeerId
from protocol.wire.names import by_name

JOB, ASK = b"\7" * 32, b"\5" * 16
PEER = "16Uiu2HAmVbhs1xkLUGd3UhdUGrZNtPf4yVYMEbSmrJcR8Lc5vTxn"
EVENTS = by_name(get_args(Durable))


def read(row: list[object]) -> Event:
    event: Event = decode_named(EVENTS, present_form(cbor2.dumps(row, canonical=True)), MAX_EVENT_BYTES)
    return event


@pytest.mark.parametrize(
    ("text", "timer"),
    [
        (f"lane:{JOB.hex()}", LaneTimer(JOB)),
        (f"accept:{JOB.hex()}", AcceptTimer(JOB)),
        (f"call:{ASK.hex()}:2:1", CallTimer(ASK, 2, 1)),
        (f"offers:{ASK.hex()}:0:0", OffersTimer(ASK, 0, 0)),
        (f"slow:{PEER}", LatencyTimer(PeerId(PEER), slow=True)),
        (f"quick:{PEER}", LatencyTimer(PeerId(PEER), slow=False)),
        ("batch", BatchTimer()),
        (f"abstain:{JOB.hex()}:4", AbstainTimer(JOB, 4)),
        (f"audit-late:{JOB.hex()}", CommitAuditTimer(JOB)),
    ],
)
def test_a_timer_that_was_a_text_is_read(text: str, timer: Timer) -> None:
    assert read(["DeadlinePassed", [text]]) == DeadlinePassed(timer)


def test_an_effect_that_was_named_by_its_class_is_read() -> None:
    failed = read(["EffectFailed", ["SubmitBatch", JOB, "TooManyLeaves", False]])
    assert failed == EffectFailed(SubmitBatch, JOB, "TooManyLeaves", False)
    assert read(["TransactionMined", ["OpenLane", JOB, 12]]) == TransactionMined(OpenLane, JOB, 12)


def test_a_message_that_had_another_name_is_read() -> None:
    received = read(["MessageReceived", [PEER, ["ProofOpening", [JOB, 3, b"fingerprint"]]]])
    assert received == MessageReceived(PeerId(PEER), FingerprintOpening(BatchId(JOB), 3, b"fingerprint"))


@pytest.mark.parametrize(
    "row", [["DeadlinePassed", ["noon"]], ["DeadlinePassed", ["lane:x"]], ["DeadlinePassed", ["abstain:00"]], [], 7]
)
def test_what_no_version_wrote_stays_as_it_is_and_is_refused(row: list[object]) -> None:
    body = cbor2.dumps(row, canonical=True)
    assert present_form(body) == body
    with pytest.raises(Malformed):
        read(row)
