"""A job without a lane on Anvil: what the client module encodes is what the contract keeps."""

from dataclasses import replace

import pytest

from chain.contracts.facts import ClientTouched
from chain.contracts.settlement import Settlement
from chain.contracts.singles import ENDED, JobOutput, output_of, state_hash, terms_of
from chain.rpc.ethereum import Call
from chain.rpc.ethereum import TransactionReceipt as Mined
from chain.tx.transactions import Sender
from chain.tx.wallet import Key
from protocol.errors import Reverted
from protocol.params import VCN
from protocol.stages.assignment import Assignment, JobDetails
from protocol.stages.commitment import Receipt, Result
from protocol.wire.envelope import digest, struct_hash
from protocol.wire.ids import ZERO_HASH, Address, JobId
from tests.support.anvil_ledger import POLL_S, AnvilLedger, forget, open_anvil_ledger
from tests.support.jobs import Orders, key, named

pytestmark = pytest.mark.anvil
NODE, CLIENT, ANYBODY = key("node"), key("client"), key("anybody")
PRICE = 2 * VCN
TOTAL = PRICE + PRICE // 20 + PRICE * 9 // 100


async def send(ledger: AnvilLedger, sender: Key, call: Call) -> Mined:
    return await Sender(ledger.network.ethereum, sender, forget, poll_s=POLL_S).send(call)


async def free(settlement: Settlement, client: Address) -> int:
    return (await settlement.account_of(client)).free


async def ready(ledger: AnvilLedger) -> None:
    """A client with money, and a node whose probation is over."""
    await ledger.register(NODE)
    await ledger.deposit(CLIENT, 100 * VCN)
    await ledger.controls.enrich(ANYBODY)
    await ledger.graduate(NODE)


async def single(ledger: AnvilLedger) -> tuple[Assignment, JobDetails, JobId]:
    _, now = await ledger.now()
    job = Orders(CLIENT, NODE, ledger.domain).finish(price=PRICE).job
    assert job is not None
    details = replace(job.details, deadline=now + 600)
    order = replace(job.assignment, index=0, cumulative=TOTAL, details=struct_hash(details))
    return order, details, JobId(digest(order, ledger.domain))


async def test_a_job_without_a_lane_is_opened_committed_and_settled() -> None:
    async with open_anvil_ledger() as ledger:
        await ready(ledger)
        singles, settlement = ledger.network.singles, ledger.network.settlement
        order, details, job = await single(ledger)
        terms = terms_of(order, details)
        assert await singles.state_of(job) == ZERO_HASH
        mined = await send(ledger, ANYBODY, singles.open(order, details, CLIENT.sign(order, ledger.domain)))
        assert await singles.state_of(job) == state_hash(terms)
        assert await free(settlement, CLIENT.address) == 100 * VCN - TOTAL
        told = [ledger.network.fact(log) for log in mined.logs]
        assert told == [ClientTouched(CLIENT.address)]
        output = output_of(Result(job, named("result"), named("output"), named("blob")))
        await send(ledger, NODE, singles.commit(job, terms, output))
        assert await singles.state_of(job) == state_hash(terms, output)
        receipt = Receipt(job, output.result_hash, PRICE, 900)
        before = (await settlement.book_of(NODE.address)).rewards
        await send(ledger, ANYBODY, singles.settle(job, terms, output, receipt, CLIENT.sign(receipt, ledger.domain)))
        assert await singles.state_of(job) == ENDED
        # It was early: the whole bonus is the node's.
        assert await free(settlement, CLIENT.address) == 100 * VCN - TOTAL
        assert (await settlement.book_of(NODE.address)).rewards > before + PRICE * 9 // 100
        with pytest.raises(Reverted, match="JobExists"):
            await send(ledger, ANYBODY, singles.open(order, details, CLIENT.sign(order, ledger.domain)))


async def test_a_job_that_nobody_did_gives_its_money_back() -> None:
    async with open_anvil_ledger() as ledger:
        await ready(ledger)
        singles = ledger.network.singles
        order, details, job = await single(ledger)
        await send(ledger, CLIENT, singles.open(order, details, b""))
        with pytest.raises(Reverted, match="StillRunning"):
            await send(ledger, ANYBODY, singles.expire(job, terms_of(order, details), JobOutput()))
        await ledger.warp(601)
        await send(ledger, ANYBODY, singles.expire(job, terms_of(order, details), JobOutput()))
        assert await free(ledger.network.settlement, CLIENT.address) == 100 * VCN
