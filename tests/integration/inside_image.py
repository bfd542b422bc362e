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
from runner.fingerprint import in_ppm
from runner.gumbel import BLOCK, NEAR, Chooser, gumbel
from runner.head import Head
from runner.logits import Logits, as_they_are
from runner.model import Model

DRAWS = 5_000
ODDS = (2.0, 1.0, 0.5, 0.0, -1.0, -3.0)


class Told:
    """A net whose logits depend on the place alone: its hidden states are the logits."""

    def __init__(self, logits: list[list[int]], prompt: int) -> None:
        self._rows = np.array([logits[0]] * (prompt - 1) + logits, np.float32) / 1024
        self.base_model, self.device, self.config = self._run, torch.device("cpu"), None

    def _run(self, input_ids: Any, position_ids: Any = None, past_key_values: Any = None, **_: Any) -> SimpleNamespace:
        start = 0 if position_ids is None else int(position_ids[0, 0])
        states = torch.tensor(self._rows[start : start + input_ids.shape[1]])[None]
        return SimpleNamespace(last_hidden_state=states, past_key_values=past_key_values)

    def get_output_embeddings(self) -> Any:
        size = self._rows.shape[1]
        head = torch.nn.Linear(size, size, bias=False)
        head.weight.data = torch.eye(size)
        return head


def number(case: dict[str, Any]) -> float:
    """The number of one token, asked for as the runner does: nothing but it is in the score."""
    zeros = np.zeros(case["token"] + 1, np.float32)
    return float(
        Chooser(1000, bytes.fromhex(case["seed"][2:])).scores(as_they_are(zeros), case["place"], [case["token"]])[0]
    )


def story(case: dict[str, Any]) -> dict[str, object]:
    """The answers, and the margins of each text, in ppm."""
    prompt = [1, 1, 1]
    rows = len(case["logits"][0])
    manifest = {"eos_ids": case["stopIds"], "hidden": rows, "vocab": rows, "context": 1000}
    model = Model(Told(case["logits"], len(prompt)), None, manifest, b"")
    chooser = Chooser(case["temperatureMilli"], bytes.fromhex(case["seed"][2:]))
    ids = [token for _, token, _ in model.decode([prompt], [case["maxNewTokens"]], [chooser])]
    margins = [model.replay(prompt, text["ids"], text["stopped"], chooser)[1] for text in case["texts"]]
    return {"ids": ids, "margins": [in_ppm(each).tolist() for each in margins]}


def shortcuts() -> Iterator[bool]:
    """Whether looking at few tokens only finds what looking at all of them does, however rough the first look is."""
    dice = np.random.default_rng(1)
    for place in range(400):
        vocab = int(dice.choice([5, 1000, BLOCK, BLOCK + 1, 49_152]))
        exact = (dice.normal(size=vocab) * dice.uniform(0.01, 6)).astype(np.float32)
        off = float(dice.choice([0, 0.001, 0.5]))
        # Half of what is allowed, so that float32 cannot round it to more.
        rough = exact + (dice.uniform(-1, 1, size=vocab) * off / 2).astype(np.float32)
        logits = Logits(rough, off, lambda ids, exact=exact: exact[ids])
        chooser = Chooser(int(dice.choice([0, 1, 50, 300, 800, 2000])), bytes([place % 256]) * 32)
        every = chooser.scores(logits, place, np.arange(vocab))
        asked = [int(token) for token in dice.integers(vocab, size=place % 3)]
        ids, scores = chooser.leading(logits, place, asked)
        yield chooser.choose(logits, place) == every.argmax()
        yield ids[: len(asked)].tolist() == asked and scores.tolist() == every[ids].tolist()
        yield set(np.flatnonzero(every >= every.max() - NEAR)) <= set(ids.tolist())


def heads() -> Iterator[dict[str, float]]:
    """How far rough and exact logits of a matrix lie from those in float64, beside what the head says of it."""
    torch.manual_seed(1)
    for dtype in (torch.bfloat16, torch.float32):
        for spread in (0.01, 1.0, 30.0):
            head = torch.nn.Linear(96, 20_000).to(dtype)
            states = torch.randn(3, 96) * spread
            true = states.double() @ head.weight.double().T + head.bias.double()
            ours = Head(SimpleNamespace(config=None, get_output_embeddings=lambda head=head: head)).logits(states)
            every = np.arange(20_000)
            for found, wanted in zip(ours, true.detach().numpy(), strict=True):
                yield {
                    "rough": float(np.abs(found.rough - wanted).max()),
                    "off": found.off,
                    "exact": float(np.abs(found.exactly(every) - wanted).max()),
                    "largest": float(np.abs(wanted).max()),
                }


def draws(temperature_milli: int) -> list[int]:
    """How often each token is chosen at so many places with the same logits."""
    chooser, logits = Chooser(temperature_milli, b"\x07" * 32), as_they_are(np.array(ODDS, np.float32))
    return np.bincount([chooser.choose(logits, place) for place in range(DRAWS)], minlength=len(ODDS)).tolist()


def not_finite(temperature_milli: int) -> bool:
    """Whether what is not a number is found among logits that are."""
    logits = as_they_are(np.array([0, np.nan, 1], np.float32))
    return bool(np.isnan(Chooser(temperature_milli, bytes(32)).leading(logits, 0)[1].max()))


def main() -> None:
    cases = json.loads(Path("/input/gumbel.json").read_bytes())["cases"]
    found = {
        "numbers": [number(case) for case in cases if "token" in case],
        "ends": gumbel(np.array([int(c["x"]) for c in cases if "x" in c and "token" not in c], np.uint64)).tolist(),
        "stories": [story(case) for case in cases if "texts" in case],
        "shortcuts": all(shortcuts()),
        "odds": ODDS,
        "draws": {temperature: draws(temperature) for temperature in (300, 1000, 2000)},
        "heads": list(heads()),
        "not_finite": [not_finite(temperature_milli) for temperature_milli in (0, 800)],
    }
    Path("/output/found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
