"""Kind `calibrate`: many generations in one container, and how far an honest check lies from each.

What a model's constants are made from. Each segment of segments.json says who answers which prompts: `honest`, or what
substitutes.py and forgeries.py know. This container checks all that they say with the model as it is; distances.json
has a list of rows for each segment. `worker_dtype` is the number format that they compute in, which may be that of
another class than the check's; `writer`, if given, the engine of honest answers.
"""

import hashlib
import os
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import DynamicCache

from .decoding import Answer, Growing
from .engine import LLAMA, AnswerEngine, Trace, Unfit
from .events import emit
from .fingerprint import Floats, distances, encode_check, encode_proof, in_ppm, projection, whiten
from .forgeries import AFTERWARDS, CHOICES, EARLY
from .generate import dtype_of, read_act_w
from .gumbel import MAX_TEMPERATURE_MILLI, Chooser
from .job import INPUT, BadInput, BadSpec, Job, canonical, read_object, write
from .llama import engine as llama
from .model import DTYPES, Model, load
from .substitutes import WEIGHTS, RoundedCache

HONEST, CUT_PROMPT, KV_8BIT, FORCED_EOS = "honest", "cut_prompt", "kv_8bit", "forced_eos"
VARIANTS = {HONEST, CUT_PROMPT, KV_8BIT, FORCED_EOS, *WEIGHTS, *CHOICES, *AFTERWARDS}
MAX_RUNS = 10_000
MAX_NEW_TOKENS = 4096
MAX_BATCH = 256
MAX_THREADS = 64
BATCH_OF_WRITER = 16
WHOLE = "whole"


@dataclass(frozen=True, slots=True)
class Segment:
    """Answers that are made in one way: `batch` at once, with so many threads; each number has a seed of its own."""

    variant: str
    numbers: list[int]
    questions: list[list[int]]
    choosers: list[Chooser]
    batch: int
    threads: int


def run(job: Job, model: Model) -> dict[str, object]:
    """Returns how long both halves took; raises Refused."""
    max_new, lengths = job.number("max_new_tokens", 1, MAX_NEW_TOKENS), _lengths(job)
    segments, writer = _segments(job, model, max_new), _writer(job)
    emit("ready")
    act_w = read_act_w(model.hidden) if (INPUT / "act_w.bin").exists() else None
    found: list[list[dict[str, object]]] = []
    progress = Progress(2 * sum(len(each.numbers) for each in segments))
    generate_s = check_s = 0.0
    for segment in segments:
        started = time.monotonic()
        worker = _worker(job, model, segment)
        torch.set_num_threads(segment.threads)
        if writer and segment.variant == HONEST:
            answers = _written(writer, segment, max_new, progress)
        else:
            answers = _generate(worker, segment, max_new, progress)
        generated = time.monotonic()
        if act_w is None:
            act_w = _whitening(answers)
        rows = []
        for place, answer in enumerate(answers):
            rows.append(_measure(model, segment, place, answer, lengths, act_w))
            progress.more(1)
        found.append(rows)
        generate_s, check_s = generate_s + generated - started, check_s + time.monotonic() - generated
    assert act_w is not None
    write("act_w.bin", act_w.astype("<f2").tobytes())
    write("distances.json", canonical({"segments": found}))
    return {"generate_ms": round(generate_s * 1000), "check_ms": round(check_s * 1000)}


class Progress:
    """How many halves of answers are done, generating being one and checking the other; said at every hundredth."""

    def __init__(self, total: int) -> None:
        self._total = total
        self._done = 0

    def more(self, steps: int) -> None:
        before, self._done = self._done, self._done + steps
        if 100 * before // self._total != 100 * self._done // self._total:
            emit("progress", step=self._done, total=self._total)


def _lengths(job: Job) -> list[int]:
    lengths, most = job.params.get("lengths"), job.number("max_new_tokens", 1, MAX_NEW_TOKENS)
    if not isinstance(lengths, list) or not all(type(n) is int and 0 < n <= most for n in lengths):
        raise BadSpec("bad_param", "params.lengths must be a list of lengths, none over max_new_tokens")
    return lengths


def _segments(job: Job, model: Model, max_new: int) -> list[Segment]:
    given = read_object("segments.json")
    try:
        questions = {
            int(number): model.prompts.prompt_ids([{"role": "user", "content": text}], max_new)
            for number, text in given["prompts"].items()
        }
        segments = [_segment(job, each, questions) for each in given["segments"]]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BadInput("bad_input", f"segments.json lacks or misstates {error}") from error
    if not segments or sum(len(each.numbers) for each in segments) > MAX_RUNS:
        raise BadInput("bad_input", f"segments.json asks for nothing, or for over {MAX_RUNS} answers")
    return segments


def _segment(job: Job, given: dict[str, Any], questions: dict[int, list[int]]) -> Segment:
    variant, temperature_milli, batch, threads = (
        given[name] for name in ("variant", "temperature_milli", "batch", "threads")
    )
    numbers = [int(number) for number in given["numbers"]]
    if variant not in VARIANTS or not numbers:
        raise ValueError(f"a segment of {variant!r:.40}")
    whole = ((temperature_milli, 0, MAX_TEMPERATURE_MILLI), (batch, 1, MAX_BATCH), (threads, 1, MAX_THREADS))
    if not all(type(value) is int and low <= value <= high for value, low, high in whole):
        raise ValueError("a number out of range")
    choosers = [_chooser(job.seed, temperature_milli, number) for number in numbers]
    return Segment(variant, numbers, [questions[number] for number in numbers], choosers, batch, threads)


