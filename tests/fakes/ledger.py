"""The chain in memory: the same effects, the same events, the same refusals as the real one.

Blocks come with transactions, as on an Anvil that mines at once, or when a test mines them.
"""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import trio
from eth_utils.crypto import keccak

from chain.contracts.profiles import FINAL_DEPTH, HEARTBEAT_MS, profiles
from chain.perform.cases import STAYS
from chain.rpc.ethereum import TOO_EARLY
from chain.tx.wallet import Key, Wallet
from protocol.effects import ChainEffect, ConfirmLane
from protocol.errors import Reverted
from protocol.events import BlockSeen, Event
from protocol.judging.fraud_proofs import FraudKind, OpenedLeaf, Papers
from protocol.judging.margins import SequentialTest
from protocol.params import VCN, ChainRules
from protocol.stages.commitment import BatchContents
from protocol.stages.sampling import ListSlot, is_audited, seed_block
from protocol.wire.envelope import Domain
from protocol.wire.ids import Address, BatchId, checksum
from tests.fakes.audits import Audits
from tests.fakes.contracts import Refused
from tests.fakes.hand import Hand, answer_of, confirmed, mined
from tests.support.jobs import CLASS, named

Change = Callable[[Audits], None]


class MemoryLedger:
    """One chain and the contracts on it; `changes` to the numbers of the local profile."""

    def __init__(self, **changes: Any) -> None:
        profile = replace(profiles()["local"], **changes)
        self.domain = Domain(31337, checksum("0x" + "51" * 20))
        self.contracts = Audits(profile, self.domain)
        self.news = trio.Condition()
        self._blocks: list[tuple[Event, ...]] = [()]
        self._states: list[Audits] = [self.contracts]
        self.rules = ChainRules(
            profile=profile.name,
            chain_id=self.domain.chain_id,
            settlement=self.domain.contract,
            stake_manager=checksum("0x" + "57" * 20),
            epoch=profile.epoch_blocks,
            lag=profile.lag_blocks,
            final_depth=FINAL_DEPTH[profile.name],
            seat_window_s=profile.seat_seconds,
            challenge_window_s=profile.challenge_seconds,
            starved_s=profile.starved_seconds,
            court_value=profile.court_value,
            min_stake=profile.min_stake,
            recommended_stake=profile.recommended_stake,
            min_deposit=profile.min_deposit,
            heartbeat_ms=HEARTBEAT_MS[profile.name],
        )

    # ---- blocks

    def transact(self, change: Change) -> int:
        """Make a block of one transaction, or none if it is refused.

        Raises: Refused.
        """
        draft = self.contracts.fork()
        draft.block, draft.timestamp = draft.block + 1, draft.timestamp + 1
        change(draft)
        self.contracts = draft
        self._blocks.append(tuple(draft.events))
        self._states.append(draft)
        return draft.block

    async def announce(self) -> None:
        """Wake the followers of the chain."""
        async with self.news:
            self.news.notify_all()

    async def mine(self, blocks: int = 1) -> None:
        for _ in range(blocks):
            self.transact(lambda contracts: None)
        await self.announce()

    async def warp(self, seconds: int) -> None:
        self.contracts.timestamp += seconds
        await self.mine()

    async def now(self) -> tuple[int, int]:
        return self.contracts.block, self.contracts.timestamp

    def state_at(self, block: int) -> Audits:
        return self._states[max(0, block)]

    def events_of(self, block: int) -> tuple[Event, ...]:
        return self._blocks[block]

    # ---- people

    async def register(self, operator: Key, stake: int = 10_000 * VCN) -> None:
        owner = checksum(f"0x{keccak(b'owner' + operator.public)[12:].hex()}")
        self.transact(lambda contracts: contracts.register(operator.address, owner, stake))

    async def join(self, operator: Key) -> None:
        self.transact(lambda contracts: contracts.join_verifiers(operator.address))

    async def deposit(self, client: Key, amount: int) -> None:
        self.transact(lambda contracts: contracts.deposit(client.address, amount))

    async def appeal(self, operator: Key, name: BatchId, contents: BatchContents) -> None:
        owner = self.contracts.nodes[operator.address].owner
        self.transact(lambda contracts: contracts.appeal(owner, name, contents))

    async def demand(self, adapter: Any, verifier: str, name: BatchId, seat: int, leaf: int) -> None:
        key = named("key")
        self.transact(lambda contracts: contracts.demand_data(Address(verifier), name, seat, leaf, key))

    async def graduate(self, operator: Key) -> None:
        burned = 20 * self.contracts.profile.min_burn
        self.transact(lambda contracts: contracts.record(operator.address, 20, 20_000, burned))

    async def challenge(self, client: Key, node: Address, slot: int, contents: BatchContents, position: int) -> None:
        self._as_people(lambda contracts: contracts.challenge_leaf(client.address, node, slot, contents, position))

    async def end_challenge(self, node: Address, slot: int, block: int) -> None:
        self._as_people(lambda contracts: contracts.end_challenge(node, slot, block))

    async def prove(
        self,
        node: Address,
        slot: int,
        contents: BatchContents,
        fraud_kind: FraudKind,
        opened: OpenedLeaf,
        papers: Papers,
    ) -> None:
        self._as_people(lambda contracts: contracts.prove_fraud(node, slot, contents, fraud_kind, [opened], papers))

    async def pool(self) -> int:
        return self.contracts.pool

    async def running(self, node: Address) -> SequentialTest:
        return self.contracts.running.get((node, CLASS), SequentialTest())

    async def verifiers(self) -> list[ListSlot]:
        return self.contracts.verifiers

    async def draw_audit(self, name: BatchId, *, drawn: bool = True) -> int:
        """Mine up to the block whose hash says whether a case that has just passed is audited; its epoch."""
        epoch = self.contracts.audit_epoch(name)
        source = seed_block(epoch, self.rules.epoch, self.rules.lag)
        hashes = (named(f"block {source}, try {attempt}") for attempt in itertools.count())
        self.contracts.hashes[source] = next(each for each in hashes if is_audited(each, name) is drawn)
        await self.mine(source - self.contracts.block)
        return epoch

    def _as_people(self, change: Change) -> None:
        """Raises: Reverted, as the chain does where no adapter is between."""
        try:
            self.transact(change)
        except Refused as error:
            raise Reverted(f"FraudProofs: {error}()", transient=str(error) in TOO_EARLY) from error

    async def pause(self, seconds: int) -> None:
        self.transact(lambda contracts: contracts.pause_intake(contracts.timestamp + seconds))

    async def resume(self) -> None:
        self.transact(lambda contracts: contracts.pause_intake(contracts.timestamp))

    @asynccontextmanager
    async def adapter(
        self, operator: Key, client: Key | None = None, *, cursor: int | None = None
    ) -> AsyncIterator["MemoryAdapter"]:
        yield MemoryAdapter(self, Wallet(operator, self.domain, client), cursor)


