"""From any lanes, a planned batch is one that the contract takes, and it leaves no number out."""

from __future__ import annotations

import random
from collections.abc import Mapping
from copy import deepcopy

from hypothesis import given
from hypothesis import strategies as st

from protocol.params import BPS, MAX_BATCH_LEAVES, OPEN_VALUE_PER_STAKE, PROBATION_JOBS
from protocol.roles.settler.plan import BatchKind, BatchPlan, BatchTerms, LaneKey, LaneQueue, WaitingJob, plan_batch
from protocol.stages.assignment import CHECK_ORDERED, Assignment, JobDetails
from protocol.stages.commitment import (
    Leaf,
    LeafEntry,
    LeafStatus,
    Receipt,
    Result,
    SettledJob,
    SignedReceipt,
    missing_leaf,
)
from protocol.stages.offer import NodeRecord
from protocol.wire.ids import Address, JobId, TimestampMs, Wei
from protocol.wire.merkle import root

NODE = Address("0x" + "11" * 20)
LANES: list[LaneKey] = [(Address(f"0x{number:040x}"), Address(f"0x{number:040x}")) for number in (1, 2, 3)]
FUNDED = dict.fromkeys(LANES, 10**9)
"""Lanes that cover every order of theirs."""


def finished(key: LaneKey, index: int, kind: BatchKind, status: LeafStatus, charge: int) -> WaitingJob:
    job_id = JobId(bytes(12) + bytes.fromhex(key[0][-32:]) + index.to_bytes(4, "big"))
    flags = CHECK_ORDERED if kind.checked else 0
    details = JobDetails(
        request_id=bytes(32),
        offer_hash=bytes(32),
        price=charge,
        bonus_cap=0,
        verify_fee=0,
        manifest=bytes(32),
        input_cid=bytes(32),
        content_key_hash=bytes(32),
        temperature=0,
        seed_nonce=bytes(32),
        max_new_tokens=16,
        classes=1,
        expected_ms=1,
        deadline=1_000 + index,
        attempt=1,
        max_total=charge,
        flags=flags,
    )
    order = Assignment(*key, NODE, index, index * 100, bytes(32))
    receipt = None if kind.unreceipted else SignedReceipt(Receipt(job_id, bytes(32), charge, 1), bytes(65))
    papers = SettledJob(job_id, order, details, bytes(65), receipt, Result(job_id, *[bytes(32)] * 3), bytes(32))
    paid = charge if status is LeafStatus.OK else 0
    leaf = Leaf(*key, index, bytes(32), paid, 0, 1, bytes(32), bytes(32), bytes(32), status)
    return WaitingJob(LeafEntry(leaf, papers), job_id, kind, TimestampMs(index))


def lanes_of(dice: random.Random, kinds: list[BatchKind]) -> dict[LaneKey, LaneQueue]:
    """Lanes with finished jobs, jobs at work and numbers whose orders never arrived."""
    lanes: dict[LaneKey, LaneQueue] = {}
    for key in LANES:
        lane = lanes[key] = LaneQueue(dice.randrange(5))
        for index in range(lane.submitted + 1, lane.submitted + dice.randrange(1, 40)):
            match dice.randrange(12):
                case 0:
                    lane.at_work.add(index)
                case 1:
                    pass
                case other:
                    status = LeafStatus.FAILED if other == 2 else LeafStatus.OK
                    lane.ready[index] = finished(key, index, dice.choice(kinds), status, dice.randrange(1, 100))
    return lanes


def terms(
    unsettled: frozenset[LaneKey] = frozenset(),
    *,
    probation: bool = False,
    value: int = 10**9,
    least: int = 10**9,
    totals: Mapping[LaneKey, int] = FUNDED,
) -> BatchTerms:
    rate_bps, stake = BPS if probation else 1_000, Wei(value * OPEN_VALUE_PER_STAKE)
    record = NodeRecord(NODE, NODE, NODE, NODE, True, 1, stake, Wei(0), 0, rate_bps)
    return BatchTerms(2, record, 0, least, unsettled, totals)


kinds = st.builds(BatchKind, st.just(1), st.booleans(), st.just(False), st.booleans())
any_terms = st.builds(
    terms,
    probation=st.booleans(),
    value=st.integers(1, 3_000),
    least=st.integers(1, 1_000),
    unsettled=st.frozensets(st.sampled_from(LANES), max_size=2),
)
dices = st.randoms(use_true_random=False)
few_kinds = st.lists(kinds, min_size=1, max_size=2, unique=True)


def leaves_of(plan: BatchPlan) -> dict[LaneKey, list[Leaf]]:
    found: dict[LaneKey, list[Leaf]] = {}
    for entry in plan.entries:
        found.setdefault((entry.leaf.client, entry.leaf.signer), []).append(entry.leaf)
    return found


