"""`vcoin node rotate`, `classes` and `unjail`: what an owner changes about a node at once.

`vcoin node commission` and `vcoin node payout`: what an owner announces first, so that stakers can leave before.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from node.cli.ui.options import AddressOf, ClassIds, Percent, noun
from node.cli.ui.wallet import NodeWalletOptions, carry_out_about, send_about, unlock

if TYPE_CHECKING:
    from node.cli.ui.types import Address, Key, Network, TransactionPlan

OWNERS = "the owner's key"
EITHERS = "the key of owner or payout"
ANYBODYS = "the wallet's key"
commission = noun("commission", "What the owner takes of the rewards of others' stake: announced, then in force.")
payout = noun("payout", "Where the owner's rewards go: announced, then in force.")


def rotate(
    new_key: Annotated[Path, Parameter(metavar="FILE")],
    /,
    *,
    new_password_file: Path | None = None,
    wallet: NodeWalletOptions,
) -> int:
    """Give a node another operator key, at once; the id stays. For an operator key that may have been stolen.

    The new key agrees with its signature. Then stop the node, put the file in the place of keys/operator.json, start.

    Parameters
    ----------
    new_key
        The new operator's keystore file.
    new_password_file
        Its first line unlocks the new key; nothing: VCOIN_PASSWORD, else a question.
    """
    from node.wallet import plans

    operator = unlock(new_key, new_password_file, "the new operator key")

    async def plan(network: "Network", owner: "Key", node: "Address") -> "TransactionPlan":
        consent = await network.stakes.consent(operator, owner.address)
        return await plans.plain(network, owner, network.stakes.rotate_operator(node, consent))

    return carry_out_about(wallet, OWNERS, plan)


def classes(ids: ClassIds, /, *, wallet: NodeWalletOptions) -> int:
    """Change the device classes of a node. Full probation follows: its next twenty jobs are all checked.

    Parameters
    ----------
    ids
        All that it runs from now on, for example 1,2; vcoin params show lists them.
    """
    mask = sum(1 << class_id for class_id in ids)
    return send_about(wallet, OWNERS, lambda network, node: [network.stakes.set_classes(node, mask)])


def unjail(*, wallet: NodeWalletOptions) -> int:
    """Let a node work again once its time in jail is over and its open batches are judged. Full probation follows."""
    return send_about(wallet, OWNERS, lambda network, node: [network.stakes.unjail(node)])


@commission.command(name="announce")
def announce_commission(share: Percent, /, *, wallet: NodeWalletOptions) -> int:
    """Announce another commission. It may be confirmed after the network's timelock; stakers can leave until then.

    Parameters
    ----------
    share
        Of what others' stake earns, for example 12.5. A second announcement takes the place of the first.
    """
    return send_about(wallet, OWNERS, lambda network, node: [network.stakes.set_commission(node, share)])


@commission.command(name="confirm")
def confirm_commission(*, wallet: NodeWalletOptions) -> int:
    """Put an announced commission in force, once its time has come. Any wallet may."""
    return send_about(wallet, ANYBODYS, lambda network, node: [network.stakes.confirm_commission(node)])


@commission.command(name="cancel")
def cancel_commission(*, wallet: NodeWalletOptions) -> int:
    """Call an announced commission off; the owner."""
    return send_about(wallet, OWNERS, lambda network, node: [network.stakes.cancel_commission(node)])


@payout.command(name="announce")
def announce_payout(address: AddressOf, /, *, wallet: NodeWalletOptions) -> int:
    """Announce another address for the owner's rewards. It may be confirmed once the network's timelock is over.

    Parameters
    ----------
    address
        The account that is paid. A second announcement takes the place of the first.
    """
    return send_about(wallet, OWNERS, lambda network, node: [network.stakes.set_payout(node, address)])


@payout.command(name="confirm")
def confirm_payout(*, wallet: NodeWalletOptions) -> int:
    """Put an announced payout in force, once its time has come. Any wallet may."""
    return send_about(wallet, ANYBODYS, lambda network, node: [network.stakes.confirm_payout(node)])


@payout.command(name="cancel")
def cancel_payout(*, wallet: NodeWalletOptions) -> int:
    """Call an announced payout off; the owner, or the present payout: for a stolen owner's key."""
    return send_about(wallet, EITHERS, lambda network, node: [network.stakes.cancel_payout(node)])
