"""Transactions: who owns a key's nonces, what it pays, the record before the broadcast, the wait for the receipt.

What was signed may be out, whatever became of the call that sent it. So an effect that has a transaction keeps it: it
is followed through silent endpoints, is paid more for where it sits, and is sent again where a reorganisation took it
out, until it is final. Nothing else is ever signed for that effect meanwhile, and no other effect gets its nonce.
"""

import logging
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import trio

from chain.rpc.endpoints import RpcRefusal
from chain.rpc.ethereum import Call, Ethereum, TransactionReceipt, refused
from chain.tx.pending import (
    Fees,
    NonceSlot,
    PendingTransaction,
    Prepared,
    Purpose,
    Record,
    Recorded,
    key_of,
    purpose_of,
    restore,
)
from chain.tx.wallet import Key, SignedTransaction
from protocol.effects import ChainEffect
from protocol.errors import ChainError, Reverted
from protocol.wire.ids import Wei

log = logging.getLogger(__name__)
GAS_MARGIN_PERCENT = 20
"""Above the estimate: state may move between the estimate and the block."""
ETHER = 10**18
GWEI = 10**9
DEFAULT_TIP = Wei(GWEI)
MAX_FEE = Wei(500 * GWEI)
"""Per gas. Above it a node waits: no call of ours is worth more to be a few hours earlier."""
RISE_AFTER_S = 60.0
DEADLINE_S = 300.0
"""How long a person waits for a transaction. An effect waits until its nonce is used."""
REPEAT_S = 15.0
"""How often a transaction that is in no block is sent again: endpoints forget, and another may have taken over."""
MAX_PAUSE_S = 15.0
RESUME_S = 5.0
NONCE_TRIES = 3
TAKEN_POLLS = 3
"""Endpoints behind one name may know a nonce before they know the receipt."""


