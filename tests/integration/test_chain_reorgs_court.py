"""Reorganisations of 1, 3 and LAG blocks at each step of a case: one that passes, and one that costs a stake."""

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import get_args

import pytest

from chain.abi.enums import BatchState
from chain.tx.wallet import Key
from protocol.effects import (
    AbstainSeat,
    AnswerDemand,
    ChainEffect,
    ChallengeLeaf,
    CloseAudit,
    CommitAudit,
    CommitSeat,
    ConfirmLane,
    ConveneAudit,
    ConveneCourt,
    DemandData,
    EndChallenge,
    FinalizeBatch,
    ProveFraud,
    ReplaceSeat,
    ResolveCase,
    RevealAudit,
    RevealSeat,
    SealEpoch,
    SubmitBatch,
    TryLane,
)
from protocol.events import (
    AccountSeen,
    AuditCommitted,
    AuditConvened,
    AuditEnded,
    AuditRevealed,
    BatchChallenged,
    BatchSettled,
    BatchSubmitted,
    BatchVoided,
    CaseConvened,
    CaseResolved,
    DataAnswered,
    DataDemanded,
    LaneSeen,
    NodeSeen,
    NodeSlashed,
    SeatAdded,
    SeatCommitted,
    SeatRevealed,
    SeatSilenced,
    SeedRevealed,
)
from protocol.judging.fraud_proofs import FraudKind, OpenedLeaf, Papers
from protocol.params import PROBATION_JOBS, VCN
from protocol.stages.commitment import Leaf, LeafEntry
from protocol.stages.settlement import convene_pay
from protocol.stages.verification import Verdict, audit_commitment, seat_commitment
from protocol.wire.ids import ZERO_HASH, BatchId
from tests.integration.lost_blocks import CLIENT, NODE, Case, Loss, Step, case, each_loss, walk
from tests.support.jobs import Orders, batch_of, key, named
from tests.support.scenes.chain_reorgs import (
    DAY_S,
    LANE_LANDED,
    LANE_OPENED,
    REFUNDED,
    SEALED,
    STARVED,
    SUBMITTED,
    seal,
)

pytestmark = pytest.mark.anvil

VERIFIERS = [key(f"verifier {index}") for index in range(5)]
ONE_SEAT = 1_000 * VCN
"""A court value below which one seat is enough, until it does not let the batch pass."""
DIGEST, SALT, HPKE_KEY = named("digest"), named("salt"), named("HPKE key")
LONG_TURNS = {
    "court_value": ONE_SEAT,
    "seat_seconds": 400,
    "starved_seconds": 800,
    "unbonding_seconds": 10_000,
    "timelock_seconds": 20_000,
}
"""A quarter of a turn outlasts what is mined until a lost block is made up for."""
Make = Callable[[Case], Awaitable[tuple[Key, ChainEffect]]]


# --- who sits, and what it does ---------------------------------------------------------------------------------------
def _seated(at: Case, seat: int) -> Key:
    """The verifier on a seat of the case."""
    (convened,) = at.story.all(CaseConvened)
    seats = dict(enumerate(convened.seats)) | {added.seat: added.node for added in at.story.all(SeatAdded)}
    return next(verifier for verifier in VERIFIERS if verifier.address == seats[seat])


async def _convene(at: Case) -> tuple[Key, ChainEffect]:
    return NODE, ConveneCourt(at.batch.batch_id, NODE.address, at.batch.slot, at.batch.contents)


def _commit(seat: int) -> Make:
    async def make(at: Case) -> tuple[Key, ChainEffect]:
        commitment = seat_commitment(at.batch.batch_id, 0, seat, DIGEST, SALT)
        return _seated(at, seat), CommitSeat(at.batch.batch_id, seat, commitment)

    return make


def _reveal(seat: int, score: int) -> Make:
    async def make(at: Case) -> tuple[Key, ChainEffect]:
        (convened,) = at.story.all(CaseConvened)
        scores = (score,) * len(convened.drawn)
        return _seated(at, seat), RevealSeat(at.batch.batch_id, seat, DIGEST, scores, SALT)

    return make


async def _abstain(at: Case) -> tuple[Key, ChainEffect]:
    return _seated(at, 0), AbstainSeat(at.batch.batch_id, 0, at.batch.contents)


async def _replace(at: Case) -> tuple[Key, ChainEffect]:
    await at.ledger.warp(at.ledger.rules.seat_window_s + 1)
    await at.bury()
    return NODE, ReplaceSeat(at.batch.batch_id, 1, at.batch.contents)


