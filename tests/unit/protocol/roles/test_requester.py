"""How a requester calls for offers: no faster than peers pass calls on, and the last time only when it is heard."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import replace

import pytest

from protocol.effects import AwaitDeadline, Effect, PublishRequest, SignMessage
from protocol.events import DeadlinePassed, Event, HeartbeatReceived, JobAsked, MessageSigned, Tick, is_durable
from protocol.job import Stage
from protocol.network.budgets import Budgets
from protocol.network.gossip import REQUESTS
from protocol.params import MAX_MEMORY_CEILING
from protocol.roles.machine import Machine
from protocol.roles.member import LISTEN_BEATS, heartbeat
from protocol.roles.requester.asking import OFFER_ROUNDS_MS
from protocol.stages.heartbeat import Heartbeat
from protocol.timers import Timer
from protocol.wire.envelope import digest, sign_digest
from protocol.wire.ids import TimestampMs
from tests.simulation.scene import DOMAIN, RULES, ask
from tests.simulation.world import World
from tests.support.scenes.offers import NOW

STEP_MS = 50


class Asker:
    """A client whose node ticks, passes deadlines and signs, in a network without an offer."""

    def __init__(self) -> None:
        self.world = World()
        self.node = self.world.add("client", {"requester"})
        self.other = self.world.add("other", {"provider"}, 5_000)
        self.machine = self.node.machine
        self.now_ms = NOW
        self.journal: list[tuple[Event, TimestampMs]] = []
        self.calls: list[tuple[int, int]] = []
        """When each call went out, in ms from the start, and the nonce of its request."""
        self._timers: list[tuple[int, int, Timer]] = []
        self._count = itertools.count()

    def take(self, event: Event) -> None:
        now_ms = TimestampMs(self.now_ms)
        if is_durable(event):
            self.journal.append((event, now_ms))
        for effect in self.machine.handle(event, now_ms):
            self._perform(effect)

    def _perform(self, effect: Effect) -> None:
        match effect:
            case AwaitDeadline(timer, at_ms):
                self._set(timer, at_ms)
            case SignMessage(message):
                self.take(MessageSigned(message, sign_digest(digest(message, DOMAIN), self.node.secret)))
            case PublishRequest(request):
                self.calls.append((self.now_ms - NOW, request.request.nonce))

    def _set(self, timer: Timer, at_ms: int) -> None:
        heapq.heappush(self._timers, (at_ms, next(self._count), timer))

    def pass_time(self, seconds: int) -> None:
        for _ in range(seconds * 1_000 // STEP_MS):
            self.now_ms += STEP_MS
            if self.now_ms % 1_000 == 0:
                self.take(Tick())
            while self._timers and self._timers[0][0] <= self.now_ms:
                self.take(DeadlinePassed(heapq.heappop(self._timers)[2]))

    def hear(self) -> None:
        """The other node's beat arrives."""
        self.machine.handle(HeartbeatReceived(self.other.peer_id, self._beat()), TimestampMs(self.now_ms))

    def _beat(self) -> Heartbeat:
        return heartbeat(self.other.machine.member, TimestampMs(self.now_ms))

    def restart(self) -> None:
        """A new machine, of which only what the journal keeps is left; nothing was ever answered."""
        self.machine = Machine(self.node.machine.identity, RULES, self.node.machine.settings)
        self._timers, rows, self.journal = [], self.journal, []
        for event, at_ms in rows:
            for effect in self.machine.handle(event, at_ms):
                if isinstance(effect, AwaitDeadline):
                    self._set(effect.timer, effect.at_ms)
        self.journal = rows

    @property
    def stages(self) -> list[Stage]:
        return [job.stage for job in self.machine.requester.jobs]


def jobs(count: int) -> list[JobAsked]:
    return [ask(number, now_ms=NOW) for number in range(1, count + 1)]


def test_peers_pass_on_every_call_of_a_client_with_many_jobs() -> None:
    asker = Asker()
    asker.hear()
    for job in jobs(30):
        asker.take(job)
    asker.pass_time(90)
    budget = Budgets[bytes](REQUESTS, 1)
    assert all(budget.take(b"", at_ms) for at_ms, _ in asker.calls)
    assert sorted(nonce for _, nonce in asker.calls) == sorted([*range(1, 31)] * len(OFFER_ROUNDS_MS))
    assert asker.stages == [Stage.UNSERVED] * 30


def test_few_jobs_are_called_out_at_once() -> None:
    asker = Asker()
    for job in jobs(8):
        asker.take(job)
    assert [at_ms for at_ms, _ in asker.calls] == [0] * 8


def test_the_last_call_waits_until_somebody_is_heard() -> None:
    asker = Asker()
    asker.take(*jobs(1))
    asker.pass_time(5)
    assert (len(asker.calls), asker.stages) == (len(OFFER_ROUNDS_MS) - 1, [Stage.REQUESTED])
    asker.hear()
    asker.pass_time(1)
    (last_ms, _) = asker.calls[-1]
    assert (len(asker.calls), 5_000 < last_ms <= 6_000) == (len(OFFER_ROUNDS_MS), True)
    assert asker.stages == [Stage.REQUESTED]
    asker.pass_time(2)
    assert asker.stages == [Stage.UNSERVED]


def test_where_nobody_is_there_the_last_call_waits_no_longer_than_they_would_need_to_be_heard() -> None:
    asker = Asker()
    asker.take(*jobs(1))
    asker.pass_time(LISTEN_BEATS * RULES.heartbeat_ms // 1_000 + 4)
    assert (len(asker.calls), asker.stages) == (len(OFFER_ROUNDS_MS), [Stage.UNSERVED])
    (job,) = asker.machine.requester.jobs
    assert "none of 0 known nodes" in job.reason


def test_after_a_restart_the_last_call_waits_again() -> None:
    asker = Asker()
    asker.hear()
    asker.take(*jobs(1))
    asker.now_ms += 60_000
    asker.restart()
    asker.pass_time(RULES.heartbeat_ms // 1_000)
    assert (len(asker.calls), asker.stages) == (len(OFFER_ROUNDS_MS) - 1, [Stage.REQUESTED])
    asker.hear()
    asker.pass_time(1)
    assert len(asker.calls) == len(OFFER_ROUNDS_MS)


def test_a_last_call_that_went_out_is_not_repeated_after_a_restart() -> None:
    asker = Asker()
    asker.hear()
    asker.take(*jobs(1))
    asker.pass_time(3)
    assert len(asker.calls) == len(OFFER_ROUNDS_MS)
    asker.restart()
    asker.hear()
    asker.pass_time(4)
    assert (len(asker.calls), asker.stages) == (len(OFFER_ROUNDS_MS), [Stage.UNSERVED])


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("max_memory", MAX_MEMORY_CEILING + 1, "1 PiB"),
        ("max_new_tokens", 0, "max_new_tokens"),
        ("input_bytes", 0, "the input"),
        ("timeout_ms", 999, "timeout_ms"),
    ],
)
def test_job_that_no_node_would_run_ends_at_once(field: str, value: int, reason: str) -> None:
    asker = Asker()
    asker.take(replace(ask(now_ms=NOW), **{field: value}))  # type: ignore[arg-type]
    assert asker.stages == [Stage.UNSERVED]
    assert reason in asker.machine.requester.jobs[0].reason
