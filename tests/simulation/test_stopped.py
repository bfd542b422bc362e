"""Jobs that their client stops: what was written is delivered, checked and paid, and nothing else is."""

from collections.abc import Callable

import pytest

from protocol import effects as fx
from protocol import events as ev
from protocol.job import TERMINAL, JobState, Stage
from protocol.messages import Message
from protocol.params import VCN
from protocol.roles.requester.stopping import STOPPED
from protocol.stages.assignment import AssignmentOrder, RefuseCode, SignedAccept, SignedRefuse, Withdrawal
from protocol.stages.assignment import charge_of as price_of
from protocol.stages.commitment import ResultDelivery, SignedReceipt
from protocol.stages.request import EMBED
from protocol.stages.stop_order import STOP_ORDER, SignedStopOrder, StopOrder
from protocol.wire.envelope import digest, sign_digest
from tests.simulation.node import Blamed, Node
from tests.simulation.scene import DOMAIN, ask
from tests.simulation.world import World
from tests.support.scenes.simulated_jobs import money
from tests.support.scenes.unreceipted_jobs import lose

WRITTEN = 3
"""Tokens that a provider of the simulation has written half of the way through."""


class Town:
    """A client, a provider, a second one for other attempts, and seats."""

    def __init__(self, *, spare: bool = False, kind: int = 0) -> None:
        self.world = world = World()
        self.client = world.add("requester", {"requester"})
        world.chain.deposit(self.client.address, 100 * VCN)
        self.provider = world.add("provider", {"provider"}, 20_000)
        if spare:
            world.add("spare", {"provider"}, 10_000)
        for number in range(3):
            world.add(f"seat-{number}", {"verifier"}, 5_000)
        world.start()
        world.soon(lambda: self.client.take(ask(now_ms=world.now_ms, kind=kind)), 3_000)

    @property
    def job(self) -> JobState:
        return self.client.machine.requester.jobs[0]

    @property
    def provided(self) -> JobState:
        return self.provider.machine.provider.jobs[0]

    def until(self, holds: Callable[[], bool], limit_s: int = 300) -> None:
        self.world.run(lambda: bool(self.client.machine.requester.jobs) and holds(), limit_s)

    def until_written(self) -> None:
        """The client has read the first tokens, and the provider writes on."""
        self.until(lambda: self.job.new_tokens == WRITTEN)

    def stop(self) -> None:
        self.client.take(ev.JobStopAsked(self.job.ask_id, self.job.new_tokens))

    def until_ended(self) -> JobState:
        self.until(lambda: self.job.stage in TERMINAL, 2_000)
        return self.job

    def said(self, by: Node, kind: type[Message]) -> list[Message]:
        """The messages of a kind that came from a node, once each."""
        told = self.world.told.get(ev.MessageReceived, [])
        found = [each.message for each in told if each.peer_id == by.peer_id and isinstance(each.message, kind)]
        return list(dict.fromkeys(found))

    def answers(self) -> list[ev.ContainerExited]:
        return self.world.told.get(ev.ContainerExited, [])


def is_of(kind: type[Message]) -> Callable[[fx.Effect], bool]:
    return lambda effect: isinstance(effect, fx.Send) and isinstance(effect.message, kind)


def price(job: JobState) -> int:
    return price_of(job.price, WRITTEN, job.max_new_tokens)


