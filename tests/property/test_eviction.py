"""From any store, the plan of an eviction frees enough, takes nothing that stays, and no more than it must."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from p2p.eviction import HeldModel, plan_eviction
from protocol.wire.ids import Cid

SIZES = st.integers(0, 1_000)
HELD = st.lists(
    st.builds(
        HeldModel,
        cid=st.integers(0, 2**32).map(lambda number: Cid(number.to_bytes(32, "big"))),
        freed_bytes=SIZES,
        used_s=st.integers(0, 20).map(float),
        stays=st.booleans(),
    ),
    max_size=12,
    unique_by=lambda model: model.cid,
)


@given(HELD, SIZES, st.integers(0, 3_000), st.integers(1, 4_000))
def test_plan_frees_enough_and_only_by_what_may_go(held: list[HeldModel], other: int, wanted: int, limit: int) -> None:
    total = other + sum(model.freed_bytes for model in held)
    plan = plan_eviction(held, total_bytes=total, wanted_bytes=wanted, limit_bytes=limit)
    by_cid = {model.cid: model for model in held}
    victims = [by_cid[cid] for cid in plan.victims]
    assert len(set(plan.victims)) == len(plan.victims)
    assert not any(model.stays for model in victims)
    left = total + wanted - sum(model.freed_bytes for model in victims)
    movable = sum(model.freed_bytes for model in held if not model.stays)
    if plan.missing_bytes:
        assert not victims
        assert plan.missing_bytes == total + wanted - movable - limit > 0
        return
    assert left <= limit
    if victims:
        # Without the last one it would not fit.
        assert left + victims[-1].freed_bytes > limit
        newest = victims[-1].used_s
        assert [model.used_s for model in victims] == sorted(model.used_s for model in victims)
        passed_over = [model for model in held if not model.stays and model.freed_bytes and model not in victims]
        assert all(model.used_s >= newest for model in passed_over)


@given(HELD, SIZES, SIZES)
def test_without_a_quota_nothing_goes(held: list[HeldModel], total: int, wanted: int) -> None:
    plan = plan_eviction(held, total_bytes=total, wanted_bytes=wanted, limit_bytes=0)
    assert (plan.victims, plan.missing_bytes) == ((), 0)


@given(HELD, st.randoms(use_true_random=False))
def test_plan_does_not_depend_on_the_order_of_the_disk(held: list[HeldModel], chance: object) -> None:
    total = sum(model.freed_bytes for model in held)
    shuffled = list(held)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    plans = [plan_eviction(each, total_bytes=total, wanted_bytes=50, limit_bytes=400) for each in (held, shuffled)]
    assert plans[0] == plans[1]
