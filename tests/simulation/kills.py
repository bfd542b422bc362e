"""Kill -9 of each role at each stage of a job, and how the job ends: the scene, and a table of all ends.

What may not happen twice is checked by the world itself: no number of a lane is signed for two jobs, and no block makes
or loses a wei.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum

from coincurve import PrivateKey

from protocol import events as ev
from protocol.job import TERMINAL, TRANSITIONS, JobState, Stage
from protocol.params import VCN
from protocol.roles.machine import Machine
from protocol.wire.ids import address_of
from tests.simulation.node import Node
from tests.simulation.run import Broken, Progress
from tests.simulation.scene import Work, ask
from tests.simulation.world import World

VICTIMS = ("requester", "provider", "seat")
STAGES = tuple(stage for stage in TRANSITIONS if stage not in TERMINAL)
WORKS = tuple(work for work in Work if work is not Work.ADAPTIVE)
"""One answer of an adaptive cheat passes as an honest one does; what many add up to is test_margins' to show."""
DEPOSIT = 100 * VCN
ENOUGH_S = 2_000
SPARE = address_of(PrivateKey(hashlib.sha256(b"spare").digest()).public_key.format())
NEVER, BROKEN = "-", "BROKEN"


class Away(IntEnum):
    """For how many ms a node is down: for less than the others wait, or for longer than any of them does."""

    BRIEFLY = 4_000
    LONG = 150_000


@dataclass
class Town:
    """A requester, a provider, one to move to, and seats."""

    world: World
    _seen: tuple[Machine, int, JobState | None] | None = None

    @classmethod
    def of(cls, work: Work, seed: int = 0) -> Town:
        """A town whose provider works like this, and whose user asks for one job."""
        world = World(seed)
        client = world.add("requester", {"requester"})
        world.chain.deposit(client.address, DEPOSIT)
        world.add("provider", {"provider", "verifier"}, 20_000, work)
        assert world.add("spare", {"provider"}, 10_000).address == SPARE
        for number in range(4):
            world.add(f"seat-{number}", {"verifier"}, 5_000)
        world.start()
        town = cls(world)
        # Asked again until it is heard: the user of a node that is down waits until it is up.
        world.soon(town._ask, 3_000)
        return town

    def _ask(self) -> None:
        if not self.requester.up:
            self.world.soon(self._ask, 1_000)
        else:
            self.requester.take(ask(now_ms=self.world.now_ms))

    @property
    def requester(self) -> Node:
        """Whose client asks and pays."""
        return self.world.node("requester")

    @property
    def job(self) -> JobState | None:
        """The job as its requester sees it; None before it is asked for."""
        requester = self.requester
        # A view is made anew only if the node has heard something, or was started again: scenes ask after each event.
        heard = len(self.world.heard.get(requester.name, ()))
        if self._seen is None or self._seen[:2] != (requester.machine, heard):
            jobs = requester.machine.requester.jobs
            self._seen = requester.machine, heard, jobs[0] if jobs else None
        return self._seen[2]

    def victim(self, role: str) -> Node:
        """The node that is to die; of the seats one that sits, or is likely to."""
        if role != "seat":
            return self.world.node(role)
        seated = [node for _, event in self.world.log if isinstance(event, ev.CaseConvened) for node in event.seats]
        by_address = {node.address: node for node in self.world.nodes.values()}
        return by_address[seated[0]] if seated else self.world.node("seat-0")

    def end(self) -> JobState:
        """Let everything come to its end.

        Raises: AssertionError where something does not end, or what the client has then is not what the job's end says.
        """
        world = self.world
        world.run(lambda: (job := self.job) is not None and job.stage in TERMINAL, ENOUGH_S)
        world.run(lambda: all(node.up for node in world.nodes.values()), ENOUGH_S)
        job = self.job
        assert job is not None
        contracts = world.chain.contracts
        left = contracts.free[self.requester.address] + sum(lane.left for lane in contracts.lanes.values())
        billed = job.debit if job.stage is Stage.SPENDABLE else 0
        assert left == DEPOSIT - billed, f"{DEPOSIT - billed - left} wei more gone than billed"
        return job


