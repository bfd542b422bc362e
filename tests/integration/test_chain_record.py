"""A node's record told from the chain's logs: every change has its batch, case or duty, and they add up."""

from __future__ import annotations

import pytest

from chain.read.reputation import Cause, Change, read_record
from chain.tx.transactions import Sender
from chain.tx.wallet import Key
from node.daemon.score import explain
from protocol.effects import ReplaceSeat, VoidStarved
from protocol.events import BatchSubmitted
from protocol.params import PROBATION_JOBS, VCN
from protocol.stages.verification import Verdict
from tests.support.anvil_ledger import POLL_S, forget, owner_of
from tests.support.jobs import CLASS, key
from tests.support.scenes.ledgers import CLIENT, NODE, VERIFIERS, Scene
from tests.support.trials import anvil_of, convicted, judged, passed, played

pytestmark = pytest.mark.anvil

OTHER = key("other node")


async def record(play: Scene, node: Key = NODE) -> list[Change]:
    ledger = anvil_of(play)
    head, _ = await ledger.now()
    changes = await read_record(ledger.network, node.address, ledger.deployment.block, head)
    stands = await ledger.network.stakes.node_of(node.address)
    assert stands is not None
    # The events told are all that there are.
    assert sum(change.counted for change in changes) == stands.successes
    assert sum(change.counted + change.lost for change in changes) == stands.total
    assert sum(change.response_ms for change in changes) == stands.response_ms
    assert sum(change.penalty_tenths for change in changes) == stands.penalty_tenths
    return changes


async def test_a_batch_counts_with_its_jobs_and_their_time() -> None:
    async with played(verifiers=3) as play:
        await play.open_lane()
        name = await passed(play)
        check_in, batch = await record(play)
        assert (check_in.cause, check_in.day > 0) == (Cause.CHECK_IN, True)
        assert (batch.cause, batch.batch_id, batch.verdict) == (Cause.BATCH, name, Verdict.NONE)
        assert (batch.counted, batch.lost, batch.response_ms, batch.penalty_tenths) == (3, 0, 2_700, 0)
        stands = await anvil_of(play).network.stakes.node_of(NODE.address)
        assert stands is not None
        assert batch.score == stands.score_hundredths


async def test_a_lost_case_is_named_with_its_points_and_its_stake() -> None:
    async with played(verifiers=10) as play:
        await play.open_lane()
        name = await convicted(play)
        (lost,) = await record(play)
        assert (lost.cause, lost.batch_id, lost.verdict) == (Cause.CASE, name, Verdict.SEVERE)
        assert (lost.lost, lost.counted, lost.penalty_tenths, lost.lost_wei) == (1, 0, 300, 5_000 * VCN)
        receipt = await anvil_of(play).network.ethereum.receipt(lost.transaction)
        assert receipt is not None
        assert receipt.block == lost.block


async def test_a_penalty_heals_by_the_batch_that_is_named() -> None:
    async with played(verifiers=10) as play:
        await play.open_lane()
        await convicted(play)
        await play.ledger.warp((await anvil_of(play).network.params.profile()).jail_seconds)
        await anvil_of(play).actions(owner_of(NODE)).unjail(NODE.address)
        name = await passed(play, 1)
        lost, released, _, healed = await record(play)
        assert (released.cause, released.samples_left) == (Cause.RELEASE, PROBATION_JOBS)
        assert (healed.cause, healed.batch_id, healed.penalty_tenths) == (Cause.BATCH, name, -3)
        assert healed.lost_wei == 0
        assert lost.score < healed.score
        view = await explain(play.adapter, NODE.address, play.ledger.rules.recommended_stake, {})
        assert view is not None
        assert (view.penalised, view.healed, view.penalty) == (3_000, 30, 2_970)


async def test_a_batch_that_nobody_brought_to_court_is_named_although_its_log_comes_last() -> None:
    async with played(verifiers=3) as play:
        ledger = anvil_of(play)
        await ledger.actions(owner_of(NODE)).set_classes(NODE.address, 1 << CLASS)
        await play.open_lane()
        _, mined = await play.submit()
        await play.seal(mined)
        await play.final()
        contents = (await play.story.until(BatchSubmitted)).contents
        await ledger.warp(ledger.rules.starved_s + 1)
        await play.adapter.perform(VoidStarved(mined.batch_id, NODE.address, 0, contents))
        classes, *_, lost = await record(play)
        assert (classes.cause, lost.cause, lost.batch_id) == (Cause.CLASSES, Cause.CASE, mined.batch_id)
        assert (lost.verdict, lost.penalty_tenths, lost.lost_wei) == (Verdict.STARVED, 150, 0)


