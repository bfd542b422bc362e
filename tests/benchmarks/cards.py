"""How fast cards are read and looked after, on a stub of NVML whose calls take 2 ms each; no real card takes part.

The heat is that of a real job of the small model in a real container: from 86 C to its pause, and to another card.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from pathlib import Path

import trio

from executor.cards.card_reader import CardReader
from tests.benchmarks.line import Line
from tests.benchmarks.machine import anchor
from tests.support.nvml_stub import NvmlStub
from tests.support.scenes.carded_jobs import CardedRunner, HotStory, open_carded_runner

NEEDS = ("venv", "docker engine", "runner image", "model")
KEYS = ("cards.read8_ms", "cards.loop_gap_ms", "cards.heat_to_pause_s", "cards.heat_to_move_s")
CARDS, CALL_MS, READS = 8, 2, 50
STORIES = 3


def run() -> list[Line]:
    """Raises: RuntimeError if a job does not move."""
    before = anchor()
    with tempfile.TemporaryDirectory(prefix="vcoin-cards-") as made:
        reads_ms, gaps_ms = trio.run(_read, Path(made))
    stories = [_story() for _ in range(STORIES)]
    if any(not story.second_card for story in stories):
        raise RuntimeError("a job did not move to the other card")
    return [
        Line("cards.read8_ms", statistics.median(reads_ms), "ms", "<= 50", before, READS),
        Line("cards.loop_gap_ms", max(gaps_ms), "ms", "", before, len(gaps_ms)),
        Line("cards.heat_to_pause_s", max(story.paused_s for story in stories), "s", "<= 2", before, STORIES),
        Line("cards.heat_to_move_s", max(story.moved_s for story in stories), "s", "<= 20", before, STORIES),
    ]


async def _read(home: Path) -> tuple[list[float], list[float]]:
    """Milliseconds of each reading, and between two turns of the event loop meanwhile."""
    stub = NvmlStub(home / "nvml", CARDS)
    stub.show()
    reader = CardReader()
    await reader.read()
    stub.state.delay_ms = CALL_MS
    reads_ms: list[float] = []
    gaps_ms: list[float] = []

    async def tick() -> None:
        while True:
            began = time.perf_counter()
            await trio.sleep(0.001)
            gaps_ms.append((time.perf_counter() - began) * 1000)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(tick)
        for _ in range(READS):
            began = time.perf_counter()
            reading = await reader.read()
            reads_ms.append((time.perf_counter() - began) * 1000)
            if len(reading.sound) != CARDS:
                raise RuntimeError(f"the stub shows {len(reading.sound)} cards, not {CARDS}")
        nursery.cancel_scope.cancel()
    return reads_ms, gaps_ms


def _story() -> HotStory:
    with tempfile.TemporaryDirectory(prefix="vcoin-hot-") as made:
        carded = CardedRunner(Path(made))

        async def tell() -> HotStory:
            async with open_carded_runner(carded):
                return await carded.hot_story(hot=0)

        return trio.run(tell)
