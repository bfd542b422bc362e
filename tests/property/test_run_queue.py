"""The run queue over any queue: containers are never overfilled, every client has its turn, and nothing is left out."""

from hypothesis import given
from hypothesis import strategies as st

from protocol.roles.provider.run_queue import WaitingRun, plan_starts, wait_ms
from protocol.stages.execution import RunSpec, containers
from protocol.stages.offer import Offer
from protocol.stages.token_rules import signed_temperature
from protocol.wire.ids import Address, JobId

CLIENTS = tuple(Address(name) for name in ("a", "b", "c", "d"))


def spec(number: int, model: int = 0, kind: int = 0) -> RunSpec:
    """A run; every fifth one is alone, if it writes."""
    temperature = signed_temperature(0, ruled=False, alone=kind == 0 and number % 5 == 4)
    return RunSpec(number.to_bytes(32), bytes([model]) * 32, 1, 64, temperature, bytes(32), 2**30, 60_000, kind)


def run(number: int, client: Address, model: int = 0, kind: int = 0) -> WaitingRun:
    return WaitingRun(JobId(number.to_bytes(32)), client, spec(number, model, kind))


@st.composite
def queues(draw: st.DrawFn) -> tuple[list[RunSpec], list[WaitingRun], dict[Address, int], int, int]:
    kinds = st.tuples(st.sampled_from(CLIENTS), st.integers(0, 2), st.integers(0, 2))
    slots, at_once = draw(st.integers(1, 4)), draw(st.integers(1, 8))
    waiting = [run(number, *each) for number, each in enumerate(draw(st.lists(kinds, max_size=24)))]
    running: list[RunSpec] = []
    for number, (_, model, kind) in enumerate(draw(st.lists(kinds, max_size=8))):
        one = spec(1_000 + number, model, kind)
        if containers([*running, one], at_once) <= slots:
            running.append(one)
    turns = draw(st.dictionaries(st.sampled_from(CLIENTS), st.integers(1, 50)))
    return running, waiting, turns, slots, at_once


@given(queues())
def test_containers_are_filled_and_not_overfilled(queue):
    running, waiting, turns, slots, at_once = queue
    started = [each.spec for each in plan_starts(running, waiting, turns, slots, at_once)]
    assert containers([*running, *started], at_once) <= slots
    assert started or running or not waiting


@given(queues())
def test_a_job_starts_once_and_those_of_a_client_in_their_order(queue):
    running, waiting, turns, slots, at_once = queue
    started = plan_starts(running, waiting, turns, slots, at_once)
    assert len(set(started)) == len(started)
    for client in CLIENTS:
        own = [each for each in waiting if each.client == client]
        chosen = [each for each in started if each.client == client]
        assert chosen == own[: len(chosen)]


@given(queues())
def test_no_client_starts_a_second_job_before_each_that_waits_has_started_one(queue):
    running, waiting, _, slots, at_once = queue
    started = plan_starts(running, waiting, {}, slots, at_once)
    clients = [each.client for each in started]
    for place, client in enumerate(clients):
        if client in clients[:place]:
            assert {each.client for each in waiting} <= set(clients[:place])


@given(st.integers(2, 12), st.integers(1, 3))
def test_a_client_with_one_job_waits_for_one_round_of_another_with_many(many: int, slots: int):
    waiting = [run(number, CLIENTS[0]) for number in range(many)] + [run(100, CLIENTS[1])]
    turns: dict[Address, int] = {}
    started: list[Address] = []
    while waiting:
        chosen = plan_starts([], waiting, turns, slots, 1)
        for each in chosen:
            turns[each.client] = max(turns.values(), default=0) + 1
            waiting.remove(each)
        started += [each.client for each in chosen]
    assert CLIENTS[1] in started[:2]


def test_jobs_that_are_alone_wait_for_each_other_and_no_container_is_shared_with_them():
    alone, others = [spec(4), spec(9)], [spec(1), spec(2)]
    assert containers([*alone, *others], 8) == 3
    assert [each.spec for each in plan_starts([], [run(4, CLIENTS[0]), run(9, CLIENTS[1])], {}, 1, 8)] == alone[:1]
    assert wait_ms(alone, others[0], [OFFER] * 2, 1, 8) == 2 * OFFER.eta_ms
    assert wait_ms(others, alone[0], [OFFER] * 2, 1, 8) < 2 * OFFER.eta_ms


OFFER = Offer(bytes(32), CLIENTS[0], 1, 20_000, 1, True, bytes(32), 0)


@given(queues())
def test_a_job_waits_where_there_is_no_room_and_the_longer_the_more_is_ahead(queue):
    running, waiting, _, slots, at_once = queue
    ahead = [*running, *(each.spec for each in waiting)]
    one, offers = spec(5_000, model=1), [OFFER] * len(ahead)
    waits = wait_ms(ahead, one, offers, slots, at_once)
    fits = containers([*ahead, one], at_once) <= slots
    assert (waits == 0) is fits
    assert wait_ms([*ahead, *ahead], one, [*offers, *offers], slots, at_once) >= waits
