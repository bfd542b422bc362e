"""The keys of this machine and what each of them signs.

The operator key is the node: offers, promises, results, gossip frames, transactions. The client key spends a client's
money: requests, payment orders, receipts, lanes.
"""

import hashlib
from dataclasses import dataclass, field
from typing import Any

from coincurve import PrivateKey

from protocol.errors import ChainError
from protocol.messages import Signable
from protocol.stages.assignment import Accept, Assignment, LaneOpen, OperatorConsent, Refuse
from protocol.stages.commitment import Receipt, Result
from protocol.stages.offer import Offer
from protocol.stages.request import Request
from protocol.stages.stop_order import StopOrder
from protocol.wire.envelope import Domain, digest, sign_digest
from protocol.wire.ids import Address, Hash32, PeerId, address_of, checksum, peer_id_of


@dataclass(frozen=True, slots=True)
class SignedTransaction:
    """A transaction as it is broadcast, and the hash it will be known by."""

    raw: bytes
    hash: Hash32


@dataclass(frozen=True, slots=True)
class Key:
    """A secp256k1 key in memory; its secret is in no repr."""

    secret: bytes = field(repr=False)
    public: bytes = field(init=False)
    address: Address = field(init=False)

    def __post_init__(self) -> None:
        """Raises: ValueError if the secret is no key."""
        if len(self.secret) != 32:
            raise ValueError("a key has 32 bytes")
        public = PrivateKey(self.secret).public_key.format()
        object.__setattr__(self, "public", public)
        object.__setattr__(self, "address", address_of(public))

    @property
    def peer_id(self) -> PeerId:
        """The libp2p id of the key."""
        return peer_id_of(self.public)

    def sign(self, message: Any, domain: Domain) -> bytes:
        """An EIP-712 signature of a typed message, 65 bytes."""
        return sign_digest(digest(message, domain), self.secret)

    def sign_frame(self, content: bytes) -> bytes:
        """A DER signature over sha256 of a gossip frame's signed bytes."""
        return PrivateKey(self.secret).sign(content, hasher=_sha256)

    def sign_transaction(self, fields: dict[str, Any]) -> SignedTransaction:
        """Sign an EIP-1559 transaction."""
        from eth_account import Account

        signed = Account.sign_transaction(fields, self.secret)
        return SignedTransaction(bytes(signed.raw_transaction), Hash32(bytes(signed.hash)))


class Wallet:
    """The operator key, the client's key where this machine asks for jobs, and where their signatures count."""

    def __init__(self, operator: Key, domain: Domain, client: Key | None = None) -> None:
        self.operator = operator
        self.client = client
        self.domain = domain

    def sign(self, message: Signable) -> bytes:
        """Sign a message with the key that its kind belongs to. Raises: ChainError if this machine has no such key."""
        return self._key_of(message).sign(message, self.domain)

    def sign_frame(self, content: bytes) -> bytes:
        """A gossip frame, by the operator key."""
        return self.operator.sign_frame(content)

    def _key_of(self, message: Signable) -> Key:
        match message:
            case Offer() | Accept() | Refuse() | Result():
                return self.operator
            case Receipt() | StopOrder():
                return self._client()
            case Request(signer=signer) | Assignment(signer=signer) | LaneOpen(signer=signer):
                key = self._client()
                # A lane may also be opened by the client itself, not by its signer.
                if key.address != signer and not (isinstance(message, LaneOpen) and key.address == message.client):
                    raise ChainError(f"this machine's client key is {key.address}, the message wants {signer}")
                return key

    def _client(self) -> Key:
        if self.client is None:
            raise ChainError("this machine has no client key")
        return self.client


def read_transaction(raw: bytes) -> tuple[Address, int, bytes]:
    """The sender of a signed transaction, its nonce, and its bytes again."""
    from eth_account import Account
    from eth_account.typed_transactions.typed_transaction import TypedTransaction
    from hexbytes import HexBytes

    nonce: int = TypedTransaction.from_bytes(HexBytes(raw)).as_dict()["nonce"]
    return checksum(Account.recover_transaction(raw)), nonce, raw


def sign_consent(operator: Key, owner: Address, deadline: int, chain_id: int, stake_manager: Address) -> bytes:
    """The operator's agreement to be the node of `owner`, until `deadline` in seconds."""
    domain = Domain(chain_id, stake_manager)
    return operator.sign(OperatorConsent(owner, operator.address, deadline), domain)


def _sha256(content: bytes) -> bytes:
    return hashlib.sha256(content).digest()
