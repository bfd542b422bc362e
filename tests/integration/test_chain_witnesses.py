"""Endpoints that are silent, slow, on another chain, or lie: what the watcher tells, and whom the calls go to."""

import logging
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from chain.perform.adapter import ChainAdapter, open_chain
from chain.rpc.endpoints import WrongChain, open_rpc
from chain.tx.wallet import Wallet
from protocol.effects import CheckIn, OpenLane, SubmitBatch
from protocol.errors import ChainError
from protocol.events import BatchMined, BatchSubmitted, BlockSeen, TransactionMined
from protocol.params import VCN
from tests.support.anvil import CHAIN_ID
from tests.support.anvil_ledger import POLL_S, AnvilLedger, forget, open_anvil_ledger
from tests.support.endpoint import Garbage, RpcFault, endpoint, forward
from tests.support.event_recorder import Story, told_by
from tests.support.jobs import Orders, batch_of, key

pytestmark = pytest.mark.anvil

NODE, CLIENT = key("node"), key("client")
Answer = Callable[[str, list[Any]], Any]
REST_S = 0.05


@dataclass
class Relay:
    """An endpoint in front of a chain; a test may spoil its answers at any time."""

    ask: Answer
    url: str = ""
    spoil: Callable[[Answer, str, list[Any]], Any] | None = None
    asked: list[str] = field(default_factory=list)

    def answer(self, method: str, parameters: list[Any]) -> Any:
        self.asked.append(method)
        spoil = self.spoil
        return spoil(self.ask, method, parameters) if spoil else self.ask(method, parameters)


@contextmanager
def relay(url: str) -> Any:
    made = Relay(forward(url))
    with endpoint(made.answer) as served:
        made.url = served.url
        yield made


@dataclass
class Scene:
    """A node with two endpoints, or three, to one chain, and what it is told."""

    ledger: AnvilLedger
    relays: list[Relay]
    adapter: ChainAdapter
    story: Story
    orders: Orders

    async def submit(self, slot: int = 0) -> BatchMined:
        """A batch, sent past the relays."""
        self.orders.finish()
        async with self.ledger.adapter(NODE, CLIENT) as direct:
            mined = await direct.perform(SubmitBatch(batch_of(NODE.address, slot, self.orders)))
        assert isinstance(mined, BatchMined)
        return mined

    async def bury(self) -> int:
        """Make everything so far final; which block that is."""
        head, _ = await self.ledger.now()
        await self.ledger.mine(self.ledger.rules.final_depth)
        return head

    async def until_trouble(self, words: str) -> None:
        while words not in self.adapter.watcher.trouble:
            await trio.lowlevel.checkpoint()

    @property
    def told(self) -> list[bytes]:
        return [event.batch_id for event in self.story.all(BatchSubmitted)]


@asynccontextmanager
async def scene(relays: int = 2, timeout_s: float = 10.0) -> AsyncIterator[Scene]:
    with trio.fail_after(40):
        async with open_anvil_ledger() as ledger:
            await ledger.register(NODE)
            await ledger.deposit(CLIENT, 100 * VCN)
            orders = Orders(CLIENT, NODE, ledger.domain)
            _, now = await ledger.now()
            async with ledger.adapter(NODE, CLIENT) as direct:
                await direct.perform(OpenLane(*orders.lane_open(50 * VCN, now + 600)))
            await ledger.mine(ledger.rules.final_depth)
            with relay(ledger.chain.url) as one, relay(ledger.chain.url) as two, relay(ledger.chain.url) as three:
                chosen = [one, two, three][:relays]
                async with (
                    open_chain(
                        [each.url for each in chosen],
                        ledger.deployment,
                        Wallet(NODE, ledger.domain, CLIENT),
                        record=forget,
                        timeout_s=timeout_s,
                        rest_s=REST_S,
                        poll_s=POLL_S,
                    ) as adapter,
                    told_by(adapter) as story,
                ):
                    yield Scene(ledger, chosen, adapter, story, orders)


# --- ways to spoil an answer ----------------------------------------------------------------------------------------
def dead(ask: Answer, method: str, parameters: list[Any]) -> Any:
    raise Garbage(502, b"bad gateway")


def elsewhere(ask: Answer, method: str, parameters: list[Any]) -> Any:
    return "0x1" if method == "eth_chainId" else ask(method, parameters)


def without_logs(ask: Answer, method: str, parameters: list[Any]) -> Any:
    return [] if method == "eth_getLogs" else ask(method, parameters)


def far_ahead(ask: Answer, method: str, parameters: list[Any]) -> Any:
    found = ask(method, parameters)
    if method == "eth_getBlockByNumber" and parameters[0] == "latest":
        return {**found, "number": hex(int(found["number"], 16) + 1_000_000)}
    return found


