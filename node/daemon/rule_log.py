"""Tells the owner in the log when one of the rules that act by themselves begins to act, and when it has ended.

Three of them: a hot card takes no work, many failures have more jobs checked, and a slow peer is hired last.
"""

import logging

from node.daemon.telemetry import Alert, Metrics
from protocol.events import DeadlinePassed, Event, NodeSeen
from protocol.roles.machine import Machine
from protocol.timers import LatencyTimer
from protocol.wire.ids import PeerId

log = logging.getLogger(__name__)

FAILING_RATE_BPS = 5_000
"""Of the jobs of a node that failed more than 10 of its last 50 leaves; contracts/libraries/ReputationLib.sol."""


class RuleLog:
    """Hears every event after the machine and the metrics have."""

    def __init__(self, machine: Machine, metrics: Metrics) -> None:
        self._machine = machine
        self._metrics = metrics
        self._acting: dict[str, Alert] = {}
        self._rate_bps: int | None = None

    def observe(self, event: Event) -> None:
        """Take notice of an event."""
        match event:
            case NodeSeen(record) if record.node_id == self._machine.identity.node_id:
                self._see_rate(record.rate_bps)
            case DeadlinePassed(LatencyTimer(peer_id, slow)):
                self._see_delay(peer_id, slow)
        now = {alert.name: alert for alert in self._metrics.alerts()}
        for name in now.keys() - self._acting.keys():
            log.warning("rule %s: %s", name, now[name].words)
        for name in self._acting.keys() - now.keys():
            log.info("rule %s: over", name)
        self._acting = now

    def _see_rate(self, rate_bps: int) -> None:
        before, self._rate_bps = self._rate_bps, rate_bps
        if rate_bps == FAILING_RATE_BPS and before != rate_bps:
            log.warning("rule failing: over 20 % of this node's last 50 jobs failed, and half of its jobs are checked")
        elif before == FAILING_RATE_BPS and rate_bps != before:
            log.info("rule failing: over, %d %% of this node's jobs are checked", rate_bps // 100)

    def _see_delay(self, peer_id: PeerId, slow: bool) -> None:
        mean_ms = self._machine.member.latency.mean_ms(peer_id)
        facts = {"peer_id": str(peer_id), "mean_ms": mean_ms}
        if slow:
            log.warning("rule slow: a peer answers after over 10 s in the mean, and is hired last", extra=facts)
        else:
            log.info("rule slow: over, a peer answers in time again", extra=facts)
