"""Jobs with token rules in a warm engine: honest answers pass their check, and those that leave out a rule do not.

All of them share one engine, because each start of one takes some five seconds.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import trio

from chain.calibration.files import packaged_for
from executor.docker_runner import Capacity, DockerRunner
from executor.runs.context import RunnerContext
from executor.runs.generation import Generation, PendingRun
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import INPUT_JSON, RESULT_JSON, Workspaces
from node.daemon.text import before_stop, load_tokenizer, text_of
from protocol.effects import ReplaySample
from protocol.events import ContainerExited, SampleReplayed
from protocol.judging.kinds import validate
from protocol.params import PASS_ABOVE_BPS, REVIEW_ABOVE_BPS
from protocol.stages.execution import Outcome, RunSpec
from protocol.stages.token_rules import signed_temperature
from protocol.stages.verification import Calibration, margin_distances, points, score
from protocol.wire.ids import JobId
from tests.support.runner_context import open_context, small_model

pytestmark = pytest.mark.docker

QUESTION = [{"role": "user", "content": "Name three rivers of Europe and say where each of them ends."}]
SEED, LENGTH = 7, 16
CLASS = 1
"""Float32, in which an answer is the same to the byte; in the other one near ties may fall either way."""
NARROW = {"seed": SEED, "top_p_ppm": 300_000, "top_k": 40, "presence_milli": 400, "frequency_milli": 300}
SCHEMA = json.dumps(
    {
        "type": "object",
        "properties": {"river": {"type": "string", "maxLength": 8}, "long": {"type": "boolean"}},
        "required": ["river", "long"],
        "additionalProperties": False,
    }
)
DEAD = json.dumps({"type": "string", "pattern": "((((.{1,50}){1,50}){1,50}){1,50}){1,50}"})
HONEST = ["free", "again", "stopped", "narrow", "greedy", "raw", "json", "dead"]


def asked(version: int = 2, **said: Any) -> bytes:
    return json.dumps({"v": version, "salt": "5a" * 16, **said}).encode()


@dataclass
class Played:
    """What came of jobs and of checks, by their names."""

    runner: DockerRunner
    context: RunnerContext
    home: Path
    class_id: int
    alone: bytes = b""
    told_alone: list[int] = field(default_factory=list)
    specs: dict[str, RunSpec] = field(default_factory=dict)
    streamed: dict[str, list[int]] = field(default_factory=dict)
    exited: dict[str, ContainerExited] = field(default_factory=dict)
    checked: dict[str, SampleReplayed] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.workspaces = Workspaces(self.home / "work")

    @property
    def calibration(self) -> Calibration:
        noise = packaged_for(small_model().cid)
        assert noise is not None
        return noise.classes[self.class_id].calibration

    async def job(self, name: str, content: bytes, milli: int = 800, *, ruled: bool = True) -> None:
        job_id, seed = hashlib.sha256(name.encode()).digest(), hashlib.sha256(b"seed" + name.encode()).digest()
        temperature = signed_temperature(milli, ruled=ruled)
        spec = RunSpec(job_id, small_model().cid, self.class_id, LENGTH, temperature, seed, 2 << 30, 300_000)
        self.specs[name], streamed = spec, self.streamed.setdefault(name, [])
        self.workspaces.of_job(job_id).put(INPUT_JSON, content)

        async def on_tokens(ids: tuple[int, ...]) -> None:
            streamed.extend(ids)

        self.exited[name] = await self.runner.run_job(spec, on_tokens)

    def run_alone(self, name: str) -> None:
        """The same job in a container of its own."""
        spec, workspace = self.specs[name], Workspaces(self.home / "alone").of_job(self.specs[name].job_id)
        workspace.put(INPUT_JSON, self.content(name))
        told: list[int] = []
        Generation(self.context, PendingRun(self.context, spec, workspace)).run(told.extend)
        self.alone, self.told_alone = workspace.get(RESULT_JSON) or b"", told

    def result(self, name: str) -> dict[str, Any]:
        raw = self.workspaces.of_job(self.specs[name].job_id).get(RESULT_JSON)
        found: dict[str, Any] = json.loads(raw or b"{}")
        return found

    def text(self, name: str) -> str:
        return text_of(tokenizer(), self.result(name)["output_token_ids"])

    def content(self, name: str) -> bytes:
        return self.workspaces.of_job(self.specs[name].job_id).get(INPUT_JSON) or b""

    async def check(self, name: str, of: str, **changes: Any) -> None:
        """A seat's pass over the answer to a job, in which something was changed."""
        raw = json.dumps(self.result(of) | changes, sort_keys=True, separators=(",", ":")).encode()
        batch = hashlib.sha256(name.encode()).digest()
        for file, content in ((INPUT_JSON, self.content(of)), (RESULT_JSON, raw)):
            self.workspaces.of_sample(batch, 0).put(file, content)
        self.checked[name] = await self.runner.replay(ReplaySample(batch, 0, self.specs[of]))

    def score(self, name: str) -> int:
        exited = self.exited[name]
        return score(exited.fingerprint, self.checked[name].check, exited.result.new_tokens, self.calibration)

    def points(self, name: str, tokens: int) -> int:
        return points(margin_distances(self.checked[name].check, tokens), tokens, self.calibration)


