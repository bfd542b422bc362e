"""Whole nodes and a chain in trouble: what the status says, what is still signed, how the node ends."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
import trio

from chain.tx.keystore import load_key
from chain.tx.wallet import Key
from node.api.backend import ChatMessage, JobAsk
from node.api.faults import Exit, Fault
from node.api.views import Snapshot
from node.config import Config, load
from node.daemon.node import Node
from node.daemon.parts import now_ms, open_parts
from node.daemon.process import last_word, run
from node.wallet.home import Home, found
from protocol.effects import SignMessage
from protocol.errors import ChainError, ConfigError, ReorgedOut
from protocol.params import VCN
from protocol.stages.assignment import Accept
from protocol.stages.commitment import Receipt
from protocol.stages.offer import Offer
from protocol.wire.ids import JobId, TimestampMs
from tests.support.anvil_ledger import AnvilLedger, open_anvil_ledger, owner_of
from tests.support.endpoint import Garbage, endpoint, forward
from tests.support.jobs import key

pytestmark = [pytest.mark.anvil, pytest.mark.libp2p, pytest.mark.slow]

HOUR_S = 3_600
CALL_WEI = 10**15


@pytest.fixture
async def ledger() -> AsyncIterator[AnvilLedger]:
    async with open_anvil_ledger() as opened:
        yield opened


def make(root: Path, ledger: AnvilLedger, *urls: str) -> Config:
    """A new node's settings."""
    home = Home(root / "node")
    if not home.path.exists():
        found(home, {"node": {"name": "one"}}, "", iterations=2)
    ledger.deployment.write(root / "deployment.json")
    flags: dict[str, object] = {
        "node.data_dir": str(home.path),
        "node.roles": "requester",
        "p2p.listen": "/ip4/127.0.0.1/tcp/0",
        "p2p.fast": True,
        "chain.rpc_urls": list(urls) or [ledger.chain.url],
        "chain.deployment": str(root / "deployment.json"),
        "executor.docker_host": f"unix://{root}/no-docker.sock",
    }
    return load({}, flags)


def keys(config: Config) -> tuple[Key, Key]:
    """Operator and client."""
    home = Home(config.node.data_dir)
    password = home.password.read_text().strip()
    return load_key(home.operator_key, password), load_key(home.client_key, password)


@asynccontextmanager
async def running(config: Config) -> AsyncIterator[Node]:
    async with trio.open_nursery() as nursery:
        with trio.fail_after(60):
            node: Node = await nursery.start(run, config)
        yield node
        nursery.cancel_scope.cancel()


async def until_trouble(node: Node, words: str) -> Snapshot:
    """A status in which something is said, by when all looks at money are over."""
    with trio.fail_after(30):
        while True:
            await node.backend.account()
            shown = await node.backend.snapshot()
            if any(words in trouble.message for trouble in shown.troubles):
                return shown
            await trio.lowlevel.checkpoint()


async def until_well(node: Node) -> None:
    with trio.fail_after(30):
        while (await node.backend.snapshot()).troubles:
            await trio.lowlevel.checkpoint()


# --- gas ------------------------------------------------------------------------------------------------------------
async def test_gas_money_that_runs_low_is_said_before_it_is_out_and_when_it_is(
    tmp_path: Path, ledger: AnvilLedger, caplog: pytest.LogCaptureFixture
) -> None:
    config = make(tmp_path, ledger)
    operator, client = keys(config)
    await ledger.register(operator)
    await ledger.deposit(client, 50 * VCN)
    async with running(config) as node:
        await node.backend.account()
        assert (await node.backend.snapshot()).troubles == ()
        for key in (operator, client):
            await ledger.controls.raw("anvil_setBalance", key.address, hex(10 * CALL_WEI))
            shown = await until_trouble(node, f"{key.address} has 0.010000 of the chain's own coin for gas: enough for")
            await until_trouble(node, "more calls")
            assert any(key.address in trouble.hint for trouble in shown.troubles)
            await ledger.controls.raw("anvil_setBalance", key.address, hex(1_000))
            await until_trouble(
                node, f"{key.address} has 0.000000 of the chain's own coin for gas: it can send nothing"
            )
        told = [
            (record.levelname, record.getMessage()) for record in caplog.records if "for gas" in record.getMessage()
        ]
        assert [level for level, _ in told] == ["WARNING", "ERROR"] * 2
        with pytest.raises((Fault, ChainError), match="gas"):
            await node.backend.deposit(20 * VCN, dry_run=False)
        await ledger.controls.enrich(operator, client)
        await node.backend.account()
        await until_well(node)