class MemoryAdapter:
    """One node's hold on the chain."""

    def __init__(self, ledger: MemoryLedger, wallet: Wallet, cursor: int | None) -> None:
        self._ledger = ledger
        operator = wallet.operator.address
        self._hand = Hand(operator, wallet.client.address if wallet.client else operator)
        self._told = cursor or 0

    async def run(
        self, send_event: Callable[[Event], Awaitable[None]], *, task_status: Any = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Report blocks as they become final, until cancelled."""
        head = -1
        while True:
            if head != (now := self._ledger.contracts.block):
                for event in self._new_events():
                    await send_event(event)
                if head == -1:
                    task_status.started()
                head = now
            async with self._ledger.news:
                if head == self._ledger.contracts.block:
                    await self._ledger.news.wait()

    def _new_events(self) -> list[Event]:
        contracts = self._ledger.contracts
        final = max(0, contracts.block - self._ledger.rules.final_depth)
        events = [event for block in range(self._told + 1, final + 1) for event in self._ledger.events_of(block)]
        self._told = max(self._told, final)
        return [*events, BlockSeen(contracts.block, self._told, contracts.timestamp)]

    async def perform(self, effect: ChainEffect) -> Event:
        """Do what an effect asks, unless it is done already.

        Raises: Reverted.
        """
        if isinstance(effect, ConfirmLane):
            return await self._confirm(effect)
        if (answer := answer_of(self._ledger.contracts, effect)) is not None:
            return answer
        try:
            self._ledger.transact(lambda contracts: self._hand.do(contracts, effect))
        except Refused as error:
            name = str(error)
            if name == "SameDay":
                return mined(self._ledger.contracts, effect)
            words = f": {STAYS}" if name == "AbstainedToday" else ""
            raise Reverted(f"{type(effect).__name__}: {name}(){words}", transient=name in TOO_EARLY) from error
        await self._ledger.announce()
        return answer_of(self._ledger.contracts, effect) or mined(self._ledger.contracts, effect)

    async def _confirm(self, effect: ConfirmLane) -> Event:
        ledger = self._ledger
        while True:
            head = ledger.contracts.block
            deep, final = head - effect.confirmations + 1, head - ledger.rules.final_depth
            try:
                if (found := confirmed(ledger.state_at(deep), ledger.state_at(final), effect)) is not None:
                    return found
            except Refused as error:
                raise Reverted(f"ConfirmLane: {error}()") from error
            async with ledger.news:
                if head == ledger.contracts.block:
                    await ledger.news.wait()
