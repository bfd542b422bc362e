"""A chain that loses blocks while adapters work."""

from chain.tx.wallet import Key
from protocol.effects import ChainEffect, CheckIn, LandLane, OpenLane, RefundBatch, SealEpoch, SubmitBatch, VoidStarved
from protocol.events import (
    AccountSeen,
    BatchRefunded,
    BatchSubmitted,
    BatchVoided,
    CaseResolved,
    LaneSeen,
    NodeSeen,
    SeedRevealed,
)
from protocol.params import VCN
from protocol.stages.sampling import epoch_of
from tests.integration.lost_blocks import NODE, Case, Step
from tests.support.jobs import batch_of

DAY_S = 86_400


async def open_lane(at: Case) -> tuple[Key, ChainEffect]:
    _, now = await at.ledger.now()
    return NODE, OpenLane(*at.orders.lane_open(90 * VCN, now + 600))


async def submit(at: Case) -> tuple[Key, ChainEffect]:
    at.orders.finish()
    return NODE, SubmitBatch(batch_of(NODE.address, 0, at.orders))


async def seal(at: Case) -> tuple[Key, ChainEffect]:
    return NODE, SealEpoch(epoch_of(at.batch.block, at.ledger.rules.epoch))


async def _void(at: Case) -> tuple[Key, ChainEffect]:
    await at.ledger.warp(at.ledger.rules.starved_s + 1)
    await at.bury()
    return NODE, VoidStarved(at.batch.batch_id, NODE.address, 0, at.batch.contents)


async def refund(at: Case) -> tuple[Key, ChainEffect]:
    return NODE, RefundBatch(at.batch.batch_id, NODE.address, 0, at.batch.contents)


async def _check_in(at: Case) -> tuple[Key, ChainEffect]:
    _, now = await at.ledger.now()
    await at.ledger.warp(DAY_S)
    await at.bury()
    return NODE, CheckIn(NODE.address, now // DAY_S + 1)


async def _land_lane(at: Case) -> tuple[Key, ChainEffect]:
    """The node brings its client's order on chain."""
    _, asked = await open_lane(at)
    assert isinstance(asked, OpenLane)
    return NODE, LandLane(asked.order, asked.signature)


LANE_OPENED = Step(OpenLane, (LaneSeen, AccountSeen), open_lane)
LANE_LANDED = Step(LandLane, (LaneSeen, AccountSeen), _land_lane)
SUBMITTED = Step(SubmitBatch, (LaneSeen, BatchSubmitted), submit)
SEALED = Step(SealEpoch, (SeedRevealed,), seal)
REFUNDED = Step(RefundBatch, (LaneSeen, BatchRefunded), refund)
STARVED = (
    LANE_OPENED,
    SUBMITTED,
    SEALED,
    Step(VoidStarved, (CaseResolved, BatchVoided), _void),
    REFUNDED,
    Step(CheckIn, (NodeSeen,), _check_in),
)
