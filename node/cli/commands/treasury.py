"""`vcoin treasury`: the network's own coins, what its governor is about to do, and whether it is paused."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from node.cli.commands.guardian import intake
from node.cli.ui import output
from node.cli.ui.contracts import ask_network
from node.cli.ui.options import COMMON, Coins, Common, noun
from node.cli.ui.phrases import exact_coins, span
from node.cli.ui.wallet import WalletOptions, carry_out_by

if TYPE_CHECKING:
    from chain.contracts.guardian import Pausing
    from chain.contracts.network import Deployment, Network
    from chain.read.treasury import Treasury

app = noun("treasury", "The network's own coins, and what its governor is about to do.")
WHOSE = "the wallet's key"


@dataclass(frozen=True)
class _Operation:
    """A call that the governor is going to make; `ready_at_s` in seconds."""

    id: str
    call: str
    ready_at_s: int
    is_ready: bool


@dataclass(frozen=True)
class _TreasuryState:
    now: int
    coins: "Treasury"
    operations: list[_Operation]
    pausing: "Pausing"
    paused_until_s: int

    @property
    def is_paused(self) -> bool:
        """Whether new obligations are refused in this block."""
        return self.now < self.paused_until_s


@app.command
def show(*, common: Common = COMMON) -> int:
    """Show pool, burn and supply, what is before a court, what waits in the timelock, and the guardian."""
    seen = ask_network(common.data_dir, _look)
    return output.show(common.json, _plain(seen), lambda: output.pairs(_rows(seen)))


@app.command
def fund(amount: Coins, /, *, wallet: WalletOptions, common: Common = COMMON) -> int:
    """Pay into the pool that seats are paid from. It is not paid back.

    Parameters
    ----------
    amount
        In VCN.
    """
    from node.wallet import plans

    return carry_out_by(wallet, WHOSE, common, partial(plans.fund_pool, amount=amount))


@app.command
def burn(*, wallet: WalletOptions, common: Common = COMMON) -> int:
    """Burn what batches have set aside to burn. Any wallet may, for nothing."""
    from node.wallet import plans

    return carry_out_by(wallet, WHOSE, common, plans.flush_burn)


async def _look(network: "Network", deployment: "Deployment") -> _TreasuryState:
    from chain.contracts.timelock import OperationState
    from chain.read.treasury import title, treasury

    block = await network.ethereum.block()
    waiting = await network.timelock.pending(deployment.block, block.number)
    names = await network.names()
    return _TreasuryState(
        now=block.timestamp,
        coins=await treasury(network, deployment.block),
        operations=[
            _Operation(
                id=f"0x{each.id.hex()}",
                call="; ".join(title(names, call) for call in each.calls),
                ready_at_s=each.ready_at_s,
                is_ready=each.state is OperationState.READY,
            )
            for each in waiting
        ],
        pausing=await network.guardian.pausing(),
        paused_until_s=await network.stakes.paused_until_s(),
    )


def _plain(seen: _TreasuryState) -> dict[str, Any]:
    coins = {f"{name}_wei" if name != "cases" else name: value for name, value in asdict(seen.coins).items()}
    return {
        **coins,
        "operations": [asdict(each) for each in seen.operations],
        "guardian": {
            "keeper": seen.pausing.keeper,
            "is_paused": seen.is_paused,
            "paused_until_s": seen.paused_until_s,
            "next_pause_at_s": seen.pausing.next_pause_at_s,
        },
        "now": seen.now,
    }


def _rows(seen: _TreasuryState) -> Iterator[tuple[str, str]]:
    coins = seen.coins
    yield "pool", f"{exact_coins(coins.pool)}, from which seats are paid"
    yield "to burn", exact_coins(coins.burn_pending)
    yield "supply", f"{exact_coins(coins.supply)}, burned so far {exact_coins(coins.burned)}"
    yield "in court", f"{exact_coins(coins.in_court)} in {coins.cases} {'case' if coins.cases == 1 else 'cases'}"
    yield "intake", intake(seen.paused_until_s, seen.now)
    keeper = seen.pausing.keeper
    yield "keeper", "none" if int(keeper, 16) == 0 else f"{keeper}, {_next_pause(seen)}"
    if not seen.operations:
        yield "timelock", "nothing waits"
    for number, each in enumerate(seen.operations):
        when = "ready" if each.is_ready else f"in {span((each.ready_at_s - seen.now) * 1_000)}"
        yield "" if number else "timelock", f"{when}: {each.call} ({each.id[:18]})"


def _next_pause(seen: _TreasuryState) -> str:
    wait_s = seen.pausing.next_pause_at_s - seen.now
    return "may pause it" if wait_s <= 0 else f"may pause it again in {span(wait_s * 1_000)}"
