"""A machine with all roles takes any durable event, or says that a peer broke a rule."""

import copy
import random
from contextlib import suppress
from typing import Any, get_args

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from protocol.errors import RemoteProtocolError
from protocol.events import BlockSeen, Durable, MessageReceived, Tick
from protocol.messages import Message
from protocol.params import VCN
from protocol.roles.machine import Machine
from protocol.wire.ids import TimestampMs
from tests.simulation.scene import Work, ask
from tests.simulation.world import World
from tests.support.hostile_events import Hostile, Pool

ROLES = {"requester", "provider", "verifier"}
EVENTS_EACH = 8


def town(work: Work) -> World:
    """Five nodes with all roles. One has asked for a few jobs, and another one does them."""
    world = World()
    for number in range(5):
        node = world.add(f"node-{number}", ROLES, 20_000, work if number else Work.HONEST)
        world.chain.deposit(node.address, 100 * VCN)
    world.start()
    for number in range(1, 4):
        world.soon(lambda number=number: world.node("node-0").take(ask(number)), 3_000 * number)  # type: ignore[misc]
    return world


def until(world: World, seconds: int) -> None:
    world.run(lambda: world.now_ms >= world.started_ms + seconds * 1_000)


def moments() -> tuple[list[Machine], Pool, TimestampMs]:
    """The machines of all nodes at several moments of an honest and of a dishonest history, and what they had heard."""
    machines, said, now_ms = [], [], 0
    for work in (Work.HONEST, Work.DISHONEST):
        world = town(work)
        for seconds in (4, 12, 30, 60, 120, 240):
            until(world, seconds)
            machines += [copy.deepcopy(node.machine) for node in world.nodes.values()]
        said += [event for node in world.nodes.values() for event, _, _ in node.journal if event is not None]
        now_ms = max(now_ms, world.now_ms)
    return machines, Pool(said), TimestampMs(now_ms)


MACHINES, POOL, NOW_MS = moments()


def kinds() -> list[Any]:
    return [*(kind for kind in get_args(Durable) if kind is not MessageReceived), *get_args(Message)]


@pytest.mark.parametrize("kind", kinds(), ids=lambda kind: kind.__name__)
@settings(max_examples=12, suppress_health_check=list(HealthCheck), deadline=None)
@given(seed=st.integers(0, 2**32))
def test_durable_event_of_any_content_is_taken_or_refused(kind: type[Any], seed: int) -> None:
    chance = random.Random(seed)
    hostile = Hostile(POOL, chance)
    machine = copy.deepcopy(chance.choice(MACHINES))
    peers = [machine.identity.peer_id, *(peer.peer_id for peer in machine.member.peers.values())]
    now_ms = NOW_MS
    for _ in range(EVENTS_EACH):
        event = hostile.instance(kind)
        if kind not in get_args(Durable):
            event = MessageReceived(chance.choice(peers), event)
        with suppress(RemoteProtocolError):
            if isinstance(event, MessageReceived):
                machine.judge(event, now_ms)
        # A fold meets also what was judged by the rules of an earlier version.
        with suppress(RemoteProtocolError):
            machine.handle(event, now_ms)
        now_ms = TimestampMs(now_ms + chance.choice((1, 1_000, 3_600_000)))
    # Nor does what it left behind make a role raise later.
    machine.handle(Tick(), now_ms)
    machine.handle(BlockSeen(2**40, 2**40, now_ms // 1_000), now_ms)
