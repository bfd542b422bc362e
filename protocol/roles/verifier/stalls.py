"""Stalls: a seat that cannot go on has its node show a leaf on chain, or steps down while that is free.

Both are decided by the chain's time, which is not in the journal; so first a timer is asked for, which is.
"""

from dataclasses import dataclass

from protocol.court.phases import CasePhase
from protocol.effects import AbstainSeat, AwaitDeadline, DemandData, Effect, ReplaySample
from protocol.roles.member import Member
from protocol.roles.verifier.seat import Sitting
from protocol.timers import AbstainTimer, DataDemandTimer
from protocol.wire.ids import TimestampMs

LEAVE_AFTER_PART, LEAVE_UNTIL_PART = 8, 4
"""Between an eighth and a quarter of its turn a seat steps down: an engine has come back by then, and it is free."""
DEMAND_AFTER_PART, RANK_PART = 2, 16
"""From half of its turn on a seat demands on chain what it lacks, the seats one after the other."""
ASKED_BEFORE = 3
"""How often a seat has asked its node again before that, since its own start."""


@dataclass(slots=True)
class StallHandler:
    """The ways out of one node's seats."""

    member: Member

    def look(self, sitting: Sitting, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Ask for the timer of what is due now."""
        own = sitting.own
        if sitting.are_all_bound:
            own.all_bound_at_s = own.all_bound_at_s or self.member.timestamp
        assert own.seat is not None
        timer: AbstainTimer | DataDemandTimer
        if self._should_leave(sitting):
            timer = AbstainTimer(sitting.batch_id, own.seat)
        elif self._should_demand(sitting):
            timer = DataDemandTimer(sitting.batch_id, own.seat)
        else:
            return ()
        if own.timer == timer:
            return ()
        own.timer = timer
        return (AwaitDeadline(timer, now_ms),)

    def take(self, sitting: Sitting, timer: AbstainTimer | DataDemandTimer) -> tuple[Effect, ...]:
        """The time has come, unless what was lacking has come meanwhile, or another seat was faster."""
        own, wanted = sitting.own, sitting.unshown if sitting.own.seat is not None else None
        own.timer = None
        if timer.seat != own.seat:
            return ()
        if isinstance(timer, AbstainTimer) and not (own.leaving or sitting.is_bound or own.committing):
            own.leaving = True
            return (AbstainSeat(sitting.batch_id, timer.seat, sitting.batch.submitted.contents),)
        may_demand = isinstance(timer, DataDemandTimer) and not own.demanding and sitting.case.demand is None
        if not may_demand or wanted is None:
            return ()
        own.demanding, own.asked_at_block = True, self.member.head
        return (DemandData(sitting.batch_id, timer.seat, wanted, self.member.hpke_key),)

    def why_unable(self, sitting: Sitting) -> str:
        """The reason why this node cannot judge a case now; empty if it knows none."""
        if self.member.holds.stops_runs:
            return "the owner has paused this node"
        if self.member.measured and sitting.class_id not in self.member.device.class_ids:
            return "this machine runs nothing of that class now"
        for leaf in sitting.own.leaves.values():
            if leaf.failed is ReplaySample:
                return "no check could be run"
            if leaf.manifest is None:
                continue
            if leaf.manifest not in self.member.models:
                return "the model is not here"
            calibrated = self.member.calibrated(leaf.manifest, sitting.class_id, leaf.kind)
            if not sitting.batch.submitted.uncalibrated and not calibrated:
                return "the model has no calibration for that class and kind"
        return ""

    def _should_leave(self, sitting: Sitting) -> bool:
        own = sitting.own
        if sitting.is_bound or own.committing or own.leaving or sitting.case.phase is CasePhase.STOPPED:
            return False
        since_s, turn_s = self.member.timestamp - own.since, self.member.rules.seat_window_s
        # The next block must still be early enough.
        is_time = turn_s // LEAVE_AFTER_PART <= since_s < turn_s // LEAVE_UNTIL_PART
        return is_time and self.why_unable(sitting) != ""

    def _should_demand(self, sitting: Sitting) -> bool:
        own, case = sitting.own, sitting.case
        if own.demanding or case.demand is not None or case.phase is CasePhase.DECIDED or own.tries < ASKED_BEFORE:
            return False
        now_s, turn_s = self.member.timestamp, self.member.rules.seat_window_s
        since = own.all_bound_at_s if sitting.is_bound else own.since
        due_s = since + turn_s // DEMAND_AFTER_PART + sitting.rank * turn_s // RANK_PART
        return due_s <= now_s <= since + turn_s and sitting.unshown is not None
