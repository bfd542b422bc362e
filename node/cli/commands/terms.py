"""`vcoin node commission` and `vcoin node payout`: what an owner announces first, so that stakers can leave before."""

from node.cli.ui.options import AddressOf, Percent, noun
from node.cli.ui.wallet import NodeWalletOptions, send_about

OWNERS = "the owner's key"
EITHERS = "the key of owner or payout"
ANYBODYS = "the wallet's key"
commission = noun("commission", "What the owner takes of the rewards of others' stake: announced, then in force.")
payout = noun("payout", "Where the owner's rewards go: announced, then in force.")


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
        Who is to be paid. A second announcement takes the place of the first.
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
