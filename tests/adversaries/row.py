"""One dishonest party: who it is, what it does, how that must end; and the stage on which its row plays."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from node.api.views import CaseView, JobView
from tests.adversaries.arena import CLIENT, HONEST, Arena, Member, Part


@dataclass(frozen=True, eq=False)
class Row:
    """A row of the table.

    does, end, loses: in words, as they stand on the page. length: of its jobs, in tokens, by which they are known.
    play: asserts the end; returns what its cast has earned by honest work on the way, in wei, which is no gain.
    rival: whether the honest provider may have its jobs as well.
    """

    name: str
    does: str
    end: str
    loses: str
    length: int
    cast: Mapping[str, Part]
    play: Callable[[Stage], Awaitable[int]] = field(repr=False)
    rival: bool = False

    def __str__(self) -> str:
        return self.name


@dataclass
class Stage:
    """The arena as a row has it."""

    arena: Arena
    row: Row
    is_at_work: bool = True

    def member(self, name: str = "") -> Member:
        """One of the row's cast, the first unless named."""
        return self.arena.members[name or next(iter(self.row.cast))]

    @property
    def honest(self) -> Member:
        """The honest provider."""
        return self.arena.members[HONEST]

    async def ask(self, by: str = CLIENT, **changes: Any) -> str:
        """Ask for a job of this row."""
        return await self.arena.ask(self.row.length, by, **changes)

    async def done(self, by: str = CLIENT, **changes: Any) -> tuple[JobView, CaseView]:
        """A job from its ask to its money, and its court."""
        judged = await self.arena.until(await self.ask(by, **changes), _is_judged, by)
        self.rest()
        job = await self.arena.ended(judged.id, by)
        return job, await self.arena.case(job, by)

    def rest(self) -> None:
        """From here on the row only waits: another one may work."""
        if self.is_at_work:
            self.is_at_work = False
            self.arena.at_work.release()

    async def wage(self, case: CaseView) -> int:
        """The pay of a node for a batch that passed, with its part for having convened the court, in wei."""
        settlement = self.arena.ledger.network.settlement
        head, _ = await self.arena.ledger.now()
        paid = await settlement.entries("ConvenerPaid", 0, head)
        shares = [entry.values[2] for entry in paid if entry.values[:2] == (bytes.fromhex(case.id), case.node)]
        return case.reward_wei + case.bonus_wei + sum(shares)

    async def court_pay(self) -> int:
        """The pay of the row's first member for seats and audits of other rows, and for convening them, in wei."""
        settlement, node = self.arena.ledger.network.settlement, self.member().address
        head, _ = await self.arena.ledger.now()
        seats = await settlement.entries("SeatPaid", 0, head, node=node)
        convened = await settlement.entries("ConvenerPaid", 0, head, convener=node)
        return sum(entry.values[2] for entry in (*seats, *convened))

    async def slashed(self, name: str = "") -> int:
        """The stake that a party's node has lost, in wei."""
        before = self.arena.before[self.member(name).party.name].stake
        return before - (await self.arena.worth(self.member(name).party.name)).stake


def _is_judged(job: JobView) -> bool:
    return job.ended or job.state in ("passed", "failed")
