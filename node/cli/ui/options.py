"""The common part of all commands: their look in --help, and the options that each of them takes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import App, Parameter

from node.api.faults import Fault
from node.api.prefix import PLUS

if TYPE_CHECKING:
    from protocol.wire.ids import Address
else:
    # The type is a text at run time, and its import would take longer than a command.
    Address = str

Flag = Annotated[bool, Parameter(negative="")]


def noun(name: str, words: str) -> App:
    """A command with sub-commands."""
    return App(name=name, help=words, help_format="plaintext", version_flags=())


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Options of every command."""

    json: Flag = False
    """Print JSON to stdout."""
    data_dir: Path | None = None
    """The node's data directory (else VCOIN_NODE_DATA_DIR, else ~/.vcoin)."""


COMMON = Common()


@Parameter(name="*")
@dataclass(frozen=True)
class AskedModel:
    """The model that is to do a job."""

    model: str
    """A model's name, or its id or a prefix of it."""
    adapter: str = ""
    """A LoRA adapter of that model, by its name or the beginning of its hash: vcoin model show."""

    @property
    def name(self) -> str:
        """Both in one word, as the daemon reads it."""
        return f"{self.model}{PLUS}{self.adapter}" if self.adapter else self.model


def converter(read: Callable[[str], Any]) -> Callable[[Any, Any], Any]:
    """Reads the word of an option. A ValueError of `read` becomes a usage error."""
    return lambda _type, tokens: read(tokens[0].value)


def wei_of(text: str) -> int:
    """An amount in VCN in wei. Raises: ValueError unless it is one, above 0, with at most 18 decimals."""
    whole, dot, rest = text.partition(".")
    digits = whole + rest
    if not digits.isascii() or not digits.isdigit() or len(rest) > 18 or (dot and not rest):
        raise ValueError(f"{text!r} is no amount in VCN, for example 2.5")
    wei = int(whole or "0") * 10**18 + int(rest.ljust(18, "0"))
    if not 0 < wei < 2**96:
        raise ValueError(f"{text!r} is no amount in VCN: it must be above 0 and below 79,000,000,000")
    return wei


Coins = Annotated[int, Parameter(converter=converter(wei_of), metavar="VCN")]
"""An amount in VCN on the command line, in wei in the code."""


def address(text: str) -> Address:
    """An address of the chain, with its checksum. Raises: ValueError."""
    from protocol.wire.ids import checksum

    try:
        return checksum(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no address: 0x and 40 hexadecimal digits") from error


AddressOf = Annotated[Address, Parameter(converter=converter(address), metavar="ADDRESS")]
"""An address on the command line."""


def addresses(_type: Any, tokens: Any) -> tuple[Address, ...]:
    """Several addresses, each as `address` reads it."""
    return tuple(address(token.value) for token in tokens)


AddressesOf = Annotated[tuple[Address, ...], Parameter(converter=addresses, metavar="ADDRESS", negative="")]
"""Addresses on the command line, each after its own flag."""


def percent(text: str) -> int:
    """A share as people write it, 12.5, in basis points. Raises: ValueError."""
    whole, _, rest = text.removesuffix("%").partition(".")
    digits = whole + rest.ljust(2, "0")
    if not whole.isascii() or not digits.isascii() or not digits.isdigit() or len(rest) > 2 or int(digits) > 10_000:
        raise ValueError(f"{text!r} is no share: a number from 0 to 100, for example 12.5")
    return int(digits)


Percent = Annotated[int, Parameter(converter=converter(percent), metavar="PERCENT")]
"""A share on the command line, in basis points in the code."""

_UNIT_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def seconds(text: str) -> int:
    """A time span as people write it, 36h, in seconds. Raises: ValueError."""
    count, unit = text[:-1], text[-1:]
    if not count.isascii() or not count.isdigit() or unit not in _UNIT_SECONDS or not 0 < int(count) < 2**31:
        raise ValueError(f"{text!r} is no time span: a number and one of s, m, h, d, for example 36h")
    return int(count) * _UNIT_SECONDS[unit]


Seconds = Annotated[int, Parameter(converter=converter(seconds), metavar="SPAN")]
"""A time span on the command line, in seconds in the code."""


def class_ids(text: str) -> tuple[int, ...]:
    """Device classes as people write them: 1,2. Raises: ValueError."""
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and 1 <= int(part) <= 31 for part in parts):
        raise ValueError(f"{text!r} names no device classes: numbers from 1 to 31, for example 1,2")
    return tuple(sorted({int(part) for part in parts}))


ClassIds = Annotated[tuple[int, ...], Parameter(converter=converter(class_ids), metavar="A,B", n_tokens=1)]
"""Device classes on the command line."""

Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="")]
DryRun = Flag


def require_one(chosen: dict[str, bool]) -> None:
    """Exactly one of several ways to say it. Raises: Fault bad_request."""
    if sum(chosen.values()) != 1:
        raise Fault("bad_request", f"give one of {', '.join(chosen)}")
