"""Kind `generate`: answer the chat of input.json, or go on with its text, and leave result.json and proof.bin."""

import re
import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from .decoding import Answer, Growing
from .engine import AnswerEngine, AnswerSize
from .events import TokenStream, emit
from .fingerprint import Floats, encode_proof, projection, whiten
from .grammar import AnswerGrammar, grammar_of
from .gumbel import MAX_TEMPERATURE_MILLI, Chooser
from .job import INPUT, BadInput, BadSpec, Job, canonical, is_text
from .prompts import ids_sha256
from .ruled import RuledChooser
from .rules import ChoiceRules, read_rules
from .stops import StopSearch

MAX_NEW_TOKENS = 1 << 20
DEAD_END = "dead_end"
"""Why an answer ended that its schema lets go on with no token, and not end."""
DTYPE_OF_CLASS = {1: "fp32", 2: "bf16", 3: "q8_0"}


def dtype_of(job: Job) -> tuple[str, int]:
    """Number format and device class, which must belong together. Raises BadSpec."""
    device_class = job.number("device_class", 1, max(DTYPE_OF_CLASS))
    dtype = job.text("dtype", tuple(DTYPE_OF_CLASS.values()))
    if DTYPE_OF_CLASS[device_class] != dtype:
        raise BadSpec("bad_param", f"device class {device_class} computes in {DTYPE_OF_CLASS[device_class]}")
    return dtype, device_class


@dataclass(frozen=True, slots=True)
class AskedInput:
    """input.json of a generation, read: a chat that is to go on, or a text as it stands."""

    salt: str
    messages: object
    prompt: str | None
    rules: ChoiceRules

    def prompt_ids(self, model: AnswerEngine, max_new_tokens: int) -> list[int]:
        """The tokens that the answer follows. Raises BadInput."""
        if self.prompt is None:
            return model.prompts.prompt_ids(self.messages, max_new_tokens)
        return model.prompts.fitting(model.prompts.text_ids(self.prompt), max_new_tokens)


def chooser_of(
    job: Job, rules: ChoiceRules, written: Sequence[int] = (), grammar: AnswerGrammar | None = None
) -> Chooser:
    """How the tokens of this job are chosen, by temperature and seed of its spec and the rules of its input.

    Args: written, the tokens of an answer that is checked; grammar, of the rules' schema. Raises BadSpec.
    """
    temperature_milli = job.number("temperature_milli", 0, MAX_TEMPERATURE_MILLI)
    seed = rules.draw_seed(job.seed)
    if temperature_milli and not seed:
        raise BadSpec("bad_spec", "without a seed nothing can be drawn at a temperature above 0")
    if rules.cuts or rules.penalises or grammar is not None:
        return RuledChooser(temperature_milli, seed, rules, list(written), grammar)
    return Chooser(temperature_milli, seed)


def read_input(job: Job) -> AskedInput:
    """An input of the version that the client has signed: 1, or 2 for one with rules. Raises BadSpec, BadInput."""
    plain = job.read("input.json")
    version = 1 + job.number("ruled", 0, 1, 0)
    salt, prompt = plain.get("salt"), plain.get("prompt")
    if plain.get("v") != version or not isinstance(salt, str) or not re.fullmatch("[0-9a-f]{32}", salt):
        raise BadInput("bad_input", f"input.json must be of version {version} with a salt of 16 bytes in hex")
    if version == 1:
        return AskedInput(salt, plain.get("messages"), None, ChoiceRules())
    if unknown := plain.keys() - {"v", "salt", "messages", "prompt", "rules"}:
        raise BadInput("bad_input", f"input.json holds an unknown {str(min(unknown))[:32]}")
    if ("prompt" in plain) == ("messages" in plain):
        raise BadInput("bad_input", "input.json must hold either messages or a prompt")
    if "prompt" in plain and not is_text(prompt):
        raise BadInput("bad_input", "the prompt must be a text that is not empty")
    return AskedInput(salt, plain.get("messages"), prompt, read_rules(plain.get("rules", {})))


