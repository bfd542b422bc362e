"""docs/wallet.md works as it stands: its commands, in their order, on a chain with the contracts."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
import trio

from chain.tx.wallet import Key
from protocol.params import VCN
from scripts.setup import node_tools
from tests.support.anvil_ledger import AnvilLedger, open_anvil_ledger
from tests.support.jobs import key

pytestmark = pytest.mark.anvil

PAGE = (Path(__file__).resolve().parent.parent.parent / "docs" / "wallet.md").read_text("utf-8")
BLOCK = re.compile(r"^```bash(?: (.+))?\n((?:.*\n)*?)```$", re.MULTILINE)
CLIENT, OWNER, OPERATOR = key("client"), key("owner"), key("operator")
# Values that the page leaves to time, by the title of the block that comes after them.
WAITS = {
    "after unbonding": "cast rpc evm_increaseTime 600; cast rpc evm_mine",
    "after the announcement": "cast rpc evm_increaseTime 900; cast rpc evm_mine",
    "after the lane's clock": "cast rpc evm_increaseTime 60; cast rpc evm_mine",
    "after the seed block": "cast rpc anvil_mine 0x20",
}


def script() -> str:
    blocks = BLOCK.findall(PAGE)
    assert {title for title, _ in blocks if title} == WAITS.keys()
    return "set -euo pipefail\n" + "".join(f"{WAITS.get(title, ':')}\n{commands}" for title, commands in blocks)


def surroundings(ledger: AnvilLedger) -> dict[str, str]:
    at = ledger.deployment.addresses
    keys = {"CLIENT_KEY": CLIENT, "OWNER_KEY": OWNER, "OPERATOR_KEY": OPERATOR}
    return {
        **os.environ,
        "PATH": f"{node_tools.cast().parent}{os.pathsep}{os.environ['PATH']}",
        "ETH_RPC_URL": ledger.chain.url,
        "VCOIN": at.token,
        "SETTLEMENT": at.settlement,
        "STAKES": at.stakes,
        "COURT": at.court,
        "BEACON": at.beacon,
        **{name: secret(owner) for name, owner in keys.items()},
    }


def secret(owner: Key) -> str:
    return f"0x{owner.secret.hex()}"


async def test_every_command_of_the_page_works(tmp_path: Path) -> None:
    async with open_anvil_ledger() as ledger:
        for person in (CLIENT, OWNER):
            await ledger.give(person)
        await ledger.controls.enrich(OPERATOR)
        said = tmp_path / "said"
        with trio.fail_after(60), said.open("wb") as output:
            done = await trio.run_process(
                ["bash", "-c", script()],
                env=surroundings(ledger),
                stdout=output,
                stderr=subprocess.STDOUT,
                check=False,
            )
        assert done.returncode == 0, said.read_text("utf-8")[-2_000:]
        network, node = ledger.network, await ledger.network.stakes.node_of(OPERATOR.address)
        assert node is not None
        assert (node.owner, node.active_stake, node.unbonding_stake) == (OWNER.address, 6_430 * VCN, 20 * VCN)
        assert node.payout == CLIENT.address
        assert [slot.node for slot in await network.court.verifiers_of(1)] == [OPERATOR.address]
        assert (await network.settlement.account_of(CLIENT.address)).free == 90 * VCN
        lane = await network.settlement.lane_of(CLIENT.address, CLIENT.address, OPERATOR.address)
        assert (lane.left, lane.mark, lane.closing) == (0, 20 * VCN, True)
