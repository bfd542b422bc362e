"""Identifiers: what a name on the wire is made of, and how one follows from another.

A node has one secp256k1 key. Its compressed public key gives both of its names: the libp2p PeerId under which
peers dial it, and the Ethereum address under which the contracts know it.
"""

import functools
import hashlib
from typing import NewType

from coincurve import PublicKey
from eth_utils.address import is_checksum_address, to_checksum_address
from eth_utils.crypto import keccak

Address = NewType("Address", str)
"""An Ethereum address with its EIP-55 checksum."""
PeerId = NewType("PeerId", str)
"""A libp2p peer id in base58."""
Hash32 = NewType("Hash32", bytes)
"""32 bytes: a keccak or sha256 digest that is none of the kinds below."""
JobId = NewType("JobId", bytes)
"""EIP-712 digest of an Assignment: one attempt of one request on one node."""
RequestId = NewType("RequestId", bytes)
"""EIP-712 digest of a Request: what the client calls the job."""
BatchId = NewType("BatchId", bytes)
"""keccak(node, slot, commit block): one batch; the case about it has the same id."""
Cid = NewType("Cid", bytes)
"""sha256 of some content: 32 bytes."""
Wei = NewType("Wei", int)
"""10^-18 VCN."""
TimestampMs = NewType("TimestampMs", int)
"""Milliseconds since 1970, UTC."""

ZERO_ADDRESS = Address("0x0000000000000000000000000000000000000000")
ZERO_HASH = Hash32(bytes(32))
MAX_CHECKED = 16_384
"""Addresses of which it is remembered whether their checksum is right."""

_BASE58 = "123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz"
# A libp2p id of a small key is the key itself: identity multihash, then the protobuf PublicKey{Type: Secp256k1}.
_SECP256K1_PEER = bytes.fromhex("002508021221")


def cid_of(content: bytes) -> Cid:
    """The content id of some bytes."""
    return Cid(hashlib.sha256(content).digest())


def address_of(public_key: bytes) -> Address:
    """The address of a secp256k1 key; `public_key` is 33 bytes, compressed, or 65."""
    point = PublicKey(public_key).format(compressed=False)
    return Address(to_checksum_address(keccak(point[1:])[12:]))


def peer_id_of(public_key: bytes) -> PeerId:
    """The libp2p id of a secp256k1 key; `public_key` is 33 bytes, compressed."""
    if len(public_key) != 33:
        raise ValueError(f"a compressed key has 33 bytes, not {len(public_key)}")
    return PeerId(_base58(_SECP256K1_PEER + public_key))


def public_key_of(peer_id: PeerId) -> bytes:
    """The compressed key that a PeerId carries.

    Raises: ValueError if the id is not one of a secp256k1 key.
    """
    raw = _from_base58(peer_id)
    if len(raw) != 39 or not raw.startswith(_SECP256K1_PEER):
        raise ValueError("not the id of a secp256k1 key")
    return raw[6:]


# Curve and keccak cost more than all the rest of a frame, and the same peers speak again and again.
@functools.lru_cache(MAX_CHECKED)
def operator_of(peer_id: PeerId) -> Address | None:
    """The address of the key that a PeerId carries; None if it carries no point of the curve."""
    try:
        return address_of(public_key_of(peer_id))
    except ValueError:
        return None


def checksum(text: str) -> Address:
    """Read an address in any case that is not a wrong checksum.

    Raises: ValueError if it is none.
    """
    address = Address(to_checksum_address(text))
    digits = text.removeprefix("0x").removeprefix("0X")
    if digits not in (digits.lower(), digits.upper()) and digits != address[2:]:
        raise ValueError(f"{text} has a wrong checksum: a digit was mistyped, or write it in small letters")
    return address


def is_address(text: str) -> bool:
    """Whether `text` is an address in its one accepted form."""
    return len(text) == len(ZERO_ADDRESS) and _has_checksum(text)


# The same few addresses come again and again, and the keccak of one costs as much as all the rest of a message.
@functools.lru_cache(MAX_CHECKED)
def _has_checksum(text: str) -> bool:
    return bool(is_checksum_address(text))


def address_bytes(address: Address) -> bytes:
    """The 20 bytes of an address."""
    return bytes.fromhex(address[2:])


def _base58(raw: bytes) -> str:
    number = int.from_bytes(raw, "big")
    digits = ""
    while number:
        number, digit = divmod(number, 58)
        digits = _BASE58[digit] + digits
    return "1" * (len(raw) - len(raw.lstrip(b"\0"))) + digits


def _from_base58(text: str) -> bytes:
    if len(text) > 128:
        raise ValueError("too long for a peer id")
    number = 0
    for character in text:
        number = number * 58 + _BASE58.index(character)
    zeros = len(text) - len(text.lstrip("1"))
    return bytes(zeros) + number.to_bytes((number.bit_length() + 7) // 8, "big")
