"""`vcoin panel`: the arbiters of a network, the cases that wait for them, and their votes."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from node.api.faults import Fault
from node.api.prefix import complete
from node.cli.ui import output
from node.cli.ui.contracts import ask_network
from node.cli.ui.options import COMMON, Common, Flag, noun, require_one
from node.cli.ui.phrases import percent, short, span
from node.cli.ui.wallet import WalletOptions, send_by

if TYPE_CHECKING:
    from node.cli.ui.types import Call, Deployment, Network
    from protocol.wire.ids import BatchId

app = noun("panel", "The arbiters, who come last, and the cases that wait for them.")


@app.command
def show(*, common: Common = COMMON) -> int:
    """Show who the arbiters are, how many decide, and the cases that wait for them with the votes so far."""
    seen = ask_network(common.data_dir, _look)
    return output.show(common.json, seen, lambda: _description(seen))


@app.command
def vote(
    case: str,
    /,
    *,
    pass_: Annotated[bool, Parameter(name="--pass", negative="")] = False,
    void: Flag = False,
    wallet: WalletOptions,
) -> int:
    """Vote on a case that waits for arbiters, once: let its batch pass, or void it. Neither is a slash.

    Parameters
    ----------
    case
        Its id, or the beginning of it; vcoin panel show lists them.
    pass_
        The batch was honest: its node is paid.
    void
        The doubt stays: the clients are refunded.
    """
    require_one({"--pass": pass_, "--void": void})
    name = ask_network(wallet.common.data_dir, lambda network, deployment: _find(network, deployment, case))

    async def call(network: "Network") -> "Call":
        return (await network.panel()).vote(name, pass_)

    return send_by(wallet, "the arbiter's key", call)


async def _look(network: "Network", deployment: "Deployment") -> dict[str, Any]:
    from chain.read.cases import cases_before_panel

    block, panel = await network.ethereum.block(), await network.panel()
    waiting = []
    for case in await cases_before_panel(network, deployment.block, block.number):
        passes, voids = await panel.votes_of(case.batch_id)
        votes = {"passes": passes, "voids": voids, "until": case.until}
        waiting.append({"id": case.batch_id.hex(), "node": case.node, "median_bps": case.median, **votes})
    sitting = {"arbiters": list(await panel.arbiters()), "quorum": await panel.quorum()}
    return {**sitting, "waiting": waiting, "now": block.timestamp}


async def _find(network: "Network", deployment: "Deployment", prefix: str) -> "BatchId":
    from protocol.wire.ids import BatchId

    waiting = [each["id"] for each in (await _look(network, deployment))["waiting"]]
    if not waiting:
        raise Fault("not_found", "no case waits for arbiters", "vcoin case list shows all")
    return BatchId(bytes.fromhex(complete(prefix, waiting, "case")))


def _description(seen: Mapping[str, Any]) -> list[str]:
    head = ("case", "node", "median", "pass", "void", "ends")
    waiting = output.table(head, [_row(each, seen["now"]) for each in seen["waiting"]])
    return [*output.pairs(_rows(seen)), *(["", *waiting] if waiting[1:] else [])]


def _rows(seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if not seen["arbiters"]:
        yield "arbiters", "none: what the last round doubts is void"
        return
    for number, arbiter in enumerate(seen["arbiters"]):
        yield "" if number else "arbiters", arbiter
    yield "quorum", f"{seen['quorum']} of {len(seen['arbiters'])} decide"
    yield "waiting", f"{len(seen['waiting'])} {'case' if len(seen['waiting']) == 1 else 'cases'}"


def _row(each: Mapping[str, Any], now: int) -> tuple[str, ...]:
    ends = f"in {span((each['until'] - now) * 1_000)}" if each["until"] > now else "now, void"
    votes = str(each["passes"]), str(each["voids"])
    return (each["id"][:16], short(each["node"]), percent(each["median_bps"]), *votes, ends)
