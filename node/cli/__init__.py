"""The `vcoin` command. Each noun has its file, imported when it is named; the daemon does the work."""

import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING

from node.api.faults import Exit, Fault, fault_of
from protocol.errors import NodeError

if TYPE_CHECKING:
    from cyclopts import App

NOUNS = {
    "status": ("status:status", "Show what the node does, at a glance."),
    "node": ("node:app", "Set up a node, run it, and see how it does."),
    "job": ("job:app", "Ask for jobs, follow them, and prove what became of them."),
    "chat": ("chat:chat", "Talk with a model; each answer is a job, and its cost is shown."),
    "gateway": ("gateway:app", "Keys of programs that ask this node for jobs as they would ask OpenAI."),
    "account": ("account:app", "The client's money, from which jobs are paid."),
    "lane": ("lane:app", "Money locked for one node, out of which only that node is paid."),
    "stake": ("stake:app", "What a node's owner puts up for its honesty."),
    "key": ("key:app", "Keystore files of wallets: make one, or see whose it is."),
    "verifier": ("verifier:app", "The nodes that may be drawn to check others, by device class."),
    "model": ("model:app", "The models in the content store."),
    "calibrate": ("calibrate:calibrate", "Measure a model's honest noise, and what its checks catch."),
    "case": ("case:app", "Courts over batches, and where the money went."),
    "panel": ("panel:app", "The arbiters, who come last, and the cases that wait for them."),
    "params": ("params:app", "The numbers that the network was deployed with."),
    "treasury": ("treasury:app", "The network's own coins, and what its governor is about to do."),
    "guardian": ("guardian:app", "The brake of the network: its keeper may pause new obligations."),
    "timelock": ("timelock:app", "What the network's governor is going to do, and who says so."),
    "deploy": ("deploy:deploy", "Deploy a network's contracts, or plan, resume or check a deployment."),
    "config": ("config:app", "The node's settings and where each comes from."),
    "localnet": ("localnet:app", "A whole network on this machine."),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command. Returns: its exit code, a node.api.faults.Exit."""
    from node.cli.ui import output

    try:
        return _run(list(sys.argv[1:] if arguments is None else arguments))
    except NodeError as error:
        fault = fault_of(error)
        output.error(fault.message, fault.hint)
        return fault.kind.exit
    except KeyboardInterrupt:
        output.words("interrupted")
        return Exit.INTERRUPTED
    except BrokenPipeError:
        # The reader, such as head, has seen enough. The rest of the buffer must not fail again at the end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return Exit.FAILED
    except OSError as error:
        about = f" ({error.filename})" if error.filename else ""
        output.error(f"this machine refused: {error.strerror or error}{about}")
        return Exit.FAILED


def _run(arguments: list[str]) -> int:
    from cyclopts import CycloptsError

    try:
        code = application()(arguments, exit_on_error=False, print_error=False, result_action="return_value")
    except CycloptsError as error:
        raise _usage(error) from None
    return Exit.OK if code is None else int(code)


def application() -> "App":
    """The command with all its nouns, none of them imported yet."""
    from node.cli.ui.options import noun

    app = noun("vcoin", "Rent out idle GPUs, or hire them: a peer-to-peer network without a server.")
    app.version = _version
    app.version_flags = ("--version",)
    app.suppress_keyboard_interrupt = False
    for name, (target, words) in NOUNS.items():
        app.command(f"node.cli.commands.{target}", name=name, help=words)
    return app


def _usage(error: Exception) -> Fault:
    message, _, close = str(error).partition(" Did you mean ")
    chain = " ".join(getattr(error, "command_chain", None) or ())
    hint = f"did you mean {close}" if close else f"vcoin {chain} --help".replace("  ", " ")
    return Fault("bad_request", message, hint)


def _version() -> str:
    from importlib.metadata import version

    return version("vcoin-node")