def read_act_w(hidden: int) -> Floats:
    """The whitening weights of act_w.bin, float16[hidden]; ones for a model that nobody has calibrated."""
    try:
        data = (INPUT / "act_w.bin").read_bytes()
    except FileNotFoundError:
        return np.ones(hidden, np.float32)
    if len(data) != 2 * hidden:
        raise BadInput("bad_act_w", f"act_w.bin must hold {hidden} float16 numbers")
    return np.frombuffer(data, "<f2").astype(np.float32)


@dataclass(frozen=True, slots=True)
class AskedChat:
    """One chat that is to be answered, and how."""

    job: Job
    salt: str
    prompt: list[int]
    max_new_tokens: int
    chooser: Chooser
    stops: tuple[str, ...]

    def growing(self, model: AnswerEngine) -> Growing:
        """The answer to it, before its first token."""
        return Growing(search=StopSearch(self.stops, model.prompts.text_of) if self.stops else None)

    @property
    def size(self) -> AnswerSize:
        """Tokens of prompt and answer."""
        return AnswerSize(len(self.prompt), self.max_new_tokens)


def read_asked(job: Job, model: AnswerEngine) -> AskedChat:
    """The chat of a job and its tokens. Raises BadSpec, BadInput."""
    max_new = job.number("max_new_tokens", 1, MAX_NEW_TOKENS)
    asked = read_input(job)
    prompt = asked.prompt_ids(model, max_new)
    model.require_memory(len(prompt), job.memory_bytes)
    chooser = chooser_of(job, asked.rules, grammar=grammar_of(asked.rules.schema, model))
    return AskedChat(job, asked.salt, prompt, max_new, chooser, asked.rules.stops)


class Desk:
    """Writes down answers of one class: result.json and proof.bin of each."""

    def __init__(self, job: Job, model: AnswerEngine) -> None:
        """`job` says the class. Raises BadSpec, BadInput."""
        self._dtype, self._device_class = dtype_of(job)
        self._model = model
        self._act_w = read_act_w(model.hidden)

    def put(self, asked: AskedChat, answer: Answer) -> None:
        """Both files of an answer."""
        result = {
            "v": 1,
            "job_id": asked.job.id.hex(),
            "salt": asked.salt,
            "manifest_sha256": self._model.manifest_sha256.hex(),
            "dtype": self._dtype,
            "device_class": self._device_class,
            "engine": self._model.build,
            "prompt_token_ids_sha256": ids_sha256(asked.prompt),
            "output_token_ids": answer.ids,
            "finish": DEAD_END if asked.chooser.is_stuck else answer.finish,
        }
        r = projection(asked.job.id, self._model.hidden)
        asked.job.write("proof.bin", encode_proof(whiten(answer.states, self._act_w), r))
        asked.job.write("result.json", canonical(result))


def run(job: Job, model: AnswerEngine) -> dict[str, object]:
    """Returns what the run took; raises Refused."""
    desk, asked = Desk(job, model), read_asked(job, model)
    emit("ready", prompt_tokens=len(asked.prompt))

    started = time.monotonic()
    stream, growing = TokenStream(), asked.growing(model)
    batch = model.batch(sum(asked.size))
    batch.join(0, asked.prompt, asked.max_new_tokens, asked.chooser)
    while batch.is_reading or (batch.is_writing and not growing.cut):
        if job.is_stop_ordered:
            growing.ordered = True
            break
        if batch.is_reading:
            batch.read(len(asked.prompt))
            continue
        for _, token, state in batch.choose():
            is_stop = token in model.eos_ids
            growing.add(token, state, is_stop=is_stop)
            if not is_stop:
                stream.add(token)
        batch.advance()
    stream.flush()
    took = time.monotonic() - started

    desk.put(asked, growing.answer(model.hidden))
    return {"prompt_tokens": len(asked.prompt), "output_tokens": len(growing.ids), "run_ms": round(took * 1000)}
