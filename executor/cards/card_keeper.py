"""Looks after the cards: reads them, decides by `care`, and has the Docker Engine pause or end what runs there."""

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import trio

from executor.cards.card import Card, CardFault, CardsReading
from executor.cards.card_desk import CardDesk, CardReport, CardsReport
from executor.cards.card_processes import cgroup_of, containers_of
from executor.cards.card_reader import CardReader
from executor.cards.care import (
    FRESH,
    CardContainer,
    CardDecision,
    CardState,
    CardTrouble,
    JobEnd,
    TroubleKind,
    decide,
)
from executor.cards.nvml import NvmlFault
from executor.containers.ending import Intent
from executor.containers.engine import Engine, FoundOnCards
from protocol.errors import ExecutorError

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""Between two looks at the cards: one that gets hot is paused within 2 s."""
REST_S = 10.0
"""The same on a machine without a card: its driver may be loaded later."""
_INTENTS = {
    JobEnd.STOPPED: Intent.CARD_STOPPED,
    JobEnd.LOST: Intent.CARD_LOST,
    JobEnd.OVER_SHARE: Intent.CARD_MEMORY,
}


@dataclass(eq=False)
class CardKeeper:
    """Keeps the report of a desk, as long as `run` does. `clock`, in seconds, need not be that of the event loop."""

    engine: Engine
    desk: CardDesk
    reader: CardReader = field(default_factory=CardReader)
    clock: Callable[[], float] = trio.current_time
    groups: Callable[[int], str] = cgroup_of
    is_held: Callable[[], bool] = lambda: False
    """Whether the owner has all containers stand still: a cool card must not let them go on."""
    _states: dict[str, CardState] = field(default_factory=dict)
    _caps: dict[str, CardTrouble] = field(default_factory=dict)
    """Cards whose power could not be capped."""
    _said: dict[tuple[str, str], str] = field(default_factory=dict)
    """Troubles that the log has told, by card and kind."""
    _news: trio.Event = field(default_factory=trio.Event)
    _turn: trio.Lock = field(default_factory=trio.Lock)

    async def run(self) -> None:
        """Look after the cards until cancelled."""
        while True:
            await self.look()
            report = self.desk.report
            await trio.sleep(LOOK_S if report.cards or report.fault else REST_S)

    async def news(self) -> None:
        """Wait until what the network is told of the cards has changed."""
        await self._news.wait()

    async def look(self) -> CardsReport:
        """Read the cards once, and act."""
        async with self._turn:
            return await self._look()

    async def _look(self) -> CardsReport:
        reading = await self.reader.read()
        found: tuple[FoundOnCards, ...] = ()
        try:
            found = await trio.to_thread.run_sync(self.engine.on_cards) if reading.cards or self._states else ()
        except ExecutorError as error:
            # Without it nothing can be paused, and all processes would look foreign: keep the last report.
            self._tell("", TroubleKind.UNWATCHED, f"what runs on the cards is not known: {error}")
            return self.desk.report
        self._untell([("", TroubleKind.UNWATCHED.value)])
        pids = {process.pid for card in reading.cards for process in card.processes}
        names = [each.container for each in found]
        owners = await trio.to_thread.run_sync(containers_of, pids, names, self.groups) if pids else {}
        self.desk.ours = frozenset(owners)
        decisions = {card.uuid: self._decide(card, found, dict(owners)) for card in reading.cards}
        before, self.desk.report = self.desk.report, await self._reported(reading, decisions)
        self._log(self.desk.report)
        await self._act(found, decisions)
        if _told(before) != _told(self.desk.report):
            self._news.set()
            self._news = trio.Event()
        return self.desk.report

    def _decide(self, card: Card, found: Iterable[FoundOnCards], owners: dict[int, str]) -> CardDecision:
        used: dict[str, int] = defaultdict(int)
        for process in card.processes:
            used[owners.get(process.pid, "")] += process.used_bytes or 0
        mine = [
            CardContainer(each.container, each.job, each.share_bytes, used[each.container], each.is_paused)
            for each in found
            if each.is_mine and card.uuid in each.uuids
        ]
        foreign = [process for process in card.processes if process.pid not in owners]
        before = self._states.get(card.uuid, FRESH)
        decision = decide(before, card, mine, foreign, self.desk.limits, self.clock())
        self._states[card.uuid] = decision.state
        return decision

    async def _reported(self, reading: CardsReading, decisions: dict[str, CardDecision]) -> CardsReport:
        reports = []
        for card in reading.cards:
            await self._cap(card)
            decision, refused = decisions[card.uuid], self._caps.get(card.uuid)
            troubles = (*decision.troubles, *([refused] if refused else []))
            reports.append(CardReport(card, decision.is_usable, decision.is_stopped, troubles))
        return CardsReport(tuple(reports), reading.cuda, reading.driver, reading.fault, reading.words)

    async def _cap(self, card: Card) -> None:
        """Let a card draw no more than its owner says; where this user may not, say so once."""
        watts = self.desk.limits.power_watts
        is_over = card.power_limit_mw is not None and card.power_limit_mw > watts * 1000
        if not watts or card.fault or not is_over or card.uuid in self._caps:
            return
        try:
            await self.reader.cap_power(card.uuid, watts)
        except NvmlFault as error:
            if error.fault is CardFault.HANGS:
                return
            fix = f"sudo nvidia-smi -i {card.uuid} -pl {watts}"
            words = f"its power is not capped at {watts} W: {error}"
            self._caps[card.uuid] = CardTrouble(TroubleKind.CAP_REFUSED, words, fix)
        else:
            log.info("a card's power is capped", extra={"card": card.uuid, "watts": watts})

    async def _act(self, found: Iterable[FoundOnCards], decisions: dict[str, CardDecision]) -> None:
        """End, pause and let go on: a container of several cards is paused while any of them is stopped."""
        is_held = self.is_held()
        ended = {job: end for decision in decisions.values() for job, end in decision.ended}
        # The driver knows such a card or instance no more.
        ended |= {each.job: JobEnd.LOST for each in found if not decisions.keys() >= {*each.uuids}}
        async with trio.open_nursery() as nursery:
            for each in found:
                if not each.is_mine:
                    continue
                is_hot = any(uuid in decisions and decisions[uuid].is_stopped for uuid in each.uuids)
                is_stopped = is_held or is_hot
                if each.job in ended:
                    nursery.start_soon(self._end, each, ended[each.job])
                elif is_stopped != each.is_paused:
                    nursery.start_soon(self._pause, each, is_stopped)

    async def _end(self, found: FoundOnCards, end: JobEnd) -> None:
        facts = {"job_id": found.job, "card": ",".join(found.uuids), "why": end.value}
        log.warning("a job is taken off its card", extra=facts)
        await trio.to_thread.run_sync(self.engine.end_on_card, found.job, _INTENTS[end])

    async def _pause(self, found: FoundOnCards, is_stopped: bool) -> None:
        facts = {"job_id": found.job, "card": ",".join(found.uuids)}
        try:
            await trio.to_thread.run_sync(lambda: self.engine.pause(found.container, go_on=not is_stopped))
        except ExecutorError as error:
            log.warning("a container on a card cannot be paused or go on: %s", error, extra=facts)
        else:
            log.warning("a container on a card %s", "is paused" if is_stopped else "goes on", extra=facts)

    def _log(self, report: CardsReport) -> None:
        """Tell each trouble when it comes and when it goes."""
        now = {(each.card.uuid, trouble.kind.value) for each in report.cards for trouble in each.troubles}
        if report.fault is not None:
            now.add(("all", report.fault.value))
            self._tell("all", report.fault, f"the cards cannot be read: {report.words}")
        for each in report.cards:
            for trouble in each.troubles:
                self._tell(each.card.uuid, trouble.kind, trouble.words, trouble.fix)
        self._untell([key for key in self._said if key not in now and key[0]])

    def _tell(self, uuid: str, kind: TroubleKind | CardFault, words: str, fix: str = "") -> None:
        if (uuid, kind.value) not in self._said:
            self._said[uuid, kind.value] = words
            log.warning("card %s: %s", kind.value, words, extra={"card": uuid, "hint": fix})

    def _untell(self, gone: Iterable[tuple[str, str]]) -> None:
        for key in gone:
            if self._said.pop(key, None) is not None:
                log.info("card %s: over", key[1], extra={"card": key[0]})


def _told(report: CardsReport) -> tuple[object, ...]:
    """What the network is told at once: which cards there are, which may be used, which are stopped."""
    return tuple((each.card.uuid, each.is_usable, each.is_stopped) for each in report.cards)
