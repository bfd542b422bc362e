"""`vcoin node rotate`, `classes` and `unjail`: what an owner changes about a node at once."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from node.cli.ui.options import ClassIds
from node.cli.ui.wallet import NodeWalletOptions, carry_out_about, send_about, unlock

if TYPE_CHECKING:
    from node.cli.ui.types import Address, Key, Network, TransactionPlan

OWNERS = "the owner's key"


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
