"""Events of the chain that are told twice, by a watcher that lost its cursor or died before it could move it.

Everything that a node of a whole history was told by the chain is told to it again: at once, all that came before with
it, and at the end. It shows the same and asks for the same as if that had not been.
"""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cache
from typing import get_args

import pytest

from protocol import effects as fx
from protocol import events as ev
from protocol.errors import RemoteProtocolError
from protocol.roles.machine import Machine
from protocol.wire.ids import TimestampMs
from tests.simulation.histories import HISTORIES
from tests.simulation.node import Blamed, Node
from tests.simulation.scene import RULES
from tests.simulation.world import World

ELSEWHERE = frozenset(
    {
        ev.BlobFetched,
        ev.ContainerExited,
        ev.ContainersHeld,
        ev.DeadlinePassed,
        ev.DeviceReported,
        ev.EffectFailed,
        ev.FrameOpened,
        ev.FrameSealed,
        ev.HeartbeatPublished,
        ev.HeartbeatReceived,
        ev.HoldBegun,
        ev.HoldEnded,
        ev.HpkeKeyRotated,
        ev.InputOpened,
        ev.JobAsked,
        ev.JobStopAsked,
        ev.KeySealed,
        ev.MessageReceived,
        ev.MessageSent,
        ev.MessageSigned,
        ev.MessageUnanswered,
        ev.ModelAdded,
        ev.ModelRemoved,
        ev.OrderRefused,
        ev.RequestPublished,
        ev.RequestReceived,
        ev.ResultOpened,
        ev.ResultSealed,
        ev.RoomReported,
        ev.RunShortened,
        ev.SampleOpened,
        ev.SampleReplayed,
        ev.Tick,
        ev.TokensProduced,
    }
)
CHAIN = frozenset(get_args(ev.Event)) - ELSEWHERE
"""A new kind of event is of the chain, and has to be in a history, until it is named above."""
STATES = ev.NodeSeen | ev.LaneSeen | ev.AccountSeen | ev.IntakeStopped
"""The last word on something. An old one is never told again without the newer ones."""


history = cache(lambda name: HISTORIES[name]())
each_history = pytest.mark.parametrize("name", HISTORIES)


def test_every_event_of_the_chain_is_in_a_history() -> None:
    heard = {type(event) for name in HISTORIES for _, event in history(name).log}
    assert heard & CHAIN == CHAIN


def test_machines_that_heard_the_same_are_equal() -> None:
    """Or every fork has to go on to the end, which takes ten times as long."""
    world = history("honest")
    for node in world.nodes.values():
        listener = Listener.like(node)
        for at_ms, event in _heard(world, node):
            listener.take(event, at_ms)
        assert listener.fork().state == listener.state


# --- a machine that is told things again ------------------------------------------------------------------------------
@dataclass
class Listener:
    """A machine of its own, and what it has asked for."""

    machine: Machine
    asked: list[fx.Effect] = field(default_factory=list)

    @classmethod
    def like(cls, node: Node) -> Listener:
        return cls(Machine(node.identity, RULES, node.settings))

    def take(self, event: ev.Event, at_ms: TimestampMs) -> None:
        with suppress(RemoteProtocolError):
            self.asked += self.machine.handle(event, at_ms)

    def fork(self) -> Listener:
        """A copy that goes on by itself; pickling takes a tenth of the time of a deep copy."""
        return Listener(pickle.loads(pickle.dumps(self.machine)), list(self.asked))

    @property
    def state(self) -> tuple[object, ...]:
        """Everything that it decides by."""
        machine = self.machine
        return (
            machine.docket,
            machine.member,
            machine.settler,
            machine.requester,
            machine.provider,
            machine.opening_responder,
            machine.verifier,
            machine.audit_responder,
            machine.auditor,
        )

    def differences(self, other: Listener) -> list[str]:
        """The differences in views and effects of two machines."""
        mine, others = shown(self.machine), shown(other.machine)
        asked, other_asked = (Counter(map(fx.effect_key, each.asked)) for each in (self, other))
        keys = (asked - other_asked) + (other_asked - asked)
        effects = {type(effect).__name__ for effect in (*self.asked, *other.asked) if fx.effect_key(effect) in keys}
        return [*(name for name in mine if mine[name] != others[name]), *sorted(effects)]


def shown(machine: Machine) -> dict[str, object]:
    """The view of a node."""
    return {
        "jobs asked for": machine.requester.jobs,
        "jobs done": machine.provider.jobs,
        "batches": machine.docket.batches,
        "seats": machine.verifier.sittings,
        "audits": machine.auditor.audits,
        "lanes": machine.member.money.lanes,
        "left elsewhere": machine.member.money._elsewhere,
        "accounts": machine.member.money.accounts,
        "nodes": machine.member.nodes,
    }


