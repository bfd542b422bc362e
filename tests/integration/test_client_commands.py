"""A client's acts by commands from a wallet of its own, whose key no node holds."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from node.api.faults import Exit
from protocol.params import VCN
from tests.support.anvil_ledger import WEALTH
from tests.support.cli_harness import Desk, open_desk
from tests.support.jobs import key

pytestmark = pytest.mark.anvil

CLIENT, FRIEND, SIGNER = key("client"), key("friend"), key("signer")


@pytest.fixture
async def desk(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Desk]:
    async with open_desk(tmp_path, capsys, monkeypatch) as opened:
        await opened.ledger.give(FRIEND)
        yield opened


async def test_somebody_pays_into_a_clients_account(desk: Desk) -> None:
    settlement = desk.ledger.network.settlement
    ran = await desk.by(FRIEND, "account", "give", CLIENT.address, "12.5", "--json")
    assert ran.code == Exit.OK, ran.err
    assert [call["function"] for call in ran.json["calls"]] == ["approve", "depositFor"]
    assert [(each["name"], each["after_wei"]) for each in ran.json["balances"]] == [
        ("account", str(25 * VCN // 2)),
        ("wallet", str(WEALTH - 25 * VCN // 2)),
    ]
    assert (await settlement.account_of(CLIENT.address)).free == 25 * VCN // 2
    assert (await desk.ledger.actions(FRIEND).balances()).coins == WEALTH - 25 * VCN // 2


async def test_a_hot_key_is_given_a_budget_and_a_time(desk: Desk) -> None:
    await desk.done(FRIEND, "account", "signer", SIGNER.address, "30", "--lasts", "2d")
    budget, expiry = await desk.ledger.network.settlement.read("signerOf", FRIEND.address, SIGNER.address)
    _, now = await desk.ledger.now()
    assert budget == 30 * VCN
    assert 0 <= now + 2 * 86_400 - expiry < 60
