"""`vcoin verifier`: the lists from which seats are drawn. A node that is registered with that role joins by itself."""

from typing import TYPE_CHECKING, Any

from node.cli.ui import output
from node.cli.ui.contracts import ask_network
from node.cli.ui.options import COMMON, ClassIds, Common, noun
from node.cli.ui.phrases import percent
from node.cli.ui.wallet import NodeWalletOptions, send_about

if TYPE_CHECKING:
    from node.cli.ui.types import Deployment, Network

WHOSE = "the key of owner or operator"
app = noun("verifier", "The nodes that may be drawn to check others, by device class.")


@app.command(name="list")
def list_(*, common: Common = COMMON) -> int:
    """Show who may be drawn for each device class, and with what weight."""
    found = ask_network(common.data_dir, _look)
    head = ("class", "node", "weight", "since block")
    rows = [
        (str(each["class_id"]), each["node"], percent(each["weight_bps"]), str(each["from_block"])) for each in found
    ]
    return output.show(common.json, found, lambda: output.table(head, rows))


@app.command
def join(ids: ClassIds, /, *, wallet: NodeWalletOptions) -> int:
    """Put a node on the lists of device classes that it runs. The weight is fixed by its stake and score of now.

    Parameters
    ----------
    ids
        Device classes, for example 1,2.
    """
    return send_about(wallet, WHOSE, lambda network, node: [network.court.join_verifiers(node, each) for each in ids])


@app.command
def leave(ids: ClassIds, /, *, wallet: NodeWalletOptions) -> int:
    """Take a node off those lists. Seats that were drawn stay drawn.

    Parameters
    ----------
    ids
        Device classes, for example 1,2.
    """
    return send_about(wallet, WHOSE, lambda network, node: [network.court.leave_verifiers(node, each) for each in ids])


async def _look(network: "Network", _: "Deployment") -> list[dict[str, Any]]:
    """Those who are on the lists now."""
    head = await network.ethereum.head()
    return [
        {"class_id": each.id, "node": slot.node, "weight_bps": slot.weight_bps, "from_block": slot.from_block}
        for each in await network.params.classes()
        for slot in await network.court.verifiers_of(each.id)
        if slot.until_block > head
    ]
