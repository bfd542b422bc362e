"""Acts of a node's owner by commands: terms, keys, classes, jail, signs of life, the verifiers' lists."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from chain.abi.enums import NodeState
from chain.contracts.stakes import StakedNode
from node.api.faults import Exit
from node.wallet.home import Home, found
from protocol.params import VCN
from tests.support.anvil_ledger import WEALTH, owner_of
from tests.support.cli_harness import FAST, Desk, desk_at, open_desk
from tests.support.jobs import CLASS, key
from tests.support.scenes.ledgers import NODE
from tests.support.trials import anvil_of, convicted, played

pytestmark = pytest.mark.anvil

OWNER, FRIEND, OTHER = owner_of(NODE), key("friend"), key("other node")
ABOUT = ("--node", NODE.address)


@pytest.fixture
async def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, capsys, monkeypatch) as opened:
        await opened.ledger.register(NODE)
        await opened.ledger.give(FRIEND)
        yield opened


async def node_of(desk: Desk) -> StakedNode:
    node = await desk.ledger.network.stakes.node_of(NODE.address)
    assert node is not None
    return node


async def test_a_commission_is_announced_called_off_announced_again_and_in_force(desk: Desk) -> None:
    stakes = desk.ledger.network.stakes
    shown = await desk.vcoin(
        "node", "commission", "announce", "12.5", *ABOUT, "--key", desk.file_of(OWNER), "--dry-run"
    )
    assert shown.code == Exit.OK, shown.err
    assert f"StakeManager.setCommission(id={NODE.address}, commissionBps=1250)" in shown.out
    assert f"wallet: {WEALTH // VCN - 10_000} VCN > {WEALTH // VCN - 10_000} VCN" in shown.out
    assert (await stakes.terms_of(NODE.address)).commission_at_s == 0, "only shown"
    await desk.done(OWNER, "node", "commission", "announce", "12.5", *ABOUT)
    assert (await stakes.terms_of(NODE.address)).next_commission_bps == 1_250
    await desk.done(OWNER, "node", "commission", "cancel", *ABOUT)
    confirm = ("node", "commission", "confirm", *ABOUT)
    assert "announce it first" in await desk.refused(FRIEND, "NothingAnnounced", *confirm)
    await desk.done(OWNER, "node", "commission", "announce", "7", *ABOUT)
    assert "wait" in await desk.refused(FRIEND, "NotYet", *confirm)
    await desk.ledger.warp(901)
    await desk.done(FRIEND, *confirm)
    assert (await stakes.terms_of(NODE.address)).commission_bps == 700
    assert "wallet that registered" in await desk.refused(
        FRIEND, "NotOwner", "node", "commission", "announce", "50", *ABOUT
    )


async def test_a_payout_is_announced_and_called_off_by_who_is_paid(desk: Desk) -> None:
    for step in ("announce", "confirm"):
        rest = (FRIEND.address,) if step == "announce" else ()
        await desk.done(OWNER, "node", "payout", step, *rest, *ABOUT)
        await desk.ledger.warp(901)
    assert (await node_of(desk)).payout == FRIEND.address
    await desk.done(OWNER, "node", "payout", "announce", OTHER.address, *ABOUT)
    await desk.done(FRIEND, "node", "payout", "cancel", *ABOUT)
    assert (await desk.ledger.network.stakes.terms_of(NODE.address)).payout_at_s == 0
    await desk.done(OWNER, "node", "payout", "announce", OTHER.address, *ABOUT)
    await desk.ledger.give(OTHER)
    assert "who is paid now" in await desk.refused(OTHER, "NotOwnerOrPayout", "node", "payout", "cancel", *ABOUT)


async def test_a_node_with_another_operator_key_is_still_the_node_here(desk: Desk) -> None:
    """The data directory of a node holds its operator key; after a rotation that is no longer its id."""
    made = found(Home(desk.folder / "node"), {}, "secret", iterations=FAST)
    new = str(made.home.operator_key)
    await desk.done(OWNER, "node", "rotate", new, *ABOUT)
    assert (await node_of(desk)).operator == made.operator
    await desk.done(
        OWNER,
        "node",
        "classes",
        "1",
    )
    assert (await node_of(desk)).class_mask == 1 << 1
    assert (await desk.vcoin("stake", "show", "--staker", OWNER.address, "--json")).json["node_id"] == NODE.address
    taken = await desk.by(OWNER, "node", "rotate", new, *ABOUT)
    assert (taken.code, "OperatorTaken" in taken.err) == (Exit.REVERTED, True)


async def test_a_new_node_is_registered_with_a_commission_of_its_own(desk: Desk) -> None:
    made = found(Home(desk.folder / "node"), {}, "secret", iterations=FAST)
    keys = ("--owner-key", desk.file_of(FRIEND), "--commission", "3.5")
    ran = await desk.vcoin("stake", "deposit", "5000", *keys, "--yes", "--json")
    assert ran.code == Exit.OK, ran.err
    assert ran.json["calls"][0]["function"] == "registerWithCommission"
    assert (await desk.ledger.network.stakes.terms_of(made.operator)).commission_bps == 350
    later = await desk.vcoin("stake", "deposit", "5", *keys, "--yes")
    assert (later.code, "hint: vcoin node commission announce" in later.err) == (Exit.USAGE, True)


async def test_other_classes_are_set_and_unknown_ones_refused(desk: Desk) -> None:
    await desk.done(OWNER, "node", "classes", "2,1,2", *ABOUT)
    assert (await node_of(desk)).class_mask == 0b110
    assert "vcoin params show" in await desk.refused(OWNER, "BadClasses", "node", "classes", "9", *ABOUT)


async def test_a_node_asks_another_for_a_sign_and_has_its_bond_back(desk: Desk) -> None:
    await desk.ledger.register(OTHER)
    asker, asked = owner_of(OTHER), NODE.address
    ran = await desk.by(asker, "node", "liveness", "challenge", asked, "--node", OTHER.address, "--json")
    assert [call["function"] for call in ran.json["calls"]] == ["approve", "challengeLiveness"]
    assert [(each["name"], each["after_wei"]) for each in ran.json["balances"]] == [
        ("wallet", str(WEALTH - 10_010 * VCN)),
        ("bond", str(10 * VCN)),
    ]
    assert (await desk.ledger.actions(asker).balances()).coins == WEALTH - 10_010 * VCN
    await desk.refused(asker, "AlreadyChallenged", "node", "liveness", "challenge", asked, "--node", OTHER.address)
    await desk.refused(FRIEND, "NotYet", "node", "liveness", "miss", asked, "--challenger", asker.address)
    await desk.ledger.warp(301)
    await desk.done(FRIEND, "node", "liveness", "miss", asked, "--challenger", asker.address)
    assert (await desk.ledger.actions(asker).balances()).coins == WEALTH - 10_000 * VCN
    await desk.refused(asker, "NotChallenged", "node", "liveness", "miss", asked)


async def test_an_operator_answers_and_counts_the_day_by_hand(desk: Desk) -> None:
    await desk.ledger.register(OTHER)
    asker = owner_of(OTHER)
    await desk.done(asker, "node", "liveness", "challenge", NODE.address, "--node", OTHER.address)
    answer = ("node", "liveness", "answer", asker.address, *ABOUT)
    assert "operator key" in await desk.refused(OWNER, "NotOperator", *answer)
    await desk.done(NODE, *answer)
    assert (await desk.ledger.actions(OWNER).balances()).coins == WEALTH - 9_990 * VCN, "the bond is the payout's"
    await desk.done(NODE, "node", "liveness", "check-in", *ABOUT)
    assert (await node_of(desk)).check_in_days == 1
    assert "counted already" in await desk.refused(NODE, "SameDay", "node", "liveness", "check-in", *ABOUT)


async def test_absence_is_charged_by_anyone(desk: Desk) -> None:
    await desk.refused(FRIEND, "NotOffline", "node", "liveness", "charge", NODE.address)
    await desk.ledger.warp(8 * 86_400)
    await desk.done(FRIEND, "node", "liveness", "charge", NODE.address)
    assert 0 <= 9_900 * VCN - (await node_of(desk)).active_stake <= 1


async def test_a_verifier_joins_is_listed_and_leaves(desk: Desk) -> None:
    assert (await desk.vcoin("verifier", "list", "--json")).json == []
    await desk.done(NODE, "verifier", "join", "1", *ABOUT)
    (listed,) = (await desk.vcoin("verifier", "list", "--json")).json
    assert (listed["class_id"], listed["node"]) == (CLASS, NODE.address)
    assert NODE.address in (await desk.vcoin("verifier", "list")).out
    assert "list already" in await desk.refused(OWNER, "AlreadyJoined", "verifier", "join", "1", *ABOUT)
    assert "vcoin node classes" in await desk.refused(OWNER, "ClassNotRun", "verifier", "join", "2", *ABOUT)
    assert "owner or operator" in await desk.refused(FRIEND, "NotOfNode", "verifier", "leave", "1", *ABOUT)
    await desk.done(OWNER, "verifier", "leave", "1", *ABOUT)
    assert (await desk.vcoin("verifier", "list", "--json")).json == []


async def test_a_jailed_node_comes_back_by_its_owner_and_is_told_why_not_before(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with played(verifiers=10) as play:
        ledger = anvil_of(play)
        desk = desk_at(ledger, tmp_path, capsys, monkeypatch)
        assert "not in jail" in await desk.refused(OWNER, "NotJailed", "node", "unjail", *ABOUT)
        await play.open_lane()
        name = await convicted(play)
        (case,) = (await desk.vcoin("case", "list", "--json")).json
        assert (case["id"], case["state"], case["verdict"]) == (name.hex(), "closed", "severe")
        assert "time in jail" in await desk.refused(OWNER, "StillJailed", "node", "unjail", *ABOUT)
        await ledger.warp((await ledger.network.params.profile()).jail_seconds)
        await desk.done(OWNER, "node", "unjail", *ABOUT)
        assert (await node_of(desk)).state is NodeState.ACTIVE
