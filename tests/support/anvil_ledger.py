"""A network deployed on an Anvil of its own, and the people who use it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import trio

from chain.calibration.files import CalibrationFile
from chain.contracts.network import Deployment, Network
from chain.contracts.profiles import Profile, profiles
from chain.deploy.deployment import deploy, first_classes
from chain.perform.adapter import ChainAdapter, open_chain
from chain.rpc.endpoints import open_rpc
from chain.rpc.ethereum import Call
from chain.tx.pending import Prepared, Record
from chain.tx.transactions import Sender
from chain.tx.wallet import Key, Wallet
from protocol.judging.fraud_proofs import FraudKind, OpenedLeaf, Papers
from protocol.judging.margins import SequentialTest
from protocol.params import VCN, ChainRules
from protocol.stages.commitment import BatchContents
from protocol.stages.sampling import ListSlot, is_audited, seed_block
from protocol.wire.envelope import Domain
from protocol.wire.ids import Address, BatchId
from tests.support.actions import Actions
from tests.support.anvil import CHAIN_ID, Anvil, Controls, anvil
from tests.support.jobs import CLASS, CLASSES, key, named

POLL_S = 0.02
BLOCK_S = 0.1
DEPLOYER = key("deployer")
RUNTIME = named("runner")
WEALTH = 1_000_000 * VCN


async def forget(prepared: Prepared) -> None:
    """A record that no test reads."""


@dataclass
class AnvilLedger:
    """The real contracts on a chain of one."""

    chain: Anvil
    controls: Controls
    network: Network
    deployment: Deployment
    rules: ChainRules

    @property
    def domain(self) -> Domain:
        return self.deployment.domain

    async def mine(self, blocks: int = 1) -> None:
        await self.controls.mine(blocks)

    async def keep_mining(self) -> None:
        """Blocks as fast as nodes can follow them, and by nothing else; their times are those of the clock."""
        await self.controls.automine(on=False)
        while True:
            await self.controls.raw("evm_mine")
            await trio.sleep(BLOCK_S)

    async def warp(self, seconds: int) -> None:
        await self.controls.warp(seconds)

    async def lose(self, depth: int, above: int) -> None:
        """Mine `above` blocks, then replace the newest `depth` by empty ones and have every pool forget what it had."""
        if above:
            await self.controls.mine(above)
        await self.controls.reorg(depth)
        # Anvil puts what it took out back into its pool.
        await self.controls.raw("anvil_dropAllTransactions")
        await self.controls.mine()

    async def now(self) -> tuple[int, int]:
        """The newest block's number and time."""
        block = await self.network.ethereum.block()
        return block.number, block.timestamp

    def actions(self, owner: Key) -> Actions:
        return Actions(self.network, owner, poll_s=POLL_S)

    async def give(self, *people: Key) -> None:
        """Gas and coins."""
        await self.controls.enrich(*people)
        for person in people:
            await self.actions(DEPLOYER).transfer(person.address, WEALTH)

    async def register(self, operator: Key, stake: int = 10_000 * VCN) -> None:
        """A node with an owner of its own."""
        owner = owner_of(operator)
        await self.give(owner)
        await self.controls.enrich(operator)
        await self.actions(owner).register(operator, stake, CLASSES)

    async def graduate(self, operator: Key) -> None:
        """End a node's probation: Settlement itself records twenty good jobs."""
        at = self.deployment.addresses
        profile = await self.network.params.profile()
        record = (20, 0, 20 * profile.min_burn, 20_000)
        call = self.network.stakes.call("recordBatch", operator.address, record)
        await self.controls.raw("anvil_impersonateAccount", at.settlement)
        await self.controls.raw("anvil_setBalance", at.settlement, hex(10**18))
        sent = {"from": at.settlement, "to": at.stakes, "data": f"0x{call.data.hex()}"}
        await self.controls.raw("eth_sendTransaction", sent)
        await self.mine()
        await self.controls.raw("anvil_stopImpersonatingAccount", at.settlement)

    async def join(self, operator: Key) -> None:
        await self.actions(operator).join_verifiers(operator.address, CLASS)

    async def deposit(self, client: Key, amount: int) -> None:
        await self.give(client)
        await self.actions(client).deposit(amount)

    async def appeal(self, operator: Key, name: BatchId, contents: BatchContents) -> None:
        owner = owner_of(operator)
        await self.give(owner)
        await self.actions(owner).appeal(operator.address, name, contents)

    async def demand(self, adapter: Any, verifier: str, name: BatchId, seat: int, leaf: int) -> None:
        call = self.network.court.demand_data(name, seat, leaf, named("key"))
        await adapter.sender_of(verifier).send(call)

    async def challenge(self, client: Key, node: Address, slot: int, contents: BatchContents, position: int) -> None:
        await self.send(client, self.network.fraud_proofs.challenge_leaf(node, slot, contents, position))

    async def end_challenge(self, node: Address, slot: int, block: int) -> None:
        await self.send(DEPLOYER, self.network.fraud_proofs.end_challenge(node, slot, block))

    async def prove(
        self,
        node: Address,
        slot: int,
        contents: BatchContents,
        fraud_kind: FraudKind,
        opened: OpenedLeaf,
        papers: Papers,
    ) -> None:
        await self.send(
            DEPLOYER, self.network.fraud_proofs.prove_fraud(node, slot, contents, fraud_kind, [opened], papers)
        )

    async def pool(self) -> int:
        return await self.network.settlement.pool()

    async def running(self, node: Address) -> SequentialTest:
        return await self.network.court.running_of(node, CLASS)

    async def verifiers(self) -> list[ListSlot]:
        return await self.network.court.verifiers_of(CLASS)

    async def draw_audit(self, name: BatchId, *, drawn: bool = True) -> int:
        """Mine up to the block whose hash says whether a case that has just passed is audited; its epoch."""
        epoch = (await self.network.court.case_of(name)).next_try
        head, _ = await self.now()
        await self.mine(seed_block(epoch, self.rules.epoch, self.rules.lag) - head - 1)
        for attempt in range(400):
            here = await self.controls.raw("evm_snapshot")
            # Its miner is in its hash.
            await self.controls.raw("anvil_setCoinbase", f"0x{attempt:040x}")
            await self.mine()
            if is_audited((await self.network.ethereum.block()).hash, name) is drawn:
                return epoch
            await self.controls.raw("evm_revert", here)
        raise AssertionError("none of 400 blocks has such a hash")

    async def pause(self, seconds: int) -> None:
        """By the keeper, who is the deployer."""
        await self.send(DEPLOYER, self.network.guardian.pause(seconds))

    async def resume(self) -> None:
        await self.send(DEPLOYER, self.network.guardian.resume())

    async def send(self, sender: Key, call: Call) -> None:
        await Sender(self.network.ethereum, sender, forget, poll_s=POLL_S).send(call)

    def adapter(
        self,
        operator: Key,
        client: Key | None = None,
        *,
        cursor: int | None = None,
        record: Record = forget,
        poll_s: float = POLL_S,
    ) -> AbstractAsyncContextManager[ChainAdapter]:
        wallet = Wallet(operator, self.domain, client)
        return open_chain([self.chain.url], self.deployment, wallet, record=record, cursor=cursor, poll_s=poll_s)


