"""Limits in time, by a clock that the test moves."""

from __future__ import annotations

from contextlib import ExitStack

import pytest

from node.api.gateway.keys import GatewayKey
from node.api.gateway.rates import MAX_AT_ONCE, KeyRates, TokenBucket
from node.api.gateway.refusals import GatewayRefusal


class HandClock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1_000.0

    def __call__(self) -> float:
        return self.now_s


def key_of(rate: int, key_id: str = "0011aabb") -> GatewayKey:
    return GatewayKey(key_id, "", b"", 1, 0, 0, rate, (), 0, 0, 0)


def refusal(rates: KeyRates, key: GatewayKey) -> GatewayRefusal:
    with pytest.raises(GatewayRefusal) as caught, rates.admitted(key):
        pass
    return caught.value


def test_bucket_lets_a_minute_through_and_then_its_rate() -> None:
    bucket = TokenBucket(60, 60.0, 0.0)
    assert [bucket.take(0.0) for _ in range(60)] == [0.0] * 60
    assert bucket.take(0.0) == 1.0
    assert bucket.take(0.5) == pytest.approx(0.5)
    assert bucket.take(1.0) == 0.0
    assert bucket.take(1.0) > 0


def test_bucket_never_holds_more_than_a_minute() -> None:
    bucket = TokenBucket(2, 0.0, 0.0)
    assert [bucket.take(10_000.0) == 0.0 for _ in range(3)] == [True, True, False]


def test_clock_that_goes_back_fills_nothing() -> None:
    bucket = TokenBucket(60, 1.0, 100.0)
    assert bucket.take(50.0) == 0.0
    assert bucket.take(100.0) == 1.0


def test_key_over_its_rate_hears_how_long_to_wait() -> None:
    clock = HandClock()
    rates = KeyRates(clock)
    for _ in range(2):
        with rates.admitted(key_of(2)):
            pass
    found = refusal(rates, key_of(2))
    assert (found.status, found.headers()) == (429, {"Retry-After": "30"})
    with rates.admitted(key_of(2, "ccddeeff")):
        pass
    clock.now_s += 30
    with rates.admitted(key_of(2)):
        pass


def test_key_has_so_many_requests_at_a_time() -> None:
    rates = KeyRates(HandClock())
    with ExitStack() as running:
        for _ in range(MAX_AT_ONCE):
            running.enter_context(rates.admitted(key_of(0)))
        assert refusal(rates, key_of(0)).headers() == {"Retry-After": "1"}
    with rates.admitted(key_of(0)):
        pass


def test_request_that_fails_makes_room() -> None:
    rates = KeyRates(HandClock())
    for _ in range(MAX_AT_ONCE + 1):
        with pytest.raises(ZeroDivisionError), rates.admitted(key_of(0)):
            raise ZeroDivisionError
