"""Kind `check` of generated text: run somebody's answer through the model once, without having seen the proof.

It leaves check.bin. What checks the other kinds stands beside what runs them.
"""

from collections.abc import Iterator
from typing import Any

from .engine import AnswerEngine
from .fingerprint import encode_check, projection, whiten
from .generate import DEAD_END, MAX_NEW_TOKENS, chooser_of, dtype_of, read_act_w, read_input
from .grammar import AnswerGrammar, grammar_of
from .job import STOP_ORDER, BadInput, Job, Read, Work
from .prompts import ids_sha256
from .stops import StopSearch

SEARCHED_AT_ONCE = 256
"""Tokens whose text is searched while others wait: some 20 ms."""


def work(job: Job, model: AnswerEngine) -> Work:
    """Seed and temperature are those of the spec, rules those of the input; the answer has no say in them.

    Raises BadInput, with code bad_result or prompt_mismatch where the answer itself is at fault: it then deserves no
    score, and the client's input is fine.
    """
    dtype, device_class = dtype_of(job)
    max_new = job.number("max_new_tokens", 1, MAX_NEW_TOKENS)
    asked = read_input(job)
    prompt = asked.prompt_ids(model, max_new)
    result = job.read("result.json")
    claims = {
        "v": 1,
        "job_id": job.id.hex(),
        "salt": asked.salt,
        "manifest_sha256": model.manifest_sha256.hex(),
        "dtype": dtype,
        "device_class": device_class,
    }
    for name, ours in claims.items():
        if result.get(name) != ours:
            raise BadInput("bad_result", f"result.json misstates {name}")
    if result.get("prompt_token_ids_sha256") != ids_sha256(prompt):
        raise BadInput("prompt_mismatch", "the answer is to another prompt")
    ends = {
        "stop": bool(asked.rules.stops),
        DEAD_END: bool(asked.rules.schema),
        STOP_ORDER: bool(job.number("stop_ordered", 0, 1, 0)),
    }
    output, stopped = _answer(result, model, max_new, ends)
    yield Read(len(prompt), len(output))
    if asked.rules.stops:
        yield from _require_end(output, StopSearch(asked.rules.stops, model.prompts.text_of), result["finish"])
    grammar = grammar_of(asked.rules.schema, model)
    trace = yield from model.tracing(prompt, output, chooser_of(job, asked.rules, output, grammar))
    _require_instance(output, grammar, model, result["finish"])
    whitened = whiten(trace.states, read_act_w(model.hidden))
    margins = trace.of_first(len(output), stopped)
    job.write("check.bin", encode_check(whitened, projection(job.id, model.hidden), margins))


def _answer(
    result: dict[str, Any], model: AnswerEngine, max_new: int, may_end: dict[str, bool]
) -> tuple[list[int], bool]:
    """The tokens of an answer, and whether a stop token came after them.

    Args: may_end, whether it may have ended by a stop string, by its schema, and by a stop order.
    """
    ids, finish = result.get("output_token_ids"), result.get("finish")
    if not isinstance(ids, list) or len(ids) > max_new:
        raise BadInput("bad_result", "output_token_ids is no list or too long")
    if not all(type(i) is int and 0 <= i < model.vocab and i not in model.eos_ids for i in ids):
        raise BadInput("bad_result", "output_token_ids holds what is no token of an answer")
    # At full length nothing more was chosen, so no stop token was either, and no order came in time.
    is_whole = len(ids) == max_new
    ends = {end: allowed and not (is_whole and end != "stop") for end, allowed in may_end.items()}
    if not ends.get(str(finish), finish == ("length" if is_whole else "eos")):
        raise BadInput("bad_result", "the answer ends before it was finished")
    return ids, finish == "eos"


def _require_end(ids: list[int], search: StopSearch, finish: str) -> Iterator[None]:
    """Raises BadInput unless an answer ends where its stop strings say. Yields after each piece of it."""
    found = False
    for place, token in enumerate(ids):
        if found:
            raise BadInput("bad_result", "the answer goes on behind a stop string")
        found = search.push(token)
        if place % SEARCHED_AT_ONCE == SEARCHED_AT_ONCE - 1:
            yield
    if found != (finish == "stop"):
        raise BadInput("bad_result", "the answer misstates whether a stop string ended it")


def _require_instance(ids: list[int], grammar: AnswerGrammar | None, model: AnswerEngine, finish: str) -> None:
    """Raises BadInput unless an answer ends where its schema says, if it has one."""
    if grammar is None:
        return
    allowed = grammar.allowed(ids, len(ids))
    if finish == "eos" and not allowed[[*model.eos_ids]].any():
        raise BadInput("bad_result", "the answer ends before it is an instance of its schema")
    if finish == DEAD_END and allowed.any():
        raise BadInput("bad_result", "the answer ends though its schema lets it go on")
