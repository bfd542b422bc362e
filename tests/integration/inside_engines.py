"""Runs in the runner image: both engines do the same work with the small model, and each checks the other's.

It leaves /output/found.json. The class is that of the model's number format, of those that have two engines.
"""

import hashlib
import json
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("MAX_MEMORY", str(2 << 30))
MODEL = Path(os.environ["MODEL_PATH"])
DTYPE = json.loads((MODEL / "manifest.json").read_bytes())["dtype"]
GIB = 1 << 30
RIVERS, PAPER = "Name three rivers of Europe.", "Explain in depth how paper changed history."
ASKED = ((RIVERS, "a"), (PAPER, "a"), ("Hello.", "b"))
"""Questions and words that make seeds; the last one has a short answer."""
LENGTH = 24


def loaded() -> Iterator[tuple[str, Any]]:
    """llama.cpp first: it must not need torch."""
    from runner.llama import engine

    yield "llama.cpp", engine.load(MODEL, DTYPE)
    assert "torch" not in sys.modules, "llama.cpp has imported torch"
    # Imported without torch in sight, transformers would not know its models.
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        del sys.modules[name]
    from runner.model import load

    yield "torch", load(MODEL, DTYPE)


def chooser(word: str, milli: int = 800) -> Any:
    from runner.gumbel import Chooser

    return Chooser(milli, hashlib.sha256(word.encode()).digest())


def chat(engine: Any, question: str) -> list[int]:
    ids: list[int] = engine.prompts.prompt_ids([{"role": "user", "content": question}], LENGTH)
    return ids


def turn(batch: Any, told: dict[int, list[int]], states: dict[int, list[Any]]) -> None:
    """As a container does it: a step of those who write, with a piece of a prompt beside."""
    if not batch.is_writing:
        batch.read(16)
        return
    was_reading = batch.is_reading
    for number, token, state in batch.choose(16):
        told.setdefault(number, []).append(token)
        states.setdefault(number, []).append(np.array(state))
    assert (1 <= batch.read_on <= 16) if was_reading else not batch.read_on
    batch.advance()


def answers(engine: Any, asked: Sequence[tuple[str, str]], length: int = LENGTH) -> list[tuple[list[int], Any]]:
    """Tokens and states of answers to these questions with these seeds, each of which joins a turn after the other."""
    told: dict[int, list[int]] = {}
    states: dict[int, list[Any]] = {}
    batch = engine.batch()
    for number, (question, word) in enumerate(asked):
        batch.join(number, chat(engine, question), length, chooser(word))
        turn(batch, told, states)
    while batch.is_reading or batch.is_writing:
        turn(batch, told, states)
    return [(told[number], np.array(states[number])) for number in range(len(asked))]


def traced(engine: Any, question: str, word: str, output: list[int], piece_tokens: int = 0) -> Any:
    engine.piece_tokens = piece_tokens
    steps = engine.tracing(chat(engine, question), output, chooser(word))
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def apart(ours: Any, theirs: Any) -> float:
    """The relative distance of states."""
    return float(np.sqrt(((ours - theirs) ** 2).sum() / (theirs**2).sum()))


def left(engine: Any) -> dict[str, Any]:
    """An answer that is dropped half way, beside one that is not; its number is used again."""
    told: dict[int, list[int]] = {}
    batch = engine.batch()
    batch.join(0, chat(engine, PAPER), LENGTH, chooser("a"))
    batch.join(1, chat(engine, PAPER), LENGTH, chooser("b"))
    while len(told.get(0, [])) < 5:
        turn(batch, told, {})
    batch.leave(0)
    batch.leave(0)
    batch.join(0, chat(engine, RIVERS), 3, chooser("c"))
    while batch.is_reading or batch.is_writing:
        turn(batch, told, {})
    return {"told": {number: len(ids) for number, ids in told.items()}, "stays": told[1]}


def refusals(engine: Any) -> dict[str, Any]:
    from runner.engine import AnswerSize
    from runner.job import BadInput

    def refused(call: Any) -> str:
        try:
            call()
        except BadInput as error:
            return error.code
        return "taken"

    long = [{"role": "user", "content": "word " * 9000}]
    size = AnswerSize(3_000, 1_000)
    return {
        "long": refused(lambda: engine.prompts.prompt_ids(long, LENGTH)),
        "no chat": refused(lambda: engine.prompts.prompt_ids("hello", LENGTH)),
        "memory": refused(lambda: engine.require_memory(8_000, engine.loaded_bytes + 1)),
        "enough": refused(lambda: engine.require_memory(800, engine.loaded_bytes + GIB)),
        "one": engine.has_room([size], engine.loaded_bytes + GIB),
        "many": engine.has_room([size] * 64, engine.loaded_bytes + GIB),
        "none": engine.has_room([size], engine.loaded_bytes),
    }


def strange_devices() -> dict[str, list[str]]:
    """What both engines say of devices that this image has no kernels for."""
    from runner import model
    from runner.engine import Unfit
    from runner.llama import engine

    found: dict[str, list[str]] = {}
    for name, load in (("llama.cpp", engine.load), ("torch", model.load)):
        for device in ("cuda", "abacus"):
            try:
                load(MODEL, DTYPE, device)
            except Unfit as error:
                found.setdefault(name, []).append(str(error))
    return found


def facts(engine: Any) -> dict[str, Any]:
    """What one engine does by itself."""
    beside = answers(engine, ASKED)
    again = [answers(engine, [each])[0] for each in ASKED]
    return {
        "build": engine.build,
        "beside": [ids for ids, _ in beside],
        "states": [states.tolist() for _, states in beside],
        "alone": [ids for ids, _ in again],
        "other seed": answers(engine, [(PAPER, "another")])[0][0],
        "left": left(engine),
        "refusals": refusals(engine),
        "eos": list(engine.eos_ids),
    }


def checks(engine: Any, found: dict[str, Any]) -> dict[str, Any]:
    """What this engine says of the answers of another one, at one go and in pieces."""
    rows = []
    for (question, word), ids, states in zip(ASKED, found["beside"], found["states"], strict=True):
        stopped = ids[-1] in engine.eos_ids
        output = ids[:-1] if stopped else ids
        whole = traced(engine, question, word, output)
        pieces = traced(engine, question, word, output, 7)
        rows.append(
            {
                "apart": apart(whole.states, np.array(states)[: len(output)]),
                "margins": whole.of_first(len(output), stopped).tolist(),
                "pieces": apart(pieces.states, whole.states),
                "pieces margins": float(np.abs(pieces.margins - whole.margins).max()),
            }
        )
    ids = found["beside"][1]
    forged = traced(engine, PAPER, "a", [*ids[:5], (ids[5] + 1) % engine.vocab, *ids[6:]])
    stolen = traced(engine, PAPER, "another", ids)
    return {
        "rows": rows,
        "forged": float(forged.margins[5]),
        "stolen": float(np.maximum(stolen.margins, 0).mean()),
    }


def main() -> None:
    engines, found = {}, {}
    for name, engine in loaded():
        engines[name], found[name] = engine, facts(engine)
    found["checks"] = {
        f"{writer} by {reader}": checks(engines[reader], found[writer]) for writer in engines for reader in engines
    }
    found["strange devices"] = strange_devices()
    for name in engines:
        del found[name]["states"]
    Path("/output/found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
