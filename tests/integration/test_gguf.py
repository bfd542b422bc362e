"""GGUF models in containers: what the engines are given of a file, real jobs and checks, and files that mean harm."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tokenizers import Tokenizer

from executor.docker_runner import Capacity, DockerRunner
from executor.models import ModelStore
from executor.scheduler.slots import HostSlots
from executor.workspace.folders import Workspaces
from protocol.stages.execution import Outcome
from protocol.stages.verification import UNCALIBRATED, distances, score
from scripts.setup import model
from tests.support import gguf_files
from tests.support.gguf_files import by_chance, facts, whole
from tests.support.runner_context import found_inside, open_context, small_model
from tests.support.scenes.sandboxes import SALT, Bench, Served
from tests.support.small_gguf import MAKER, small_gguf

pytestmark = pytest.mark.docker

CLASS = 3
TEXTS = (
    "Name three rivers.",
    "  Ünïcode, \n\n\t tabs — and 'quotes' it's",
    "<|im_start|>user\nhi<|im_end|>\n",
    "日本語 ok",
)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    beside = {path.name: path.read_bytes() for path in (Path(gguf_files.__file__), MAKER)}
    return found_inside(Path(__file__).with_name("inside_gguf.py"), tmp_path_factory.mktemp("inside"), beside)


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("gguf")


@pytest.fixture(scope="module")
def bench(home: Path) -> Iterator[Bench]:
    """A node with the small model as a GGUF file."""
    models, manifest = small_gguf(home / "small")
    workspaces = Workspaces(home / "work")
    with open_context() as context:
        mine = dataclasses.replace(context, models=models)
        runner = DockerRunner(mine, workspaces, Capacity(1, HostSlots(home / "slots", 1), at_once=4))
        yield Bench(Served(runner), workspaces, manifest, CLASS)


def chat(content: str) -> bytes:
    messages = [{"role": "user", "content": content}]
    return json.dumps({"v": 1, "salt": SALT, "messages": messages}).encode()


def added(bench: Bench, home: Path, data: bytes, name: str) -> Bench:
    """The same node with one more model."""
    path = home / f"{name}.gguf"
    path.write_bytes(data)
    return dataclasses.replace(bench, manifest=ModelStore(home / "small" / "store").add(path, name))


def test_blocks_stand_for_the_numbers_that_other_programs_read(found: dict[str, Any]) -> None:
    assert found["numbers"] == {"written": True, "read": True, "edges": True}


@pytest.mark.parametrize("engine", ["torch", "llama"])
def test_an_engine_is_given_what_the_file_holds(found: dict[str, Any], engine: str) -> None:
    assert [name for name, same in found[engine].items() if not same] == []
    # Eleven tensors and two questions; in torch the embedding is also named as the last matrix.
    assert len(found[engine]) == 11 + 2


def test_rough_logits_are_no_further_off_than_is_said(found: dict[str, Any]) -> None:
    for each in found["last_matrix"]:
        assert each["apart"] < 1e-12
        assert 0 < each["rough"] < each["off"] < 40 * each["rough"]


def test_files_that_do_not_fit_each_other_are_refused(found: dict[str, Any]) -> None:
    assert [name for name, said in found["refusals"].items() if said == "taken"] == []
    assert len(found["refusals"]) == 10
    assert found["refusals"]["format"] == "the model is stored in q8_0, and not in bf16"
    assert "may not be whole" in found["refusals"]["cut"]


def test_the_tokenizer_of_the_file_cuts_texts_as_that_of_the_model(bench: Bench, home: Path) -> None:
    theirs = Tokenizer.from_file(str(ModelStore(model.store()).path(small_model().cid) / "tokenizer.json"))
    ours = Tokenizer.from_file(str(ModelStore(home / "small" / "store").path(bench.manifest.cid) / "tokenizer.json"))
    for text in TEXTS:
        assert ours.encode(text).ids == theirs.encode(text).ids
        assert ours.decode(ours.encode(text).ids) == theirs.decode(theirs.encode(text).ids)
    assert ours.encode("2026").tokens == ["2", "0", "2", "6"]


async def test_llama_cpp_answers_and_torch_checks(bench: Bench) -> None:
    spec, content = bench.spec("gguf", temperature=800), chat("Name three rivers of Europe.")
    exited, streamed = await bench.run(spec, content)
    assert exited.result.outcome is Outcome.OK, exited.result.detail
    raw = bench.result_of(spec)
    told = json.loads(raw)
    assert (told["dtype"], told["device_class"]) == ("q8_0", CLASS)
    assert told["engine"].startswith("llama.cpp")
    assert told["output_token_ids"] == list(streamed)
    checked = await bench.sandbox.replay(bench.sample(spec, content, raw))
    found = distances(exited.fingerprint, checked.check, len(streamed))
    # Honest engines lie apart by the noise of the type; by the widest constants that are known, that passes.
    assert 0 < found.act < 100_000
    assert score(exited.fingerprint, checked.check, len(streamed), UNCALIBRATED) > 0
    # Under another engine's name the check goes to the other engine, which finds the same.
    named = {**told, "engine": "torch"}
    other = json.dumps(named, sort_keys=True, separators=(",", ":")).encode()
    again = await bench.sandbox.replay(bench.sample(spec, content, other))
    assert again.check != checked.check
    assert distances(exited.fingerprint, again.check, len(streamed)).act < 100_000


async def test_another_class_does_not_run_a_gguf_file(bench: Bench) -> None:
    exited, _ = await bench.run(bench.spec("float32", class_id=1), chat("Hello."))
    assert exited.result.outcome is Outcome.CLIENT
    assert exited.result.detail.endswith("the model is stored in q8_0, and not in fp32")


@pytest.mark.parametrize(
    ("name", "template", "detail"),
    [
        ("error", "{{ 1 // 0 }}", "the chat template of the model refuses these messages"),
        ("syntax", "{% for %}", "the chat template of the model refuses these messages"),
        ("escape", "{{ ''.__class__.__mro__[1].__subclasses__() }}", "the chat template of the model refuses"),
        ("open", "{{ open('/etc/passwd').read() }}", "the chat template of the model refuses these messages"),
        ("long", "{% for i in range(9000) %}word {% endfor %}", "tokens, and 48 fit before an answer"),
    ],
)
async def test_a_hostile_template_is_an_error_of_the_job(
    bench: Bench, home: Path, name: str, template: str, detail: str
) -> None:
    data = whole(facts(**{"tokenizer.chat_template": template}), by_chance())
    harmed = added(bench, home, data, name)
    exited, _ = await harmed.run(harmed.spec(f"hostile {name}"), chat("Hello."))
    assert exited.result.outcome is Outcome.CLIENT
    assert detail in exited.result.detail


async def test_weights_that_are_no_numbers_are_an_error_of_the_model_and_the_node_goes_on(
    bench: Bench, home: Path
) -> None:
    harmed = added(bench, home, whole(facts(), by_chance(float("nan"))), "nan")
    exited, _ = await harmed.run(harmed.spec("nan"), chat("Hello."))
    assert exited.result.outcome is Outcome.CLIENT
    assert "holds what is no number" in exited.result.detail
    healthy = added(bench, home, whole(facts(), by_chance()), "healthy")
    exited, streamed = await healthy.run(healthy.spec("healthy"), chat("Hello."))
    assert exited.result.outcome is Outcome.OK, exited.result.detail
    assert len(streamed) == 16 or exited.result.finish == "eos"
