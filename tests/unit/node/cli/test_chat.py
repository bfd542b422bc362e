"""`vcoin chat`: questions in, answers and their cost out, and what a talk remembers."""

from __future__ import annotations

import io
import json
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest
import trio

from node.api import views as views
from node.api.client import Client
from node.api.faults import Exit
from node.api.server import serve
from tests.fakes.answering import WORDS, AnsweringBackend
from tests.fakes.backend import SMOL
from tests.unit.node.cli.conftest import Shell

CHAT = ("chat", "--model", SMOL.name)
ANSWER = "".join(WORDS)


@pytest.fixture
async def talking(shell: Shell) -> AsyncIterator[tuple[Shell, AnsweringBackend]]:
    """A user whose daemon answers by itself."""
    backend = AnsweringBackend()
    async with trio.open_nursery() as nursery:
        await nursery.start(serve, backend, shell.data_dir / "vcoin.sock")
        yield shell, backend
        nursery.cancel_scope.cancel()


Talking = tuple[Shell, AnsweringBackend]


def asked(backend: AnsweringBackend) -> list[list[tuple[str, str]]]:
    return [[(message.role, message.content) for message in ask.messages] for ask in backend.asked]


@pytest.fixture
def piped(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets lines come from a file."""
    return lambda *lines: monkeypatch.setattr("sys.stdin", io.StringIO("".join(f"{line}\n" for line in lines)))


@pytest.fixture
def typed(answers: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Lets a person type these lines."""

    def sit_down(*lines: str) -> None:
        answers(*lines)
        monkeypatch.setattr("node.cli.ui.output.is_interactive", lambda: True)

    return sit_down


async def test_each_question_is_asked_with_the_talk_before_it(talking: Talking, piped: Callable[..., None]) -> None:
    vcoin, backend = talking
    piped("Why?", "", "And at night?")
    ran = await vcoin(*CHAT, "--system", "Be short.", "--temperature", "0.5")
    assert (ran.code, ran.out) == (Exit.OK, f"{ANSWER}\n{ANSWER}\n"), ran.err
    first = [("system", "Be short."), ("user", "Why?")]
    assert asked(backend) == [first, [*first, ("assistant", ANSWER), ("user", "And at night?")]]
    assert {ask.temperature_milli for ask in backend.asked} == {500}


async def test_cost_is_shown_after_each_answer_and_no_states(talking: Talking, piped: Callable[..., None]) -> None:
    vcoin, _ = talking
    piped("Why?", "How?")
    lines = (await vcoin(*CHAT)).err.splitlines()
    assert [line.split(" node ")[0].partition(" cost ")[2] for line in lines[::2]] == ["0.02 VCN", "0.02 VCN"]
    assert lines[1::2] == ["the talk has cost 0.02 VCN", "the talk has cost 0.04 VCN"]


async def test_new_talk_forgets_the_old_one(talking: Talking, piped: Callable[..., None]) -> None:
    vcoin, backend = talking
    piped("Why?", "/new", "How?")
    await vcoin(*CHAT)
    assert asked(backend) == [[("user", "Why?")], [("user", "How?")]]


async def test_scripts_read_a_job_for_each_answer(talking: Talking, piped: Callable[..., None]) -> None:
    vcoin, _ = talking
    piped("Why?")
    assert json.loads((await vcoin(*CHAT, "--json")).out)["text"] == ANSWER


async def test_failure_ends_a_talk_from_a_file(talking: Talking, piped: Callable[..., None]) -> None:
    vcoin, backend = talking
    backend.failure = views.Trouble("job_failed", "the container ended", "")
    piped("Why?", "How?")
    assert (await vcoin(*CHAT)).code == Exit.JOB_FAILED
    backend.failure, backend.free_wei = None, 0
    piped("Why?", "How?")
    ran = await vcoin(*CHAT)
    assert (ran.code, "vcoin account deposit" in ran.err) == (Exit.FAILED, True)
    assert len(backend.asked) == 1


@pytest.mark.parametrize("errors", ["strict", "surrogateescape"])
async def test_question_that_is_no_text_ends_a_talk_with_one_sentence(
    talking: Talking, monkeypatch: pytest.MonkeyPatch, errors: str
) -> None:
    vcoin, backend = talking
    latin = io.TextIOWrapper(io.BytesIO("Why?\nWarum s\xfcss?\n".encode("latin-1")), "utf-8", errors)
    monkeypatch.setattr("sys.stdin", latin)
    ran = await vcoin(*CHAT)
    assert (ran.code, "error: what is on stdin is not text in UTF-8\n" in ran.err) == (Exit.USAGE, True)
    assert "Traceback" not in ran.err
    assert len(backend.asked) <= 1


async def test_ctrl_c_ends_the_answer_and_not_the_talk(
    talking: Talking, typed: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    vcoin, backend = talking
    backend.is_held = True
    lines, pressed = Client.lines, list[str]()

    def until_a_word(self: Client, *path: str, body: dict[str, Any] | None = None) -> Iterator[Any]:
        for line in lines(self, *path, body=body):
            yield line
            if not pressed:
                pressed.append("Ctrl-C")
                raise KeyboardInterrupt

    monkeypatch.setattr(Client, "lines", until_a_word)
    typed("Why?", "How?")
    ran = await vcoin(*CHAT)
    assert ran.code == Exit.OK, ran.err
    first, second = asked(backend)
    assert backend.stopped == list(backend.held)[:1]
    # What was written is a part of the talk.
    assert second == [*first, ("assistant", WORDS[0]), ("user", "How?")]
    assert "the talk has cost 0.021 VCN" in ran.err


async def test_person_may_go_on_after_a_failure(talking: Talking, typed: Callable[..., None]) -> None:
    vcoin, backend = talking
    typed("word " * 9_000, "Why?")
    ran = await vcoin(*CHAT)
    assert (ran.code, ran.out) == (Exit.OK, f"{ANSWER}\n")
    assert "hint: /new forgets the talk" in ran.err
    assert ran.err.count("> ") == 3
    assert asked(backend) == [[("user", "Why?")]]


async def test_failed_answer_is_no_part_of_the_talk(talking: Talking, typed: Callable[..., None]) -> None:
    vcoin, backend = talking
    backend.failure = views.Trouble("job_failed", "the container ended", "")
    typed("Why?", "How?")
    assert (await vcoin(*CHAT)).code == Exit.OK
    assert asked(backend) == [[("user", "Why?")], [("user", "How?")]]


def test_temperature_that_no_node_runs_at_is_refused(shell: Shell) -> None:
    ran = shell.run(*CHAT, "--temperature", "3")
    assert (ran.code, "--temperature 3" in ran.err) == (Exit.USAGE, True)
