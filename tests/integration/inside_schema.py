"""Runs in the runner image: the choice of tokens under a schema, against its definition, with both engines.

It leaves /output/found.json.
"""

import hashlib
import json
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

os.environ.setdefault("MAX_MEMORY", str(2 << 30))
MODEL = Path(os.environ["MODEL_PATH"])
NOISES = (0.0, 0.05, 0.4)
PERSON = {
    "type": "object",
    "properties": {
        "name": {"type": "string", "maxLength": 12},
        "age": {"type": "integer", "minimum": 0, "maximum": 150},
        "kind": {"enum": ["adult", "child"]},
    },
    "required": ["name", "age", "kind"],
    "additionalProperties": False,
}
LENGTH = 48
NARROW = {"top_p_ppm": 500_000, "top_k": 20, "presence_milli": 300}
DEAD = {"type": "string", "pattern": "((((.{1,50}){1,50}){1,50}){1,50}){1,50}"}
"""A grammar that cannot be worked out beyond the first tokens."""
HOSTILE: dict[str, Any] = {
    "regex of regexes": DEAD,
    "regex that looks ahead far": {"type": "string", "pattern": ".*a.{30}b.{30}c.{30}.*"},
    "regex that backtracks": {"type": "string", "pattern": "^(a+)+$"},
    "regex of many words": {"type": "string", "pattern": "(.*[a-f].{1,30}){20}"},
    "one property of many": {"type": "object", "properties": {f"p{i}": {"type": "string"} for i in range(256)}},
    "one value of many": {"enum": [hashlib.sha256(str(i).encode()).hexdigest()[:26] for i in range(1000)]},
    "alternatives that are one": {
        "$defs": {"a": {"anyOf": [{"type": "array", "items": {"$ref": "#/$defs/a"}}] * 64}},
        "$ref": "#/$defs/a",
    },
    "alternatives of alternatives": {
        "$defs": {
            **{f"a{i}": {"anyOf": [{"$ref": f"#/$defs/a{i + 1}"}] * 4} for i in range(16)},
            "a16": {"type": "integer"},
        },
        "$ref": "#/$defs/a0",
    },
    "patterns beside each other": {"anyOf": [{"type": "string", "pattern": f".*[a-f].{{{i}}}.*x"} for i in range(32)]},
    "a list of lists": {
        "type": "array",
        "minItems": 9_000,
        "maxItems": 100_000,
        "items": {"type": "array", "minItems": 9_000, "maxItems": 100_000},
    },
    "a large multiple": {"type": "integer", "multipleOf": 999_983, "minimum": 1, "maximum": 10**15},
    "a large range": {"type": "number", "minimum": -1e300, "maximum": 1e300},
    "without an end": {"type": "object", "properties": {"a": {"$ref": "#"}}, "required": ["a"]},
    "too small": {"type": "integer", "minimum": 5, "maximum": 3},
    "forbidden and required": {"type": "object", "properties": {"a": False}, "required": ["a"]},
    "no regex": {"type": "string", "pattern": "(?<=a)b("},
}


def engines() -> Iterator[tuple[str, Any]]:
    """llama.cpp first: it must not need torch."""
    from runner.llama import engine

    yield "llama.cpp", engine.load(MODEL, "bf16")
    assert "torch" not in sys.modules, "llama.cpp has imported torch"
    # Imported without torch in sight, transformers would not know its models.
    for name in [name for name in sys.modules if name.partition(".")[0] == "transformers"]:
        del sys.modules[name]
    from runner.model import load

    yield "torch", load(MODEL, "bf16")


def grammar(engine: Any, schema: Any) -> Any:
    from runner.answer_schema import read_schema
    from runner.grammar import grammar_of

    return grammar_of(read_schema(json.dumps(schema)), engine)


def chooser(engine: Any, schema: Any, written: Any = (), milli: int = 800, **rules: int) -> Any:
    from runner.ruled import RuledChooser
    from runner.rules import ChoiceRules

    return RuledChooser(milli, b"\x07" * 32, ChoiceRules(**rules), [*written], grammar(engine, schema))


def written(engine: Any, schema: Any, length: int = LENGTH, **rules: int) -> tuple[list[int], str]:
    """The answer of an engine, and why it ended."""
    ours = chooser(engine, schema, **rules)
    prompt = engine.prompts.prompt_ids([{"role": "user", "content": "Describe a person as JSON."}], length)
    batch, told = engine.batch(), list[int]()
    batch.join(0, prompt, length, ours)
    while batch.is_reading or batch.is_writing:
        if batch.is_reading:
            batch.read(len(prompt))
            continue
        told += [token for _, token, _ in batch.choose()]
        batch.advance()
    ended = told[-1] in engine.eos_ids
    return told[:-1] if ended else told, "dead_end" if ours.is_stuck else "eos" if ended else "length"


def checked(engine: Any, schema: Any, ids: list[int], finish: str, **rules: int) -> list[float] | str:
    """The margins of an answer, or why it deserves none."""
    from runner.check import _require_instance
    from runner.job import BadInput

    ours = chooser(engine, schema, ids, **rules)
    prompt = engine.prompts.prompt_ids([{"role": "user", "content": "Describe a person as JSON."}], LENGTH)
    steps = engine.tracing(prompt, ids, ours)
    try:
        while True:
            try:
                next(steps)
            except StopIteration as end:
                trace = end.value
                break
        _require_instance(ids, ours.grammar, engine, finish)
    except BadInput as error:
        return f"{error.code}: {error}"
    return [float(each) for each in trace.of_first(len(ids), finish == "eos")]


