"""The report of attacks, and the bounded wait for a process."""

from __future__ import annotations

import signal
import sys
from collections.abc import Sequence

import pytest
import trio

from tests.benchmarks.attackers import ATTACKS
from tests.benchmarks.attacks import KEYS, ONLY_OURS, Toll, lines
from tests.benchmarks.victim import module, open_victim

CALM = Toll(memory_mb=1.0, lag_ms=4.0, core=0.1, served=10)


def script(then: str) -> Sequence[str]:
    """A process that shows its address, and does this when it is asked how late it is."""
    return (sys.executable, "-c", f"print('/ip4/127.0.0.1/tcp/4001/p2p/16U', flush=True); input(); {then}")


def told(ours: dict[str, Toll], bare: dict[str, Toll]) -> dict[str, tuple[float, str, str]]:
    """Value, verdict and anchor of each key."""
    return {line.key: (line.value, line.verdict(), line.anchor) for line in lines(ours, bare, "load 0.5")}


def test_each_attack_has_a_row_whose_key_is_listed() -> None:
    bare = {name: CALM for name in ATTACKS if name not in ONLY_OURS}
    assert tuple(told(dict.fromkeys(ATTACKS, CALM), bare)) == KEYS


def test_the_worst_of_a_node_is_measured_and_the_bare_library_stands_beside_it() -> None:
    found = told(
        {"pings": Toll(18.0, 4.0, 0.1, 10), "streams": Toll(1.0, 160.0, 0.1, 9)},
        {"pings": Toll(2_500.0, 12.0, 0.99, 10), "streams": Toll(30.0, 700.0, 1.0, 0)},
    )
    value, verdict, anchor = found["attack.rss_growth_mb"]
    assert (value, verdict) == (18.0, "met")
    assert anchor.startswith("pings; bare library: 2,500 MB")
    value, verdict, anchor = found["attack.lag_ms"]
    assert (value, verdict) == (160.0, "missed")
    assert anchor == "streams; bare library: 700 ms; load 0.5"
    value, verdict, anchor = found["attack.dials_ok"]
    assert (value, verdict) == (95.0, "missed")
    assert anchor.startswith("bare library: 50 %")
    value, verdict, anchor = found["attack.streams"]
    assert (value, verdict) == (9, "missed")
    ours, _, bare = anchor.partition("bare library:")
    assert "1 MB" in ours
    assert "160 ms" in ours
    assert "30 MB" in bare
    assert "700 ms" in bare
    assert "0/10" in bare


def test_an_attack_on_what_the_library_lacks_has_no_figure_of_it() -> None:
    found = told({"pings": CALM, "unwanted gossip": CALM}, {"pings": CALM})
    assert found["attack.unwanted_gossip"][2].endswith("bare library: has nothing of the kind")


def test_a_process_that_hangs_and_one_that_ended_are_told_apart() -> None:
    ended = Toll(1.0, None, 0.0, 0, "ValueError: enough")
    bare = {"pings": Toll(1.0, None, 1.0, 0), "streams": ended}
    found = told(dict.fromkeys(bare, CALM), bare)
    assert "> 5,000 ms" in found["attack.pings"][2]
    assert found["attack.lag_ms"][2].startswith("pings; bare library: 5,000 ms")
    assert " ms" not in found["attack.streams"][2].partition("bare library:")[2]
    assert found["attack.streams"][2].endswith("0/10 dials (ValueError)")
    assert found["attack.dials_ok"][2].endswith("ended by 1 of 2")
    assert told({"streams": CALM}, {"streams": ended})["attack.lag_ms"][2].startswith("streams; bare library: 0 ms")


async def test_a_process_that_hangs_is_given_up_and_killed() -> None:
    with trio.fail_after(20):
        async with open_victim(script("import signal; signal.pause()")) as victim:
            assert victim.port == 4001
            assert await victim.lag_ms(within_s=0.1) is None
            assert victim.last_word() == ""
            assert victim.memory_mb() > 1
        assert victim.process.returncode == -signal.SIGKILL
        assert victim.memory_mb() == 0


async def test_a_process_that_ends_is_told_with_its_last_word() -> None:
    with trio.fail_after(20):
        async with open_victim(script("raise ValueError('enough')")) as victim:
            assert await victim.lag_ms() is None
            assert victim.last_word() == "ValueError: enough"


async def test_a_process_that_does_not_start_says_why() -> None:
    with pytest.raises(RuntimeError, match="no port is free"):
        async with open_victim((sys.executable, "-c", "raise SystemExit('no port is free')")):
            raise AssertionError("unreachable")


@pytest.mark.libp2p
async def test_the_bare_library_answers_and_is_ended_by_a_name_that_is_no_text() -> None:
    with trio.fail_after(60):
        async with open_victim(module("bare_node")) as victim:
            assert await victim.lag_ms() is not None
            async with trio.open_nursery() as nursery:
                nursery.start_soon(ATTACKS["names of no text"], victim)
                await victim.process.wait()
                nursery.cancel_scope.cancel()
            assert victim.last_word().startswith("UnicodeDecodeError")
