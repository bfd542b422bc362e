"""Transactions that are on their way: what was signed for which effect under which nonce, until it is final."""

from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from chain.rpc.ethereum import Call
from chain.tx.wallet import read_transaction
from protocol.effects import ChainEffect, effect_key
from protocol.wire.ids import Address, Hash32, Wei, checksum

FEE_RISE_PERCENT = 25
"""A replacement must pay at least a tenth more; a quarter is taken by every client."""

Purpose = tuple[bytes, Address | None, bytes]
"""An effect's name and the call that it is done by: a seal that came too late is re-armed by another call."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """A signed transaction as the journal keeps it before it is sent; `effect` is what it was sent for, if any."""

    sender: Address
    nonce: int
    raw: bytes
    hash: Hash32
    title: str
    effect: ChainEffect | None


Record = Callable[[Prepared], Awaitable[None]]
"""Keeps a transaction; it is broadcast when this returns."""


@dataclass(frozen=True, slots=True)
class Recorded:
    """A transaction as an earlier run recorded it: its bytes, and the key of the effect that it was sent for."""

    raw: bytes
    effect: bytes | None


@dataclass(frozen=True, slots=True)
class Fees:
    """Wei per gas: at most in all, and for the block's proposer."""

    most: int
    tip: int

    def replacing(self, market: "Fees", cap: int) -> "Fees | None":
        """The fees of a replacement: enough for every client's rule and for the next blocks; None above the cap."""
        most = max(_risen(self.most), market.most)
        tip = max(_risen(self.tip), market.tip)
        if most > cap:
            # The last step before the cap may be a small one.
            most = cap
            if most < self.most * 110 // 100 + 1:
                return None
        return Fees(most, min(tip, most))


@dataclass(frozen=True, slots=True)
class PendingTransaction:
    """A call to send, whatever it costs and under whichever nonce; `effect_key` is None for a person's own call."""

    call: Call
    gas: int
    effect: ChainEffect | None
    effect_key: bytes | None

    @property
    def purpose(self) -> Purpose | None:
        """The identity of an ask; a person who pays twice means two payments."""
        return purpose_of(self.call, self.effect_key)


@dataclass(slots=True)
class NonceSlot:
    """One nonce: a pending transaction, and each transaction that was signed for it, the newest last."""

    pending: PendingTransaction
    nonce: int
    fees: Fees
    raws: list[bytes]
    hashes: list[Hash32]
    followed: int = 0
    """How many wait for it; with none, the sender looks after it by itself."""
    risen_at: float = 0.0
    told: bool = False
    """Whether it was said that it has come to the cap."""


def purpose_of(call: Call, key: bytes | None) -> Purpose | None:
    """See PendingTransaction.purpose."""
    return None if key is None else (key, call.to, call.data)


def key_of(effect: ChainEffect | None) -> bytes | None:
    """An effect's name; None for none."""
    return None if effect is None else effect_key(effect)


def restore(recorded: Sequence[Recorded], sender: Address, first: int) -> Iterator[NonceSlot]:
    """The nonce slots of a key from nonce `first` on, in their order.

    A nonce may have been recorded twice, if an endpoint refused the first transaction; then the last one counts.
    """
    found: dict[int, NonceSlot] = {}
    for each in recorded:
        by, transaction_hash, fields = _read(each.raw)
        nonce = int(fields["nonce"])
        if by != sender or nonce < first:
            continue
        to = fields.get("to")
        call = Call(
            f"the transaction with nonce {nonce}",
            checksum(f"0x{bytes(to).hex()}") if to else None,
            bytes(fields["data"]),
            Wei(int(fields["value"])),
        )
        pending = PendingTransaction(call, int(fields["gas"]), None, each.effect)
        fees = Fees(int(fields["maxFeePerGas"]), int(fields["maxPriorityFeePerGas"]))
        before = found.get(nonce)
        if before is None or before.pending != pending:
            found[nonce] = NonceSlot(pending, nonce, fees, [each.raw], [transaction_hash])
        else:
            before.fees = fees
            before.raws.append(each.raw)
            before.hashes.append(transaction_hash)
    return iter(found[nonce] for nonce in sorted(found))


def _read(raw: bytes) -> tuple[Address, Hash32, dict[str, Any]]:
    from eth_account.typed_transactions.typed_transaction import TypedTransaction
    from eth_utils.crypto import keccak
    from hexbytes import HexBytes

    fields: dict[str, Any] = dict(TypedTransaction.from_bytes(HexBytes(raw)).as_dict())
    return read_transaction(raw)[0], Hash32(keccak(raw)), fields


def _risen(fee: int) -> int:
    return fee * (100 + FEE_RISE_PERCENT) // 100 + 1
