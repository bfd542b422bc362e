"""Ordering: the best node is hired, its lane made to pay for it, and the order signed and sent."""

import hashlib
from dataclasses import dataclass

from protocol.effects import AwaitDeadline, Effect, SealKey, Send, SignMessage
from protocol.events import JobAsked, LaneSeen
from protocol.job import Stage, move
from protocol.params import DEADLINE_GRACE_MS
from protocol.roles.member import Member
from protocol.roles.requester.asking import Asking, is_last_call
from protocol.roles.requester.cooldown import ProviderCooldown
from protocol.roles.requester.hiring import best, vcn, why_nobody, why_stopped
from protocol.roles.requester.lanes import Lanes
from protocol.roles.requester.lanes_ahead import LanesAhead
from protocol.roles.requester.request_book import RequestBook, unserved
from protocol.roles.requester.requested import RequestedJob, SignedOrder
from protocol.stages.assignment import (
    CHECK_ORDERED,
    UNCALIBRATED_ACCEPTED,
    Assignment,
    AssignmentOrder,
    JobDetails,
    LaneOpen,
    accept_within_ms,
    bonus_cap,
    is_reclaimed,
    job_id,
    kind_flags,
    order_total,
    verify_fee,
)
from protocol.stages.lane_notice import LaneCounted
from protocol.stages.offer import FETCH_MS
from protocol.timers import AcceptTimer
from protocol.wire.envelope import digest, struct_hash
from protocol.wire.ids import Address, Cid, TimestampMs, Wei


