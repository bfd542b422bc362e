"""No answer leaves a node that could not be paid for it without a receipt: orders due too soon, and late runs."""

import dataclasses

import pytest

from protocol.effects import RunContainer, SealFrame, SealResult
from protocol.events import (
    CalibrationSeen,
    ContainerExited,
    InputOpened,
    MessageReceived,
    ModelAdded,
    OrderRefused,
    TokensProduced,
)
from protocol.job import Stage
from protocol.params import MINE_WITHIN_MS, READ_BYTES_PER_STEP, RETRY_AFTER_DEADLINE_S
from protocol.roles.provider.run_queue import TIME_FACTOR
from protocol.stages.assignment import AssignmentOrder, RefuseCode, job_id
from protocol.stages.blob import RUNTIME_BYTES
from protocol.stages.commitment import LeafStatus
from protocol.stages.execution import Outcome, RunResult
from protocol.stages.offer import START_MS, SignedOffer
from protocol.wire.envelope import digest, sign_digest
from protocol.wire.ids import JobId, TimestampMs
from tests.simulation.scene import CLASS, DOMAIN, MANIFEST, NOISE
from tests.support.scenes.offers import NOW, offers, provider, request
from tests.support.scenes.provided_jobs import Deal, accept

ETA_MS = START_MS + 64 * 50
NEEDS_S = -(-TIME_FACTOR * ETA_MS // 1_000)
"""The time that a client must allow for a job of 64 tokens."""
DONE = RunResult(Outcome.OK, "", b"r" * 32, b"p" * 32, 64, "length", 1_000)


def due(seconds: int) -> int:
    """The deadline in so many seconds."""
    return NOW // 1_000 + seconds


def judged(deal: Deal, order: AssignmentOrder) -> RefuseCode | None:
    """The code of a refusal; None for an order that is taken."""
    event = deal.machine.judge(MessageReceived(deal.client.peer_id, order), NOW)
    return RefuseCode(event.code) if isinstance(event, OrderRefused) else None


class Queue(Deal):
    """A node with one container, and a client with several jobs on one lane."""

    def __init__(self) -> None:
        super().__init__()
        self.lane()
        self.before = 0

    def next_order(self, index: int, **changes) -> AssignmentOrder:
        return self.order(index, self.before, seed_nonce=bytes([index]) * 32, **changes)

    def take(self, index: int, **changes) -> JobId:
        order = self.next_order(index, **changes)
        assert judged(self, order) is None
        self.send(order)
        accept(self.machine, order)
        self.before = order.assignment.cumulative
        return job_id(order.assignment, DOMAIN)

    def exit(self, job: JobId, at_s: int):
        return self.machine.handle(ContainerExited(job, DONE, b"proof"), TimestampMs(NOW + at_s * 1_000))

    def stage(self, job: JobId) -> Stage:
        return next(view.stage for view in self.machine.provider.jobs if view.job_id == job)


@pytest.mark.parametrize(("seconds", "code"), [(NEEDS_S - 1, RefuseCode.DETAILS), (NEEDS_S, None)])
def test_an_order_allows_twice_what_the_node_says_that_it_takes(seconds: int, code: RefuseCode | None):
    assert judged(Queue(), Queue().next_order(1, deadline=due(seconds))) is code


def test_an_order_that_would_wait_past_its_deadline_is_refused_as_busy():
    queue = Queue()
    queue.take(1, deadline=due(200))
    queue.take(2, deadline=due(200))
    late, later = queue.next_order(3, deadline=due(200)), queue.next_order(3, deadline=due(NEEDS_S))
    queue.lane()
    assert judged(queue, late) is None
    assert judged(queue, later) is RefuseCode.BUSY


def test_a_job_that_waited_too_long_is_not_begun():
    queue = Queue()
    first = queue.take(1, deadline=due(200))
    second = queue.take(2, deadline=due(200))
    too_late_s = 200 + RETRY_AFTER_DEADLINE_S - MINE_WITHIN_MS // 1_000 - ETA_MS // 1_000 + 1
    effects = queue.exit(first, too_late_s)
    assert not any(isinstance(effect, RunContainer) for effect in effects)
    assert queue.stage(second) is Stage.UNPAID
    leaf = queue.machine.settler.leaf_of(second)
    assert leaf is not None
    assert leaf.status == LeafStatus.FAILED


def test_a_job_that_can_still_be_mined_is_begun_and_stopped_in_time():
    queue = Queue()
    first = queue.take(1, deadline=due(200))
    second = queue.take(2, deadline=due(200))
    (run,) = [effect for effect in queue.exit(first, 150) if isinstance(effect, RunContainer)]
    assert run.spec.job_id == second
    left_ms = (200 + RETRY_AFTER_DEADLINE_S - 150) * 1_000 - MINE_WITHIN_MS
    assert run.spec.timeout_ms == left_ms < 120_000


def test_an_answer_that_comes_too_late_is_not_given_away():
    queue = Queue()
    job = queue.take(1, deadline=due(200))
    late_s = 200 + RETRY_AFTER_DEADLINE_S - MINE_WITHIN_MS // 1_000
    assert not any(isinstance(effect, SealResult) for effect in queue.exit(job, late_s + 1))
    assert queue.stage(job) is Stage.UNPAID


def test_an_answer_that_comes_in_time_is_sealed():
    queue = Queue()
    job = queue.take(1, deadline=due(200))
    late_s = 200 + RETRY_AFTER_DEADLINE_S - MINE_WITHIN_MS // 1_000
    assert any(isinstance(effect, SealResult) for effect in queue.exit(job, late_s))


def test_no_order_is_due_before_an_earlier_one_of_its_lane_that_is_at_work():
    queue = Queue()
    first = queue.take(1, deadline=due(500))
    assert judged(queue, queue.next_order(2, deadline=due(499))) is RefuseCode.BUSY
    assert judged(queue, queue.next_order(2, deadline=due(500))) is None
    failed = dataclasses.replace(DONE, outcome=Outcome.PROVIDER)
    queue.machine.handle(ContainerExited(first, failed, b""), NOW)
    assert judged(queue, queue.next_order(2, deadline=due(499))) is None


def test_no_order_comes_below_one_that_is_due_before_it():
    queue = Queue()
    first = queue.next_order(1, deadline=due(500))
    queue.before = first.assignment.cumulative
    queue.send(queue.next_order(2, deadline=due(400)))
    assert judged(queue, first) is RefuseCode.BUSY
    queue.before = 0
    assert judged(queue, queue.next_order(1, deadline=due(400))) is None


def test_what_was_refused_while_its_input_came_holds_up_nothing():
    queue = Queue()
    queue.send(queue.next_order(1, deadline=due(500)))
    job = job_id(queue.next_order(1, deadline=due(500)).assignment, DOMAIN)
    queue.machine.handle(InputOpened(job), TimestampMs(NOW + 60_000))
    assert queue.stage(job) is Stage.UNPAID
    queue.before = queue.next_order(1).assignment.cumulative
    assert judged(queue, queue.next_order(2, deadline=due(300))) is None


def test_nothing_is_offered_for_a_request_that_is_over_too_soon():
    world, machine = provider()
    assert not offers(machine, request(world, deadline=due(NEEDS_S - 1)))
    assert offers(machine, request(world, deadline=due(NEEDS_S)))


def test_the_memory_that_a_client_allows_starves_no_model():
    deal = Deal(max_memory=2**30)
    deal.lane()
    manifest = deal.machine.member.models[MANIFEST.cid]
    deal.machine.member.models[MANIFEST.cid] = dataclasses.replace(manifest, needs_bytes=3 * 2**30)
    order = deal.order()
    deal.send(order)
    _, run = accept(deal.machine, order)
    assert run.spec.memory_bytes == 3 * 2**30


def test_no_manifest_and_no_client_lifts_the_memory_limit_of_a_container():
    deal, liar = Deal(), dataclasses.replace(MANIFEST, needs_bytes=0)
    deal.lane()
    deal.machine.handle(CalibrationSeen(liar.cid, CLASS, NOISE), NOW)
    # Its need is not known while it is not here. A limit of 0 bytes is none to Docker.
    deal.request = request(deal.world, manifest=liar.cid, max_memory=0, timeout_ms=200_000, nonce=2)
    (asked,) = offers(deal.machine, deal.request)
    deal.offer = SignedOffer(asked.message, sign_digest(digest(asked.message, DOMAIN), deal.node.secret))
    order = deal.order(deadline=NOW // 1_000 + 550)
    deal.send(order)
    accept(deal.machine, order)
    (run,) = deal.machine.handle(ModelAdded(liar), NOW)
    assert isinstance(run, RunContainer)
    assert run.spec.memory_bytes == RUNTIME_BYTES


def test_nothing_is_offered_for_a_time_limit_that_may_cut_an_honest_run():
    world, machine = provider()
    read_ms = 100 // READ_BYTES_PER_STEP * 50
    least_ms = TIME_FACTOR * (ETA_MS + read_ms)
    assert not offers(machine, request(world, timeout_ms=least_ms - 1))
    assert offers(machine, request(world, timeout_ms=least_ms))


def test_a_long_input_takes_time_as_well():
    world, machine = provider()
    long = request(world, input_bytes=60_000)
    assert not offers(machine, long)
    assert offers(machine, request(world, input_bytes=60_000, timeout_ms=240_000))


def streamed(queue: Queue, job: JobId, first_s: int, pace_ms: int) -> int:
    """Tokens that leave the node before its run is stopped, of a run with so long between two of them."""
    sent, at_ms = 0, NOW + first_s * 1_000
    while at_ms < NOW + 120_000:
        effects = queue.machine.handle(TokensProduced(job, (5,)), TimestampMs(at_ms))
        sent += sum(isinstance(effect, SealFrame) for effect in effects)
        at_ms += pace_ms
    return sent


def test_a_run_in_time_is_streamed_to_its_end():
    queue = Queue()
    assert streamed(queue, queue.take(1), 50, 1_000) >= 64


@pytest.mark.parametrize(("first_s", "pace_ms"), [(110, 200), (117, 50), (20, 1_800)])
def test_a_run_that_would_be_cut_off_gives_nothing_away(first_s: int, pace_ms: int):
    """However its client has made it late: by a long input, or by tokens that take longer than promised."""
    queue = Queue()
    assert streamed(queue, queue.take(1), first_s, pace_ms) <= 1


def test_a_run_that_slows_down_is_streamed_until_it_is_seen_to_be_late():
    queue = Queue()
    job = queue.take(1)
    quick = [20_000 + 50 * number for number in range(30)]
    slow = [quick[-1] + 5_000 * number for number in range(1, 18)]
    times = {at_ms: queue.machine.handle(TokensProduced(job, (5,)), TimestampMs(NOW + at_ms)) for at_ms in quick + slow}
    sent = [at_ms for at_ms, effects in times.items() if effects]
    assert sent == [*quick, *slow][: len(sent)]
    assert len(quick) < len(sent) < len(quick) + len(slow)
