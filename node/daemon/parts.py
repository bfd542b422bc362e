"""The parts of a node: opened in order, closed in the reverse order, with nothing running yet."""

import hashlib
import logging
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, get_args

import trio

from chain.contracts.network import Deployment, read_deployment
from chain.perform.adapter import ChainAdapter, open_chain
from chain.tx.keystore import load_key, read_password
from chain.tx.pending import Prepared
from chain.tx.transactions import GWEI
from chain.tx.wallet import Wallet
from executor.adapter import ContainerAdapter, Runner
from executor.models import ModelStore
from executor.workspace.folders import Workspaces, disk_errors
from node.config import ANY_MODEL, Config
from node.daemon.gossip_admission import GossipAdmission
from node.daemon.known import KnownModels
from node.daemon.model_use import ModelFetch, ModelUse
from node.daemon.remover import ModelRemover
from node.daemon.room import StoreRoom
from node.daemon.runner import FindRunner, Site, Weights, find_docker
from node.daemon.telemetry import Metrics
from node.driver import Driver
from node.journal import Journal, SentTransaction, open_journal, own_directory
from node.wallet.home import Home
from node.wallet.sealing import Sealing
from node.wallet.secrets import ContentKeys, HpkeSecrets, SecretFiles, node_secret
from p2p.adapter import PeerAdapter, PeerSettings
from p2p.holdings import ModelHoldings
from p2p.host import Host, open_host
from p2p.store import ContentStore
from protocol.effects import (
    ChainEffect,
    ContainerEffect,
    FetchModel,
    PeerEffect,
    SealingEffect,
    SignMessage,
    about,
    effect_key,
)
from protocol.errors import ConfigError, ExecutorError, P2PError
from protocol.network.gossip import FAST_TICK_MS
from protocol.params import FAST_HEARTBEAT_INTERVAL_MS
from protocol.roles.identity import Identity, Settings
from protocol.roles.machine import Machine
from protocol.roles.role import Role
from protocol.wire.ids import Address, Cid, Wei

log = logging.getLogger(__name__)

AGENT = "vcoin/0.1.0"
Clock = Callable[[], int]


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000


@dataclass(slots=True)
class Parts:
    """An open node. `runner` is None where this machine runs no containers, and `no_runner` says why."""

    config: Config
    clock: Clock
    journal: Journal
    wallet: Wallet
    chain: ChainAdapter
    machine: Machine
    driver: Driver
    sealing: Sealing
    peers: PeerAdapter
    host: Host
    models: ModelStore
    store: ContentStore
    known: KnownModels
    holdings: ModelHoldings
    remover: ModelRemover
    room: StoreRoom
    weights: Weights
    metrics: Metrics
    runner: Runner | None
    no_runner: str


@asynccontextmanager
async def open_parts(
    config: Config, clock: Clock = now_ms, find_runner: FindRunner = find_docker
) -> AsyncIterator[Parts]:
    """Open everything that a node needs.

    Args: clock, milliseconds since 1970; find_runner, what looks for something to run containers with.
    Raises: ConfigError for a setting, a key or a data directory that cannot be used; ChainError if the chain does not
    answer; ExecutorError if the node was to do only what needs containers, and they cannot be run.
    """
    data_dir = config.node.data_dir
    deployment = _deployment(config)
    async with AsyncExitStack() as stack:
        stack.enter_context(own_directory(data_dir))
        wallet = await trio.to_thread.run_sync(_unlock, config, deployment)
        secrets = SecretFiles(data_dir / "keys")
        journal = stack.enter_context(open_journal(data_dir))
        settlement = deployment.addresses.settlement
        journal.require_owner(f"node {wallet.operator.address} on chain {deployment.chain_id}, settlement {settlement}")
        chain = await stack.enter_async_context(
            open_chain(
                config.chain.rpc_urls,
                deployment,
                wallet,
                record=partial(record_transaction, journal),
                cursor=await journal.cursor(),
                cursor_hash=await journal.cursor_hash(),
                clock_ms=clock,
                poll_s=None if config.chain.poll_ms is None else config.chain.poll_ms / 1000,
                most_fee=Wei(config.chain.max_fee_gwei * GWEI),
            )
        )
        weights, workspaces = Weights(), Workspaces(Home(data_dir).work)
        models = ModelStore(config.executor.store)
        runner, no_runner = await find_runner(Site(config, wallet.operator.address, models, weights, workspaces))
        if runner is not None:
            stack.callback(runner.close)
        else:
            # Nothing here can take over a container, so its mount is of no use.
            await trio.to_thread.run_sync(_let_go, workspaces)
        listener = open_host(wallet.operator.secret, config.p2p.listen, config.p2p.announce)
        try:
            host = await stack.enter_async_context(listener)
        except P2PError as error:
            raise ConfigError(str(error), "set p2p.listen to an address that is free") from error
        rules = replace(chain.rules, heartbeat_ms=FAST_HEARTBEAT_INTERVAL_MS) if config.p2p.fast else chain.rules
        roles = frozenset(map(Role, config.node.roles)) if runner is not None else frozenset({Role.REQUESTER})
        settings = _settings(config, roles, node_secret(secrets), rules.profile)
        machine = Machine(await _identity(config, wallet, chain, host), rules, settings)
        routes: dict[type[Any], Any] = {}
        driver = Driver(machine, journal, routes, clock, host.report)
        store, holdings = ContentStore(config.executor.store), ModelHoldings(config.executor.store)
        known = KnownModels(machine, store)
        remover = ModelRemover(
            machine,
            driver,
            known,
            holdings,
            named=settings.models or frozenset(),
            limit_bytes=config.executor.store_bytes,
            let_go=runner.let_go if runner is not None else None,
        )
        stack.callback(remover.close)
        peers = _peers(config, machine, host, wallet, driver, clock, remover)
        sealing = Sealing(
            HpkeSecrets(SecretFiles(data_dir / "keys" / "hpke")),
            ContentKeys(SecretFiles(data_dir / "keys" / "content")),
            store,
            workspaces,
            data_dir / "results",
            lambda job_id: machine.provider.input_bytes(job_id),
            machine.identity.domain,
        )
        routes.update(dict.fromkeys(get_args(PeerEffect), peers))
        room = StoreRoom(machine, driver, known, remover, peers.blobs.require_room)
        fetch = ModelFetch(
            peers, machine, remover, clock, require_format=models.require_format, look_for_room=room.look
        )
        routes[FetchModel] = fetch
        routes.update(dict.fromkeys(get_args(SealingEffect), sealing))
        routes.update(dict.fromkeys(get_args(ChainEffect), chain))
        routes[SignMessage] = chain.signer
        if runner is not None:
            runs = ModelUse(ContainerAdapter(runner, driver.report), holdings, remover, fetch)
            routes.update(dict.fromkeys(get_args(ContainerEffect), runs))
        yield Parts(
            config=config,
            clock=clock,
            journal=journal,
            wallet=wallet,
            chain=chain,
            machine=machine,
            driver=driver,
            sealing=sealing,
            peers=peers,
            host=host,
            models=models,
            store=store,
            known=known,
            holdings=holdings,
            remover=remover,
            room=room,
            weights=weights,
            metrics=Metrics(),
            runner=runner,
            no_runner=no_runner,
        )


