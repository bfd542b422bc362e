"""`vcoin panel`: the arbiters of a network, the cases that wait for them, and their votes."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from node.api.faults import Fault
from node.api.prefix import complete
from node.cli.ui import output
from node.cli.ui.contracts import ask_network
from node.cli.ui.options import COMMON, Common, noun, require_one
from node.cli.ui.phrases import percent, short, span
from node.cli.ui.wallet import WalletOptions, send_by

if TYPE_CHECKING:
    from chain.contracts.network import Deployment, Network
    from chain.read.cases import CaseSummary
    from chain.rpc.ethereum import Call
    from protocol.wire.ids import BatchId

app = noun("panel", "The arbiters, who come last, and the cases that wait for them.")
Choice = Annotated[bool, Parameter(negative="")]


@dataclass(frozen=True)
class _WaitingVotes:
    """A case and the votes on it so far."""

    case: "CaseSummary"
    passes: int
    voids: int


@dataclass(frozen=True)
class _PanelState:
    arbiters: tuple[str, ...]
    quorum: int
    waiting: list[_WaitingVotes]
    now: int


@app.command
def show(*, common: Common = COMMON) -> int:
    """Show who the arbiters are, how many decide, and the cases that wait for them with the votes so far."""
    seen = ask_network(common.data_dir, _look)
    return output.show(common.json, _plain(seen), lambda: _description(seen))


@app.command
def vote(
    case: str,
    /,
    *,
    pass_: Annotated[bool, Parameter(name="--pass", negative="")] = False,
    void: Choice = False,
    wallet: WalletOptions,
    common: Common = COMMON,
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
    name = ask_network(common.data_dir, lambda network, deployment: _find(network, deployment, case))

    async def call(network: "Network") -> "Call":
        return (await network.panel()).vote(name, pass_)

    return send_by(wallet, "the arbiter's key", common, call)


async def _look(network: "Network", deployment: "Deployment") -> _PanelState:
    from chain.read.cases import cases_before_panel

    block, panel = await network.ethereum.block(), await network.panel()
    waiting = []
    for case in await cases_before_panel(network, deployment.block, block.number):
        passes, voids = await panel.votes_of(case.batch_id)
        waiting.append(_WaitingVotes(case, passes, voids))
    return _PanelState(await panel.arbiters(), await panel.quorum(), waiting, block.timestamp)


async def _find(network: "Network", deployment: "Deployment", prefix: str) -> "BatchId":
    from protocol.wire.ids import BatchId

    waiting = [each.case.batch_id.hex() for each in (await _look(network, deployment)).waiting]
    if not waiting:
        raise Fault("not_found", "no case waits for arbiters", "vcoin case list shows all")
    return BatchId(bytes.fromhex(complete(prefix, waiting, "case")))


def _plain(seen: _PanelState) -> dict[str, Any]:
    return {
        "arbiters": list(seen.arbiters),
        "quorum": seen.quorum,
        "waiting": [
            {
                "id": each.case.batch_id.hex(),
                "node": each.case.node,
                "median_bps": each.case.median,
                "passes": each.passes,
                "voids": each.voids,
                "until": each.case.until,
            }
            for each in seen.waiting
        ],
        "now": seen.now,
    }


def _description(seen: _PanelState) -> list[str]:
    head = ("case", "node", "median", "pass", "void", "ends")
    waiting = output.table(head, [_row(each, seen.now) for each in seen.waiting])
    return [*output.pairs(_rows(seen)), *(["", *waiting] if seen.waiting else [])]


def _rows(seen: _PanelState) -> Iterator[tuple[str, str]]:
    if not seen.arbiters:
        yield "arbiters", "none: what the last round doubts is void"
        return
    for number, arbiter in enumerate(seen.arbiters):
        yield "" if number else "arbiters", arbiter
    yield "quorum", f"{seen.quorum} of {len(seen.arbiters)} decide"
    yield "waiting", f"{len(seen.waiting)} {'case' if len(seen.waiting) == 1 else 'cases'}"


def _row(each: _WaitingVotes, now: int) -> tuple[str, ...]:
    case = each.case
    ends = f"in {span((case.until - now) * 1_000)}" if case.until > now else "now, void"
    return (case.batch_id.hex()[:16], short(case.node), percent(case.median), str(each.passes), str(each.voids), ends)
