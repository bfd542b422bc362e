"""Simulated cases in which a party shows nothing."""

from typing import Any

from protocol import effects as fx
from protocol import events as ev
from tests.simulation.histories import told
from tests.simulation.node import Node
from tests.simulation.scene import ask
from tests.simulation.world import Answer
from tests.support.scenes.simulated_jobs import network


class Town:
    """A node whose answers of one kind do not arrive at the first seats of its case while it holds them back."""

    def __init__(self, kind: type[Any], seats: int = 1, tokens: int = 128) -> None:
        self.world, self.kind, self.seats, self.holds = network(), kind, seats, True
        self.provider = self.world.node("provider")
        self._perform, self.provider.perform = self.provider.perform, self._perform_or_hold
        self.world.soon(lambda: self.world.node("requester").take(ask(max_new_tokens=tokens)), 3_000)

    def _perform_or_hold(self, who: Node, effect: fx.Effect, answer: Answer) -> None:
        if self._is_held(effect):
            answer(ev.EffectFailed(fx.Send, fx.about(effect), "no answer", True))
        else:
            self._perform(who, effect, answer)

    def _is_held(self, effect: fx.Effect) -> bool:
        if not (self.holds and isinstance(effect, fx.Send) and isinstance(effect.message, self.kind)):
            return False
        return self.world.nodes[effect.to].address in self.case.seats[: self.seats]  # type: ignore[index]

    @property
    def case(self) -> ev.CaseConvened:
        found: ev.CaseConvened = told(self.world, ev.CaseConvened)[0]
        return found

    def seat(self, index: int = 0) -> Node:
        """The verifier on a seat, once the case is convened."""
        self.world.run(lambda: bool(told(self.world, ev.CaseConvened)))
        return next(node for node in self.world.nodes.values() if node.address == self.case.seats[index])


def asked_for(node: Node, kind: type[Any]) -> list[Any]:
    """Fills with every effect of a kind that a node asks for from now on."""
    asked: list[Any] = []
    perform = node.perform

    def watched(who: Node, effect: fx.Effect, answer: Answer) -> None:
        if isinstance(effect, kind):
            asked.append(effect)
        perform(who, effect, answer)

    node.perform = watched
    return asked
