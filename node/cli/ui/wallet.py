"""A wallet of one's own behind a command: its key file, and what is sent with it. The daemon never has this key."""

import os
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from inspect import isawaitable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from node.api.views import PlanView
from node.cli.ui import output
from node.cli.ui.contracts import with_network
from node.cli.ui.money import carry_out
from node.cli.ui.options import COMMON, AddressOf, Common, DryRun, Yes
from node.cli.ui.settings import config_of

if TYPE_CHECKING:
    from node.cli.ui.types import Address, Call, Config, Key, Network, TransactionPlan

Planned = Callable[["Network", "Key"], Awaitable["TransactionPlan"]]
"""The plan of a key's transactions, from the state of the network now."""
PlannedAbout = Callable[["Network", "Key", "Address"], Awaitable["TransactionPlan"]]
"""The same about a node, by its id."""
Wanted = Callable[["Network"], "Call | Awaitable[Call]"]
"""A call that moves no coins."""
CallsAbout = Callable[["Network", "Address"], Sequence["Call"]]
"""Such calls about a node, by its id."""


@Parameter(name="*")
@dataclass(frozen=True)
class WalletOptions:
    """Options of the commands that send from a wallet."""

    key: Annotated[Path, Parameter(metavar="FILE")]
    """The wallet's keystore file (Web3 secret storage, as geth and cast write it)."""
    password_file: Path | None = None
    """Its first line unlocks the key; nothing: VCOIN_PASSWORD, else a question."""
    yes: Yes = False
    """Send without asking."""
    dry_run: DryRun = False
    """Only show what would happen."""
    common: Common = COMMON


@Parameter(name="*")
@dataclass(frozen=True)
class OwnerWalletOptions(WalletOptions):
    """Options of commands about a node's stake that its owner sends, or for an appeal its operator."""

    key: Annotated[Path, Parameter(name="--owner-key", metavar="FILE")]
    """The owner's keystore file, as geth and cast write it; for an appeal the operator's will do as well."""


@Parameter(name="*")
@dataclass(frozen=True)
class NodeOption:
    """Which node a command is about."""

    node: AddressOf | None = None
    """The node's id (else that of the node here)."""

    def name_by(self, config: "Config") -> "Address":
        """Its id or its operator key. Raises: ConfigError where none is named and there is no node here."""
        from node.wallet.home import Home

        return self.node or Home(config.node.data_dir).operator_address()


HERE = NodeOption()


@Parameter(name="*")
@dataclass(frozen=True)
class NodeWalletOptions(WalletOptions):
    """Options of commands about a node that a wallet sends."""

    about: NodeOption = HERE


def carry_out_by(wallet: WalletOptions, whose: str, planned: Planned) -> int:
    """Unlock a wallet's key, then simulate, show, ask and send what is planned with it.

    Args: whose, in the question for the password: "the owner's key".
    Raises: ConfigError for the key or its password; Fault reverted and ChainError as the contracts and endpoints say.
    """
    config = config_of(wallet.common.data_dir)
    key = unlock(wallet.key, wallet.password_file, whose)

    async def act(network: "Network", simulate: bool) -> PlanView:
        from chain.tx.transactions import Sender
        from node.wallet import plans

        plan = await planned(network, key)
        if simulate:
            return await plans.simulate(network, plan)
        return await plans.send(network, plan, Sender(network.ethereum, key, plans.unrecorded))

    def plan(simulate: bool) -> PlanView:
        return with_network(config, lambda network, _: act(network, simulate))

    return carry_out(plan, yes=wallet.yes, dry_run=wallet.dry_run, as_json=wallet.common.json)


def send_by(wallet: WalletOptions, whose: str, wanted: Wanted) -> int:
    """As `carry_out_by`, a call that moves no coins."""

    async def plan(network: "Network", key: "Key") -> "TransactionPlan":
        from node.wallet import plans

        return await plans.plain(network, key, await called(network, wanted))

    return carry_out_by(wallet, whose, plan)


async def called(network: "Network", wanted: Wanted) -> "Call":
    """The call that is wanted, which may depend on what the network is asked for."""
    call = wanted(network)
    return await call if isawaitable(call) else call


def carry_out_about(wallet: NodeWalletOptions, whose: str, planned: PlannedAbout) -> int:
    """As `carry_out_by`, about a node. Raises: ConfigError, too, where no node is named and there is none here."""
    name = wallet.about.name_by(config_of(wallet.common.data_dir))

    async def plan(network: "Network", key: "Key") -> "TransactionPlan":
        return await planned(network, key, await network.stakes.id_of(name))

    return carry_out_by(wallet, whose, plan)


def send_about(wallet: NodeWalletOptions, whose: str, calls: CallsAbout) -> int:
    """As `carry_out_about`, calls that move no coins."""

    async def plan(network: "Network", key: "Key", node: "Address") -> "TransactionPlan":
        from node.wallet import plans

        return await plans.plain(network, key, *calls(network, node))

    return carry_out_about(wallet, whose, plan)


def unlock(key: Path, password_file: Path | None, whose: str) -> "Key":
    """The key of a file; the terminal asks for the password of "the owner's key". Raises: ConfigError."""
    from chain.tx.keystore import load_key, read_password

    prompt = output.ask_secret if output.is_interactive() else None
    return load_key(key, read_password(password_file, os.environ, prompt, f"password of {whose}"))
