"""Deploying a network on Anvil: as planned, resumed, checked, refused."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import astuple, replace
from pathlib import Path

import pytest
import trio

from chain.abi.interface import CONTRACTS, interface
from chain.calibration.files import CalibrationFile, ClassNoise
from chain.contracts.guardian import Pausing
from chain.contracts.network import Network, read_deployment
from chain.contracts.params import CalibrationRow
from chain.contracts.profiles import profiles
from chain.contracts.timelock import ANYBODY, Governance, Operation, OperationState
from chain.deploy.deployment import Plan, deploy, first_classes, plan
from chain.perform.adapter import open_chain
from chain.rpc.endpoints import open_rpc
from chain.rpc.ethereum import Call, Ethereum, RpcSource
from chain.tx.transactions import Sender
from chain.tx.wallet import Wallet
from protocol.errors import ChainError, ConfigError, Reverted
from protocol.events import CalibrationSeen
from protocol.stages.verification import UNCALIBRATED, Calibration, MarginScores, Tolerance
from protocol.wire.ids import Cid, Wei
from tests.support.anvil import CHAIN_ID, Anvil, Controls, anvil
from tests.support.anvil_ledger import DEPLOYER, POLL_S, RUNTIME, AnvilLedger, forget, open_anvil_ledger
from tests.support.event_recorder import told_by
from tests.support.jobs import key, named

pytestmark = pytest.mark.anvil

LOCAL = profiles()["local"]
CLASSES = first_classes(RUNTIME)
SCORES = MarginScores((1,), (-1, 1))
NOISE = Calibration(
    *(Tolerance(1, 2), Tolerance(3, 4), Tolerance(5, 6), Tolerance(7, 8)),
    embed=Tolerance(9, 10),
    margins=SCORES,
)
MODEL = Cid(named("model"))


@asynccontextmanager
async def chain() -> AsyncIterator[tuple[Anvil, Controls]]:
    with anvil() as running:
        async with open_rpc([running.url], CHAIN_ID) as rpc:
            controls = Controls(rpc)
            await controls.enrich(DEPLOYER)
            yield running, controls


async def made_plan(controls: Controls) -> Plan:
    return await plan(controls.ethereum, DEPLOYER.address, LOCAL, CLASSES, ())


async def test_a_network_is_deployed_as_planned_and_only_once(tmp_path: Path) -> None:
    path = tmp_path / "31337.json"
    async with chain() as (_, controls):
        planned = await made_plan(controls)
        arguments = (controls.ethereum, DEPLOYER, LOCAL, CLASSES)
        made = await deploy(*arguments, calibrations=(), path=path, poll_s=POLL_S)
        assert made.addresses == planned.addresses
        assert (made.chain_id, made.profile, made.deployer) == (CHAIN_ID, "local", DEPLOYER.address)
        assert read_deployment(path) == made
        assert made.complete
        sent = await controls.ethereum.nonce(DEPLOYER.address)
        assert await deploy(*arguments, calibrations=(), path=path, poll_s=POLL_S) == made
        assert await controls.ethereum.nonce(DEPLOYER.address) == sent
        network = Network(controls.ethereum, made.addresses)
        assert await network.params.classes() == list(CLASSES)
        assert await network.params.profile() == LOCAL
        assert await network.token.balance_of(DEPLOYER.address) == await network.token.total_supply()


async def test_the_planned_gas_is_enough_and_not_absurd() -> None:
    async with chain() as (_, controls):
        planned = await made_plan(controls)
        before = (await controls.ethereum.block()).number
        await deploy(controls.ethereum, DEPLOYER, LOCAL, CLASSES, calibrations=(), poll_s=POLL_S)
        last = (await controls.ethereum.block()).number
        used = 0
        for number in range(before + 1, last + 1):
            used += int((await controls.raw("eth_getBlockByNumber", hex(number), False))["gasUsed"], 16)
        assert used < planned.gas < 1.3 * used


async def test_an_interrupted_deployment_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "31337.json"
    async with chain() as (_, controls):
        arguments = (controls.ethereum, DEPLOYER, LOCAL, CLASSES)
        # Gas money for the first contracts alone.
        await controls.raw("anvil_setBalance", DEPLOYER.address, hex(12 * 10**15))
        with pytest.raises(ChainError, match="too little for gas") as caught:
            await deploy(*arguments, calibrations=(), path=path, poll_s=POLL_S)
        assert not caught.value.transient
        stopped_at = await controls.ethereum.nonce(DEPLOYER.address)
        assert 0 < stopped_at < len(CONTRACTS)
        assert not read_deployment(path).complete
        await controls.enrich(DEPLOYER)
        made = await deploy(*arguments, calibrations=(), path=path, poll_s=POLL_S)
        assert made.complete
        assert made.first_nonce == 0
        assert await controls.ethereum.nonce(DEPLOYER.address) == len(CONTRACTS)


class Killed(Exception):
    """The process is gone."""


class DiesAtSending(Ethereum):
    """An endpoint whose caller is killed at its nth transaction: just before it leaves, or when it has left."""

    def __init__(self, rpc: RpcSource, nth: int, *, left: bool) -> None:
        super().__init__(rpc)
        self._nth = nth
        self._left = left
        self._count = 0

    async def broadcast(self, raw: bytes) -> None:
        self._count += 1
        if self._count == self._nth and not self._left:
            raise Killed
        await super().broadcast(raw)
        if self._count == self._nth:
            raise Killed


@pytest.mark.parametrize("left", [False, True], ids=["before it left", "after it left"])
async def test_killed_at_any_transaction_the_same_addresses_come_to_be(tmp_path: Path, left: bool) -> None:
    async with chain() as (_, controls):
        for nth in range(1, len(CONTRACTS) + 1):
            path = tmp_path / f"{nth}.json"
            planned = await made_plan(controls)
            dying = DiesAtSending(controls.ethereum.rpc, nth, left=left)
            with pytest.raises(Killed):
                await deploy(dying, DEPLOYER, LOCAL, CLASSES, calibrations=(), path=path, poll_s=POLL_S)
            assert read_deployment(path).addresses == planned.addresses
            assert not read_deployment(path).complete
            made = await deploy(controls.ethereum, DEPLOYER, LOCAL, CLASSES, calibrations=(), path=path, poll_s=POLL_S)
            assert made == replace(read_deployment(path), block=made.block)
            assert made.addresses == planned.addresses
            sent = await controls.ethereum.nonce(DEPLOYER.address) - planned.first_nonce
            assert sent == len(CONTRACTS), "no contract was created twice"


async def test_killed_at_every_transaction_in_turn(tmp_path: Path) -> None:
    path = tmp_path / "31337.json"
    async with chain() as (_, controls):
        planned = await made_plan(controls)
        deaths = 0
        while True:
            dying = DiesAtSending(controls.ethereum.rpc, 1, left=deaths % 2 == 0)
            try:
                made = await deploy(dying, DEPLOYER, LOCAL, CLASSES, calibrations=(), path=path, poll_s=POLL_S)
            except Killed:
                deaths += 1
                continue
            break
        assert made.addresses == planned.addresses
        # A death before it left is made up for by one more.
        assert deaths == 2 * len(CONTRACTS) - 1
        assert await controls.ethereum.nonce(DEPLOYER.address) == len(CONTRACTS)


async def test_what_is_on_its_way_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "31337.json"
    async with chain() as (_, controls):
        planned = await made_plan(controls)
        await controls.automine(False)
        dying = DiesAtSending(controls.ethereum.rpc, 1, left=True)
        with pytest.raises(Killed):
            await deploy(dying, DEPLOYER, LOCAL, CLASSES, calibrations=(), path=path, poll_s=POLL_S)
        assert await controls.ethereum.nonce(DEPLOYER.address) == 0
        async with trio.open_nursery() as nursery:
            nursery.start_soon(blocks_come, controls)
            made = await deploy(controls.ethereum, DEPLOYER, LOCAL, CLASSES, calibrations=(), path=path, poll_s=POLL_S)
            nursery.cancel_scope.cancel()
        assert made.addresses == planned.addresses
        assert await controls.ethereum.nonce(DEPLOYER.address) == len(CONTRACTS)


async def blocks_come(controls: Controls) -> None:
    while True:
        await trio.sleep(5 * POLL_S)
        await controls.mine()


# ---- what is on the chain

RULERS = Governance(
    proposers=(key("first").address, key("second").address),
    keeper=key("keeper").address,
    cancellers=(key("canceller").address,),
    executors=(key("executor").address,),
)


async def test_those_who_are_named_rule() -> None:
    async with chain() as (_, controls):
        made = await deploy(
            controls.ethereum, DEPLOYER, LOCAL, CLASSES, calibrations=(), governance=RULERS, poll_s=POLL_S
        )
        network = Network(controls.ethereum, made.addresses)
        timelock = network.timelock
        assert await network.params.read("governor") == timelock.address
        assert await timelock.delay() == LOCAL.timelock_seconds
        assert await timelock.has_roles(RULERS.roles())
        for role in ("PROPOSER_ROLE", "CANCELLER_ROLE", "EXECUTOR_ROLE", "DEFAULT_ADMIN_ROLE"):
            assert not await timelock.has_roles([(role, DEPLOYER.address)]), role
        assert not await timelock.has_roles([("EXECUTOR_ROLE", ANYBODY)])
        assert await timelock.has_roles([("DEFAULT_ADMIN_ROLE", timelock.address)])
        assert await network.guardian.pausing() == Pausing(key("keeper").address, 0)


async def test_other_rulers_than_those_of_the_first_run_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "31337.json"
    async with chain() as (_, controls):
        arguments = (controls.ethereum, DEPLOYER, LOCAL, CLASSES)
        await deploy(*arguments, calibrations=(), governance=RULERS, path=path, poll_s=POLL_S)
        with pytest.raises(ConfigError, match="have another roles than was asked for") as caught:
            await deploy(*arguments, calibrations=(), path=path, poll_s=POLL_S)
        assert caught.value.hint


async def test_the_code_on_the_chain_is_compared_with_this_release(tmp_path: Path) -> None:
    path = tmp_path / "31337.json"
    async with chain() as (_, controls):
        arguments = (controls.ethereum, DEPLOYER, LOCAL, CLASSES)
        made = await deploy(*arguments, calibrations=(), poll_s=POLL_S)
        for name, address in zip(CONTRACTS, astuple(made.addresses), strict=True):
            code = await controls.ethereum.code(address)
            assert interface(name).is_code(code), name
            assert not interface(name).is_code(code[:-1])
            assert not interface(name).is_code(code[:100] + bytes([code[100] ^ 1]) + code[101:]), name
            assert not any(interface(other).is_code(code) for other in CONTRACTS if other != name)
        replace(made, code_hashes=()).write(path)
        court = await controls.ethereum.code(made.addresses.court)
        await controls.raw("anvil_setCode", made.addresses.court, f"0x{court[:-1].hex()}00")
        with pytest.raises(ConfigError, match="is not Court of this release"):
            await deploy(*arguments, calibrations=(), path=path, poll_s=POLL_S)


async def test_a_call_waits_in_the_timelock_and_is_seen_there() -> None:
    async with chain() as (_, controls):
        made = await deploy(controls.ethereum, DEPLOYER, LOCAL, CLASSES, calibrations=(), poll_s=POLL_S)
        network = Network(controls.ethereum, made.addresses)
        timelock, sender = network.timelock, Sender(controls.ethereum, DEPLOYER, forget, poll_s=POLL_S)

        async def pending() -> list[Operation]:
            return await timelock.pending(0, await controls.ethereum.head())

        assert await pending() == []
        added = network.params.add_class(replace(CLASSES[0], id=7))
        await sender.send(timelock.schedule(added, LOCAL.timelock_seconds))
        (seen,) = await pending()
        now = (await controls.ethereum.block()).timestamp
        assert [(call.to, call.data) for call in seen.calls] == [(network.params.address, added.data)]
        assert seen.state is OperationState.WAITING
        assert seen.ready_at_s == now + LOCAL.timelock_seconds
        with pytest.raises(Reverted, match="TimelockUnexpectedOperationState"):
            await sender.send(timelock.execute(added))
        await controls.warp(LOCAL.timelock_seconds)
        assert [each.state for each in await pending()] == [OperationState.READY]
        await sender.send(timelock.execute(added))
        assert await pending() == []
        assert [row.id for row in await network.params.classes()] == [1, 2, 7]
        again = network.guardian.set_keeper(key("other").address)
        await sender.send(timelock.schedule(again, LOCAL.timelock_seconds))
        (seen,) = await pending()
        await sender.send(timelock.cancel(seen.id))
        assert await pending() == []


async def test_a_pause_is_a_matter_of_time_to_a_node() -> None:
    async with open_anvil_ledger() as ledger:
        guardian = ledger.network.guardian
        sender = Sender(ledger.network.ethereum, DEPLOYER, forget, poll_s=POLL_S)
        await sender.send(guardian.pause(600))
        until = await ledger.network.stakes.paused_until_s()
        with pytest.raises(Reverted, match=f"IntakePaused\\(until={until}\\)") as caught:
            await ledger.register(key("node"))
        assert caught.value.transient
        await ledger.warp(600)
        await ledger.register(key("node"))
        with pytest.raises(Reverted, match="PausedLately"):
            await sender.send(guardian.pause(1))


async def test_a_deployer_that_was_busy_elsewhere_must_begin_again(tmp_path: Path) -> None:
    path = tmp_path / "31337.json"
    async with chain() as (_, controls):
        arguments = (controls.ethereum, DEPLOYER, LOCAL, CLASSES)
        await controls.raw("anvil_setBalance", DEPLOYER.address, hex(12 * 10**15))
        with pytest.raises(ChainError, match="too little for gas"):
            await deploy(*arguments, calibrations=(), path=path, poll_s=POLL_S)
        await controls.enrich(DEPLOYER)
        await deploy(*arguments, calibrations=(), poll_s=POLL_S)
        with pytest.raises(ConfigError, match=r"sent other transactions|is not \w+ of this release") as caught:
            await deploy(*arguments, calibrations=(), path=path, poll_s=POLL_S)
        assert caught.value.hint


async def test_a_chain_that_was_started_anew_needs_another_file(tmp_path: Path) -> None:
    whole, part = tmp_path / "whole.json", tmp_path / "part.json"
    async with chain() as (_, controls):
        await controls.raw("anvil_setNonce", DEPLOYER.address, "0x5")
        dying = DiesAtSending(controls.ethereum.rpc, 2, left=True)
        with pytest.raises(Killed):
            await deploy(dying, DEPLOYER, LOCAL, CLASSES, calibrations=(), path=part, poll_s=POLL_S)
        # What left may still be in no block.
        await controls.mine()
        await deploy(controls.ethereum, DEPLOYER, LOCAL, CLASSES, calibrations=(), path=whole, poll_s=POLL_S)
    for path, words in ((whole, "it was started anew"), (part, "has sent fewer transactions than were planned")):
        async with chain() as (_, controls):
            with pytest.raises(ConfigError, match=words) as caught:
                await deploy(controls.ethereum, DEPLOYER, LOCAL, CLASSES, calibrations=(), path=path, poll_s=POLL_S)
            assert caught.value.hint
            assert await controls.ethereum.nonce(DEPLOYER.address) == 0


async def test_other_transactions_on_their_way_are_waited_for() -> None:
    async with chain() as (_, controls):
        await controls.automine(False)
        dying = DiesAtSending(controls.ethereum.rpc, 1, left=True)
        with pytest.raises(Killed):
            await Sender(dying, DEPLOYER, forget).send(Call("a payment", key("other").address, b"", Wei(1)))
        with pytest.raises(ChainError, match="has transactions on their way") as caught:
            await deploy(controls.ethereum, DEPLOYER, LOCAL, CLASSES, calibrations=(), poll_s=POLL_S)
        assert caught.value.transient


async def test_the_file_of_another_network_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "31337.json"
    async with chain() as (_, controls):
        await deploy(controls.ethereum, DEPLOYER, LOCAL, CLASSES, calibrations=(), path=path, poll_s=POLL_S)
        before = path.read_bytes()
        await controls.enrich(key("another"))
        with pytest.raises(ConfigError, match="the deployment file is of chain"):
            await deploy(controls.ethereum, key("another"), LOCAL, CLASSES, path=path, poll_s=POLL_S)
        with pytest.raises(ConfigError, match="the deployment file is of chain"):
            await deploy(controls.ethereum, DEPLOYER, profiles()["main"], CLASSES, path=path, poll_s=POLL_S)
        assert path.read_bytes() == before


async def test_every_profile_can_be_deployed() -> None:
    async with chain() as (_, controls):
        for profile in profiles().values():
            made = await deploy(controls.ethereum, DEPLOYER, profile, CLASSES, calibrations=(), poll_s=POLL_S)
            network = Network(controls.ethereum, made.addresses)
            rules = await network.params.rules(made.addresses.settlement, made.addresses.stakes)
            assert (rules.profile, rules.epoch) == (profile.name, profile.epoch_blocks)


async def test_a_profile_with_a_broken_relation_is_refused() -> None:
    async with chain() as (_, controls):
        with pytest.raises(ChainError, match=r"new Params: BadProfile\(relation=unbonding outlives a batch\)"):
            await deploy(
                controls.ethereum,
                DEPLOYER,
                replace(LOCAL, unbonding_seconds=1),
                CLASSES,
                calibrations=(),
                poll_s=POLL_S,
            )


def calibration(runtime: bytes) -> CalibrationFile:
    return CalibrationFile(MODEL, b"\0\x3c" * 8, {2: ClassNoise(NOISE, 200, runtime)})


async def test_a_calibration_of_this_runner_is_written_and_told() -> None:
    async with open_anvil_ledger(calibrations=[calibration(RUNTIME)]) as ledger:
        row = await ledger.network.params.row(MODEL, 2)
        assert row is not None
        assert row.to_chain() == CalibrationRow(NOISE, calibration(RUNTIME).act_weights_hash, SCORES.hash).to_chain()
        await ledger.mine(ledger.rules.final_depth)
        async with ledger.adapter(key("node")) as adapter, told_by(adapter) as story:
            # Which table has that hash stands in no file of this release.
            assert await adapter.calibration(MODEL, 2) == replace(NOISE, margins=None)
            assert await adapter.calibration(MODEL, 1) == UNCALIBRATED
            told = await story.until(CalibrationSeen)
            assert (told.manifest, told.class_id, told.calibration) == (MODEL, 2, replace(NOISE, margins=None))


async def test_a_calibration_of_another_runner_is_left_out() -> None:
    async with open_anvil_ledger(calibrations=[calibration(named("old runner"))]) as ledger:
        assert await ledger.network.params.row(MODEL, 2) is None
        assert await ledger.network.params.calibration(MODEL, 2) == UNCALIBRATED


async def opened(ledger: AnvilLedger, url: str | None = None) -> None:
    """Connects as a node does."""
    wallet = Wallet(key("node"), ledger.domain)
    async with open_chain([url or ledger.chain.url], ledger.deployment, wallet, record=forget):
        pass


async def test_a_file_that_does_not_fit_the_chain_is_found_out() -> None:
    async with open_anvil_ledger() as ledger:
        await opened(ledger)
        ledger.deployment = replace(ledger.deployment, code_hashes=("00" * 32, *ledger.deployment.code_hashes[1:]))
        with pytest.raises(ChainError, match="another contract at 0x"):
            await opened(ledger)


async def test_a_chain_that_was_started_anew_has_no_contracts() -> None:
    async with open_anvil_ledger() as ledger:
        words = r"no contract at 0x\w{40}, where the deployment file has token"
        with anvil() as fresh, pytest.raises(ChainError, match=words):
            await opened(ledger, fresh.url)


async def test_a_chain_of_another_id_is_refused() -> None:
    async with open_anvil_ledger() as ledger:
        ledger.deployment = replace(ledger.deployment, chain_id=1)
        with pytest.raises(ChainError, match="wrong chain"):
            await opened(ledger)


async def test_a_chain_that_is_down_is_said_in_a_sentence() -> None:
    async with open_anvil_ledger() as ledger:
        ledger.chain.stop()
        with pytest.raises(
            ChainError, match=r"^no Ethereum endpoint answers: http://127\.0\.0\.1:\d+ \(.*\)$"
        ) as caught:
            await opened(ledger)
        assert caught.value.transient
