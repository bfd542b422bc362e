"""Kind `serve`: a model that stays loaded. Jobs and checks come and go on stdin, one JSON object a line.

    {"op": "join", "job": NUMBER, "kind", "job_id", "seed", "params"}    its files are in /input, as NUMBER.input.json
    {"op": "end", "job": NUMBER}      its client wants no more tokens: the answer ends with those that it has
    {"op": "leave", "job": NUMBER}

Said of each job is one of four words, after which its number is free: `answer`, all of its outputs are written, as
NUMBER.result.json and so on; `error`, its own input is at fault; `later`, it must have a container of its own; `left`.
One engine does it all: torch every kind of job, llama.cpp answers and their checks.
Answers are written side by side. Prompts are read in pieces beside the steps of those who write, checks and readings
between them.
"""

import json
import queue
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass

from .decoding import Growing
from .engine import AnswerBatch, AnswerEngine
from .events import TokenStream, emit
from .generate import AskedChat, Desk, read_asked
from .grammar import grammar_tokenizer
from .job import OUTPUT, Job, Refused, Work
from .pieces import PieceSize
from .works import Works

IDLE_PIECE_TOKENS = 1024
"""Tokens that are read at once while no answer is written."""
STREAM_S = 0.05
"""Between two lines of tokens."""
PROMPTS_BEFORE_WORK = 4
"""Pieces of prompts, of clients who wait, before a piece of a check."""


@dataclass(slots=True)
class Answering:
    """An answer under way. `most`: how many were written beside each other at the busiest moment, itself included."""

    asked: AskedChat
    growing: Growing
    began: float = 0.0
    most: int = 1