@dataclass(slots=True)
class Ordering:
    """From the offers of a round to the order."""

    member: Member
    cooldown: ProviderCooldown
    lanes: Lanes
    book: RequestBook
    asking: Asking

    @property
    def ahead(self) -> LanesAhead:
        """What looks for lanes to open before a job needs them."""
        return LanesAhead(self.member, self.lanes, self.book, self.cooldown)

    def hire(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Choose the best able node that was not tried, and make sure that its lane pays for it."""
        assert job.signed is not None
        last_call = is_last_call(job)
        found = best(job, self.member, self.cooldown, now_ms, last_call=last_call)
        if found is None and last_call:
            return unserved(job, why_nobody(job, self.member, now_ms), now_ms)
        if found is None:
            job.round += 1
            return self.asking.begin_round(job, now_ms)
        job.chosen, job.peer_id, job.details = found.signed, found.peer_id, None
        return self._cover(job, now_ms)

    def _cover(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Go on to the order where the lane pays for it; else lock more, and wait until that is final."""
        assert job.chosen is not None
        offer = job.chosen.offer
        missing = self.missing(job)
        if missing <= 0:
            return (SealKey(job.ask.input_cid, offer.hpke_key),)
        if offer.node_id in self.lanes.opening:
            return self._show_to(job)
        if self.member.is_intake_stopped(now_ms):
            return unserved(job, why_stopped(self.member), now_ms)
        free = self.lanes.free()
        if free < missing:
            return unserved(job, f"not enough deposited: {vcn(missing)} VCN more needed, {vcn(free)} free", now_ms)
        job.next_step_ms = (self.member.rules.final_depth + 2) * 12_000
        amount = min(free, max(missing, self.member.settings.lane_amount))
        order = self.lanes.opening[offer.node_id] = self.lanes.order_to_open(offer.node_id, amount, now_ms)
        return (SignMessage(order),)

    def missing(self, job: RequestedJob) -> int:
        """The amount that the lane lacks for the job's order; 0 or less if it covers the order."""
        assert job.chosen is not None
        offer = job.chosen.offer
        return self.lanes.missing(offer.node_id, _total(job, offer.price))

    def lane_changed(self, seen: LaneSeen, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Go on with jobs that waited for a lane; end those whose lane was reclaimed."""
        lane = seen.lane
        if not self.lanes.is_ours(lane):
            return ()
        for job in self.book.jobs.values():
            if job.node == lane.node and job.batch_id is None and is_reclaimed(job.index, job.cumulative, lane):
                job.end_reclaimed(seen, now_ms)
        if not self.lanes.is_open(lane):
            return ()
        self.lanes.close(lane.node)
        effects: list[Effect] = []
        for job in self._waiting_for(lane.node):
            effects += self._after_lane(job, now_ms)
        return tuple(effects)

    def show_lane(self, order: LaneOpen, signature: bytes) -> tuple[Effect, ...]:
        """Send a signed order for a lane, and show it to its node where a job waits for it."""
        opened = self.lanes.send(order, signature)
        return (opened, *(effect for job in self._waiting_for(order.node) for effect in self._show_to(job)))

    def _show_to(self, job: RequestedJob) -> tuple[Effect, ...]:
        if job.chosen is None or job.peer_id is None:
            return ()
        return self.lanes.show(job.chosen.offer.node_id, job.peer_id, _total(job, job.chosen.offer.price))

    def lane_counted(self, counted: LaneCounted, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Go on with jobs whose node does not wait until their lane is final."""
        node = self.lanes.count(counted)
        if node is None:
            return ()
        return tuple(effect for job in self._waiting_for(node) for effect in self._after_lane(job, now_ms))

    def _waiting_for(self, node: Address) -> list[RequestedJob]:
        """The jobs that wait for a node's lane, or for the seal of their key."""
        return [job for job in self.book.jobs.values() if job.stage is Stage.OFFERED and job.node == node]

    def _after_lane(self, job: RequestedJob, now_ms: TimestampMs) -> tuple[Effect, ...]:
        return self.asking.again(job, now_ms) if job.is_offer_over(now_ms) else self._cover(job, now_ms)

    def order(self, input_cid: Cid, hpke_key: bytes, sealed_key: bytes, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Number and sign the order of a job whose content key is sealed."""
        job = next(
            (
                job
                for job in self.book.jobs.values()
                if job.ask.input_cid == input_cid
                and job.stage is Stage.OFFERED
                and job.chosen is not None
                and job.chosen.offer.hpke_key == hpke_key
                and job.details is None
            ),
            None,
        )
        if job is None or job.chosen is None:
            return ()
        if job.is_offer_over(now_ms):
            return self.asking.again(job, now_ms)
        # Another order may have used up the lane while the key was sealed.
        lane, book = self.lanes.lane(job.chosen.offer.node_id), self.lanes.book(job.chosen.offer.node_id)
        if self.missing(job) > 0:
            return self._cover(job, now_ms)
        details = self._details(job, now_ms)
        job.details, job.sealed_key = details, sealed_key
        book.index, book.cumulative = book.index + 1, book.cumulative + details.max_total
        job.index, job.cumulative = book.index, book.cumulative
        assignment = Assignment(lane.client, lane.signer, lane.node, book.index, book.cumulative, struct_hash(details))
        return SignMessage(assignment), *self.ahead.top_up(lane.node, details.max_total, now_ms)

    def _details(self, job: RequestedJob, now_ms: TimestampMs) -> JobDetails:
        assert job.chosen is not None
        assert job.signed is not None
        assert job.request_id is not None
        request, offer = job.signed.request, job.chosen.offer
        fetch_ms = 0 if offer.cached else FETCH_MS
        until_ms = now_ms + fetch_ms + offer.eta_ms + request.timeout_ms + DEADLINE_GRACE_MS
        # The node hears it with the order, and a later attempt has another: only the client could choose by it.
        nonce = hashlib.sha256(
            b"vcoin/seed/1" + self.member.settings.secret + job.request_id + bytes([job.attempt])
        ).digest()
        return JobDetails(
            request_id=job.request_id,
            offer_hash=digest(offer, self.member.identity.domain),
            price=offer.price,
            bonus_cap=bonus_cap(offer.price) if job.ask.with_bonus else 0,
            verify_fee=verify_fee(offer.price, checked=job.ask.checked),
            manifest=request.manifest,
            input_cid=job.ask.input_cid,
            content_key_hash=job.ask.content_key_hash,
            temperature=job.ask.temperature,
            seed_nonce=nonce,
            max_new_tokens=request.max_new_tokens,
            classes=request.classes,
            expected_ms=min(offer.eta_ms, request.timeout_ms),
            deadline=min(request.deadline, max(until_ms // 1000, self._latest_at_work(offer.node_id))),
            attempt=job.attempt,
            max_total=_total(job, offer.price),
            flags=_flags(job.ask) | kind_flags(request.kind),
        )

    def _latest_at_work(self, node: Address) -> int:
        """The latest deadline among our jobs at work on a node, in seconds; 0 without any.

        The numbers of a lane settle in their order, so a node takes no order that is due before an earlier one.
        """
        at_work = (Stage.OFFERED, Stage.ASSIGNED, Stage.RUNNING)
        jobs = (job for job in self.book.jobs.values() if job.node == node and job.stage in at_work)
        return max((job.details.deadline for job in jobs if job.details is not None), default=0)

    def assign(self, assignment: Assignment, signature: bytes, now_ms: TimestampMs) -> tuple[Effect, ...]:
        """Send a signed order."""
        job = next(
            (
                job
                for job in self.book.jobs.values()
                if job.details is not None and job.job_id is None and struct_hash(job.details) == assignment.details
            ),
            None,
        )
        if job is None or job.details is None or job.signed is None or job.chosen is None or job.peer_id is None:
            return ()
        if job.stage is not Stage.OFFERED:
            # It has ended meanwhile. The number stays used.
            return ()
        if job.is_offer_over(now_ms):
            # Signed before an absence. The number stays used; the node would refuse it.
            return self.asking.again(job, now_ms)
        job.job_id, job.order = job_id(assignment, self.member.identity.domain), SignedOrder(assignment, signature)
        self.book.by_job[job.job_id] = job
        move(job, assignment, Stage.ASSIGNED, now_ms)
        job.next_step_ms = accept_within_ms(job.ask.input_bytes)
        order = AssignmentOrder(
            request=job.signed,
            offer=job.chosen,
            assignment=assignment,
            details=job.details,
            signature=signature,
            sealed_key=job.sealed_key,
            sealed_input=job.ask.sealed_input,
        )
        return Send(job.peer_id, order), AwaitDeadline(AcceptTimer(job.job_id), now_ms + job.next_step_ms)


def _total(job: RequestedJob, price: int) -> Wei:
    return order_total(price, with_bonus=job.ask.with_bonus, checked=job.ask.checked)


def _flags(ask: JobAsked) -> int:
    return (UNCALIBRATED_ACCEPTED if ask.uncalibrated else 0) | (CHECK_ORDERED if ask.checked else 0)
