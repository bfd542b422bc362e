"""The proof of a job that went from bid to pay between whole nodes: written by both sides, checked by anybody."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import trio

from node.api.views import JobView
from node.cli.commands.proof import checked
from node.daemon.node import Node
from protocol.proof.check import CheckOutcome
from protocol.wire import document
from tests.support.scenes.daemon_jobs import ASK, heard, network, place, until
from tests.support.scenes.daemons import REPOSITORY, Place
from tests.unit.node.cli.conftest import Ran

pytestmark = [pytest.mark.anvil, pytest.mark.libp2p, pytest.mark.slow]

__all__ = ["place"]
PAGE = (REPOSITORY / "docs" / "verify.md").read_text("utf-8")
BLOCK = re.compile(r"^```bash\n((?:.*\n)*?)```$", re.MULTILINE)
CUT_OFF = """
import socket, sys

def refuse(*_):
    raise SystemExit("the check wanted a network")

socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from node.cli import main
sys.exit(main(sys.argv[1:]))
"""
CLAIMED = "the quick brown fox jumps over the lazy dog"
LACKED_BY_A_REQUESTER = {"commitment opened", "margins"}
CONTENT = {"content key", "input", "answer", "answer sealed", "fingerprint", "charge"}


def surroundings(**names: str) -> dict[str, str]:
    """Of a user who has nothing of vcoin's but what is named here."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("VCOIN_")}
    return {**kept, "HOME": "/nowhere", "PYTHONPATH": str(REPOSITORY), **names}


def settings_of(place: Place) -> dict[str, str]:
    """The network, as a node's settings name it."""
    return {"VCOIN_CHAIN_DEPLOYMENT": str(place.deployment), "VCOIN_CHAIN_RPC_URLS": place.ledger.chain.url}


def alone(*arguments: str) -> Ran:
    """A command in a process of its own, which may reach nothing."""
    command = [sys.executable, "-c", CUT_OFF, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=surroundings())
    return Ran(done.returncode, done.stdout, done.stderr)


async def read_page(node: Node, place: Place, paid: JobView, folder: Path) -> None:
    """Do what docs/verify.md says, as the user of a node."""
    script = 'set -euo pipefail\nvcoin() { "$PYTHON" -m node.cli "$@"; }\n' + "".join(BLOCK.findall(PAGE))
    environment = surroundings(
        PYTHON=sys.executable,
        VCOIN_NODE_DATA_DIR=str(node.parts.config.node.data_dir),
        JOB=paid.id[:12],
        ETH_RPC_URL=place.ledger.chain.url,
        DEPLOYMENT=str(place.deployment),
        NODE=paid.node,
        CASE=paid.batch_id[:12],
        **settings_of(place),
    )
    said = folder / "said"
    with trio.fail_after(60), said.open("wb") as output:
        done = await trio.run_process(
            ["bash", "-c", script], env=environment, cwd=folder, stdout=output, stderr=subprocess.STDOUT, check=False
        )
    assert done.returncode == 0, said.read_text("utf-8")[-3_000:]


def lacking(file: Path) -> set[str]:
    """The absent parts of a file without faults."""
    _, checks = checked(file.read_bytes(), file.name)
    assert {check.outcome for check in checks} <= {CheckOutcome.OK, CheckOutcome.ABSENT}
    return {check.name for check in checks if check.outcome is CheckOutcome.ABSENT}


async def test_both_sides_of_a_paid_job_prove_it_to_anybody(place: Place, tmp_path: Path) -> None:
    bought, sold, forged = tmp_path, tmp_path / "sold.json", tmp_path / "forged.json"
    async with network(place) as cast:
        await heard(cast.asker, 1)
        # Both go into one batch, where the node's batch age allows it.
        job, _ = [await cast.asker.backend.ask_job(ASK) for _ in range(2)]
        await until(cast.asker, job, lambda view: view.state == "delivered", 60)
        early = await cast.asker.backend.job_proof(job, with_content=False)
        assert {"papers", "model", "noise"} <= set(early)
        assert "pay" not in early
        paid = await until(cast.asker, job, lambda view: view.ended, 120)
        await until(cast.provider, job, lambda view: view.ended, 30)
        assert paid.state == "spendable"
        await read_page(cast.asker, place, paid, bought)
        proof = await cast.provider.backend.job_proof(job, with_content=True)
        sold.write_bytes(document.encode(proof))
        proof["noise"]["calibration"]["act"]["d1"] += 1
        proof["steps"][-1]["transaction"] = "ab" * 32
        forged.write_bytes(document.encode(proof))
        found = await trio.to_thread.run_sync(beside, place, forged)
        assert found.code == 1
        assert "chain: noise constants, chain: transactions" in found.err
    # Somebody who was never on the network.
    ran = await trio.to_thread.run_sync(alone, "job", "verify", str(sold), "--json")
    assert (ran.code, ran.json["ok"]) == (0, True), ran.out + ran.err
    assert lacking(bought / "paid.json") == LACKED_BY_A_REQUESTER | CONTENT
    assert lacking(bought / "told.json") == LACKED_BY_A_REQUESTER | {"fingerprint"}
    # The played model has no weights for its margins.
    assert lacking(sold) == lacking(forged) == {"margins"}


def beside(place: Place, file: Path) -> Ran:
    """A check with the chain."""
    return run(place, "job", "verify", str(file), "--rpc", place.ledger.chain.url)


def run(place: Place, *arguments: str) -> Ran:
    """A command of a user who knows the network."""
    command = [sys.executable, "-m", "node.cli", *arguments]
    known = surroundings(**settings_of(place))
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=known)
    return Ran(done.returncode, done.stdout, done.stderr)


async def test_a_cheat_is_shown_to_its_client_its_seats_and_itself(place: Place, tmp_path: Path) -> None:
    async with network(place, claims=CLAIMED) as cast:
        await heard(cast.asker, 1)
        job = await cast.asker.backend.ask_job(ASK)
        ended = await until(cast.asker, job, lambda view: view.ended, 180)
        assert ended.state == "refunded"
        file = tmp_path / "refunded.json"
        file.write_bytes(document.encode(await cast.asker.backend.job_proof(job, with_content=False)))
        seat = ("--data-dir", str(tmp_path / "verifier0"))
        seen = await trio.to_thread.run_sync(run, place, "case", "review", ended.batch_id[:12], *seat, "--json")
        told = await trio.to_thread.run_sync(run, place, "node", "why-slashed", ended.node, "--json")
    assert lacking(file) == LACKED_BY_A_REQUESTER | CONTENT
    (leaf,) = seen.json["leaves"]
    assert (leaf["holder"], leaf["question"], leaf["text"]) == (
        "seat",
        "jump",
        "the quick brown fox jumps over the lazy dog",
    )
    assert min(term["score_bps"] for term in leaf["terms"]) == leaf["score_bps"] < 8_500
    assert leaf["score_bps"] in [each["scores"][0] for each in seen.json["seats"]]
    assert {token["margin_ppm"] for token in leaf["tokens"]} == {0}
    (event,) = [each for each in told.json["events"] if each["cause"] == "case"]
    assert (event["verdict"], event["batch_id"]) == ("severe", ended.batch_id)
    assert len(event["seats"]) == 3
