"""Answers that the right model did not give in the way that was ordered; what a model's constants must tell apart.

Two kinds: a node that chooses otherwise while it decodes, and one that changes an honest answer afterwards. Each keeps
the fingerprint of the honest run it began with; what a true pass over the forged text would say is measured beside it.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from .decoding import Answer
from .fingerprint import Doubles, Integers
from .gumbel import Chooser
from .logits import Logits
from .model import Model

REPLACED_AT = 8
WANTED = 1_000
EARLY = 8
"""A forced end comes after one token in so many."""


@dataclass(frozen=True, slots=True)
class Forced(Chooser):
    """Honest but at one place, where it takes the token it wants."""

    at: int
    token: int

    def choose(self, logits: Logits, place: int) -> int:
        return self.token if place == self.at else Chooser.choose(self, logits, place)


@dataclass(frozen=True, slots=True)
class Endless(Chooser):
    """Never stops, to be paid for the whole length."""

    stops: tuple[int, ...]

    def choose(self, logits: Logits, place: int) -> int:
        stops = list(self.stops)
        rough = logits.rough.copy()
        rough[stops] = -np.inf

        def exactly(ids: Integers) -> Doubles:
            return np.where(np.isin(ids, stops), -np.inf, logits.exactly(ids))

        return Chooser.choose(self, replace(logits, rough=rough, exactly=exactly), place)


def other_seed(chooser: Chooser, _model: Model) -> Chooser:
    return replace(chooser, seed=hashlib.sha256(chooser.seed).digest())


def greedy(chooser: Chooser, _model: Model) -> Chooser:
    """The likeliest token whatever was ordered."""
    return replace(chooser, temperature_milli=0)


def replaced_token(chooser: Chooser, model: Model) -> Chooser:
    """A word of its own in the middle of the answer."""
    return Forced(chooser.temperature_milli, chooser.seed, REPLACED_AT, WANTED % model.vocab)


def padded(chooser: Chooser, model: Model) -> Chooser:
    return Endless(chooser.temperature_milli, chooser.seed, model.eos_ids)


def copied(answers: list[Answer], _model: Model) -> list[Answer]:
    """The answer to the question before, with its fingerprint."""
    return [*answers[-1:], *answers[:-1]]


def random_tokens(answers: list[Answer], model: Model) -> list[Answer]:
    chance = np.random.default_rng(0)
    allowed = np.setdiff1d(np.arange(model.vocab), model.eos_ids)
    return [replace(each, ids=[int(i) for i in chance.choice(allowed, len(each.ids))]) for each in answers]


def shuffled(answers: list[Answer], _model: Model) -> list[Answer]:
    chance = np.random.default_rng(0)
    return [replace(each, ids=[int(i) for i in chance.permutation(each.ids)]) for each in answers]


CHOICES: dict[str, Callable[[Chooser, Model], Chooser]] = {
    "other_seed": other_seed,
    "greedy": greedy,
    "replaced_token": replaced_token,
    "padded": padded,
}
AFTERWARDS: dict[str, Callable[[list[Answer], Model], list[Answer]]] = {
    "copied": copied,
    "random_tokens": random_tokens,
    "shuffled": shuffled,
}
