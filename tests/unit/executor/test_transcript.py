"""The output of a container, honest and hostile."""

from __future__ import annotations

import json

import pytest

from executor.containers.ending import RunnerError
from executor.containers.sandbox import Limits
from executor.containers.transcript import (
    MAX_LINE_BYTES,
    Answered,
    Declined,
    Flood,
    Ready,
    RunnerEvent,
    RunProgress,
    Tokens,
    Transcript,
    Unsettled,
)

LIMITS = Limits(stdout_bytes=100_000, timeout_ms=1000)


def frame(payload: bytes, stream: int = 1) -> bytes:
    return bytes([stream, 0, 0, 0]) + len(payload).to_bytes(4, "big") + payload


def line(**event: object) -> bytes:
    return json.dumps(event).encode() + b"\n"


def heard(*chunks: bytes) -> list[RunnerEvent]:
    transcript = Transcript(LIMITS)
    return [said for chunk in chunks for said in transcript.feed(chunk)]


def test_events_come_out_in_order() -> None:
    data = frame(line(ev="ready") + line(ev="tokens", ids=[1, 2])) + frame(line(ev="progress", step=1, total=3))
    assert heard(data) == [Ready(), Tokens((1, 2)), RunProgress(1, 3)]


def test_jobs_of_a_shared_container_are_told_apart() -> None:
    refusal = Declined(2, RunnerError("bad_input", "no"))
    data = frame(
        line(ev="tokens", jobs={"0": [1, 2], "3": [7]})
        + line(ev="answer", job=0)
        + line(ev="error", job=2, code="bad_input", message="no")
        + line(ev="answer", job=3, run_ms=70, most=2)
        + line(ev="later", job=1)
        + line(ev="left", job=4)
        + line(ev="left", job=64)
    )
    told = [Tokens((1, 2), 0), Tokens((7,), 3), Answered(0), refusal, Answered(3, 70, 2), Unsettled(1), Unsettled(4)]
    assert heard(data) == told


def test_what_one_job_is_told_is_no_error_of_the_container() -> None:
    transcript = Transcript(LIMITS)
    transcript.feed(frame(line(ev="error", job=2, code="bad_input", message="no")))
    assert transcript.error is None


def test_bytes_may_come_one_by_one() -> None:
    data = frame(line(ev="tokens", ids=[7])[:5]) + frame(line(ev="tokens", ids=[7])[5:])
    assert heard(*(bytes([b]) for b in data)) == [Tokens((7,))]


def test_stderr_between_the_halves_of_a_line_is_kept_apart() -> None:
    whole = line(ev="tokens", ids=[7])
    transcript = Transcript(LIMITS)
    assert transcript.feed(frame(whole[:9]) + frame(b"a warning\n", stream=2) + frame(whole[9:])) == [Tokens((7,))]
    assert transcript.log == b"a warning\n"


def test_only_the_end_of_stderr_is_kept() -> None:
    transcript = Transcript(LIMITS)
    transcript.feed(frame(b"a" * 50_000 + b"end", stream=2))
    assert len(transcript.log) == 4096
    assert transcript.log.endswith(b"end")


@pytest.mark.parametrize(
    "words",
    [
        b"plain text\n",
        b"[1, 2]\n",
        b"\xff\xfe\n",
        b"{}\n",
        b"[" * 4000 + b"\n",
        line(ev="unknown"),
        line(ev="tokens"),
        line(ev="tokens", ids="abc"),
        line(ev="tokens", ids=[True]),
        line(ev="tokens", ids=[-1]),
        line(ev="tokens", ids=[2**32]),
        line(ev="tokens", ids=[1.0]),
        line(ev="tokens", ids=[0] * 1025),
        line(ev="tokens", jobs=[[1]]),
        line(ev="tokens", jobs={"0": [-1], "1": "abc", "-1": [1], "1_0": [1], "٣": [1], "64": [1], "": [1]}),
        line(ev="tokens", jobs={str(job): [1] for job in range(65)}),
        line(ev="answer"),
        line(ev="answer", job=-1),
        line(ev="answer", job=True),
        line(ev="answer", job=64),
    ],
)
def test_what_is_no_event_is_dropped(words: bytes) -> None:
    assert heard(frame(words)) == []


def test_error_and_metrics_are_kept_short_and_printable() -> None:
    transcript = Transcript(LIMITS)
    transcript.feed(frame(line(ev="error", code="x\x1b[31m", message="y" * 3000)))
    transcript.feed(frame(line(ev="done", metrics={"run_ms": 5, "bad": "text", "neg": -1})))
    assert transcript.error is not None
    assert "\x1b" not in transcript.error.code
    assert len(transcript.error.message) == 300
    assert transcript.metrics == {"run_ms": 5, "bad": 0, "neg": 0}


@pytest.mark.parametrize("event", [{"ev": "done", "metrics": [1]}, {"ev": "error"}, {"ev": "done"}])
def test_malformed_last_words_do_no_harm(event: dict[str, object]) -> None:
    assert heard(frame(line(**event))) == []


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(frame(b"y" * (MAX_LINE_BYTES + 1)), id="a line without an end"),
        pytest.param(frame(b"y" * (MAX_LINE_BYTES + 1) + b"\n"), id="a long line"),
        pytest.param(frame(b"\n" * 200), id="many lines"),
        pytest.param(frame(b"y" * 100_001, stream=2), id="many bytes of stderr"),
        pytest.param(b"\x01\0\0\0\xff\xff\xff\xff" + b"y" * 100_000, id="a frame that never ends"),
    ],
)
def test_too_much_is_a_flood(data: bytes) -> None:
    with pytest.raises(Flood):
        heard(data)
