"""A simulated node: a shipped machine behind a journal, killed and started again the way the daemon is."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from node.driver import GRACE_MS
from node.performing import FIRST_BACKOFF_S, TRIES
from protocol import effects as fx
from protocol import events as ev
from protocol.errors import RemoteProtocolError
from protocol.roles.identity import Identity, Settings
from protocol.roles.machine import Machine
from protocol.wire.ids import Address, PeerId, TimestampMs
from protocol.wire.names import wire_class
from tests.fakes.hand import Hand
from tests.simulation.scene import RULES, Work

Row = tuple[ev.Event | None, int, bytes | None]
Perform = Callable[["Node", fx.Effect, Callable[[ev.Event], None]], None]
Hear = Callable[["Node", ev.Event], None]


@wire_class("Blamed")
class Blamed:
    """A node refused what a peer said."""

    reason: str


@dataclass
class Asked:
    """An effect without an answer. `kept`: a fold of the journal would ask for it again."""

    effect: fx.Effect
    kept: bool


@dataclass
class Node:
    """One node. Its `journal` and `disk` outlive a kill; the rest does not.

    `life` counts its lives: what was begun in an earlier one reaches no machine.
    """

    name: str
    secret: bytes
    identity: Identity
    settings: Settings
    perform: Perform
    hear: Hear
    clock: Callable[[], int]
    work: Work = Work.HONEST
    stake: int = 0
    silent: bool = False
    is_lazy: bool = False
    """Whether its seats compute nothing and find everything perfect."""
    is_bribed: bool = False
    """Whether its seats compute as they should and find everything perfect."""
    has_model: bool = True
    is_calibrated: bool = True
    """Whether it begins with the model of the scene, and with its noise."""
    lag_ms: int = 0
    """How far behind the others its view of the chain is."""
    machine: Machine = field(init=False)
    journal: list[Row] = field(default_factory=list)
    disk: dict[bytes, bytes] = field(default_factory=dict)
    cursor: int = 0
    up: bool = True
    life: int = 1
    started_ms: int = 0
    asked: dict[bytes, Asked] = field(default_factory=dict)
    _marks: list[Row] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.machine = Machine(self.identity, RULES, self.settings)
        self.started_ms = self.clock()

    @property
    def address(self) -> Address:
        return self.identity.operator

    @property
    def peer_id(self) -> PeerId:
        return self.identity.peer_id

    @property
    def hand(self) -> Hand:
        """The key that signs its transactions."""
        return Hand(self.address, self.identity.client or self.address)

    @property
    def is_young(self) -> bool:
        """Whether it may not have found its peers again since its start."""
        return self.clock() < self.started_ms + 60_000

    def take(self, event: ev.Event, answers: bytes | None = None) -> None:
        """An event as the driver handles it: journalled if it is durable, then decided on."""
        if not self.up:
            return
        now = TimestampMs(self.clock())
        if isinstance(event, ev.MessageReceived):
            judged = self._judge(event, now)
            if judged is None:
                return
            event = judged
        done = self.asked.pop(answers, None) if answers is not None else None
        durable = ev.is_durable(event)
        if durable:
            # Marks ride along with the next commit.
            self.journal += [*self._marks, (event, now, answers)]
            self._marks = []
        elif done is not None and done.kept:
            self._marks.append((None, now, answers))
        try:
            effects = self.machine.handle(event, now)
        except RemoteProtocolError as error:
            self.hear(self, Blamed(str(error)))
            effects = ()
        self.hear(self, event)
        for effect in effects:
            self._want(effect, kept=durable)

    def _judge(self, received: ev.MessageReceived, now: TimestampMs) -> ev.Event | None:
        try:
            return self.machine.judge(received, now)
        except RemoteProtocolError as error:
            self.hear(self, Blamed(str(error)))
            return None

    def _want(self, effect: fx.Effect, *, kept: bool) -> None:
        key = fx.effect_key(effect)
        if key in self.asked:
            self.asked[key].kept = self.asked[key].kept or kept
            return
        self.asked[key] = Asked(effect, kept)
        self._do(key, effect)

    def _do(self, key: bytes, effect: fx.Effect) -> None:
        life = self.life

        def answer(event: ev.Event) -> None:
            if self.life == life:
                self.take(event, key)

        self.perform(self, effect, answer)

    def kill(self) -> None:
        """End it between two events, with everything that it had not written down."""
        self.up, self.life = False, self.life + 1
        self.asked, self._marks = {}, []

    def restart(self) -> None:
        """Fold the journal, then ask again for what it leaves open."""
        self.machine = Machine(self.identity, RULES, self.settings)
        for event, at_ms, answers in self.journal:
            if answers is not None:
                self.asked.pop(answers, None)
            if event is None:
                continue
            try:
                effects = self.machine.handle(event, TimestampMs(at_ms))
            except RemoteProtocolError:
                continue
            for effect in effects:
                self.asked.setdefault(fx.effect_key(effect), Asked(effect, kept=True))
        self.up, self.started_ms = True, self.clock()
        left = list(self.asked.items())
        for effect in self.machine.start(TimestampMs(self.clock())):
            self._want(effect, kept=False)
        for key, asked in left:
            effect = asked.effect
            if isinstance(effect, fx.AwaitDeadline):
                effect = replace(effect, at_ms=max(effect.at_ms, self.clock() + GRACE_MS))
            self._do(key, effect)


def backoff_ms(failed: int, chance: random.Random) -> int | None:
    """How long the driver waits after so many failed tries; None once it gives up."""
    return None if failed >= TRIES else int(FIRST_BACKOFF_S * 1000) * 2 ** (failed - 1) + chance.randint(0, 50)
