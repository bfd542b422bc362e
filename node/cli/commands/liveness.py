"""`vcoin node liveness`: ask another node on the chain whether it is there, and what follows where it is not."""

from typing import TYPE_CHECKING

from node.cli.ui.options import AddressOf, noun
from node.cli.ui.wallet import NodeWalletOptions, WalletOptions, carry_out_about, carry_out_by, send_about, send_by

if TYPE_CHECKING:
    from node.cli.ui.types import Address, Call, Key, Network, TransactionPlan

OPERATORS = "the operator's key"
app = noun("liveness", "Ask another node on the chain for a sign of life; a running node answers by itself.")


@app.command
def challenge(asked: AddressOf, /, *, wallet: NodeWalletOptions) -> int:
    """Ask another node for a sign within five minutes, as the owner of a node, for a bond.

    A node that answers earns the bond. Else say so with vcoin node liveness miss, and the bond comes back. Two misses
    by two owners take back the other node's day and have three of its jobs checked.

    Parameters
    ----------
    asked
        The id of the node that is asked. The node of --node is one's own.
    """
    from node.wallet import plans

    async def plan(network: "Network", owner: "Key", by: "Address") -> "TransactionPlan":
        return await plans.challenge(network, owner, await network.stakes.id_of(asked), by)

    return carry_out_about(wallet, "the owner's key", plan)


@app.command
def answer(challenger: AddressOf, /, *, wallet: NodeWalletOptions) -> int:
    """Give the sign that somebody has asked for, and earn the bond; the operator. A running node does so by itself.

    Parameters
    ----------
    challenger
        The address of who has asked.
    """
    return send_about(wallet, OPERATORS, lambda network, node: [network.stakes.answer_liveness(node, challenger)])


@app.command
def check_in(*, wallet: NodeWalletOptions) -> int:
    """Say once a day that a node is there; the operator. A running node does so by itself."""
    return send_about(wallet, OPERATORS, lambda network, node: [network.stakes.check_in(node)])


@app.command
def miss(asked: AddressOf, /, *, challenger: AddressOf | None = None, wallet: WalletOptions) -> int:
    """Say that a node gave no sign in time; the bond goes back to who has put it up. Any wallet may.

    Parameters
    ----------
    asked
        The id of the node that was asked.
    challenger
        Who has asked (else this wallet).
    """
    from node.wallet import plans

    async def plan(network: "Network", key: "Key") -> "TransactionPlan":
        return await plans.miss(network, key, await network.stakes.id_of(asked), challenger or key.address)

    return carry_out_by(wallet, "the wallet's key", plan)


@app.command
def charge(absent: AddressOf, /, *, wallet: WalletOptions) -> int:
    """Burn what a node's absence of more than a week costs it: 1% of its stake a day. Any wallet may, for nothing.

    Parameters
    ----------
    absent
        The id of the node that has given no sign.
    """

    async def call(network: "Network") -> "Call":
        return network.stakes.penalize_offline(await network.stakes.id_of(absent))

    return send_by(wallet, "the wallet's key", call)
