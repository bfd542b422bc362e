"""Lines for the owner: each rule once as it begins and once as it ends, and the holds."""

import logging
from dataclasses import replace

import pytest

from node.daemon.owner_log import OwnerLog
from node.daemon.telemetry import Metrics
from protocol.events import ContainerExited, Event, Hold, HoldBegun, HoldEnded, MessageSent, NodeSeen, Tick
from protocol.params import DELAY_ALERT_MS, FAILURE_RING
from protocol.roles.latency import DELAYS_KEPT
from protocol.stages.execution import Outcome, failed
from protocol.stages.offer import NodeRecord
from protocol.wire.ids import TimestampMs
from tests.simulation.node import Node
from tests.simulation.world import World


class Owner:
    """An owner who reads the log of one node."""

    def __init__(self, caplog: pytest.LogCaptureFixture) -> None:
        caplog.set_level(logging.INFO)
        self._caplog = caplog
        world = World()
        self.node: Node = world.add("provider", {"provider"}, 20_000)
        self.record: NodeRecord = world.record(self.node)
        self.metrics = Metrics()
        self.log = OwnerLog(self.node.machine, self.metrics)

    def see(self, *events: Event) -> list[tuple[str, str]]:
        """The lines that these events make, with their levels."""
        self._caplog.clear()
        for event in events:
            self.node.machine.handle(event, TimestampMs(0))
            self.metrics.observe(event)
            self.log.observe(event)
        return [(each.levelname, each.getMessage()) for each in self._caplog.records]


@pytest.fixture
def owner(caplog: pytest.LogCaptureFixture) -> Owner:
    return Owner(caplog)


def jobs(outcome: Outcome, count: int) -> list[Event]:
    return [ContainerExited(bytes(32), failed(outcome, ""), b"")] * count


def test_a_failure_rate_over_a_fifth_is_told_once_and_its_end_once(owner: Owner) -> None:
    assert owner.see(*jobs(Outcome.OK, 8), *jobs(Outcome.JOB, 2)) == []
    ((level, line),) = owner.see(*jobs(Outcome.JOB, 1))
    assert (level, line) == ("WARNING", "27 % of the last 11 jobs failed: more of them will be checked")
    assert owner.see(*jobs(Outcome.JOB, 5), Tick()) == []
    assert owner.see(*jobs(Outcome.OK, FAILURE_RING)) == [
        ("INFO", "fewer jobs fail again: at most a fifth of the last ones")
    ]


def test_a_mean_delay_over_the_limit_is_told_once_and_its_end_once(owner: Owner) -> None:
    peer = owner.node.peer_id
    assert owner.see(MessageSent(peer, DELAY_ALERT_MS)) == []
    ((level, line),) = owner.see(*[MessageSent(peer, DELAY_ALERT_MS + 10)] * 3)
    assert level == "WARNING"
    assert line.startswith("peers answer after 10005 ms in the mean: hired last")
    ((level, line),) = owner.see(*[MessageSent(peer, 10)] * DELAYS_KEPT)
    assert (level, line) == ("INFO", "peers answer in time again: this node is hired in its turn")


def test_the_rate_of_checks_is_told_when_the_chain_changes_it(owner: Owner) -> None:
    assert owner.see(NodeSeen(owner.record)) == owner.see(NodeSeen(owner.record)) == []
    told = [owner.see(NodeSeen(replace(owner.record, rate_bps=rate_bps))) for rate_bps in (1_000, 5_000, 5_000, 1_000)]
    assert told == [
        [("INFO", "10 % of this node's jobs are checked from now on: the usual rate")],
        [("WARNING", "50 % of this node's jobs are checked from now on: over a fifth of its last 50 jobs failed")],
        [],
        [("INFO", "10 % of this node's jobs are checked from now on: the usual rate")],
    ]


def test_the_rate_of_another_node_is_its_own_matter(owner: Owner) -> None:
    owner.see(NodeSeen(owner.record))
    other = World().add("other", {"provider"}).address
    assert owner.see(NodeSeen(replace(owner.record, node_id=other, rate_bps=5_000))) == []


def test_holds_are_told_with_what_is_left_of_them(owner: Owner) -> None:
    assert owner.see(
        HoldBegun(Hold.DRAIN, 0), HoldBegun(Hold.HOURS, 0), HoldEnded(Hold.DRAIN), HoldEnded(Hold.HOURS)
    ) == [
        ("INFO", "no new jobs: drained by the owner"),
        ("INFO", "no new jobs: outside of the owner's hours"),
        ("INFO", "no longer drained by the owner: still outside of the owner's hours"),
        ("INFO", "no longer outside of the owner's hours: jobs are taken again"),
    ]


def test_a_hold_that_was_kept_over_a_restart_is_told_at_the_start(
    owner: Owner, caplog: pytest.LogCaptureFixture
) -> None:
    owner.see(HoldBegun(Hold.DRAIN, 0))
    caplog.clear()
    OwnerLog(owner.node.machine, owner.metrics)
    assert [each.getMessage() for each in caplog.records] == ["no new jobs: drained by the owner"]
