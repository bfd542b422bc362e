"""The header of a GGUF file, which may come from anyone: each count, length and place in it has a limit.

Layout of GGUF, versions 2 and 3: docs/gguf.md of github.com/ggml-org/ggml.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from pathlib import Path

MAX_HEADER_BYTES = 64 << 20
MAX_FACTS, MAX_TENSORS = 1_024, 16_384
MAX_ITEMS = 1 << 20
"""Items of all lists together: a vocabulary of 256,000 tokens takes three times that number."""
MAX_NAME_BYTES, MAX_KEY_BYTES, MAX_TEXT_BYTES = 63, 128, 1 << 20
MAX_DIMENSIONS = 4
MAX_NUMBERS = 1 << 40
ALIGNMENT, MAX_ALIGNMENT = 32, 1 << 16
VERSIONS = (2, 3)
NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 10: "Q", 11: "q", 12: "d"}
"""Types of values that are numbers, in the words of `struct`."""
TRUTH, TEXT, LIST = 7, 8, 9

F32, Q8_0 = 0, 8
TYPE_NAMES = {
    F32: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 6: "Q5_0", 7: "Q5_1", Q8_0: "Q8_0", 9: "Q8_1", 10: "Q2_K", 11: "Q3_K",
    12: "Q4_K", 13: "Q5_K", 14: "Q6_K", 15: "Q8_K", 16: "IQ2_XXS", 17: "IQ2_XS", 18: "IQ3_XXS", 19: "IQ1_S",
    20: "IQ4_NL", 21: "IQ3_S", 22: "IQ2_S", 23: "IQ4_XS", 29: "IQ1_M", 30: "BF16", 34: "TQ1_0", 35: "TQ2_0",
    39: "MXFP4",
}  # fmt: skip
BLOCKS = {F32: (1, 4), Q8_0: (32, 34)}
"""Numbers and bytes of a block of the types that can be read."""

Told = tuple[str, tuple[int, ...], int, int]
"""Name, shape, type and place of a tensor as the file tells them."""
Value = int | float | bool | str | list[int] | list[float] | list[bool] | list[str]


class BadGguf(ValueError):
    """The file is no GGUF file, breaks a limit, or holds what cannot be run. The text says what and how to go on."""


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor of the file. `shape` begins with the outermost dimension; `start` counts bytes from that of the file.

    `size_bytes` is 0 for a type that cannot be read.
    """

    name: str
    shape: tuple[int, ...]
    type_id: int
    start: int
    size_bytes: int

    @property
    def type_name(self) -> str:
        return TYPE_NAMES.get(self.type_id, f"type {self.type_id}")


@dataclass(frozen=True, slots=True)
class Header:
    """What a file says of itself, and where its tensors lie."""

    facts: Mapping[str, Value]
    tensors: Mapping[str, Tensor]

    def number(self, key: str, low: int, high: int, default: int | None = None) -> int:
        """A whole number. Raises BadGguf."""
        value = self.facts.get(key, default)
        if type(value) is not int or not low <= value <= high:
            raise BadGguf(f"{key} is {_shown(value)}, and a whole number from {low} to {high} is expected")
        return value

    def real(self, key: str, low: float, high: float, default: float | None = None) -> float:
        """A number that may have a fraction. Raises BadGguf."""
        value = self.facts.get(key, default)
        if not isinstance(value, float) or not low <= value <= high:
            raise BadGguf(f"{key} is {_shown(value)}, and a number from {low} to {high} is expected")
        return value

    def text(self, key: str, default: str | None = None) -> str:
        """Raises BadGguf."""
        value = self.facts.get(key, default)
        if not isinstance(value, str):
            raise BadGguf(f"{key} is {_shown(value)}, and a text is expected")
        return value

    def texts(self, key: str) -> list[str]:
        """Raises BadGguf."""
        value = self.facts.get(key)
        if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
            raise BadGguf(f"{key} is {_shown(value)}, and a list of texts is expected")
        return [str(each) for each in value]


def read_header(path: Path) -> Header:
    """Read the header of a file. Raises BadGguf, OSError."""
    size = path.stat().st_size
    with path.open("rb") as file:
        return parse_header(file.read(MAX_HEADER_BYTES), size)


def parse_header(data: bytes, file_bytes: int) -> Header:
    """Args: data, the beginning of the file; file_bytes, the size of all of it. Raises BadGguf."""
    reader = _HeaderBytes(data)
    if data[:4] != b"GGUF":
        raise BadGguf("it is no GGUF file: its first bytes are not GGUF")
    reader.take(4)
    version = reader.number("I")
    if version not in VERSIONS:
        raise BadGguf(f"it is of version {version} of GGUF, and versions 2 and 3, little-endian, are read")
    tensor_count = reader.count("tensors", MAX_TENSORS)
    fact_count = reader.count("facts", MAX_FACTS)
    facts: dict[str, Value] = {}
    for _ in range(fact_count):
        key = reader.text(MAX_KEY_BYTES)
        if key in facts:
            raise BadGguf(f"it states {_shown(key)} twice")
        facts[key] = reader.value()
    told = [reader.tensor() for _ in range(tensor_count)]
    return Header(facts, _placed(told, reader.at, _alignment(facts), file_bytes))


