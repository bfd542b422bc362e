"""The node's state as the control API shows it: nothing here changes anything."""

from collections.abc import Iterator, Mapping

from executor.runner.lora import CONFIG, WEIGHTS
from node.api import views as api
from node.daemon.known import KnownModels
from protocol.court.docket import DocketBatch
from protocol.court.phases import BatchPhase, CasePhase
from protocol.job import JobState, Stage
from protocol.roles.machine import Machine
from protocol.stages.blob import ModelManifest
from protocol.stages.heartbeat import model_prefix
from protocol.stages.offer import NodeRecord
from protocol.stages.request import CLASSIFY, EMBED, KINDS
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address, Cid, TimestampMs

_ENDED_UNDONE = (Stage.UNSERVED, Stage.UNPAID)
"""A user is told of either that the job failed."""
_NEXT = {
    "requested": "offered",
    "offered": "assigned",
    "assigned": "running",
    "running": "delivered",
    "delivered": "in_batch",
    "in_batch": "spendable",
    "drawn": "passed",
    "passed": "spendable",
    "review": "refunded",
}
DAY_MS = 86_400_000


class Views:
    """Reads a machine."""

    def __init__(self, machine: Machine, known: KnownModels) -> None:
        self._machine = machine
        self._known = known

    # --- jobs -------------------------------------------------------------------------------------------------------
    def jobs(self) -> list[api.JobView]:
        """Every job of either side, newest first."""
        found = [self.job(view, "requester") for view in self._machine.requester.jobs]
        found += [self.job(view, "provider") for view in self._machine.provider.jobs]
        return sorted(found, key=lambda job: -job.asked_ms)

    def job(self, view: JobState, side: str) -> api.JobView:
        """One job, without its text."""
        state = _state(view.stage)
        manifest = self._known.get(Cid(view.manifest))
        # A job that brought nothing rides in a batch only to keep its place in the lane.
        batch_id = view.batch_id.hex() if view.batch_id and view.stage is not Stage.UNPAID else ""
        return api.view_of(
            api.JobView,
            view,
            id=_id(view),
            side=side,
            state=state,
            model=manifest.name if manifest else view.manifest.hex()[:12],
            manifest=view.manifest.hex(),
            node=view.node or "",
            job_id=view.job_id.hex() if view.job_id else "",
            batch_id=batch_id,
            kind=KINDS[view.kind],
            temperature_milli=view.temperature,
            scores_bps=self._scores(view),
            tokens=view.new_tokens,
            text="",
            # The debit alone holds the cost of attempts that were given up.
            cost_wei=max(view.charge + view.fee + view.bonus, view.debit),
            actual_ms=_between(view, Stage.RUNNING, Stage.DELIVERED),
            steps=tuple(_steps(view, state)),
            failure=_failure(view, state),
        )

    def _scores(self, view: JobState) -> tuple[int, ...]:
        """Scores of a job by the seats of its batch, in the order of the rounds."""
        case = self._machine.docket.case(view.batch_id) if view.batch_id else None
        if case is None or view.position not in case.drawn:
            return ()
        place = case.drawn.index(view.position)
        return tuple(seat.scores[place] for seat in case.revealed.values())

    def requested(self, ask_id: bytes) -> JobState | None:
        """A job of this node's user, by the id of its ask."""
        return next((view for view in self._machine.requester.jobs if view.ask_id == ask_id), None)

    # --- cases ------------------------------------------------------------------------------------------------------
    def case(self, batch: DocketBatch) -> api.CaseView:
        """A batch and the court over it."""
        case = batch.case
        jobs = (*self._machine.requester.jobs, *self._machine.provider.jobs)
        seats = tuple(
            api.SeatView(number, seat.node, seat.phase.value, "", seat.scores)
            for number, seat in sorted(case.seats.items() if case else ())
        )
        return api.view_of(
            api.CaseView,
            batch.submitted,
            batch.settled,
            batch,
            id=batch.batch_id.hex(),
            state=_state_of(batch),
            seats=seats,
            verdict="" if batch.verdict is Verdict.NONE else batch.verdict.name.lower(),
            median_bps=case.median if case else 0,
            jobs=tuple(_id(view) for view in jobs if view.batch_id == batch.batch_id),
        )

    # --- the network ------------------------------------------------------------------------------------------------
    def nodes(self, now_ms: TimestampMs) -> tuple[api.PeerView, ...]:
        """Every other node that the chain has or whose beat was heard, best score first."""
        own = self._machine.identity.node_id
        found = [self._node(record, now_ms) for node_id, record in self._machine.member.nodes.items() if node_id != own]
        return tuple(sorted(found, key=lambda node: (not node.online, -node.score, node.node_id)))

    def _node(self, record: NodeRecord, now_ms: TimestampMs) -> api.PeerView:
        member = self._machine.member
        peer = member.peers.get(record.node_id)
        beat = peer.heartbeat if peer else None
        names = {model_prefix(manifest.cid): manifest.name for manifest in self._known.all()}
        return api.view_of(
            api.PeerView,
            record,
            beat,
            peer_id=peer.peer_id if peer else "",
            online=member.is_alive(record.node_id, now_ms),
            heard_ms=peer.heard_ms if peer else 0,
            models=tuple(names.get(prefix, prefix.hex()) for prefix in beat.models) if beat else (),
            delay_ms=member.latency.mean_ms(peer.peer_id) if peer else 0,
        )

    def models(self) -> tuple[api.ModelView, ...]:
        """The models that this node can ask for: whole in its store, or described there."""
        return tuple(self.model(manifest) for manifest in self._known.all())

    def model(self, manifest: ModelManifest) -> api.ModelView:
        """One model."""
        classes = sorted(class_id for cid, class_id in self._machine.member.calibrations if cid == manifest.cid)
        embeds, classifies = (
            tuple(class_id for class_id in classes if self._machine.member.calibrated(manifest.cid, class_id, kind))
            for kind in (EMBED, CLASSIFY)
        )
        return api.view_of(
            api.ModelView,
            manifest,
            manifest=manifest.cid.hex(),
            size_bytes=sum(file.size for file in manifest.files),
            calibrated=tuple(classes),
            embeds=embeds,
            classifies=classifies,
            files=(),
            adapter=next((each.sha256.hex() for each in manifest.files if each.path == WEIGHTS), ""),
            base=self._base_of(manifest),
        )

    def _base_of(self, manifest: ModelManifest) -> str:
        """The model of which this one is, file by file, but for its adapter."""
        rest = {each for each in manifest.files if each.path not in (CONFIG, WEIGHTS)}
        known = self._known.all() if len(rest) < len(manifest.files) else ()
        return next((each.cid.hex() for each in known if set(each.files) == rest), "")

    def lanes(self, client: Address, closes: Mapping[Address, int]) -> tuple[api.LaneView, ...]:
        """The lanes of a client, largest first; `closes` says until when those that are closing stay so."""
        every = self._machine.member.money.lanes.values()
        lanes = [lane for lane in every if lane.client == client and (lane.left or lane.jobs)]
        return tuple(
            api.LaneView(lane.node, lane.left, lane.mark, lane.jobs, lane.closing, closes.get(lane.node, 0))
            for lane in sorted(lanes, key=lambda lane: (-lane.left, lane.node))
        )

    def work(self, now_ms: TimestampMs) -> api.WorkView:
        """Counts of the last day, and what is open."""
        asked = [view for view in self._machine.requester.jobs if now_ms - view.asked_ms < DAY_MS]
        provided = [view for view in self._machine.provider.jobs if now_ms - view.asked_ms < DAY_MS]
        failed = [view for view in (*asked, *provided) if _state(view.stage) == "failed"]
        return api.WorkView(
            asked=len(asked),
            provided=sum(_state(view.stage) in api.ANSWERED for view in provided),
            failed=len(failed),
            running=sum(view.stage is Stage.RUNNING for view in (*asked, *provided)),
            open_batches=len(self._machine.settler.own.open),
            open_cases=sum(_is_in_court(batch) for batch in self._machine.docket.batches.values()),
        )


