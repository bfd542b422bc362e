"""Kind `generate`: answer the chat of input.json and leave result.json and proof.bin."""

import re
import time

import numpy as np

from .events import TokenStream, emit
from .fingerprint import Floats, encode_proof, projection, whiten
from .gumbel import MAX_TEMPERATURE_MILLI, Chooser
from .job import INPUT, BadInput, BadSpec, Job, canonical, read_object, write
from .model import Model, ids_sha256

MAX_NEW_TOKENS = 1 << 20
DTYPE_OF_CLASS = {1: "fp32", 2: "bf16"}


def dtype_of(job: Job) -> tuple[str, int]:
    """Number format and device class, which must belong together. Raises BadSpec."""
    device_class = job.number("device_class", 1, 2)
    dtype = job.text("dtype", tuple(DTYPE_OF_CLASS.values()))
    if DTYPE_OF_CLASS[device_class] != dtype:
        raise BadSpec("bad_param", f"device class {device_class} computes in {DTYPE_OF_CLASS[device_class]}")
    return dtype, device_class


def chooser_of(job: Job) -> Chooser:
    """How the tokens of this job are chosen, by the temperature and the seed of its spec. Raises BadSpec."""
    temperature_milli = job.number("temperature_milli", 0, MAX_TEMPERATURE_MILLI)
    if temperature_milli and not job.seed:
        raise BadSpec("bad_spec", "without a seed nothing can be drawn at a temperature above 0")
    return Chooser(temperature_milli, job.seed)


def read_chat() -> tuple[str, object]:
    """Salt and messages of input.json. Raises BadInput."""
    chat = read_object("input.json")
    salt = chat.get("salt")
    if chat.get("v") != 1 or not isinstance(salt, str) or not re.fullmatch("[0-9a-f]{32}", salt):
        raise BadInput("bad_input", "input.json must be of version 1 with a salt of 16 bytes in hex")
    return salt, chat.get("messages")


def read_act_w(hidden: int) -> Floats:
    """The whitening weights of act_w.bin, float16[hidden]; ones for a model that nobody has calibrated."""
    try:
        data = (INPUT / "act_w.bin").read_bytes()
    except FileNotFoundError:
        return np.ones(hidden, np.float32)
    if len(data) != 2 * hidden:
        raise BadInput("bad_act_w", f"act_w.bin must hold {hidden} float16 numbers")
    return np.frombuffer(data, "<f2").astype(np.float32)


def run(job: Job, model: Model) -> dict[str, object]:
    """Returns what the run took; raises Refused."""
    dtype, device_class = dtype_of(job)
    max_new = job.number("max_new_tokens", 1, MAX_NEW_TOKENS)
    salt, messages = read_chat()
    prompt = model.prompt_ids(messages, max_new)
    model.require_memory(len(prompt))
    act_w, r = read_act_w(model.hidden), projection(job.id, model.hidden)
    emit("ready", prompt_tokens=len(prompt))

    started = time.monotonic()
    stream, ids, states, finish = TokenStream(), [], [], "length"
    for token, state in model.decode(prompt, max_new, chooser_of(job)):
        if token in model.eos_ids:
            finish = "eos"
            break
        stream.add(token)
        ids.append(token)
        states.append(state)
    stream.flush()
    took = time.monotonic() - started

    rows = np.array(states, np.float32).reshape(len(ids), model.hidden)
    result = {
        "v": 1,
        "job_id": job.id.hex(),
        "salt": salt,
        "manifest_sha256": model.manifest_sha256.hex(),
        "dtype": dtype,
        "device_class": device_class,
        "prompt_token_ids_sha256": ids_sha256(prompt),
        "output_token_ids": ids,
        "finish": finish,
    }
    write("result.json", canonical(result))
    write("proof.bin", encode_proof(whiten(rows, act_w), r))
    return {"prompt_tokens": len(prompt), "output_tokens": len(ids), "run_ms": round(took * 1000)}