def literal(engine: Any) -> dict[str, Any]:
    """Choices among logits that are drawn: whether they are the best of what is allowed and kept, and their margins."""
    from runner.gumbel import Chooser
    from runner.logits import as_they_are
    from runner.ruled import RuledChooser
    from runner.rules import ONE_PPM, ChoiceRules

    right, margins, ended = [], {noise: list[float]() for noise in NOISES}, 0
    for case, noise in enumerate(NOISES * 8):
        chance = np.random.default_rng(case)
        rules = ChoiceRules(
            top_p_ppm=int(chance.choice([300_000, ONE_PPM])),
            top_k=int(chance.choice([0, 3, 40])),
            presence_milli=int(chance.choice([0, 700])),
        )
        milli = int(chance.choice([0, 100, 800, 2000]))
        worker = RuledChooser(milli, b"\x05" * 32, rules, [], grammar(engine, PERSON))
        places, told = [], list[int]()
        for place in range(40):
            exact = (chance.normal(size=engine.vocab) * 2).astype(np.float32)
            theirs = (exact + chance.uniform(-noise, noise, size=engine.vocab)).astype(np.float32)
            places.append(exact)
            told.append(worker.choose(as_they_are(theirs), place))
            allowed = worker.grammar.allowed(told, place)
            right.append(bool(allowed[told[-1]]))
            if noise == 0:
                ids = np.flatnonzero(allowed)
                lost = np.where(np.isin(ids, told[:-1]), rules.presence_milli / 1000, 0.0)
                values = exact[ids] - lost
                order = np.argsort(-values, kind="stable")
                if milli:
                    order = order[: rules.top_k or len(order)]
                    weights = np.exp((values[order] - values[order[0]]) / (milli / 1000))
                    before = np.concatenate([[0.0], np.cumsum(weights)[:-1]]) / weights.sum()
                    order = order[before < rules.top_p_ppm / ONE_PPM] if rules.top_p_ppm < ONE_PPM else order
                numbers = Chooser(milli, worker.seed).scores(as_they_are(np.zeros(engine.vocab)), place, ids[order])
                right.append(told[-1] == int(ids[order][(values[order] + numbers).argmax()]))
            if told[-1] in engine.eos_ids:
                ended += 1
                break
        checker = RuledChooser(milli, worker.seed, rules, [*told], grammar(engine, PERSON))
        for place, token in enumerate(told):
            stop = token in engine.eos_ids
            seen = checker.standing(as_they_are(places[place]), place, engine.eos_ids, None if stop else token)
            margins[noise].append(seen.stop_margin if stop else max(seen.margin, seen.stop_lead))
    return {"right": all(right), "ended": ended, "margins": {str(noise): each for noise, each in margins.items()}}


def hostile(engine: Any) -> dict[str, Any]:
    """Of each schema what refuses it, or what it took to begin, and the four longest steps, in ms of a core."""
    from runner.job import BadInput
    from runner.logits import as_they_are
    from runner.ruled import RuledChooser
    from runner.rules import ChoiceRules

    found: dict[str, Any] = {}
    for name, schema in HOSTILE.items():
        began = time.thread_time()
        try:
            ours = RuledChooser(2000, bytes(32), ChoiceRules(), [], grammar(engine, schema))
        except BadInput as error:
            found[name] = {"refused": f"{error.code}: {error}", "begin_ms": 1000 * (time.thread_time() - began)}
            continue
        begin_ms, steps_ms, place = 1000 * (time.thread_time() - began), list[float](), 0
        for place in range(120):
            logits = as_they_are(np.random.default_rng(place).normal(size=engine.vocab).astype(np.float32))
            began = time.thread_time()
            token = ours.choose(logits, place)
            steps_ms.append(1000 * (time.thread_time() - began))
            if token in engine.eos_ids:
                break
        ended = "dead_end" if ours.is_stuck else "eos" if token in engine.eos_ids else "length"
        longest_ms = sorted(steps_ms, reverse=True)[:4]
        found[name] = {"begin_ms": begin_ms, "steps_ms": longest_ms, "n": place, "ended": ended}
    return found


def cheats(engine: Any, ids: list[int], finish: str) -> dict[str, Any]:
    """What a checker says of answers that a schema does not let be."""
    other = [*ids]
    other[len(ids) // 2] = engine.prompts.text_ids("zebra", special=False)[0]
    stuck, ended = written(engine, DEAD)
    return {
        "another token": checked(engine, PERSON, other, finish),
        "ends early": checked(engine, PERSON, ids[:-1], "eos"),
        "goes on": checked(engine, PERSON, [*ids, ids[-1]], "length"),
        "no dead end": checked(engine, PERSON, ids[:-1], "dead_end"),
        "stuck": [len(stuck), ended, checked(engine, DEAD, stuck, "dead_end")],
        "stuck, and says that it is whole": checked(engine, DEAD, stuck, "eos"),
    }


def main() -> None:
    found: dict[str, Any] = {}
    loaded = {}
    for name, engine in engines():
        loaded[name] = engine
        ids, finish = written(engine, PERSON, **NARROW)
        found[name] = {"ids": ids, "finish": finish, "text": engine.prompts.text_of(ids)}
    # Which of them judges does not matter, and llama.cpp is the faster one.
    found["cheats"] = cheats(loaded["llama.cpp"], found["llama.cpp"]["ids"], found["llama.cpp"]["finish"])
    for name, engine in loaded.items():
        other = next(each for each in loaded if each != name)
        found[other]["margins"] = checked(engine, PERSON, found[other]["ids"], found[other]["finish"], **NARROW)
    found["literal"], found["hostile"] = literal(loaded["torch"]), hostile(loaded["torch"])
    Path("/output/found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
