"""`vcoin localnet`: a whole network on this machine, up, down, or looked at."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from node.api.faults import Exit, vcn
from node.cli.ui import output
from node.cli.ui.options import Flag, noun
from node.cli.ui.phrases import BLANK, points
from node.localnet import running
from node.localnet.record import LocalnetRecord, default_directory, read_record
from node.localnet.running import RunningNode
from protocol.roles.role import Role

app = noun("localnet", "A whole network on this machine.")


@app.command
def up(
    *,
    nodes: Annotated[Path | None, Parameter(metavar="FILE")] = None,
    port: int = 8_545,
    p2p_port: int = 4_701,
    store: Path | None = None,
    smollm2: Flag = False,
    dir_: Annotated[Path | None, Parameter(name="--dir")] = None,
    json: Flag = False,
) -> int:
    """Start a chain, deploy the contracts, fund wallets, and run nodes, each a process with its own keys.

    Parameters
    ----------
    nodes
        A plan in TOML: sections [nodes.NAME] with roles, stake, deposit, coins, settings. Nothing: a requester,
        a provider with 5,000 VCN at stake, three verifiers.
    port
        Of the chain's RPC endpoint on 127.0.0.1.
    p2p_port
        Of the first node; the others take the ones after it.
    store
        A content store to use instead of a new one; all nodes share it.
    smollm2
        Put SmolLM2-135M-Instruct into it first, converted once in a container.
    dir_
        Where it lives (else ~/.local/state/vcoin/localnet).
    json
        Print localnet.json to stdout.
    """
    from node.localnet.network import LocalnetPlan
    from node.localnet.network import up as bring_up
    from node.localnet.plan import DEFAULT, read_plan

    plan = read_plan(nodes) if nodes else DEFAULT
    directory = (dir_ or default_directory()).absolute()
    order = LocalnetPlan(directory, plan, port, p2p_port, store.absolute() if store else None, smollm2=smollm2)
    record = bring_up(order, output.words)
    return output.show(json, record.plain(), lambda: banner(record))


@app.command
def down(*, dir_: Annotated[Path | None, Parameter(name="--dir")] = None, json: Flag = False) -> int:
    """Stop everything that up started. Its logs and keys stay until the next up.

    Parameters
    ----------
    dir_
        Where it lives.
    json
        Print JSON to stdout.
    """
    was_up = running.down((dir_ or default_directory()).absolute(), output.words)
    output.words("the local network is down" if was_up else "there is no local network")
    if json:
        output.as_json({"was_up": was_up})
    return Exit.OK


@app.command
def status(*, dir_: Annotated[Path | None, Parameter(name="--dir")] = None, json: Flag = False) -> int:
    """Show what runs. Exit code 3 if there is no local network or not all of it runs.

    Parameters
    ----------
    dir_
        Where it lives.
    json
        Print JSON to stdout.
    """
    record = read_record((dir_ or default_directory()).absolute())
    if record is None:
        output.error("there is no local network", "vcoin localnet up")
        return Exit.NO_DAEMON
    seen = [running.look(node) for node in record.nodes]
    chain_runs = record.chain is not None and record.chain.is_alive
    found = [{"name": each.member.name, "alive": each.is_alive, "state": _state(each)} for each in seen]
    plain = {**record.plain(), "chain_alive": chain_runs, "found": found}
    head = f"chain {record.chain_id} at {record.rpc}: {'runs' if chain_runs else 'DOWN'}"
    output.show(json, plain, lambda: [head, "", *table(seen)])
    return Exit.OK if chain_runs and all(each.is_alive for each in seen) else Exit.NO_DAEMON


def table(seen: list[RunningNode]) -> list[str]:
    """The nodes, each with its state."""
    head = ("node", "roles", "state", "pid", "stake VCN", "score", "peers", "id")
    return output.table(head, [_row(each) for each in seen])


def _row(each: RunningNode) -> tuple[str, ...]:
    node, view = each.member, each.snapshot
    pid = str(node.process.pid) if node.process else BLANK
    stake = vcn(view.me.stake_wei if view else node.stake_wei)
    score = points(view.me.score) if view else BLANK
    peers = str(view.peers) if view else BLANK
    return (node.name, ",".join(node.roles), _state(each), pid, stake, score, peers, node.node_id)


def _state(each: RunningNode) -> str:
    if not each.is_alive:
        return "DOWN"
    return each.snapshot.state if each.snapshot else "no answer"


def banner(record: LocalnetRecord) -> list[str]:
    """The nodes, their ports, and the next commands to type."""
    doors = (
        ("rpc", f"{record.rpc} (chain {record.chain_id}, a block a second)"),
        ("store", record.store),
        ("keys", f"{record.directory}/*-owner.json, NODE/keys/*.json, password: localnet"),
        ("record", f"{record.directory}/localnet.json"),
    )
    stakes = [
        (node.name, ",".join(node.roles), vcn(node.stake_wei), vcn(node.deposit_wei), node.node_id)
        for node in record.nodes
    ]
    return [
        *output.section("Contracts", output.pairs(record.contracts.items())),
        *output.section("Nodes", output.table(("node", "roles", "stake VCN", "deposit VCN", "id"), stakes)),
        *output.section("Doors", output.pairs(doors)),
        *output.section("Next", _next(record)),
        "",
        "The local network is ready.",
    ]


def _next(record: LocalnetRecord) -> list[str]:
    requester = next((node for node in record.nodes if Role.REQUESTER in node.roles), record.nodes[0])
    # Nodes look into their store when they start: a model that is not there has to come before them.
    if any(Path(record.store).glob("models/*/manifest.json")):
        job = ["vcoin model list", 'vcoin job run --model smollm2 "Why is the sky blue?"']
    else:
        job = ["vcoin localnet down; vcoin localnet up --smollm2    # there is no model yet"]
    return [f"export VCOIN_NODE_DATA_DIR={requester.data_dir}", "vcoin status --nodes", *job, "vcoin localnet down"]