@given(dice=dices, kinds=few_kinds, terms=any_terms)
def test_a_batch_takes_an_unbroken_run_of_each_lane_and_nothing_that_is_at_work(
    dice: random.Random, kinds: list[BatchKind], terms: BatchTerms
) -> None:
    lanes = lanes_of(dice, kinds)
    plan = plan_batch(lanes, kinds, terms)
    if plan is None:
        return
    for claim, (key, leaves) in zip(plan.batch.claims, leaves_of(plan).items(), strict=True):
        lane, numbers = lanes[key], [leaf.index for leaf in leaves]
        assert (claim.client, claim.signer) == key
        assert numbers == list(range(lane.submitted + 1, claim.jobs + 1))
        assert not lane.at_work & set(numbers)
        assert claim.jobs in lane.ready
        for leaf in leaves:
            held = lane.ready.get(leaf.index)
            assert leaf == (held.entry.leaf if held else missing_leaf(*key, leaf.index))
    assert len(plan.job_ids) == len(plan.entries)
    assert plan.batch.root == root([entry.leaf.node for entry in plan.entries]).hash


@given(dice=dices, kinds=few_kinds, terms=any_terms)
def test_a_batch_keeps_to_what_the_contract_takes_of_its_node(
    dice: random.Random, kinds: list[BatchKind], terms: BatchTerms
) -> None:
    lanes = lanes_of(dice, kinds)
    plan = plan_batch(lanes, kinds, terms)
    if plan is None:
        return
    batch = plan.batch
    assert (batch.node, batch.slot) == (NODE, terms.slot)
    assert len(plan.entries) <= (PROBATION_JOBS if terms.record.rate_bps == BPS else MAX_BATCH_LEAVES)
    assert sum(batch.debits) <= terms.record.stake // OPEN_VALUE_PER_STAKE
    # A first paid job may be larger than the least stake; more than that it takes only of others.
    paid = [entry.leaf for entry in plan.entries if entry.leaf.status == LeafStatus.OK]
    assert not batch.checked or len(paid) == 1 or sum(batch.debits) <= terms.min_stake
    assert batch.unreceipted or not terms.unsettled & leaves_of(plan).keys()
    found = {lanes[leaf.client, leaf.signer].ready[leaf.index].kind for leaf in paid}
    assert found <= {BatchKind(batch.class_id, batch.unreceipted, batch.uncalibrated, batch.checked)}


@given(dice=dices, kinds=few_kinds, terms=any_terms)
def test_a_plan_changes_nothing_and_is_always_the_same(
    dice: random.Random, kinds: list[BatchKind], terms: BatchTerms
) -> None:
    lanes = lanes_of(dice, kinds)
    before = deepcopy(lanes)
    plan = plan_batch(lanes, kinds, terms)
    assert lanes == before
    assert plan_batch(dict(reversed(lanes.items())), kinds, terms) == plan


@given(dice=dices, kinds=few_kinds)
def test_with_stake_and_time_enough_every_finished_job_before_one_at_work_gets_into_a_batch(
    dice: random.Random, kinds: list[BatchKind]
) -> None:
    lanes = lanes_of(dice, kinds)
    for _ in range(200):
        plan = plan_batch(lanes, kinds, terms())
        if plan is None:
            break
        for claim in plan.batch.claims:
            lanes[claim.client, claim.signer].take(claim.jobs)
    for lane in lanes.values():
        first_at_work = min((index for index in lane.at_work if index > lane.submitted), default=10**6)
        assert not any(job.is_paid for index, job in lane.ready.items() if index < first_at_work)


@given(dice=dices, kinds=few_kinds)
def test_what_was_refused_is_planned_again_with_what_came_since(dice: random.Random, kinds: list[BatchKind]) -> None:
    lanes = lanes_of(dice, kinds)
    whole = terms()
    plan = plan_batch(lanes, kinds, whole)
    if plan is None:
        return
    taken = {(claim.client, claim.signer): claim.jobs for claim in plan.batch.claims}
    before = {key: lanes[key].take(jobs) for key, jobs in taken.items()}
    later = {key: lanes[key].submitted + 100 for key in taken}
    for key, index in later.items():
        lanes[key].ready[index] = finished(key, index, kinds[0], LeafStatus.OK, 1)
    for key, queue in before.items():
        lanes[key].put_back(queue)
    assert all(index in lanes[key].ready for key, index in later.items())
    for index in later.values():
        for lane in lanes.values():
            lane.ready.pop(index, None)
    assert plan_batch(lanes, kinds, whole) == plan


@given(dices, few_kinds, st.integers(0, 4_000), st.booleans())
def test_a_batch_claims_nothing_that_the_final_lane_does_not_cover(
    dice: random.Random, some: list[BatchKind], total: int, probation: bool
) -> None:
    lanes = lanes_of(dice, some)
    # One lane is open for some of its orders, one for all of them, and one was never opened.
    totals = {LANES[0]: total, LANES[1]: 10**9}
    plan = plan_batch(lanes, some, terms(probation=probation, totals=totals))
    for claim in plan.batch.claims if plan else ():
        assert claim.cumulative <= totals[claim.client, claim.signer]
