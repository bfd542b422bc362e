"""Transactions: who owns a key's nonces, what it pays, the record before the broadcast, the wait for the receipt."""

import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import trio

from chain.ethereum import Call, Ethereum, Receipt, refused
from chain.rpc import RpcRefusal
from chain.wallet import Key, SignedTransaction, read_transaction
from protocol.effects import ChainEffect
from protocol.errors import ChainError, Reverted
from protocol.wire.ids import Address, Hash32, Wei

log = logging.getLogger(__name__)
GAS_MARGIN_PERCENT = 20
"""Above the estimate: state may move between the estimate and the block."""
ETHER = 10**18
DEFAULT_TIP = Wei(10**9)
FEE_RISE_PERCENT = 25
"""A replacement must pay at least a tenth more; a quarter is taken by every client."""
RISE_AFTER_S = 60.0
DEADLINE_S = 300.0
NONCE_TRIES = 3
TAKEN_POLLS = 3
"""Endpoints behind one name may know a nonce before they know the receipt."""


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
class _Fees:
    most: int
    tip: int

    def raised(self) -> "_Fees":
        return _Fees(
            self.most * (100 + FEE_RISE_PERCENT) // 100 + 1,
            self.tip * (100 + FEE_RISE_PERCENT) // 100 + 1,
        )


@dataclass(frozen=True, slots=True)
class _Order:
    """What is to be sent, whatever it costs and under whichever nonce."""

    call: Call
    gas: int
    effect: ChainEffect | None


