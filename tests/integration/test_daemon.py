"""Whole nodes in one process: real chain, real peers, real journal; only the containers are played by the test."""

import json
import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
import trio

from chain.tx.keystore import load_key
from node.api.gateway.key_file import FILE_NAME
from node.config import Config
from node.daemon import gateway_care
from node.daemon.node import Node
from node.daemon.process import run
from node.wallet.home import Home
from protocol.errors import ChainError, ConfigError, ExecutorError
from protocol.params import VCN
from protocol.wire.ids import ZERO_ADDRESS
from tests.support.anvil_ledger import AnvilLedger
from tests.support.scenes.daemons import REPOSITORY, Place
from tests.support.scenes.daemons import ledger as ledger
from tests.support.scenes.gateways import make_key

pytestmark = [pytest.mark.anvil, pytest.mark.libp2p, pytest.mark.slow]


@pytest.fixture
def place(tmp_path: Path, ledger: AnvilLedger) -> Place:
    return Place(tmp_path, ledger)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Node]:
    async with trio.open_nursery() as nursery:
        with trio.fail_after(60):
            node: Node = await nursery.start(run, config)
        yield node
        nursery.cancel_scope.cancel()


async def test_node_comes_up_shows_itself_and_goes_down(place: Place) -> None:
    config = place.make("one")
    async with running(config) as node:
        shown = await node.backend.snapshot()
        assert (shown.state, shown.chain.connected, shown.me.roles) == ("ready", True, ("requester",))
        assert shown.chain.settlement == place.ledger.deployment.addresses.settlement
        assert config.api.socket.is_socket()
        assert shown.troubles == ()
    assert not config.api.socket.exists()
    # Its view of the chain is kept.
    async with running(config) as node:
        assert node.parts.machine.member.hpke_key != bytes(32)
        assert (await node.backend.snapshot()).state == "ready"


async def test_metrics_at_their_port_are_those_of_the_snapshot(place: Place) -> None:
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{door.getsockname()[1]}"
    async with running(place.make("one", metrics__listen=at)) as node:
        async with httpx.AsyncClient() as web:
            answer = await web.get(f"http://{at}/metrics")
        shown = await node.backend.snapshot()
        assert answer.status_code == 200
        assert f"\nvcoin_slots {float(shown.machine.slots)}\n" in answer.text
        assert "\nvcoin_chain_connected 1.0\n" in answer.text
        assert shown.watched.memory_used_bytes > shown.watched.daemon_bytes > 0


@pytest.mark.parametrize("harm", ["damaged", "row", "rights"])
async def test_file_of_gateway_keys_that_cannot_be_used_closes_the_gateway_and_not_the_node(
    place: Place, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_care, "AGAIN_S", 0.1)
    with socket.socket() as door:
        door.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{door.getsockname()[1]}"
    config = place.make("one", gateway__listen=at)
    path = config.node.data_dir / FILE_NAME
    shown, _ = make_key(config.node.data_dir)
    whole = path.read_bytes()
    if harm == "damaged":
        path.write_bytes(b"x" * 4_096)
    elif harm == "rights":
        path.chmod(0o644)
    else:
        with closing(sqlite3.connect(path)) as db, db:
            db.execute("INSERT INTO reservations SELECT 1, id, 'much', '' FROM keys")
    async with running(config) as node:
        snapshot = await node.backend.snapshot()
        assert snapshot.state == "ready"
        (trouble,) = snapshot.troubles
        assert "the gateway is closed" in trouble.message
        assert FILE_NAME in trouble.hint
        # Its owner follows the hint, and the node need not be started again.
        path.write_bytes(whole)
        path.chmod(0o600)
        with trio.fail_after(30):
            while (await node.backend.snapshot()).troubles:
                await trio.lowlevel.checkpoint()
        async with httpx.AsyncClient(headers={"Authorization": f"Bearer {shown}"}, trust_env=False) as web:
            assert (await web.get(f"http://{at}/v1/models")).status_code == 200


