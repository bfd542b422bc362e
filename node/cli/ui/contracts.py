"""The network's contracts as a command reaches them without a daemon: by the node's settings."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from node.cli.ui.settings import config_of

if TYPE_CHECKING:
    from node.cli.ui.types import Config, Deployment, Network

Found = TypeVar("Found")


def ask_network(data_dir: Path | None, work: "Callable[[Network, Deployment], Awaitable[Found]]") -> Found:
    """The result of `work` on the network that the settings name. Raises: ConfigError, ChainError."""
    return with_network(config_of(data_dir), work)


def with_network(config: "Config", work: "Callable[[Network, Deployment], Awaitable[Found]]") -> Found:
    """As `ask_network`, with settings that were read already."""
    import trio

    from chain.contracts.network import Network, read_deployment
    from chain.rpc.endpoints import open_rpc
    from chain.rpc.ethereum import Ethereum
    from protocol.errors import ConfigError

    if config.chain.deployment is None:
        raise ConfigError("no deployment file is set", "chain.deployment names the network's addresses file")
    deployment = read_deployment(config.chain.deployment)

    async def run() -> Found:
        async with open_rpc(config.chain.rpc_urls, deployment.chain_id) as rpc:
            network = Network(Ethereum(rpc), deployment.addresses)
            await network.require(deployment)
            return await work(network, deployment)

    return trio.run(run)