# --- the clock ------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize(("off_s", "side"), [(HOUR_S, "ahead of"), (-HOUR_S, "behind")])
async def test_a_clock_an_hour_wrong_is_shown_and_signs_nothing_with_a_deadline(
    tmp_path: Path, ledger: AnvilLedger, off_s: int, side: str
) -> None:
    config = make(tmp_path, ledger)
    off = [off_s]

    def wrong() -> int:
        return now_ms() + off[0] * 1000

    async with open_parts(config, wrong) as parts, trio.open_nursery() as nursery:
        with trio.fail_after(60):
            node: Node = await nursery.start(_run, Node(parts))
            while not parts.chain.clock.trouble:
                head = parts.machine.member.head
                await ledger.controls.mine()
                while parts.machine.member.head == head:
                    await trio.lowlevel.checkpoint()
        shown = await until_trouble(node, f"s {side} the chain: nothing with a deadline is signed")
        assert "set the clock" in shown.troubles[0].hint
        offer = Offer(bytes(32), parts.wallet.operator.address, 1, 1, 1, False, bytes(32), now_ms() // 1000)
        with pytest.raises(ChainError, match=f"{side} the chain"):
            await parts.chain.signer.perform(SignMessage(offer))
        # A message without a deadline is signed: a job that was done is promised and paid.
        await parts.chain.signer.perform(SignMessage(Accept(JobId(bytes(32)), TimestampMs(1))))
        await parts.chain.signer.perform(SignMessage(Receipt(bytes(32), bytes(32), 1, 1)))
        off[0] = 0
        await ledger.controls.mine()
        await until_well(node)
        await parts.chain.signer.perform(SignMessage(offer))
        nursery.cancel_scope.cancel()


async def _run(node: Node, *, task_status: trio.TaskStatus[Node]) -> None:
    await node.run(task_status=task_status)


# --- a pause --------------------------------------------------------------------------------------------------------
async def test_a_pause_is_shown_and_a_job_refused_until_it_ends(tmp_path: Path, ledger: AnvilLedger) -> None:
    async with running(make(tmp_path, ledger)) as node:
        await ledger.pause(3_600)
        until = await ledger.network.stakes.paused_until_s()
        await ledger.mine(ledger.rules.final_depth)
        words = f"takes nothing new before {datetime.fromtimestamp(until, UTC):%Y-%m-%d %H:%M:%S} UTC"
        await until_trouble(node, words)
        ask = JobAsk("any", (ChatMessage("user", "Hello"),), 8, 0, 60_000, 0, with_bonus=True, uncalibrated=False)
        with pytest.raises(Fault, match=words) as caught:
            await node.backend.ask_job(ask)
        assert caught.value.kind.exit is Exit.RETRY_LATER
        await ledger.resume()
        await ledger.mine(ledger.rules.final_depth)
        await until_well(node)
        with pytest.raises(Fault, match="unknown model"):
            await node.backend.ask_job(ask)


# --- the chain ------------------------------------------------------------------------------------------------------
async def test_a_node_outlives_an_outage_and_shows_it(
    tmp_path: Path, ledger: AnvilLedger, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    down = trio.Event()
    ask = forward(ledger.chain.url)

    def answer(method: str, parameters: list[object]) -> object:
        if down.is_set():
            raise Garbage(502, b"bad gateway")
        return ask(method, parameters)

    with endpoint(answer) as only:
        async with running(make(tmp_path, ledger, only.url)) as node:
            down.set()
            with trio.fail_after(30):
                while (await node.backend.snapshot()).chain.connected:
                    await trio.lowlevel.checkpoint()
            (trouble,) = (await node.backend.snapshot()).troubles
            assert "the chain is not followed: no Ethereum endpoint answers" in trouble.message
            await ledger.mine(5)
            head, _ = await ledger.now()
            down = trio.Event()
            await until_well(node)
            with trio.fail_after(30):
                while node.parts.machine.member.head < head:
                    await trio.lowlevel.checkpoint()
    assert caplog.text.count("chain not followed") == 1
    assert caplog.text.count("chain followed again") == 1


async def test_a_chain_that_lost_what_was_final_ends_the_node_with_one_sentence(
    tmp_path: Path, ledger: AnvilLedger
) -> None:
    config = make(tmp_path, ledger)

    async def lose_what_is_final() -> None:
        async with running(config) as node:
            await ledger.mine(6)
            head, _ = await ledger.now()
            with trio.fail_after(30):
                while node.parts.machine.member.head < head:
                    await trio.lowlevel.checkpoint()
                await ledger.controls.reorg(6)
                await ledger.mine(9)
                await trio.sleep_forever()

    with pytest.raises(BaseExceptionGroup) as caught:
        await lose_what_is_final()
    word = last_word(caught.value)
    assert isinstance(word, ReorgedOut)
    assert "the chain was reorganised deeper than the 2 blocks" in str(word)
    # And it does not start again on what it believed.
    with pytest.raises(BaseExceptionGroup) as again:
        await run(config)
    assert isinstance(last_word(again.value), ReorgedOut)


async def test_daemon_with_a_key_that_a_node_was_rotated_to_is_that_node(tmp_path: Path, ledger: AnvilLedger) -> None:
    config = make(tmp_path, ledger)
    operator, _ = keys(config)
    first = key("node")
    await ledger.register(first)
    owner = ledger.actions(owner_of(first))
    await owner.rotate_operator(first.address, operator)
    async with open_parts(config) as parts:
        assert parts.machine.identity.node_id == first.address
    await owner.rotate_operator(first.address, key("next"))
    async with open_parts(config) as parts:
        assert parts.machine.identity.node_id == operator.address


async def test_daemon_whose_key_is_no_longer_the_operator_ends_with_a_word(tmp_path: Path, ledger: AnvilLedger) -> None:
    config = make(tmp_path, ledger)
    operator, _ = keys(config)
    await ledger.register(operator)
    await ledger.actions(owner_of(operator)).rotate_operator(operator.address, key("next"))
    with pytest.raises(ConfigError, match="no longer the operator of its node"):
        async with open_parts(config):
            pass