def far_behind(ask: Answer, method: str, parameters: list[Any]) -> Any:
    if method == "eth_getBlockByNumber" and parameters[0] == "latest":
        return ask(method, ["0x2", False])
    return ask(method, parameters)


def forked(ask: Answer, method: str, parameters: list[Any]) -> Any:
    found = ask(method, parameters)
    if method == "eth_getBlockByNumber" and parameters[0] != "latest":
        return {**found, "hash": "0x" + "ab" * 32}
    return found


def richer(ask: Answer, method: str, parameters: list[Any]) -> Any:
    """State that is not that of the others."""
    found = ask(method, parameters)
    return found[:-1] + ("0" if found[-1] != "0" else "1") if method == "eth_call" else found


# --- silent ---------------------------------------------------------------------------------------------------------
async def test_while_nobody_answers_the_node_waits_says_so_once_and_loses_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "chain")
    async with scene() as at:
        for each in at.relays:
            each.spoil = dead
        await at.until_trouble("no Ethereum endpoint answers")
        mined = await at.submit()
        block = await at.bury()
        answers: list[Any] = []

        async def check_in() -> None:
            answers.append(await at.adapter.perform(CheckIn(NODE.address, 1)))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(check_in)
            asked = len(at.relays[0].asked)
            while len(at.relays[0].asked) < asked + 6:
                await trio.lowlevel.checkpoint()
            assert not answers
            for each in at.relays:
                each.spoil = None
        await at.story.until_block(block)
        assert isinstance(answers[0], TransactionMined)
        assert at.told == [mined.batch_id]
        while at.adapter.watcher.trouble:
            await trio.lowlevel.checkpoint()
        assert caplog.text.count("chain not followed") == 1
        assert caplog.text.count("chain followed again") == 1
        assert caplog.text.count("endpoint left") == 2


async def test_a_slow_endpoint_gives_way_within_its_deadline_and_comes_back_into_use() -> None:
    released = threading.Event()

    def slow(ask: Answer, method: str, parameters: list[Any]) -> Any:
        released.wait(30)
        return ask(method, parameters)

    async with scene(timeout_s=2.0) as at:
        first, second = at.relays
        first.spoil = slow
        try:
            mined = await at.submit()
            block = await at.bury()
            with trio.fail_after(20):
                # Beside what hangs there, eight calls at once would have filled a common set of slots.
                async with trio.open_nursery() as nursery:
                    for _ in range(12):
                        nursery.start_soon(at.adapter.network.ethereum.head)
                await at.story.until_block(block)
            assert at.told == [mined.batch_id]
        finally:
            first.spoil = None
            released.set()
        at.relays[0].asked.clear()
        while "eth_blockNumber" not in first.asked:
            await at.adapter.network.ethereum.head()
        before = len(second.asked)
        second.spoil = dead
        assert await at.adapter.network.ethereum.head() == (await at.ledger.now())[0]
        assert len(second.asked) - before <= 4


# --- another chain --------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("wrong", [0, 1])
async def test_another_chain_at_the_start_is_refused_whichever_endpoint_serves_it(wrong: int) -> None:
    async with scene() as at:
        at.relays[wrong].spoil = elsewhere
        with pytest.raises(WrongChain, match=f"{at.relays[wrong].url} serves chain 1, expected {CHAIN_ID}"):
            async with open_rpc([each.url for each in at.relays], CHAIN_ID):
                pass


