"""A seat of a case, and what its verifier hears."""

import dataclasses
from typing import Any

from protocol import effects as fx
from protocol import events as ev
from protocol.roles.machine import Machine
from protocol.roles.verifier import seat as seats
from protocol.roles.verifier.leaf import DrawnLeaf
from protocol.stages.verification import FingerprintOpening, SampleOpening
from protocol.timers import Timer
from protocol.wire.codec import encode_named
from protocol.wire.ids import TimestampMs
from tests.simulation.scene import RULES, Work, check_bytes
from tests.support.scenes.stalled_cases import Town, asked_for


class Sitting:
    """A machine on the first of three seats of a case of one leaf, to which nothing was shown yet."""

    def __init__(self, **settings: Any) -> None:
        self.town = Town((SampleOpening, FingerprintOpening), seats=3, tokens=2_000)  # type: ignore[arg-type]
        node, world = self.town.seat(), self.town.world
        sent = asked_for(self.town.provider, fx.Send)
        openings: list[SampleOpening] = []

        def is_shown() -> bool:
            mine = [each.message for each in sent if each.to == node.peer_id]
            openings[:] = [each for each in mine if isinstance(each, SampleOpening)]
            return bool(openings)

        world.run(is_shown)
        self.opening = openings[0]
        self.convened, self.provider = self.town.case, self.town.provider
        self.hpke_key = node.machine.member.hpke_key
        # The same past, from which this test goes on by itself.
        self.machine = Machine(node.identity, RULES, dataclasses.replace(node.settings, **settings))
        for event, at_ms, _ in node.journal:
            if event is not None:
                self.machine.handle(event, TimestampMs(at_ms))
        self.machine.member.peers = node.machine.member.peers
        self.machine.handle(ev.DeviceReported(world.nodes[node.peer_id].machine.member.device), TimestampMs(0))
        self.second, self.head = 0, 1_000
        self.moments: list[Timer] = []

    @property
    def case(self) -> seats.Sitting:
        (sitting,) = self.machine.verifier.sittings
        return sitting

    @property
    def own(self) -> seats.OwnSeat:
        return self.case.own

    def reseat(self) -> None:
        """This node has the last seat of three."""
        sitting = self.case.case.seats
        self.case.case.seats = {3: sitting[1], 4: sitting[2], 5: sitting[0]}
        self.own.seat = 5

    def draw(self, count: int) -> None:
        """The contract has drawn so many leaves."""
        self.case.case.drawn = tuple(range(count))
        self.own.leaves |= {index: DrawnLeaf() for index in range(count) if index not in self.own.leaves}

    @property
    def leaf(self) -> DrawnLeaf:
        return self.own.leaves[0]

    @property
    def now_ms(self) -> TimestampMs:
        return TimestampMs((self.convened.timestamp + self.second) * 1_000)

    def take(self, event: ev.Event) -> list[fx.Effect]:
        return list(self.machine.handle(event, self.now_ms))

    def at(self, second: int) -> list[fx.Effect]:
        """The effects of a block so many seconds into the turn, and of the timers that pass then."""
        self.second, self.head = second, self.head + 1
        asked = self.take(ev.BlockSeen(self.head, self.head - 2, self.convened.timestamp + second))
        moments = [each for each in asked if isinstance(each, fx.AwaitDeadline)]
        self.moments += [moment.timer for moment in moments]
        return [each for each in asked if each not in moments] + [
            effect for moment in moments for effect in self.take(ev.DeadlinePassed(moment.timer))
        ]

    def until(self, second: int, step: int = 3) -> list[fx.Effect]:
        """Everything that is asked for from now until then."""
        return [effect for each in range(self.second + step, second + 1, step) for effect in self.at(each)]

    def show(self) -> list[fx.Effect]:
        """The node's answer, and the seat's own pass."""
        self.take(ev.MessageReceived(self.provider.peer_id, self.opening))
        self.take(self.opened())
        return self.take(ev.SampleReplayed(self.case.batch_id, 0, check_bytes(3, Work.HONEST), ""))

    def opened(self, problem: str = "") -> ev.SampleOpened:
        return ev.SampleOpened(self.case.batch_id, 0, 0 if problem else 3, problem)

    def bind(self) -> None:
        """All seats have committed."""
        for seat in range(3):
            self.take(ev.SeatCommitted(self.case.batch_id, seat))

    def demanded(self, seat: int = 0, leaf: int = 0) -> None:
        """A demand is final, and waits for 20 s."""
        until = self.convened.timestamp + self.second + 20
        self.take(ev.DataDemanded(self.case.batch_id, seat, leaf, self.hpke_key, until))

    def answer(self, message: object) -> list[fx.Effect]:
        data = message if isinstance(message, bytes) else encode_named(message)
        return self.take(ev.DataAnswered(self.case.batch_id, data, self.convened.timestamp + self.second))

    def fail(self, effect: type[fx.Effect], *, transient: bool = True, about: bytes = b"") -> list[fx.Effect]:
        return self.take(ev.EffectFailed(effect, about or self.case.batch_id, "for a test", transient))


def of(effects: list[fx.Effect], kind: type[Any]) -> list[Any]:
    return [effect for effect in effects if isinstance(effect, kind)]
