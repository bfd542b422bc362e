"""Kind `together`: the chats of several jobs of kind `generate`, answered side by side.

A step of a model takes little longer for many answers than for one. params.jobs has for each job its job_id, seed and
params, with memory_bytes, what its client gave it; its input is NUMBER.input.json, counted from 0, and what it leaves
NUMBER.result.json and NUMBER.proof.bin, byte for byte in the form of a job by itself. Said of each is `answer` when
both are there, `error` when its own input is at fault, and `later` where this container has no memory for it: that one
must be run by itself. Nothing that one job brings along changes what another one is answered but for rounding, which
a check allows for.
"""

import time
from typing import Any

from .decoding import Growing
from .events import TokenStream, emit
from .generate import Asked, Desk, chooser_of, read_asked
from .job import BadSpec, Job, Refused, memory_given
from .model import Model

MAX_JOBS = 64


def run(job: Job, model: Model) -> dict[str, object]:
    """Returns what all of it took; raises Refused where no job in particular is at fault."""
    desk, asked = Desk(job, model), _asked(job, model)
    numbers = list(asked)
    prompts = [each.prompt for each in asked.values()]
    lengths = [each.max_new_tokens for each in asked.values()]
    fitting = model.fit_together(prompts, lengths, memory_given()) if asked else 0
    for number in numbers[fitting:]:
        emit("later", job=number)
    emit("ready", prompt_tokens=sum(map(len, prompts[:fitting])))

    started = time.monotonic()
    stream, growing = TokenStream(), [Growing() for _ in range(fitting)]
    choosers = [asked[number].chooser for number in numbers[:fitting]]
    for row, token, state in model.decode(prompts[:fitting], lengths[:fitting], choosers) if fitting else ():
        number, answer = numbers[row], growing[row]
        is_stop = token in model.eos_ids
        answer.add(token, state, is_stop=is_stop)
        if not is_stop:
            stream.add(token, number)
        if is_stop or len(answer.ids) == lengths[row]:
            # Whoever waits for it shall not wait for the longest of all.
            stream.flush()
            desk.put(asked[number], answer.answer(model.hidden), f"{number}.")
            emit("answer", job=number)
            answer.states.clear()
    took = time.monotonic() - started
    return {
        "answers": fitting,
        "prompt_tokens": sum(map(len, prompts[:fitting])),
        "output_tokens": sum(len(each.ids) for each in growing),
        "run_ms": round(took * 1000),
    }


def jobs_of(job: Job) -> list[Job]:
    """The jobs that are to be answered. Raises BadSpec."""
    given = job.params.get("jobs")
    if not isinstance(given, list) or not 1 <= len(given) <= MAX_JOBS:
        raise BadSpec("bad_param", f"params.jobs must be a list of 1 to {MAX_JOBS} jobs")
    found = [_job_of(each) for each in given]
    for each in found:
        chooser_of(each)
    return found


def _job_of(given: Any) -> Job:
    try:
        job_id, seed, params = bytes.fromhex(given["job_id"]), bytes.fromhex(given["seed"]), dict(given["params"])
    except (KeyError, TypeError, ValueError) as error:
        raise BadSpec("bad_param", f"params.jobs lacks or misstates {error}") from error
    if len(job_id) != 32 or len(seed) not in (0, 32):
        raise BadSpec("bad_param", "a job of params.jobs must have an id of 32 bytes and a seed of as many or none")
    return Job(job_id, "generate", seed, params)


def _asked(job: Job, model: Model) -> dict[int, Asked]:
    """What is asked, by the numbers of the jobs; whoever asks for what cannot be done is told so."""
    asked = {}
    for number, each in enumerate(jobs_of(job)):
        try:
            memory_bytes = each.number("memory_bytes", 1, 1 << 50)
            asked[number] = read_asked(each, model, memory_bytes, f"{number}.input.json")
        except Refused as error:
            emit("error", job=number, code=error.code, message=str(error)[:1000], **error.facts)
    return asked