@dataclass(frozen=True)
class Kill:
    """The node that dies, the stage of the job, the length of its absence, and the provider's work."""

    role: str
    stage: Stage
    work: Work
    away: Away

    def end(self) -> JobState | None:
        """The job's end after it; None if the job never comes to the stage as that role sees it.

        Raises: Broken, too where the job ends as it must not.
        """
        try:
            end = self._end()
        except AssertionError as error:
            raise Broken(f"{self}: {error}") from error
        if end is not None and end.stage not in self._allowed(end):
            raise Broken(f"{self}: the job ended {word(end)}, {end.reason or 'for no reason'}")
        return end

    def _end(self) -> JobState | None:
        town = Town.of(self.work)
        town.world.run(lambda: self._reached(town) or (town.job is not None and town.job.stage in TERMINAL))
        if not self._reached(town):
            return None
        town.world.kill(town.victim(self.role), self.away)
        return town.end()

    def _reached(self, town: Town) -> bool:
        """Whether the job is at the stage as the one who is to die sees it; a seat knows it only from its batch."""
        if self.role == "provider":
            return any(view.stage is self.stage for view in town.world.node("provider").machine.provider.jobs)
        return town.job is not None and town.job.stage is self.stage

    def _allowed(self, end: JobState) -> set[Stage]:
        if has_moved(end) or self.work is Work.HONEST:
            allowed = {Stage.SPENDABLE}
        else:
            # A node that fails says so, and there is another one.
            allowed = set() if self.work is Work.FAILING else {Stage.REFUNDED}
        if self.role == "provider" and self.away is Away.LONG:
            # A batch that its own node does not bring to court starves.
            allowed.add(Stage.REFUNDED)
        return allowed

    @property
    def names(self) -> dict[str, str]:
        """The kill as text."""
        return {"role": self.role, "stage": self.stage, "work": self.work.value, "away": self.away.name.lower()}

    def __str__(self) -> str:
        return f"{self.role} killed at {self.stage} for {self.away / 1_000:.0f} s, work {self.work.value}"


def has_moved(end: JobState) -> bool:
    """Whether another node than the first has done a job."""
    return end.node == SPARE


def word(end: JobState | None) -> str:
    """A cell of the table."""
    if end is None:
        return NEVER
    return f"moved+{end.stage}" if has_moved(end) else str(end.stage)


def every_kill() -> list[Kill]:
    """In the order of the table: by role, stage, work and time away."""
    return [Kill(role, stage, work, away) for role in VICTIMS for stage in STAGES for work in WORKS for away in Away]


def ends_of(kills: Sequence[Kill], progress: Progress) -> tuple[dict[Kill, str], list[Broken]]:
    """The cell of each, and what must not have happened."""
    ends: dict[Kill, str] = {}
    faults: list[Broken] = []
    for number, kill in enumerate(kills, 1):
        try:
            ends[kill] = word(kill.end())
        except Broken as broken:
            ends[kill] = BROKEN
            faults.append(broken)
        progress(number, len(kills))
    return ends, faults


def table(ends: Mapping[Kill, str]) -> list[str]:
    """The cells as lines: a row for each role and stage, a column for each work and time away."""
    columns = list(dict.fromkeys((kill.work, kill.away) for kill in ends))
    rows: dict[tuple[str, Stage], list[str]] = {}
    for kill, end in ends.items():
        rows.setdefault((kill.role, kill.stage), []).append(end)
    cells = [
        ["killed", "at", *(work.value for work, _ in columns)],
        ["", "", *(away.name.lower() for _, away in columns)],
        *([role, str(stage), *found] for (role, stage), found in rows.items()),
    ]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    return ["  ".join(map(str.ljust, row, widths)).rstrip() for row in cells]
