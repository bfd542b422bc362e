"""`vcoin timelock`: what the network's governor is going to do, who may say so, and the steps of a proposal."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
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
    from chain.contracts.network import Deployment, Network
    from chain.contracts.timelock import Operation, Timelock
    from chain.rpc.ethereum import Call
    from chain.tx.wallet import Key
    from node.wallet.plans import TransactionPlan
    from protocol.wire.ids import Address

app = noun("timelock", "What the network's governor is going to do, and who says so.")
app.command(propose)
ANYBODY = "anybody"


@dataclass(frozen=True)
class _TimelockState:
    """The waiting operations, each with its calls in words; times in seconds."""

    waiting: "list[tuple[Operation, tuple[str, ...]]]"
    holders: "list[tuple[str, Address]]"
    delay_s: int
    now: int


@app.command
def show(*, common: Common = COMMON) -> int:
    """Show what was proposed and is neither done nor struck out, when it may be carried out, and who has which role."""
    seen = ask_network(common.data_dir, _look)
    return output.show(common.json, _plain(seen), lambda: _description(seen))


@app.command
def execute(proposal: str, /, *, wallet: WalletOptions, common: Common = COMMON) -> int:
    """Carry out a proposal that has waited. Any wallet may, where no executors were named.

    Parameters
    ----------
    proposal
        Its id, or the beginning of it; vcoin timelock show lists them.
    """
    return _send(proposal, wallet, "the wallet's key", common, lambda timelock, found: timelock.carry_out(found))


@app.command
def cancel(proposal: str, /, *, wallet: WalletOptions, common: Common = COMMON) -> int:
    """Strike out a proposal; a canceller or a proposer.

    Parameters
    ----------
    proposal
        Its id, or the beginning of it; vcoin timelock show lists them.
    """
    return _send(proposal, wallet, "the canceller's key", common, lambda timelock, found: timelock.cancel(found.id))


@app.command
def renounce(role: Role, /, *, wallet: WalletOptions, common: Common = COMMON) -> int:
    """Give a role of one's own back, at once.

    Parameters
    ----------
    role
        Which one.
    """

    async def plan(network: "Network", key: "Key") -> "TransactionPlan":
        from node.wallet import plans

        return await plans.plain(network, key, network.timelock.renounce_role(name_of(role), key.address))

    return carry_out_by(wallet, f"the {role}'s key", common, plan)


def _send(
    proposal: str, wallet: WalletOptions, whose: str, common: Common, step: "Callable[[Timelock, Operation], Call]"
) -> int:
    found = ask_network(common.data_dir, lambda network, deployment: _find(network, deployment, proposal))
    return send_by(wallet, whose, common, lambda network: step(network.timelock, found))


async def _find(network: "Network", deployment: "Deployment", prefix: str) -> "Operation":
    head = await network.ethereum.head()
    waiting = {each.id.hex(): each for each in await network.timelock.pending(deployment.block, head)}
    if not waiting:
        raise Fault("not_found", "nothing waits in the timelock", "vcoin timelock propose --help")
    return waiting[complete(prefix, waiting, "proposal")]


async def _look(network: "Network", deployment: "Deployment") -> _TimelockState:
    from chain.read.treasury import title

    block, timelock, names = await network.ethereum.block(), network.timelock, await network.names()
    waiting = await timelock.pending(deployment.block, block.number)
    return _TimelockState(
        [(each, tuple(title(names, call) for call in each.calls)) for each in waiting],
        await timelock.holders(deployment.block, block.number),
        await timelock.delay(),
        block.timestamp,
    )


def _plain(seen: _TimelockState) -> dict[str, Any]:
    return {
        "proposals": [
            {
                "id": f"0x{each.id.hex()}",
                "calls": list(calls),
                "ready_at_s": each.ready_at_s,
                "is_ready": each.ready_at_s <= seen.now,
            }
            for each, calls in seen.waiting
        ],
        "roles": [{"role": _role(role), "account": account} for role, account in seen.holders],
        "delay_s": seen.delay_s,
        "now": seen.now,
    }


def _description(seen: _TimelockState) -> list[str]:
    rows = [
        (f"0x{operation.id.hex()[:16]}", _when(operation, seen.now), call if not number else f"then {call}")
        for operation, calls in seen.waiting
        for number, call in enumerate(calls)
    ]
    waiting = ["", *output.table(("proposal", "ready", "call"), rows)] if rows else []
    return [*output.pairs(_rows(seen)), *waiting]


def _when(operation: "Operation", now: int) -> str:
    return "now" if operation.ready_at_s <= now else f"in {span((operation.ready_at_s - now) * 1_000)}"


def _rows(seen: _TimelockState) -> Iterator[tuple[str, str]]:
    yield "delay", f"{span(seen.delay_s * 1_000)} between a proposal and its execution"
    for role, account in seen.holders:
        yield _role(role), ANYBODY if int(account, 16) == 0 else account
    if not seen.waiting:
        yield "proposals", "nothing waits"


def _role(role: str) -> str:
    return role.removesuffix("_ROLE").lower()