def _let_go(workspaces: Workspaces) -> None:
    try:
        with disk_errors():
            workspaces.sweep()
    except ExecutorError as error:
        log.warning("what an earlier run left behind cannot be removed: %s", error)


async def record_transaction(journal: Journal, prepared: Prepared) -> None:
    """Journal a signed transaction before it is broadcast."""
    key, subject = (effect_key(prepared.effect), about(prepared.effect)) if prepared.effect else (None, None)
    await journal.record_transaction(SentTransaction(prepared.sender, prepared.nonce, key, subject, prepared.raw))


def _deployment(config: Config) -> Deployment:
    if config.chain.deployment is None:
        raise ConfigError(
            "chain.deployment is not set: the addresses file of the network's contracts",
            "vcoin config show --origin; a local network writes its own",
        )
    return read_deployment(config.chain.deployment)


def _unlock(config: Config, deployment: Deployment) -> Wallet:
    """Open the key files; takes about a second each. Raises: ConfigError."""
    home = Home(config.node.data_dir)
    operator_path, client_path = home.operator_key, home.client_key
    password = read_password(config.node.password_file, os.environ, None, "")
    client = load_key(client_path, password) if Role.REQUESTER in config.node.roles and client_path.exists() else None
    return Wallet(load_key(operator_path, password), deployment.domain, client)


async def _node_of(operator: Address, chain: ChainAdapter) -> Address | None:
    """The node that this key operates, None if none is registered yet.

    Raises: ConfigError if the key was an operator once and its node has another now.
    """
    node = await chain.network.stakes.node_of_operator(operator)
    if node is None and await chain.network.stakes.is_registered(operator):
        raise ConfigError(f"{operator} is no longer the operator of its node", "run it with the key that is")
    return node


async def _identity(config: Config, wallet: Wallet, chain: ChainAdapter, host: Host) -> Identity:
    """This node's names. Raises: ConfigError, as `_node_of`."""
    signer = wallet.client.address if wallet.client else None
    return Identity(
        operator=wallet.operator.address,
        peer_id=host.peer_id,
        domain=chain.deployment.domain,
        addresses=host.addresses,
        client=Address(config.node.client) if config.node.client and signer else signer,
        signer=signer,
        node=await _node_of(wallet.operator.address, chain),
    )


def _settings(config: Config, roles: frozenset[Role], secret: bytes, profile: str) -> Settings:
    models = config.executor.models
    return Settings(
        secret=secret,
        roles=roles,
        price=config.node.price,
        slots=config.executor.slots,
        at_once=config.executor.at_once,
        lane_amount=config.node.lane,
        risk_wei=config.provider.risk,
        confirmations=config.provider.confirmations,
        lanes_ahead=config.requester.lanes_ahead,
        memory_bytes=config.executor.memory,
        models=None if models == (ANY_MODEL,) else frozenset(Cid(bytes.fromhex(each)) for each in models),
        agent=AGENT,
        profile=profile,
    )


def _peers(
    config: Config,
    machine: Machine,
    host: Host,
    wallet: Wallet,
    driver: Driver,
    clock: Clock,
    remover: ModelRemover,
) -> PeerAdapter:
    settings = PeerSettings(
        chain_id=machine.rules.chain_id,
        settlement=machine.rules.settlement,
        heartbeat_ms=machine.rules.heartbeat_ms,
        bootnodes=config.p2p.bootnodes,
        cache=config.node.data_dir / "peers.json",
        private=machine.rules.profile == "local",
        seed=hashlib.sha256(b"vcoin/gossip/1" + machine.settings.secret).digest(),
        models_limit=config.executor.models_limit,
        **({"tick_ms": FAST_TICK_MS} if config.p2p.fast else {}),
    )
    return PeerAdapter(
        host,
        settings,
        Path(config.executor.store),
        sign=wallet.sign_frame,
        gate=GossipAdmission(machine),
        inbox=driver,
        clock_ms=clock,
        keep_room=remover.room_for,
    )
