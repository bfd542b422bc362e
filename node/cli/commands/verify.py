"""`vcoin job verify`: the check of a proof, without a network, and beside the chain where that is wanted."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from node.api.faults import Exit
from node.cli.commands.proof import checked, plain_checks, read_file
from node.cli.ui import output
from node.cli.ui.options import COMMON, Common, Flag
from node.cli.ui.settings import config_of

if TYPE_CHECKING:
    from protocol.proof.check import Check
    from protocol.proof.file import Proof


def verify(
    file: Path,
    /,
    *,
    rpc: Annotated[str, Parameter(metavar="URL")] = "",
    deployment: Path | None = None,
    rerun: Flag = False,
    common: Common = COMMON,
) -> int:
    """Check a job's proof: signatures, hashes, leaf, sums, draw, seats, scores, verdict and split of the pay.

    Needs no node and no network. Exit code: 0 nothing is wrong, 1 something is, or this is no proof.

    Parameters
    ----------
    file
        What vcoin job proof wrote.
    rpc
        Also compare every part with the chain behind this endpoint.
    deployment
        With --rpc: the addresses file of the network's contracts; nothing: the node's setting.
    rerun
        Also compute in containers of this machine: the answer's score, and how far a fresh answer agrees with it.
    """
    document, checks = checked(read_file(file), str(file))
    if rpc:
        from node.cli.ui.confirm import confirmed

        checks += confirmed(document.value, rpc, deployment, common)
    if rerun:
        checks += _computed(document.value, common)
    return _show(checks, common)


def _computed(proof: "Proof", common: Common) -> "tuple[Check, ...]":
    """Raises: ConfigError, ExecutorError where this machine cannot run the model."""
    from node.cli.ui.rerun import open_bench, rerun

    memory = config_of(common.data_dir).executor.memory
    with open_bench(common) as bench:
        return rerun(proof, bench, memory)


def _show(checks: "tuple[Check, ...]", common: Common) -> int:
    from protocol.proof.verify import has_failed

    failed = has_failed(checks)
    if common.json:
        output.as_json({"ok": not failed, "checks": plain_checks(checks)})
    else:
        rows = [(each.name, each.outcome.value, each.words) for each in checks]
        output.data(output.table(("check", "result", "what"), rows))
    wrong = [each.name for each in checks if each.outcome.value == "failed"]
    if wrong:
        output.error(f"{len(wrong)} of {len(checks)} checks failed: {', '.join(wrong)}", "the table says why")
    else:
        output.words("nothing in it is wrong")
    return Exit.FAILED if failed else Exit.OK
