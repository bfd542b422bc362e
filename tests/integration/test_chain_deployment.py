"""Deploying a network on Anvil: as planned, resumed, checked, refused."""

import os
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import astuple, replace
from pathlib import Path

import pytest

from chain.adapter import open_chain
from chain.calibration import CalibrationFile, ClassNoise
from chain.deployment import NAMES, Plan, deploy, first_classes, plan
from chain.keystore import create_key
from chain.network import Network, read_deployment
from chain.profiles import profiles
from chain.rpc import open_rpc
from chain.wallet import Wallet
from protocol.errors import ChainError, ConfigError
from protocol.events import CalibrationSeen
from protocol.stages.verification import UNCALIBRATED, Calibration, Tolerance
from protocol.wire.ids import Cid
from tests.anvil import CHAIN_ID, Anvil, Controls, anvil
from tests.anvil_ledger import DEPLOYER, POLL_S, RUNTIME, AnvilLedger, forget, open_anvil_ledger
from tests.jobs import key, named
from tests.story import told_by

pytestmark = pytest.mark.anvil

LOCAL = profiles()["local"]
CLASSES = first_classes(RUNTIME)
NOISE = Calibration(Tolerance(1, 2), Tolerance(3, 4), Tolerance(5, 6), Tolerance(7, 8))
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
        assert used < planned.gas < 2 * used


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
        assert 0 < stopped_at < len(NAMES)
        assert not read_deployment(path).complete
        await controls.enrich(DEPLOYER)
        made = await deploy(*arguments, calibrations=(), path=path, poll_s=POLL_S)
        assert made.complete
        assert made.first_nonce == 0
        assert await controls.ethereum.nonce(DEPLOYER.address) == len(NAMES) + len(CLASSES)


async def test_a_deployer_that_was_busy_elsewhere_must_begin_again(tmp_path: Path) -> None:
    path = tmp_path / "31337.json"
    async with chain() as (_, controls):
        arguments = (controls.ethereum, DEPLOYER, LOCAL, CLASSES)
        await controls.raw("anvil_setBalance", DEPLOYER.address, hex(12 * 10**15))
        with pytest.raises(ChainError, match="too little for gas"):
            await deploy(*arguments, calibrations=(), path=path, poll_s=POLL_S)
        await controls.enrich(DEPLOYER)
        await deploy(*arguments, calibrations=(), poll_s=POLL_S)
        with pytest.raises(ConfigError, match=r"sent other transactions|planned addresses are others") as caught:
            await deploy(*arguments, calibrations=(), path=path, poll_s=POLL_S)
        assert caught.value.hint


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
        assert (row.calibration, row.act_weights_hash) == (NOISE, calibration(RUNTIME).act_weights_hash)
        await ledger.mine(ledger.rules.final_depth)
        async with ledger.adapter(key("node")) as adapter, told_by(adapter) as story:
            assert await adapter.calibration(MODEL, 2) == NOISE
            assert await adapter.calibration(MODEL, 1) == UNCALIBRATED
            told = await story.until(CalibrationSeen)
            assert (told.manifest, told.class_id, told.calibration) == (MODEL, 2, NOISE)


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


@pytest.mark.slow
async def test_the_script_plans_deploys_and_checks(tmp_path: Path) -> None:
    async with chain() as (running, controls):
        create_key(tmp_path / "deployer.json", "secret", secret=DEPLOYER.secret, iterations=2)
        command = [sys.executable, "-m", "scripts.deploy", "--rpc", running.url, "--chain-id", str(CHAIN_ID)]
        command += ["--profile", "local", "--key", str(tmp_path / "deployer.json"), "--runtime", RUNTIME.hex()]
        command += ["--out", str(tmp_path / "out.json")]
        environment = {**os.environ, "VCOIN_PASSWORD": "secret"}

        def run(*more: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([*command, *more], env=environment, capture_output=True, text=True, check=False)

        planned = run("--plan")
        assert planned.returncode == 0, planned.stderr
        assert not (tmp_path / "out.json").exists()
        done = run()
        assert done.returncode == 0, done.stderr
        made = read_deployment(tmp_path / "out.json")
        assert all(address in planned.stdout for address in astuple(made.addresses))
        assert made.addresses.settlement in done.stdout
        environment["VCOIN_PASSWORD"] = "wrong"
        failed = run()
        assert (failed.returncode, failed.stdout) == (1, "")
        assert "error: wrong password" in failed.stderr
        assert "hint: " in failed.stderr
        assert await controls.ethereum.nonce(DEPLOYER.address) > 0
