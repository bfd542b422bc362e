"""Acts of arbiters, keeper and proposers by commands, and the public view of waiting operations."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import replace
from importlib.resources import files
from pathlib import Path

import pytest

from chain.calibration.files import packaged
from chain.tx.transactions import Sender
from node.api.faults import Exit
from protocol.params import VCN
from protocol.wire.ids import ZERO_ADDRESS
from tests.support.anvil_ledger import DEPLOYER, POLL_S, RUNTIME, forget
from tests.support.cli_harness import Desk, desk_at, open_desk
from tests.support.jobs import key
from tests.support.scenes.ledgers import CLIENT, NODE
from tests.support.trials import anvil_of, judged, passed, played

pytestmark = pytest.mark.anvil

ANYBODY, OTHER = key("anybody"), key("other")
ARBITERS = [key(f"arbiter {number}") for number in range(3)]


@pytest.fixture
async def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, capsys, monkeypatch) as opened:
        await opened.ledger.controls.enrich(ANYBODY, OTHER)
        yield opened


async def carried_out(desk: Desk, *proposal: str) -> None:
    """Proposed by the deployer, then carried out by anybody once its time has come."""
    await desk.done(DEPLOYER, "timelock", "propose", *proposal)
    (waiting,) = (await desk.vcoin("timelock", "show", "--json")).json["proposals"]
    await desk.ledger.warp(await desk.ledger.network.timelock.delay())
    await desk.done(ANYBODY, "timelock", "execute", waiting["id"][:12])


# ---- timelock


async def test_a_class_is_proposed_shown_and_carried_out_by_anybody(desk: Desk) -> None:
    terms = ("class", "7", "cuda-sm80", "--runtime", RUNTIME.hex(), "--dtype", "bf16", "--isa", "sm80")
    shown = await desk.vcoin("timelock", "propose", *terms, "--key", desk.file_of(DEPLOYER), "--dry-run")
    assert shown.code == Exit.OK, shown.err
    assert f"data=addClass(class_=(7, cuda-sm80, 0x{RUNTIME.hex()}, bf16, sm80))" in shown.out
    assert (await desk.vcoin("timelock", "show", "--json")).json["proposals"] == []
    await desk.done(DEPLOYER, "timelock", "propose", *terms)
    (waiting,) = (await desk.vcoin("timelock", "show", "--json")).json["proposals"]
    assert (waiting["calls"][0].startswith("Params.addClass("), waiting["is_ready"]) == (True, False)
    prefix = waiting["id"][:10]
    assert "vcoin timelock show" in await desk.refused(
        ANYBODY, "TimelockUnexpectedOperationState", "timelock", "execute", prefix
    )
    await desk.ledger.warp(900)
    text = (await desk.vcoin("timelock", "show")).out
    assert f"{waiting['id'][:18]}  now    Params.addClass(" in text
    await desk.done(ANYBODY, "timelock", "execute", prefix)
    assert [row.id for row in await desk.ledger.network.params.classes()] == [1, 2, 7]
    gone = await desk.by(ANYBODY, "timelock", "execute", prefix)
    assert (gone.code, "nothing waits" in gone.err) == (Exit.FAILED, True)
    again = await desk.refused(DEPLOYER, "ClassExists", "timelock", "propose", *terms)
    assert "take another number" in again, "not after sixteen days of waiting"


async def test_a_proposal_is_struck_out_and_may_be_made_again(desk: Desk) -> None:
    keeper = ("timelock", "propose", "keeper", OTHER.address)
    await desk.done(DEPLOYER, *keeper)
    assert "--salt" in await desk.refused(DEPLOYER, "TimelockUnexpectedOperationState", *keeper)
    (waiting,) = (await desk.vcoin("timelock", "show", "--json")).json["proposals"]
    assert "no such role" in await desk.refused(
        ANYBODY, "AccessControlUnauthorizedAccount", "timelock", "cancel", waiting["id"]
    )
    await desk.done(DEPLOYER, *keeper, "--salt", "7")
    first, second = (await desk.vcoin("timelock", "show", "--json")).json["proposals"]
    assert first["calls"] == second["calls"]
    await desk.done(DEPLOYER, "timelock", "cancel", first["id"])
    assert (await desk.vcoin("timelock", "show", "--json")).json["proposals"] == [second]
    await desk.ledger.warp(900)
    await desk.done(ANYBODY, "timelock", "execute", second["id"])
    assert (await desk.ledger.network.guardian.pausing()).keeper == OTHER.address


async def test_only_a_proposer_proposes(desk: Desk) -> None:
    hint = await desk.refused(
        ANYBODY, "AccessControlUnauthorizedAccount", "timelock", "propose", "keeper", OTHER.address
    )
    assert hint == "this wallet has no such role: vcoin timelock show names who has"
    roles = (await desk.vcoin("timelock", "show", "--json")).json["roles"]
    assert [(each["role"], each["account"]) for each in roles] == [
        ("proposer", DEPLOYER.address),
        ("canceller", DEPLOYER.address),
        ("executor", ZERO_ADDRESS),
    ]
    assert "executor   anybody" in (await desk.vcoin("timelock", "show")).out


async def test_roles_are_given_and_taken_and_the_delay_made_longer(desk: Desk) -> None:
    await carried_out(desk, "role", "grant", "proposer", OTHER.address)
    await carried_out(desk, "delay", "20m")
    assert await desk.ledger.network.timelock.delay() == 1_200
    await desk.done(OTHER, "timelock", "propose", "role", "revoke", "proposer", DEPLOYER.address)
    (waiting,) = (await desk.vcoin("timelock", "show", "--json")).json["proposals"]
    await desk.ledger.warp(1_200)
    await desk.done(ANYBODY, "timelock", "execute", waiting["id"])
    roles = (await desk.vcoin("timelock", "show", "--json")).json["roles"]
    assert [each["account"] for each in roles if each["role"] == "proposer"] == [OTHER.address]
    short = await desk.refused(OTHER, "DelayTooShort", "timelock", "propose", "delay", "14m")
    assert short == "the delay of deployment is the shortest"


async def test_a_batch_of_calls_is_shown_and_carried_out_as_one(desk: Desk) -> None:
    network = desk.ledger.network
    calls = (network.guardian.set_keeper(OTHER.address), network.timelock.update_delay(1_000))
    parts = [tuple(part) for part in zip(*((call.to, 0, call.data) for call in calls), strict=True)]
    proposer = Sender(network.ethereum, DEPLOYER, forget, poll_s=POLL_S)
    await proposer.send(network.timelock.call("scheduleBatch", *parts, bytes(32), bytes(32), 900))
    (waiting,) = (await desk.vcoin("timelock", "show", "--json")).json["proposals"]
    assert [call.partition("(")[0] for call in waiting["calls"]] == ["Guardian.setKeeper", "Timelock.updateDelay"]
    await desk.ledger.warp(900)
    await desk.done(ANYBODY, "timelock", "execute", waiting["id"])
    assert (await network.guardian.pausing()).keeper == OTHER.address
    assert await network.timelock.delay() == 1_000


async def test_a_calibration_is_proposed_from_its_file_and_only_for_its_runner(desk: Desk) -> None:
    (file,) = packaged()
    source = files("chain") / "calibration" / f"{file.manifest.hex()}.json"
    plain = json.loads(source.read_text())
    path = desk.folder / f"{file.manifest.hex()}.json"
    path.write_text(json.dumps(plain))
    terms = ("timelock", "propose", "calibration", str(path), "--device-class", "1")
    other = await desk.by(DEPLOYER, *terms)
    assert (other.code, "has another runner" in other.err) == (Exit.REVERTED, True)
    absent = await desk.by(DEPLOYER, *terms[:-1], "9")
    assert (absent.code, "has no class 9" in absent.err) == (Exit.FAILED, True)
    plain["classes"]["1"]["runtime"] = RUNTIME.hex()
    path.write_text(json.dumps(plain))
    await carried_out(desk, *terms[2:])
    row = await desk.ledger.network.params.row(file.manifest, 1)
    # Of the margin scores the chain has the hash alone.
    assert row is not None
    assert row.calibration == replace(file.classes[1].calibration, margins=None)
    assert row.margin_scores_hash == file.classes[1].margin_scores_hash != bytes(32)
    assert "stays as it is" in await desk.refused(DEPLOYER, "CalibrationExists", *terms)


async def test_a_role_is_given_back_by_who_has_it(desk: Desk) -> None:
    await desk.done(DEPLOYER, "timelock", "renounce", "canceller")
    roles = (await desk.vcoin("timelock", "show", "--json")).json["roles"]
    assert [each["role"] for each in roles] == ["proposer", "executor"]


# ---- coins of the network


async def test_the_pool_is_filled_and_what_is_set_aside_is_burned(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with played(verifiers=3) as play:
        ledger = anvil_of(play)
        desk, settlement = desk_at(ledger, tmp_path, capsys, monkeypatch), ledger.network.settlement
        await play.open_lane()
        await passed(play)
        pool, pending, supply = await settlement.pool(), await settlement.burn_pending(), 10**9 * VCN
        assert pending > 0
        ran = await desk.by(DEPLOYER, "treasury", "fund", "2.5", "--json")
        assert [call["function"] for call in ran.json["calls"]] == ["approve", "fundPool"]
        assert ran.json["balances"][1]["after_wei"] == str(await settlement.pool()) == str(pool + 5 * VCN // 2)
        await desk.done(CLIENT, "treasury", "burn")
        assert await settlement.burn_pending() == 0
        assert await ledger.network.token.total_supply() == supply - pending


# ---- guardian


async def test_the_keeper_pauses_once_a_week_and_may_end_it(desk: Desk) -> None:
    assert "vcoin guardian show" in await desk.refused(ANYBODY, "NotKeeper", "guardian", "pause", "1h")
    assert "72h" in await desk.refused(DEPLOYER, "BadPause", "guardian", "pause", "4d")
    await desk.done(DEPLOYER, "guardian", "pause", "36h")
    seen = (await desk.vcoin("guardian", "show", "--json")).json
    assert (seen["keeper"], seen["is_paused"]) == (DEPLOYER.address, True)
    assert 36 * 3_600 - 60 < seen["paused_until_s"] - seen["now"] <= 36 * 3_600
    assert "paused for 36 h more" in (await desk.vcoin("guardian", "show")).out
    assert "vcoin guardian show" in await desk.refused(DEPLOYER, "PausedLately", "guardian", "pause", "1h")
    await desk.done(DEPLOYER, "guardian", "resume")
    assert not (await desk.vcoin("guardian", "show", "--json")).json["is_paused"]
    assert "taken already" in await desk.refused(DEPLOYER, "NotPaused", "guardian", "resume")


# ---- court


async def test_arbiters_are_named_see_what_waits_and_vote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with played(verifiers=3) as play:
        ledger = anvil_of(play)
        desk = desk_at(ledger, tmp_path, capsys, monkeypatch)
        await ledger.controls.enrich(ANYBODY, *ARBITERS)
        assert "none" in (await desk.vcoin("panel", "show")).out
        people = [person.address for person in ARBITERS]
        few = await desk.refused(DEPLOYER, "BadQuorum", "timelock", "propose", "arbiters", *people, "--quorum", "1")
        assert "more than half" in few
        await carried_out(desk, "arbiters", *people, "--quorum", "2")
        await play.open_lane()
        name, _ = await judged(play, 0, 9_500)
        seen = (await desk.vcoin("panel", "show", "--json")).json
        assert (set(seen["arbiters"]), seen["quorum"]) == (set(people), 2)
        (waiting,) = seen["waiting"]
        assert (waiting["id"], waiting["node"], waiting["median_bps"]) == (name.hex(), NODE.address, 9_500)
        assert waiting["until"] > seen["now"]
        assert "vcoin panel show" in await desk.refused(ANYBODY, "NotArbiter", "panel", "vote", name.hex(), "--pass")
        neither = await desk.by(ARBITERS[0], "panel", "vote", name.hex())
        assert (neither.code, "give one of --pass, --void" in neither.err) == (Exit.USAGE, True)
        await desk.done(ARBITERS[0], "panel", "vote", name.hex()[:8], "--void")
        (waiting,) = (await desk.vcoin("panel", "show", "--json")).json["waiting"]
        assert (waiting["passes"], waiting["voids"]) == (0, 1)
        assert "once a case" in await desk.refused(ARBITERS[0], "AlreadyVoted", "panel", "vote", name.hex(), "--pass")
        await desk.done(ARBITERS[1], "panel", "vote", name.hex(), "--void")
        assert (await ledger.network.court.case_of(name)).verdict.name == "REVIEW"
        assert (await desk.vcoin("panel", "show", "--json")).json["waiting"] == []
        late = await desk.by(ARBITERS[2], "panel", "vote", name.hex(), "--void")
        assert (late.code, "no case waits for arbiters" in late.err) == (Exit.FAILED, True)
