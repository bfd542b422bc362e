"""`vcoin node why-slashed` on a real chain: every blow with what was behind it, and why so much is checked."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.tx.wallet import Key
from node.api.faults import Exit
from protocol.effects import ReplaceSeat
from protocol.params import VCN
from tests.support.anvil_ledger import owner_of
from tests.support.cli_harness import Desk, desk_at
from tests.support.jobs import key
from tests.support.scenes.chain_audits import drawn_for_audit, hear, passed
from tests.support.scenes.chain_courts import NODE as JUDGED
from tests.support.scenes.chain_courts import hearing
from tests.support.scenes.ledgers import CLIENT, NODE
from tests.support.trials import anvil_of, convicted, played

pytestmark = pytest.mark.anvil

Surroundings = tuple[Path, pytest.CaptureFixture[str], pytest.MonkeyPatch]


@pytest.fixture
def around(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Surroundings:
    return tmp_path, capsys, monkeypatch


async def events_of(desk: Desk, node: Key | str) -> list[dict[str, object]]:
    name = node if isinstance(node, str) else node.address
    ran = await desk.vcoin("node", "why-slashed", name, "--json")
    assert ran.code == Exit.OK, ran.err
    events: list[dict[str, object]] = ran.json["events"]
    return events


async def test_a_finding_of_fraud_is_told_with_its_seats_its_cost_and_the_way_out(around: Surroundings) -> None:
    async with played(verifiers=10) as play:
        ledger = anvil_of(play)
        desk = desk_at(ledger, *around)
        await play.open_lane()
        name = await convicted(play)
        (event,) = await events_of(desk, NODE)
        assert (event["cause"], event["verdict"], event["batch_id"]) == ("case", "severe", name.hex())
        assert (event["lost_wei"], event["penalty"], event["median_bps"]) == (str(5_000 * VCN), 3_000, 2_000)
        assert int(str(event["burned_wei"])) + int(str(event["pooled_wei"])) == 5_000 * VCN
        assert [seat["scores"] for seat in event["seats"]] == [[2_000] * 3] * 3  # type: ignore[attr-defined]
        node = await ledger.network.stakes.node_of(NODE.address)
        assert node is not None
        assert event["jailed_until_s"] == node.jailed_until_s > 0
        text = (await desk.vcoin("node", "why-slashed", NODE.address[:8])).out
        assert "ended as severe: fraud" in text
        assert "5000 VCN of the stake, 30.00 points, a lost case in its record, jail until " in text
        assert text.count("2000 bp on leaf 0 of 3 drawn") == 3
        assert f"vcoin case review {name.hex()[:8]}" in text
        assert "100 % of its jobs: on probation, as every new node" in text
        # Out of jail, it begins anew.
        await ledger.warp((await ledger.network.params.profile()).jail_seconds)
        await ledger.actions(owner_of(NODE)).unjail(NODE.address)
        again = await desk.vcoin("node", "why-slashed", NODE.address)
        assert ": it left jail\n" in again.out
        assert "state    active" in again.out
        assert "ends with 20 more jobs that count" in again.out


async def test_a_silent_seat_and_an_honest_node_beside_it(around: Surroundings) -> None:
    async with played(verifiers=5) as play:
        ledger = anvil_of(play)
        desk = desk_at(ledger, *around)
        await play.open_lane()
        name, contents, case = await play.convene()
        silent = case.seats[1]
        await play.commit(name, 0, case.seats[0])
        await play.ledger.warp(play.ledger.rules.seat_window_s + 1)
        await play.adapter.perform(ReplaceSeat(name, 1, contents))
        (event,) = await events_of(desk, silent)
        assert event["words"] == f"it was silent on seat 1 of case {name.hex()[:8]}"
        assert (event["lost_wei"], event["penalty"], event["jailed_until_s"]) == (str(50 * VCN), 500, 0)
        assert [seat["silent"] for seat in event["seats"]][:2] == [False, True]  # type: ignore[attr-defined]
        assert await events_of(desk, NODE) == []
        text = (await desk.vcoin("node", "why-slashed", NODE.address)).out
        assert "nothing was ever taken from it" in text


async def test_a_seat_that_an_audit_caught_knows_why(around: Surroundings) -> None:
    async with hearing() as at:
        desk, network = desk_at(at.ledger, *around), at.ledger.network
        case = await passed(at)
        await drawn_for_audit(at)
        auditors = await network.audits.preview(JUDGED.address, 0, at.contents)
        await at.ledger.send(key("anybody"), network.audits.convene(JUDGED.address, 0, at.contents))
        await hear(at, auditors, (0,), 9_800)
        (event,) = await events_of(desk, case.seats[0])
        assert (event["cause"], event["batch_id"]) == ("audit", at.name.hex())
        assert "its seat had not computed what it was bound to" in str(event["words"])
        assert int(str(event["lost_wei"])) > 0
        text = (await desk.vcoin("node", "why-slashed", case.seats[0])).out
        assert "two auditors or more computed the leaves again" in text
        assert "the median is" not in text
        assert await events_of(desk, case.seats[1]) == []
        assert await events_of(desk, auditors[0]) == []


async def test_days_away_and_the_end_of_a_probation_are_told(around: Surroundings) -> None:
    async with played() as play:
        ledger = anvil_of(play)
        desk = desk_at(ledger, *around)
        await ledger.graduate(NODE)
        (raised,) = await events_of(desk, NODE)
        assert (raised["rate_before_bps"], raised["rate_after_bps"]) == (10_000, 1_000)
        await ledger.warp(9 * 86_400)
        await ledger.actions(CLIENT).penalize_offline(NODE.address)
        _, away = await events_of(desk, NODE)
        assert "away for more than a week" in str(away["words"])
        assert away["lost_wei"] == away["burned_wei"]
        text = (await desk.vcoin("node", "why-slashed", NODE.address)).out
        assert "10 % of its jobs, as of every node in good standing" in text
        assert "100 % of its jobs before, 10 % after" in text


async def test_a_node_that_nobody_knows_is_refused_with_the_way_to_find_one(around: Surroundings) -> None:
    async with played() as play:
        desk = desk_at(anvil_of(play), *around)
        for name in (CLIENT.address, "0xffffffff"):
            ran = await desk.vcoin("node", "why-slashed", name)
            assert (ran.code, ran.out) == (Exit.FAILED, ""), ran.err
            assert ran.err.splitlines() == [f"error: no node '{name}'", "hint: vcoin status --nodes"]
        short = await desk.vcoin("node", "why-slashed", "0x")
        assert (short.code, "too short" in short.err) == (Exit.USAGE, True)
        homeless = await desk.vcoin("node", "why-slashed")
        assert (homeless.code, "vcoin node init makes one" in homeless.err) == (Exit.BAD_CONFIG, True)