async def _resolve(at: Case) -> tuple[Key, ChainEffect]:
    return NODE, ResolveCase(at.batch.batch_id, at.batch.contents)


async def _finalize(at: Case) -> tuple[Key, ChainEffect]:
    await at.ledger.warp(at.ledger.rules.challenge_window_s)
    await at.bury()
    return NODE, FinalizeBatch(at.batch.batch_id, NODE.address, at.batch.slot)


CONVENED = Step(ConveneCourt, (CaseConvened,), _convene)


def _judged(seat: int, score: int) -> tuple[Step, Step]:
    return (
        Step(CommitSeat, (SeatCommitted,), _commit(seat)),
        Step(RevealSeat, (SeatRevealed,), _reveal(seat, score)),
    )


# --- a case that passes, and a batch without one ----------------------------------------------------------------------
async def _submit_probation(at: Case) -> tuple[Key, ChainEffect]:
    """All jobs of a probation at once, so that the next batch need not be drawn."""
    for _ in range(PROBATION_JOBS):
        at.orders.finish()
    return NODE, SubmitBatch(batch_of(NODE.address, 0, at.orders))


async def _submit_next(at: Case) -> tuple[Key, ChainEffect]:
    at.orders.finish()
    return NODE, SubmitBatch(batch_of(NODE.address, at.batch.slot + 1, at.orders))


async def _finalize_undrawn(at: Case) -> tuple[Key, ChainEffect]:
    """One leaf in ten is drawn: settle jobs until one is not."""
    while await at.ledger.network.settlement.read("sampledLeaves", NODE.address, at.batch.slot):
        for make in (_submit_next, seal):
            await at.perform(*await make(at))
            await at.bury()
    # Twenty jobs count towards a record on one day: on the next one, this job does.
    await at.ledger.warp(DAY_S)
    return await _finalize(at)


async def _demand(at: Case) -> tuple[Key, ChainEffect]:
    (convened,) = at.story.all(CaseConvened)
    return _seated(at, 0), DemandData(at.batch.batch_id, 0, convened.drawn[0], HPKE_KEY)


async def _answer(at: Case) -> tuple[Key, ChainEffect]:
    return NODE, AnswerDemand(at.batch.batch_id, b"the leaf and its papers")


PASSED = (
    LANE_OPENED,
    Step(SubmitBatch, (LaneSeen, BatchSubmitted), _submit_probation),
    SEALED,
    CONVENED,
    Step(DemandData, (DataDemanded,), _demand),
    Step(AnswerDemand, (DataAnswered,), _answer),
    *_judged(0, 9_700),
    Step(ResolveCase, (CaseResolved,), _resolve),
    Step(FinalizeBatch, (BatchSettled, NodeSeen), _finalize),
    Step(SubmitBatch, (LaneSeen, BatchSubmitted), _submit_next),
    Step(SealEpoch, (SeedRevealed,), seal),
    Step(FinalizeBatch, (BatchSettled, NodeSeen), _finalize_undrawn),
)


@each_loss
async def test_a_reorganisation_at_any_step_to_the_pay_changes_nothing_that_was_told(
    monkeypatch: pytest.MonkeyPatch, loss: Loss
) -> None:
    async with case(monkeypatch, *VERIFIERS[:1], court_value=ONE_SEAT) as at:
        await walk(at, PASSED, loss)
        assert at.story.all(CaseResolved)[0].verdict is Verdict.PASS
        # The second batch was paid without a court.
        assert len(at.story.all(CaseConvened)) == 1
        settlement = at.ledger.network.settlement
        assert (await settlement.batch_of(NODE.address, at.batch.slot)).state is BatchState.FINAL
        judged = await settlement.batch_of(NODE.address, 0)
        earned = sum(each.reward + each.bonus for each in at.story.all(BatchSettled)) + convene_pay(judged.fee)
        assert (await settlement.book_of(NODE.address)).rewards == earned


# --- a case that costs a stake ----------------------------------------------------------------------------------------
SLASHED = (
    LANE_OPENED,
    SUBMITTED,
    SEALED,
    CONVENED,
    Step(AbstainSeat, (SeatSilenced, SeatAdded), _abstain),
    Step(ReplaceSeat, (SeatSilenced, SeatAdded, NodeSeen), _replace),
    *_judged(2, 2_000),
    # One seat cannot void alone.
    Step(ResolveCase, (SeatAdded, SeatAdded), _resolve),
    Step(CommitSeat, (SeatCommitted,), _commit(3)),
    Step(CommitSeat, (SeatCommitted,), _commit(4)),
    Step(RevealSeat, (SeatRevealed,), _reveal(3, 2_000)),
    Step(RevealSeat, (SeatRevealed,), _reveal(4, 2_000)),
    Step(ResolveCase, (CaseResolved, NodeSlashed, NodeSeen, BatchVoided), _resolve),
    REFUNDED,
)


