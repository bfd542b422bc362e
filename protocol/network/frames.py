"""Gossip frames: what an author signs, and how frames, digests and wants of them look between neighbours."""

import functools
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from coincurve import PublicKey

from protocol.errors import BadSignature
from protocol.wire import codec
from protocol.wire.codec import U64, Size
from protocol.wire.names import by_name, wire_class

SIGNING_PREFIX = b"vcoin/frame/1"
ID_BYTES = 16
MAX_BODY_BYTES = 1_024
MAX_CONTENT_BYTES = 1_152
"""The longest body, and 128 bytes for everything around it."""
MAX_SIGNATURE_BYTES = 72
MAX_BATCH_BYTES = 256 * 1024
MAX_IDS = 4_096
MAX_KEYS = 4_096
"""Authors whose keys are kept unpacked: unpacking costs a fifth of a check, and an author signs again and again."""
_unpacked = functools.lru_cache(MAX_KEYS)(PublicKey)

FrameId = bytes
"""blake2b-16 of the signed bytes: names a frame whatever its signature looks like."""
Sign = Callable[[bytes], bytes]
"""Signs sha256 of a message with the author's key; returns DER."""


class Topic(StrEnum):
    """The topic of a frame. Heartbeats are state: a newer one replaces an older; the others are events."""

    HEARTBEAT = "hb"
    REQUEST = "req"
    NOTICE = "ev"


@dataclass(frozen=True, slots=True)
class Content:
    """The text that the author signs.

    chain_id and settlement name the network; author is a compressed public key; seq rises with every frame of an
    author; ts_ms is when it was made.
    """

    chain_id: U64
    settlement: Annotated[bytes, Size(20, exact=True)]
    topic: Topic
    author: Annotated[bytes, Size(33, exact=True)]
    seq: U64
    ts_ms: U64
    body: Annotated[bytes, Size(MAX_BODY_BYTES)]


@dataclass(frozen=True, slots=True)
class Signed:
    """An encoded Content, as its author sent it, and the DER signature over it."""

    content: Annotated[bytes, Size(MAX_CONTENT_BYTES)]
    signature: Annotated[bytes, Size(MAX_SIGNATURE_BYTES)]

    @property
    def size(self) -> int:
        """Bytes it takes in a batch, at most."""
        return len(self.content) + len(self.signature) + 7


@wire_class("Frames")
class Frames:
    """A batch of frames, the usual thing between neighbours."""

    frames: tuple[Signed, ...]


@wire_class("Digest")
class Digest:
    """The ids of frames that the sender holds, joined."""

    ids: Annotated[bytes, Size(ID_BYTES * MAX_IDS)]


@wire_class("Want")
class Want:
    """The ids of frames that the sender lacks, joined."""

    ids: Annotated[bytes, Size(ID_BYTES * MAX_IDS)]


Batch = Frames | Digest | Want
_BATCHES = by_name((Frames, Digest, Want))


def frame_id(content: bytes) -> FrameId:
    """The id of the frame with this encoded content."""
    return hashlib.blake2b(SIGNING_PREFIX + content, digest_size=ID_BYTES).digest()


def sign_content(content: Content, sign: Sign) -> Signed:
    """Encode and sign."""
    encoded = codec.encode(content)
    return Signed(encoded, sign(SIGNING_PREFIX + encoded))


def read_content(signed: Signed) -> Content:
    """Decode; the signature is not looked at.

    Raises: Malformed.
    """
    return codec.decode(Content, signed.content, MAX_CONTENT_BYTES)


def require_signed(signed: Signed, author: bytes) -> None:
    """Check that `author` signed it.

    Raises: BadSignature, also for an author that is no point of the curve.
    """
    require_author(author, signed.signature, SIGNING_PREFIX + signed.content, "a frame")


def require_author(author: bytes, signature: bytes, message: bytes, what: str) -> None:
    """As `require_signed`, for whatever an author signs with the key of its frames; `what` names it in the error."""
    try:
        valid = _unpacked(author).verify(signature, message)
    except ValueError as error:
        raise BadSignature(f"{what}'s key or signature is none") from error
    if not valid:
        raise BadSignature(f"{what} is not by its author")


def encode_batch(batch: Batch) -> bytes:
    """As it goes over a stream between neighbours."""
    return codec.encode_named(batch)


def decode_batch(data: bytes) -> Batch:
    """Read what a neighbour sent.

    Raises: TooLarge, Malformed.
    """
    batch: Batch = codec.decode_named(_BATCHES, data, MAX_BATCH_BYTES)
    return batch


def split_ids(joined: bytes) -> tuple[FrameId, ...]:
    """The ids of a Digest or a Want; an incomplete one at the end is left out."""
    return tuple(joined[at : at + ID_BYTES] for at in range(0, len(joined) - ID_BYTES + 1, ID_BYTES))