@dataclass(eq=False, repr=False)
class Sender:
    """Sends the transactions of one key, in the order of their nonces. There is one sender for each key.

    depth: blocks on top of one that counts as final. most_fee: wei per gas that it never pays more than.
    """

    ethereum: Ethereum
    key: Key
    record: Record
    _: KW_ONLY
    depth: int = 0
    poll_s: float = 0.5
    rise_after_s: float = RISE_AFTER_S
    deadline_s: float = DEADLINE_S
    most_fee: Wei = MAX_FEE

    def __post_init__(self) -> None:
        self.address = self.key.address
        self._turn = trio.Lock()
        self._slots: dict[int, NonceSlot] = {}
        self._purposes: dict[Purpose, NonceSlot] = {}

    async def send(self, call: Call, effect: ChainEffect | None = None) -> TransactionReceipt:
        """Estimate, sign, record, broadcast, and wait until it is in a block.

        An effect that has a transaction already, of this run or of one before, waits for that one. One that was signed
        for an effect is waited for until its nonce is used; without an effect the wait ends after the deadline.

        Raises: Reverted if the contract refuses it, before or after it is sent; ChainError, transient, if nothing was
        sent because no endpoint answers, another program took its nonce, or a person's deadline is over.
        """
        slot = await self._slot_for(call, effect)
        slot.followed += 1
        try:
            receipt = await self._follow(slot)
        finally:
            slot.followed -= 1
        if not receipt.succeeded:
            # It is over: asked again, the effect may have another try.
            self._forget_purpose(slot)
            raise await self._why_reverted(slot.pending, receipt)
        log.debug("transaction mined", extra={"call": call.title, "block": receipt.block, "gas": receipt.gas_used})
        return receipt

    async def resume(self, recorded: Sequence[Recorded]) -> None:
        """Take up what an earlier run recorded, in the order of recording, and no final block has.

        Waits a little for what is in no block. Transactions of other keys are left alone.

        Raises: ChainError, transient, if no endpoint answers.
        """
        for slot in restore(recorded, self.address, await self._final_nonce()):
            self._keep(slot)
        waiting = await self._unmined()
        for slot in waiting:
            log.info("transaction sent again", extra={"sender": self.address, "nonce": slot.nonce})
            await self._broadcast_again(slot)
        if not waiting:
            return
        with trio.move_on_after(RESUME_S):
            while True:
                await trio.sleep(self.poll_s)
                if await self.ethereum.nonce(self.address) > waiting[-1].nonce:
                    return

    async def look_after(self) -> None:
        """Once a block: forget what is final, send again what a reorganisation took out, pay more for what sits.

        Raises: ChainError, transient, if no endpoint answers.
        """
        if not self._slots:
            return
        final = await self._final_nonce()
        for nonce in [nonce for nonce in self._slots if nonce < final]:
            slot = self._slots[nonce]
            if not slot.followed:
                self._drop(slot)
        for slot in await self._unmined():
            if not slot.followed:
                await self._push(slot)

    # --- under which nonce ------------------------------------------------------------------------------------------
    async def _slot_for(self, call: Call, effect: ChainEffect | None) -> NonceSlot:
        key = key_of(effect)
        purpose = purpose_of(call, key)
        if slot := self._launched(purpose):
            return slot
        try:
            gas = await self.ethereum.estimate(call, self.address) * (100 + GAS_MARGIN_PERCENT) // 100
        except Reverted:
            # Endpoints that simulate on their pool see the first of two who ask for one effect at once.
            if slot := self._launched(purpose):
                return slot
            raise
        pending, fees = PendingTransaction(call, gas, effect, key), await self._fees()
        if fees.most > self.most_fee:
            raise ChainError(
                f"{call.title}: gas costs {fees.most / GWEI:.1f} gwei, more than the {self.most_fee / GWEI:.1f} "
                "that this node pays",
                transient=True,
            )
        await self._require_gas_money(pending, fees)
        async with self._turn:
            return self._launched(purpose) or await self._launch(pending, fees)

    def _launched(self, purpose: Purpose | None) -> NonceSlot | None:
        return None if purpose is None else self._purposes.get(purpose)

    async def _launch(self, pending: PendingTransaction, fees: Fees) -> NonceSlot:
        """Take a nonce, record, broadcast. Called under the lock, which makes nonces leave in their order."""
        # A transaction that fell out of the chain keeps its nonce; the endpoint counts it again once it has it again.
        for slot in await self._unmined():
            if not slot.followed:
                await self._broadcast_again(slot)
        for _ in range(NONCE_TRIES):
            # Asked anew each time: another program may have moved it. Endpoints may be late to count what we have sent.
            counted = await self.ethereum.nonce(self.address, "pending")
            nonce = max(counted, max(self._slots, default=-1) + 1)
            signed = await self._prepare(pending, fees, nonce)
            slot = NonceSlot(pending, nonce, fees, [signed.raw], [signed.hash], risen_at=trio.current_time())
            self._keep(slot)
            # Sent twice at once and mined, it would be told that its own nonce is taken.
            slot.followed += 1
            try:
                await self.ethereum.broadcast(signed.raw)
            except RpcRefusal as error:
                if not _nonce_taken(error):
                    self._drop(slot)
                    raise refused(pending.call, error) from error
                # With an endpoint before it that said nothing, it may be this very transaction that took the nonce.
                if error.after_silence:
                    return slot
                self._drop(slot)
                log.warning("nonce taken", extra={"sender": self.address, "nonce": nonce})
                continue
            except ChainError as error:
                # It may have arrived: from here on it is followed like one that has.
                log.warning("no answer to a transaction: %s", error, extra={"nonce": nonce})
            finally:
                slot.followed -= 1
            return slot
        raise ChainError(f"{pending.call.title}: another program sends transactions with this key", transient=True)

    def _keep(self, slot: NonceSlot) -> None:
        self._slots[slot.nonce] = slot
        if purpose := slot.pending.purpose:
            self._purposes[purpose] = slot

    def _drop(self, slot: NonceSlot) -> None:
        self._slots.pop(slot.nonce, None)
        self._forget_purpose(slot)

    def _forget_purpose(self, slot: NonceSlot) -> None:
        if (purpose := slot.pending.purpose) and self._purposes.get(purpose) is slot:
            del self._purposes[purpose]

    async def _unmined(self) -> list[NonceSlot]:
        mined = await self.ethereum.nonce(self.address) if self._slots else 0
        return [self._slots[nonce] for nonce in sorted(self._slots) if nonce >= mined]

    async def _final_nonce(self) -> int:
        if not self.depth:
            return await self.ethereum.nonce(self.address)
        return await self.ethereum.nonce(self.address, max(0, await self.ethereum.head() - self.depth))

    async def _require_gas_money(self, pending: PendingTransaction, fees: Fees) -> None:
        """Before anything is signed: what is recorded but cannot be paid would come up again at every start."""
        needed = pending.gas * fees.most + pending.call.value
        held = await self.ethereum.balance(self.address)
        if held < needed:
            lack = f"{held / ETHER:.6f}, needed {needed / ETHER:.6f}"
            raise ChainError(f"{pending.call.title}: {self.address} has too little for gas: {lack}")

    # --- until it is in a block -------------------------------------------------------------------------------------
    async def _follow(self, slot: NonceSlot) -> TransactionReceipt:
        """Wait for the receipt of a nonce slot, through whatever happens to the endpoints."""
        title = slot.pending.call.title
        deadline = trio.current_time() + self.deadline_s
        repeat_at = trio.current_time() + REPEAT_S
        taken, pause_s = 0, self.poll_s
        while True:
            try:
                used = await self.ethereum.nonce(self.address) > slot.nonce
                for transaction in reversed(slot.hashes):
                    if receipt := await self.ethereum.receipt(transaction):
                        return receipt
                taken = taken + 1 if used else 0
                if taken >= TAKEN_POLLS and await self._final_nonce() > slot.nonce:
                    self._drop(slot)
                    raise _Taken(f"{title}: another transaction took its nonce {slot.nonce}", transient=True)
                if not used and trio.current_time() >= min(repeat_at, slot.risen_at + self.rise_after_s):
                    await self._push(slot)
                    repeat_at = trio.current_time() + REPEAT_S
                pause_s = self.poll_s
            except _Taken:
                raise
            except ChainError:
                # The watcher has already logged the outage. The transaction may be out: wait.
                pause_s = min(pause_s * 2, MAX_PAUSE_S)
            if trio.current_time() > deadline:
                words = f"{title} is in no block after {self.deadline_s:.0f} s"
                if slot.pending.effect_key is None:
                    raise ChainError(words, transient=True)
                log.warning("%s, waiting on", words, extra={"nonce": slot.nonce})
                deadline = trio.current_time() + self.deadline_s
            await trio.sleep(pause_s)

    async def _push(self, slot: NonceSlot) -> None:
        """Send again what is in no block; for more, where it has been out for a while."""
        if trio.current_time() < slot.risen_at + self.rise_after_s:
            await self._broadcast_again(slot)
            return
        slot.risen_at = trio.current_time()
        fees = slot.fees.replacing(await self._fees(), self.most_fee)
        if fees is None:
            if not slot.told:
                log.warning(
                    "%s waits: it pays as much as this node may",
                    slot.pending.call.title,
                    extra={"nonce": slot.nonce, "fee": slot.fees.most},
                )
            slot.told = True
            await self._broadcast_again(slot)
            return
        signed = await self._prepare(slot.pending, fees, slot.nonce)
        slot.fees = fees
        slot.raws.append(signed.raw)
        slot.hashes.append(signed.hash)
        extra = {"call": slot.pending.call.title, "nonce": slot.nonce, "fee": fees.most}
        try:
            await self.ethereum.broadcast(signed.raw)
            log.info("fee raised", extra=extra)
        except RpcRefusal as error:
            # It may have been mined just now, or the account cannot pay more: the old one still counts.
            log.warning("fee not raised: %s", error, extra=extra)
            await self._broadcast_again(slot)

    async def _broadcast_again(self, slot: NonceSlot) -> None:
        """The one that pays most, or where it is refused, one that pays less."""
        for raw in reversed(slot.raws):
            try:
                await self.ethereum.broadcast(raw)
            except RpcRefusal as error:
                # Mined meanwhile, more than the account has, less than the next block costs: the receipt decides.
                log.debug("transaction not taken again: %s", error, extra={"nonce": slot.nonce})
            else:
                return

    async def _prepare(self, pending: PendingTransaction, fees: Fees, nonce: int) -> SignedTransaction:
        """Sign, and have it recorded: what is on the disk can be sent again after a crash, and nothing else is sent."""
        fields = {
            "type": 2,
            "chainId": self.ethereum.chain_id,
            "nonce": nonce,
            "value": pending.call.value,
            "data": pending.call.data,
            "gas": pending.gas,
            "maxFeePerGas": fees.most,
            "maxPriorityFeePerGas": fees.tip,
        }
        signed = self.key.sign_transaction({**fields, "to": pending.call.to} if pending.call.to else fields)
        await self.record(Prepared(self.address, nonce, signed.raw, signed.hash, pending.call.title, pending.effect))
        return signed

    async def _fees(self) -> Fees:
        """Twice the base fee, which lasts for six full blocks, and the endpoint's tip; less only where the cap is less.

        Above the cap in full where not even the next block can be paid below it.
        """
        block = await self.ethereum.block()
        try:
            tip = await self.ethereum.tip()
        except RpcRefusal:
            tip = DEFAULT_TIP
        if block.base_fee >= self.most_fee:
            return Fees(2 * block.base_fee + tip, tip)
        tip = Wei(min(tip, self.most_fee - block.base_fee))
        return Fees(min(2 * block.base_fee + tip, self.most_fee), tip)

    async def _why_reverted(self, pending: PendingTransaction, receipt: TransactionReceipt) -> Reverted:
        """Ask for the reason on the states after and before the block that refused it."""
        for block in (receipt.block, receipt.block - 1):
            try:
                await self.ethereum.call(pending.call, self.address, block)
            except Reverted as error:
                return error
            except ChainError as error:
                log.warning("reason unknown", extra={"call": pending.call.title, "reason": str(error)})
        spent = receipt.gas_used >= pending.gas
        return Reverted(f"{pending.call.title}: {'out of gas' if spent else 'refused for a reason that is gone'}")


class _Taken(ChainError):
    """Another program used the nonce: a transaction that can never be mined."""


async def look_after(senders: Sequence[Sender], pause_s: float) -> None:
    """Look after what each sender has on its way, until cancelled. Silent endpoints only make it wait."""
    wait_s = pause_s
    while True:
        await trio.sleep(wait_s)
        try:
            for sender in senders:
                await sender.look_after()
        except ChainError:
            wait_s = min(wait_s * 2, MAX_PAUSE_S)
        else:
            wait_s = pause_s


def _nonce_taken(error: RpcRefusal) -> bool:
    words = str(error).lower()
    return "nonce too low" in words or "replacement transaction underpriced" in words
