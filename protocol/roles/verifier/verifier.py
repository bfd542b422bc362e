"""The verifier: sits where the chain has drawn it, checks on its own, commits, and only then compares.

A node that shows a seat nothing is made to show it on chain; a seat that cannot judge steps down (see `stalls`). A
lie that code alone can condemn is proved on chain as well (see `fraud_proofs`).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from protocol import effects as fx
from protocol import events as ev
from protocol.court.docket import Docket
from protocol.messages import Message
from protocol.roles.member import Member
from protocol.roles.verifier.leaf import DrawnLeaf
from protocol.roles.verifier.seat import OwnSeat, Sitting
from protocol.roles.verifier.stalls import StallHandler
from protocol.roles.verifier.turn import SeatTurn
from protocol.roles.verifier.waiting import STAGGER_MS, SeatWait
from protocol.stages.verification import FingerprintOpening, SampleOpening
from protocol.timers import AbstainTimer, DataDemandTimer, FraudProofTimer, ResolveTimer
from protocol.wire.ids import BatchId, PeerId, TimestampMs

SEATS_KEPT = 4_096


@dataclass(slots=True)
class Verifier:
    """The seats of this node."""

    member: Member
    docket: Docket
    _seats: dict[BatchId, OwnSeat] = field(default_factory=dict)
    _turn: SeatTurn = field(init=False)
    _wait: SeatWait = field(init=False)
    _stalls: StallHandler = field(init=False)

    def __post_init__(self) -> None:
        self._turn = SeatTurn(self.member)
        self._stalls = StallHandler(self.member)
        self._wait = SeatWait(self.member, self._turn, self._stalls)

    def sitting(self, batch_id: bytes) -> Sitting | None:
        """The seat that this node has or had in a case."""
        own, batch = self._seats.get(BatchId(batch_id)), self.docket.batch(batch_id)
        return Sitting(own, batch) if own is not None and batch is not None else None

    @property
    def sittings(self) -> tuple[Sitting, ...]:
        """Every seat that this node has or had, oldest first."""
        found = (self.sitting(batch_id) for batch_id in self._seats)
        return tuple(sitting for sitting in found if sitting is not None)

    def expects(self, peer_id: PeerId, message: Message) -> bool:
        """Whether a message opens something that this node's seat still waits for."""
        if not isinstance(message, SampleOpening | FingerprintOpening):
            return False
        sitting = self._shown_by(peer_id, message.batch_id)
        leaf = sitting.own.leaves.get(message.leaf_index) if sitting else None
        if leaf is None:
            return False
        return leaf.opening is None if isinstance(message, SampleOpening) else leaf.score is None

    def handle(self, event: ev.Event, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Return the effects that an event calls for."""
        match event:
            case ev.MessageReceived(peer_id, SampleOpening() as opening):
                sitting = self._shown_by(peer_id, opening.batch_id)
                return self._turn.check(sitting, opening, (peer_id,), now_ms) if sitting else ()
            case ev.MessageReceived(peer_id, FingerprintOpening() as opening):
                sitting = self._shown_by(peer_id, opening.batch_id)
                return self._turn.compare(sitting, opening) if sitting else ()
            case ev.BlobFetched(cid):
                return self._fetched(cid)
            case ev.ModelAdded():
                run = self._turn.checking.run_waiting
                return tuple(effect for each in self.sittings for effect in run(each.batch.submitted, each.own.leaves))
            case ev.SampleOpened(batch_id=batch_id) if sitting := self.sitting(batch_id):
                return self._turn.take_content(sitting, event)
            case ev.SampleReplayed(batch_id=batch_id) if sitting := self.sitting(batch_id):
                return self._turn.take_pass(sitting, event)
            case ev.EffectFailed():
                return self._failed(event, now_ms)
            case ev.DeadlinePassed(timer):
                return self._due(timer)
            case ev.BlockSeen():
                return tuple(effect for each in self.sittings for effect in self._wait.look(each, now_ms))
            case ev.CaseConvened(batch_id=batch_id, timestamp=since):
                case_ = self.docket.case(batch_id)
                seat = case_.seat_of(self.member.identity.node_id) if case_ else None
                return self._sit(BatchId(batch_id), seat, since, now_ms) if seat is not None else ()
            case ev.SeatAdded(batch_id, seat, node, since) if node == self.member.identity.node_id:
                return self._sit(BatchId(batch_id), seat, since, now_ms)
            case _:
                sitting = self.sitting(getattr(event, "batch_id", b""))
                return self._follow(sitting, event, now_ms) if sitting else ()

    def _sit(self, batch_id: BatchId, seat: int, since: int, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """This node is drawn for a seat, or for one of a later round."""
        while batch_id not in self._seats and len(self._seats) >= SEATS_KEPT:
            self._seats.pop(next(iter(self._seats)))
        own = self._seats.setdefault(batch_id, OwnSeat())
        sitting = self.sitting(batch_id)
        if sitting is None or own.seat is not None:
            return ()
        self.docket.hold(batch_id)
        own.seat, own.since = seat, since
        own.leaves = {index: DrawnLeaf() for index in sitting.case.drawn}
        return self._turn.ask(sitting, now_ms)

    def _follow(self, sitting: Sitting, event: ev.Event, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Take what the docket has just learned of a case in which this node sits."""
        own = sitting.own
        match event:
            case ev.SeatSilenced(seat=seat):
                if seat == own.seat:
                    own.leave(revealed=False)
                return self._turn.reveal_when_done(sitting)
            case ev.SeatCommitted(seat=seat) if seat == own.seat:
                own.asked_ms = now_ms
                return (*self._turn.ask_fingerprints(sitting), *self._turn.reveal_when_done(sitting))
            case ev.SeatCommitted():
                return self._turn.reveal_when_done(sitting)
            case ev.SeatRevealed() if sitting.case.have_all_revealed and own.seat is not None:
                # The seats take turns, so that one of them pays for the call.
                return (fx.AwaitDeadline(ResolveTimer(sitting.batch_id), now_ms + own.seat * STAGGER_MS),)
            case ev.CaseGrown():
                # Its seats follow, perhaps this node among them again.
                own.leave(revealed=sitting.has_revealed)
            case ev.DataAnswered(data=data) if own.seat is not None:
                # An answer on chain counts like one from the node itself; every turn begins anew.
                taken = self._turn.take_answer(sitting, data, now_ms)
                return taken or (*self._turn.commit_when_done(sitting), *self._turn.reveal_when_done(sitting))
        return ()

    def _due(self, timer: object) -> tuple[fx.Effect, ...]:
        match timer:
            case ResolveTimer(batch_id) if sitting := self.sitting(batch_id):
                may_end = sitting.case.is_open and sitting.case.have_all_revealed
                return (fx.ResolveCase(sitting.batch_id, sitting.batch.submitted.contents),) if may_end else ()
            case FraudProofTimer(batch_id) if sitting := self.sitting(batch_id):
                return self._turn.prover.send(sitting)
            case AbstainTimer(batch_id) | DataDemandTimer(batch_id) if sitting := self.sitting(batch_id):
                return self._stalls.take(sitting, timer) if sitting.case.is_open else ()
            case _:
                return ()

    def _shown_by(self, peer_id: PeerId, batch_id: bytes) -> Sitting | None:
        """The seat of this node that a peer may show something: the peer speaks for the node of the batch."""
        sitting = self.sitting(batch_id)
        return sitting if sitting and self.member.operates(peer_id, sitting.node) else None

    def _leaves(self) -> Iterator[tuple[Sitting, DrawnLeaf]]:
        return ((sitting, leaf) for sitting in self.sittings for leaf in sitting.own.leaves.values())

    def _fetched(self, cid: bytes) -> tuple[fx.Effect, ...]:
        effects: list[fx.Effect] = []
        for sitting, leaf in self._leaves():
            effects += self._turn.checking.fetched(leaf, cid, self.member.peer_of(sitting.node))
        return tuple(effects)

    def _failed(self, failed: ev.EffectFailed, now_ms: TimestampMs) -> tuple[fx.Effect, ...]:
        """Allow a second try: after a transient failure with the next block, after a refusal once it would be final."""
        if failed.effect in (fx.FetchBlob, fx.FetchModel):
            self._not_fetched(failed)
            return ()
        sitting = self.sitting(failed.about)
        if sitting is None:
            return ()
        own = sitting.own
        match failed.effect:
            case fx.ProveFraud:
                return self._turn.prover.failed(sitting, failed, now_ms)
            case fx.OpenSample | fx.ReplaySample:
                # The event does not name the leaf; a leaf that goes on clears its mark.
                for leaf in own.leaves.values():
                    if leaf.manifest is not None and leaf.has_content is (failed.effect is fx.ReplaySample):
                        leaf.failed = leaf.failed or failed.effect
            case _ if failed.transient:
                own.committing = own.committing and failed.effect is not fx.CommitSeat
                own.revealing = own.revealing and failed.effect is not fx.RevealSeat
                own.leaving = own.leaving and failed.effect is not fx.AbstainSeat
                own.demanding = own.demanding and failed.effect is not fx.DemandData
        return ()

    def _not_fetched(self, failed: ev.EffectFailed) -> None:
        for _, leaf in self._leaves():
            job = leaf.job
            if job is None or leaf.check is not None:
                continue
            if failed.effect is fx.FetchModel and failed.about == leaf.manifest:
                leaf.failed = failed.effect
            elif failed.effect is fx.FetchBlob and failed.about in (job.details.input_cid, job.result.blob_cid):
                leaf.failed, leaf.missing = failed.effect, failed.about
