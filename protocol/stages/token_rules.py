"""Token rules: what a client asks of the choice of tokens beside the temperature, and the input that holds them.

The rules are a part of the sealed input, whose content id the client signs, so the node and every seat have the same.
An input with rules, or of a text that is not a chat, is of version 2. A bit of the signed temperature says so: a node
that does not know such inputs finds that temperature too high, and refuses the order before it reads the input.
"""

import json
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Any

from protocol.stages.answer_schema import read_schema

RULES_SIGNED = 1 << 31
"""Bit of JobDetails.temperature: the input is of version 2."""
ALONE_SIGNED = 1 << 30
"""Bit of JobDetails.temperature: the answer is written in a container of its own. Earlier nodes refuse it as well."""
MAX_STOPS = 4
MAX_STOP_BYTES = 64
WHOLE_PPM = 10**6
MAX_TOP_K = 1_024
MAX_PENALTY_MILLI = 2_000
MAX_SEED = 2**63 - 1
_HALF = "\N{REPLACEMENT CHARACTER}"
_BOUNDS = {
    "seed": (-MAX_SEED - 1, MAX_SEED),
    "top_p_ppm": (1, WHOLE_PPM),
    "top_k": (0, MAX_TOP_K),
    "presence_milli": (-MAX_PENALTY_MILLI, MAX_PENALTY_MILLI),
    "frequency_milli": (-MAX_PENALTY_MILLI, MAX_PENALTY_MILLI),
}


@dataclass(frozen=True, slots=True)
class TokenRules:
    """Rules of one job; the defaults are off.

    stop: texts of which the first one that the answer holds ends it. seed: of the draw, instead of the job's own.
    top_p_ppm: the share of the likeliest tokens that are drawn from, in millionths; top_k: their number, 0 for all.
    presence_milli and frequency_milli: thousandths of a logit unit that a token loses once it was written, and each
    time it was. schema: a JSON schema, as text, of which the answer is an instance.
    """

    stop: tuple[str, ...] = ()
    seed: int | None = None
    top_p_ppm: int = WHOLE_PPM
    top_k: int = 0
    presence_milli: int = 0
    frequency_milli: int = 0
    schema: str = ""

    def __post_init__(self) -> None:
        """Raises: ValueError, with the rule and its bounds, for what no runner does."""
        if len(self.stop) > MAX_STOPS:
            raise ValueError(f"stop: expected at most {MAX_STOPS} texts")
        for text in self.stop:
            require_stop(text)
        for name, (low, high) in _BOUNDS.items():
            value = getattr(self, name)
            if name == "seed" and value is None:
                continue
            # Rules also come out of inputs of strangers, and JSON has numbers that are not whole.
            if type(value) is not int or not low <= value <= high:
                raise ValueError(f"{name}: expected a whole number from {low} to {high}")
        if self.schema != "":
            read_schema(self.schema)

    @property
    def plain(self) -> dict[str, Any]:
        """As an input holds them: those that are not off."""
        given: dict[str, Any] = {"stop": list(self.stop)} if self.stop else {}
        given |= {"schema": self.schema} if self.schema else {}
        off = TokenRules()
        return given | {name: value for name in _BOUNDS if (value := getattr(self, name)) != getattr(off, name)}

    def of_choice(self, index: int) -> "TokenRules":
        """The rules of one of several answers to a prompt: each has a seed of its own, which follows from the first."""
        if self.seed is None or not index:
            return self
        told = self.seed.to_bytes(8, "big", signed=True) + index.to_bytes(4, "big")
        return replace(self, seed=int.from_bytes(sha256(b"vcoin/choice/1" + told).digest()[:8], "big", signed=True))


NO_RULES = TokenRules()
"""All of them are off."""


def require_stop(text: str) -> None:
    """Check one stop string. Raises: ValueError."""
    if not 1 <= len(text.encode()) <= MAX_STOP_BYTES:
        raise ValueError(f"stop: expected texts of 1 to {MAX_STOP_BYTES} bytes")
    if _HALF in text:
        raise ValueError("stop: U+FFFD stands for half a character, so no answer can be searched for it")


def rules_of(input_json: bytes) -> TokenRules:
    """The rules in an input; those of one that no runner takes are off, for the runner to judge."""
    try:
        plain = json.loads(input_json)
        rules = plain["rules"] if plain["v"] == 2 else {}
        return TokenRules(**{**rules, "stop": tuple(rules.get("stop", ()))})
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return NO_RULES


def draw_seed(rules: TokenRules, job_seed: bytes) -> bytes:
    """The seed of a job's token choices, 32 bytes: by the client's number, if there is one."""
    if rules.seed is None:
        return job_seed
    return sha256(b"gm-asked" + rules.seed.to_bytes(8, "big", signed=True)).digest()


def has_rules(temperature: int) -> bool:
    """Whether a signed temperature says that the input is of version 2."""
    return bool(temperature & RULES_SIGNED)


def is_alone(temperature: int) -> bool:
    """Whether a signed temperature says that no other job may be in the container of the answer."""
    return bool(temperature & ALONE_SIGNED)


def milli_of(temperature: int) -> int:
    """The thousandths of a signed temperature."""
    return temperature & ~(RULES_SIGNED | ALONE_SIGNED)


def signed_temperature(temperature_milli: int, *, ruled: bool, alone: bool = False) -> int:
    """The temperature as it is signed."""
    return temperature_milli | (RULES_SIGNED if ruled else 0) | (ALONE_SIGNED if alone else 0)
