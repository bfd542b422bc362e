"""Sending transactions on Anvil: nonces, fees, the record, refusals, and what a crash leaves behind."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from threading import Event
from typing import Any

import pytest
import trio
import trio.testing

from chain.perform.adapter import ChainAdapter, open_chain
from chain.rpc.endpoints import open_rpc
from chain.rpc.ethereum import Call, TransactionReceipt
from chain.tx.pending import Prepared, Recorded
from chain.tx.transactions import GWEI, Sender
from chain.tx.wallet import Key, Wallet, read_transaction
from protocol.effects import CheckIn, OpenLane, SealEpoch, SubmitBatch, TryLane
from protocol.errors import ChainError, Reverted
from protocol.events import BatchMined, LaneTried, TransactionMined
from protocol.events import Event as Heard
from protocol.params import VCN
from protocol.stages.lane_notice import lane_open_id
from protocol.stages.sampling import epoch_of
from protocol.wire.ids import Wei
from tests.support.anvil import CHAIN_ID, RICH, Controls, anvil
from tests.support.anvil_ledger import POLL_S, AnvilLedger, forget, open_anvil_ledger
from tests.support.endpoint import endpoint, forward
from tests.support.jobs import Orders, batch_of, key

pytestmark = pytest.mark.anvil

PAYER, PAYEE = key("payer"), key("payee")
LONG = 60.0


@dataclass
class Desk:
    """A chain, and what was recorded of the transactions sent to it."""

    controls: Controls
    recorded: list[Prepared] = field(default_factory=list)
    _news: trio.Condition = field(default_factory=trio.Condition)

    def sender(self, who: Key = PAYER, *, rise_after_s: float = LONG, deadline_s: float = LONG) -> Sender:
        return Sender(
            self.controls.ethereum,
            who,
            self.record,
            poll_s=POLL_S,
            rise_after_s=rise_after_s,
            deadline_s=deadline_s,
        )

    async def record(self, prepared: Prepared) -> None:
        async with self._news:
            self.recorded.append(prepared)
            self._news.notify_all()

    async def until_recorded(self, count: int) -> None:
        """Waits until so many transactions were recorded."""
        async with self._news:
            while len(self.recorded) < count:
                await self._news.wait()

    async def until_waiting(self, who: Key, count: int) -> None:
        """Waits until the chain holds so many transactions of somebody, in blocks or not."""
        while await self.controls.ethereum.nonce(who.address, "pending") != count:
            await trio.lowlevel.checkpoint()

    async def paid(self) -> int:
        return await self.controls.ethereum.balance(PAYEE.address)

    @property
    def nonces(self) -> list[int]:
        return [each.nonce for each in self.recorded]


@asynccontextmanager
async def desk() -> AsyncIterator[Desk]:
    with trio.fail_after(60), anvil() as running:
        async with open_rpc([running.url], CHAIN_ID) as rpc:
            controls = Controls(rpc)
            await controls.enrich(PAYER)
            yield Desk(controls)


def payment(amount: int = 5) -> Call:
    return Call("payment", PAYEE.address, b"", Wei(amount))


async def test_a_payment_arrives_and_tells_what_it_cost() -> None:
    async with desk() as at:
        receipt = await at.sender().send(payment())
        assert receipt.succeeded
        assert (receipt.gas_used, await at.paid()) == (21_000, 5)
        assert await at.controls.ethereum.balance(PAYER.address) == RICH - 5 - receipt.fee
        (recorded,) = at.recorded
        assert (recorded.sender, recorded.nonce, recorded.hash) == (PAYER.address, 0, receipt.transaction)
        assert read_transaction(recorded.raw) == (PAYER.address, 0, recorded.raw)


async def test_what_was_not_recorded_is_not_sent() -> None:
    async def fail(prepared: Prepared) -> None:
        raise OSError("disk full")

    async with desk() as at:
        sender = Sender(at.controls.ethereum, PAYER, fail, poll_s=POLL_S)
        with pytest.raises(OSError, match="disk full"):
            await sender.send(payment())
        assert await at.controls.ethereum.nonce(PAYER.address, "pending") == 0


async def test_many_at_once_take_one_nonce_each() -> None:
    async with desk() as at:
        sender, receipts = at.sender(), []

        async def pay() -> None:
            receipts.append(await sender.send(payment()))

        async with trio.open_nursery() as nursery:
            for _ in range(6):
                nursery.start_soon(pay)
        assert sorted(at.nonces) == list(range(6))
        assert (len(receipts), await at.paid()) == (6, 30)


async def test_another_program_with_the_key_only_costs_a_nonce() -> None:
    async with desk() as at:
        programs = [at.sender(), at.sender()]
        async with trio.open_nursery() as nursery:
            for amount, program in enumerate(programs, start=1):
                nursery.start_soon(program.send, payment(amount))
        await programs[0].send(payment(4))
        assert await at.paid() == 7
        assert set(at.nonces) == {0, 1, 2}


async def test_what_a_reorganisation_took_out_is_mined_again_under_its_nonce_before_anything_else() -> None:
    async with desk() as at:
        sender = at.sender()
        await sender.send(payment(1))
        await sender.send(payment(2))
        await at.controls.reorg(1)
        await at.controls.raw("anvil_dropAllTransactions")
        await at.controls.mine()
        await sender.send(payment(4))
        assert at.nonces == [0, 1, 2]
        assert await at.paid() == 7


async def test_a_transaction_that_nobody_mines_pays_more_under_its_nonce() -> None:
    async with desk() as at:
        await at.controls.automine(on=False)
        sender = at.sender(rise_after_s=0.05)
        receipts: list[TransactionReceipt] = []

        async def pay() -> None:
            receipts.append(await sender.send(payment()))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(pay)
            await at.until_recorded(3)
            await at.until_waiting(PAYER, 1)
            await at.controls.mine()
        assert set(at.nonces) == {0}
        assert receipts[0].transaction in {each.hash for each in at.recorded[1:]}
        assert await at.paid() == 5


async def test_a_transaction_in_no_block_is_given_up_at_its_deadline() -> None:
    async with desk() as at:
        await at.controls.automine(on=False)
        with pytest.raises(ChainError, match="payment is in no block after 0 s") as caught:
            await at.sender(deadline_s=0.1).send(payment())
        assert caught.value.transient


async def test_what_a_crash_left_unsent_is_sent_at_the_next_start() -> None:
    async with desk() as at:
        await at.controls.automine(on=False)
        for _ in range(2):
            with pytest.raises(ChainError, match="in no block"):
                await at.sender(deadline_s=0).send(payment())
        await at.controls.raw("anvil_dropAllTransactions")
        await at.controls.automine(on=True)
        await at.controls.enrich(key("stranger"))
        strangers = [key("stranger").sign_transaction(_fields(0)).raw]
        await at.sender().resume([Recorded(raw, None) for raw in (*strangers, *(each.raw for each in at.recorded))])
        assert await at.paid() == 10
        await at.sender().send(payment())
        assert (at.nonces, await at.paid()) == ([0, 1, 2], 15)


def _fields(nonce: int) -> dict[str, int | str | bytes]:
    return {
        "type": 2,
        "chainId": CHAIN_ID,
        "nonce": nonce,
        "value": 1,
        "data": b"",
        "gas": 21_000,
        "maxFeePerGas": 10**10,
        "maxPriorityFeePerGas": 1,
        "to": PAYEE.address,
    }


async def test_what_was_mined_before_a_crash_is_not_sent_again() -> None:
    async with desk() as at:
        await at.sender().send(payment())
        await at.sender().resume([Recorded(each.raw, None) for each in at.recorded])
        assert await at.paid() == 5


async def test_an_account_without_gas_money_says_so() -> None:
    async with desk() as at:
        words = r"payment: 0x\w{40} has too little for gas: 0.000000, needed 0.0000\d\d$"
        with pytest.raises(ChainError, match=words) as caught:
            await at.sender(key("poor")).send(payment())
        assert not caught.value.transient
        assert at.recorded == []


async def test_what_would_be_refused_is_not_sent() -> None:
    async with open_anvil_ledger() as ledger:
        desk_ = Desk(ledger.controls)
        call = ledger.network.settlement.finalize(PAYEE.address, 0)
        await ledger.controls.enrich(PAYER)
        with pytest.raises(Reverted, match=r"^Settlement.finalize: WrongState\(state=none\)$"):
            await desk_.sender().send(call)
        assert desk_.recorded == []


async def test_what_is_refused_in_its_block_says_why() -> None:
    async with open_anvil_ledger() as ledger:
        node = key("node")
        await ledger.register(node)
        desk_ = Desk(ledger.controls)
        call = ledger.network.stakes.check_in(node.address)
        errors: list[Reverted] = []
        await ledger.controls.automine(on=False)

        async def check_in(sender: Sender) -> None:
            try:
                await sender.send(call)
            except Reverted as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            sender = desk_.sender(node)
            for _ in range(2):
                nursery.start_soon(check_in, sender)
            await desk_.until_waiting(node, 2)
            await ledger.mine()
        (error,) = errors
        assert str(error).startswith("StakeManager.checkIn: SameDay(day=")


async def test_an_effect_asked_for_twice_at_once_is_one_transaction() -> None:
    async with open_anvil_ledger() as ledger:
        node = key("node")
        await ledger.register(node)
        await ledger.controls.automine(on=False)
        answers: list[Heard] = []
        async with ledger.adapter(node) as adapter:

            async def check_in() -> None:
                answers.append(await adapter.perform(CheckIn(node.address, 1)))

            with trio.fail_after(LONG):
                async with trio.open_nursery() as nursery:
                    for _ in range(2):
                        nursery.start_soon(check_in)
                    await Desk(ledger.controls).until_waiting(node, 1)
                    await trio.testing.wait_all_tasks_blocked()
                    await ledger.mine()
        assert [type(answer) for answer in answers] == [TransactionMined] * 2
        assert await ledger.network.ethereum.nonce(node.address) == 1


async def node_and_client(ledger: AnvilLedger) -> tuple[Key, Key, int, int]:
    """A node, a client with a deposit, the time of the chain, and how many transactions the client has sent."""
    node, client = key("node"), key("client")
    await ledger.register(node)
    await ledger.deposit(client, 100 * VCN)
    _, now = await ledger.now()
    return node, client, now, await ledger.controls.ethereum.nonce(client.address)


async def test_a_lane_that_moves_in_a_block_yet_to_come_is_opened_further_once_it_has() -> None:
    async with open_anvil_ledger() as ledger:
        node, client, now, sent = await node_and_client(ledger)
        orders, lane = Orders(client, node, ledger.domain), (client.address, client.address, node.address)
        await ledger.controls.automine(on=False)
        with endpoint(forward(ledger.chain.url)) as counted:
            wallet = Wallet(node, ledger.domain, client)
            opening = open_chain([counted.url], ledger.deployment, wallet, record=forget, poll_s=POLL_S)
            with trio.fail_after(LONG):
                async with opening as adapter, trio.open_nursery() as nursery:
                    nursery.start_soon(adapter.perform, OpenLane(*orders.lane_open(20 * VCN, now + 600)))
                    await Desk(ledger.controls).until_waiting(client, sent + 1)
                    nursery.start_soon(adapter.perform, OpenLane(*orders.lane_open(30 * VCN, now + 600)))
                    # The endpoint counts the first, of which no block tells yet, and refuses the second.
                    while counted.asked.count("eth_estimateGas") < 2:
                        await trio.lowlevel.checkpoint()
                    refused_at = len(counted.asked)
                    while len(counted.asked) < refused_at + 20:
                        await trio.lowlevel.checkpoint()
                    while (await ledger.network.settlement.lane_of(*lane)).left < 50 * VCN:
                        await ledger.mine()


async def test_a_lane_whose_order_comes_into_the_pool_while_its_node_tries_it_is_not_refused() -> None:
    async with open_anvil_ledger() as ledger:
        node, client, now, sent = await node_and_client(ledger)
        order, signature = Orders(client, node, ledger.domain).lane_open(20 * VCN, now + 600)
        await ledger.controls.automine(on=False)
        ask, looked, is_in_pool = forward(ledger.chain.url), Event(), Event()

        def slow(method: str, parameters: list[Any]) -> Any:
            found = ask(method, parameters)
            if method == "eth_call" and parameters[1] == "pending" and not looked.is_set():
                # The node has seen no lane, and asks next whether one could be opened.
                looked.set()
                is_in_pool.wait(LONG)
            return found

        with endpoint(slow) as relay, trio.fail_after(LONG):
            opening = open_chain([relay.url], ledger.deployment, Wallet(node, ledger.domain), record=forget)
            tried: list[Any] = []

            async def try_it(adapter: ChainAdapter) -> None:
                tried.append(await adapter.perform(TryLane(order, signature, VCN)))

            async with opening as adapter, ledger.adapter(client, client) as theirs, trio.open_nursery() as nursery:
                nursery.start_soon(try_it, adapter)
                await trio.to_thread.run_sync(looked.wait, LONG)
                nursery.start_soon(theirs.perform, OpenLane(order, signature))
                await Desk(ledger.controls).until_waiting(client, sent + 1)
                is_in_pool.set()
                while not tried:
                    await trio.lowlevel.checkpoint()
                await ledger.mine()
        assert tried == [LaneTried(lane_open_id(order), "", VCN)]


async def test_a_node_pays_no_more_for_gas_than_it_is_told() -> None:
    async with open_anvil_ledger() as ledger:
        node = key("node")
        await ledger.register(node)
        await ledger.controls.raw("anvil_setNextBlockBaseFeePerGas", hex(5 * GWEI))
        await ledger.mine()
        wallet, check_in = Wallet(node, ledger.domain), CheckIn(node.address, 1)
        for gwei, paid in ((4, False), (40, True)):
            async with open_chain(
                [ledger.chain.url], ledger.deployment, wallet, record=forget, poll_s=POLL_S, most_fee=Wei(gwei * GWEI)
            ) as adapter:
                if paid:
                    assert isinstance(await adapter.perform(check_in), TransactionMined)
                else:
                    with pytest.raises(ChainError, match=r"more than the 4\.0 that this node pays"):
                        await adapter.perform(check_in)


async def test_what_is_done_already_is_not_tried() -> None:
    async with open_anvil_ledger() as ledger:
        node, client = key("node"), key("client")
        await ledger.register(node)
        await ledger.deposit(client, 100 * VCN)
        orders = Orders(client, node, ledger.domain)
        _, now = await ledger.now()
        lane = OpenLane(*orders.lane_open(50 * VCN, now + 600))
        orders.finish()
        batch = SubmitBatch(batch_of(node.address, 0, orders))
        async with ledger.adapter(node, client) as adapter:
            await adapter.perform(lane)
            mined = await adapter.perform(batch)
            assert isinstance(mined, BatchMined)
            await ledger.mine(ledger.rules.epoch + ledger.rules.lag + 1)
            seal = SealEpoch(epoch_of(mined.block, ledger.rules.epoch))
            await adapter.perform(seal)
        with endpoint(forward(ledger.chain.url)) as counted:
            wallet = Wallet(node, ledger.domain, client)
            async with open_chain([counted.url], ledger.deployment, wallet, record=forget, poll_s=POLL_S) as again:
                for effect in (lane, batch, seal):
                    await again.perform(effect)
        assert "eth_call" in counted.asked
        assert "eth_estimateGas" not in counted.asked
