"""`vcoin treasury`: the network's own coins, what its governor is about to do, and whether it is paused."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from functools import partial
from typing import TYPE_CHECKING, Any

from node.cli.commands.guardian import brake, intake
from node.cli.commands.timelock import proposals
from node.cli.ui import output
from node.cli.ui.contracts import ask_network
from node.cli.ui.options import COMMON, Coins, Common, noun
from node.cli.ui.phrases import exact_coins, span
from node.cli.ui.wallet import WalletOptions, carry_out_by

if TYPE_CHECKING:
    from chain.contracts.network import Deployment, Network

app = noun("treasury", "The network's own coins, and what its governor is about to do.")
WHOSE = "the wallet's key"


@app.command
def show(*, common: Common = COMMON) -> int:
    """Show pool, burn and supply, what is before a court, what waits in the timelock, and the guardian."""
    seen = ask_network(common.data_dir, _look)
    return output.show(common.json, seen, lambda: output.pairs(_rows(seen)))


@app.command
def fund(amount: Coins, /, *, wallet: WalletOptions) -> int:
    """Pay into the pool that seats are paid from. It is not paid back.

    Parameters
    ----------
    amount
        In VCN.
    """
    from node.wallet import plans

    return carry_out_by(wallet, WHOSE, partial(plans.fund_pool, amount=amount))


@app.command
def burn(*, wallet: WalletOptions) -> int:
    """Burn what batches have set aside to burn. Any wallet may, for nothing."""
    from node.wallet import plans

    return carry_out_by(wallet, WHOSE, plans.flush_burn)


async def _look(network: "Network", deployment: "Deployment") -> dict[str, Any]:
    """Amounts in wei, times in seconds since 1970."""
    from chain.read.treasury import treasury

    block = await network.ethereum.block()
    books = asdict(await treasury(network, deployment.block))
    return {
        **{name if name == "cases" else f"{name}_wei": value for name, value in books.items()},
        "operations": [
            {"id": each["id"], "call": "; ".join(each["calls"])}
            | {name: each[name] for name in ("ready_at_s", "is_ready")}
            for each in await proposals(network, deployment, block)
        ],
        "guardian": await brake(network, block.timestamp),
        "now": block.timestamp,
    }


def _rows(seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    cases, guardian, now = seen["cases"], seen["guardian"], seen["now"]
    yield "pool", f"{exact_coins(seen['pool_wei'])}, from which seats are paid"
    yield "to burn", exact_coins(seen["burn_pending_wei"])
    yield "supply", f"{exact_coins(seen['supply_wei'])}, burned so far {exact_coins(seen['burned_wei'])}"
    yield "in court", f"{exact_coins(seen['in_court_wei'])} in {cases} {'case' if cases == 1 else 'cases'}"
    yield "intake", intake(guardian["paused_until_s"], now)
    wait_s = guardian["next_pause_at_s"] - now
    pausing = "may pause it" if wait_s <= 0 else f"may pause it again in {span(wait_s * 1_000)}"
    yield "keeper", "none" if int(guardian["keeper"], 16) == 0 else f"{guardian['keeper']}, {pausing}"
    if not seen["operations"]:
        yield "timelock", "nothing waits"
    for number, each in enumerate(seen["operations"]):
        when = "ready" if each["is_ready"] else f"in {span((each['ready_at_s'] - now) * 1_000)}"
        yield "" if number else "timelock", f"{when}: {each['call']} ({each['id'][:18]})"
