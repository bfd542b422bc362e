"""A clock that is wrong, and chains that only look so."""

import logging

import pytest
import trio
import trio.testing

from chain.rpc.clock import LATE_HEADS, MAX_SKEW_S, ChainClock
from chain.rpc.ethereum import Block
from protocol.wire.ids import Hash32, Wei

HOUR_S = 3_600
START_S = 1_800_000_000


class World:
    """A chain with a block every 12 s, looked at as often, by a machine whose clock is off by some seconds."""

    def __init__(self, time: trio.testing.MockClock, off_s: int) -> None:
        self.time = time
        self.off_s = off_s
        self.clock = ChainClock(lambda: (self.now_s + self.off_s) * 1000)
        self.number = 100

    @property
    def now_s(self) -> int:
        return START_S + round(trio.current_time() - self.begun)

    begun = 0.0

    def look(self, number: int, timestamp: int) -> None:
        self.clock.observe(Block(number, Hash32(bytes(32)), Hash32(bytes(32)), timestamp, Wei(0)))

    def follow(self, blocks: int) -> None:
        for _ in range(blocks):
            self.time.jump(12)
            self.number += 1
            self.look(self.number, self.now_s)


@pytest.fixture
def mock_clock() -> trio.testing.MockClock:
    return trio.testing.MockClock()


def world(mock_clock: trio.testing.MockClock, off_s: int) -> World:
    made = World(mock_clock, off_s)
    made.begun = trio.current_time()
    made.look(made.number, made.now_s)
    return made


@pytest.mark.parametrize("off_s", [0, 60, -60, MAX_SKEW_S, -MAX_SKEW_S])
async def test_a_clock_that_is_nearly_right_is_right(mock_clock: trio.testing.MockClock, off_s: int) -> None:
    at = world(mock_clock, off_s)
    at.follow(10)
    assert (at.clock.skew_s, at.clock.trouble) == (0, "")


@pytest.mark.parametrize(("off_s", "side"), [(HOUR_S, "ahead of"), (-HOUR_S, "behind")])
async def test_an_hour_is_noticed_said_once_and_over_when_the_clock_is_set(
    mock_clock: trio.testing.MockClock, caplog: pytest.LogCaptureFixture, off_s: int, side: str
) -> None:
    caplog.set_level(logging.INFO)
    at = world(mock_clock, off_s)
    at.follow(10)
    assert at.clock.skew_s == off_s
    words = f"this machine's clock is 3600 s {side} the chain: nothing with a deadline is signed"
    assert at.clock.trouble == words
    at.off_s = 0
    at.follow(1)
    assert at.clock.trouble == ""
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]


async def test_one_late_block_is_no_wrong_clock(mock_clock: trio.testing.MockClock) -> None:
    at = world(mock_clock, HOUR_S)
    at.follow(LATE_HEADS - 1)
    assert at.clock.trouble == ""
    at.follow(1)
    assert at.clock.trouble


async def test_a_chain_that_rests_says_nothing_of_the_clock(mock_clock: trio.testing.MockClock) -> None:
    at = world(mock_clock, 0)
    for _ in range(10):
        mock_clock.jump(HOUR_S)
        at.look(100, START_S)
    assert at.clock.trouble == ""
    # And what comes after an outage of its endpoints is old for another reason.
    for number in (400, 800, 1_200):
        at.look(number, at.now_s - HOUR_S)
    assert at.clock.trouble == ""