@each_loss
async def test_a_reorganisation_at_any_step_to_the_refund_changes_nothing_that_was_told(
    monkeypatch: pytest.MonkeyPatch, loss: Loss
) -> None:
    async with case(monkeypatch, *VERIFIERS, **LONG_TURNS) as at:
        await walk(at, SLASHED, loss)
        assert at.story.all(CaseResolved)[0].verdict is Verdict.SEVERE
        (slashed,) = at.story.all(NodeSlashed)
        stored = await at.ledger.network.stakes.node_of(NODE.address)
        assert stored is not None
        assert stored.active_stake == 10_000 * VCN - slashed.amount
        assert at.story.all(LaneSeen)[-1].lane.left == at.story.all(LaneSeen)[0].lane.left


# --- a lie that code condemns -----------------------------------------------------------------------------------------
def _lying(at: Case) -> Leaf:
    """The leaf of the first job, without the receipt that its batch says it has."""
    orders = Orders(CLIENT, NODE, at.ledger.domain)
    return replace(orders.finish().leaf, receipt_hash=ZERO_HASH)


async def _submit_lie(at: Case) -> tuple[Key, ChainEffect]:
    entry = at.orders.finish()
    at.orders.jobs = [LeafEntry(_lying(at), entry.job)]
    return NODE, SubmitBatch(batch_of(NODE.address, 0, at.orders))


async def _prove(at: Case) -> tuple[Key, ChainEffect]:
    opened = OpenedLeaf(0, _lying(at), ())
    batch = at.batch
    proof = ProveFraud(batch.batch_id, NODE.address, 0, batch.contents, FraudKind.NO_RECEIPT, (opened,), Papers())
    return VERIFIERS[0], proof


PROVEN = (
    LANE_OPENED,
    Step(SubmitBatch, (LaneSeen, BatchSubmitted), _submit_lie),
    Step(ProveFraud, (CaseResolved, NodeSlashed, NodeSeen, BatchVoided), _prove),
    REFUNDED,
)


@each_loss
async def test_a_reorganisation_takes_back_no_proof(monkeypatch: pytest.MonkeyPatch, loss: Loss) -> None:
    async with case(monkeypatch, *VERIFIERS[:1]) as at:
        await walk(at, PROVEN, loss)
        assert at.story.all(CaseResolved)[0].verdict is Verdict.SEVERE
        assert at.story.all(LaneSeen)[-1].lane.left == at.story.all(LaneSeen)[0].lane.left


# --- an audit ---------------------------------------------------------------------------------------------------------
FOUND = ((), 10_000)
"""No seat that did not compute, and a perfect batch."""
EPOCH_BLOCKS = 64
LONG_EPOCHS = LONG_TURNS | {"epoch_blocks": EPOCH_BLOCKS}


def _auditor(at: Case, place: int) -> Key:
    (convened,) = at.story.all(AuditConvened)
    return next(verifier for verifier in VERIFIERS if verifier.address == convened.auditors[place])


async def _resolve_early(at: Case) -> tuple[Key, ChainEffect]:
    """At the start of an epoch: what is mined until that is final does not reach the block that draws the audit."""
    head, _ = await at.ledger.now()
    await at.ledger.mine(EPOCH_BLOCKS - head % EPOCH_BLOCKS)
    await at.bury()
    return await _resolve(at)


async def _convene_audit(at: Case) -> tuple[Key, ChainEffect]:
    batch, audits = at.batch, at.ledger.network.audits
    epoch = await at.ledger.draw_audit(BatchId(batch.batch_id))
    await at.ledger.mine()
    await at.perform(NODE, SealEpoch(epoch))
    await at.bury()
    drawn = await audits.preview(NODE.address, batch.slot, batch.contents)
    first = next(verifier for verifier in VERIFIERS if verifier.address == drawn[0])
    return first, ConveneAudit(batch.batch_id, NODE.address, batch.slot, batch.contents, first.address)


def _commit_audit(at: Case, place: int) -> tuple[Key, ChainEffect]:
    name = BatchId(at.batch.batch_id)
    return _auditor(at, place), CommitAudit(name, place, audit_commitment(name, place, *FOUND, SALT))


