"""The actors of a history, and the bytes of calls and looks: by the ABI, so that new fields do no harm."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from coincurve import PrivateKey
from eth_abi.abi import encode
from eth_utils.crypto import keccak

from protocol.stages.assignment import Assignment, LaneOpen, OperatorConsent
from protocol.wire.envelope import Domain, compact, digest, sign_digest
from protocol.wire.ids import Address, address_of
from scripts.setup.cache import REPOSITORY
from tests.proof.histories.rules import word_of

ABI = REPOSITORY / "chain" / "abi"
CHAIN_ID = 31337
CLASS = 1
VCN = 10**18


@functools.cache
def secret(name: str) -> bytes:
    return hashlib.sha256(b"history " + name.encode()).digest()


@functools.cache
def address(name: str) -> Address:
    """Of an actor of a history."""
    return address_of(PrivateKey(secret(name)).public_key.format())


@functools.cache
def functions(contract: str) -> dict[str, Any]:
    entries = json.loads((ABI / f"{contract}.json").read_text())["abi"]
    return {each["name"]: each for each in entries if each["type"] == "function"}


def _kind(parameter: Mapping[str, Any]) -> str:
    kind = str(parameter["type"])
    if not kind.startswith("tuple"):
        return kind
    return "(" + ",".join(map(_kind, parameter["components"])) + ")" + kind.removeprefix("tuple")


@functools.cache
def _signature(contract: str, name: str) -> tuple[bytes, tuple[str, ...]]:
    kinds = tuple(map(_kind, functions(contract)[name]["inputs"]))
    return keccak(text=f"{name}({','.join(kinds)})")[:4], kinds


def calldata(contract: str, name: str, *arguments: Any) -> bytes:
    """A struct may be a mapping by its members' names; those not named are zero."""
    selector, kinds = _signature(contract, name)
    inputs = functions(contract)[name]["inputs"]
    assert len(inputs) == len(arguments), f"{name} takes {len(inputs)} arguments"
    if all(kind.startswith("uint") or kind == "address" for kind in kinds):
        return selector + b"".join(map(word_of, arguments))
    return selector + encode(kinds, [_filled(each, value) for each, value in zip(inputs, arguments, strict=True)])


@functools.cache
def members(contract: str, name: str, *path: str) -> frozenset[str]:
    """The names of a struct's members, where it lies within the inputs of a function."""
    found = functions(contract)[name]["inputs"]
    for each in path:
        found = next(one for one in found if one["name"] == each)["components"]
    return frozenset(one["name"] for one in found)


def _filled(parameter: Mapping[str, Any], value: Any) -> Any:
    if parameter["type"].endswith("[]") and "components" in parameter:
        one = {**parameter, "type": parameter["type"][:-2]}
        return [_filled(one, each) for each in value]
    if parameter["type"] != "tuple":
        return value
    named = {each["name"]: each for each in parameter["components"]}
    assert value.keys() <= named.keys(), f"{value.keys() - named.keys()} is not a member"
    return tuple(_filled(each, value.get(name, _nothing(each))) for name, each in named.items())


def _nothing(parameter: Mapping[str, Any]) -> Any:
    kind = parameter["type"]
    if kind.startswith("bytes"):
        return bytes(int(kind[5:] or 0))
    return "0x" + 40 * "0" if kind == "address" else False if kind == "bool" else 0


@dataclass(frozen=True)
class Look:
    """A view and what single words of its answer must be."""

    contract: str
    data: bytes
    words: tuple[int, ...]
    values: tuple[bytes, ...]


def look(contract: str, name: str, *arguments: Any, **expected: int | str) -> Look:
    """`expected`: by the name of a struct's member; `value` is the one word of a view that has no other."""
    return Look(contract, calldata(contract, name, *arguments), *_expected(contract, name, tuple(expected), expected))


def _expected(
    contract: str, name: str, keys: tuple[str, ...], expected: Mapping[str, int | str]
) -> tuple[tuple[int, ...], tuple[bytes, ...]]:
    return _places(contract, name, keys), tuple(word_of(expected[key]) for key in keys)


@functools.cache
def _places(contract: str, name: str, keys: tuple[str, ...]) -> tuple[int, ...]:
    outputs = functions(contract)[name]["outputs"]
    members = outputs[0].get("components", outputs) if len(outputs) == 1 else outputs
    order = {each["name"]: index for index, each in enumerate(members)}
    if len(members) == 1:
        order["value"] = 0
    return tuple(order[key] for key in keys)


@dataclass(frozen=True)
class Step:
    """One call, when it is made, and what must be so afterwards. `hashed`: the block whose hash is `block_hash`."""

    time: int
    block: int
    sender: Address
    contract: str
    name: str
    data: bytes
    succeeds: bool
    words: str
    """For a person who must find out why."""
    looks: tuple[Look, ...] = ()
    hashed: int = 0
    block_hash: bytes = bytes(32)


@dataclass(frozen=True)
class Scene:
    """The addresses of the contracts."""

    contracts: Mapping[str, Address] = field(default_factory=dict)

    def domain(self, contract: str) -> Domain:
        return Domain(CHAIN_ID, self.contracts[contract])

    def order(self, signed: str, order: Assignment) -> tuple[bytes, bytes]:
        """A client's signature as a claim carries it."""
        return compact(sign_digest(digest(order, self.domain("Settlement")), _secret_of(signed)))

    def lane_message(self, signed: str, message: LaneOpen) -> bytes:
        return sign_digest(digest(message, self.domain("Settlement")), _secret_of(signed))

    def consent(self, operator: str, owner: Address, deadline: int) -> bytes:
        message = OperatorConsent(owner, address(operator), deadline)
        return sign_digest(digest(message, self.domain("StakeManager")), secret(operator))


_NAMES: dict[str, str] = {}


def actor(name: str) -> Address:
    """The address of an actor who will have to sign."""
    _NAMES[address(name)] = name
    return address(name)


def _secret_of(signer: str) -> bytes:
    return secret(_NAMES[signer])
