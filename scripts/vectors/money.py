"""Splits of a batch's money, scores of nodes, and what an order, a charge and a bonus come to."""

import random
from collections.abc import Iterator

from protocol.params import VCN
from protocol.stages.assignment import bonus_cap, bonus_of, charge_of, order_total, verify_fee
from protocol.stages.commitment import debit_of
from protocol.stages.reputation import ReputationRecord, score_terms
from protocol.stages.settlement import convene_pay, seat_pay, split
from scripts.vectors.frame import Case, case
from scripts.vectors.job import ACTUAL_MS, EXPECTED_MS

RECOMMENDED_STAKE = 10_000 * VCN


def splits() -> Iterator[Case]:
    """Splits; the first is the worked example: 1 VCN charged, early, by a node of 45 points."""
    dice = random.Random("split")
    yield _split_case(VCN, 9 * VCN // 100, 4_500)
    for charge in (0, 1, 9, 10, 11, 19, 20, 21, 2**90):
        for score in (0, 1, 4_999, 5_000, 9_999, 10_000):
            yield _split_case(charge, charge * 9 // 100, score)
    # Around the part of a case's pay that is the seats' alone, and where a fifth begins to be less than all above it.
    for charge in (VCN - 20, VCN, VCN + 20, 5 * VCN // 4 - 100, 5 * VCN // 4, 5 * VCN // 4 + 100):
        yield _split_case(charge, 0, 3)
    for _ in range(50):
        charge = dice.randrange(1, 10_000 * VCN)
        yield _split_case(charge, dice.randrange(charge * 9 // 100 + 1), dice.randrange(10_001))


def _split_case(charge: int, bonus: int, score: int) -> Case:
    fee, rate = verify_fee(charge), (10_000, 5_000, 1_000)[score % 3]
    parts = split(charge, fee, bonus, score)
    leaves = 1 + score % 37
    drawn = max(1, leaves * rate // 10_000)
    return {
        **case(charge=charge, fee=fee, bonus=bonus, score_hundredths=score),
        **case(burned=parts.burned, reward=parts.reward, pooled=parts.pooled),
        **case(rate_percent=rate // 100, drawn=drawn, leaf_count=leaves),
        **case(seat_pay=seat_pay(fee, drawn, leaves, rate), convene_pay=convene_pay(fee)),
    }


def reputation() -> Iterator[Case]:
    """Scores; the first is a fresh node at the recommended stake: 45 points."""
    dice = random.Random("reputation")
    yield _score_case(ReputationRecord(0, 0, 0, 0, 0, 0), RECOMMENDED_STAKE)
    for _ in range(80):
        total = dice.choice((0, 1, 19, 20, 1_000, 2**32 - 1, dice.randrange(100_000)))
        days = dice.randrange(3_000)
        record = ReputationRecord(
            successes=dice.randrange(total + 1),
            total=total,
            response_ms=dice.choice((0, min(total * dice.randrange(1, 120_000), 2**48 - 1))),
            check_in_days=dice.randrange(days + 2),
            days_active=days,
            penalty=dice.choice((0, 500, 1_500, 3_000, dice.randrange(1_001) * 10)),
        )
        yield _score_case(record, dice.choice((0, 1_000 * VCN, RECOMMENDED_STAKE - 1, dice.randrange(30_000 * VCN))))


def _score_case(record: ReputationRecord, stake: int) -> Case:
    terms = score_terms(record, stake, RECOMMENDED_STAKE)
    shown = case(record, penalty_tenths=record.penalty // 10, stake=stake, recommended_stake=RECOMMENDED_STAKE)
    del shown["penalty"]
    shown |= case(success_term=terms.success, speed_term=terms.speed, uptime_term=terms.uptime)
    return shown | case(stake_term=terms.stake, score=terms.score)


def amounts() -> Iterator[Case]:
    """Prices, charges, bonuses and debits; the first is the worked example."""
    for price, delivered, most, actual_ms, expected_ms, score in (
        (128 * VCN // 100, 100, 128, ACTUAL_MS, EXPECTED_MS, 4_500),
        (128 * VCN // 100, 100, 128, 8_000, EXPECTED_MS, 4_500),
        (128 * VCN // 100, 0, 128, 1, EXPECTED_MS, 4_500),
        (1, 1, 8_192, 1, 2, 0),
        (VCN + 1, 7, 9, 1, 2, 10_000),
        (2**90, 8_192, 8_192, 1, 1_000, 9_999),
    ):
        charge, cap = charge_of(price, delivered, most), bonus_cap(price)
        bonus = bonus_of(charge, cap, actual_ms, expected_ms)
        parts = split(charge, verify_fee(charge), bonus, score)
        yield {
            **case(price=price, delivered=delivered, max_new_tokens=most, actual_ms=actual_ms, expected_ms=expected_ms),
            **case(score_hundredths=score, verify_fee=verify_fee(price), bonus_cap=cap),
            **case(order_total=order_total(price, with_bonus=True), charge=charge, bonus=bonus),
            **case(debit=debit_of(charge, bonus), burned=parts.burned, reward=parts.reward, pooled=parts.pooled),
        }
