"""A seat that waits: it asks again, tries again what failed here, and ends a case whose time is over."""

from dataclasses import dataclass

from protocol import effects as fx
from protocol.court.phases import CasePhase
from protocol.roles.member import Member
from protocol.roles.verifier.checking import open_sample
from protocol.roles.verifier.seat import Sitting
from protocol.roles.verifier.stalls import StallHandler
from protocol.roles.verifier.turn import SeatTurn
from protocol.wire.ids import TimestampMs

ASK_AGAIN_MS = 3_000
TRY_AGAIN_MS = 15_000
"""The rest before a fetch, or a step that failed on this machine, is tried again."""
STAGGER_MS = 4_000


@dataclass(slots=True)
class SeatWait:
    """Repeats of this node's seats, driven by new blocks."""

    member: Member
    turn: SeatTurn
    stalls: StallHandler

    def look(self, sitting: Sitting, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """A node that did not hear the question, or not in time, hears it again."""
        if not sitting.is_open:
            return ()
        timers = self.stalls.look(sitting, now_ms)
        if now_ms - sitting.own.asked_ms < ASK_AGAIN_MS:
            return timers
        return *timers, *self._next_question(sitting, now_ms)

    def _next_question(self, sitting: Sitting, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        own, decided = sitting.own, sitting.case.phase is CasePhase.DECIDED
        if ended := self._end_waiting(sitting, now_ms):
            return ended
        if decided:
            return ()
        if own.asked_at_block is not None and self.member.is_overdue(own.asked_at_block):
            again = self._ask_transaction_again(sitting)
            if again:
                return again
        if not sitting.is_bound and not own.committing:
            own.tries += 1
            lacking = any(leaf.opening is None for leaf in own.leaves.values())
            again = self._try_again(sitting, now_ms)
            return *(self.turn.ask(sitting, now_ms) if lacking else ()), *again, *self.turn.commit_when_done(sitting)
        if sitting.is_bound and not own.revealing:
            own.asked_ms = now_ms
            own.tries += 1
            return self.turn.reveal_when_done(sitting) or self.turn.ask_fingerprints(sitting)
        return ()

    def _end_waiting(self, sitting: Sitting, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """No appeal came, or no answer: the seats take turns, so that one of them pays for the call."""
        case, own = sitting.case, sitting.own
        until = case.appeal_until_s if case.phase is CasePhase.DECIDED else 0
        if case.phase is CasePhase.STOPPED and case.demand is not None:
            until = case.demand.until
        assert own.seat is not None
        if not until or self.member.timestamp <= until + own.seat * STAGGER_MS // 1000:
            return ()
        own.asked_ms = now_ms
        return (fx.ResolveCase(sitting.batch_id, sitting.batch.submitted.contents),)

    def _ask_transaction_again(self, sitting: Sitting) -> tuple[fx.Effect, ...]:
        """Ask again for a transaction whose event is overdue."""
        own = sitting.own
        if own.committing and not sitting.is_bound:
            own.committing = False
            return self.turn.commit_when_done(sitting)
        if own.revealing and not sitting.has_revealed:
            own.revealing = False
            return self.turn.reveal_when_done(sitting)
        # If the chain shows no demand, a reorg dropped ours: ask again.
        own.demanding = own.demanding and sitting.case.demand is not None
        return ()

    def _try_again(self, sitting: Sitting, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Try again what failed on this machine, or could not be fetched."""
        own = sitting.own
        if now_ms - own.tried_ms < TRY_AGAIN_MS:
            return ()
        own.tried_ms = now_ms
        holders = tuple(filter(None, [self.member.peer_of(sitting.node)]))
        effects: list[fx.Effect] = []
        for index, leaf in own.leaves.items():
            match leaf.failed:
                case fx.FetchBlob:
                    effects.append(fx.FetchBlob(leaf.missing, holders))
                case fx.FetchModel if leaf.manifest and leaf.manifest not in self.member.models:
                    effects.append(fx.FetchModel(leaf.manifest, holders))
                case fx.ReplaySample if leaf.manifest and leaf.manifest not in self.member.models:
                    # It has left the store since the leaf was opened.
                    if self.member.may_fetch(leaf.manifest, sitting.class_id, leaf.kind):
                        effects.append(fx.FetchModel(leaf.manifest, holders))
                case fx.OpenSample if leaf.opening is not None:
                    effects.append(open_sample(leaf.opening))
                case fx.ReplaySample if sitting.class_id in self.member.device.class_ids:
                    effects.append(self.turn.checking.run(sitting.batch.submitted, index, leaf))
        return tuple(effects)