def test_job_that_is_stopped_ends_at_once_and_costs_what_was_written() -> None:
    town = Town()
    town.until_written()
    since_ms = town.world.now_ms
    town.stop()
    town.until(lambda: town.job.stage is Stage.DELIVERED, 2)
    assert town.world.now_ms - since_ms < 1_000
    done = town.until_ended()
    assert (done.stage, done.finish, done.new_tokens) == (Stage.SPENDABLE, STOP_ORDER, WRITTEN)
    assert (done.charge, done.bonus) == (price(done), 0)
    # A tenth of the price at least, and the fee for its check on top.
    assert done.charge == -(-done.price // 10)
    assert money(town.world, done) == 100 * VCN - done.debit
    assert done.debit == done.charge + done.fee
    (receipt,) = town.said(town.client, SignedReceipt)
    assert isinstance(receipt, SignedReceipt)
    assert receipt.receipt.charge == done.charge
    # It was short, not fast.
    assert receipt.receipt.actual_ms == town.client.machine.requester.job(done.job_id).details.expected_ms
    assert town.provided.stage is Stage.SPENDABLE


def test_job_whose_client_signs_no_receipt_costs_the_same() -> None:
    town = Town()
    lose(town.client, is_of(SignedReceipt))
    town.until_written()
    town.stop()
    town.until(lambda: town.provided.stage in TERMINAL, 2_000)
    assert (town.provided.stage, town.provided.finish) == (Stage.SPENDABLE, STOP_ORDER)
    assert town.provided.charge == price(town.provided)
    (batch,) = {event.batch_id: event for event in town.world.told[ev.BatchSubmitted]}.values()
    assert batch.unreceipted


@pytest.mark.parametrize("which", ["requester", "provider"])
@pytest.mark.parametrize("heard", [True, False])
def test_node_that_dies_between_order_and_answer_goes_on_with_it(which: str, heard: bool) -> None:
    town = Town()
    town.until_written()
    if not heard:
        # The order is signed, and its first way is lost.
        lose(town.client, is_of(SignedStopOrder))
    town.stop()
    town.until(lambda: bool(town.said(town.client, SignedStopOrder)) == heard and not is_signing(town.client), 5)
    town.world.kill(town.world.node(which), 500)
    if not heard:
        town.client.perform = town.world._perform
        town.client.restart() if which == "provider" else None
    done = town.until_ended()
    assert done.stage is Stage.SPENDABLE
    assert done.finish in ((STOP_ORDER,) if heard else (STOP_ORDER, "eos"))
    assert money(town.world, done) == 100 * VCN - done.debit


def is_signing(node: Node) -> bool:
    return any(isinstance(each.effect, fx.SignMessage) for each in node.asked.values())


def fail_once(node: Node, kind: type[Message]) -> list[fx.Effect]:
    """The first message of a kind does not arrive. Returns: it, once that has happened."""
    lost, perform = list[fx.Effect](), node.perform

    def lossy(who: Node, effect: fx.Effect, answer: Callable[[ev.Event], None]) -> None:
        if is_of(kind)(effect) and not lost:
            lost.append(effect)
            answer(ev.EffectFailed(fx.Send, fx.about(effect), "no answer", True))
        else:
            perform(who, effect, answer)

    node.perform = lossy
    return lost


def test_order_that_is_lost_is_sent_again_after_a_restart() -> None:
    town = Town()
    lost = fail_once(town.client, SignedStopOrder)
    town.until_written()
    town.stop()
    town.until(lambda: bool(lost), 5)
    town.world.kill(town.client, 100)
    assert town.until_ended().finish == STOP_ORDER


def test_stop_before_any_offer_costs_nothing_and_hires_no_node() -> None:
    town = Town()
    town.until(lambda: True)
    town.stop()
    assert (town.job.stage, town.job.reason) == (Stage.UNSERVED, STOPPED)
    later(town, 30)
    assert (town.said(town.client, AssignmentOrder), town.provider.machine.provider.jobs) == ([], ())
    assert town.world.chain.contracts.free[town.client.address] == 100 * VCN


def test_stop_before_the_promise_withdraws_the_job_and_its_number_charges_nothing() -> None:
    town = Town()
    town.until(lambda: town.job.stage is Stage.ASSIGNED)
    town.stop()
    done = town.until_ended()
    assert (done.stage, done.debit) == (Stage.UNSERVED, 0)
    town.until(lambda: bool(town.provider.machine.provider.jobs) and town.provided.stage is Stage.UNPAID, 60)
    later(town, 600)
    assert town.job.debit == 0
    assert not town.said(town.provider, ResultDelivery)


def test_promise_that_crosses_the_stop_is_withdrawn() -> None:
    town = Town()
    lost = fail_once(town.client, Withdrawal)
    town.until(lambda: town.job.stage is Stage.ASSIGNED)
    town.stop()
    assert lost
    town.until(lambda: bool(town.said(town.provider, SignedAccept)), 20)
    town.until(lambda: town.provided.stage is Stage.UNPAID, 20)
    assert len(town.said(town.client, Withdrawal)) == 1


def test_stop_right_after_the_promise_costs_nothing_while_nothing_is_written() -> None:
    town = Town()
    town.until(lambda: town.job.stage is Stage.RUNNING)
    town.stop()
    assert (town.job.stage, town.job.reason) == (Stage.UNSERVED, STOPPED)
    town.until(lambda: town.provided.stage is Stage.UNPAID, 10)
    assert not town.said(town.client, SignedStopOrder)


def test_stop_of_a_queued_job_is_told_and_costs_nothing() -> None:
    town = Town()
    town.until(lambda: town.job.stage is Stage.RUNNING)
    held = town.provider.machine.provider.job(town.job.job_id)
    # As behind the jobs of others.
    held.running = False
    order = StopOrder(held.job_id)
    signature = sign_digest(digest(order, DOMAIN), town.client.secret)
    town.provider.take(ev.MessageReceived(town.client.peer_id, SignedStopOrder(order, signature)))
    assert town.provided.stage is Stage.UNPAID
    town.until(lambda: bool(town.said(town.provider, SignedRefuse)), 10)
    (said,) = town.said(town.provider, SignedRefuse)
    assert isinstance(said, SignedRefuse)
    assert said.refuse.code == RefuseCode.STOPPED


def test_node_that_refuses_or_falls_silent_after_the_stop_is_not_replaced() -> None:
    town = Town(spare=True)
    town.until_written()
    lose(town.provider, is_of(ResultDelivery))
    town.stop()
    town.until(lambda: bool(town.said(town.client, SignedStopOrder)), 5)
    town.provider.silent = True
    town.provider.kill()
    done = town.until_ended()
    assert (done.stage, done.attempt, done.debit) == (Stage.UNSERVED, 0, 0)
    assert done.reason.startswith("stopped, and its node brought no answer")


def test_node_of_an_earlier_version_goes_on_and_has_its_price() -> None:
    town = Town()
    # It does not open the stream that carries the order.
    lose(town.client, is_of(SignedStopOrder))
    town.until_written()
    town.stop()
    done = town.until_ended()
    assert (done.stage, done.finish) == (Stage.SPENDABLE, "eos")
    assert money(town.world, done) == 100 * VCN - done.debit


def test_node_that_stops_by_itself_has_no_receipt() -> None:
    town = Town()
    town.until_written()
    town.world._shorten(town.provider, town.job.job_id)
    town.until(lambda: "ends early" in town.job.reason, 20)
    assert town.job.stage is Stage.RUNNING
    assert not town.said(town.client, SignedReceipt)


@pytest.mark.parametrize("case", ["forged", "other job", "other peer", "twice", "reading", "after the end"])
def test_order_that_means_nothing_changes_nothing(case: str) -> None:
    town = Town(kind=EMBED if case == "reading" else 0)
    town.until(lambda: town.job.stage is Stage.RUNNING)
    if case == "after the end":
        town.until(lambda: town.provided.stage is Stage.DELIVERED)
    else:
        later(town, 3)
    job_id = town.job.job_id
    assert job_id is not None
    order = StopOrder(bytes(32) if case == "other job" else job_id)
    secret = town.provider.secret if case == "forged" else town.client.secret
    signed = SignedStopOrder(order, sign_digest(digest(order, DOMAIN), secret))
    peer_id = town.world.node("seat-0").peer_id if case == "other peer" else town.client.peer_id
    if case == "twice":
        town.provider.take(ev.MessageReceived(peer_id, signed))
    rows = len(town.provider.journal)
    town.provider.take(ev.MessageReceived(peer_id, signed))
    assert len(town.provider.journal) == rows
    assert (Blamed in town.world.told) == (case == "forged")
    done = town.until_ended()
    # Its client has not asked to stop it, so it has no receipt for less either.
    assert case == "twice" or (done.stage, done.finish) == (Stage.SPENDABLE, "eos")


def test_stop_of_a_job_with_its_answer_or_of_no_job_changes_nothing() -> None:
    town = Town()
    town.until(lambda: town.job.stage is Stage.DELIVERED)
    before = town.job
    town.stop()
    town.client.take(ev.JobStopAsked(bytes(16), 0))
    assert town.job == before
    later(town, 5)
    assert not town.said(town.client, SignedStopOrder)


def test_request_that_is_stopped_before_its_signatures_are_there_goes_nowhere() -> None:
    town, held = Town(), list[Callable[[], None]]()
    perform = town.client.perform

    def slow(who: Node, effect: fx.Effect, answer: Callable[[ev.Event], None]) -> None:
        if isinstance(effect, fx.SignMessage):
            held.append(lambda: perform(who, effect, answer))
        else:
            perform(who, effect, answer)

    town.client.perform = slow
    town.until(lambda: bool(held))
    town.stop()
    held.pop()()
    later(town, 20)
    assert town.job.stage is Stage.UNSERVED
    assert ev.RequestPublished not in town.world.told


def later(town: Town, seconds: int) -> None:
    end = town.world.now_ms + 1_000 * seconds
    town.world.run(lambda: town.world.now_ms >= end, seconds + 5)
