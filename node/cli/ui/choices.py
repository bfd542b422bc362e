"""The options of an order that say how the tokens of its answer are chosen."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from node.api.faults import Fault

HIGHEST_TEMPERATURE = 2
HIGHEST_PENALTY = 2
MAX_SCHEMA_CHARS = 32 * 1024
"""Those of the protocol, whose import would take longer than to ask."""
TEMPERATURE = (
    "0 takes the likeliest token each time; up to 2, the higher the freer. The choices can be checked at any, and with "
    "each of the rules below."
)
Share = Annotated[float, Parameter(metavar="P")]
Penalty = Annotated[float, Parameter(metavar="X", allow_leading_hyphen=True)]


@Parameter(name="*")
@dataclass(frozen=True)
class Choices:
    """Options of commands whose answer is text."""

    temperature: Annotated[float, Parameter(metavar="T", help=TEMPERATURE)] = 0.0
    stop: Annotated[tuple[str, ...], Parameter(negative="", allow_leading_hyphen=True)] = ()
    """End the answer before this text; up to four times, of 64 bytes at most."""
    seed: Annotated[int | None, Parameter(metavar="N", allow_leading_hyphen=True)] = None
    """Draw by this number: the same question draws the same answer, but for near ties."""
    top_p: Share = 1.0
    """Draw from the likeliest tokens that hold this share together."""
    top_k: int = 0
    """Draw from so many of the likeliest tokens; 0: from all."""
    presence_penalty: Penalty = 0.0
    """From -2 to 2: what a token loses once the answer has it."""
    frequency_penalty: Penalty = 0.0
    """From -2 to 2: what a token loses each time the answer has it."""
    schema: Annotated[Path | None, Parameter(metavar="FILE")] = None
    """Have an answer in JSON that fits this JSON schema."""

    @property
    def fields(self) -> dict[str, Any]:
        """The fields of a job's order. Raises: Fault bad_request for a value that no node serves."""
        asked: dict[str, Any] = {
            "stop": list(self.stop),
            "top_p_ppm": _whole("--top-p", self.top_p, 10**6, (0, 1)),
            "top_k": self.top_k,
            "presence_milli": _penalty("--presence-penalty", self.presence_penalty),
            "frequency_milli": _penalty("--frequency-penalty", self.frequency_penalty),
        }
        asked = {name: value for name, value in asked.items() if value != _OFF[name]}
        seed = {} if self.seed is None else {"seed": self.seed}
        schema = {} if self.schema is None else {"schema": _content(self.schema)}
        return {"temperature_milli": thousandths(self.temperature), **asked, **seed, **schema}


CHOICES = Choices()
_OFF = {"stop": [], "top_p_ppm": 10**6, "top_k": 0, "presence_milli": 0, "frequency_milli": 0}
"""What asks for nothing is left out, so that a daemon of an earlier version takes the order."""


def thousandths(temperature: float) -> int:
    """A temperature in thousandths. Raises: Fault bad_request for one that no node runs at."""
    return _whole("--temperature", temperature, 1_000, (0, HIGHEST_TEMPERATURE))


def _content(file: Path) -> str:
    """The text of a file. Raises: Fault bad_request."""
    try:
        with file.open(encoding="utf-8") as opened:
            found = opened.read(MAX_SCHEMA_CHARS + 1)
    except (OSError, UnicodeDecodeError) as error:
        raise Fault("bad_request", f"--schema {file}: expected a JSON schema in UTF-8: {error}") from error
    if not 1 <= len(found) <= MAX_SCHEMA_CHARS:
        raise Fault("bad_request", f"--schema {file}: expected a JSON schema of at most {MAX_SCHEMA_CHARS} characters")
    return found


def _penalty(name: str, value: float) -> int:
    return _whole(name, value, 1_000, (-HIGHEST_PENALTY, HIGHEST_PENALTY))


def _whole(name: str, value: float, scale: int, bounds: tuple[int, int]) -> int:
    """A number in whole parts of one, of which `scale` make it up. Raises: Fault bad_request."""
    low, high = bounds
    found = round(value * scale) if low <= value <= high else None
    if found is None or abs(value * scale - found) > 1e-6:
        words = f"expected {low} to {high} with at most {'six' if scale > 1_000 else 'three'} decimals"
        raise Fault("bad_request", f"{name} {value:g}: {words}")
    return found
