"""The interface of one contract as its ABI file says it: calls, results, logs and refusals as bytes and back.

Values are plain Python: addresses with their checksum, bytes, integers, and tuples for structs and lists. An argument
may also be a dataclass with the fields of a struct.
"""

import functools
import json
from collections.abc import Sequence
from dataclasses import dataclass, fields, is_dataclass
from importlib.resources import files
from typing import Any

from eth_abi.abi import decode, encode
from eth_abi.exceptions import DecodingError
from eth_utils.address import is_hex_address, to_checksum_address
from eth_utils.crypto import keccak

from chain.abi.enums import BY_NAME
from protocol.errors import ChainError

CONTRACTS = (
    "VCoin",
    "Timelock",
    "Params",
    "EpochBeacon",
    "StakeManager",
    "Settlement",
    "Court",
    "Guardian",
    "FraudProofs",
    "Audits",
)
"""In the order in which they are deployed."""
INTERFACES = (*CONTRACTS, "Panel")
"""Court makes its Panel itself."""
_PANICS = {
    0x01: "an assertion failed",
    0x11: "arithmetic overflow",
    0x12: "division by zero",
    0x21: "a number that is no such enum",
    0x32: "index out of range",
}
_ERROR_STRING = keccak(text="Error(string)")[:4]
_PANIC = keccak(text="Panic(uint256)")[:4]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One input or output: its name, its ABI type in full, and the Solidity type that it was declared with."""

    name: str
    kind: str
    declared: str
    indexed: bool = False


@dataclass(frozen=True, slots=True)
class Function:
    """One function; names are unique in our contracts, so a name finds it."""

    name: str
    selector: bytes
    inputs: tuple[Parameter, ...]
    outputs: tuple[Parameter, ...]

    def encode(self, arguments: Sequence[Any]) -> bytes:
        """Calldata of a call.

        Raises: eth_abi's EncodingError if an argument is not of its type: a bug of ours.
        """
        return self.selector + _encoded(self.inputs, arguments)

    def decode_input(self, data: bytes) -> tuple[Any, ...]:
        """The arguments of calldata that may come from anyone.

        Raises: ValueError if it is not a call of this function.
        """
        if data[:4] != self.selector:
            raise ValueError(f"not a call of {self.name}")
        return _values(self.inputs, data[4:])

    def tell(self, data: bytes) -> str:
        """Calldata of this function in words; what cannot be read is left out."""
        try:
            values = self.decode_input(data)
        except ValueError:
            return f"{self.name}(0x{data[4:40].hex()}...)"
        shown = (f"{each.name}={value_in_words(value)}" for each, value in zip(self.inputs, values, strict=True))
        return f"{self.name}({', '.join(shown)})"

    def decode_output(self, data: bytes) -> tuple[Any, ...]:
        """The results of a call.

        Raises: ValueError if the contract answered with something else.
        """
        return _values(self.outputs, data)


@dataclass(frozen=True, slots=True)
class EventLayout:
    """One kind of log."""

    name: str
    topic: bytes
    inputs: tuple[Parameter, ...]

    def topics_of(self, indexed: dict[str, Any]) -> list[list[bytes] | None]:
        """The topics of logs in which the parameters named have these values; None: any value, none at the end."""
        found: list[list[bytes] | None] = [[self.topic]]
        found += [
            [encode([each.kind], [indexed[each.name]])] if each.name in indexed else None
            for each in self.inputs
            if each.indexed
        ]
        while found[-1] is None:
            found.pop()
        return found

    def decode(self, topics: Sequence[bytes], data: bytes) -> tuple[Any, ...]:
        """The values of a log in the order of the declaration.

        Raises: ValueError if the log has another shape.
        """
        indexed = [each for each in self.inputs if each.indexed]
        if len(topics) != len(indexed) + 1:
            raise ValueError(f"{self.name}: {len(topics)} topics")
        plain = iter(_values([each for each in self.inputs if not each.indexed], data))
        marked = iter(
            _values([each], topic)[0] if "(" not in each.kind and not each.kind.endswith("]") else topic
            for each, topic in zip(indexed, topics[1:], strict=True)
        )
        return tuple(next(marked if each.indexed else plain) for each in self.inputs)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A custom error as it was declared."""

    name: str
    inputs: tuple[Parameter, ...]

    def tell(self, data: bytes) -> str:
        """The error as a sentence for people, `data` without its selector."""
        shown = [_shown(each, value) for each, value in zip(self.inputs, _values(self.inputs, data), strict=True)]
        return f"{self.name}({', '.join(shown)})"


