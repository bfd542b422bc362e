"""`vcoin case review` on a real chain, by people who hold nothing of the case but its id."""

from __future__ import annotations

from pathlib import Path

import pytest

from chain.contracts.panel import Panel
from node.api.faults import Exit
from tests.support.anvil_ledger import DEPLOYER
from tests.support.cli_harness import desk_at
from tests.support.jobs import key
from tests.support.scenes.ledgers import NODE
from tests.support.trials import anvil_of, judged, played

pytestmark = pytest.mark.anvil
ARBITERS = [key(f"arbiter {number}") for number in range(3)]


async def test_an_arbiter_sees_scores_deadline_default_and_the_command_to_rule(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with played(verifiers=3) as play:
        ledger = anvil_of(play)
        desk, network = desk_at(ledger, tmp_path, capsys, monkeypatch), ledger.network
        panel = Panel(network.ethereum, await network.court.panel_address())
        named, delay = panel.set_arbiters(tuple(each.address for each in ARBITERS), 2), await network.timelock.delay()
        await ledger.send(DEPLOYER, network.timelock.schedule(named, delay))
        await ledger.warp(delay)
        await ledger.send(DEPLOYER, network.timelock.execute(named))
        await play.open_lane()
        name, _ = await judged(play, 0, 9_300)
        ran = await desk.vcoin("case", "review", name.hex()[:10])
        assert ran.code == Exit.OK, ran.err
        assert "the seats doubt it at a median of 93 %; arbiters decide" in ran.out
        assert "void: the doubt stays" in ran.out
        assert "0 to pass, 0 to void; 2 of 3 decide" in ran.out
        assert f"vcoin panel vote {name.hex()[:16]} --pass" in ran.out
        assert "not here: the content of leaf 0, 1, 2" in ran.out.replace("\n", " ")
        assert ran.err == ("no daemon runs here, so what this node holds of the leaves is not shown: vcoin node run\n")
        await ledger.controls.enrich(*ARBITERS)
        for person in ARBITERS[:2]:
            await desk.done(person, "panel", "vote", name.hex()[:16], "--pass")
        found = (await desk.vcoin("case", "review", name.hex(), "--json")).json
        assert (found["state"], found["verdict"], found["until"], found["default"]) == ("closed", "pass", 0, "")
        assert (found["node"], found["votes"]["passes"]) == (NODE.address, 2)
        assert [seat["scores"] for seat in found["seats"]] == [[9_300] * 3] * 3
        nothing = await desk.vcoin("case", "review", name.hex(), "--rerun")
        assert (nothing.code, "holds no answer" in nothing.err) == (Exit.FAILED, True)
        unknown = await desk.vcoin("case", "review", "ffffffff")
        assert (unknown.code, unknown.err) == (Exit.FAILED, "error: no case 'ffffffff'\nhint: vcoin case list\n")