def _chooser(seed: bytes, temperature_milli: int, number: int) -> Chooser:
    """That of one answer, which has a seed of its own, as it has a job id of its own."""
    own = hashlib.sha256(seed + temperature_milli.to_bytes(4, "big") + number.to_bytes(4, "big"))
    return Chooser(temperature_milli, own.digest())


def _worker(job: Job, honest: Model, segment: Segment) -> Model:
    """The model that answers; the checker's own where they are the same."""
    dtype = job.text("worker_dtype", tuple(DTYPES))
    if segment.variant not in WEIGHTS and dtype == dtype_of(job)[0]:
        return honest
    model = load(Path(os.environ["MODEL_PATH"]), dtype)
    if segment.variant in WEIGHTS:
        WEIGHTS[segment.variant](model)
    return model


def _writer(job: Job) -> AnswerEngine | None:
    """The engine that gives honest answers, if it is another one than the check's. Raises BadSpec, BadInput."""
    if job.text("writer", ("", LLAMA)) != LLAMA:
        return None
    try:
        return llama.load(Path(os.environ["MODEL_PATH"]), job.text("worker_dtype", tuple(DTYPES)))
    except Unfit as error:
        raise BadInput("bad_model", f"{LLAMA} cannot answer: {error}") from error


def _written(engine: AnswerEngine, segment: Segment, max_new: int, progress: Progress) -> list[Answer]:
    """Answers of an engine that is not the check's, so many side by side."""
    found = {place: Growing() for place in range(len(segment.numbers))}
    batch, left, under_way = engine.batch(), deque(found), set[int]()
    while left or under_way:
        while left and len(under_way) < min(segment.batch, BATCH_OF_WRITER):
            place = left.popleft()
            under_way.add(place)
            batch.join(place, segment.questions[place], max_new, segment.choosers[place])
        if batch.is_reading:
            batch.read(max_new)
        for place, token, state in batch.choose():
            is_stop = token in engine.eos_ids
            found[place].add(token, state, is_stop=is_stop)
            if is_stop or len(found[place].ids) == max_new:
                under_way.discard(place)
                progress.more(1)
        batch.advance()
    return [each.answer(engine.hidden) for each in found.values()]


def _generate(model: Model, segment: Segment, max_new: int, progress: Progress) -> list[Answer]:
    variant, choosers, prompts = segment.variant, segment.choosers, segment.questions
    if variant in CHOICES:
        choosers = [CHOICES[variant](each, model) for each in choosers]
    if variant == CUT_PROMPT:
        prompts = [each[len(each) // 3 :] for each in prompts]
    answers: list[Answer] = []
    for start in range(0, len(prompts), segment.batch):
        part = slice(start, start + segment.batch)
        cache_of = RoundedCache if variant == KV_8BIT else DynamicCache
        answers += model.answers(prompts[part], max_new, choosers[part], cache_of)
        progress.more(len(prompts[part]))
    return AFTERWARDS[variant](answers, model) if variant in AFTERWARDS else answers


def _whitening(answers: list[Answer]) -> Floats:
    """act_w: what gives every dimension of the hidden state the same typical size, rounded as float16 holds it."""
    rms = np.sqrt(np.square(np.concatenate([each.states for each in answers]).astype(np.float64)).mean(axis=0))
    return (np.median(rms) / np.maximum(rms, 1e-6)).astype("<f2").astype(np.float32)


def _measure(
    model: Model, segment: Segment, place: int, answer: Answer, lengths: list[int], act_w: Floats
) -> dict[str, object]:
    """One row: margins of the whole answer in ppm, and for each length what `_distances` finds of an answer cut there.

    A forced end comes after an eighth of each, and the node says that it was the model's.
    """
    number, length, forced = segment.numbers[place], len(answer.ids), segment.variant == FORCED_EOS
    trace = model.trace(segment.questions[place], answer.ids, segment.choosers[place])
    r = projection(_job_id(number), model.hidden)
    theirs, ours = whiten(answer.states, act_w), whiten(trace.states, act_w)
    cuts: dict[str, list[int]] = {}
    for name, n in ((WHOLE, length), *((str(n), n) for n in lengths if n <= length)):
        # The last place of an answer that did not end is where any job of its length would have been cut.
        if n == length and name != WHOLE:
            cuts[name] = cuts[WHOLE]
            continue
        stopped = forced or (answer.stopped and n == length)
        cuts[name] = _distances(theirs, ours, trace, n // EARLY if forced else n, stopped, r)
    whole = trace.of_first(length, answer.stopped)
    return {
        "number": number,
        "stopped": answer.stopped,
        "margins": in_ppm(whole).tolist(),
        "cuts": cuts,
    }


def _distances(theirs: Floats, ours: Floats, trace: Trace, n: int, stopped: bool, r: Floats) -> list[int]:
    """act, chunk, tok and worst of the first n tokens, in ppm; then act and chunk with a true pass's fingerprint."""
    check = encode_check(ours[:n], r, trace.of_first(n, stopped))
    own, true = (distances(encode_proof(states[:n], r), check, n) for states in (theirs, ours))
    return [round(d) for d in (*own, *true[:2])]


def _job_id(number: int) -> bytes:
    return hashlib.sha256(b"vcoin/calibrate/" + number.to_bytes(4, "big")).digest()
