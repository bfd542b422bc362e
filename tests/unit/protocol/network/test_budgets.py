"""Paces: turns at a rate, a burst at once, each key for itself."""

from protocol.network.budgets import Paces, Rate

NOW = 1_000_000


def test_a_burst_goes_at_once_and_the_rest_at_the_rate() -> None:
    paces = Paces[str](Rate(10, 1_000, 3), 10)
    assert [paces.wait_ms("one", NOW) for _ in range(6)] == [0, 0, 0, 100, 200, 300]
    assert paces.wait_ms("other", NOW) == 0
    assert paces.wait_ms("one", NOW + 300) == 100
    # Long silence saves up one burst and no more.
    assert [paces.wait_ms("one", NOW + 60_000) for _ in range(4)] == [0, 0, 0, 100]


def test_only_so_many_keys_are_remembered() -> None:
    paces = Paces[int](Rate(1, 1_000, 1), 2)
    assert [paces.wait_ms(key, NOW) for key in (1, 2, 3)] == [0, 0, 0]
    assert paces.wait_ms(3, NOW) == 1_000
    assert paces.wait_ms(1, NOW) == 0
