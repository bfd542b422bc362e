"""EIP-712: the signed form of everything that a contract may ever read.

The type strings and the field order are those of the Solidity side; `tests/vectors/messages.json` holds both to it.
"""

import dataclasses
import functools
import re
from collections.abc import Callable
from typing import Any, TypeVar, cast

from coincurve import PrivateKey, PublicKey
from eth_abi.abi import encode as abi_encode
from eth_utils.crypto import keccak

from protocol.errors import BadSignature
from protocol.wire.ids import Address, Hash32, address_of

T = TypeVar("T")
DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
MAX_HASHED = 1_024
_HALF_ORDER = 0x7FFFFFFFFFFFFFFFFFFFFFFFFFFFFFFF5D576E7357A4501DDFE92F46681B20A0


@dataclasses.dataclass(frozen=True, slots=True)
class Domain:
    """The domain of a signature: one chain, one contract. Anywhere else it is worth nothing."""

    chain_id: int
    contract: Address

    @property
    def separator(self) -> bytes:
        """The EIP-712 domain separator, 32 bytes."""
        return _separator(self.chain_id, self.contract)


def typed(signature: str) -> Callable[[type[T]], type[T]]:
    """Class decorator: gives a dataclass its EIP-712 type, e.g. `@typed("Accept(bytes32 jobId,uint64 ackMs)")`.

    The fields of the class stand in the same order as those of the type.
    """

    def mark(cls: type[T]) -> type[T]:
        names = [re.sub(r"(?<!^)([A-Z])", r"_\1", part.split(" ")[1]).lower() for part in _members(signature)]
        assert names == [field.name for field in dataclasses.fields(cast(Any, cls))], f"{cls.__name__}: {names}"
        TYPES[cls] = signature
        return cls

    return mark


TYPES: dict[type[Any], str] = {}
"""The EIP-712 type of every signed message."""


# A message is hashed to sign it, to read its signer and to name it in a leaf or a case.
@functools.lru_cache(MAX_HASHED)
def struct_hash(message: Any) -> Hash32:
    """hashStruct of EIP-712, 32 bytes."""
    type_hash, kinds = _layout(TYPES[type(message)])
    values: list[Any] = [type_hash]
    for field, kind in zip(dataclasses.fields(message), kinds, strict=True):
        value = getattr(message, field.name)
        values.append(keccak(text=value) if kind == "string" else value)
    return Hash32(keccak(abi_encode(["bytes32", *("bytes32" if kind == "string" else kind for kind in kinds)], values)))


def digest(message: Any, domain: Domain) -> Hash32:
    """The digest that is signed: keccak(0x1901, domain separator, struct hash)."""
    return Hash32(keccak(b"\x19\x01" + domain.separator + struct_hash(message)))


def sign_digest(value: bytes, secret: bytes) -> bytes:
    """Sign 32 bytes; 65 bytes r, s, v with a low s and v 27 or 28."""
    raw = PrivateKey(secret).sign_recoverable(value, hasher=None)
    return raw[:64] + bytes([raw[64] + 27])


def recover(message: Any, signature: bytes, domain: Domain) -> Address:
    """The address that signed `message`.

    Raises: BadSignature if the bytes are no signature, or not in the one accepted form (low s, v 27 or 28).
    """
    if len(signature) != 65 or signature[64] not in (27, 28):
        raise BadSignature("a signature has 65 bytes and ends in 27 or 28")
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        raise BadSignature("malleable signature")
    try:
        key = PublicKey.from_signature_and_message(
            signature[:64] + bytes([signature[64] - 27]), digest(message, domain), hasher=None
        )
    except ValueError as error:
        raise BadSignature("no key made this signature") from error
    return address_of(key.format())


def require_signer(message: Any, signature: bytes, domain: Domain, signer: Address) -> None:
    """Raises: BadSignature unless `signer` signed `message`."""
    if recover(message, signature, domain) != signer:
        raise BadSignature(f"{type(message).__name__} is not signed by {signer}")


def is_signed_by(message: Any, signature: bytes, domain: Domain, signer: Address) -> bool:
    """Whether `signer` signed `message`."""
    try:
        return recover(message, signature, domain) == signer
    except BadSignature:
        return False


def compact(signature: bytes) -> tuple[bytes, bytes]:
    """The EIP-2098 form (r, vs) that the contracts take."""
    v = signature[64] - 27
    vs = int.from_bytes(signature[32:64], "big") | v << 255
    return signature[:32], vs.to_bytes(32, "big")


def _members(signature: str) -> list[str]:
    return signature[signature.index("(") + 1 : -1].split(",")


@functools.cache
def _layout(signature: str) -> tuple[bytes, tuple[str, ...]]:
    return keccak(text=signature), tuple(member.split(" ")[0] for member in _members(signature))


@functools.cache
def _separator(chain_id: int, contract: Address) -> bytes:
    return keccak(
        abi_encode(
            ["bytes32", "bytes32", "bytes32", "uint256", "address"],
            [keccak(text=DOMAIN_TYPE), keccak(text="VCoin"), keccak(text="1"), chain_id, contract],
        )
    )