def owner_of(operator: Key) -> Key:
    """The cold wallet behind a node."""
    return Key(named(f"owner of {operator.address}"))


@asynccontextmanager
async def open_anvil_ledger(
    *arguments: str, calibrations: Sequence[CalibrationFile] = (), **changes: Any
) -> AsyncIterator[AnvilLedger]:
    """The local profile, with changes to its numbers, deployed on a chain of its own.

    It is deployed once in a process: later chains begin with the state, blocks and logs that this left, and a block of
    their own time.
    """
    profile: Profile = replace(profiles()["local"], **changes)
    with anvil(*arguments) as chain:
        async with open_rpc([chain.url], CHAIN_ID) as rpc:
            controls = Controls(rpc)
            deployed = _deployed.get(which := repr((profile, calibrations)))
            if deployed is None:
                deployed = _deployed[which] = await _deploy(controls, profile, calibrations)
            else:
                await controls.raw("anvil_loadState", deployed.state)
            await controls.mine()
            network = Network(controls.ethereum, deployed.deployment.addresses)
            yield AnvilLedger(chain, controls, network, deployed.deployment, deployed.rules)


@dataclass(frozen=True)
class Deployed:
    """A network that a chain has begun with, and its state at every block as Anvil tells it."""

    deployment: Deployment
    rules: ChainRules
    state: str


_deployed: dict[str, Deployed] = {}


async def _deploy(controls: Controls, profile: Profile, calibrations: Sequence[CalibrationFile]) -> Deployed:
    await controls.enrich(DEPLOYER)
    deployment = await deploy(
        controls.ethereum, DEPLOYER, profile, first_classes(RUNTIME), calibrations=calibrations, poll_s=POLL_S
    )
    at = deployment.addresses
    rules = await Network(controls.ethereum, at).params.rules(at.settlement, at.stakes)
    return Deployed(deployment, rules, await controls.raw("anvil_dumpState", True))
