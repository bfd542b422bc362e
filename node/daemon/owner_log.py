"""Lines of the log for the owner: holds, and the rules of the network that act on this node by themselves.

The chain raises the rate of checks of a node of whose last 50 jobs over a fifth failed. Peers hire a node last whose
mean delay is over DELAY_ALERT_MS. Each rule is told once as it begins, and once as it ends.
"""

import logging

from node.daemon.telemetry import Metrics
from protocol.events import Event, Hold, HoldBegun, HoldEnded, NodeSeen
from protocol.params import BPS
from protocol.roles.holds import HOLD_RULES
from protocol.roles.machine import Machine

log = logging.getLogger(__name__)

TOLD = {
    "failing": "fewer jobs fail again: at most a fifth of the last ones",
    "slow": "peers answer in time again: this node is hired in its turn",
}
"""The rules that are told of, and the words for their ends."""
RATES = {
    1_000: "the usual rate",
    5_000: "over a fifth of its last 50 jobs failed",
    BPS: "its first jobs, or those after a fraud, are all checked",
}


class OwnerLog:
    """Compares what was with what is, after each event that the machine has handled and the metrics have counted."""

    def __init__(self, machine: Machine, metrics: Metrics) -> None:
        self._machine = machine
        self._metrics = metrics
        self._alerts: frozenset[str] = frozenset()
        record = machine.member.record
        self._rate_bps = record.rate_bps if record else 0
        # A restart keeps them, and its log should say why no job comes.
        for hold, _ in machine.member.holds:
            _tell_begun(hold)

    def observe(self, event: Event) -> None:
        """Tell what an event has changed."""
        match event:
            case HoldBegun(hold):
                _tell_begun(hold)
            case HoldEnded(hold):
                left = [HOLD_RULES[each].words for each, _ in self._machine.member.holds]
                now = f"still {', '.join(left)}" if left else "jobs are taken again"
                log.info("no longer %s: %s", HOLD_RULES[hold].words, now, extra={"hold": hold.value})
            case NodeSeen(record) if record.node_id == self._machine.identity.node_id:
                self._tell_rate(record.rate_bps)
        self._tell_alerts()

    def _tell_rate(self, rate_bps: int) -> None:
        before, self._rate_bps = self._rate_bps, rate_bps
        if before in (0, rate_bps):
            return
        level = logging.WARNING if rate_bps > before else logging.INFO
        facts = {"rate_bps": rate_bps, "before_bps": before}
        reason = RATES.get(rate_bps, "by the rules of this network")
        log.log(level, "%g %% of this node's jobs are checked from now on: %s", rate_bps / 100, reason, extra=facts)

    def _tell_alerts(self) -> None:
        alerts = {alert.name: alert.words for alert in self._metrics.alerts() if alert.name in TOLD}
        for name in alerts.keys() - self._alerts:
            log.warning("%s", alerts[name], extra={"rule": name})
        for name in self._alerts - alerts.keys():
            log.info("%s", TOLD[name], extra={"rule": name})
        self._alerts = frozenset(alerts)


def _tell_begun(hold: Hold) -> None:
    log.info("no new jobs: %s", HOLD_RULES[hold].words, extra={"hold": hold.value})