def _state(stage: Stage) -> str:
    return Stage.FAILED.value if stage in _ENDED_UNDONE else stage.value


def _is_in_court(batch: DocketBatch) -> bool:
    return batch.phase is BatchPhase.PENDING and batch.case is not None and batch.case.is_open


def _state_of(batch: DocketBatch) -> str:
    """The phase of a batch, or of the case about it while its money waits."""
    if batch.phase is not BatchPhase.PENDING or batch.case is None:
        return batch.phase.value
    return (CasePhase.SITTING if batch.case.phase is CasePhase.STOPPED else batch.case.phase).value


def _id(view: JobState) -> str:
    return view.shown_id.hex()


def _between(view: JobState, first: Stage, last: Stage) -> int:
    reached = dict(view.history)
    return reached[last] - reached[first] if first in reached and last in reached else 0


def _steps(view: JobState, state: str) -> Iterator[api.StepView]:
    for stage, at_ms in view.history:
        yield api.StepView(_state(stage), at_ms, 0)
    after = _NEXT.get(state)
    if view.next_step_ms is not None and after and view.history:
        yield api.StepView(after, 0, view.history[-1][1] + view.next_step_ms)


def _failure(view: JobState, state: str) -> api.Trouble | None:
    if state != "failed":
        return None
    return api.Trouble("job_failed", view.reason or "the job was not done", "vcoin status --nodes shows who is there")
