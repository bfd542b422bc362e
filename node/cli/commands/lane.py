"""`vcoin lane`: money that the client has locked for one node. The daemon locks what its jobs need by itself."""

from collections.abc import Iterable
from datetime import UTC, datetime

from node.api.backend import LaneStep
from node.api.faults import vcn
from node.api.views import AccountView, LaneView, plain, read
from node.cli.ui import output
from node.cli.ui.daemon_socket import client
from node.cli.ui.money import carry_out_by_daemon
from node.cli.ui.options import COMMON, Coins, Common, DryRun, Yes, noun

app = noun("lane", "Money locked for one node, out of which only that node is paid.")


@app.command(name="list")
def list_(*, common: Common = COMMON) -> int:
    """Show the client's lanes: what is left in each, what was settled, and until when a closing one stays."""
    account = read(AccountView, client(common.data_dir).get("account"))
    return output.show(common.json, [plain(lane) for lane in account.lanes], lambda: table_of(account.lanes))


@app.command(name="open")
def open_(node: str, amount: Coins, /, *, yes: Yes = False, dry_run: DryRun = False, common: Common = COMMON) -> int:
    """Lock more of the client's free money for a node. A lane that was closing is open again.

    Parameters
    ----------
    node
        The node's id, or the beginning of it.
    amount
        In VCN.
    yes
        Send without asking.
    dry_run
        Only show what would happen.
    """
    return _move(LaneStep.OPEN, node, {"amount_wei": str(amount)}, yes, dry_run, common)


@app.command
def close(node: str, /, *, yes: Yes = False, dry_run: DryRun = False, common: Common = COMMON) -> int:
    """Start to take the rest of a lane back. Until its time is over the node may still bring your jobs on chain.

    Parameters
    ----------
    node
        The node's id, or the beginning of it.
    yes
        Send without asking.
    dry_run
        Only show what would happen.
    """
    return _move(LaneStep.CLOSE, node, {}, yes, dry_run, common)


@app.command
def reclaim(node: str, /, *, yes: Yes = False, dry_run: DryRun = False, common: Common = COMMON) -> int:
    """Take the rest of a closed lane back into the account. Jobs that its node never brought on chain end with it.

    Parameters
    ----------
    node
        The node's id, or the beginning of it.
    yes
        Send without asking.
    dry_run
        Only show what would happen.
    """
    return _move(LaneStep.RECLAIM, node, {}, yes, dry_run, common)


def table_of(lanes: Iterable[LaneView]) -> list[str]:
    """Lanes on a line each."""
    head = ("lane to node", "left VCN", "settled VCN", "jobs", "state")
    rows = [(lane.node, vcn(lane.left_wei), vcn(lane.mark_wei), str(lane.jobs), _state(lane)) for lane in lanes]
    return output.table(head, rows)


def _state(lane: LaneView) -> str:
    if not lane.closing:
        return "open"
    if lane.closes_at_s:
        return f"closing until {datetime.fromtimestamp(lane.closes_at_s, UTC):%Y-%m-%d %H:%M:%S} UTC"
    return "closing" if lane.left_wei else "reclaimed"


def _move(step: LaneStep, node: str, amount: dict[str, str], yes: bool, dry_run: bool, common: Common) -> int:
    return carry_out_by_daemon(("lanes", node, step.value), amount, yes=yes, dry_run=dry_run, common=common)
