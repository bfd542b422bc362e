"""Simulated jobs whose client sends no receipt."""

from collections.abc import Callable
from dataclasses import replace

from protocol import effects as fx
from protocol.stages.commitment import ResultDelivery, TokenFrame
from tests.simulation.node import Node
from tests.simulation.world import Answer, World


def is_answer(effect: fx.Effect) -> bool:
    return isinstance(effect, fx.Send) and isinstance(effect.message, ResultDelivery | TokenFrame)


def lose(node: Node, is_lost: Callable[[fx.Effect], bool]) -> None:
    """Some of what a node wants happens no more, and no log tells it."""
    perform = node.perform

    def without(who: Node, effect: fx.Effect, answer: Answer) -> None:
        if not is_lost(effect):
            perform(who, effect, answer)

    node.perform = without


def hold_up(world: World, node: Node, delay_ms: int, **claims: int) -> None:
    """A node's batches go out much later, as when it reaches no endpoint of the chain; and claim what is not so."""
    perform = node.perform

    def late(who: Node, effect: fx.Effect, answer: Answer) -> None:
        if isinstance(effect, fx.SubmitBatch):
            fraud_kind = fx.SubmitBatch(replace(effect.batch, **claims))
            world.soon(lambda: perform(who, fraud_kind, answer), delay_ms)
        else:
            perform(who, effect, answer)

    node.perform = late
