"""Runs in the runner image, with numpy and the runner's own modules: what the tests on the host cannot compute.

It reads /input/gumbel.json, the golden vectors, and leaves /output/found.json with what the runner makes of them.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from runner.fingerprint import MARGIN_MAX
from runner.gumbel import BLOCK, Chooser, gumbel
from runner.model import Model

DRAWS = 5_000
ODDS = (2.0, 1.0, 0.5, 0.0, -1.0, -3.0)


class Told:
    """A net whose logits depend on the place alone: its hidden states are the logits."""

    def __init__(self, logits: list[list[int]], prompt: int) -> None:
        self._rows = np.array([logits[0]] * (prompt - 1) + logits, np.float32) / 1024
        self.base_model = self._run

    def _run(self, input_ids: Any, position_ids: Any = None, past_key_values: Any = None, **_: Any) -> SimpleNamespace:
        start = 0 if position_ids is None else int(position_ids[0, 0])
        states = torch.tensor(self._rows[start : start + input_ids.shape[1]])[None]
        return SimpleNamespace(last_hidden_state=states, past_key_values=past_key_values)

    def get_output_embeddings(self) -> Any:
        return lambda states: states


def number(case: dict[str, Any]) -> float:
    """The number of one token, asked for as the runner does: nothing but it is in the score."""
    zeros = np.zeros(case["token"] + 1, np.float32)
    return float(Chooser(1000, bytes.fromhex(case["seed"][2:])).scores(zeros, case["place"], [case["token"]])[0])


def story(case: dict[str, Any]) -> dict[str, object]:
    """What is answered, and the margins of each text, in ppm."""
    prompt = [1, 1, 1]
    rows = len(case["logits"][0])
    manifest = {"eos_ids": case["stopIds"], "hidden": rows, "vocab": rows, "context": 1000}
    model = Model(Told(case["logits"], len(prompt)), None, manifest, b"")
    chooser = Chooser(case["temperatureMilli"], bytes.fromhex(case["seed"][2:]))
    ids = [token for _, token, _ in model.decode([prompt], [case["maxNewTokens"]], [chooser])]
    margins = [model.replay(prompt, text["ids"], text["stopped"], chooser)[1] for text in case["texts"]]
    return {"ids": ids, "margins": [[round(min(m * 1e6, MARGIN_MAX)) for m in each.tolist()] for each in margins]}


def shortcuts() -> Iterator[bool]:
    """Whether looking at few tokens only finds what looking at all of them does."""
    dice = np.random.default_rng(1)
    for place in range(400):
        vocab = int(dice.choice([5, 1000, BLOCK, BLOCK + 1, 49_152]))
        logits = (dice.normal(size=vocab) * dice.uniform(0.01, 6)).astype(np.float32)
        chooser = Chooser(int(dice.choice([1, 50, 300, 800, 2000])), bytes([place % 256]) * 32)
        every = chooser.scores(logits, place, np.arange(vocab))
        yield chooser.choose(logits, place) == every.argmax() and chooser.best(logits, place) == every.max()


def draws(temperature_milli: int) -> list[int]:
    """How often each token is chosen at so many places with the same logits."""
    chooser, logits = Chooser(temperature_milli, b"\x07" * 32), np.array(ODDS, np.float32)
    return np.bincount([chooser.choose(logits, place) for place in range(DRAWS)], minlength=len(ODDS)).tolist()


def main() -> None:
    cases = json.loads(Path("/input/gumbel.json").read_bytes())["cases"]
    found = {
        "numbers": [number(case) for case in cases if "token" in case],
        "ends": gumbel(np.array([int(c["x"]) for c in cases if "x" in c and "token" not in c], np.uint64)).tolist(),
        "stories": [story(case) for case in cases if "texts" in case],
        "shortcuts": all(shortcuts()),
        "odds": ODDS,
        "draws": {temperature: draws(temperature) for temperature in (300, 1000, 2000)},
        "not_finite": bool(np.isnan(Chooser(800, bytes(32)).best(np.array([0, np.nan, 1], np.float32), 0))),
    }
    Path("/output/found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
