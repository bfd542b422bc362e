"""`vcoin job run` and `job show --follow`: the answer to stdout, the states to stderr, the end as an exit code."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import trio

from node.api import views as views
from node.api.client import Client
from node.api.faults import Exit
from node.cli.ui.answer import Follower
from node.cli.ui.choices import HIGHEST_PENALTY, HIGHEST_TEMPERATURE
from protocol.params import MAX_TEMPERATURE_MILLI
from protocol.stages.answer_schema import MAX_SCHEMA_BYTES
from protocol.stages.token_rules import MAX_PENALTY_MILLI, NO_RULES, TokenRules
from tests.fakes.backend import PROVIDER, SMOL, VCN, FakeBackend, job_of
from tests.support.scenes.follow_command import answered
from tests.support.scenes.followed_jobs import ASK as ASKED
from tests.unit.node.cli.conftest import Shell

ASK = ("job", "run", "Why is the sky blue?", "--model", SMOL.name)


def deliver(backend: FakeBackend, job_id: str) -> None:
    backend.change(job_id, state="assigned", node=PROVIDER)
    backend.change(job_id, state="running")
    backend.say(job_id, "Rayleigh ")
    backend.say(job_id, "scattering.")
    backend.change(job_id, state="delivered", cost_wei=114 * VCN // 100, tokens=100)


def settle(backend: FakeBackend, job_id: str) -> None:
    deliver(backend, job_id)
    for state in ("in_batch", "drawn", "passed", "spendable"):
        backend.change(job_id, state=state, batch_id="bb" * 32)


async def test_answer_alone_comes_to_stdout_and_the_last_line_says_what_it_cost(vcoin: Shell) -> None:
    ran = await answered(vcoin, deliver, *ASK)
    assert (ran.code, ran.out) == (Exit.OK, "Rayleigh scattering.\n")
    job_id = next(iter(vcoin.backend.held))
    *states, last = ran.err.splitlines()
    assert [line.split()[1] for line in states] == ["requested,", "assigned", "running", "delivered"]
    assert last == f"job {job_id[:16]} cost 1.14 VCN node {PROVIDER[:10]} state delivered"


async def test_states_say_what_the_next_step_takes_at_most(vcoin: Shell) -> None:
    ran = await answered(vcoin, deliver, *ASK)
    assert "requested, next within 450 ms" in ran.err


async def test_follow_stays_until_the_money_has_moved(vcoin: Shell) -> None:
    ran = await answered(vcoin, settle, *ASK, "--follow")
    assert ran.code == Exit.OK
    assert [line.split(maxsplit=1)[1].split(" by ")[0] for line in ran.err.splitlines()[4:8]] == [
        "in batch",
        "drawn",
        "passed",
        "spendable",
    ]


async def test_json_is_the_job_with_its_answer(vcoin: Shell) -> None:
    ran = await answered(vcoin, deliver, *ASK, "--json")
    assert (ran.json["text"], ran.json["state"], ran.json["cost_wei"]) == (
        "Rayleigh scattering.",
        "delivered",
        "1140000000000000000",
    )


async def test_json_that_follows_is_an_update_a_line(vcoin: Shell) -> None:
    ran = await answered(vcoin, settle, *ASK, "--json", "--follow")
    updates = [json.loads(line) for line in ran.out.splitlines()]
    assert [update["kind"] for update in updates].count("text") == 2
    assert updates[-1]["job"]["state"] == "spendable"


@pytest.mark.parametrize(
    ("code", "expected"),
    [("no_able_node", Exit.RETRY_LATER), ("job_failed", Exit.JOB_FAILED), ("a_later_version", Exit.JOB_FAILED)],
)
async def test_job_that_fails_ends_with_its_reason(vcoin: Shell, code: str, expected: Exit) -> None:
    def fail(backend: FakeBackend, job_id: str) -> None:
        backend.change(job_id, state="failed", failure=views.Trouble(code, "no node offered", "try again later"))

    ran = await answered(vcoin, fail, *ASK)
    assert (ran.code, ran.out) == (expected, "")
    assert ran.err.splitlines()[-2:] == ["error: no node offered", "hint: try again later"]


async def test_answer_that_fails_its_check_is_a_failed_job(vcoin: Shell) -> None:
    def lose(backend: FakeBackend, job_id: str) -> None:
        deliver(backend, job_id)
        backend.change(job_id, state="failed", batch_id="bb" * 32)
        backend.change(job_id, state="refunded", cost_wei=0)

    ran = await answered(vcoin, lose, *ASK, "--follow")
    assert ran.code == Exit.JOB_FAILED
    assert ran.err.endswith("hint: its money is back in the account\n")


async def test_doubt_about_a_checked_answer_says_that_its_check_was_paid(vcoin: Shell) -> None:
    def doubt(backend: FakeBackend, job_id: str) -> None:
        deliver(backend, job_id)
        backend.change(job_id, state="refunded", batch_id="bb" * 32, checked=True, fee_wei=VCN // 2, cost_wei=VCN // 2)

    ran = await answered(vcoin, doubt, *ASK, "--follow", "--checked")
    assert ran.code == Exit.JOB_FAILED
    assert ran.err.endswith("hint: its money is back in the account, but for what its check cost\n")
    assert "cost 0.5 VCN of which its check 0.5 VCN node" in ran.err


@pytest.mark.parametrize(("flags", "words"), [(("--checked",), ", check included"), ((), "")])
async def test_what_a_job_may_cost_is_said_when_it_is_given_away(
    vcoin: Shell, flags: tuple[str, ...], words: str
) -> None:
    def assign(backend: FakeBackend, job_id: str) -> None:
        backend.change(job_id, state="assigned", most_wei=159 * VCN // 100)
        deliver(backend, job_id)

    assert f"for at most 1.59 VCN{words}\n" in (await answered(vcoin, assign, *ASK, *flags)).err


@pytest.mark.parametrize(("flags", "checked"), [((), None), (("--checked",), True), (("--no-checked",), False)])
async def test_check_is_ordered_left_out_or_left_to_the_node(vcoin: Shell, flags: tuple[str], checked: object) -> None:
    await answered(vcoin, deliver, *ASK, *flags)
    assert [ask.checked for ask in vcoin.backend.asked] == [checked]


async def test_another_node_that_begins_again_is_told_apart(vcoin: Shell) -> None:
    def retry(backend: FakeBackend, job_id: str) -> None:
        backend.say(job_id, "Half an ans")
        backend.change(job_id, attempt=1, state="assigned", text="")
        backend.say(job_id, "Whole answer.")
        backend.change(job_id, state="delivered")

    ran = await answered(vcoin, retry, *ASK)
    assert ran.out == "Half an ans\nWhole answer.\n"
    assert "the answer begins again:" in ran.err


async def test_text_that_was_lost_on_the_way_comes_with_the_result(vcoin: Shell) -> None:
    def lose(backend: FakeBackend, job_id: str) -> None:
        backend.say(job_id, "One ")
        backend.change(job_id, state="delivered", text="One two three")

    assert (await answered(vcoin, lose, *ASK)).out == "One two three\n"


async def test_result_counts_more_than_what_was_streamed(vcoin: Shell) -> None:
    def differ(backend: FakeBackend, job_id: str) -> None:
        backend.say(job_id, "Wrong")
        backend.change(job_id, state="delivered", text="Right")

    ran = await answered(vcoin, differ, *ASK)
    assert ran.out == "Wrong\nRight\n"
    assert "the answer begins again:" in ran.err


async def test_job_that_has_ended_is_shown_at_once(vcoin: Shell) -> None:
    job_id = await vcoin.backend.ask_job(ASKED)
    settle(vcoin.backend, job_id)
    ran = await vcoin("job", "show", job_id[:4], "--follow")
    assert (ran.code, ran.out) == (Exit.OK, "Rayleigh scattering.\n")


async def test_everything_asked_for_reaches_the_daemon(vcoin: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    import io

    monkeypatch.setattr("sys.stdin", io.StringIO("from a pipe\n"))
    options = ("--max-tokens", "64", "--max-price", "1.5", "--timeout", "30", "--no-bonus", "--uncalibrated")
    options += ("--temperature", "0.8")
    await answered(vcoin, deliver, "job", "run", "-", "--model", "abab", "--system", "Be brief.", *options)
    (ask,) = vcoin.backend.asked
    assert (ask.max_new_tokens, ask.max_price_wei, ask.timeout_ms) == (64, 3 * VCN // 2, 30_000)
    assert (ask.with_bonus, ask.uncalibrated, ask.temperature_milli) == (False, True, 800)
    assert [(message.role, message.content) for message in ask.messages] == [
        ("system", "Be brief."),
        ("user", "from a pipe\n"),
    ]


async def test_daemon_that_stops_in_the_middle_is_an_error(shell: Shell) -> None:
    from node.api.server import serve

    async with trio.open_nursery() as nursery:
        await nursery.start(serve, shell.backend, shell.data_dir / "vcoin.sock")

        def stop(_backend: FakeBackend, _job_id: str) -> None:
            nursery.cancel_scope.cancel()

        with trio.CancelScope(shield=True):
            ran = await answered(shell, stop, *ASK)
    assert ran.code == Exit.RETRY_LATER
    assert "went away" in ran.err


class Interrupted(Client):
    """A stream in which somebody presses Ctrl-C after each of its lines."""

    def __init__(self, *streams: list[views.JobUpdate]) -> None:
        self._streams = [*streams]

    def lines(self, *path: str) -> Iterator[Any]:
        yield from (views.plain(update) for update in self._streams.pop(0))
        raise KeyboardInterrupt


RUNNING = views.JobUpdate("state", job=replace(job_of(ASKED, "ab" * 32), state="running", text="One "))
DONE = views.JobUpdate("state", job=replace(job_of(ASKED, "ab" * 32), state="delivered", text="One two"))


def test_ctrl_c_detaches_and_says_how_to_come_back(capsys: pytest.CaptureFixture[str]) -> None:
    follower = Follower(Interrupted([RUNNING]), "abab", to_the_end=False, as_json=False)
    assert follower.run() == Exit.INTERRUPTED
    said = capsys.readouterr()
    assert said.out == "One \n"
    assert said.err.splitlines()[-2:] == [
        "detached; the job goes on: vcoin job show abababab --follow",
        "end it, and what it costs, by: vcoin job stop abababab",
    ]


class Stoppable(Interrupted):
    """As Interrupted, and knows what was ordered."""

    def __init__(self, *streams: list[views.JobUpdate]) -> None:
        super().__init__(*streams)
        self.orders: list[tuple[str, ...]] = []

    def post(self, *path: str, body: dict[str, Any], within_s: float = 30.0) -> Any:
        self.orders.append(path)


def test_first_ctrl_c_ends_the_answer_where_that_is_meant(capsys: pytest.CaptureFixture[str]) -> None:
    stopped = replace(DONE, job=replace(DONE.job or job_of(ASKED, "ab" * 32), finish="stop_order"))
    door = Stoppable([RUNNING], [stopped])
    follower = Follower(door, "abab", to_the_end=False, as_json=False, stops=True)
    assert follower.run() == Exit.OK
    assert (door.orders, follower.job.finish) == ([("jobs", "abab", "stop")], "stop_order")
    assert capsys.readouterr().out == "One \ntwo\n"


def test_second_ctrl_c_detaches() -> None:
    door = Stoppable([RUNNING], [RUNNING])
    assert Follower(door, "abab", to_the_end=False, as_json=False, stops=True).run() == Exit.INTERRUPTED
    assert len(door.orders) == 1


async def running_job(vcoin: Shell) -> str:
    """A job of which a node has written a little."""
    job_id = await vcoin.backend.ask_job(ASKED)
    vcoin.backend.change(job_id, state="running", node=PROVIDER)
    vcoin.backend.say(job_id, "Rayleigh ")
    return job_id


async def test_stopped_job_costs_what_was_written(vcoin: Shell) -> None:
    job_id = await running_job(vcoin)
    ran = await vcoin("job", "stop", job_id[:8])
    assert (ran.code, ran.out) == (Exit.OK, f"job {job_id[:8]} has ended: delivered, cost 0.001 VCN\n")
    shown = (await vcoin("job", "show", job_id[:8])).out
    assert ", ended by its client" in shown
    assert (await vcoin("job", "stop", job_id, "--json")).json["finish"] == "stop_order"


async def test_job_that_has_not_ended_yet_is_said_to_end(vcoin: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    job_id = await running_job(vcoin)
    monkeypatch.setattr(vcoin.backend, "stop_job", vcoin.backend.job)
    ran = await vcoin("job", "stop", job_id)
    assert ran.out == f"job {job_id[:8]} ends at its next token: vcoin job show {job_id[:8]}\n"


async def test_only_a_job_of_ones_own_is_stopped(vcoin: Shell) -> None:
    job_id = await running_job(vcoin)
    vcoin.backend.change(job_id, side="provider")
    assert (await vcoin("job", "stop", job_id)).code == Exit.USAGE
    assert (await vcoin("job", "stop", "ffff")).code == Exit.FAILED
    assert vcoin.backend.stopped == []


def test_who_stays_misses_nothing(
    capsys: pytest.CaptureFixture[str], answers: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    answers("n")
    monkeypatch.setattr("node.cli.ui.output.is_interactive", lambda: True)
    follower = Follower(Interrupted([RUNNING], [DONE]), "abab", to_the_end=False, as_json=False)
    assert follower.run() == Exit.OK
    assert capsys.readouterr().out == "One \ntwo\n"


@pytest.mark.parametrize("temperature", ["2.001", "-0.1", "0.0005", "nan", "inf"])
async def test_temperature_that_nobody_serves_is_misuse(vcoin: Shell, temperature: str) -> None:
    ran = await vcoin(*ASK, f"--temperature={temperature}")
    assert (ran.code, "expected 0 to 2 with at most three decimals" in ran.err) == (Exit.USAGE, True), ran.err
    assert not vcoin.backend.asked


def test_highest_temperature_is_that_of_the_protocol() -> None:
    assert HIGHEST_TEMPERATURE * 1000 == MAX_TEMPERATURE_MILLI
    assert HIGHEST_PENALTY * 1000 == MAX_PENALTY_MILLI


RULES = ("--stop=\\n", "--stop=END", "--seed=-3", "--top-p=0.9", "--top-k=40", "--presence-penalty=0.5")


@pytest.mark.parametrize(
    ("flags", "rules"),
    [
        ((), NO_RULES),
        ((*RULES, "--frequency-penalty=-1"), TokenRules(("\\n", "END"), -3, 900_000, 40, 500, -1_000)),
        (("--seed=0", "--top-p=1"), TokenRules(seed=0)),
    ],
)
async def test_rules_of_an_order_are_those_of_its_flags(
    vcoin: Shell, flags: tuple[str, ...], rules: TokenRules
) -> None:
    ran = await answered(vcoin, deliver, *ASK, *flags)
    assert ran.code == Exit.OK, ran.err
    (asked,) = vcoin.backend.asked
    assert (asked.rules, asked.is_ruled) == (rules, bool(flags))


@pytest.mark.parametrize("adapter", ["pirate", "1a1a"])
async def test_adapter_of_a_model_is_asked_by_name_or_hash(vcoin: Shell, tmp_path: Path, adapter: str) -> None:
    (tmp_path / "pirate").mkdir()
    assert (await vcoin("model", "add", str(tmp_path / "pirate"), "--base", SMOL.name)).code == Exit.OK
    ran = await answered(vcoin, deliver, *ASK, "--adapter", adapter)
    assert ran.code == Exit.OK, ran.err
    assert vcoin.backend.asked[-1].model == f"{SMOL.name}+{adapter}"


async def test_schema_of_an_answer_is_that_of_its_file(vcoin: Shell, tmp_path: Path) -> None:
    file = tmp_path / "person.json"
    file.write_text('{"type": "object", "title": "Person"}')
    ran = await answered(vcoin, deliver, *ASK, f"--schema={file}")
    assert ran.code == Exit.OK, ran.err
    assert vcoin.backend.asked[-1].rules == TokenRules(schema='{"type":"object"}')


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "expected a JSON schema in UTF-8: "),
        (b"\xff", "expected a JSON schema in UTF-8: "),
        (b"", "expected a JSON schema of at most 32768 characters"),
        (b" " * (MAX_SCHEMA_BYTES + 1), "expected a JSON schema of at most 32768 characters"),
        (b'{"not": {}}', "schema: the schema's keyword 'not' is not supported here"),
    ],
)
async def test_schema_that_no_answer_is_bound_to_is_misuse(
    vcoin: Shell, tmp_path: Path, content: bytes | None, words: str
) -> None:
    file = tmp_path / "schema.json"
    if content is not None:
        file.write_bytes(content)
    ran = await vcoin(*ASK, f"--schema={file}")
    assert (ran.code, words in ran.err) == (Exit.USAGE, True), ran.err
    assert not vcoin.backend.asked


async def test_text_that_is_no_chat_is_asked_for_as_it_stands(vcoin: Shell) -> None:
    ran = await answered(vcoin, deliver, *ASK, "--raw", "--alone")
    assert vcoin.backend.asked[-1].alone
    assert ran.code == Exit.OK, ran.err
    (asked,) = vcoin.backend.asked
    assert (asked.prompt, asked.messages) == (ASK[2], ())


@pytest.mark.parametrize(
    ("flag", "words"),
    [
        ("--top-p=1.5", "--top-p 1.5: expected 0 to 1 with at most six decimals"),
        ("--presence-penalty=3", "--presence-penalty 3: expected -2 to 2 with at most three decimals"),
        ("--top-k=5000", "top_k: expected a whole number from 0 to 1024"),
        ("--seed=99999999999999999999", "seed: expected a whole number"),
        (f"--stop={'x' * 65}", "stop: expected a text of 1 to 64 characters"),
        ("--stop=", "stop: expected a text of 1 to 64 characters"),
        ("--top-p=0", "top_p_ppm: expected a whole number from 1"),
    ],
)
async def test_rule_that_nobody_serves_is_misuse(vcoin: Shell, flag: str, words: str) -> None:
    ran = await vcoin(*ASK, flag)
    assert (ran.code, words in ran.err) == (Exit.USAGE, True), ran.err
    assert not vcoin.backend.asked
