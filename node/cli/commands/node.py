"""`vcoin node`: set up a node, run it, see how it does."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from node.api.faults import Exit, Fault
from node.cli.commands.compose import compose
from node.cli.commands.hold import drain, pause, resume
from node.cli.commands.liveness import app as liveness
from node.cli.commands.owner import classes, commission, payout, rotate, unjail
from node.cli.commands.score import score
from node.cli.commands.status import status
from node.cli.commands.why import why_slashed
from node.cli.ui import output
from node.cli.ui.daemon_socket import DEFAULT_DATA_DIR, client, data_dir_of
from node.cli.ui.options import COMMON, Common, noun, wei_of
from node.cli.ui.phrases import BLANK, moment
from node.cli.ui.settings import flags_of
from protocol.errors import ConfigError
from protocol.roles.role import Role

if TYPE_CHECKING:
    from node.wallet.home import Founded

app = noun("node", "Set up a node, run it, and see how it does.")
app.command(status)
app.command(score)
app.command(drain)
app.command(pause)
app.command(resume)
app.command(why_slashed)
app.command(rotate)
app.command(classes)
app.command(unjail)
app.command(commission)
app.command(payout)
app.command(liveness)
app.command(compose)

ROLES = ",".join(Role)
DEFAULT_PRICE = "10"
NEXT = "vcoin stake deposit 5000 --owner-key FILE, then vcoin node run"
Ask = Callable[[str, str, Callable[[str], object]], str]
"""Takes a question, its default, and a check that raises ValueError; gives the answer."""
Texts = Annotated[str, Parameter(metavar="A,B")]


@app.command
def init(
    *,
    client_: Annotated[bool, Parameter(name="--client", negative="")] = False,
    roles: Texts = ROLES,
    price: str = DEFAULT_PRICE,
    rpc: str = "http://127.0.0.1:8545",
    deployment: Path | None = None,
    listen: str = "/ip4/0.0.0.0/tcp/4701",
    bootnodes: Texts = "",
    password_file: Path | None = None,
    interactive: bool = True,
    common: Common = COMMON,
) -> int:
    """Make a node: its data directory, an operator key, a client key, config.toml.

    The operator key is the node: it signs, and cannot withdraw stake. The client key pays for jobs that you ask for.

    Parameters
    ----------
    client_
        A node that only asks for jobs: no stake, no containers, no weights, nothing to sell.
    roles
        What it does: some of requester,provider,verifier.
    price
        VCN that it asks for 1,000 output tokens.
    rpc
        JSON-RPC endpoint of the chain.
    deployment
        The addresses file of the network's contracts.
    listen
        Where peers reach it, as a multiaddr.
    bootnodes
        Multiaddrs of nodes to join by.
    password_file
        Its first line unlocks the keys; nothing: one is made and kept beside them.
    interactive
        Ask for what is not given.
    """
    if client_ and (roles, price) != (ROLES, DEFAULT_PRICE):
        raise Fault("bad_request", "--client makes a node that only asks", "leave out --roles and --price")
    ask = _questions(interactive)
    settings: dict[str, dict[str, object]] = {
        "node": {"roles": [str(Role.REQUESTER)]} if client_ else _work(ask, roles, price),
        "p2p": {"listen": [ask("where peers reach it", listen, _check_multiaddr)], "bootnodes": _list(bootnodes)},
        "chain": {
            "rpc_urls": [ask("RPC endpoint", rpc, _check_url)],
            **({"deployment": str(deployment.absolute())} if deployment else {}),
        },
    }
    if password_file is not None:
        settings["node"]["password_file"] = str(password_file.absolute())
    founded = _found(common, settings, password_file)
    facts = {
        "data_dir": str(founded.home.path),
        "node_id": founded.operator,
        "peer_id": founded.peer_id,
        "client": founded.client,
    }
    rows = ((name.replace("_", " "), value) for name, value in facts.items())
    code = output.show(common.json, facts, lambda: output.pairs(rows))
    if not common.json:
        output.words(f"next: {_next(founded.client) if client_ else NEXT}")
    return code


def _work(ask: Ask, roles: str, price: str) -> dict[str, object]:
    return {
        "roles": _list(ask("what should it do", roles, _check_roles)),
        "price": ask("VCN for 1,000 output tokens", price, wei_of),
    }


def _next(client_address: str) -> str:
    return (
        f"send VCN and gas to {client_address}; then vcoin node run, vcoin account deposit 20,"
        ' vcoin job run --model ID "a question"'
    )


@app.command
def run(
    *,
    config: Path | None = None,
    set_: Annotated[
        tuple[str, ...], Parameter(name="--set", negative="", metavar="KEY=VALUE", show_default=False)
    ] = (),
    common: Common = COMMON,
) -> int:
    """Run the node until Ctrl-C or SIGTERM.

    Exit code: 4 something is missing on this machine, 75 try again later, 78 a setting cannot be used.

    Parameters
    ----------
    config
        Settings file (else VCOIN_CONFIG, else config.toml in the data directory).
    set_
        A setting, as in p2p.fast=true; may be repeated.
    """
    flags = {**flags_of(common.data_dir), **dict(_setting(text) for text in set_)}

    from node.config import load
    from node.daemon import main

    main(load(os.environ, flags, config))
    return Exit.OK


@app.command
def metrics(*, common: Common = COMMON) -> int:
    """Show the numbers that are watched, as Prometheus reads them.

    With metrics.listen set, the daemon also serves them at http://ADDRESS/metrics.
    """
    if common.json:
        status = client(common.data_dir).get("status")
        output.as_json({**status["watched"], "serving": status["serving"]})
    else:
        output.data(client(common.data_dir).metrics().splitlines())
    return Exit.OK


@app.command
def journal(*, common: Common = COMMON) -> int:
    """Show the events that the node could not handle and has set aside, whether or not its daemon runs.

    Each is a fault of the program: send the lines to its authors. The node goes on without these events.
    """
    from node.journal import read_aside

    aside = read_aside(data_dir_of(common.data_dir, os.environ))
    if not aside and not common.json:
        output.words("nothing was set aside")
        return Exit.OK
    head = ("row", "when", "event", "reason")
    rows = ((str(each.seq or BLANK), moment(each.at_ms // 1000), each.event, each.reason) for each in aside)
    return output.show(common.json, [each._asdict() for each in aside], lambda: output.table(head, rows))


def _questions(interactive: bool) -> Ask:
    """Ask, or take the default; a value that cannot be used is asked for again, or refused."""
    can_ask = interactive and output.is_interactive()

    def ask(question: str, default: str, check: Callable[[str], object]) -> str:
        while True:
            value = output.ask(question, default) if can_ask else default
            try:
                check(value)
            except ValueError as error:
                if not can_ask:
                    raise Fault("bad_request", str(error)) from error
                output.words(str(error))
            else:
                return value

    return ask


def _found(common: Common, settings: dict[str, dict[str, object]], password_file: Path | None) -> "Founded":
    from chain.tx.keystore import read_password
    from node.wallet.home import Home, found

    chosen = Path(os.path.expanduser(common.data_dir or os.environ.get("VCOIN_NODE_DATA_DIR") or DEFAULT_DATA_DIR))
    password = read_password(password_file, {}, None, "") if password_file else ""
    output.words("making two keys; this takes a few seconds ...")
    return found(Home(chosen.absolute()), settings, password, iterations=None)


def _setting(text: str) -> tuple[str, str]:
    key, equals, value = text.partition("=")
    if not equals:
        raise ConfigError(f"--set {text}: expected KEY=VALUE", "for example --set p2p.fast=true")
    return key, value


def _list(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _check_roles(text: str) -> None:
    chosen = _list(text)
    if not chosen or not set(chosen) <= set(ROLES.split(",")):
        raise ValueError(f"{text!r}: expected some of {ROLES}")


def _check_url(text: str) -> None:
    if not text.startswith(("http://", "https://")):
        raise ValueError(f"{text!r} is no endpoint, for example http://127.0.0.1:8545")


def _check_multiaddr(text: str) -> None:
    if not text.startswith(("/ip4/", "/ip6/", "/dns")) or "/tcp/" not in text:
        raise ValueError(f"{text!r} is no multiaddr, for example /ip4/0.0.0.0/tcp/4701")
