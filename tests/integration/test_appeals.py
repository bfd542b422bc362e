"""An appeal as a person makes it: shown before it is sent, and refused in words before any coin is allowed to move."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from chain.abi.enums import CaseState
from chain.contracts.panel import Panel
from chain.tx.transactions import Sender
from chain.tx.wallet import Key
from node.api.faults import Fault
from node.wallet import plans
from protocol.effects import ResolveCase
from protocol.params import VCN
from protocol.wire.ids import BatchId
from tests.support.anvil_ledger import DEPLOYER, POLL_S, AnvilLedger, open_anvil_ledger, owner_of
from tests.support.jobs import key
from tests.support.scenes.ledgers import NODE, scene

pytestmark = pytest.mark.anvil

OWNER, BOND = owner_of(NODE), 100 * VCN


@asynccontextmanager
async def judged(*scores: int, verifiers: int) -> AsyncIterator[tuple[AnvilLedger, BatchId]]:
    """A case whose first three seats have given these scores."""
    async with scene(open_anvil_ledger, verifiers=verifiers) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.judge(name, case, *scores)
        await play.adapter.perform(ResolveCase(name, contents))
        assert isinstance(play.ledger, AnvilLedger)
        yield play.ledger, name


async def appeal(ledger: AnvilLedger, by: Key) -> plans.TransactionPlan:
    return await plans.appeal(ledger.network, by, NODE.address, 0)


async def test_an_appeal_costs_what_it_showed() -> None:
    async with judged(2_000, verifiers=10) as (ledger, name):
        network = ledger.network
        await ledger.give(OWNER)
        held = await network.token.balance_of(OWNER.address)
        move = await appeal(ledger, OWNER)
        planned = await plans.simulate(network, move)
        assert [call.function for call in planned.calls] == ["approve", "appeal"]
        assert [(each.name, each.after_wei - each.before_wei) for each in planned.balances] == [
            ("wallet", -BOND),
            ("bond", BOND),
        ]
        sent = await plans.send(network, move, Sender(network.ethereum, OWNER, plans.unrecorded, poll_s=POLL_S))
        assert len(sent.transactions) == 2
        assert await network.token.balance_of(OWNER.address) == held - BOND
        case = await network.court.case_of(name)
        assert (case.state, case.round, case.first_seat, case.seat_count) == (CaseState.OPEN, 1, 3, 10)
        assert (case.appellant, case.bond) == (OWNER.address, BOND)
        with pytest.raises(Fault, match="the case is open: there is nothing to appeal"):
            await appeal(ledger, OWNER)


async def test_what_cannot_be_appealed_is_said_before_a_permission_is_given() -> None:
    async with judged(2_000, verifiers=10) as (ledger, _):
        stranger = key("stranger")
        await ledger.give(stranger)
        with pytest.raises(Fault, match="is not a key of") as caught:
            await appeal(ledger, stranger)
        assert caught.value.hint == "its owner or its operator may appeal"
        with pytest.raises(Fault, match="has no batch in slot 5"):
            await plans.appeal(ledger.network, OWNER, NODE.address, 5)
        with pytest.raises(Fault, match="holds 0 VCN, 100 are needed"):
            await appeal(ledger, NODE)


async def test_arbiters_let_a_doubtful_batch_pass() -> None:
    people = tuple(key(f"arbiter {number}") for number in range(3))
    async with scene(open_anvil_ledger, verifiers=3) as play:
        ledger = play.ledger
        assert isinstance(ledger, AnvilLedger)
        network = ledger.network
        panel = Panel(network.ethereum, await network.court.panel_address())
        proposer = Sender(network.ethereum, DEPLOYER, plans.unrecorded, poll_s=POLL_S)
        named, delay = panel.set_arbiters(tuple(person.address for person in people), 2), await network.timelock.delay()
        await proposer.send(network.timelock.schedule(named, delay))
        await ledger.warp(delay)
        await proposer.send(network.timelock.execute(named))
        assert (set(await panel.arbiters()), await panel.quorum()) == ({person.address for person in people}, 2)
        await play.open_lane()
        name, contents, case = await play.convene()
        await play.judge(name, case, 9_500)
        await play.adapter.perform(ResolveCase(name, contents))
        assert (await network.court.case_of(name)).state is CaseState.ARBITER
        await ledger.controls.enrich(*people)
        for person in people[:2]:
            voter = Sender(network.ethereum, person, plans.unrecorded, poll_s=POLL_S)
            await voter.send(panel.vote(name, True))
        assert await panel.votes_of(name) == (2, 0)
        assert (await network.court.case_of(name)).verdict.name == "PASS"