class Service:
    """The jobs that are in this container."""

    def __init__(self, job: Job, model: AnswerEngine, works: Works) -> None:
        """`job` says the class. Raises BadSpec, BadInput."""
        self._class = {name: job.params.get(name) for name in ("dtype", "device_class")}
        self._memory_bytes = job.memory_bytes
        self._desk, self._model, self._kinds = Desk(job, model), model, works
        self._batch: AnswerBatch = model.batch()
        self._stream = TokenStream(STREAM_S)
        self._waiting: deque[tuple[int, AskedChat]] = deque()
        self._answers: dict[int, Answering] = {}
        self._works: dict[int, Work] = {}
        self._prompts_read = 0
        self._prompt_piece, self._work_piece = PieceSize(), PieceSize()

    @property
    def is_idle(self) -> bool:
        """Whether there is nothing to do."""
        return not (self._waiting or self._answers or self._works)

    def take(self, line: str) -> None:
        """What the node asks for. A job that cannot be understood is run by itself, and says there what is wrong."""
        said = json.loads(line)
        number = int(said["job"])
        if said["op"] == "leave":
            self._leave(number)
            return
        if said["op"] == "end":
            self._end(number)
            return
        for path in OUTPUT.glob(f"{number}.*"):
            path.unlink()
        try:
            params = {**said["params"], **self._class}
            job = Job(bytes.fromhex(said["job_id"]), said["kind"], bytes.fromhex(said["seed"]), params, f"{number}.")
            if job.memory_bytes < self._model.loaded_bytes:
                emit("later", job=number)
            elif job.kind == "generate":
                self._waiting.append((number, read_asked(job, self._model)))
            elif work := self._kinds.get((job.kind, str(params["of"]))):
                self._works[number] = work(job, self._model)
            else:
                emit("later", job=number)
        except Refused as error:
            _decline(number, error)

    def turn(self) -> None:
        """One step of all answers, and one piece of what is to be read."""
        self._admit()
        reads = self._batch.is_reading and (not self._works or self._prompts_read < PROMPTS_BEFORE_WORK)
        writes = self._batch.is_writing
        if writes:
            self._step(self._prompt_piece.tokens if reads else 0)
        elif reads:
            self._batch.read(IDLE_PIECE_TOKENS)
        if reads:
            self._prompts_read += 1
        elif self._works:
            self._prompts_read = 0
            self._work_between() if writes else self._work_on(IDLE_PIECE_TOKENS)

    def _admit(self) -> None:
        """Let those begin that fit the memory, in their order."""
        while self._waiting:
            number, asked = self._waiting[0]
            sizes = [*(each.asked.size for each in self._answers.values()), asked.size]
            if not self._model.has_room(sizes, self._memory_bytes):
                if self._answers:
                    return
                emit("later", job=number)
            else:
                self._answers[number] = Answering(asked, asked.growing(self._model), time.monotonic())
                self._batch.join(number, asked.prompt, asked.max_new_tokens, asked.chooser)
            self._waiting.popleft()

    def _step(self, prompt_tokens: int) -> None:
        began = time.monotonic()
        written = self._batch.choose(prompt_tokens)
        for number, token, state in written:
            answering = self._answers[number]
            growing, answering.most = answering.growing, max(answering.most, len(written))
            is_stop = token in self._model.eos_ids
            growing.add(token, state, is_stop=is_stop)
            if not is_stop:
                self._stream.add(token, number)
            has_ended = is_stop or len(growing.ids) == answering.asked.max_new_tokens
            if growing.cut and not has_ended:
                # The batch ends answers by stop tokens and lengths alone.
                self._batch.leave(number)
            if growing.cut or has_ended:
                self._finish(number)
        self._batch.advance()
        self._prompt_piece.passed(self._batch.read_on, time.monotonic() - began)

    def _finish(self, number: int) -> None:
        # The client of a short answer must not wait for the others.
        self._stream.flush()
        answering = self._answers.pop(number)
        try:
            self._desk.put(answering.asked, answering.growing.answer(self._model.hidden))
        except (ArithmeticError, OSError) as error:
            _later(number, error)
            return
        run_ms = round((time.monotonic() - answering.began) * 1000)
        emit("answer", job=number, run_ms=run_ms, most=answering.most)

    def _work_between(self) -> None:
        """A piece of work between two steps of those who write."""
        began, tokens = time.monotonic(), self._work_piece.tokens
        self._work_on(tokens)
        self._work_piece.passed(tokens, time.monotonic() - began)

    def _work_on(self, tokens: int) -> None:
        number, self._model.piece_tokens = next(iter(self._works)), tokens
        try:
            next(self._works[number])
            return
        except StopIteration:
            emit("answer", job=number)
        except Refused as error:
            _decline(number, error)
        except (ArithmeticError, OSError, RuntimeError, ValueError, LookupError) as error:
            _later(number, error)
        del self._works[number]

    def _end(self, number: int) -> None:
        """End an answer between two tokens; one that is not begun has none. An answer that has ended stays as it is."""
        for waiting in [each for each in self._waiting if each[0] == number]:
            self._waiting.remove(waiting)
            self._answers[number] = Answering(waiting[1], waiting[1].growing(self._model), time.monotonic())
        if number in self._answers:
            self._batch.leave(number)
            self._answers[number].growing.ordered = True
            self._finish(number)

    def _leave(self, number: int) -> None:
        self._waiting = deque(each for each in self._waiting if each[0] != number)
        self._answers.pop(number, None)
        self._works.pop(number, None)
        self._batch.leave(number)
        self._stream.drop(number)
        emit("left", job=number)


def run(job: Job, model: AnswerEngine, works: Works) -> dict[str, object]:
    """Serve until stdin is closed."""
    service = Service(job, model, works)
    # It takes up to a second, for which answers would wait.
    grammar_tokenizer(model)
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line)
        lines.put("")

    threading.Thread(target=listen, daemon=True).start()
    emit("ready")
    while True:
        while service.is_idle or not lines.empty():
            line = lines.get()
            if not line:
                return {}
            service.take(line)
        service.turn()


def _decline(number: int, error: Refused) -> None:
    emit("error", job=number, code=error.code, message=str(error)[:1000], **error.facts)


def _later(number: int, error: Exception) -> None:
    # Alone, it says what is wrong with itself, and takes no other job along.
    print(f"job {number}: {type(error).__name__}: {error}"[:1000], file=sys.stderr, flush=True)
    emit("later", job=number)
