"""One effect, one nonce: a sender killed at any point of a transaction, endpoints that answer late or never, fees."""

import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from chain.rpc.endpoints import open_rpc
from chain.rpc.ethereum import Call, Ethereum, TransactionReceipt
from chain.tx.pending import Prepared, Recorded, key_of
from chain.tx.transactions import Sender
from protocol.effects import SealEpoch
from protocol.errors import ChainError
from protocol.wire.ids import Wei
from tests.support.anvil import CHAIN_ID, Controls, anvil
from tests.support.anvil_ledger import POLL_S
from tests.support.endpoint import Garbage, endpoint, forward
from tests.support.jobs import key

pytestmark = pytest.mark.anvil

PAYER, PAYEE = key("payer"), key("payee")
EFFECT, OTHER = SealEpoch(1), SealEpoch(2)
GWEI = 10**9
DEPTH = 3
DEADLINE_S = 120
"""Of a test with its chain, on a machine that is busy with others."""


def payment(amount: int = 5) -> Call:
    return Call("payment", PAYEE.address, b"", Wei(amount))


class Killed(Exception):
    """The process ended here."""


@dataclass
class Desk:
    """A chain, an endpoint in front of it that a test may spoil, and the journal that outlives every sender."""

    controls: Controls
    urls: list[str]
    journal: list[Prepared] = field(default_factory=list)
    kill_before_record: bool = False
    kill_after_record: bool = False

    async def record(self, prepared: Prepared) -> None:
        if self.kill_before_record:
            raise Killed
        self.journal.append(prepared)
        if self.kill_after_record:
            raise Killed

    @asynccontextmanager
    async def sender(self, timeout_s: float = 10.0, **options: Any) -> AsyncIterator[Sender]:
        """A new process: it knows what the journal has."""
        async with open_rpc(self.urls, CHAIN_ID, timeout_s, rest_s=0.05) as rpc:
            sender = Sender(Ethereum(rpc), PAYER, self.record, depth=DEPTH, poll_s=POLL_S, **options)
            await sender.resume([Recorded(each.raw, key_of(each.effect)) for each in self.journal])
            yield sender

    async def paid(self) -> int:
        return await self.controls.ethereum.balance(PAYEE.address)

    async def until(self, tag: Any, count: int) -> None:
        """Waits until the chain counts so many of the payer's transactions."""
        while await self.controls.ethereum.nonce(PAYER.address, tag) < count:
            await trio.lowlevel.checkpoint()

    @property
    def nonces(self) -> list[int]:
        return [each.nonce for each in self.journal]


@asynccontextmanager
async def desk(*spoil: Callable[[Any], Any]) -> AsyncIterator[Desk]:
    """With one endpoint in front of the chain for each function that spoils its answers; none: the chain itself."""
    with trio.fail_after(DEADLINE_S), anvil() as running:
        async with open_rpc([running.url], CHAIN_ID) as rpc:
            controls = Controls(rpc)
            await controls.enrich(PAYER)
            if not spoil:
                yield Desk(controls, [running.url])
                return
            first, second = (*spoil, lambda ask: ask)[:2]
            with endpoint(first(forward(running.url))) as one, endpoint(second(forward(running.url))) as two:
                yield Desk(controls, [one.url, two.url])


# --- killed ---------------------------------------------------------------------------------------------------------
async def _killed_before_the_record(at: Desk, sender: Sender) -> None:
    at.kill_before_record = True
    with pytest.raises(Killed):
        await sender.send(payment(), EFFECT)


async def _killed_before_the_broadcast(at: Desk, sender: Sender) -> None:
    at.kill_after_record = True
    with pytest.raises(Killed):
        await sender.send(payment(), EFFECT)


async def _killed_in(at: Desk, sender: Sender, tag: str, *, mined: bool) -> None:
    await at.controls.automine(on=mined)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, payment(), EFFECT)
        await at.until(tag, 1)
        nursery.cancel_scope.cancel()


async def _killed_in_the_pool(at: Desk, sender: Sender) -> None:
    await _killed_in(at, sender, "pending", mined=False)


async def _killed_and_forgotten_by_the_pool(at: Desk, sender: Sender) -> None:
    await _killed_in(at, sender, "pending", mined=False)
    await at.controls.raw("anvil_dropAllTransactions")


async def _killed_with_a_raised_fee(at: Desk, sender: Sender) -> None:
    await at.controls.automine(on=False)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(sender.send, payment(), EFFECT)
        while len(at.journal) < 2:
            await trio.lowlevel.checkpoint()
        nursery.cancel_scope.cancel()