async def test_an_endpoint_that_changes_to_another_chain_is_left_and_never_believed(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def other_world(ask: Answer, method: str, parameters: list[Any]) -> Any:
        if method == "eth_chainId":
            return "0x1"
        if method == "eth_getBlockByNumber":
            return {**ask(method, parameters), "number": "0x7fffffff", "hash": "0x" + "77" * 32}
        return without_logs(ask, method, parameters)

    async with scene() as at:
        at.relays[0].spoil = other_world
        mined = await at.submit()
        await at.story.until_block(await at.bury())
        assert at.told == [mined.batch_id]
        assert max(seen.head for seen in at.story.all(BlockSeen)) < 1_000
        assert f"it serves another chain than {CHAIN_ID}" in caplog.text
        at.relays[1].spoil = other_world
        await at.until_trouble("no Ethereum endpoint")
        at.relays[1].spoil = None
        again = await at.submit(1)
        await at.story.until_block(await at.bury())
        assert at.told == [mined.batch_id, again.batch_id]


# --- lies -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("liar", [0, 1])
async def test_a_head_far_ahead_makes_nothing_final(liar: int) -> None:
    async with scene() as at:
        at.relays[liar].spoil = far_ahead
        mined = await at.submit()
        head, _ = await at.ledger.now()
        await at.story.until(BlockSeen, lambda seen: seen.head == head)
        assert at.told == []
        await at.story.until_block(await at.bury())
        assert at.told == [mined.batch_id]
        assert max(seen.head for seen in at.story.all(BlockSeen)) < 1_000


async def test_a_head_far_ahead_of_a_single_endpoint_has_no_blocks_and_makes_nothing_final() -> None:
    async with scene(1) as at:
        at.relays[0].spoil = far_ahead
        await at.submit()
        await at.until_trouble("does not have block")
        assert at.told == []
        at.relays[0].spoil = None
        await at.story.until_block(await at.bury())
        assert len(at.told) == 1


@pytest.mark.parametrize("relays", [1, 2])
async def test_a_head_that_goes_backwards_takes_nothing_back(relays: int) -> None:
    async with scene(relays) as at:
        final = at.story.all(BlockSeen)[-1].final
        at.relays[0].spoil = far_behind
        await at.submit()
        await at.until_trouble(f"the newest block is 2, and block {final} was final already")
        assert all(seen.final >= final for seen in at.story.all(BlockSeen))
        at.relays[0].spoil = None
        await at.story.until_block(await at.bury())
        assert len(at.told) == 1


@pytest.mark.parametrize("lie", [without_logs, richer, forked])
@pytest.mark.parametrize("liar", [0, 1])
async def test_what_two_endpoints_tell_differently_is_not_told(lie: Any, liar: int) -> None:
    async with scene() as at:
        before = len(at.story.events)
        at.relays[liar].spoil = lie
        mined = await at.submit()
        block = await at.bury()
        if lie is forked:
            # Its past is another one: it is left, and the other one goes on alone.
            await at.story.until_block(block)
        else:
            await at.until_trouble("disagree on eth_")
            assert [event for event in at.story.events[before:] if not isinstance(event, BlockSeen)] == []
            at.relays[liar].spoil = None
            await at.story.until_block(block)
        assert at.told == [mined.batch_id]


async def test_of_three_endpoints_two_decide() -> None:
    async with scene(3) as at:
        at.relays[0].spoil = without_logs
        mined = await at.submit()
        await at.story.until_block(await at.bury())
        assert at.told == [mined.batch_id]


async def test_logs_that_an_endpoint_alone_has_of_another_fork_are_not_told() -> None:
    def of_a_fork(ask: Answer, method: str, parameters: list[Any]) -> Any:
        found = ask(method, parameters)
        return [{**log, "blockHash": "0x" + "cd" * 32} for log in found] if method == "eth_getLogs" else found

    async with scene(1) as at:
        at.relays[0].spoil = of_a_fork
        await at.submit()
        await at.bury()
        await at.until_trouble("has logs of another block")
        assert at.told == []


async def test_an_endpoint_that_cannot_answer_has_no_vote() -> None:
    def pruned(ask: Answer, method: str, parameters: list[Any]) -> Any:
        if method in ("eth_call", "eth_getLogs"):
            raise RpcFault(-32000, "missing trie node")
        return ask(method, parameters)

    async with scene() as at:
        at.relays[0].spoil = pruned
        mined = await at.submit()
        await at.story.until_block(await at.bury())
        assert at.told == [mined.batch_id]


async def test_an_endpoint_that_is_stuck_does_not_hold_up_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("chain.rpc.quorum.STUCK_S", 0.2)
    async with scene() as at:
        stuck_at = at.story.all(BlockSeen)[-1].head

        def stuck(ask: Answer, method: str, parameters: list[Any]) -> Any:
            if method == "eth_getBlockByNumber" and parameters[0] == "latest":
                return ask(method, [hex(stuck_at), False])
            return ask(method, parameters)

        at.relays[0].spoil = stuck
        mined = await at.submit()
        block = await at.bury()
        while at.story.all(BlockSeen)[-1].final < block:
            await at.ledger.mine()
            await trio.lowlevel.checkpoint()
        assert at.told == [mined.batch_id]


async def test_nonsense_costs_the_endpoint_and_never_the_node() -> None:
    def nonsense(ask: Answer, method: str, parameters: list[Any]) -> Any:
        return {"number": ["what"]} if method != "eth_chainId" else ask(method, parameters)

    async with scene(1) as at:
        at.relays[0].spoil = nonsense
        await at.until_trouble("newest block")
        with pytest.raises(ChainError):
            await at.adapter.network.ethereum.head()
        at.relays[0].spoil = None
        await at.submit()
        await at.story.until_block(await at.bury())
        assert len(at.told) == 1
