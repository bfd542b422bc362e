"""Kind `check` of generated text: run somebody's answer through the model once, without having seen the proof.

It leaves check.bin. What checks the other kinds stands beside what runs them.
"""

from typing import Any

from .engine import AnswerEngine
from .fingerprint import encode_check, projection, whiten
from .generate import MAX_NEW_TOKENS, chooser_of, dtype_of, read_act_w, read_chat
from .job import BadInput, Job, Read, Work
from .prompts import ids_sha256


def work(job: Job, model: AnswerEngine) -> Work:
    """Seed and temperature are those of the spec; the answer has no say in them.

    Raises BadInput, with code bad_result or prompt_mismatch where the answer itself is at fault: it then deserves no
    score, and the client's input is fine.
    """
    dtype, device_class = dtype_of(job)
    max_new = job.number("max_new_tokens", 1, MAX_NEW_TOKENS)
    salt, messages = read_chat(job)
    prompt = model.prompt_ids(messages, max_new)
    result = job.read("result.json")
    claims = {
        "v": 1,
        "job_id": job.id.hex(),
        "salt": salt,
        "manifest_sha256": model.manifest_sha256.hex(),
        "dtype": dtype,
        "device_class": device_class,
    }
    for name, ours in claims.items():
        if result.get(name) != ours:
            raise BadInput("bad_result", f"result.json misstates {name}")
    if result.get("prompt_token_ids_sha256") != ids_sha256(prompt):
        raise BadInput("prompt_mismatch", "the answer is to another prompt")
    output, stopped = _answer(result, model, max_new)
    yield Read(len(prompt), len(output))
    trace = yield from model.tracing(prompt, output, chooser_of(job))
    whitened = whiten(trace.states, read_act_w(model.hidden))
    margins = trace.of_first(len(output), stopped)
    job.write("check.bin", encode_check(whitened, projection(job.id, model.hidden), margins))


def _answer(result: dict[str, Any], model: AnswerEngine, max_new: int) -> tuple[list[int], bool]:
    ids, finish = result.get("output_token_ids"), result.get("finish")
    if not isinstance(ids, list) or len(ids) > max_new:
        raise BadInput("bad_result", "output_token_ids is no list or too long")
    if not all(type(i) is int and 0 <= i < model.vocab and i not in model.eos_ids for i in ids):
        raise BadInput("bad_result", "output_token_ids holds what is no token of an answer")
    # At full length nothing more was chosen, so no stop token was either.
    if finish not in ("eos", "length") or (finish == "length") != (len(ids) == max_new):
        raise BadInput("bad_result", "the answer ends before it was finished")
    return ids, finish == "eos"