def _alignment(facts: Mapping[str, Value]) -> int:
    value = facts.get("general.alignment", ALIGNMENT)
    if type(value) is not int or not 8 <= value <= MAX_ALIGNMENT or value & (value - 1):
        raise BadGguf(f"general.alignment is {_shown(value)}, and a power of two from 8 to {MAX_ALIGNMENT} is expected")
    return value


def _placed(
    told: list[tuple[str, tuple[int, ...], int, int]], end: int, alignment: int, size: int
) -> dict[str, Tensor]:
    """The tensors by name. Raises BadGguf if two share a name or bytes, or one leaves the file."""
    first = -(-end // alignment) * alignment
    tensors: dict[str, Tensor] = {}
    for name, shape, type_id, offset in told:
        if name in tensors:
            raise BadGguf(f"it has two tensors {_shown(name)}")
        if offset % alignment or offset > size:
            raise BadGguf(f"tensor {_shown(name)} begins at {offset}, which is not aligned or not in the file")
        numbers, block_bytes = BLOCKS.get(type_id, (1, 0))
        if shape[-1] % numbers:
            raise BadGguf(f"tensor {_shown(name)} has rows of {shape[-1]} numbers, and a block has {numbers}")
        tensor = Tensor(name, shape, type_id, first + offset, prod(shape) // numbers * block_bytes)
        if tensor.start + max(tensor.size_bytes, 1) > size:
            raise BadGguf(f"tensor {_shown(name)} ends behind the end of the file, which may not be whole")
        tensors[name] = tensor
    for one, other in pairwise(sorted(tensors.values(), key=lambda each: each.start)):
        if one.start + max(one.size_bytes, 1) > other.start:
            raise BadGguf(f"the tensors {_shown(one.name)} and {_shown(other.name)} share bytes")
    return tensors


class _HeaderBytes:
    """Goes through the header. Nothing is made whose size was not compared with the bytes that are there."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0
        self._items = 0

    def take(self, length: int) -> bytes:
        if length > len(self._data) - self.at:
            raise BadGguf(f"its header ends too early, or takes over {MAX_HEADER_BYTES} bytes")
        self.at += length
        return self._data[self.at - length : self.at]

    def number(self, kind: str) -> int:
        (value,) = struct.unpack(f"<{kind}", self.take(struct.calcsize(f"<{kind}")))
        return int(value)

    def count(self, of: str, most: int) -> int:
        value = self.number("Q")
        if value > most:
            raise BadGguf(f"it states {value} {of}, and {most} are the most")
        return value

    def text(self, most: int) -> str:
        length = self.number("Q")
        if length > most:
            raise BadGguf(f"it holds a text of {length} bytes, and {most} are the most")
        try:
            return self.take(length).decode()
        except UnicodeDecodeError as error:
            raise BadGguf("it holds a text that is not UTF-8") from error

    def value(self) -> Value:
        kind = self.number("I")
        if kind == LIST:
            return self._list()
        if kind == TEXT:
            return self.text(MAX_TEXT_BYTES)
        (value,) = self._scalars(kind, 1)
        return value

    def _list(self) -> Value:
        kind, count = self.number("I"), self.number("Q")
        self._items += count
        if self._items > MAX_ITEMS:
            raise BadGguf(f"its lists have over {MAX_ITEMS} items together")
        if kind == LIST:
            raise BadGguf("it holds a list of lists, which no model needs")
        if kind == TEXT:
            return [self.text(MAX_TEXT_BYTES) for _ in range(count)]
        return self._scalars(kind, count)

    def _scalars(self, kind: int, count: int) -> list[int] | list[float] | list[bool]:
        if kind == TRUTH:
            found = self.take(count)
            if set(found) - {0, 1}:
                raise BadGguf("it holds a truth value that is neither 0 nor 1")
            return [bool(each) for each in found]
        if kind not in NUMBERS:
            raise BadGguf(f"it holds a value of type {kind}, which GGUF does not know")
        form = f"<{count}{NUMBERS[kind]}"
        return list(struct.unpack(form, self.take(struct.calcsize(form))))

    def tensor(self) -> Told:
        name, dimensions = self.text(MAX_NAME_BYTES), self.number("I")
        if not 1 <= dimensions <= MAX_DIMENSIONS:
            raise BadGguf(f"tensor {_shown(name)} has {dimensions} dimensions, and 1 to {MAX_DIMENSIONS} are possible")
        # From the innermost dimension on.
        shape = tuple(reversed([self.number("Q") for _ in range(dimensions)]))
        if not 1 <= prod(shape) <= MAX_NUMBERS:
            raise BadGguf(f"tensor {_shown(name)} has {prod(shape)} numbers, and 1 to {MAX_NUMBERS} are possible")
        return name, shape, self.number("I"), self.number("Q")


def _shown(value: object) -> str:
    """A value of the file as an error may show it: short, and without control characters."""
    return "missing" if value is None else ascii(value)[:60]
