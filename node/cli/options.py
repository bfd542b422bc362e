"""What all commands have in common: their look in --help, and the options that each of them takes."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import App, Parameter

from node.api.faults import Fault

Flag = Callable[[str], Any]


def noun(name: str, words: str) -> App:
    """A command with sub-commands."""
    return App(name=name, help=words, help_format="plaintext", version_flags=())


@Parameter(name="*")
@dataclass(frozen=True)
class Common:
    """Options of every command."""

    json: Annotated[bool, Parameter(negative="")] = False
    """Print JSON to stdout."""
    data_dir: Path | None = None
    """The node's data directory (else VCOIN_NODE_DATA_DIR, else ~/.vcoin)."""


COMMON = Common()


def coins(_type: Any, tokens: Any) -> int:
    """An amount in VCN, as people write it, in wei. Raises: ValueError, which becomes a usage error."""
    return wei_of(tokens[0].value)


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


Coins = Annotated[int, Parameter(converter=coins, metavar="VCN")]
"""An amount in VCN on the command line, in wei in the code."""


def address(_type: Any, tokens: Any) -> str:
    """An address of the chain, with its checksum. Raises: ValueError, which becomes a usage error."""
    from protocol.wire.ids import checksum

    text: str = tokens[0].value
    try:
        return checksum(text)
    except ValueError as error:
        raise ValueError(f"{text!r} is no address: 0x and 40 hexadecimal digits") from error


AddressOf = Annotated[str, Parameter(converter=address, metavar="ADDRESS")]
"""An address on the command line."""

Yes = Annotated[bool, Parameter(name=["--yes", "-y"], negative="")]
DryRun = Annotated[bool, Parameter(negative="")]


def require_one(chosen: dict[str, bool]) -> None:
    """Exactly one of several ways to say it. Raises: Fault bad_request."""
    if sum(chosen.values()) != 1:
        raise Fault("bad_request", f"give one of {', '.join(chosen)}")
