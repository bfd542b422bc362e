"""Real containers on stubbed cards, and their keeper, whose clock a test moves.

Docker gives the card by its name in the environment alone, as the runtime of NVIDIA's toolkit is asked; here that is
runc, which knows no card. Everything else is the product's: labels, reading, decision, pause and end.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from executor import images
from executor.cards.card_book import CardBook
from executor.cards.card_desk import CardDesk, CardsReport
from executor.cards.card_keeper import CardKeeper
from executor.cards.care import OwnerLimits
from executor.containers.card_access import CardAccess, RuntimeChoice
from executor.containers.ending import Ending, classify
from executor.containers.engine import Engine
from executor.containers.sandbox import GIB, MIB, Limits, Sandbox
from protocol.stages.execution import Outcome
from tests.support.nvml_stub import NvmlStub
from tests.support.runner_context import docker_host

NODE = "test-cards"
BY_NAME = RuntimeChoice("runc", CardAccess.RUNTIME)
SHARE_BYTES = 8 * GIB
UP_S = 30


@dataclass
class CardedJob:
    """A container that does nothing for as long as it may, in a thread of its own."""

    engine: Engine
    job: str
    uuids: tuple[str, ...]
    ending: Ending | None = None
    _thread: threading.Thread | None = None

    def start(self) -> None:
        limits = Limits(timeout_ms=60_000, memory_bytes=64 * MIB)
        sandbox = Sandbox(
            images.BASE, limits, (), gpu_uuids=self.uuids, card_bytes=SHARE_BYTES, command=("sleep", "60")
        )
        container = self.engine.container(sandbox, self.job, int(time.time()) + 120)

        def run() -> None:
            self.ending = container.run(lambda said: None)

        self._thread = threading.Thread(target=run)
        self._thread.start()
        deadline = time.monotonic() + UP_S
        while not self.state:
            assert time.monotonic() < deadline, "the container does not start"

    @property
    def state(self) -> str:
        """running or paused; nothing before its start and after its end."""
        found = [each for each in self.engine.on_cards() if each.job == self.job]
        return "" if not found else "paused" if found[0].is_paused else "running"

    @property
    def inspected(self) -> Any:
        (found,) = (each for each in self.engine.on_cards() if each.job == self.job)
        return self.engine.api.inspect_container(found.container)

    def end(self) -> tuple[Outcome, str]:
        """Wait for its end. Returns: how it ended, by who is to blame."""
        assert self._thread is not None
        self._thread.join(UP_S)
        assert self.ending is not None, "the container does not end"
        return classify(self.ending)


@dataclass
class CardHouse:
    """A machine with two stubbed cards and Docker's engine. now_s: of the keeper's clock. is_held: by its owner."""

    stub: NvmlStub
    engine: Engine
    desk: CardDesk
    now_s: float = 0.0
    is_held: bool = False
    jobs: list[CardedJob] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.keeper = CardKeeper(self.engine, self.desk, clock=lambda: self.now_s, is_held=lambda: self.is_held)

    def start(self, job: str, *uuids: str) -> CardedJob:
        made = CardedJob(self.engine, job, uuids or ("GPU-00000000",))
        self.jobs.append(made)
        made.start()
        return made

    async def look(self, after_s: float = 0.0) -> CardsReport:
        self.now_s += after_s
        return await self.keeper.look()


@contextmanager
def open_card_house(home: Path, limits: OwnerLimits | None = None) -> Iterator[CardHouse]:
    stub = NvmlStub(home / "nvml", count=2)
    stub.show()
    engine = Engine(NODE, docker_host())
    try:
        engine.sweep((), time.time())
        engine.use(BY_NAME, has_cards=True)
        house = CardHouse(stub, engine, CardDesk(limits or OwnerLimits(), CardBook(home / "book")))
        yield house
        engine.sweep((), time.time())
        for job in house.jobs:
            job.end()
    finally:
        engine.close()
