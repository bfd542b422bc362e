"""`vcoin account`: the client's money at the contract, moved by the daemon or from a wallet."""

from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING

from node.api.faults import vcn
from node.api.views import AccountView, read
from node.cli.commands.lane import table_of
from node.cli.ui import output
from node.cli.ui.daemon_socket import client
from node.cli.ui.money import carry_out_by_daemon
from node.cli.ui.options import COMMON, AddressOf, Coins, Common, DryRun, Seconds, Yes, noun
from node.cli.ui.phrases import exact_coins
from node.cli.ui.wallet import WalletOptions, carry_out_by, send_by

if TYPE_CHECKING:
    from node.cli.ui.types import Call, Network

app = noun("account", "The client's money, from which jobs are paid.")


@app.command
def deposit(amount: Coins, /, *, yes: Yes = False, dry_run: DryRun = False, common: Common = COMMON) -> int:
    """Pay from the client's wallet into its account.

    Parameters
    ----------
    amount
        In VCN.
    yes
        Send without asking.
    dry_run
        Only show what would happen.
    """
    return _move("deposit", amount, yes, dry_run, common)


@app.command
def withdraw(amount: Coins, /, *, yes: Yes = False, dry_run: DryRun = False, common: Common = COMMON) -> int:
    """Take free money out of the client's account, into its wallet.

    Parameters
    ----------
    amount
        In VCN.
    yes
        Send without asking.
    dry_run
        Only show what would happen.
    """
    return _move("withdraw", amount, yes, dry_run, common)


@app.command
def give(client: AddressOf, amount: Coins, /, *, wallet: WalletOptions) -> int:
    """Pay from a wallet of one's own into a client's account, as that of a node that keeps no coins of its own.

    Parameters
    ----------
    client
        Whose account; vcoin account show names the one of the node here.
    amount
        In VCN.
    """
    from node.wallet import plans

    planned = partial(plans.deposit_for, client=client, amount=amount)
    return carry_out_by(wallet, "the wallet's key", planned)


@app.command
def signer(address: AddressOf, budget: Coins, /, *, lasts: Seconds, wallet: WalletOptions) -> int:
    """Let a hot key move some of a client's free money into lanes for a while. It replaces the last grant to that key.

    Parameters
    ----------
    address
        The hot key's.
    budget
        In VCN, all lanes together.
    lasts
        How long, for example 30d. A grant of a second takes the right back.
    """

    async def call(network: "Network") -> "Call":
        expiry = (await network.ethereum.block()).timestamp + lasts
        return network.settlement.set_signer(address, budget, expiry)

    return send_by(wallet, "the client's key", call)


@app.command
def show(*, common: Common = COMMON) -> int:
    """Show what the client has free, in lanes and in its wallet."""
    raw = client(common.data_dir).get("account")
    return output.show(common.json, raw, lambda: _description(read(AccountView, raw)))


def _description(account: AccountView) -> list[str]:
    return [*output.pairs(_rows(account)), *(["", *table_of(account.lanes)] if account.lanes else [])]


def _rows(account: AccountView) -> Iterator[tuple[str, str]]:
    yield "client", account.client
    yield "free", exact_coins(account.free_wei)
    yield "in lanes", exact_coins(sum(lane.left_wei for lane in account.lanes))
    yield "wallet", f"{exact_coins(account.wallet_wei)}, {vcn(account.gas_wei)} ETH for gas"


def _move(way: str, amount: int, yes: bool, dry_run: bool, common: Common) -> int:
    body = {"amount_wei": str(amount)}
    return carry_out_by_daemon(("account", way), body, yes=yes, dry_run=dry_run, common=common)
