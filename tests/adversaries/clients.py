"""Dishonest clients."""

from __future__ import annotations

from protocol.stages.commitment import SignedReceipt
from tests.adversaries import crooks
from tests.adversaries.arena import Part
from tests.adversaries.row import Row, Stage

SOON_MS = 90_000
"""A container's time where a row has to wait until that, and a little more, is over."""


async def paid_anyway(stage: Stage) -> int:
    """The answer is here and the receipt is not; its node brings it on chain alone."""
    job = await stage.ask("withholder", with_bonus=False, timeout_ms=SOON_MS)
    answered = await stage.arena.until(job, lambda view: view.state == "delivered", "withholder")
    stage.rest()
    paid = await stage.arena.ended(job, "withholder")
    case = await stage.arena.case(paid, "withholder")
    assert (paid.node, paid.state, case.verdict) == (stage.honest.address, "spendable", "pass")
    assert answered.text == paid.text != ""
    assert case.reward_wei > 0
    assert await stage.arena.gain("withholder") == -paid.cost_wei < 0
    return 0


async def one_of_two(stage: Stage) -> int:
    """The node takes one order for a number, does that, and is paid for it."""
    crook = stage.member()
    job = await stage.ask("double-orders")
    answered = await stage.arena.until(job, lambda view: view.state == "delivered", "double-orders")
    stage.rest()
    paid = await stage.arena.ended(job, "double-orders")
    assert (paid.node, paid.state) == (stage.honest.address, "spendable")
    assert answered.text == paid.text != ""
    provider = stage.honest.up.parts.machine.provider
    taken = [view for view in provider.jobs if view.client == crook.client.address]
    # On a busy machine an order may be withdrawn and another one follow; the first costs nothing.
    assert [view.job_id.hex() for view in taken if view.charge] == [paid.job_id]
    numbers = [provider.job(view.job_id).order.assignment.index for view in taken]
    assert numbers == sorted({*numbers})
    settlement = stage.arena.ledger.network.settlement
    lane = await settlement.lane_of(crook.client.address, crook.client.address, stage.honest.address)
    assert lane.jobs == numbers[-1]
    assert await stage.arena.gain("double-orders") == -paid.cost_wei < 0
    return 0


ROWS = [
    Row(
        "withholder",
        "a client that takes the answer and sends no receipt",
        "the node brings the job on chain without one, a court looks at all of it, the node is paid",
        "the price of its answer",
        22,
        {"withholder": Part("requester", deposit=100, bend=crooks.silent(SignedReceipt))},
        paid_anyway,
        rival=True,
    ),
    Row(
        "double-orders",
        "a client that signs two orders with one number of its lane",
        "the node takes the first and refuses the second; the one job is paid",
        "the price of its answer",
        23,
        {"double-orders": Part("requester", deposit=100, bend=crooks.orders_twice)},
        one_of_two,
        rival=True,
    ),
]
