"""Runs in the runner image: the choice of tokens under an input's rules, against their definition taken literally.

It leaves /output/found.json.
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from runner.fingerprint import Doubles, Integers
from runner.generate import chooser_of
from runner.gumbel import Chooser
from runner.job import Job
from runner.logits import Logits, as_they_are
from runner.ruled import RuledChooser
from runner.rules import ONE_PPM, ChoiceRules

CASES = 400
NOISES = (0.0, 0.003, 0.05, 0.4)
"""By how much a worker's logits are off, at most."""
STOPS = (0, 3)


def dice(case: int) -> Any:
    return np.random.default_rng(case)


def rules_of(chance: Any) -> ChoiceRules:
    """Any rules, and each of them alone."""
    kind = chance.integers(5)
    return ChoiceRules(
        top_p_ppm=int(chance.integers(1, ONE_PPM)) if kind in (0, 2) else ONE_PPM,
        top_k=int(chance.choice([1, 2, 7, 300])) if kind in (1, 2) else 0,
        presence_milli=int(chance.integers(-2000, 2001)) if kind in (2, 3) else 0,
        frequency_milli=int(chance.integers(-2000, 2001)) if kind in (2, 4) else 0,
    )


def vocabulary(chance: Any) -> Doubles:
    """Logits of a model that is sure, of one that is not, and of one that likes many tokens the same."""
    vocab = int(chance.choice([5, 40, 3000, 20_000]))
    logits = chance.normal(size=vocab) * chance.choice([0.01, 1.0, 4.0])
    return np.round(logits, 1) if chance.integers(4) == 0 else logits


def kept_of(logits: Doubles, rules: ChoiceRules, temperature: float) -> Integers:
    """The tokens that are kept, by going through all of them in order."""
    order = sorted(range(len(logits)), key=lambda v: (-logits[v], v))[: rules.top_k or len(logits)]
    weights = np.exp((logits[order] - logits[order[0]]) / temperature)
    before = np.concatenate([[0.0], np.cumsum(weights)[:-1]]) / weights.sum()
    top_p = rules.top_p_ppm / ONE_PPM
    return np.array([v for v, share in zip(order, before, strict=True) if rules.top_p_ppm == ONE_PPM or share < top_p])


def penalised(logits: Doubles, rules: ChoiceRules, written: list[int]) -> Doubles:
    found = logits.copy()
    for token in set(written):
        found[token] -= rules.presence_milli / 1000 + rules.frequency_milli / 1000 * written.count(token)
    return found


def literal() -> Iterator[bool]:
    """Whether a choice is that of the definition, and the cut is never empty."""
    for case in range(CASES):
        chance = dice(case)
        rules, exact = rules_of(chance), vocabulary(chance).astype(np.float32).astype(np.float64)
        off = 0.01 if len(exact) <= 40 and rules.top_p_ppm < ONE_PPM else 0.0
        rough = (exact + chance.uniform(-1, 1, size=len(exact)) * off / 2).astype(np.float32)
        milli = int(chance.choice([0, 100, 800, 2000]))
        written = [int(token) for token in chance.integers(min(5, len(exact)), size=case % 9)]
        chooser = RuledChooser(milli, bytes([case % 256]) * 32, rules, [*written])
        token = chooser.choose(Logits(rough, off, lambda ids, exact=exact: exact[ids]), len(written))
        ours = penalised(exact, rules, written)
        kept = kept_of(ours, rules, milli / 1000) if milli else np.arange(len(ours))
        scores = Chooser(milli, chooser.seed).scores(as_they_are(ours), len(written), kept)
        yield len(kept) > 0
        yield bool(scores[list(kept).index(token)] >= scores.max() - 1e-5) if token in kept else False
        yield chooser.written == [*written, token]


def margins(noise: float, ignored: str = "") -> list[float]:
    """The margins of choices of a worker whose logits are off by so much, or who leaves out a rule."""
    found = []
    for case in range(CASES):
        chance = dice(case)
        rules, exact = rules_of(chance), vocabulary(chance).astype(np.float32)
        theirs = (exact + chance.uniform(-noise, noise, size=len(exact))).astype(np.float32)
        milli = int(chance.choice([100, 800, 2000]))
        written = [int(token) for token in chance.integers(min(5, len(exact)), size=case % 9)]
        worker = RuledChooser(milli, bytes([case % 256]) * 32, rules, [*written])
        token = worker.choose(as_they_are(theirs), len(written))
        stop = token in STOPS
        checker = RuledChooser(milli, worker.seed, rules, [*written, token])
        seen = checker.standing(as_they_are(exact), len(written), STOPS, None if stop else token)
        # A stop at the end is judged by its own margin, any other token also by how far a stop beats it.
        found.append(seen.stop_margin if stop else max(seen.margin, seen.stop_lead))
    return found


def cheats() -> dict[str, list[float]]:
    """Margins of workers that leave out a rule, of the choices that it changes."""
    exact = (dice(1).normal(size=3000) * 2.5).astype(np.float32)
    found: dict[str, list[float]] = {}
    for name, rules in {
        "top_p": ChoiceRules(top_p_ppm=500_000),
        "top_k": ChoiceRules(top_k=5),
        "presence": ChoiceRules(presence_milli=1500),
        "frequency": ChoiceRules(frequency_milli=700),
    }.items():
        chooser = RuledChooser(800, bytes(32), rules, [])
        free, written = Chooser(800, bytes(32)), list[int]()
        found[name] = []
        for place in range(64):
            token = free.choose(as_they_are(exact), place)
            checker = RuledChooser(800, bytes(32), rules, [*written, token])
            if RuledChooser(800, bytes(32), rules, [*written]).choose(as_they_are(exact), place) != token:
                found[name].append(checker.standing(as_they_are(exact), place, STOPS, token).margin)
            written.append(token)
        assert chooser.written == []
    return found


def off_is_off() -> list[bool]:
    """Whether rules that are off leave the plain chooser, and rules that keep all give what it gives."""
    params = {"temperature_milli": 800}
    seed = b"\x05" * 32
    job = Job(bytes(32), "generate", seed, params)
    plain = chooser_of(job, ChoiceRules(stops=("x",)))
    told = [type(plain) is Chooser, plain == Chooser(800, seed)]
    all_kept = RuledChooser(800, seed, ChoiceRules(top_p_ppm=ONE_PPM, top_k=1024), [])
    for place in range(200):
        logits = as_they_are((dice(place).normal(size=900) * 2).astype(np.float32))
        told.append(all_kept.choose(logits, place) == plain.choose(logits, place))
        told.append(
            all_kept.standing(logits, place, STOPS, 5)[1:] == plain.standing(logits, place, STOPS, 5)[1:]
            and all_kept.standing(logits, place, STOPS, 5).margin == plain.standing(logits, place, STOPS, 5).margin
        )
    seeded = [chooser_of(job, ChoiceRules(seed=number)).seed for number in (1, 1, -1)]
    return [*told, seeded[0] == seeded[1], len({seed, *seeded}) == 3]


def not_finite() -> bool:
    """Whether what is not a number is found, though a cut might leave it out."""
    logits = as_they_are(np.array([0, np.nan, 1], np.float32))
    seen = RuledChooser(800, bytes(32), ChoiceRules(top_k=1), [2]).standing(logits, 0, (0,), 2)
    return bool(np.isnan(seen.margin))


def main() -> None:
    found = {
        "literal": all(literal()),
        "margins": {str(noise): margins(noise) for noise in NOISES},
        "cheats": cheats(),
        "off": all(off_is_off()),
        "not_finite": not_finite(),
    }
    Path("/output/found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
