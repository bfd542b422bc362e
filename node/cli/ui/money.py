"""A movement of money before and after it happens: the decoded calls, the gas, the balances."""

from collections.abc import Callable, Iterator, Sequence

from node.api.faults import Exit, vcn
from node.api.views import BalanceView, PlanView, plain, read
from node.cli.ui import output
from node.cli.ui.daemon_socket import client
from node.cli.ui.options import Common
from node.cli.ui.phrases import exact_coins

MINED_WITHIN_S = 330.0
"""A little longer than the daemon waits for a transaction."""
Move = Callable[[bool], PlanView]
"""Simulates where it is given True, else sends; raises what the contract says."""


def carry_out_by_daemon(path: Sequence[str], body: dict[str, str], *, yes: bool, dry_run: bool, common: Common) -> int:
    """As `carry_out`, a movement that the daemon makes with the keys of this node; path and body of its question."""
    door = client(common.data_dir)

    def plan(simulate: bool) -> PlanView:
        return read(PlanView, door.post(*path, body={**body, "dry_run": simulate}, within_s=MINED_WITHIN_S))

    return carry_out(plan, yes=yes, dry_run=dry_run, as_json=common.json)


def carry_out(plan: Move, *, yes: bool, dry_run: bool, as_json: bool) -> int:
    """Simulate, show, ask, send. In JSON there is no question: without `yes` it is only simulated.

    Raises: Reverted, nothing sent; Fault bad_request if a yes is needed and there is no terminal.
    """
    planned = plan(True)
    if as_json and (dry_run or not yes):
        output.as_json(plain(planned))
        return Exit.OK
    if not as_json:
        output.data(description(planned))
    if dry_run or not (yes or output.confirm("send it?")):
        output.words("nothing was sent")
        return Exit.OK if dry_run else Exit.FAILED
    sent = plan(False)
    return output.show(as_json, plain(sent), lambda: [f"sent      {each}" for each in sent.transactions])


def description(plan: PlanView) -> list[str]:
    """The plan on a few lines."""
    return output.pairs(_rows(plan))


def _rows(plan: PlanView) -> Iterator[tuple[str, str]]:
    yield "from", plan.sender
    for number, call in enumerate(plan.calls):
        arguments = ", ".join(f"{name}={value}" for name, value in call.arguments)
        yield "" if number else "call", f"{call.contract}.{call.function}({arguments}) at {call.address}"
    gas = sum(call.gas for call in plan.calls)
    more = "" if all(call.gas for call in plan.calls) else ", and that of calls that need the first one mined"
    yield "gas", f"{gas:,}, at most {vcn(plan.fee_wei)} ETH{more}"
    for number, balance in enumerate(plan.balances):
        yield "" if number else "balance", _change(balance)


def _change(balance: BalanceView) -> str:
    if balance.unit == "VCN":
        return f"{balance.name}: {exact_coins(balance.before_wei)} > {exact_coins(balance.after_wei)}"
    return f"{balance.name}: {vcn(balance.before_wei)} > {vcn(balance.after_wei)} {balance.unit}"