Heard = list[tuple[TimestampMs, ev.Event]]
Again = Callable[[list[ev.Event]], Iterator[list[ev.Event]]]
"""The events to tell again, each on its own, of all that the chain has told so far."""


def tell_again(name: str, again: Again, *, at_end: bool = False) -> None:
    """Fold what each node of a history has heard; tell it things again after each event of the chain, or at the end."""
    world = history(name)
    for node, whole in zip(world.nodes.values(), folded(name), strict=True):
        heard = _heard(world, node)
        listener, fork = Listener.like(node), Listener.like(node)
        past: list[ev.Event] = []
        retold = 0
        for count, (at_ms, event) in enumerate(heard, 1):
            listener.take(event, at_ms)
            fork.take(event, at_ms)
            if type(event) in CHAIN:
                past.append(event)
            if count < len(heard) if at_end else type(event) not in CHAIN:
                continue
            for events in again(past):
                retold += len(events)
                for each in events:
                    fork.take(each, at_ms)
                # Equal machines go on alike, so one fork hears it all. The same effects compare at once.
                if fork.asked == listener.asked and fork.state == listener.state:
                    fork.asked = list(listener.asked)
                else:
                    for later_ms, rest in heard[count:]:
                        fork.take(rest, later_ms)
                    kinds = [type(each).__name__ for each in events]
                    assert not fork.differences(whole), f"{node.name} after {count} events, told again: {kinds}"
                    fork = listener.fork()
        assert retold >= len(_without_heads(past))


@cache
def folded(name: str) -> tuple[Listener, ...]:
    """For each node of a history a machine that heard what it has heard, and shows what it shows."""
    world = history(name)
    listeners = tuple(map(Listener.like, world.nodes.values()))
    for node, listener in zip(world.nodes.values(), listeners, strict=True):
        for at_ms, event in _heard(world, node):
            listener.take(event, at_ms)
        assert shown(listener.machine) == shown(node.machine)
    return listeners


def _heard(world: World, node: Node) -> Heard:
    """The events of a node; that it blamed a peer is no event."""
    events = world.heard[node.name]
    return [(at_ms, event) for at_ms, event in events if not isinstance(event, Blamed)]


def _without_heads(past: list[ev.Event]) -> list[ev.Event]:
    """A watcher that starts again tells the newest head only."""
    return [event for event in past if not isinstance(event, ev.BlockSeen)]


@each_history
def test_an_event_told_twice_changes_nothing(name: str) -> None:
    def once(past: list[ev.Event]) -> Iterator[list[ev.Event]]:
        yield past[-1:]

    tell_again(name, once)


@each_history
def test_the_whole_past_told_again_changes_nothing(name: str) -> None:
    def everything(past: list[ev.Event]) -> Iterator[list[ev.Event]]:
        if not isinstance(past[-1], ev.BlockSeen):
            yield _without_heads(past)

    tell_again(name, everything)


@each_history
def test_what_is_told_again_when_all_is_over_changes_nothing(name: str) -> None:
    def each_and_all_after_it(past: list[ev.Event]) -> Iterator[list[ev.Event]]:
        facts = _without_heads(past)
        for index, event in enumerate(facts):
            yield facts[index:]
            if not isinstance(event, STATES):
                yield [event]

    tell_again(name, each_and_all_after_it, at_end=True)


# --- a world that is told things again --------------------------------------------------------------------------------
@each_history
def test_watchers_that_keep_no_cursor_change_nothing(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    kept = history(name)
    follow = World._follow_chain

    def follow_from_the_start(world: World, node: Node) -> None:
        node.cursor = 0
        follow(world, node)

    monkeypatch.setattr(World, "_follow_chain", follow_from_the_start)
    lost = HISTORIES[name]()
    assert len(lost.log) > 2 * len(kept.log)
    # The chain, and all that nodes said, signed and did, moment by moment.
    assert lost.chain.contracts == kept.chain.contracts
    assert _by_themselves(lost) == _by_themselves(kept)
    for node, other in zip(kept.nodes.values(), lost.nodes.values(), strict=True):
        assert shown(other.machine) == shown(node.machine)


def _by_themselves(world: World) -> dict[str, Heard]:
    return {
        name: [(at_ms, event) for at_ms, event in heard if type(event) not in CHAIN]
        for name, heard in world.heard.items()
    }
