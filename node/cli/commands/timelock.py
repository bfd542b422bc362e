"""`vcoin timelock`: what the network's governor is going to do, who may say so, and the steps of a proposal."""

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from node.api.faults import Fault
from node.api.prefix import complete
from node.cli.commands.proposal import Role, name_of
from node.cli.commands.proposal import app as propose
from node.cli.ui import output
from node.cli.ui.contracts import ask_network
from node.cli.ui.options import COMMON, Common, noun
from node.cli.ui.phrases import span
from node.cli.ui.wallet import WalletOptions, carry_out_by, send_by

if TYPE_CHECKING:
    from chain.contracts.timelock import Operation, Timelock
    from chain.rpc.ethereum import Block
    from node.cli.ui.types import Call, Deployment, Key, Network, TransactionPlan

app = noun("timelock", "What the network's governor is going to do, and who says so.")
app.command(propose)
ANYBODY = "anybody"


@app.command
def show(*, common: Common = COMMON) -> int:
    """Show what was proposed and is neither done nor struck out, when it may be carried out, and who has which role."""
    seen = ask_network(common.data_dir, _look)
    return output.show(common.json, seen, lambda: _description(seen))


@app.command
def execute(proposal: str, /, *, wallet: WalletOptions) -> int:
    """Carry out a proposal that has waited. Any wallet may, where no executors were named.

    Parameters
    ----------
    proposal
        Its id, or the beginning of it; vcoin timelock show lists them.
    """
    return _send(proposal, wallet, "the wallet's key", lambda timelock, found: timelock.carry_out(found))


@app.command
def cancel(proposal: str, /, *, wallet: WalletOptions) -> int:
    """Strike out a proposal; a canceller or a proposer.

    Parameters
    ----------
    proposal
        Its id, or the beginning of it; vcoin timelock show lists them.
    """
    return _send(proposal, wallet, "the canceller's key", lambda timelock, found: timelock.cancel(found.id))


@app.command
def renounce(role: Role, /, *, wallet: WalletOptions) -> int:
    """Give a role of one's own back, at once.

    Parameters
    ----------
    role
        Which one.
    """

    async def plan(network: "Network", key: "Key") -> "TransactionPlan":
        from node.wallet import plans

        return await plans.plain(network, key, network.timelock.renounce_role(name_of(role), key.address))

    return carry_out_by(wallet, f"the {role}'s key", plan)


def _send(proposal: str, wallet: WalletOptions, whose: str, step: "Callable[[Timelock, Operation], Call]") -> int:
    found = ask_network(wallet.common.data_dir, lambda network, deployment: _find(network, deployment, proposal))
    return send_by(wallet, whose, lambda network: step(network.timelock, found))


async def _find(network: "Network", deployment: "Deployment", prefix: str) -> "Operation":
    head = await network.ethereum.head()
    waiting = {each.id.hex(): each for each in await network.timelock.pending(deployment.block, head)}
    if not waiting:
        raise Fault("not_found", "nothing waits in the timelock", "vcoin timelock propose --help")
    return waiting[complete(prefix, waiting, "proposal")]


async def _look(network: "Network", deployment: "Deployment") -> dict[str, Any]:
    """Waiting operations, each with its calls in words, and the holders of roles; times in seconds since 1970."""
    block, timelock = await network.ethereum.block(), network.timelock
    holders = await timelock.holders(deployment.block, block.number)
    return {
        "proposals": await proposals(network, deployment, block),
        "roles": [{"role": role.removesuffix("_ROLE").lower(), "account": account} for role, account in holders],
        "delay_s": await timelock.delay(),
        "now": block.timestamp,
    }


async def proposals(network: "Network", deployment: "Deployment", block: "Block") -> list[dict[str, Any]]:
    """Operations that are proposed and neither done nor struck out at a block, with their calls in words."""
    from chain.read.treasury import title

    names = await network.names()
    return [
        {
            "id": f"0x{each.id.hex()}",
            "calls": [title(names, call) for call in each.calls],
            "ready_at_s": each.ready_at_s,
            "is_ready": each.ready_at_s <= block.timestamp,
        }
        for each in await network.timelock.pending(deployment.block, block.number)
    ]


def _description(seen: Mapping[str, Any]) -> list[str]:
    rows = [
        (each["id"][:18], _when(each, seen["now"]), call if not number else f"then {call}")
        for each in seen["proposals"]
        for number, call in enumerate(each["calls"])
    ]
    waiting = ["", *output.table(("proposal", "ready", "call"), rows)] if rows else []
    return [*output.pairs(_rows(seen)), *waiting]


def _when(proposal: Mapping[str, Any], now: int) -> str:
    return "now" if proposal["is_ready"] else f"in {span((proposal['ready_at_s'] - now) * 1_000)}"


def _rows(seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "delay", f"{span(seen['delay_s'] * 1_000)} between a proposal and its execution"
    for each in seen["roles"]:
        yield each["role"], ANYBODY if int(each["account"], 16) == 0 else each["account"]
    if not seen["proposals"]:
        yield "proposals", "nothing waits"