def tokenizer() -> Any:
    with open_context() as context:
        return load_tokenizer(context.models.path(small_model().cid) / small_model().tokenizer)


async def side_by_side(*calls: Callable[[], Awaitable[None]]) -> None:
    async with trio.open_nursery() as nursery:
        for call in calls:
            nursery.start_soon(call)


async def play(played: Played) -> None:
    job, check = played.job, played.check
    await side_by_side(
        lambda: job("free", asked(messages=QUESTION, rules={"seed": SEED})),
        lambda: job("again", asked(messages=QUESTION, rules={"seed": SEED})),
        lambda: job("narrow", asked(messages=QUESTION, rules=NARROW)),
        lambda: job("greedy", asked(messages=QUESTION, rules={"frequency_milli": 900}), 0),
        lambda: job("raw", asked(prompt="The longest river of Europe is the", rules={"seed": SEED})),
        lambda: job("json", asked(messages=QUESTION, rules={**NARROW, "schema": SCHEMA})),
        lambda: job("dead", asked(messages=QUESTION, rules={"schema": DEAD})),
        lambda: job("unfit", asked(messages=QUESTION, rules={"schema": '{"minimum":5,"maximum":3,"type":"integer"}'})),
        lambda: job("unbound", asked(messages=QUESTION, rules={"schema": '{"allOf":[{}]}'})),
        lambda: job("unsigned", asked(messages=QUESTION, rules={}), ruled=False),
        lambda: job("older", asked(1, messages=QUESTION)),
        lambda: job("unknown", asked(messages=QUESTION, rules={"typical_p": 5})),
    )
    text = played.text("free")
    stop = text[len(text) // 2 :][:4]
    await job("stopped", asked(messages=QUESTION, rules={"seed": SEED, "stop": ["never said", stop]}))
    await trio.to_thread.run_sync(played.run_alone, "stopped")
    free, ids = played.result("free")["output_token_ids"], played.result("stopped")["output_token_ids"]
    await side_by_side(
        *(lambda name=name: check(name, name) for name in HONEST),  # type: ignore[misc]
        lambda: check("goes on", "stopped", output_token_ids=free, finish=played.result("free")["finish"]),
        lambda: check("ends early", "stopped", output_token_ids=ids[:-1]),
        lambda: check("eos at a stop", "stopped", finish="eos"),
        lambda: check("stop without one", "free", finish="stop"),
        lambda: check("rules left out", "narrow", output_token_ids=free, finish=played.result("free")["finish"]),
        lambda: check("no json", "json", output_token_ids=free, finish=played.result("free")["finish"]),
        lambda: check("no dead end", "json", finish="dead_end"),
        lambda: check("another draw", "free", output_token_ids=played.result("narrow")["output_token_ids"]),
    )


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Played:
    home = tmp_path_factory.mktemp("ruled")
    with open_context(node=f"test-ruled-{os.getpid()}") as context:
        capacity = Capacity(1, HostSlots(home / "slots", 1), at_once=8)
        runner = DockerRunner(context, Workspaces(home / "work"), capacity)
        found = Played(runner, context, home, CLASS)

        async def run() -> None:
            with trio.fail_after(240):
                async with trio.open_nursery() as serving:
                    serving.start_soon(runner.serve)
                    await play(found)
                    serving.cancel_scope.cancel()

        trio.run(run)
        return found


@pytest.mark.parametrize("name", HONEST)
def test_honest_answer_under_rules_passes(played: Played, name: str) -> None:
    exited = played.exited[name].result
    assert (exited.outcome, exited.detail) == (Outcome.OK, "")
    assert played.checked[name].problem == ""
    assert played.score(name) > PASS_ABOVE_BPS
    assert played.streamed[name] == played.result(name)["output_token_ids"]


def test_same_prompt_and_seed_at_once_give_the_same_answer_with_fingerprints_of_their_own(played: Played) -> None:
    free, again = played.result("free"), played.result("again")
    assert free["output_token_ids"] == again["output_token_ids"]
    assert free["job_id"] != again["job_id"]
    assert played.exited["free"].fingerprint != played.exited["again"].fingerprint
    assert played.result("narrow")["output_token_ids"] != free["output_token_ids"]


def test_answer_ends_with_the_token_that_completes_its_stop_string(played: Played) -> None:
    stopped, free = played.result("stopped"), played.result("free")
    ids = stopped["output_token_ids"]
    assert stopped["finish"] == played.exited["stopped"].result.finish == "stop"
    assert ids == free["output_token_ids"][: len(ids)]
    _, stop = json.loads(played.content("stopped"))["rules"]["stop"]
    assert stop in played.text("stopped")
    assert stop not in text_of(tokenizer(), ids[:-1])
    assert before_stop(played.text("free"), [stop]) == before_stop(played.text("stopped"), [stop])
    raw = json.dumps(stopped, sort_keys=True, separators=(",", ":")).encode()
    facts = validate(0, raw, JobId(played.specs["stopped"].job_id), small_model(), LENGTH, played.content("stopped"))
    assert facts.delivered == len(ids)
    assert (played.alone, played.told_alone) == (raw, ids)


def test_answer_to_a_schema_is_its_json_and_a_dead_end_ends_one_that_is_paid(played: Played) -> None:
    told = json.loads(played.text("json"))
    assert (list(told), type(told["river"]), type(told["long"])) == (["river", "long"], str, bool)
    assert played.exited["json"].result.finish == "eos"
    dead = played.exited["dead"].result
    assert (dead.finish, dead.new_tokens) == ("dead_end", len(played.result("dead")["output_token_ids"]))
    assert 0 < dead.new_tokens < LENGTH


@pytest.mark.parametrize("name", ["no json", "no dead end"])
def test_answer_that_its_schema_does_not_let_be_scores_nothing(played: Played, name: str) -> None:
    assert played.checked[name].check == b""
    assert played.checked[name].problem.startswith("bad_result: ")


@pytest.mark.parametrize("name", ["goes on", "ends early", "eos at a stop", "stop without one"])
def test_answer_that_ends_elsewhere_than_at_its_stop_string_scores_nothing(played: Played, name: str) -> None:
    assert played.checked[name].check == b""
    assert played.checked[name].problem.startswith("bad_result: ")


@pytest.mark.parametrize(("name", "of"), [("rules left out", "free"), ("another draw", "narrow")])
def test_answer_by_other_rules_fails_by_its_margins(played: Played, name: str, of: str) -> None:
    assert played.checked[name].problem == ""
    assert played.points(name, len(played.result(of)["output_token_ids"])) <= REVIEW_ABOVE_BPS


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("unsigned", "version 1"),
        ("older", "version 2"),
        ("unknown", "no rule typical_p"),
        ("unfit", "minimum (5) is greater than maximum (3)"),
        ("unbound", "the schema's keyword 'allOf' is not supported here"),
    ],
)
def test_input_that_is_not_what_was_signed_is_its_clients_fault(played: Played, name: str, words: str) -> None:
    found = played.exited[name].result
    assert (found.outcome, words in found.detail) == (Outcome.CLIENT, True), found.detail