async def test_a_silent_seat_is_named_with_the_case_that_it_sat_in() -> None:
    async with played(verifiers=5) as play:
        await play.open_lane()
        name, contents, case = await play.convene()
        silent = case.seats[1]
        await play.commit(name, 0, case.seats[0])
        await play.ledger.warp(play.ledger.rules.seat_window_s + 1)
        await play.adapter.perform(ReplaceSeat(name, 1, contents))
        verifier = next(each for each in VERIFIERS if each.address == silent)
        (missed,) = await record(play, verifier)
        assert (missed.cause, missed.batch_id, missed.seat) == (Cause.SEAT, name, 1)
        assert (missed.lost, missed.penalty_tenths, missed.lost_wei) == (0, 50, 50 * VCN)
        assert await record(play) == [], "the node that was judged has no part in it"
        court, (head, _) = anvil_of(play).network.court, await play.ledger.now()
        counts = [len(await court.entries("SeatReplaced", 0, head, node=each)) for each in (silent, NODE.address)]
        assert counts == [1, 0], "asked about one node, an endpoint tells of that one alone"


async def test_other_classes_are_a_change_without_a_case() -> None:
    async with played() as play:
        await anvil_of(play).actions(owner_of(NODE)).set_classes(NODE.address, 1 << CLASS)
        (change,) = await record(play)
        assert (change.cause, change.batch_id, change.penalty_tenths) == (Cause.CLASSES, None, 0)


async def test_two_missed_signs_are_a_change_and_one_is_none() -> None:
    async with played() as play:
        ledger = anvil_of(play)
        operator = Sender(ledger.network.ethereum, NODE, forget, poll_s=POLL_S)
        await operator.send(ledger.network.stakes.check_in(NODE.address))
        for asker in (key("first"), key("second")):
            await ledger.register(asker)
            owner = ledger.actions(owner_of(asker))
            await owner.challenge_liveness(NODE.address, asker.address)
            await ledger.warp(301)
            await owner.miss_liveness(NODE.address, owner_of(asker).address)
            await ledger.warp(601)
        check_in, missed = await record(play)
        assert (check_in.cause, missed.cause, missed.batch_id) == (Cause.CHECK_IN, Cause.OFFLINE, None)


async def test_a_charge_for_absence_is_a_change_of_the_stake_alone() -> None:
    async with played() as play:
        ledger = anvil_of(play)
        await ledger.warp(9 * 86_400)
        await ledger.actions(CLIENT).penalize_offline(NODE.address)
        (charged,) = await record(play)
        assert (charged.cause, charged.penalty_tenths, charged.score) == (Cause.ABSENCE, 0, 0)
        # The rest after each day is rounded down.
        assert 0 <= charged.lost_wei - 199 * VCN <= 1


async def test_two_batches_that_one_transaction_ends_are_told_apart() -> None:
    async with played(verifiers=3) as play:
        await play.open_lane()
        names = [(await judged(play, slot, 9_900))[0] for slot in (0, 1)]
        await play.ledger.warp(play.ledger.rules.challenge_window_s)
        ledger = anvil_of(play)
        sender = Sender(ledger.network.ethereum, CLIENT, forget, poll_s=POLL_S)
        await sender.send(ledger.network.settlement.call("finalizeMany", NODE.address, (1, 0)))
        changes = [change for change in await record(play) if change.cause is Cause.BATCH]
        assert [change.batch_id for change in changes] == [names[1], names[0]]
        assert [change.counted for change in changes] == [3, 3]


async def test_the_score_names_what_is_behind_it_and_the_jobs_that_are_known() -> None:
    async with played(verifiers=10) as play:
        await play.open_lane()
        name = await passed(play)
        ledger = anvil_of(play)
        view = await explain(play.adapter, NODE.address, ledger.rules.recommended_stake, {name.hex(): ["ab" * 32]})
        assert view is not None
        assert view.score == view.success + view.speed + view.uptime + view.stake - view.penalty
        (batch,) = [change for change in view.changes if change.cause == "batch"]
        assert (batch.batch_id, batch.jobs, batch.score) == (name.hex(), ("ab" * 32,), view.score)
        assert batch.transaction.startswith("0x")
        assert (view.penalised, view.healed, view.left_out) == (0, 0, 0)
        assert await explain(play.adapter, OTHER.address, 1, {}) is None