async def test_money_moves_in_and_out_of_the_account(place: Place, ledger: AnvilLedger) -> None:
    config = place.make("one")
    client = load_key(Home(config.node.data_dir).client_key, Home(config.node.data_dir).password.read_text().strip())
    await ledger.give(client)
    async with running(config) as node:
        planned = await node.backend.deposit(50 * VCN, dry_run=True)
        assert (planned.transactions, planned.balances[0].after_wei) == ((), 50 * VCN)
        assert (await node.backend.account()).free_wei == 0
        done = await node.backend.deposit(50 * VCN, dry_run=False)
        assert len(done.transactions) == 1
        assert (await node.backend.account()).free_wei == 50 * VCN
        await node.backend.withdraw(20 * VCN, dry_run=False)
        assert (await node.backend.account()).free_wei == 30 * VCN
        kept = await node.parts.journal.transactions()
        assert [(sent.sender, sent.effect) for sent in kept] == [(client.address, None)] * 2


async def test_second_daemon_is_refused(place: Place) -> None:
    config = place.make("one")
    async with running(config):
        with pytest.raises(ConfigError, match="another daemon uses"):
            await run(config)


async def test_node_without_docker_only_asks_for_jobs_and_says_so(place: Place) -> None:
    async with running(place.make("one", node__roles="requester,provider,verifier")) as node:
        assert node.roles == {"requester"}
        shown = await node.backend.snapshot()
        assert [(trouble.code, "runs no containers" in trouble.message) for trouble in shown.troubles] == [
            ("preflight", True)
        ]
        assert not shown.machine.engine


async def test_provider_without_docker_does_not_start(place: Place) -> None:
    with pytest.raises(ExecutorError):
        await run(place.make("one", node__roles="provider"))


async def test_port_that_is_taken_is_a_setting_to_change(place: Place) -> None:
    async with running(place.make("one")) as node:
        taken = node.parts.host.addresses[0].partition("/p2p/")[0]
        with pytest.raises(ConfigError, match="cannot listen on") as caught:
            await run(place.make("two", p2p__listen=taken))
        assert "p2p.listen" in caught.value.hint


async def test_chain_that_does_not_answer_is_said(place: Place) -> None:
    with pytest.raises(ChainError):
        await run(place.make("one", chain__rpc_urls=["http://127.0.0.1:1"]))


async def test_journal_of_another_network_is_refused(place: Place, ledger: AnvilLedger) -> None:
    config = place.make("one")
    async with running(config):
        pass
    moved = replace(ledger.deployment, addresses=replace(ledger.deployment.addresses, settlement=ZERO_ADDRESS))
    moved.write(place.deployment)
    with pytest.raises(ConfigError, match=r"is of node .* on chain 31337"):
        await run(config)


async def test_sigterm_ends_it_well(place: Place) -> None:
    program = (
        "import os, sys; from node.config import load; from node.daemon import main;"
        " main(load(os.environ, {'log.format': 'json', **dict(pair.split('=', 1) for pair in sys.argv[1:])}))"
    )
    config = place.make("one")
    flags = [
        f"node.data_dir={config.node.data_dir}",
        "node.roles=requester",
        f"p2p.listen={config.p2p.listen}",
        f"chain.rpc_urls={config.chain.rpc_urls[0]}",
        f"chain.deployment={config.chain.deployment}",
    ]
    command = [sys.executable, "-c", program, *flags]

    def watch() -> tuple[list[str], int]:
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(place.root)}
        said: list[str] = []
        with subprocess.Popen(command, cwd=REPOSITORY, stderr=subprocess.PIPE, text=True, env=environment) as daemon:
            assert daemon.stderr is not None
            for line in daemon.stderr:
                said.append(json.loads(line)["message"])
                if said[-1] == "ready":
                    daemon.send_signal(signal.SIGTERM)
            return said, daemon.wait(30)

    said, code = await trio.to_thread.run_sync(watch)
    assert code == 0
    assert said[-2:] == ["stopping", "stopped"]
