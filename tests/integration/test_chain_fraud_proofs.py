"""Proofs of fraud on Anvil: what the core finds in a leaf, the contract finds as well."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest
import trio

from chain.abi.enums import BatchState, NodeState
from chain.contracts.court import ChainCase
from chain.contracts.facts import ClientTouched
from chain.contracts.fraud_proofs import FraudProven
from chain.rpc.ethereum import Call
from chain.rpc.ethereum import TransactionReceipt as Mined
from chain.tx.transactions import Sender
from chain.tx.wallet import Key
from protocol.effects import ProveFraud
from protocol.errors import Reverted
from protocol.events import BatchChallenged, BatchSubmitted, Event, TransactionMined
from protocol.judging.fraud_proofs import FraudKind, OpenedLeaf, Papers, SignedResult, fraud_kinds_in
from protocol.params import VCN
from protocol.stages.commitment import Leaf, LeafEntry
from protocol.stages.verification import Verdict
from protocol.wire.ids import ZERO_HASH
from protocol.wire.merkle import path
from tests.support.anvil_ledger import POLL_S, AnvilLedger, forget, open_anvil_ledger
from tests.support.jobs import Orders, batch_with, key

pytestmark = pytest.mark.anvil
WHILE_S = 1.0
"""Enough for a transaction to reach the pool."""
SELDOM_S, DEADLINE_S = 1.0, 30.0
NODE, CLIENT, PROVER, SECOND = key("node"), key("client"), key("prover"), key("second prover")


@dataclass
class Scene:
    """A node, a client with a lane, and what is settled on it."""

    ledger: AnvilLedger
    orders: Orders

    async def send(self, sender: Key, call: Call) -> Mined:
        return await Sender(self.ledger.network.ethereum, sender, forget, poll_s=POLL_S).send(call)

    async def submit(self, entries: list[LeafEntry], slot: int = 0) -> BatchSubmitted:
        settlement = self.ledger.network.settlement
        mined = await self.send(NODE, settlement.submit(batch_with(NODE.address, slot, entries)))
        told = (settlement.fact(entry) for log in mined.logs if (entry := settlement.entry(log)))
        return next(fact for fact in told if isinstance(fact, BatchSubmitted))

    async def until_in_pool(self, sender: Key) -> None:
        """Wait for the first transaction of somebody."""
        with trio.fail_after(DEADLINE_S):
            while not await self.ledger.network.ethereum.nonce(sender.address, "pending"):  # noqa: ASYNC110
                await trio.sleep(POLL_S)

    def papers(self, entry: LeafEntry) -> Papers:
        job = entry.job
        assert job is not None
        assert job.receipt is not None
        signed = SignedResult(job.result, NODE.sign(job.result, self.ledger.domain))
        return Papers(job.assignment, job.details, job.receipt.receipt, signed)

    async def prove(self, facts: BatchSubmitted, fraud_kind: FraudKind, opened: OpenedLeaf, papers: Papers) -> Mined:
        call = self.ledger.network.fraud_proofs.prove_fraud(
            NODE.address, 0, facts.contents, fraud_kind, [opened], papers
        )
        return await self.send(PROVER, call)


@asynccontextmanager
async def scene() -> AsyncIterator[Scene]:
    async with open_anvil_ledger() as ledger:
        await ledger.register(NODE)
        await ledger.deposit(CLIENT, 100 * VCN)
        await ledger.controls.enrich(PROVER)
        orders = Orders(CLIENT, NODE, ledger.domain)
        _, now = await ledger.now()
        order, _ = orders.lane_open(50 * VCN, now + 600)
        play = Scene(ledger, orders)
        await play.send(CLIENT, ledger.network.settlement.open_lane(order, b""))
        yield play


def opened_of(entries: list[LeafEntry], position: int) -> OpenedLeaf:
    leaf: Leaf = entries[position].leaf
    return OpenedLeaf(position, leaf, path([entry.leaf.node for entry in entries], position))


def lied(entries: list[LeafEntry], position: int, **changes: object) -> list[LeafEntry]:
    made = list(entries)
    made[position] = replace(made[position], leaf=replace(made[position].leaf, **changes))
    return made


async def test_what_the_core_finds_condemns_on_chain() -> None:
    async with scene() as play:
        honest = [play.orders.finish() for _ in range(3)]
        entries = lied(honest, 1, output_commit=bytes(32))
        facts = await play.submit(entries)
        opened, papers = opened_of(entries, 1), play.papers(entries[1])
        assert fraud_kinds_in(opened, facts, papers, NODE.address, NODE.address, play.ledger.domain) == (
            FraudKind.RESULT_DIFFERS,
        )
        mined = await play.prove(facts, FraudKind.RESULT_DIFFERS, opened, papers)
        network = play.ledger.network
        told = [network.fraud_proofs.entry(log) for log in mined.logs]
        (proven,) = [fraud for entry in told if entry and (fraud := network.fraud_proofs.proven(entry))]
        batch_id = await network.settlement.batch_id_of(NODE.address, 0)
        assert batch_id is not None
        assert proven == FraudProven(NODE.address, 0, batch_id, FraudKind.RESULT_DIFFERS, 1, PROVER.address)
        assert (await network.settlement.batch_of(NODE.address, 0)).state is BatchState.VOID
        node = await network.stakes.node_of(NODE.address)
        assert node is not None
        assert (node.state, node.active_stake) == (NodeState.JAILED, 5_000 * VCN)
        case: ChainCase = await network.court.case_of(batch_id)
        assert case.verdict is Verdict.SEVERE
        with pytest.raises(Reverted, match=r"WrongState\(state=void\)"):
            await play.prove(facts, FraudKind.RESULT_DIFFERS, opened, papers)


def proof_of(
    facts: BatchSubmitted, batch_id: bytes, fraud_kind: FraudKind, opened: OpenedLeaf, papers: Papers
) -> ProveFraud:
    return ProveFraud(batch_id, NODE.address, 0, facts.contents, fraud_kind, (opened,), papers)


async def test_a_seat_that_asks_for_a_proof_condemns_and_a_second_one_is_done_already() -> None:
    async with scene() as play:
        settlement, stakes = play.ledger.network.settlement, play.ledger.network.stakes
        entries = lied([play.orders.finish() for _ in range(3)], 2, receipt_hash=ZERO_HASH)
        facts = await play.submit(entries)
        batch_id = await settlement.batch_id_of(NODE.address, 0)
        assert batch_id is not None
        effect = proof_of(facts, batch_id, FraudKind.NO_RECEIPT, opened_of(entries, 2), play.papers(entries[2]))
        await play.ledger.controls.enrich(SECOND)
        async with play.ledger.adapter(PROVER) as first, play.ledger.adapter(SECOND) as second:
            with pytest.raises(Reverted, match=r"NoFraud\(fraudKind=false_sums\)") as refused:
                await first.perform(replace(effect, fraud_kind=FraudKind.FALSE_SUMS))
            assert not refused.value.transient
            mined = await first.perform(effect)
            assert mined == TransactionMined(ProveFraud, batch_id, (await play.ledger.now())[0])
            assert (await settlement.batch_of(NODE.address, 0)).state is BatchState.VOID
            node = await stakes.node_of(NODE.address)
            assert node is not None
            assert (node.state, node.active_stake) == (NodeState.JAILED, 5_000 * VCN)
            # A later or repeated call pays nothing and hears the same, also of a batch that has left its slot.
            assert await second.perform(effect) == mined
            assert isinstance(await second.perform(replace(effect, batch_id=bytes(32))), TransactionMined)
        ethereum = play.ledger.network.ethereum
        assert [await ethereum.nonce(each.address) for each in (PROVER, SECOND)] == [1, 0]


@pytest.mark.parametrize("in_turn", [False, True], ids=["at once", "one in the pool"])
async def test_two_who_prove_in_one_block_both_hear_that_it_is_done(in_turn: bool) -> None:
    async with scene() as play:
        entries = lied([play.orders.finish() for _ in range(2)], 0, output_commit=bytes(32))
        facts = await play.submit(entries)
        network = play.ledger.network
        batch_id = await network.settlement.batch_id_of(NODE.address, 0)
        assert batch_id is not None
        effect = proof_of(facts, batch_id, FraudKind.RESULT_DIFFERS, opened_of(entries, 0), play.papers(entries[0]))
        await play.ledger.controls.enrich(SECOND)
        heard: list[Event] = []

        async def prove(prover: Key) -> None:
            # A caller that the pool refuses looks for a block as often as any, here for some seconds in all.
            async with play.ledger.adapter(prover, poll_s=SELDOM_S) as adapter:
                heard.append(await adapter.perform(effect))

        await play.ledger.controls.automine(False)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(prove, PROVER)
            if in_turn:
                await play.until_in_pool(PROVER)
            nursery.start_soon(prove, SECOND)
            await trio.sleep(WHILE_S)
            assert heard == []
            await play.ledger.mine(1)
        assert heard == [TransactionMined(ProveFraud, batch_id, (await play.ledger.now())[0])] * 2


async def test_an_honest_leaf_is_condemned_for_nothing() -> None:
    async with scene() as play:
        entries = [play.orders.finish(actual_ms=actual_ms) for actual_ms in (900, 1_599, 1_600)]
        facts = await play.submit(entries)
        for position in range(3):
            opened, papers = opened_of(entries, position), play.papers(entries[position])
            assert fraud_kinds_in(opened, facts, papers, NODE.address, NODE.address, play.ledger.domain) == ()
            for fraud_kind in FraudKind:
                with pytest.raises(Reverted, match=rf"NoFraud\(fraudKind={fraud_kind.name.lower()}\)"):
                    await play.prove(facts, fraud_kind, opened, papers)


async def test_a_challenge_is_told_and_its_bond_comes_back_once_nobody_judged() -> None:
    async with scene() as play:
        await play.ledger.graduate(NODE)
        network, settlement = play.ledger.network, play.ledger.network.settlement
        entries = [play.orders.finish() for _ in range(3)]
        facts = await play.submit(entries)
        batch_id = await settlement.batch_id_of(NODE.address, 0)
        assert batch_id is not None
        free = (await settlement.account_of(CLIENT.address)).free
        mined = await play.send(CLIENT, network.fraud_proofs.challenge_leaf(NODE.address, 0, facts.contents, 2))
        told = [network.fact(log) for log in mined.logs]
        assert told == [BatchChallenged(batch_id, NODE.address, CLIENT.address, 2)]
        client, bond = await network.fraud_proofs.challenge_of(batch_id)
        assert (client, (await settlement.account_of(CLIENT.address)).free) == (CLIENT.address, free - bond)
        assert (await settlement.batch_of(NODE.address, 0)).rate_percent == 100
        await play.ledger.mine(20)
        block = (await settlement.batch_of(NODE.address, 0)).commit_block
        epoch = await network.beacon.read("epochOf", block)
        await play.send(PROVER, network.beacon.call("seal", epoch))
        await play.ledger.warp((await network.params.profile()).starved_seconds + 1)
        await play.send(PROVER, network.court.void_starved(NODE.address, 0, facts.contents))
        mined = await play.send(PROVER, network.fraud_proofs.end_challenge(NODE.address, 0, block))
        assert [network.fact(log) for log in mined.logs] == [ClientTouched(CLIENT.address)]
        assert (await settlement.account_of(CLIENT.address)).free == free
