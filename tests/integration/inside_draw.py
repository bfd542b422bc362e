"""Runs in the runner image: draws with the compiled code beside those without it. It leaves /output/found.json."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from runner import gumbel
from runner.contenders import ROOM, finder
from runner.logits import Logits

TRIALS = 400
VOCABULARIES = (1, 5, 255, 256, 257, 4_099, 49_152)
TEMPERATURES = (0, 1, 300, 1_000, 2_000)


def logits(trial: int) -> tuple[Any, Any]:
    """Logits [vocab] that get more and more alike, some of which are forbidden; and where chance goes on."""
    chance = np.random.default_rng(trial)
    rough = (chance.normal(size=VOCABULARIES[trial % 7]) * chance.choice([20, 5, 1, 0.01, 0])).astype(np.float32)
    if trial % 3 == 0:
        rough[chance.random(len(rough)) < 0.9] = -np.inf
        rough[chance.integers(len(rough))] = 0
    return rough, chance


def race(rough: Any, trial: int, off: float, within: float) -> dict[int, float]:
    """The tokens that matter and their scores."""
    chooser = gumbel.Chooser(TEMPERATURES[trial % 5], hashlib.sha256(trial.to_bytes(4, "big")).digest())
    given = Logits(rough, off, lambda ids: rough[ids].astype(np.float64))
    ids, scores = chooser.leading(given, trial) if within else chooser._race(given, trial)
    # Two ways to take a logarithm may differ in the last digits.
    least = scores.max() - 2 * off - within - 1e-9
    return {int(token): round(float(score), 9) for token, score in zip(ids, scores, strict=True) if score >= least}


def differing() -> Iterator[int]:
    """Trials in which what matters is not the same."""
    compiled = finder()
    assert compiled is not None, "the image has no compiled code for draws"
    for trial in range(TRIALS):
        rough, chance = logits(trial)
        off, within = float(chance.choice([0, 0.1])), float(chance.choice([0, 1]))
        gumbel.finder = lambda: compiled
        with_it = race(rough, trial, off, within)
        gumbel.finder = lambda: None
        if race(rough, trial, off, within) != with_it:
            yield trial
    gumbel.finder = finder


def refusals() -> dict[str, bool]:
    """Logits that the compiled code leaves to gumbel.py."""
    compiled, plain = finder(), np.zeros(300, np.float32)
    odd = {name: plain.copy() for name in ("not a number", "infinite")}
    odd["not a number"][299], odd["infinite"][7] = np.nan, np.inf
    asked = {
        **odd,
        "all forbidden": np.full(300, -np.inf, np.float32),
        "too many": np.zeros(ROOM + 1, np.float32),
        "other numbers": plain.astype(np.float64),
        "every second": np.zeros(600, np.float32)[::2],
    }
    assert compiled is not None
    told = {
        name: compiled.find(each, 1, 0.0, 0.0, int(gumbel.NEARLY_RARE), 8.0) is None for name, each in asked.items()
    }
    return {**told, "plain": compiled.find(plain, 1, 0.0, 0.0, int(gumbel.NEARLY_RARE), 8.0) is None}


if __name__ == "__main__":
    found = {"differing": list(differing()), "refusals": refusals()}
    Path("/output/found.json").write_text(json.dumps(found))
