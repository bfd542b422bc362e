"""The job as the container sees it: spec.json and the input files, checked before anything is loaded."""

import hashlib
import json
import os
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

INPUT, OUTPUT = Path("/input"), Path("/output")
SPEC_VERSION = 1
MAX_SPEC_BYTES = 64 * 1024
MAX_JSON_BYTES = 1024 * 1024

STOP_ORDER = "stop_order"
"""An input that comes while a job alone runs: its client wants no more tokens. In result.json, the word for that."""
EXIT_BAD_SPEC, EXIT_BAD_INPUT, EXIT_INTERNAL, EXIT_RESUMABLE = 64, 65, 70, 75


class Read(NamedTuple):
    """The input of a job is understood: so many tokens are to be read, so many of them its answer."""

    prompt_tokens: int
    output_tokens: int = 0


Work = Generator[Read | None, None, None]
"""A job in pieces: it yields what was read first, and None after each piece, when other jobs may go on."""


class Refused(Exception):
    """The job cannot be done as asked. `code` is for machines, the text for people, `exit_code` names the guilty."""

    exit_code = EXIT_INTERNAL

    def __init__(self, code: str, message: str, **facts: int) -> None:
        super().__init__(message)
        self.code = code
        self.facts = facts


class BadSpec(Refused):
    exit_code = EXIT_BAD_SPEC


class BadInput(Refused):
    exit_code = EXIT_BAD_INPUT


@dataclass(frozen=True, slots=True)
class Job:
    """spec.json, read. `params` is the kind's own; each kind takes what it needs through `number` and `text`.

    `seed` is 32 bytes, or empty for a kind that draws nothing. `prefix` begins the names of its files, where several
    jobs share a container.
    """

    id: bytes
    kind: str
    seed: bytes
    params: dict[str, Any]
    prefix: str = ""

    def number(self, name: str, low: int, high: int, default: int | None = None) -> int:
        value = self.params.get(name, default)
        if type(value) is not int or not low <= value <= high:
            raise BadSpec("bad_param", f"params.{name} must be a whole number from {low} to {high}")
        return value

    def text(self, name: str, choices: tuple[str, ...]) -> str:
        value = self.params.get(name)
        if value not in choices:
            raise BadSpec("bad_param", f"params.{name} must be one of {', '.join(choices)}")
        return str(value)

    def read(self, name: str, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
        """A JSON object among the inputs, of at most so many bytes. Raises BadInput."""
        return _object(INPUT / (self.prefix + name), limit, BadInput)

    def write(self, name: str, data: bytes) -> None:
        """Write an output whole or not at all."""
        write(self.prefix + name, data)

    @property
    def is_stop_ordered(self) -> bool:
        """Whether the node has put a stop order beside the input of a job alone: its answer ends at the next token."""
        return (INPUT / STOP_ORDER).exists()

    @property
    def memory_bytes(self) -> int:
        """What its client has given it: in a container of its own, what that may use."""
        return self.number("memory_bytes", 1, 1 << 50) if self.prefix else int(os.environ["MAX_MEMORY"])


def is_text(value: object) -> bool:
    """Whether a value is a text that holds more than spaces."""
    # JSON can say half a character, of which no tokenizer makes anything.
    return isinstance(value, str) and bool(value.strip()) and not any("\ud800" <= c <= "\udfff" for c in value)


def canonical(value: object) -> bytes:
    """The one JSON form that is hashed and signed: sorted keys, no spaces, ASCII."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()


def read_job() -> Job:
    """Read and check /input/spec.json and the files it lists. Raises BadSpec, BadInput."""
    spec = _object(INPUT / "spec.json", MAX_SPEC_BYTES, BadSpec)
    if spec.get("version") != SPEC_VERSION:
        raise BadSpec("bad_version", f"this runner speaks version {SPEC_VERSION}")
    try:
        job_id, seed = bytes.fromhex(spec["job_id"]), bytes.fromhex(spec["seed"])
        kind, params, files = str(spec["kind"]), dict(spec["params"]), list(spec["input_files"])
        listed = [(str(file["path"]), str(file["sha256"]), int(file["size"])) for file in files]
    except (KeyError, TypeError, ValueError) as error:
        raise BadSpec("bad_spec", f"spec.json lacks or misstates {error}") from error
    if len(job_id) != 32:
        raise BadSpec("bad_spec", "job_id must be 32 bytes in hex")
    if len(seed) not in (0, 32):
        raise BadSpec("bad_spec", "seed must be 32 bytes in hex, or empty")
    for name, sha256, size in listed:
        _verify(name, sha256, size)
    return Job(job_id, kind, seed, params)


def _verify(name: str, sha256: str, size: int) -> None:
    if "/" in name or name.startswith("."):
        raise BadSpec("bad_spec", "an input file is a plain name")
    try:
        with (INPUT / name).open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
            length = file.tell()
    except OSError as error:
        raise BadInput("input_missing", f"input file {name} cannot be read") from error
    if (found, length) != (sha256, size):
        raise BadInput("input_mismatch", f"input file {name} is not what spec.json names")


def read_object(name: str, limit: int = MAX_JSON_BYTES) -> dict[str, Any]:
    """A JSON object among the inputs, of at most so many bytes. Raises BadInput."""
    return _object(INPUT / name, limit, BadInput)


def _object(path: Path, limit: int, refusal: type[Refused]) -> dict[str, Any]:
    try:
        with path.open("rb") as file:
            data = file.read(limit + 1)
        value = json.loads(data) if len(data) <= limit else None
    except (OSError, ValueError, RecursionError) as error:
        raise refusal("bad_json", f"{path.name} cannot be read as JSON") from error
    if not isinstance(value, dict):
        raise refusal("bad_json", f"{path.name} must be a JSON object of at most {limit} bytes")
    return value


def write(name: str, data: bytes) -> None:
    """Write an output whole or not at all."""
    partial = OUTPUT / (name + ".partial")
    partial.write_bytes(data)
    partial.rename(OUTPUT / name)
