"""A chain that loses its newest blocks at every step of a story, and what is told and signed meanwhile."""

from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import pytest
import trio

from chain.contracts.profiles import FINAL_DEPTH
from chain.perform.adapter import ChainAdapter
from chain.read import watcher
from chain.tx.pending import Prepared
from chain.tx.wallet import Key
from protocol.effects import ChainEffect
from protocol.errors import Reverted
from protocol.events import AccountSeen, BatchSubmitted, BlockSeen, Event, NodeSeen
from protocol.params import VCN
from protocol.wire.ids import Address
from tests.support.anvil_ledger import POLL_S, AnvilLedger, open_anvil_ledger
from tests.support.event_recorder import Story, told_by
from tests.support.jobs import Orders, key

NODE, CLIENT = key("node"), key("client")
DEPTH, LAG = 6, 4
"""Deeper than the local profile: LAG must fit below what is final."""


@dataclass(frozen=True)
class Loss:
    """How many of the newest blocks are lost, and how many of them lie above the one that is meant."""

    depth: int
    above: int


LOSSES = (Loss(1, 0), Loss(3, 2), Loss(LAG, LAG - 1), Loss(LAG, 0))
each_loss = pytest.mark.parametrize("loss", LOSSES, ids=str)


@dataclass
class Case:
    """A provider, what it was told, and every transaction that anybody in the story has signed."""

    ledger: AnvilLedger
    nursery: trio.Nursery
    stack: AsyncExitStack
    orders: Orders
    story: Story = field(default_factory=Story)
    signed: list[Prepared] = field(default_factory=list)
    adapters: dict[Address, ChainAdapter] = field(default_factory=dict)

    async def adapter(self, who: Key) -> ChainAdapter:
        """Somebody's hold on the chain, which looks after what it has sent."""
        if who.address not in self.adapters:
            client = CLIENT if who == NODE else None
            opened = self.ledger.adapter(who, client, record=self._record)
            self.adapters[who.address] = await self.stack.enter_async_context(opened)
            self.nursery.start_soon(self.adapters[who.address].look_after)
        return self.adapters[who.address]

    async def _record(self, prepared: Prepared) -> None:
        self.signed.append(prepared)

    @property
    def facts(self) -> list[Event]:
        """The events that were told, without heads."""
        return [event for event in self.story.events if not isinstance(event, BlockSeen)]

    @property
    def batch(self) -> BatchSubmitted:
        """The newest batch."""
        return self.story.all(BatchSubmitted)[-1]

    async def perform(self, who: Key, effect: ChainEffect) -> None:
        """As a role asks: again, while only the time for it has not come."""
        adapter = await self.adapter(who)
        for _ in range(20):
            try:
                await adapter.perform(effect)
            except Reverted as error:
                if not error.transient:
                    raise
                await self.ledger.mine()
            else:
                return
        raise AssertionError(f"never done: {effect}")

    async def bury(self) -> None:
        """Until all that has happened is final and told."""
        head, _ = await self.ledger.now()
        await self.ledger.mine(DEPTH)
        await self.story.until_block(head)

    async def _caught_up(self) -> None:
        """Until the watcher has told all that it can by the present head."""
        head, _ = await self.ledger.now()
        await self.story.until(BlockSeen, lambda seen: seen.head >= head)

    async def lose(self, loss: Loss, act: Callable[[], Awaitable[Any]], kinds: Sequence[type[Event]]) -> None:
        """Have something done by one transaction, lose it with its block, and wait until it is done for good.

        Args: kinds, of what is then told.
        """
        # The events of blocks that were mined for this step may still be on their way.
        await self._caught_up()
        told, signed = self.facts, len(self.signed)
        await act()
        (prepared,) = self.signed[signed:]
        lost_block, _ = await self.ledger.now()
        await self.ledger.lose(loss.depth, loss.above)
        await self._caught_up()
        # Told events are final, so none of them changes, and those that fell out have not been told.
        assert self.facts == told
        # It is mined again by itself, without another request.
        ethereum = self.ledger.network.ethereum
        with trio.fail_after(20):
            while (receipt := await ethereum.receipt(prepared.hash)) is None:
                await self.ledger.mine()
                await trio.sleep(POLL_S)
        assert receipt.succeeded
        assert receipt.block > lost_block
        await self.bury()
        assert self.facts[: len(told)] == told
        assert Counter(type(event) for event in self.facts[len(told) :]) == Counter(kinds)
        # One signature and one nonce, whatever fell out.
        assert self.signed[signed:] == [prepared]
        assert await ethereum.nonce(prepared.sender) == prepared.nonce + 1


@dataclass(frozen=True)
class Step:
    """One effect, and what is told of it. `make` brings about what it needs: who asks, and for what exactly."""

    effect: type[ChainEffect]
    kinds: tuple[type[Event], ...]
    make: Callable[[Case], Awaitable[tuple[Key, ChainEffect]]]


@asynccontextmanager
async def case(monkeypatch: pytest.MonkeyPatch, *verifiers: Key, **changes: int) -> AsyncIterator[Case]:
    """A node, a client with 100 VCN, and verifiers; at the end, somebody else is told the same from the beginning."""
    monkeypatch.setitem(FINAL_DEPTH, "local", DEPTH)
    # A node's score ages with its days. Every 64 final blocks it is told anew, and then no loss or step is the cause.
    monkeypatch.setattr(watcher, "REFRESH_BLOCKS", 10**9)
    with trio.fail_after(60):
        async with open_anvil_ledger(lag_blocks=LAG, **changes) as ledger, AsyncExitStack() as stack:
            await ledger.register(NODE)
            await ledger.deposit(CLIENT, 100 * VCN)
            for verifier in verifiers:
                await ledger.register(verifier)
                await ledger.join(verifier)
            await ledger.mine(DEPTH)
            async with trio.open_nursery() as nursery:
                at = Case(ledger, nursery, stack, Orders(CLIENT, NODE, ledger.domain))
                adapter = await at.adapter(NODE)
                assert adapter.rules.final_depth == DEPTH
                async with told_by(adapter) as at.story:
                    first, cursor = len(at.story.events), at.story.all(BlockSeen)[-1].final
                    yield at
                    await _require_same_story(at, first, cursor)
                nursery.cancel_scope.cancel()


async def _require_same_story(at: Case, first: int, cursor: int) -> None:
    """A late reader that hears all events after the `first` at once hears the same."""
    # Records and balances are read at the newest final block: the late one hears only the last of them.
    read = (NodeSeen, AccountSeen, BlockSeen)
    async with at.ledger.adapter(NODE, cursor=cursor) as late, told_by(late) as story:
        await story.until_block(at.story.all(BlockSeen)[-1].final)
        told, told_late = at.story.events[first:], story.events
    assert [each for each in told_late if not isinstance(each, read)] == [
        each for each in told if not isinstance(each, read)
    ]


async def walk(at: Case, steps: Sequence[Step], loss: Loss) -> None:
    """Go through the steps, with a loss at each."""
    for step in steps:
        who, effect = await step.make(at)
        assert type(effect) is step.effect
        await at.lose(loss, lambda who=who, effect=effect: at.perform(who, effect), step.kinds)  # type: ignore[misc]
