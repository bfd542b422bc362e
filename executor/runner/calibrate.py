"""Kind `calibrate`: many generations in one container, and how far an honest check lies from each.

What a model's constants are made from. Two halves, so that a dishonest image's answers can be measured by an honest
one: without runs.npz among the inputs, the prompts of prompts.json are generated and runs.npz is written; then every
run is checked and distances.json is written.
"""

import hashlib
import time
from dataclasses import dataclass, replace

import numpy as np

from .events import emit
from .fingerprint import Floats, distances, encode_check, encode_proof, projection, whiten
from .generate import chooser_of, read_act_w
from .gumbel import Chooser
from .job import INPUT, OUTPUT, BadInput, Job, canonical, read_object, write
from .model import Model

MAX_RUNS = 10_000
MAX_NEW_TOKENS = 4096


@dataclass(frozen=True, slots=True)
class Run:
    """One generation as its worker saw it: `states` are those of the tokens, float32 [n, hidden]."""

    job_id: bytes
    prompt: list[int]
    ids: list[int]
    states: Floats
    stopped: bool
    chooser: Chooser


def run(job: Job, model: Model) -> dict[str, object]:
    """Returns how long both halves took; raises Refused."""
    max_new = job.number("max_new_tokens", 1, MAX_NEW_TOKENS)
    prompts = read_object("prompts.json").get("prompts")
    if not isinstance(prompts, list) or not 0 < len(prompts) <= MAX_RUNS:
        raise BadInput("bad_input", "prompts.json must hold a list of prompts")
    emit("ready")
    started = time.monotonic()
    choosers = [_chooser(job, number) for number in range(len(prompts))]
    runs = _load(model, prompts, max_new, choosers) or _generate(model, prompts, max_new, choosers)
    generated = time.monotonic()
    act_w = read_act_w(model.hidden) if (INPUT / "act_w.bin").exists() else _whitening(runs)
    rows = []
    for done, each in enumerate(runs, 1):
        rows.append(_measure(model, each, act_w))
        if done % 10 == 0:
            emit("progress", step=done, total=len(runs))
    write("act_w.bin", act_w.astype("<f2").tobytes())
    write("distances.json", canonical({"runs": rows}))
    return {
        "generate_ms": round((generated - started) * 1000),
        "check_ms": round((time.monotonic() - generated) * 1000),
    }


def _chooser(job: Job, number: int) -> Chooser:
    """That of one run: the temperature of all, and a seed of its own, as it has a job id of its own."""
    chooser = chooser_of(job)
    return replace(chooser, seed=hashlib.sha256(chooser.seed + number.to_bytes(4, "big")).digest())


def _generate(model: Model, prompts: list[str], max_new: int, choosers: list[Chooser]) -> list[Run]:
    runs = []
    for number, (text, chooser) in enumerate(zip(prompts, choosers, strict=True)):
        prompt = model.prompt_ids([{"role": "user", "content": text}], max_new)
        ids: list[int] = []
        states: list[Floats] = []
        stopped = False
        for token, state in model.decode(prompt, max_new, chooser):
            if token in model.eos_ids:
                stopped = True
                break
            ids.append(token)
            states.append(state)
        rows = np.array(states, np.float32).reshape(len(ids), model.hidden)
        runs.append(Run(_job_id(number), prompt, ids, rows, stopped, chooser))
        if (number + 1) % 10 == 0:
            emit("progress", step=number + 1, total=len(prompts))
    np.savez(
        OUTPUT / "runs.npz",
        lengths=np.array([len(each.ids) for each in runs]),
        ids=np.array([i for each in runs for i in each.ids], np.int64),
        states=np.concatenate([each.states for each in runs]),
        stopped=np.array([each.stopped for each in runs]),
    )
    return runs


def _load(model: Model, prompts: list[str], max_new: int, choosers: list[Chooser]) -> list[Run]:
    if not (INPUT / "runs.npz").exists():
        return []
    stored = np.load(INPUT / "runs.npz", allow_pickle=False)
    ends = np.cumsum(stored["lengths"])
    runs = []
    parts = zip(prompts, ends - stored["lengths"], ends, stored["stopped"], choosers, strict=True)
    for number, (text, start, end, stopped, chooser) in enumerate(parts):
        prompt = model.prompt_ids([{"role": "user", "content": text}], max_new)
        ids = [int(i) for i in stored["ids"][start:end]]
        runs.append(Run(_job_id(number), prompt, ids, stored["states"][start:end], bool(stopped), chooser))
    return runs


def _whitening(runs: list[Run]) -> Floats:
    """act_w: what gives every dimension of the hidden state the same typical size, rounded as float16 holds it."""
    rms = np.sqrt(np.square(np.concatenate([each.states for each in runs]).astype(np.float64)).mean(axis=0))
    return (np.median(rms) / np.maximum(rms, 1e-6)).astype("<f2").astype(np.float32)


def _measure(model: Model, each: Run, act_w: Floats) -> dict[str, object]:
    """The four distances of a whole run, and of its first tokens alone, as if it had been that short."""
    r = projection(each.job_id, model.hidden)
    states, margins = model.replay(each.prompt, each.ids, each.stopped, each.chooser)
    theirs, ours = whiten(each.states, act_w), whiten(states, act_w)
    row: dict[str, object] = {"tokens": len(each.ids), "stopped": each.stopped}
    for length in (1, 2, 4, 8, 16, 32, 48):
        if length < len(each.ids):
            cut = np.append(margins[:length], 0.0)
            row[f"first_{length}"] = _ppm(encode_proof(theirs[:length], r), encode_check(ours[:length], r, cut), length)
    row["whole"] = _ppm(encode_proof(theirs, r), encode_check(ours, r, margins), len(each.ids))
    return row


def _ppm(proof: bytes, check: bytes, tokens: int) -> list[int]:
    return [round(d) for d in distances(proof, check, tokens)]


def _job_id(number: int) -> bytes:
    return hashlib.sha256(b"vcoin/calibrate/" + number.to_bytes(4, "big")).digest()
