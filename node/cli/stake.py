"""`vcoin stake`: what a node's owner puts up. The owner's key is never the node's: it comes from its own file."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from node.api.faults import Exit
from node.api.snapshot import MoveView, Snapshot, plain, read
from node.cli import output
from node.cli.contracts import with_network
from node.cli.door import client
from node.cli.money import carry_out
from node.cli.options import COMMON, Coins, Common, DryRun, Yes, noun
from node.cli.phrases import exact_coins, points
from node.cli.settings import flags_of

if TYPE_CHECKING:
    from chain.network import Network
    from chain.wallet import Key
    from node.config import Config
    from node.moves import Move

app = noun("stake", "What a node's owner puts up for its honesty.")


@app.command
def deposit(
    amount: Coins,
    /,
    *,
    owner_key: Annotated[Path, Parameter(metavar="FILE")],
    password_file: Path | None = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    common: Common = COMMON,
) -> int:
    """Register this node with its first stake, or add to it, from the owner's wallet.

    Parameters
    ----------
    amount
        In VCN.
    owner_key
        The owner's keystore file (Web3 secret storage, as geth and cast write it).
    password_file
        Its first line unlocks the owner's key; nothing: VCOIN_PASSWORD, else a question.
    yes
        Send without asking.
    dry_run
        Only show what would happen.
    """
    from chain.keystore import load_key, read_password
    from node.config import load

    config = load(os.environ, flags_of(common.data_dir))
    prompt = output.ask_secret if output.is_interactive() else None
    owner = load_key(owner_key, read_password(password_file, os.environ, prompt, "password of the owner's key"))

    def move(simulate: bool) -> MoveView:
        return with_network(config, lambda network, _: _deposit(network, config, owner, amount, simulate))

    return carry_out(move, yes=yes, dry_run=dry_run, as_json=common.json)


@app.command
def show(*, common: Common = COMMON) -> int:
    """Show what this node has at stake, and its rewards."""
    raw = client(common.data_dir).get("status")
    view = read(Snapshot, raw)
    if common.json:
        output.as_json(plain(view.me))
    else:
        output.data(output.pairs(_rows(view)))
    return Exit.OK


def _rows(view: Snapshot) -> Iterator[tuple[str, str]]:
    me = view.me
    yield "node", me.node_id
    if not me.registered:
        yield "state", "not registered: vcoin stake deposit"
        return
    yield "owner", me.owner
    yield "state", "active" if me.active else "not active"
    yield "stake", exact_coins(me.stake_wei)
    yield "unbonding", exact_coins(me.unbonding_wei) if me.unbonding_wei else ""
    yield "rewards", f"{exact_coins(me.rewards_wei)} to claim"
    yield "score", points(me.score)
    yield "one job", f"at most {exact_coins(me.stake_wei // 40)}, a fortieth of the stake"


async def _deposit(network: "Network", config: "Config", owner: "Key", amount: int, simulate: bool) -> MoveView:
    from chain.transactions import Sender
    from node import moves

    move = await _move(network, config, owner, amount)
    if simulate:
        return await moves.simulate(network, move)
    return await moves.send(network, move, Sender(network.ethereum, owner, moves.unrecorded))


async def _move(network: "Network", config: "Config", owner: "Key", amount: int) -> "Move":
    from chain.keystore import load_key, read_password
    from executor.devices import measure
    from node import moves
    from node.home import Home

    home = Home(config.node.data_dir)
    operator = home.operator_address()
    known = await network.stakes.node_of(operator)
    if known is not None:
        return await moves.add_stake(network, owner, operator, known.active_stake, amount)
    password = read_password(config.node.password_file, os.environ, None, "")
    key = load_key(home.operator_key, password)
    classes = measure(slots=1, ms_per_token=1).class_ids
    return await moves.register(network, owner, key, amount, classes, verifies="verifier" in config.node.roles)