async def _killed_before_the_receipt(at: Desk, sender: Sender) -> None:
    await _killed_in(at, sender, "latest", mined=True)


async def _killed_before_a_reorganisation(at: Desk, sender: Sender) -> None:
    await _killed_in(at, sender, "latest", mined=True)
    await at.controls.reorg(1)
    await at.controls.raw("anvil_dropAllTransactions")


@pytest.mark.parametrize(
    "kill",
    [
        _killed_before_the_record,
        _killed_before_the_broadcast,
        _killed_in_the_pool,
        _killed_and_forgotten_by_the_pool,
        _killed_with_a_raised_fee,
        _killed_before_the_receipt,
        _killed_before_a_reorganisation,
    ],
)
async def test_an_effect_has_one_nonce_wherever_its_sender_was_killed(kill: Any) -> None:
    async with desk() as at:
        await at.controls.mine(DEPTH)
        async with at.sender(rise_after_s=0.05 if kill is _killed_with_a_raised_fee else 60.0) as sender:
            await kill(at, sender)
        at.kill_before_record = at.kill_after_record = False
        await at.controls.automine(on=True)
        # Transactions in the pool are mined late: after the effect was asked for again.
        async with at.sender() as sender:
            receipts: list[TransactionReceipt] = []

            async def ask() -> None:
                receipts.append(await sender.send(payment(), EFFECT))

            async with trio.open_nursery() as nursery:
                nursery.start_soon(ask)
                await at.until("pending", 1)
                await at.controls.mine()
            assert receipts[0].succeeded
            await sender.send(payment(100), OTHER)
        assert await at.paid() == 105
        assert set(at.nonces) == {0, 1}
        assert await at.controls.ethereum.nonce(PAYER.address, "pending") == 2


# --- endpoints ------------------------------------------------------------------------------------------------------
def deaf(ask: Any) -> Any:
    """Passes transactions on, and loses the answer."""

    def answer(method: str, parameters: list[Any]) -> Any:
        found = ask(method, parameters)
        if method == "eth_sendRawTransaction":
            raise Garbage(504, b"gateway timeout")
        return found

    return answer


async def test_an_answer_that_was_lost_is_no_reason_for_a_second_nonce() -> None:
    async with desk(deaf) as at, at.sender() as sender:
        await sender.send(payment(), EFFECT)
        assert (at.nonces, await at.paid()) == ([0], 5)


async def test_a_transaction_is_followed_through_an_outage() -> None:
    down = trio.Event()

    def failing(ask: Any) -> Any:
        def answer(method: str, parameters: list[Any]) -> Any:
            if down.is_set():
                raise Garbage(502, b"bad gateway")
            return ask(method, parameters)

        return answer

    async with desk(failing, failing) as at, at.sender() as sender:
        await at.controls.automine(on=False)
        receipts: list[TransactionReceipt] = []

        async def ask() -> None:
            receipts.append(await sender.send(payment(), EFFECT))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await at.until("pending", 1)
            down.set()
            with pytest.raises(ChainError, match="no Ethereum endpoint answers"):
                await sender.send(payment(7), OTHER)
            await at.controls.mine()
            down = trio.Event()
        assert receipts[0].succeeded
        assert (at.nonces, await at.paid()) == ([0], 5)


async def test_an_effect_in_no_block_waits_on_under_its_nonce(caplog: pytest.LogCaptureFixture) -> None:
    async with desk() as at, at.sender(deadline_s=0.05) as sender:
        await at.controls.automine(on=False)
        async with trio.open_nursery() as nursery:
            for _ in range(2):
                nursery.start_soon(sender.send, payment(), EFFECT)
            while "in no block after" not in caplog.text:
                await trio.lowlevel.checkpoint()
            await at.controls.mine()
        assert (at.nonces, await at.paid()) == ([0], 5)


# --- fees -----------------------------------------------------------------------------------------------------------
async def _base_fee(at: Desk, gwei: int) -> None:
    await at.controls.raw("anvil_setNextBlockBaseFeePerGas", hex(gwei * GWEI))
    await at.controls.mine()


async def test_a_base_fee_above_what_it_pays_is_outbid_under_the_same_nonce() -> None:
    async with desk() as at, at.sender(rise_after_s=0.05) as sender:
        await at.controls.automine(on=False)
        receipts: list[TransactionReceipt] = []

        async def ask() -> None:
            receipts.append(await sender.send(payment(), EFFECT))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await at.until("pending", 1)
            await _base_fee(at, 40)
            assert await at.controls.ethereum.nonce(PAYER.address) == 0
            while not receipts:
                await at.controls.mine()
        assert set(at.nonces) == {0}
        assert await at.paid() == 5


