"""`vcoin case list`: every case that the chain tells of, without a daemon."""

from __future__ import annotations

from pathlib import Path

import pytest

from protocol.effects import VoidStarved
from protocol.events import BatchSubmitted
from tests.support.cli_harness import desk_at
from tests.support.scenes.ledgers import NODE, VERIFIERS
from tests.support.trials import anvil_of, in_court, judged, played

pytestmark = pytest.mark.anvil


async def test_cases_are_listed_open_and_closed_of_all_or_of_one(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with played(verifiers=10) as play:
        ledger = anvil_of(play)
        desk = desk_at(ledger, tmp_path, capsys, monkeypatch)
        assert (await desk.vcoin("case", "list", "--json")).json == []
        await play.open_lane()
        closed, _ = await judged(play, 0, 9_900)
        open_, *_ = await in_court(play, 1)
        first, second = (await desk.vcoin("case", "list", "--json")).json
        assert (first["id"], first["state"], first["verdict"], first["median_bps"]) == (
            closed.hex(),
            "closed",
            "pass",
            9_900,
        )
        assert (second["id"], second["state"], second["verdict"], second["seats"]) == (open_.hex(), "open", "", 3)
        assert (second["slot"], second["until"] > 0, first["until"]) == (1, True, 0)
        assert [each["id"] for each in (await desk.vcoin("case", "list", "--open", "--json")).json] == [open_.hex()]
        for node, count in ((NODE, 2), (VERIFIERS[0], 0)):
            listed = (await desk.vcoin("case", "list", "--node", node.address, "--json")).json
            assert len(listed) == count
        head, *rows = (await desk.vcoin("case", "list")).out.splitlines()
        assert head.split()[:3] == ["CASE", "NODE", "BLOCK"]
        assert [row.split()[0] for row in rows] == [closed.hex()[:16], open_.hex()[:16]]


async def test_a_batch_that_no_court_heard_is_a_closed_case(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with played(verifiers=3) as play:
        ledger = anvil_of(play)
        desk = desk_at(ledger, tmp_path, capsys, monkeypatch)
        await play.open_lane()
        _, mined = await play.submit()
        await play.seal(mined)
        await play.final()
        contents = (await play.story.until(BatchSubmitted)).contents
        await ledger.warp(ledger.rules.starved_s + 1)
        await play.adapter.perform(VoidStarved(mined.batch_id, NODE.address, 0, contents))
        (case,) = (await desk.vcoin("case", "list", "--json")).json
        assert (case["node"], case["state"], case["verdict"], case["seats"]) == (NODE.address, "closed", "starved", 0)
        assert (await desk.vcoin("case", "list", "--open", "--json")).json == []
