"""`vcoin account`: the client's money at the contract, moved by the daemon with the node's client key."""

from collections.abc import Iterator

from node.api.faults import Exit, vcn
from node.api.snapshot import AccountView, read
from node.cli import output
from node.cli.door import client
from node.cli.lane import table_of
from node.cli.money import carry_out_by_daemon
from node.cli.options import COMMON, Coins, Common, DryRun, Yes, noun
from node.cli.phrases import exact_coins

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
def show(*, common: Common = COMMON) -> int:
    """Show what the client has free, in lanes and in its wallet."""
    raw = client(common.data_dir).get("account")
    if common.json:
        output.as_json(raw)
        return Exit.OK
    account = read(AccountView, raw)
    output.data(output.pairs(_rows(account)))
    if account.lanes:
        output.data(["", *table_of(account.lanes)])
    return Exit.OK


def _rows(account: AccountView) -> Iterator[tuple[str, str]]:
    yield "client", account.client
    yield "free", exact_coins(account.free_wei)
    yield "in lanes", exact_coins(sum(lane.left_wei for lane in account.lanes))
    yield "wallet", f"{exact_coins(account.wallet_wei)}, {vcn(account.gas_wei)} ETH for gas"


def _move(way: str, amount: int, yes: bool, dry_run: bool, common: Common) -> int:
    body = {"amount_wei": str(amount)}
    return carry_out_by_daemon(("account", way), body, yes=yes, dry_run=dry_run, common=common)