async def test_above_its_cap_a_transaction_waits_for_cheaper_days(caplog: pytest.LogCaptureFixture) -> None:
    async with desk() as at, at.sender(rise_after_s=0.05, most_fee=Wei(5 * GWEI)) as sender:
        await at.controls.automine(on=False)
        receipts: list[TransactionReceipt] = []

        async def ask() -> None:
            receipts.append(await sender.send(payment(), EFFECT))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await at.until("pending", 1)
            await _base_fee(at, 40)
            while "pays as much as this node may" not in caplog.text:
                await trio.lowlevel.checkpoint()
            with pytest.raises(ChainError, match=r"gas costs .* gwei, more than the 5.0 that this node pays"):
                await sender.send(payment(7), OTHER)
            assert not receipts
            while not receipts:
                await _base_fee(at, 1)
        assert caplog.text.count("pays as much as this node may") == 1
        assert (set(at.nonces), await at.paid()) == ({0}, 5)


# --- reorganisations ------------------------------------------------------------------------------------------------
async def test_what_fell_out_after_it_was_answered_is_mined_again_by_itself() -> None:
    async with desk() as at, at.sender() as sender:
        await at.controls.mine(DEPTH)
        await sender.send(payment(1), EFFECT)
        await sender.send(payment(2), OTHER)
        # Or the pool, to which they fall back, could be mined before it is emptied.
        await at.controls.automine(on=False)
        await at.controls.reorg(2)
        await at.controls.raw("anvil_dropAllTransactions")
        assert await at.paid() == 0
        await at.controls.automine(on=True)
        await sender.look_after()
        await at.until("latest", 2)
        assert (at.nonces, await at.paid()) == ([0, 1], 3)


async def test_who_looks_after_transactions_sends_none_that_is_just_being_sent() -> None:
    arrived, looked_after = threading.Event(), threading.Event()

    def slow(ask: Any) -> Any:
        def answer(method: str, parameters: list[Any]) -> Any:
            if method == "eth_sendRawTransaction" and not arrived.is_set():
                arrived.set()
                looked_after.wait(timeout=10)
            return ask(method, parameters)

        return answer

    async with desk(slow) as at, at.sender() as sender:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(sender.send, payment(), EFFECT)
            await trio.to_thread.run_sync(arrived.wait, 10)
            await sender.look_after()
            looked_after.set()
        assert (at.nonces, await at.paid()) == ([0], 5)


async def test_what_is_final_is_not_looked_after_any_more() -> None:
    sent: list[str] = []

    def counting(ask: Any) -> Any:
        def answer(method: str, parameters: list[Any]) -> Any:
            sent.append(method)
            return ask(method, parameters)

        return answer

    async with desk(counting) as at, at.sender() as sender:
        await sender.send(payment(1), EFFECT)
        await at.controls.mine(DEPTH)
        await sender.look_after()
        sent.clear()
        await sender.look_after()
        assert sent == []


async def test_a_nonce_that_another_program_used_is_given_up_once_that_is_final() -> None:
    hidden = trio.Event()

    def hiding(ask: Any) -> Any:
        def answer(method: str, parameters: list[Any]) -> Any:
            if method == "eth_sendRawTransaction" and not hidden.is_set():
                raise Garbage(502, b"bad gateway")
            return ask(method, parameters)

        return answer

    async with desk(hiding, hiding) as at, at.sender() as sender:
        errors: list[ChainError] = []

        async def ask() -> None:
            try:
                await sender.send(payment(), EFFECT)
            except ChainError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            while not at.journal:
                await trio.lowlevel.checkpoint()
            other = PAYER.sign_transaction(
                {
                    "type": 2,
                    "chainId": CHAIN_ID,
                    "nonce": 0,
                    "value": 1,
                    "data": b"",
                    "gas": 21_000,
                    "maxFeePerGas": 10**10,
                    "maxPriorityFeePerGas": 1,
                    "to": PAYEE.address,
                }
            )
            await at.controls.ethereum.broadcast(other.raw)
            await at.controls.mine(DEPTH)
        hidden.set()
        assert "another transaction took its nonce 0" in str(errors[0])
        assert errors[0].transient
        await sender.send(payment(), EFFECT)
        assert (at.nonces, await at.paid()) == ([0, 1], 6)
