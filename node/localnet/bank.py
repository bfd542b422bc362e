"""The chain of a local network: Anvil, the contracts, and money for everybody.

While it is set up, Anvil makes a block of each transaction; then one a second, as a chain does.
"""

import shutil
import socket
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import trio

from chain.contracts.network import Deployment, Network
from chain.contracts.profiles import profiles
from chain.deploy.deployment import deploy, first_classes
from chain.rpc.endpoints import open_rpc
from chain.rpc.ethereum import Call, Ethereum
from chain.tx.transactions import Sender
from chain.tx.wallet import Key
from node.api.faults import Fault
from node.localnet.plan import NodePlan
from node.localnet.processes import Process, start
from node.wallet import plans
from protocol.errors import ChainError
from protocol.roles.role import Role
from protocol.wire.ids import Address

CHAIN_ID = 31_337
GAS_WEI = 1_000 * 10**18
"""The chain's own coin for everybody who sends transactions."""
POLL_S = 0.02
UP_WITHIN_S = 20.0


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """The keys of one node: who owns it, what it signs with, who pays for its jobs."""

    plan: NodePlan
    owner: Key
    operator: Key
    client: Key


def find_anvil() -> str:
    """The anvil program: on the path, or in this checkout. Raises: Fault preflight."""
    checkout = Path(__file__).parents[2] / "hardhat-local" / "node_modules" / "@foundry-rs"
    found = shutil.which("anvil") or next((str(path) for path in sorted(checkout.glob("anvil-*/bin/anvil"))), None)
    if found is None:
        raise Fault("preflight", "anvil is not installed", "npm ci in hardhat-local/, or put anvil on the PATH")
    return found


def require_free(port: int, what: str) -> None:
    """Raises: Fault preflight if something listens on a port of this machine."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            message = f"port {port} of 127.0.0.1 is taken, {what} needs it"
            raise Fault("preflight", message, "vcoin localnet up --port PORT takes others") from error


def start_anvil(port: int, directory: Path) -> Process:
    """A chain of its own on 127.0.0.1, a block a second. Raises: Fault preflight, ConfigError."""
    options = ["--host", "127.0.0.1", "--port", str(port), "--chain-id", str(CHAIN_ID)]
    options += ["--block-time", "1", "--accounts", "0"]
    return start("anvil", [find_anvil(), *options], directory / "anvil.log")


@asynccontextmanager
async def reach(rpc_url: str, process: Process) -> AsyncIterator[Ethereum]:
    """Calls to a chain that was just started. Raises: ChainError if it does not come up."""
    port = int(rpc_url.rpartition(":")[2])
    deadline = trio.current_time() + UP_WITHIN_S
    while not await _listens(port):
        if not process.is_alive or trio.current_time() > deadline:
            raise ChainError(f"anvil did not come up: {process.tail()}")
        await trio.sleep(POLL_S)
    async with open_rpc([rpc_url], CHAIN_ID) as rpc:
        yield Ethereum(rpc)


async def found_network(ethereum: Ethereum, deployer: Key, runtime: bytes, path: Path, profile: str) -> Deployment:
    """Deploy the contracts and write their addresses to `path`; blocks come with transactions from here on."""
    await ethereum.rpc.request("evm_setAutomine", True)
    await give_gas(ethereum, deployer.address)
    classes = first_classes(runtime)
    return await deploy(ethereum, deployer, profiles()[profile], classes, path=path, poll_s=POLL_S)


async def fund(
    network: Network, deployer: Key, accounts: Sequence[NodeKeys], class_ids: Sequence[int]
) -> AsyncIterator[str]:
    """Give every node its money, its stake and its places as a verifier; says what it did, line by line."""
    for account in accounts:
        plan, client, owner = account.plan, account.client, account.owner
        for key in (owner, account.operator, client):
            await give_gas(network.ethereum, key.address)
        if plan.coins_wei + plan.deposit_wei:
            await _send(network, deployer, network.token.transfer(client.address, plan.coins_wei + plan.deposit_wei))
        if plan.deposit_wei:
            await _carry_out(network, client, await plans.deposit(network, client, plan.deposit_wei))
        if plan.stake_wei:
            await _send(network, deployer, network.token.transfer(owner.address, plan.stake_wei))
            verifies = Role.VERIFIER in plan.roles
            registration = plans.register(
                network, owner, account.operator, plan.stake_wei, class_ids, verifies=verifies
            )
            await _carry_out(network, owner, await registration)
        yield plan.name


async def tick(ethereum: Ethereum) -> None:
    """From here on a block a second."""
    await ethereum.rpc.request("evm_setIntervalMining", 1)
    await ethereum.rpc.request("evm_setAutomine", False)


async def give_gas(ethereum: Ethereum, to: Address) -> None:
    """Money for transactions out of nothing, as only a test chain can."""
    await ethereum.rpc.request("anvil_setBalance", to, hex(GAS_WEI))


async def _send(network: Network, key: Key, call: Call) -> None:
    await _carry_out(network, key, await plans.plain(network, key, call))


async def _carry_out(network: Network, key: Key, plan: plans.TransactionPlan) -> None:
    await plans.send(network, plan, Sender(network.ethereum, key, plans.unrecorded, poll_s=POLL_S))


async def _listens(port: int) -> bool:
    try:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
    except OSError:
        return False
    await stream.aclose()
    return True
