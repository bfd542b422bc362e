"""`vcoin guardian`: the brake of a network. Its keeper may stop new obligations for a while, and no way out."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from node.cli.ui import output
from node.cli.ui.contracts import ask_network
from node.cli.ui.options import COMMON, Common, Seconds, noun
from node.cli.ui.phrases import span
from node.cli.ui.wallet import WalletOptions, send_by

if TYPE_CHECKING:
    from chain.contracts.network import Deployment, Network

app = noun("guardian", "The brake of the network: its keeper may pause new obligations.")
WHOSE = "the keeper's key"


@app.command
def show(*, common: Common = COMMON) -> int:
    """Show who may pause, whether new obligations are taken, and when the next pause may begin."""
    seen = ask_network(common.data_dir, _look)
    return output.show(common.json, seen, lambda: output.pairs(_rows(seen)))


@app.command
def pause(length: Seconds, /, *, wallet: WalletOptions) -> int:
    """Stop new nodes, new lanes and new batches for a while. Every way out stays open. The keeper, once in seven days.

    Parameters
    ----------
    length
        Until it ends by itself, for example 36h; at most 72h.
    """
    return send_by(wallet, WHOSE, lambda network: network.guardian.pause(length))


@app.command
def resume(*, wallet: WalletOptions) -> int:
    """End a pause before its time; the keeper."""
    return send_by(wallet, WHOSE, lambda network: network.guardian.resume())


def intake(paused_until_s: int, now: int) -> str:
    """Whether new obligations are taken; both in seconds."""
    return f"paused for {span((paused_until_s - now) * 1_000)} more" if now < paused_until_s else "open"


async def _look(network: "Network", _: "Deployment") -> dict[str, Any]:
    """Times in seconds since 1970."""
    now = (await network.ethereum.block()).timestamp
    return {**await brake(network, now), "now": now}


async def brake(network: "Network", now: int) -> dict[str, Any]:
    """The keeper, whether new obligations are refused, and until and from when; times in seconds since 1970."""
    pausing, until = await network.guardian.pausing(), await network.stakes.paused_until_s()
    times = {"is_paused": now < until, "paused_until_s": until, "next_pause_at_s": pausing.next_pause_at_s}
    return {"keeper": pausing.keeper, **times}


def _rows(seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "keeper", "none" if int(seen["keeper"], 16) == 0 else seen["keeper"]
    yield "intake", intake(seen["paused_until_s"], seen["now"])
    wait_s = seen["next_pause_at_s"] - seen["now"]
    yield "next pause", "at any time" if wait_s <= 0 else f"in {span(wait_s * 1_000)} at the earliest"