@dataclass(eq=False, repr=False)
class Interface:
    """The functions, errors, events and bytecode of a contract.

    bytecode: what creates it. runtime: what is on the chain then. immutables: start and length in bytes of what the
    constructor writes into that.
    """

    name: str
    abi: Sequence[dict[str, Any]]
    bytecode: bytes = b""
    runtime: bytes = b""
    immutables: Sequence[tuple[int, int]] = ()

    def __post_init__(self) -> None:
        self.functions: dict[str, Function] = {}
        self.events: dict[bytes, EventLayout] = {}
        self.refusals: dict[bytes, Refusal] = {}
        self.constructor: tuple[Parameter, ...] = ()
        for entry in self.abi:
            self._add(entry)

    def _add(self, entry: dict[str, Any]) -> None:
        inputs = tuple(_parameter(each) for each in entry.get("inputs", ()))
        name = entry.get("name", "")
        hashed = keccak(text=f"{name}({','.join(each.kind for each in inputs)})")
        match entry["type"]:
            case "function":
                outputs = tuple(_parameter(each) for each in entry["outputs"])
                self.functions[name] = Function(name, hashed[:4], inputs, outputs)
            case "event":
                self.events[hashed] = EventLayout(name, hashed, inputs)
            case "error":
                self.refusals[hashed[:4]] = Refusal(name, inputs)
            case "constructor":
                self.constructor = inputs

    def encode_deployment(self, arguments: Sequence[Any]) -> bytes:
        """Creation code with its arguments."""
        return self.bytecode + _encoded(self.constructor, arguments)

    def is_code(self, code: bytes) -> bool:
        """Whether this is the contract's code on a chain, whatever its constructor was given."""
        return len(code) == len(self.runtime) > 0 and self._masked(code) == self._masked(self.runtime)

    def _masked(self, code: bytes) -> bytes:
        masked = bytearray(code)
        for start, length in self.immutables:
            masked[start : start + length] = bytes(length)
        return bytes(masked)


@functools.cache
def interface(name: str) -> Interface:
    """The interface of one of INTERFACES.

    Raises: ChainError if this installation lacks its file.
    """
    source = files("chain") / "abi" / f"{name}.json"
    try:
        artifact = json.loads(source.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ChainError(f"chain/abi/{name}.json is missing: run scripts/compile_contracts.py") from error
    return Interface(
        name,
        artifact["abi"],
        bytes.fromhex(artifact["bytecode"].removeprefix("0x")),
        bytes.fromhex(artifact["runtime"].removeprefix("0x")),
        [(start, length) for start, length in artifact["immutables"]],
    )


def call_in_words(data: bytes) -> str:
    """Calldata to one of our contracts in words: addClass(...); "" if none of them has the function."""
    for name in INTERFACES:
        for function in interface(name).functions.values():
            if data[:4] == function.selector:
                return function.tell(data)
    return ""


def value_in_words(value: Any) -> str:
    """A value of a call: bytes in hex or, where they are a call themselves, in words."""
    if isinstance(value, bytes):
        if len(value) <= 32:
            return f"0x{value.hex()}"
        return call_in_words(value) or f"0x{value[:8].hex()}... ({len(value)} bytes)"
    if isinstance(value, tuple | list):
        return f"({', '.join(value_in_words(item) for item in value)})"
    return str(value)


def refusal_of(data: bytes) -> str:
    """Revert data in words, a sentence that starts with the name of the error."""
    if not data:
        return "the contract refused without a reason"
    selector, rest = data[:4], data[4:]
    try:
        if selector == _ERROR_STRING:
            return str(decode(["string"], rest)[0])
        if selector == _PANIC:
            (code,) = decode(["uint256"], rest)
            return f"Panic({_PANICS.get(code, hex(code))})"
        for name in INTERFACES:
            if known := interface(name).refusals.get(selector):
                return known.tell(rest)
    except (ValueError, OverflowError, DecodingError):
        pass
    return f"an error that none of the contracts declares (0x{data.hex()[:72]})"


def _parameter(entry: dict[str, Any]) -> Parameter:
    return Parameter(
        entry.get("name", ""), _kind(entry), entry.get("internalType", entry["type"]), entry.get("indexed", False)
    )


def _kind(entry: dict[str, Any]) -> str:
    kind: str = entry["type"]
    if not kind.startswith("tuple"):
        return kind
    return f"({','.join(_kind(part) for part in entry['components'])}){kind.removeprefix('tuple')}"


def _encoded(parameters: Sequence[Parameter], arguments: Sequence[Any]) -> bytes:
    return encode([each.kind for each in parameters], _plain(arguments))


def _plain(value: Any) -> Any:
    if is_dataclass(value):
        return [_plain(getattr(value, each.name)) for each in fields(value)]
    return [_plain(item) for item in value] if isinstance(value, tuple | list) else value


def _values(parameters: Sequence[Parameter], data: bytes) -> tuple[Any, ...]:
    kinds = [each.kind for each in parameters]
    try:
        return tuple(_checksummed(value) for value in decode(kinds, data))
    except (DecodingError, OverflowError) as error:
        raise ValueError(f"not ({','.join(kinds)})") from error


def _checksummed(value: Any) -> Any:
    """Addresses with their checksum: eth_abi gives them in lower case. Nothing else but a string may look like one."""
    if isinstance(value, tuple | list):
        return tuple(_checksummed(item) for item in value)
    if isinstance(value, str) and is_hex_address(value):
        return to_checksum_address(value)
    return value


def _shown(parameter: Parameter, value: Any) -> str:
    if kind := BY_NAME.get(parameter.declared.removeprefix("enum ")):
        value = kind(value).name.lower() if value in list(kind) else value
    elif isinstance(value, bytes):
        value = f"0x{value.hex()}"
    return f"{parameter.name}={value}" if parameter.name else str(value)
