"""Runs in the environment of scripts/setup/toploc.py: answers by the runner's own code, with both kinds of proof.

Arguments: the file of orders that tests/benchmarks/toploc.py writes, and the file to leave what was found in. Honest
answers are timed; everything is seen by one teacher-forced pass of the honest model.
"""

import hashlib
import json
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from toploc import build_proofs_bytes, verify_proofs_bytes

from executor.runner.decoding import Answer
from executor.runner.fingerprint import Floats, encode_check, encode_proof, projection, whiten
from executor.runner.gumbel import Chooser
from executor.runner.model import Model, load
from executor.runner.substitutes import WEIGHTS

HONEST, ADAPTIVE = "honest", "adaptive "
TOPK = 128
"""The settings of its authors, and so many tokens a proof."""
TOKENS_PER_PROOF = 32

T = TypeVar("T")
Spent = dict[str, list[float]]


def main() -> None:
    orders = json.loads(Path(sys.argv[1]).read_text())
    model = load(Path(orders["model"]), orders["dtype"])
    max_new = orders["tokens"]
    prompts = {
        number: model.prompts.prompt_ids([{"role": "user", "content": text}], max_new)
        for number, text in orders["prompts"].items()
    }
    choosers = {number: Chooser(orders["temperature_milli"], _digest(b"seed", number)) for number in prompts}
    act_w = np.frombuffer(bytes.fromhex(orders["act_w"]), "<f2").astype(np.float32)
    found: dict[str, list[dict[str, Any]]] = {}
    spent: Spent = defaultdict(list)
    for variant in orders["variants"]:
        worker = model
        if variant != HONEST:
            worker = load(Path(orders["model"]), orders["dtype"])
            WEIGHTS[variant](worker)
        answers = _answer(worker, prompts, choosers, max_new, orders["batch"])
        # An answer that ended by itself is a smaller proof: all that are compared are of one length.
        whole = {number: each for number, each in answers.items() if len(each.ids) == max_new}
        found[variant] = []
        for number, answer in whole.items():
            if variant == HONEST:
                # TOPLOC needs the states alone; ours comes with the logits.
                _time(spent, "pass", partial(model.read, [prompts[number] + answer.ids], 1))
            seen = _Seen(model, prompts[number], choosers[number], answer, number, act_w, spent)
            found[variant].append(seen.judge(answer.states))
            if variant != HONEST:
                found.setdefault(ADAPTIVE + variant, []).append(seen.judge(seen.true))
        if variant == HONEST:
            timed, spent = spent, defaultdict(list)
    Path(sys.argv[2]).write_text(json.dumps({"answers": found, "spent_s": timed, "torch": torch.__version__}))


def _answer(
    model: Model, prompts: dict[str, list[int]], choosers: dict[str, Chooser], max_new: int, batch: int
) -> dict[str, Answer]:
    numbers = list(prompts)
    answers: list[Answer] = []
    for start in range(0, len(numbers), batch):
        part = numbers[start : start + batch]
        answers += model.answers([prompts[n] for n in part], max_new, [choosers[n] for n in part])
    return dict(zip(numbers, answers, strict=True))


class _Seen:
    """An answer under the pass that checks it. `true`: the states of that pass, which an adaptive cheat would show."""

    def __init__(
        self,
        model: Model,
        prompt: list[int],
        chooser: Chooser,
        answer: Answer,
        number: str,
        act_w: Floats,
        spent: Spent,
    ) -> None:
        self._spent, self._act_w = spent, act_w
        self._job_id = _digest(b"job", number)
        self._hidden = model.hidden
        trace = self._time("pass_margins", lambda: model.trace(prompt, answer.ids, chooser))
        self.true = trace.states
        self._margins = trace.of_first(len(answer.ids), answer.stopped)

    def judge(self, shown: Floats) -> dict[str, Any]:
        """Both proofs of the states that a node shows, and what the pass says of them; ours is scored by the node."""
        proof = self._time("make", lambda: encode_proof(whiten(shown, self._act_w), self._r()))
        check = self._time("check", lambda: encode_check(whiten(self.true, self._act_w), self._r(), self._margins))
        theirs, ours = _activations(shown), _activations(self.true)
        sizes = {"decode_batching_size": TOKENS_PER_PROOF, "topk": TOPK, "skip_prefill": True}
        built = self._time("toploc_make", lambda: build_proofs_bytes(theirs, **sizes))
        results = self._time("toploc_compare", lambda: verify_proofs_bytes(ours, built, **sizes))
        return {
            "proof": proof.hex(),
            "check": check.hex(),
            "toploc_bytes": [len(each) for each in built],
            "toploc": [[each.exp_mismatches, each.mant_err_mean, each.mant_err_median] for each in results],
        }

    def _r(self) -> Floats:
        return projection(self._job_id, self._hidden)

    def _time(self, name: str, work: Callable[[], T]) -> T:
        return _time(self._spent, name, work)


def _time(spent: Spent, name: str, work: Callable[[], T]) -> T:
    started = time.perf_counter()
    done = work()
    spent[name].append(time.perf_counter() - started)
    return done


def _activations(states: Floats) -> Sequence[torch.Tensor]:
    """As an inference engine hands them to TOPLOC: bfloat16, one tensor a token."""
    return list(torch.from_numpy(states).to(torch.bfloat16).split(1))


def _digest(purpose: bytes, number: str) -> bytes:
    return hashlib.sha256(b"vcoin/bench/toploc/" + purpose + b"/" + number.encode()).digest()


if __name__ == "__main__":
    main()
