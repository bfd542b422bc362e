"""`vcoin params`: the numbers that the network was deployed with, as its contracts have them."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from node.cli.ui import output
from node.cli.ui.contracts import ask_network
from node.cli.ui.options import COMMON, Common, noun
from node.cli.ui.phrases import span
from node.cli.ui.plan import parameters

if TYPE_CHECKING:
    from chain.contracts.network import Deployment, Network
    from chain.contracts.params import DeviceClass
    from chain.contracts.profiles import Profile

app = noun("params", "The numbers that the network was deployed with.")


@dataclass(frozen=True)
class _ParamsState:
    profile: "Profile"
    classes: "list[DeviceClass]"
    governor: str
    delay_s: int


@app.command
def show(*, common: Common = COMMON) -> int:
    """Show every number, every device class, and who may add to them."""
    seen = ask_network(common.data_dir, _look)
    classes = [{**asdict(each), "runtime": each.runtime.hex()} for each in seen.classes]
    plain = {"profile": asdict(seen.profile), "classes": classes, "governor": seen.governor, "delay_s": seen.delay_s}
    return output.show(common.json, plain, lambda: _description(seen))


def _description(seen: _ParamsState) -> Iterator[str]:
    yield from output.pairs(parameters(seen.profile))
    yield ""
    yield from output.table(("class", "name", "dtype", "isa", "runtime"), [_row(each) for each in seen.classes])
    yield ""
    delay = span(seen.delay_s * 1_000)
    yield f"Only {seen.governor}, the timelock, adds rows, {delay} after it was proposed; no account changes one."


async def _look(network: "Network", _: "Deployment") -> _ParamsState:
    return _ParamsState(
        await network.params.profile(),
        await network.params.classes(),
        await network.params.read("governor"),
        await network.timelock.delay(),
    )


def _row(each: "DeviceClass") -> tuple[str, ...]:
    return (str(each.id), each.name, each.dtype, each.isa, each.runtime.hex()[:16])
