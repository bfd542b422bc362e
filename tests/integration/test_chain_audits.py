"""Audits on a real chain: what is drawn, who audits, and what becomes of seats that are caught."""

from dataclasses import replace
from pathlib import Path

import pytest

from chain.abi.enums import BatchState, SeatState
from chain.contracts.audits import AuditSeen
from protocol.effects import FinalizeBatch
from protocol.errors import Reverted
from protocol.params import AUDITORS, VCN
from protocol.stages.sampling import draw_order, epoch_of, is_audited
from protocol.stages.verification import NOTHING_SHOWN_BPS
from protocol.wire.ids import Address
from tests.support.cli_harness import desk_at
from tests.support.jobs import CLASS
from tests.support.scenes.chain_audits import ANYBODY, drawn_for_audit, hear, passed
from tests.support.scenes.chain_courts import NODE, TICKETS, Hearing, hearing

pytestmark = pytest.mark.anvil


async def stake_of(at: Hearing, node: Address) -> int:
    shown = await at.ledger.network.stakes.node_of(node)
    assert shown is not None
    return shown.active_stake


async def test_what_is_audited_and_by_whom_is_what_python_draws() -> None:
    async with hearing() as at:
        network = at.ledger.network
        case = await passed(at)
        head, _ = await at.ledger.now()
        with pytest.raises(Reverted, match="NoSeed"):
            await network.audits.read("isDrawn", at.name)
        epoch = await drawn_for_audit(at)
        assert epoch == epoch_of(head, at.ledger.rules.epoch)
        assert (await network.court.case_of(at.name)).next_try == epoch
        seed = (await network.beacon.seed_of(epoch)).value
        assert seed is not None
        assert is_audited(seed, at.name)
        slots = await network.court.verifiers_of(CLASS)
        excluded = frozenset({NODE.address, *case.seats})
        order = draw_order(seed, at.name, at.block, slots, excluded, AUDITORS * TICKETS, epoch)
        expected = tuple(order[:AUDITORS])
        assert await network.audits.preview(NODE.address, 0, at.contents) == expected
        await at.ledger.send(ANYBODY, network.audits.convene(NODE.address, 0, at.contents))
        auditors = await network.audits.auditors_of(at.name)
        assert tuple(each.node for each in auditors) == expected
        assert {each.state for each in auditors} == {SeatState.DRAWN}
        audit = await network.audits.audit_of(at.name)
        assert (audit.node, audit.slot, audit.ended) == (NODE.address, 0, False)
        assert audit.due > 0
        assert (await network.settlement.batch_of(NODE.address, 0)).state is BatchState.AUDITED


async def test_seats_that_always_say_yes_are_caught_and_the_log_tells_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with hearing() as at:
        network = at.ledger.network
        desk = desk_at(at.ledger, tmp_path, capsys, monkeypatch)
        assert (await desk.vcoin("case", "audits", "--json")).json == []
        case = await passed(at)
        await drawn_for_audit(at)
        before = {seat: await stake_of(at, seat) for seat in case.seats}
        head, _ = await at.ledger.now()
        auditors = await network.audits.preview(NODE.address, 0, at.contents)
        await at.ledger.send(ANYBODY, network.audits.convene(NODE.address, 0, at.contents))
        (begun,) = await network.audits.seen(head, head + 1)
        assert begun == AuditSeen(at.name, NODE.address, 0, head + 1, auditors)
        await at.ledger.warp(at.ledger.rules.challenge_window_s)
        # Its own node cannot have it final now.
        with pytest.raises(Reverted, match="WrongState"):
            await at.ledger.send(ANYBODY, network.settlement.finalize(NODE.address, 0))
        await hear(at, auditors, (0, 2), 9_800)
        last, _ = await at.ledger.now()
        assert await network.audits.seen(head, last) == [replace(begun, ended=True, caught=(0, 2))]
        for number, seat in enumerate(case.seats):
            assert before[seat] - await stake_of(at, seat) == (before[seat] // 20 if number != 1 else 0)
        (shown,) = (await desk.vcoin("case", "audits", "--json")).json
        assert (shown["id"], shown["ended"], shown["caught"], shown["fraud"]) == (at.name.hex(), True, [0, 2], False)
        _, row = (await desk.vcoin("case", "audits", "--node", NODE.address)).out.splitlines()
        assert (row.split()[0], row.split()[2]) == (at.name.hex()[:16], str(head + 1))
        assert (await desk.vcoin("case", "audits", "--node", auditors[0], "--json")).json == []
        await at.adapter.perform(FinalizeBatch(at.name, NODE.address, 0))
        assert (await network.settlement.batch_of(NODE.address, 0)).state is BatchState.FINAL


async def test_who_was_shown_nothing_says_so_and_condemns_nobody() -> None:
    async with hearing() as at:
        network = at.ledger.network
        await passed(at)
        await drawn_for_audit(at)
        auditors = await network.audits.preview(NODE.address, 0, at.contents)
        await at.ledger.send(ANYBODY, network.audits.convene(NODE.address, 0, at.contents))
        await hear(at, auditors, (0, 1, 2), NOTHING_SHOWN_BPS)
        assert (await network.settlement.batch_of(NODE.address, 0)).state is BatchState.PASSED
        assert await stake_of(at, NODE.address) == 10_000 * VCN


async def test_what_is_not_drawn_is_refused() -> None:
    async with hearing() as at:
        audits = at.ledger.network.audits
        await passed(at)
        await drawn_for_audit(at, wanted=False)
        with pytest.raises(Reverted, match="NotDrawn"):
            await at.ledger.send(ANYBODY, audits.convene(NODE.address, 0, at.contents))
        assert await audits.auditors_of(at.name) == []
        assert (await audits.audit_of(at.name)).since == 0