def _reveal_audit(at: Case, place: int) -> tuple[Key, ChainEffect]:
    return _auditor(at, place), RevealAudit(at.batch.batch_id, place, *FOUND, SALT)


async def _first_commits(at: Case) -> tuple[Key, ChainEffect]:
    return _commit_audit(at, 0)


async def _first_reveals(at: Case) -> tuple[Key, ChainEffect]:
    for place in (1, 2):
        await at.perform(*_commit_audit(at, place))
    await at.bury()
    return _reveal_audit(at, 0)


async def _close_audit(at: Case) -> tuple[Key, ChainEffect]:
    for place in (1, 2):
        await at.perform(*_reveal_audit(at, place))
    await at.bury()
    return NODE, CloseAudit(at.batch.batch_id)


AUDITED = (
    LANE_OPENED,
    SUBMITTED,
    SEALED,
    CONVENED,
    *_judged(0, 9_700),
    Step(ResolveCase, (CaseResolved,), _resolve_early),
    Step(ConveneAudit, (AuditConvened,), _convene_audit),
    Step(CommitAudit, (AuditCommitted,), _first_commits),
    Step(RevealAudit, (AuditRevealed,), _first_reveals),
    Step(CloseAudit, (AuditEnded,), _close_audit),
)


@each_loss
async def test_a_reorganisation_at_any_step_of_an_audit_changes_nothing_that_was_told(
    monkeypatch: pytest.MonkeyPatch, loss: Loss
) -> None:
    async with case(monkeypatch, *VERIFIERS, **LONG_EPOCHS) as at:
        await walk(at, AUDITED, loss)
        assert at.story.all(AuditEnded) == [AuditEnded(at.batch.batch_id, (), fraud=False)]
        assert (await at.ledger.network.settlement.batch_of(NODE.address, at.batch.slot)).state is BatchState.PASSED


# --- a batch that no draw would look at -------------------------------------------------------------------------------
async def _submit_trusted(at: Case) -> tuple[Key, ChainEffect]:
    # A record changes with the day: all of this is to lie in one.
    _, now = await at.ledger.now()
    await at.ledger.warp(DAY_S - now % DAY_S)
    await at.ledger.graduate(NODE)
    await at.bury()
    at.orders.finish()
    return NODE, SubmitBatch(batch_of(NODE.address, 0, at.orders))


async def _challenge(at: Case) -> tuple[Key, ChainEffect]:
    batch = at.batch
    return NODE, ChallengeLeaf(batch.batch_id, NODE.address, batch.slot, batch.contents, 0)


async def _end_challenge(at: Case) -> tuple[Key, ChainEffect]:
    batch = at.batch
    return NODE, EndChallenge(batch.batch_id, NODE.address, batch.slot, batch.block)


CHALLENGED = (
    LANE_LANDED,
    Step(SubmitBatch, (LaneSeen, BatchSubmitted), _submit_trusted),
    Step(ChallengeLeaf, (BatchChallenged, AccountSeen), _challenge),
    SEALED,
    CONVENED,
    *_judged(0, 9_700),
    Step(ResolveCase, (CaseResolved,), _resolve),
    # Twenty jobs count towards a record on one day, and it has done those.
    Step(FinalizeBatch, (BatchSettled,), _finalize),
    # The node was right: the bond goes to the pool, and no account plans with it.
    Step(EndChallenge, (), _end_challenge),
)
LONG_WINDOW = LONG_TURNS | {"challenge_seconds": 400}
"""A client has time to challenge until its order is made up for."""


@each_loss
async def test_a_reorganisation_at_any_step_of_a_challenge_changes_nothing_that_was_told(
    monkeypatch: pytest.MonkeyPatch, loss: Loss
) -> None:
    async with case(monkeypatch, *VERIFIERS[:1], **LONG_WINDOW) as at:
        await walk(at, CHALLENGED, loss)
        assert at.batch.rate_bps == 1_000
        assert len(at.story.all(CaseConvened)) == 1
        opened, bonded = at.story.all(AccountSeen)[-2:]
        assert opened.account.free - bonded.account.free == 10 * VCN
        assert (await at.ledger.network.fraud_proofs.challenge_of(BatchId(at.batch.batch_id)))[1] == 0


# --- all of them ------------------------------------------------------------------------------------------------------
def test_every_effect_on_the_chain_is_lost_once() -> None:
    lost = {step.effect for steps in (STARVED, PASSED, SLASHED, PROVEN, AUDITED, CHALLENGED) for step in steps}
    # Two ask about a lane and send nothing that could be lost.
    assert lost | {TryLane, ConfirmLane} == set(get_args(ChainEffect))
