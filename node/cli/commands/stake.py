"""`vcoin stake`: what a node's owner, and others, put up. Their keys are never the node's: each has its own file."""

import os
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any

from node.api.faults import Fault
from node.api.views import Snapshot, plain, read
from node.cli.ui import output
from node.cli.ui.contracts import with_network
from node.cli.ui.daemon_socket import client
from node.cli.ui.options import COMMON, AddressOf, Coins, Common, Percent, noun
from node.cli.ui.phrases import exact_coins, percent, points
from node.cli.ui.settings import config_of
from node.cli.ui.wallet import HERE, NodeOption, NodeWalletOptions, OwnerWalletOptions, carry_out_about, carry_out_by
from protocol.roles.role import Role

if TYPE_CHECKING:
    from node.cli.ui.types import Address, Config, Key, Network, TransactionPlan


app = noun("stake", "What a node's owner, and others, put up for its honesty.")
WHOSE = "the wallet's key"


@app.command
def deposit(amount: Coins, /, *, commission: Percent | None = None, wallet: OwnerWalletOptions) -> int:
    """Register this node with its first stake, or add to it, from the owner's wallet.

    Parameters
    ----------
    amount
        In VCN.
    commission
        What a new node takes of the rewards of others' stake, for example 12.5; later see vcoin node commission.
    """
    config = config_of(wallet.common.data_dir)
    planned = partial(_deposit, config=config, amount=amount, commission_bps=commission)
    return carry_out_by(wallet, "the owner's key", planned)


@app.command
def delegate(amount: Coins, /, *, wallet: NodeWalletOptions) -> int:
    """Stake on somebody else's node, for a part of what it earns.

    Parameters
    ----------
    amount
        In VCN. A slash of the node takes its part of it, also while it unbonds.
    """
    from node.wallet import plans

    return carry_out_about(wallet, WHOSE, partial(plans.delegate, amount=amount))


@app.command
def unbond(amount: Coins, /, *, wallet: NodeWalletOptions) -> int:
    """Start to take stake back, one's own or from somebody else's node. It earns nothing from now on.

    Parameters
    ----------
    amount
        In VCN. Another unbond starts the clock of the whole bucket again.
    """
    from node.wallet import plans

    return carry_out_about(wallet, WHOSE, partial(plans.unbond, amount=amount))


@app.command
def rebond(amount: Coins, /, *, wallet: NodeWalletOptions) -> int:
    """Put unbonding stake back to work.

    Parameters
    ----------
    amount
        In VCN.
    """
    from node.wallet import plans

    return carry_out_about(wallet, WHOSE, partial(plans.rebond, amount=amount))


@app.command
def withdraw(*, wallet: NodeWalletOptions) -> int:
    """Pay out all stake whose time of unbonding is over, to the wallet."""
    from node.wallet import plans

    return carry_out_about(wallet, WHOSE, plans.withdraw_stake)


@app.command
def claim(*, wallet: NodeWalletOptions) -> int:
    """Pay out rewards: to the wallet that staked, or for a node's owner to the node's payout."""
    from node.wallet import plans

    return carry_out_about(wallet, WHOSE, plans.claim)


@app.command
def show(*, about: NodeOption = HERE, staker: AddressOf | None = None, common: Common = COMMON) -> int:
    """Show what this node has at stake, and its rewards; or from the chain another node's, and what somebody has in it.

    Parameters
    ----------
    staker
        The address of somebody who has staked on it.
    """
    if about.node or staker:
        return _show_on_chain(about, staker, common)
    raw = client(common.data_dir).get("status")
    view = read(Snapshot, raw)
    return output.show(common.json, plain(view.me), lambda: output.pairs(_rows(view)))


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


def _show_on_chain(about: NodeOption, staker: "Address | None", common: Common) -> int:
    config = config_of(common.data_dir)
    name = about.name_by(config)
    view = with_network(config, lambda network, _: _look(network, name, staker))
    return output.show(common.json, plain(view), lambda: output.pairs(_chain_rows(view)))


async def _look(network: "Network", name: "Address", staker: "Address | None") -> dict[str, Any]:
    """Stake behind a node, its terms for delegators, and the share of one of them; times in seconds, 0: none."""
    from protocol.wire.ids import ZERO_ADDRESS

    node_id = await network.stakes.id_of(name)
    known = await network.stakes.node_of(node_id)
    if known is None:
        raise Fault("not_found", f"no node {node_id} is registered", "vcoin status --nodes shows those that are known")
    terms = await network.stakes.terms_of(node_id)
    held = await network.stakes.delegation_of(node_id, staker or ZERO_ADDRESS)
    return {
        "node_id": node_id,
        "owner": known.owner,
        "operator": known.operator,
        "payout": known.payout,
        "state": known.state.name.lower(),
        "own_stake_wei": terms.own_stake,
        "delegated_wei": terms.delegated_stake,
        "commission_bps": terms.commission_bps,
        "next_commission_bps": terms.next_commission_bps,
        "commission_at_s": terms.commission_at_s,
        "next_payout": terms.next_payout if terms.payout_at_s else "",
        "payout_at_s": terms.payout_at_s,
        "staker": staker or "",
        "staked_wei": held.active,
        "unbonding_wei": held.unbonding,
        "unlock_at_s": held.unlock_at_s,
        "rewards_wei": held.rewards,
    }


def _chain_rows(seen: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    yield "node", seen["node_id"]
    yield "owner", seen["owner"]
    yield "state", seen["state"]
    yield "own stake", exact_coins(seen["own_stake_wei"])
    yield "delegated", exact_coins(seen["delegated_wei"])
    yield "commission", percent(seen["commission_bps"])
    if at := seen["commission_at_s"]:
        yield "announced", f"commission {percent(seen['next_commission_bps'])} from {_time(at)} on"
    if at := seen["payout_at_s"]:
        yield "announced", f"payout {seen['next_payout']} from {_time(at)} on"
    if seen["staker"]:
        yield "staker", seen["staker"]
        yield "staked", exact_coins(seen["staked_wei"])
        until = f", until {_time(seen['unlock_at_s'])}" if seen["unlock_at_s"] else ""
        yield "unbonding", f"{exact_coins(seen['unbonding_wei'])}{until}" if seen["unbonding_wei"] else ""
        yield "rewards", f"{exact_coins(seen['rewards_wei'])} to claim"


def _time(seconds: int) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


async def _deposit(
    network: "Network", owner: "Key", *, config: "Config", amount: int, commission_bps: int | None
) -> "TransactionPlan":
    from chain.tx.keystore import load_key, read_password
    from executor.devices import class_ids
    from node.wallet import plans
    from node.wallet.home import Home

    home = Home(config.node.data_dir)
    node_id = await network.stakes.id_of(home.operator_address())
    known = await network.stakes.node_of(node_id)
    if known is not None:
        if commission_bps is not None:
            hint = "vcoin node commission announce"
            raise Fault("bad_request", "a registered node announces another commission first", hint)
        return await plans.add_stake(network, owner, node_id, known.active_stake, amount)
    password = read_password(config.node.password_file, os.environ, None, "")
    key = load_key(home.operator_key, password)
    classes = class_ids()
    verifies = Role.VERIFIER in config.node.roles
    return await plans.register(network, owner, key, amount, classes, verifies=verifies, commission_bps=commission_bps)
