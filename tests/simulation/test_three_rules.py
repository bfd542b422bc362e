"""The three rules that act by themselves, each in a network with its log: heat, failures, delays."""

from __future__ import annotations

import dataclasses
import logging
from typing import Any

import pytest

from node.daemon.rule_log import RuleLog
from node.daemon.telemetry import Metrics
from protocol import effects as fx
from protocol import events as ev
from protocol.job import Stage
from protocol.roles.latency import DELAYS_KEPT
from protocol.stages.assignment import AssignmentOrder, RefuseCode, SignedRefuse
from protocol.stages.heartbeat import DeviceStatus, GpuGroup
from protocol.stages.offer import SignedOffer
from tests.simulation.histories import later, requested, settled, told, trusted
from tests.simulation.node import Node
from tests.simulation.scene import CLASS, ask
from tests.simulation.world import World
from tests.support.scenes.simulated_jobs import network
from tests.support.scenes.stalled_cases import asked_for


def watch(node: Node) -> None:
    """Let the node's log hear its events, as the daemon does."""
    metrics, hear = Metrics(), node.hear
    rules = RuleLog(node.machine, metrics)

    def heard(of: Node, event: Any) -> None:
        hear(of, event)
        metrics.observe(event)
        rules.observe(event)

    node.hear = heard


def heated(temperature_c: int) -> ev.DeviceReported:
    group = GpuGroup("A card", 1, temperature_c, 2**34, 2**35, 50, "12.4", "550")
    return ev.DeviceReported(DeviceStatus((CLASS,), (group,), 2**33, 1, (50,)))


@pytest.fixture
def said(caplog: pytest.LogCaptureFixture) -> Any:
    """The log of the rules so far."""
    caplog.set_level(logging.INFO, "node.daemon.rule_log")
    return lambda: [record.getMessage() for record in caplog.records if record.name == "node.daemon.rule_log"]


def test_a_hot_card_has_no_job_until_it_is_cool(said: Any) -> None:
    world = network()
    provider = world.node("provider")
    watch(provider)
    sent = asked_for(provider, fx.Send)
    provider.take(heated(86))
    world.soon(lambda: world.node("requester").take(ask()), 3_000)
    later(world, 20_000)
    assert told(world, ev.RequestReceived)
    assert [each for each in sent if isinstance(each.message, SignedOffer)] == []
    assert world.node("requester").machine.member.peers[provider.address].heartbeat.paused
    provider.take(heated(80))
    assert provider.machine.member.paused
    provider.take(heated(74))
    later(world, 10_000)
    world.soon(lambda: world.node("requester").take(ask(2, now_ms=world.now_ms)), 1_000)
    settled(world, 2)
    assert [job.stage for job in requested(world)] == [Stage.UNSERVED, Stage.SPENDABLE]
    assert said() == [
        "rule hot: a GPU has 86 C, above 85 C: no new jobs until it is cooler",
        "rule hot: over",
    ]


def test_an_order_for_an_offer_from_before_the_heat_is_refused(said: Any) -> None:
    world = network()
    requester, provider = world.node("requester"), world.node("provider")
    offers = asked_for(provider, fx.Send)
    world.soon(lambda: requester.take(ask()), 3_000)
    world.run(lambda: any(isinstance(each.message, SignedOffer) for each in offers), 60)
    provider.take(heated(90))
    world.run(lambda: bool(told(world, ev.OrderRefused)), 120)
    assert told(world, ev.OrderRefused)[0].code == RefuseCode.PAUSED
    later(world, 10_000)
    assert provider.machine.provider.jobs == ()
    assert any(isinstance(each.message, SignedRefuse) for each in offers)


def test_an_offer_that_was_not_sent_before_the_heat_is_withdrawn() -> None:
    world = network()
    provider = world.node("provider")
    offers = asked_for(provider, fx.SignMessage)
    sent = asked_for(provider, fx.Send)
    held = dataclasses.replace(heated(90).status, gpus=(), held=True)
    world.soon(lambda: world.node("requester").take(ask()), 3_000)
    # The owner takes the card back between the decision to offer and the signature.
    world.run(lambda: bool(offers), 60)
    provider.take(ev.DeviceReported(held))
    later(world, 10_000)
    assert [each for each in sent if isinstance(each.message, SignedOffer)] == []


def test_over_a_fifth_of_failures_half_of_the_jobs_are_checked(said: Any) -> None:
    world = trusted()
    provider = world.node("provider")
    watch(provider)

    def fail(count: int) -> None:
        def change(contracts: Any) -> None:
            contracts.nodes[provider.address].recent_failures = count
            contracts.show(provider.address)

        world.chain.change(change)

    fail(10)
    later(world, 20_000)
    assert said() == []
    fail(11)
    world.run(lambda: provider.machine.member.record.rate_bps == 5_000, 60)
    world.soon(lambda: world.node("requester").take(ask(2, now_ms=world.now_ms)), 1_000)
    settled(world, 2)
    assert told(world, ev.BatchSubmitted)[-1].rate_bps == 5_000
    fail(0)
    world.run(lambda: provider.machine.member.record.rate_bps == 1_000, 60)
    assert said() == [
        "rule failing: over 20 % of this node's last 50 jobs failed, and half of its jobs are checked",
        "rule failing: over, 10 % of this node's jobs are checked",
    ]


def hired(world: World, slow: bool) -> Any:
    """Who is hired of a good provider and a better one, whose answers take long."""
    better = world.add("better", {"provider"}, 80_000)
    world.join(better)
    requester = world.node("requester")
    watch(requester)
    orders = asked_for(requester, fx.Send)
    later(world, 10_000)
    for _ in range(DELAYS_KEPT if slow else 0):
        requester.take(ev.MessageSent(better.peer_id, 10_001))
    world.soon(lambda: requester.take(ask(now_ms=world.now_ms)), 1_000)
    settled(world)
    return next(each.to for each in orders if isinstance(each.message, AssignmentOrder)), better


def test_a_peer_that_answers_after_over_ten_seconds_is_hired_last(said: Any) -> None:
    first, better = hired(network(), slow=False)
    assert first == better.peer_id
    assert said() == []
    world = network()
    first, better = hired(world, slow=True)
    assert first == world.node("provider").peer_id
    assert "rule slow: a peer answers after over 10 s in the mean, and is hired last" in said()
    assert "rule slow: peers answer after 10001 ms in the mean: hired last" in said()