class Sender:
    """Sends the transactions of one key, in the order of their nonces. There is one sender for each key."""

    def __init__(
        self,
        ethereum: Ethereum,
        key: Key,
        record: Record,
        *,
        poll_s: float = 0.5,
        rise_after_s: float = RISE_AFTER_S,
        deadline_s: float = DEADLINE_S,
    ) -> None:
        self.address = key.address
        self._ethereum = ethereum
        self._key = key
        self._record = record
        self._poll_s = poll_s
        self._rise_after_s = rise_after_s
        self._deadline_s = deadline_s
        self._nonces = trio.Lock()
        self._flying: set[int] = set()

    async def send(self, call: Call, effect: ChainEffect | None = None) -> Receipt:
        """Estimate, sign, record, broadcast, and wait until it is in a block.

        Raises: Reverted if the contract refuses it, before or after it is sent; ChainError, transient, if it is in no
        block after the deadline or no endpoint answers.
        """
        estimate = await self._ethereum.estimate(call, self.address)
        gas = estimate * (100 + GAS_MARGIN_PERCENT) // 100
        fees = await self._fees()
        order = _Order(call, gas, effect)
        await self._require_gas_money(order, fees)
        nonce, signed = await self._launch(order, fees)
        try:
            receipt = await self._follow(order, fees, nonce, signed)
        finally:
            self._flying.discard(nonce)
        if not receipt.succeeded:
            raise await self._why_reverted(order, receipt)
        log.debug("transaction mined", extra={"call": call.title, "block": receipt.block, "gas": receipt.gas_used})
        return receipt

    async def resume(self, recorded: Sequence[bytes]) -> None:
        """Send again what an earlier run recorded, in the order of recording, and no block has yet; then wait for it.

        Transactions of other keys are left alone.

        Raises: ChainError, transient, if no endpoint answers.
        """
        mined = await self._ethereum.nonce(self.address)
        own = [(nonce, raw) for sender, nonce, raw in map(read_transaction, recorded) if sender == self.address]
        waiting = [(nonce, raw) for nonce, raw in own if nonce >= mined]
        for nonce, raw in waiting:
            try:
                await self._ethereum.broadcast(raw)
                log.info("transaction sent again", extra={"sender": self.address, "nonce": nonce})
            except RpcRefusal as error:
                log.warning("transaction given up", extra={"nonce": nonce, "reason": str(error)})
        with trio.move_on_after(self._rise_after_s):
            last = max((nonce for nonce, _ in waiting), default=-1)
            while True:
                if await self._ethereum.nonce(self.address) > last:
                    return
                await trio.sleep(self._poll_s)

    async def _require_gas_money(self, order: _Order, fees: _Fees) -> None:
        """Before anything is signed: what is recorded but cannot be paid would come up again at every start."""
        needed = order.gas * fees.most + order.call.value
        held = await self._ethereum.balance(self.address)
        if held < needed:
            lack = f"{held / ETHER:.6f}, needed {needed / ETHER:.6f}"
            raise ChainError(f"{order.call.title}: {self.address} has too little for gas: {lack}")

    async def _launch(self, order: _Order, fees: _Fees) -> tuple[int, SignedTransaction]:
        """Take a nonce, record, broadcast. The lock makes nonces leave in their order."""
        async with self._nonces:
            for _ in range(NONCE_TRIES):
                # Asked anew each time: a reorganisation or another program may have moved it either way. Endpoints may
                # be late to count what we have just sent.
                counted = await self._ethereum.nonce(self.address, "pending")
                nonce = max(counted, max(self._flying, default=-1) + 1)
                signed = await self._prepare(order, fees, nonce)
                try:
                    await self._ethereum.broadcast(signed.raw)
                except RpcRefusal as error:
                    if not _nonce_taken(error):
                        raise refused(order.call, error) from error
                    log.warning("nonce taken", extra={"sender": self.address, "nonce": nonce})
                    continue
                self._flying.add(nonce)
                return nonce, signed
        raise ChainError(f"{order.call.title}: another program sends transactions with this key", transient=True)

    async def _follow(self, order: _Order, fees: _Fees, nonce: int, signed: SignedTransaction) -> Receipt:
        """Wait for the receipt of the transaction or of one that pays more for the same nonce."""
        hashes = [signed.hash]
        deadline = trio.current_time() + self._deadline_s
        rise_at = trio.current_time() + self._rise_after_s
        taken = 0
        while True:
            taken = taken + 1 if await self._ethereum.nonce(self.address) > nonce else 0
            for transaction in hashes:
                if receipt := await self._ethereum.receipt(transaction):
                    return receipt
            if taken >= TAKEN_POLLS:
                raise ChainError(f"{order.call.title}: another transaction took its nonce {nonce}", transient=True)
            now = trio.current_time()
            if now > deadline:
                raise ChainError(f"{order.call.title} is in no block after {self._deadline_s:.0f} s", transient=True)
            if now > rise_at:
                fees, rise_at = fees.raised(), now + self._rise_after_s
                hashes.append(await self._replace(order, fees, nonce))
            await trio.sleep(self._poll_s)

    async def _replace(self, order: _Order, fees: _Fees, nonce: int) -> Hash32:
        signed = await self._prepare(order, fees, nonce)
        call = order.call.title
        try:
            await self._ethereum.broadcast(signed.raw)
            log.info("fee raised", extra={"call": call, "nonce": nonce, "fee": fees.most})
        except RpcRefusal as error:
            # It may have been mined just now, or the account cannot pay more: the old one still counts.
            log.warning("fee not raised", extra={"call": call, "reason": str(error)})
        return signed.hash

    async def _prepare(self, order: _Order, fees: _Fees, nonce: int) -> SignedTransaction:
        """Sign, and have it recorded: what is on the disk can be sent again after a crash, and nothing else is sent."""
        fields = {
            "type": 2,
            "chainId": self._ethereum.chain_id,
            "nonce": nonce,
            "value": order.call.value,
            "data": order.call.data,
            "gas": order.gas,
            "maxFeePerGas": fees.most,
            "maxPriorityFeePerGas": fees.tip,
        }
        signed = self._key.sign_transaction({**fields, "to": order.call.to} if order.call.to else fields)
        await self._record(Prepared(self.address, nonce, signed.raw, signed.hash, order.call.title, order.effect))
        return signed

    async def _fees(self) -> _Fees:
        """Twice the base fee, which lasts for six full blocks, and the endpoint's tip."""
        block = await self._ethereum.block()
        try:
            tip = await self._ethereum.tip()
        except RpcRefusal:
            tip = DEFAULT_TIP
        return _Fees(2 * block.base_fee + tip, tip)

    async def _why_reverted(self, order: _Order, receipt: Receipt) -> Reverted:
        """Ask for the reason on the states after and before the block that refused it."""
        for block in (receipt.block, receipt.block - 1):
            try:
                await self._ethereum.call(order.call, self.address, block)
            except Reverted as error:
                return error
            except ChainError as error:
                log.warning("reason unknown", extra={"call": order.call.title, "reason": str(error)})
        spent = receipt.gas_used >= order.gas
        return Reverted(f"{order.call.title}: {'out of gas' if spent else 'refused for a reason that is gone'}")


def _nonce_taken(error: RpcRefusal) -> bool:
    words = str(error).lower()
    return "nonce too low" in words or "replacement transaction underpriced" in words
