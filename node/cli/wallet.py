"""A wallet of one's own behind a command: its key file, and what is sent with it. The daemon never has this key."""

import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from node.api.snapshot import MoveView
from node.cli import output
from node.cli.contracts import with_network
from node.cli.money import carry_out
from node.cli.options import AddressOf, Common, DryRun, Yes

if TYPE_CHECKING:
    from chain.network import Network
    from chain.wallet import Key
    from node.config import Config
    from node.moves import Move
    from protocol.wire.ids import Address

Planned = Callable[["Network", "Key"], Awaitable["Move"]]
"""What is to be sent by a key, from the state of the network now."""


@Parameter(name="*")
@dataclass(frozen=True)
class Wallet:
    """Options of commands that a wallet sends."""

    key: Annotated[Path, Parameter(metavar="FILE")]
    """The wallet's keystore file (Web3 secret storage, as geth and cast write it)."""
    password_file: Path | None = None
    """Its first line unlocks the key; nothing: VCOIN_PASSWORD, else a question."""
    yes: Yes = False
    """Send without asking."""
    dry_run: DryRun = False
    """Only show what would happen."""


@Parameter(name="*")
@dataclass(frozen=True)
class NodeOption:
    """Which node a command is about."""

    node: AddressOf | None = None
    """The node's id (else that of the node here)."""

    def id_by(self, config: "Config") -> "Address":
        """Its id. Raises: ConfigError where none is named and there is no node here."""
        from node.home import Home
        from protocol.wire.ids import Address

        return Address(self.node) if self.node else Home(config.node.data_dir).operator_address()


HERE = NodeOption()


def carry_out_by(wallet: Wallet, whose: str, config: "Config", common: Common, planned: Planned) -> int:
    """Unlock a wallet's key, then simulate, show, ask and send what is planned with it.

    Args: whose, in the question for the password: "the owner's key".
    Raises: ConfigError for the key or its password; Fault reverted and ChainError as the contracts and endpoints say.
    """
    key = unlock(wallet.key, wallet.password_file, whose)

    async def act(network: "Network", simulate: bool) -> MoveView:
        from chain.transactions import Sender
        from node import moves

        move = await planned(network, key)
        if simulate:
            return await moves.simulate(network, move)
        return await moves.send(network, move, Sender(network.ethereum, key, moves.unrecorded))

    def move(simulate: bool) -> MoveView:
        return with_network(config, lambda network, _: act(network, simulate))

    return carry_out(move, yes=wallet.yes, dry_run=wallet.dry_run, as_json=common.json)


def unlock(key: Path, password_file: Path | None, whose: str) -> "Key":
    """The key of a file; whoever sits there is asked for the password of "the owner's key". Raises: ConfigError."""
    from chain.keystore import load_key, read_password

    prompt = output.ask_secret if output.is_interactive() else None
    return load_key(key, read_password(password_file, os.environ, prompt, f"password of {whose}"))
