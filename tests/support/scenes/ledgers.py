"""Ledgers of both kinds, and batches, cases and lanes on them."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

import pytest
import trio

from chain.tx.wallet import Key
from protocol.effects import (
    CommitSeat,
    ConveneCourt,
    OpenLane,
    ResolveCase,
    RevealSeat,
    SealEpoch,
    SubmitBatch,
)
from protocol.errors import Reverted
from protocol.events import (
    AccountSeen,
    BatchMined,
    BatchSubmitted,
    CaseConvened,
    CaseGrown,
    SeatAdded,
)
from protocol.judging.fraud_proofs import FraudKind, OpenedLeaf, Papers
from protocol.judging.margins import SequentialTest
from protocol.params import VCN, ChainRules
from protocol.stages.assignment import verify_fee
from protocol.stages.commitment import Batch, BatchContents
from protocol.stages.sampling import ListSlot, epoch_of
from protocol.stages.settlement import convene_pay
from protocol.stages.verification import seat_commitment
from protocol.wire.envelope import Domain
from protocol.wire.ids import Address, BatchId
from tests.fakes.ledger import MemoryLedger
from tests.support.anvil_ledger import open_anvil_ledger
from tests.support.event_recorder import Story, told_by
from tests.support.jobs import PRICE, Orders, batch_of, key, named

NODE, CLIENT = key("node"), key("client")
VERIFIERS = [key(f"verifier {index}") for index in range(10)]
LANE = 50 * VCN


class Ledger(Protocol):
    """The ledger as a test needs it."""

    rules: ChainRules

    @property
    def domain(self) -> Domain: ...

    async def mine(self, blocks: int = 1) -> None: ...

    async def warp(self, seconds: int) -> None: ...

    async def now(self) -> tuple[int, int]: ...

    async def register(self, operator: Key, stake: int = ...) -> None: ...

    async def join(self, operator: Key) -> None: ...

    async def deposit(self, client: Key, amount: int) -> None: ...

    async def appeal(self, operator: Key, name: BatchId, contents: BatchContents) -> None: ...

    async def demand(self, adapter: Any, verifier: str, name: BatchId, seat: int, leaf: int) -> None: ...

    async def graduate(self, operator: Key) -> None: ...

    async def challenge(
        self, client: Key, node: Address, slot: int, contents: BatchContents, position: int
    ) -> None: ...

    async def end_challenge(self, node: Address, slot: int, block: int) -> None: ...

    async def prove(
        self,
        node: Address,
        slot: int,
        contents: BatchContents,
        fraud_kind: FraudKind,
        opened: OpenedLeaf,
        papers: Papers,
    ) -> None: ...

    async def pool(self) -> int: ...

    async def running(self, node: Address) -> SequentialTest: ...

    async def verifiers(self) -> list[ListSlot]: ...

    async def draw_audit(self, name: BatchId, *, drawn: bool = True) -> int: ...

    async def pause(self, seconds: int) -> None: ...

    async def resume(self) -> None: ...

    def adapter(
        self, operator: Key, client: Key | None = None, *, cursor: int | None = None
    ) -> AbstractAsyncContextManager[Any]: ...


OpenLedger = Callable[..., AbstractAsyncContextManager[Ledger]]


@asynccontextmanager
async def in_memory(**changes: int) -> AsyncIterator[Ledger]:
    yield MemoryLedger(**changes)


@pytest.fixture(params=["memory", pytest.param("anvil", marks=pytest.mark.anvil)])
def open_ledger(request: pytest.FixtureRequest) -> OpenLedger:
    """Opens a ledger of the local profile, with changes to its numbers."""
    return open_anvil_ledger if request.param == "anvil" else in_memory


@dataclass
class Scene:
    """A provider with a client's lane, verifiers, and what the provider's adapter does and tells."""

    ledger: Ledger
    adapter: Any
    story: Story
    orders: Orders
    seats: list[Any] = field(default_factory=list)

    async def final(self) -> None:
        """Until all that has happened counts as final and was told."""
        head, _ = await self.ledger.now()
        await self.ledger.mine(self.ledger.rules.final_depth)
        await self.story.until_block(head)

    async def open_lane(self, amount: int = LANE) -> None:
        _, now = await self.ledger.now()
        await self.adapter.perform(OpenLane(*self.orders.lane_open(amount, now + 600)))

    async def open_more(self, amount: int) -> None:
        """Takes so much more from the account into the lane."""
        _, now = await self.ledger.now()
        await self.adapter.perform(OpenLane(*self.orders.lane_open(amount, now + 600, prev_total=LANE)))

    async def submit(self, jobs: int = 3, **terms: Any) -> tuple[Batch, BatchMined]:
        for _ in range(jobs):
            self.orders.finish(**terms)
        batch = batch_of(NODE.address, 0, self.orders, checked=terms.get("checked", False))
        return batch, await self.adapter.perform(SubmitBatch(batch))

    async def seal(self, mined: BatchMined) -> None:
        rules = self.ledger.rules
        await self.ledger.mine(rules.epoch + rules.lag + 1)
        await self.adapter.perform(SealEpoch(epoch_of(mined.block, rules.epoch)))

    async def convene(self, **terms: Any) -> tuple[BatchId, BatchContents, CaseConvened]:
        """A batch in court."""
        _, mined = await self.submit(**terms)
        return await self.bring_to_court(mined)

    async def bring_to_court(self, mined: BatchMined) -> tuple[BatchId, BatchContents, CaseConvened]:
        await self.seal(mined)
        await self.final()
        name = BatchId(mined.batch_id)
        contents = (await self.story.until(BatchSubmitted, lambda told: told.batch_id == name)).contents
        await self.adapter.perform(ConveneCourt(name, NODE.address, mined.slot, contents))
        _, opened_at = await self.ledger.now()
        await self.final()
        case = await self.story.until(CaseConvened, lambda told: told.batch_id == name)
        assert case.timestamp == opened_at
        return name, contents, case

    def seat(self, node: str) -> Any:
        """The adapter of a verifier."""
        return self.seats[[verifier.address for verifier in VERIFIERS].index(node)]  # type: ignore[arg-type]

    async def commit(self, name: BatchId, seat: int, node: str, round_number: int = 0, llr_millinats: int = 0) -> None:
        commitment = seat_commitment(name, round_number, seat, named(f"digest {seat}"), named("salt"), llr_millinats)
        await self.seat(node).perform(CommitSeat(name, seat, commitment))

    async def reveal(
        self, name: BatchId, seat: int, node: str, scores: tuple[int, ...], llr_millinats: int = 0
    ) -> None:
        effect = RevealSeat(name, seat, named(f"digest {seat}"), scores, named("salt"), llr_millinats)
        await self.seat(node).perform(effect)

    async def judge(self, name: BatchId, case: CaseConvened, *scores: int, llr_millinats: int = 0) -> None:
        """Every seat commits, then every seat gives its score, the last of `scores` where there are fewer."""
        for seat, node in enumerate(case.seats):
            await self.commit(name, seat, node, llr_millinats=llr_millinats)
        for seat, node in enumerate(case.seats):
            score = scores[min(seat, len(scores) - 1)]
            await self.reveal(name, seat, node, (score,) * len(case.drawn), llr_millinats)

    async def resolve_again(self, name: BatchId, contents: BatchContents) -> None:
        """By another node: to one that has asked before, the same wish is the same transaction until that is final."""
        await self.seats[0].perform(ResolveCase(name, contents))

    async def judge_again(self, name: BatchId, case: CaseConvened, score: int) -> dict[int, str]:
        """The seats of the second round, once they are told, give this score."""
        await self.final()
        grown = await self.story.until(CaseGrown)
        seats = {added.seat: str(added.node) for added in self.story.all(SeatAdded) if added.seat >= grown.first_seat}
        for seat, node in seats.items():
            await self.commit(name, seat, node, grown.round)
        for seat, node in seats.items():
            await self.reveal(name, seat, node, (score,) * len(case.drawn))
        return seats


@asynccontextmanager
async def scene(open_ledger: OpenLedger, *, verifiers: int = 0, **changes: int) -> AsyncIterator[Scene]:
    """One node, one client with 100 VCN, and so many verifiers."""
    with trio.fail_after(60):
        async with open_ledger(**changes) as ledger:
            await ledger.register(NODE)
            await ledger.deposit(CLIENT, 100 * VCN)
            for verifier in VERIFIERS[:verifiers]:
                await ledger.register(verifier)
                await ledger.join(verifier)
            async with ledger.adapter(NODE, CLIENT) as adapter, told_by(adapter) as story:
                made = Scene(ledger, adapter, story, Orders(CLIENT, NODE, ledger.domain))
                async with _adapters(ledger, VERIFIERS[:verifiers], made.seats):
                    yield made


@asynccontextmanager
async def _adapters(ledger: Ledger, keys: list[Key], into: list[Any]) -> AsyncIterator[None]:
    if not keys:
        yield
        return
    async with ledger.adapter(keys[0]) as first:
        into.append(first)
        async with _adapters(ledger, keys[1:], into):
            yield


def account(story: Story) -> int:
    """The client's free money, as it was told last."""
    return story.all(AccountSeen)[-1].account.free


OPEN_S = 100


OPEN = {"challenge_seconds": OPEN_S, "unbonding_seconds": 800}
"""A window that a test does not outlive, and stakes that outlive it."""


FRESH_SCORE = 4_500
"""Half of the success term, half of the speed term, the whole stake term."""


async def refused(adapter: Any, effect: Any, error: str) -> Reverted:
    """Performs an effect that must be refused with this error."""
    with pytest.raises(Reverted, match=rf": {error}\(") as caught:
        await adapter.perform(effect)
    return caught.value


FEE = 3 * verify_fee(PRICE)


CONVENED = convene_pay(FEE)


POOLED = 500 * VCN
"""A tenth of what fraud costs a stake of 10 000 VCN."""
