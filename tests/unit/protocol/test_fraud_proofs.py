"""Provable lies: an honest leaf shows none, whatever a client signs later; each change shows its own."""

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chain.contracts.fraud_proofs import encoded_papers
from protocol.judging.fraud_proofs import (
    FraudKind,
    Papers,
    SignedResult,
    are_miscounted,
    depth_of,
    fraud_kinds_in,
    is_in_batch,
)
from protocol.stages.commitment import LeafStatus
from protocol.wire.envelope import digest, sign_digest
from scripts.vectors.fraud import CHANGES, DOMAIN, OPERATOR, FraudStory, story

SEEDS = st.integers(0, 2**32)
COUNTS = st.integers(1, 12)


def lies_of(told: FraudStory, papers: Papers | None = None) -> tuple[FraudKind, ...]:
    facts, opened, own = told.told()
    return fraud_kinds_in(opened, facts, own if papers is None else papers, OPERATOR, OPERATOR, DOMAIN)


@given(SEEDS, COUNTS, st.booleans())
def test_an_honest_batch_has_no_lie_at_any_place(seed: int, count: int, receipted: bool) -> None:
    told = story(random.Random(seed), count, receipted=receipted)
    for told.position in range(count):
        facts, opened, _ = told.told()
        assert is_in_batch(opened, facts)
        assert len(opened.siblings) == depth_of(count)
        assert lies_of(told) == ()


@given(SEEDS, COUNTS, st.booleans(), st.integers(0, 2**96 - 1), st.integers(0, 2**32 - 1))
def test_what_a_client_signs_later_proves_nothing(
    seed: int, count: int, receipted: bool, charge: int, actual_ms: int
) -> None:
    told = story(random.Random(seed), count, receipted=receipted)
    job = told.job
    order = replace(job.order, cumulative=1)
    result = replace(job.result, job_id=digest(order, DOMAIN), result_hash=bytes(32))
    forged = SignedResult(result, sign_digest(digest(result, DOMAIN), bytes([1] * 32)))
    facts, opened, papers = told.told()
    for other in (
        replace(papers, receipt=replace(job.receipt, charge=charge, actual_ms=actual_ms)),
        replace(papers, details=replace(job.details, price=0, deadline=0)),
        replace(papers, order=order),
        replace(papers, order=order, result=forged),
    ):
        assert fraud_kinds_in(opened, facts, other, OPERATOR, OPERATOR, DOMAIN) == ()


@pytest.mark.parametrize("name", CHANGES)
def test_a_lie_that_needs_papers_is_not_found_without_them(name: str) -> None:
    receipted, change = CHANGES[name]
    told = story(random.Random(name), 5, receipted=receipted)
    change(told)
    alone, found = set(lies_of(told, Papers())), set(lies_of(told))
    assert alone == {fraud_kind for fraud_kind in found if fraud_kind < FraudKind.OVERPRICED}


@given(SEEDS)
def test_a_leaf_of_another_batch_has_no_lie(seed: int) -> None:
    dice = random.Random(seed)
    told, other = story(dice, 4, receipted=True), story(dice, 4, receipted=True)
    told.change(status=9)
    _, opened, papers = told.told()
    facts, _, _ = other.told()
    assert fraud_kinds_in(opened, facts, papers, OPERATOR, OPERATOR, DOMAIN) == ()


@given(SEEDS, COUNTS)
def test_more_leaves_of_a_status_than_declared_are_miscounted(seed: int, count: int) -> None:
    told = story(random.Random(seed), count, receipted=True)
    facts, _, _ = told.told()
    assert not are_miscounted(told.leaves, facts)
    assert are_miscounted(told.leaves, replace(facts, sums=replace(facts.sums, ok_count=count - 1)))
    assert not are_miscounted([], facts)
    if count > 1:
        mixed = [replace(told.leaves[0], status=LeafStatus.FAILED), *told.leaves[1:]]
        assert not are_miscounted(mixed, replace(facts, sums=replace(facts.sums, ok_count=0)))


@pytest.mark.parametrize("fraud_kind", [kind for kind in FraudKind if kind >= FraudKind.OVERPRICED])
def test_papers_that_are_not_there_are_not_encoded(fraud_kind: FraudKind) -> None:
    with pytest.raises(ValueError, match="needs papers"):
        encoded_papers(fraud_kind, Papers())


def test_only_the_operators_signature_proves_another_result() -> None:
    told = story(random.Random(0), 2, receipted=True)
    told.change(output_commit=bytes(32))
    assert lies_of(told) == (FraudKind.RESULT_DIFFERS,)
    facts, opened, papers = told.told()
    assert fraud_kinds_in(opened, facts, papers, OPERATOR, told.job.order.client, DOMAIN) == ()
