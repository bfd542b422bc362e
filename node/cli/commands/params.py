"""`vcoin params`: the numbers that the network was deployed with, as its contracts have them."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from node.cli.ui import output
from node.cli.ui.contracts import ask_network
from node.cli.ui.options import COMMON, Common, noun
from node.cli.ui.phrases import span
from node.cli.ui.plan import parameters

if TYPE_CHECKING:
    from chain.contracts.network import Deployment, Network

app = noun("params", "The numbers that the network was deployed with.")


@app.command
def show(*, common: Common = COMMON) -> int:
    """Show every number, every device class, and who may add to them."""
    seen = ask_network(common.data_dir, _look)
    return output.show(common.json, seen, lambda: _description(seen))


def _description(seen: Mapping[str, Any]) -> Iterator[str]:
    yield from output.pairs(parameters(seen["profile"]))
    head = ("class", "name", "dtype", "isa", "runtime")
    rows = [(str(row["id"]), row["name"], row["dtype"], row["isa"], row["runtime"][:16]) for row in seen["classes"]]
    yield from ("", *output.table(head, rows), "")
    delay, governor = span(seen["delay_s"] * 1_000), seen["governor"]
    yield f"Only {governor}, the timelock, adds rows, {delay} after it was proposed; no account changes one."


async def _look(network: "Network", _: "Deployment") -> dict[str, Any]:
    return {
        "profile": asdict(await network.params.profile()),
        "classes": [{**asdict(each), "runtime": each.runtime.hex()} for each in await network.params.classes()],
        "governor": await network.params.read("governor"),
        "delay_s": await network.timelock.delay(),
    }
