"""Lines of the log for the owner: why this node takes no new jobs, and that it takes them again."""

import logging

from protocol.events import Event, Hold, HoldBegun, HoldEnded
from protocol.roles.holds import HOLD_RULES
from protocol.roles.machine import Machine

log = logging.getLogger(__name__)


class OwnerLog:
    """Hears every event after the machine has."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine
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


def _tell_begun(hold: Hold) -> None:
    log.info("no new jobs: %s", HOLD_RULES[hold].words, extra={"hold": hold.value})
