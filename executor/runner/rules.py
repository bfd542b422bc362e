"""The token rules of an input: what its client says of the choice of tokens, beside the temperature.

They are an object of whole numbers and texts; a rule that is left out is off, and an unknown one is refused:
    {"stop": [...], "seed", "top_p_ppm", "top_k", "presence_milli", "frequency_milli", "schema"}
The sealed input holds them, so each node and seat that runs the job has them, and the client has signed for them.
"""

import hashlib
from dataclasses import dataclass

from .answer_schema import read_schema
from .job import BadInput

MAX_STOPS = 4
MAX_STOP_BYTES = 64
ONE_PPM = 10**6
MAX_TOP_K = 1024
MAX_PENALTY_MILLI = 2000
MAX_SEED = 2**63
HALF = "\N{REPLACEMENT CHARACTER}"
"""Stands for bytes that are no character, perhaps not yet."""
BOUNDS = {
    "seed": (-MAX_SEED, MAX_SEED - 1),
    "top_p_ppm": (1, ONE_PPM),
    "top_k": (0, MAX_TOP_K),
    "presence_milli": (-MAX_PENALTY_MILLI, MAX_PENALTY_MILLI),
    "frequency_milli": (-MAX_PENALTY_MILLI, MAX_PENALTY_MILLI),
}


@dataclass(frozen=True, slots=True)
class ChoiceRules:
    """The rules, read. top_p in millionths and top_k in tokens; penalties in thousandths of a logit unit.

    schema: a JSON schema as text, of which the answer is an instance; empty if there is none.
    """

    stops: tuple[str, ...] = ()
    seed: int | None = None
    top_p_ppm: int = ONE_PPM
    top_k: int = 0
    presence_milli: int = 0
    frequency_milli: int = 0
    schema: str = ""

    @property
    def cuts(self) -> bool:
        """Whether some tokens are never drawn."""
        return self.top_k > 0 or self.top_p_ppm < ONE_PPM

    @property
    def penalises(self) -> bool:
        """Whether a token counts for less, or more, once it was written."""
        return self.presence_milli != 0 or self.frequency_milli != 0

    def draw_seed(self, job_seed: bytes) -> bytes:
        """The seed of the draw, 32 bytes: by the client's own number, if there is one, else that of the job."""
        if self.seed is None:
            return job_seed
        return hashlib.sha256(b"gm-asked" + self.seed.to_bytes(8, "big", signed=True)).digest()


def read_rules(plain: object) -> ChoiceRules:
    """The rules of an input. Raises BadInput."""
    if not isinstance(plain, dict):
        raise BadInput("bad_rules", "rules must be an object")
    if unknown := plain.keys() - {"stop", "schema", *BOUNDS}:
        raise BadInput("bad_rules", f"there is no rule {str(min(unknown))[:32]}")
    for name, (low, high) in BOUNDS.items():
        value = plain.get(name, low)
        if type(value) is not int or not low <= value <= high:
            raise BadInput("bad_rules", f"rules.{name} must be a whole number from {low} to {high}")
    stops = plain.get("stop", [])
    if not isinstance(stops, list) or len(stops) > MAX_STOPS or not all(map(_is_stop, stops)):
        words = f"at most {MAX_STOPS} texts of 1 to {MAX_STOP_BYTES} bytes"
        raise BadInput("bad_rules", f"rules.stop must be {words}")
    schema = _schema(plain["schema"]) if "schema" in plain else ""
    return ChoiceRules(tuple(stops), schema=schema, **{name: plain[name] for name in BOUNDS if name in plain})


def _schema(value: object) -> str:
    if not isinstance(value, str):
        raise BadInput("bad_rules", "rules.schema must be a JSON schema as text")
    try:
        return read_schema(value)
    except ValueError as error:
        raise BadInput("bad_schema", f"rules.schema: {error}") from error


def _is_stop(value: object) -> bool:
    # Half a character in JSON is no text, and the sign for one would be found while the other half is still to come.
    if not isinstance(value, str) or HALF in value or any("\ud800" <= c <= "\udfff" for c in value):
        return False
    return 1 <= len(value.encode()) <= MAX_STOP_BYTES
