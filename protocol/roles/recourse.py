"""Recourse: what a seat does that cannot go on. It has its node show a leaf on chain, or steps down while that is free.

Both are decided by the chain's time, which is not in the journal; so first a timer is asked for, which is.
"""

from dataclasses import dataclass

from protocol.effects import AbstainSeat, AwaitDeadline, DemandData, Effect, ReplaySample
from protocol.events import BatchSubmitted
from protocol.roles.cases import Case
from protocol.roles.identity import Settings
from protocol.roles.member import Member
from protocol.timers import AbstainTimer, DataDemandTimer
from protocol.wire.ids import TimestampMs

LEAVE_AFTER_PART, LEAVE_UNTIL_PART = 8, 4
"""Between an eighth and a quarter of its turn a seat steps down: an engine has come back by then, and it is free."""
DEMAND_AFTER_PART, RANK_PART = 2, 16
"""From half of its turn on a seat demands on chain what it lacks, the seats one after the other."""
ASKED_BEFORE = 3
"""How often a seat has asked its node again before that, since its own start."""


@dataclass(slots=True)
class Recourse:
    """The ways out of one node's seats."""

    settings: Settings
    member: Member

    def look(self, case: Case, batch: BatchSubmitted, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Ask for the timer of what is due now."""
        if case.are_all_bound:
            case.all_bound_at = case.all_bound_at or self.member.timestamp
        assert case.seat is not None
        timer: AbstainTimer | DataDemandTimer
        if self._should_leave(case, batch):
            timer = AbstainTimer(case.batch_id, case.seat)
        elif self._should_demand(case):
            timer = DataDemandTimer(case.batch_id, case.seat)
        else:
            return ()
        if case.timer == timer:
            return ()
        case.timer = timer
        return (AwaitDeadline(timer, now_ms),)

    def leave(self, case: Case, batch: BatchSubmitted, timer: AbstainTimer) -> tuple[Effect, ...]:
        """The time to step down has come; once a turn."""
        case.timer = None
        if timer.seat != case.seat or case.leaving or case.is_bound or case.committing:
            return ()
        case.leaving = True
        return (AbstainSeat(case.batch_id, timer.seat, batch.contents),)

    def demand(self, case: Case, timer: DataDemandTimer) -> tuple[Effect, ...]:
        """The time to demand has come, unless all has come meanwhile, or any seat was faster."""
        case.timer = None
        leaf = case.unshown if case.seat is not None else None
        if timer.seat != case.seat or leaf is None or case.demanding or case.demanded is not None:
            return ()
        case.demanding, case.asked_at = True, self.member.head
        return (DemandData(case.batch_id, timer.seat, leaf, self.member.hpke_key),)

    def why_unable(self, case: Case, batch: BatchSubmitted) -> str:
        """What keeps this node from judging a case, as it is now; empty if nothing that is known does."""
        if self.settings.draining:
            return "this node is going away"
        if self.member.measured and case.class_id not in self.member.device.class_ids:
            return "this machine runs nothing of that class now"
        for leaf in case.leaves.values():
            if leaf.failed is ReplaySample:
                return "no check could be run"
            if leaf.manifest is None:
                continue
            if leaf.manifest not in self.member.models:
                return "the model is not here"
            if not batch.uncalibrated and not self.member.calibrated(leaf.manifest, case.class_id, leaf.kind):
                return "the model has no calibration for that class and kind"
        return ""

    def _should_leave(self, case: Case, batch: BatchSubmitted) -> bool:
        if case.is_bound or case.committing or case.leaving or case.data_until:
            return False
        now, turn = self.member.timestamp, self.member.rules.seat_window_s
        early = case.since if self.settings.draining else case.since + turn // LEAVE_AFTER_PART
        # The next block must still be early enough.
        return early <= now < case.since + turn // LEAVE_UNTIL_PART and self.why_unable(case, batch) != ""

    def _should_demand(self, case: Case) -> bool:
        if case.demanding or case.demanded is not None or case.appeal_until or case.tries < ASKED_BEFORE:
            return False
        now, turn = self.member.timestamp, self.member.rules.seat_window_s
        since = case.all_bound_at if case.is_bound else case.since
        due = since + turn // DEMAND_AFTER_PART + case.rank * turn // RANK_PART
        return due <= now <= since + turn and case.unshown is not None
