"""Runs in the runner image: what draw, fingerprint and check cost beside the model's own passes, in class 2.

It leaves /output/found.json, in seconds. llama.cpp answers, and torch checks.
"""

import hashlib
import json
import os
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

MODEL = Path(os.environ["MODEL_PATH"])
SUBJECTS = ("bees", "paper", "volcanoes", "bread", "rivers", "clocks", "trade", "sleep")
TOKENS, TEMPERATURE_MILLI, ROUNDS = 128, 800, 5
FOUR = 4


def loaded() -> tuple[Any, Any]:
    """llama.cpp and torch."""
    from runner.llama import engine

    answering = engine.load(MODEL, "bf16")
    # Imported without torch in sight, transformers would not know its models.
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        del sys.modules[name]
    from runner.model import load

    return answering, load(MODEL, "bf16")


def chooser(word: str) -> Any:
    from runner.gumbel import Chooser

    return Chooser(TEMPERATURE_MILLI, hashlib.sha256(word.encode()).digest())


def prompt(engine: Any, subject: str) -> list[int]:
    question = f"Write a long and detailed text about {subject} for children who love science."
    ids: list[int] = engine.prompts.prompt_ids([{"role": "user", "content": question}], TOKENS)
    return ids


def took(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s


def middle(*works: Callable[[], object]) -> list[float]:
    """The median of each, made in turns: a machine that gets slower is slower for all."""
    rounds = [[took(work) for work in works] for _ in range(ROUNDS)]
    return [statistics.median(each) for each in zip(*rounds, strict=True)]


def write(engine: Any, subject: str) -> tuple[list[int], float, float]:
    """An answer, and seconds a token: of all of it, and of the passes alone."""
    from runner.fingerprint import encode_proof, projection, whiten

    batch, asked = engine.batch(), prompt(engine, subject)
    batch.join(0, asked, TOKENS, chooser(subject))
    while batch.is_reading:
        batch.read(len(asked))
    net, in_passes_s = engine._net, 0.0
    run = net.run

    def timed(*passed: Any) -> Any:
        nonlocal in_passes_s
        began_s = time.perf_counter()
        found = run(*passed)
        in_passes_s += time.perf_counter() - began_s
        return found

    net.run = timed
    ids, states = [], []
    began_s = time.perf_counter()
    while batch.is_writing:
        for _, token, state in batch.choose():
            ids.append(token)
            states.append(state)
        batch.advance()
    weights = np.ones(engine.hidden, np.float32)
    encode_proof(whiten(np.array(states), weights), projection(bytes(32), engine.hidden))
    all_s = time.perf_counter() - began_s
    net.run = run
    kept = [token for token in ids if token not in engine.eos_ids]
    return kept, all_s / len(ids), in_passes_s / len(ids)


def check(engine: Any, asked: list[int], output: list[int], subject: str) -> None:
    """The pass of a check, as executor/runner/check.py makes it."""
    from runner.fingerprint import encode_check, projection, whiten
    from runner.model import value_of

    trace = value_of(engine.tracing(asked, output, chooser(subject)))
    whitened = whiten(trace.states, np.ones(engine.hidden, np.float32))
    encode_check(whitened, projection(bytes(32), engine.hidden), trace.of_first(len(output), False))


def read_torch(engine: Any, text: list[int], first: int) -> None:
    """The same text read by the model, with logits from one place on; nothing is drawn and nothing judged."""
    import torch

    with torch.inference_mode():
        states = engine._net.base_model(input_ids=torch.tensor([text]), use_cache=False).last_hidden_state[0, first:]
        engine._net.get_output_embeddings()(states.to(engine._net.dtype))


def read_llama(engine: Any, text: list[int], first: int) -> None:
    net, sequence = engine._net, 16
    net.read(text[:first], range(first), [sequence] * first)
    for at in range(first, len(text), 64):
        part = text[at : at + 64]
        net.run(part, range(at, at + len(part)), [sequence] * len(part))
    net.forget(sequence)


def one_by_one(engine: Any, texts: Sequence[list[int]]) -> None:
    for text in texts:
        engine._states_of([text])


def main() -> dict[str, Any]:
    answering, checking = loaded()
    answers = [(subject, *write(answering, subject)) for subject in SUBJECTS]
    subject, output, *_ = max(answers, key=lambda each: len(each[1]))
    asked = prompt(checking, subject)
    text, first = asked + output, len(asked) - 1
    check(checking, asked, output, subject)
    check_s, read_s, answering_s = middle(
        lambda: check(checking, asked, output, subject),
        lambda: read_torch(checking, text, first),
        lambda: read_llama(answering, text, first),
    )
    texts = [prompt(checking, subject) + ids for subject, ids, *_ in answers[:FOUR]]
    apart_s, padded_s = middle(lambda: one_by_one(checking, texts), lambda: checking._states_of(texts))
    return {
        "token_s": statistics.median(each[2] for each in answers),
        "pass_s": statistics.median(each[3] for each in answers),
        "tokens": len(text),
        "check_s": check_s,
        "read_s": read_s,
        "answering_s": answering_s,
        "apart_s": apart_s,
        "padded_s": padded_s,
    }


if __name__ == "__main__":
    Path("/output/found.json").write_text(json.dumps(main()))
