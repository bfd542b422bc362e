"""The frame of all vector files: names made from words, and how a case is written down.

Bytes are hex strings with 0x, amounts in wei and numbers from 2^53 on decimal strings, everything else plain numbers.
"""

import dataclasses
from enum import Enum
from pathlib import Path
from typing import Any

from eth_utils.crypto import keccak

from chain.contracts.profiles import camel
from protocol.wire.envelope import Domain
from protocol.wire.ids import Address, checksum

Case = dict[str, Any]
VECTORS = Path(__file__).resolve().parents[2] / "tests" / "vectors"
WEI = frozenset(
    (
        *("charge", "bonus", "price", "fee", "verify_fee", "bonus_cap", "order_total", "debit"),
        *("burned", "reward", "pooled", "seat_pay", "convene_pay", "stake", "recommended_stake"),
        *("path_charges", "path_bonuses"),
    )
)
"""The fields that are amounts."""


def word(name: str) -> bytes:
    """32 bytes that look random and are not."""
    return keccak(text=name)


def hexed(raw: bytes) -> str:
    """0x and lower-case hex."""
    return "0x" + raw.hex()


def address(name: str) -> Address:
    """An address that looks random and is not."""
    return checksum(hexed(word(name)[12:]))


DOMAIN = Domain(31_337, address("settlement"))


def case(*of: Any, **values: Any) -> Case:
    """One case: the fields of the dataclasses `of`, then the values, all with their names in camel case."""
    fields = {field.name: getattr(each, field.name) for each in of for field in dataclasses.fields(each)}
    return {camel(name): _form(value, name in WEI) for name, value in (fields | values).items()}


def _form(value: Any, is_wei: bool) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: _form(getattr(value, field.name), False) for field in dataclasses.fields(value)}
    if isinstance(value, list | tuple):
        return [_form(each, is_wei) for each in value]
    if isinstance(value, bytes):
        return hexed(value)
    if isinstance(value, Enum):
        return value.value
    is_large = isinstance(value, int) and value >= 2**53
    return str(value) if is_wei or is_large else value
