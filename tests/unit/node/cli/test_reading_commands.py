"""`vcoin job embed` and `classify`: what they ask the daemon for, and what they print."""

import io
from dataclasses import replace

import pytest

from node.api import views as views
from node.api.faults import Exit
from protocol.params import VCN
from tests.fakes.backend import FakeBackend
from tests.support.scenes.follow_command import answered
from tests.unit.node.cli.conftest import Shell

LINES = '{"label": "sports", "logits": {"sports": 1.5, "news": -0.25}}\n'


def deliver(backend: FakeBackend, job_id: str) -> None:
    job = replace(backend.held[job_id], state="delivered", tokens=1, text=LINES)
    backend.held[job_id] = job
    backend.feed.publish(job_id, views.JobUpdate("state", job=job))


async def test_texts_are_embedded_in_one_job(vcoin: Shell) -> None:
    ran = await answered(vcoin, deliver, "job", "embed", "--model", "abab", "one text", "-another")
    assert (ran.code, ran.out) == (Exit.OK, LINES)
    (ask,) = vcoin.backend.asked
    assert (ask.kind, ask.texts, ask.labels, ask.messages) == ("embed", ("one text", "-another"), (), ())
    assert (ask.max_new_tokens, ask.temperature_milli) == (0, 0)


async def test_lines_of_stdin_are_classified(vcoin: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("a goal\n\nrain tomorrow\n"))
    options = ("--labels", "sports, news", "--max-units", "9", "--max-price", "1.5", "--uncalibrated")
    ran = await answered(vcoin, deliver, "job", "classify", "-", "--model", "abab", *options)
    assert (ran.code, ran.out) == (Exit.OK, LINES)
    (ask,) = vcoin.backend.asked
    assert (ask.kind, ask.texts, ask.labels) == ("classify", ("a goal", "rain tomorrow"), ("sports", "news"))
    assert (ask.max_new_tokens, ask.max_price_wei, ask.uncalibrated) == (9, 3 * VCN // 2, True)


@pytest.mark.parametrize("kind", [("embed",), ("classify", "--labels", "a,b", "--uncalibrated")])
@pytest.mark.parametrize(("flags", "checked"), [((), None), (("--checked",), True), (("--no-checked",), False)])
async def test_a_reading_may_be_ordered_with_a_check(
    vcoin: Shell, kind: tuple[str, ...], flags: tuple[str, ...], checked: bool | None
) -> None:
    await answered(vcoin, deliver, "job", *kind, "x", "--model", "abab", *flags)
    assert [ask.checked for ask in vcoin.backend.asked] == [checked]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("embed",), "there is no text"),
        (("embed", "  "), "more than spaces"),
        (("classify", "x", "--labels", "one"), "2 to 64 texts"),
        (("classify", "x", "--labels", "a,,b"), "a text of 1 to 128 characters"),
        (("classify", "x"), "labels"),
        (("embed", "x", "--max-units", "2049"), "from 0 to 2048"),
    ],
)
async def test_what_cannot_be_read_is_misuse(vcoin: Shell, arguments: tuple[str, ...], words: str) -> None:
    ran = await vcoin("job", *arguments, "--model", "abab")
    assert (ran.code, words in ran.err) == (Exit.USAGE, True), ran.err
    assert not vcoin.backend.asked
