"""Requests: what a client asks for, without the input, small enough to be gossiped to everybody."""

from dataclasses import dataclass

from protocol.errors import Stale
from protocol.params import MAX_INPUT_BYTES, MAX_MEMORY_CEILING, MAX_NEW_TOKENS, MAX_UNITS, TIMEOUT_CEILING_MS
from protocol.wire.codec import U8, U16, U32, U40, U64, U96, Bytes32, Signature, Text
from protocol.wire.envelope import Domain, digest, typed
from protocol.wire.ids import Address, RequestId
from protocol.wire.names import wire_class

GENERATE = 0
"""Text from a chat."""
EMBED = 1
"""An embedding of each of several texts."""
CLASSIFY = 2
"""For each of several texts how well each of some labels fits it."""
KINDS = ("generate", "embed", "classify")
"""The kinds that are served, each by its number."""


@typed(
    "Request(address client,address signer,bytes32 manifest,uint8 kind,uint32 maxNewTokens,uint32 inputBytes,"
    "uint96 maxPrice,uint64 maxMemory,uint32 classes,uint32 timeoutMs,uint40 deadline,uint16 minReputation,"
    "string requesterPeer,uint64 nonce)"
)
@wire_class("Request")
class Request:
    """A client's order, signed by its signer.

    max_price in wei for all max_new_tokens, which are units of 32 tokens read where the kind writes none; classes is a
    mask, bit i for device class i; deadline in seconds for all attempts together; min_reputation in points;
    requester_peer is the multiaddr that offers go to.
    """

    client: Address
    signer: Address
    manifest: Bytes32
    kind: U8
    max_new_tokens: U32
    input_bytes: U32
    max_price: U96
    max_memory: U64
    classes: U32
    timeout_ms: U32
    deadline: U40
    min_reputation: U16
    requester_peer: Text
    nonce: U64

    def __post_init__(self) -> None:
        """Raises: ValueError if a number is outside of what any node would run."""
        if self.kind >= len(KINDS):
            raise ValueError(f"kind {self.kind} is not served")
        most = MAX_NEW_TOKENS if self.kind == GENERATE else MAX_UNITS
        if not 1 <= self.max_new_tokens <= most:
            raise ValueError(f"max_new_tokens is 1 to {most}")
        if not 1 <= self.input_bytes <= MAX_INPUT_BYTES:
            raise ValueError(f"the input is 1 to {MAX_INPUT_BYTES} bytes")
        if not 1_000 <= self.timeout_ms <= TIMEOUT_CEILING_MS:
            raise ValueError(f"timeout_ms is 1000 to {TIMEOUT_CEILING_MS}")
        if self.max_memory > MAX_MEMORY_CEILING:
            raise ValueError("max_memory is over 1 PiB")


@dataclass(frozen=True, slots=True)
class SignedRequest:
    """A Request as it is gossiped. `wide` asks nodes of every rank, after a first round without an offer."""

    request: Request
    signature: Signature
    wide: bool = False


def request_id(request: Request, domain: Domain) -> RequestId:
    """The EIP-712 digest: what the client calls the job."""
    return RequestId(digest(request, domain))


def require_fresh(request: Request, now_ms: int) -> None:
    """Raises: Stale if the deadline has passed."""
    if request.deadline * 1000 <= now_ms:
        raise Stale("the request has expired")


def accepts_class(mask: int, class_id: int) -> bool:
    """Whether a mask of device classes holds this one."""
    return class_id < 32 and bool(mask >> class_id & 1)
