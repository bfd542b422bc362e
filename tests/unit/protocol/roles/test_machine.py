"""Messages that were not asked for: none of them matters, so none of them reaches the journal."""

from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.events import Event, MessageReceived
from protocol.messages import Message
from protocol.roles.machine import Machine
from protocol.wire.ids import TimestampMs
from tests.simulation.world import World
from tests.support.strategies import instances


def town() -> World:
    world = World()
    world.add("requester", {"requester"})
    world.add("provider", {"provider", "verifier"}, 20_000)
    world.start()
    world.run(lambda: world.now_ms > world.started_ms + 3_000)
    return world


TOWN = town()


def judged(machine: Machine, received: MessageReceived) -> Event | None:
    """The event that it is taken as; None also where its sender pays for it."""
    try:
        return machine.judge(received, TimestampMs(TOWN.now_ms))
    except RemoteProtocolError:
        return None


@pytest.mark.parametrize("kind", get_args(Message), ids=lambda kind: kind.__name__)
@settings(max_examples=20, suppress_health_check=list(HealthCheck), deadline=None)
@given(data=st.data())
def test_what_nobody_asked_for_is_not_expected(kind: type[Any], data: Any) -> None:
    message = data.draw(instances(kind))
    for node in TOWN.nodes.values():
        for peer in TOWN.nodes:
            assert judged(node.machine, MessageReceived(peer, message)) is None


def test_machine_that_is_folded_anew_goes_on_with_what_it_had_heard() -> None:
    node = next(node for node in town().nodes.values() if node.name == "requester")
    machine = node.machine
    before, heard = machine.member, dict(machine.member.peers)
    anew = machine.fresh()
    for event, at_ms, _ in node.journal:
        if event is not None:
            anew.handle(event, TimestampMs(at_ms))
    machine.become(anew, keep_heard=True)
    assert machine.member is not before
    assert machine.requester.member is machine.member
    assert (machine.member.nodes, machine.member.money.accounts) == (before.nodes, before.money.accounts)
    assert heard
    assert machine.member.peers == heard
    machine.become(machine.fresh(), keep_heard=False)
    assert machine.member.peers == {}
