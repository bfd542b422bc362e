"""`vcoin case`: who judged a batch, what they found, and where its money went."""

from collections.abc import Iterator, Mapping
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from cyclopts import Parameter

from node.api.views import CaseView, SeatView, read
from node.cli.commands.review import review
from node.cli.ui import output
from node.cli.ui.contracts import ask_network
from node.cli.ui.daemon_socket import client
from node.cli.ui.options import COMMON, AddressOf, Common, noun
from node.cli.ui.phrases import BLANK, exact_coins, percent, short, span, state
from node.cli.ui.wallet import OwnerWalletOptions, carry_out_by

if TYPE_CHECKING:
    from node.cli.ui.types import Address, Deployment, Network

app = noun("case", "Courts over batches, and where the money went.")
app.command(review)


@app.command
def show(case: str, /, *, common: Common = COMMON) -> int:
    """Show a case: its seats, their commitments and scores, the verdict, the money.

    Parameters
    ----------
    case
        The id of its batch or of a job in it, or the beginning of one.
    """
    raw = client(common.data_dir).get("cases", case)
    return output.show(common.json, raw, lambda: description(read(CaseView, raw)))


@app.command(name="list")
def list_(
    *,
    node: AddressOf | None = None,
    open_: Annotated[bool, Parameter(name="--open", negative="")] = False,
    common: Common = COMMON,
) -> int:
    """Show the cases of the network, oldest first, as the chain tells them: asks no daemon.

    Parameters
    ----------
    node
        Only those about batches of this node.
    open_
        Only those in which something may still happen.
    """
    cases, now = ask_network(common.data_dir, lambda network, deployment: _look(network, deployment, node, open_))
    head = ("case", "node", "block", "state", "verdict", "median", "seats", "round", "drawn", "ends")
    return output.show(common.json, cases, lambda: output.table(head, [_line(case, now) for case in cases]))


@app.command
def audits(*, node: AddressOf | None = None, common: Common = COMMON) -> int:
    """Show the audits of the network, oldest first, as the chain tells them: who checked seats, and what was found.

    One case in twenty that passed is checked once more by three verifiers who had no seat in it.

    Parameters
    ----------
    node
        Only those of batches of this node.
    """
    found = ask_network(common.data_dir, lambda network, deployment: _look_at_audits(network, deployment, node))
    head = ("case", "node", "block", "state", "seats caught", "fraud", "auditors")
    return output.show(common.json, found, lambda: output.table(head, [_audit_line(each) for each in found]))


@app.command
def appeal(case: str, /, *, wallet: OwnerWalletOptions) -> int:
    """Appeal a finding of fraud: seven other seats decide, for a bond of a hundredth of the stake.

    The wallet's bond comes back if they find better, else it is lost. There is no appeal against their verdict.

    Parameters
    ----------
    case
        The id of its batch or of a job in it, or the beginning of one.
    """
    known = read(CaseView, client(wallet.common.data_dir).get("cases", case))

    from node.wallet import plans
    from protocol.wire.ids import checksum

    planned = partial(plans.appeal, node=checksum(known.node), slot=known.slot)
    return carry_out_by(wallet, "the key", planned)


async def _look(
    network: "Network", deployment: "Deployment", node: "Address | None", only_open: bool
) -> tuple[list[dict[str, Any]], int]:
    """Cases, and the time of the newest block in seconds."""
    from chain.read.cases import read_cases

    block = await network.ethereum.block()
    node_id = await network.stakes.id_of(node) if node else None
    cases = [
        {
            "id": case.batch_id.hex(),
            "node": case.node,
            "slot": case.slot,
            "block": case.block,
            "state": case.state.name.lower(),
            "verdict": case.verdict.name.lower() if case.verdict else "",
            "median_bps": case.median,
            "round": case.round,
            "seats": case.seat_count,
            "drawn": case.drawn_count,
            "until": case.until,
        }
        for case in await read_cases(network, deployment.block, block.number, node_id)
        if case.is_open or not only_open
    ]
    return cases, block.timestamp


async def _look_at_audits(network: "Network", deployment: "Deployment", node: "Address | None") -> list[dict[str, Any]]:
    head = await network.ethereum.head()
    node_id = await network.stakes.id_of(node) if node else None
    return [
        {
            "id": audit.batch_id.hex(),
            "node": audit.node,
            "slot": audit.slot,
            "block": audit.block,
            "ended": audit.ended,
            "caught": list(audit.caught),
            "fraud": audit.fraud,
            "auditors": list(audit.auditors),
        }
        for audit in await network.audits.seen(deployment.block, head)
        if node_id in (None, audit.node)
    ]


def _audit_line(audit: Mapping[str, Any]) -> tuple[str, ...]:
    stands = "ended" if audit["ended"] else "open"
    caught = " ".join(map(str, audit["caught"])) or BLANK
    found = (stands, caught, "yes" if audit["fraud"] else BLANK, " ".join(map(short, audit["auditors"])))
    return (audit["id"][:16], short(audit["node"]), str(audit["block"]), *found)


def _line(case: Mapping[str, Any], now: int) -> tuple[str, ...]:
    until, median = case["until"], case["median_bps"]
    ends = BLANK if not until else f"in {span((until - now) * 1_000)}" if until > now else "now"
    found = (state(case["state"]), case["verdict"] or BLANK, percent(median) if median else BLANK)
    bench = (str(case["seats"]), str(case["round"] + 1), str(case["drawn"]))
    return (case["id"][:16], short(case["node"]), str(case["block"]), *found, *bench, ends)


def description(case: CaseView) -> list[str]:
    """A case with its seats and its money."""
    head = ("seat", "node", "state", "commitment", "score", "of each leaf")
    seats = output.table(head, [_row(seat) for seat in case.seats]) if case.seats else ["no seats yet"]
    return [*output.pairs(_facts(case)), "", *seats, "", *output.pairs(_money(case))]


def _facts(case: CaseView) -> Iterator[tuple[str, str]]:
    yield "case", case.id
    yield "state", case.state
    yield "node", f"{case.node}, slot {case.slot}, device class {case.class_id}"
    leaves = ", ".join(str(leaf) for leaf in case.drawn) or "none"
    yield "drawn", f"{len(case.drawn)} of {case.leaf_count} leaves: {leaves}"
    yield "jobs", ", ".join(short(job) for job in case.jobs)
    if case.verdict:
        yield "verdict", f"{case.verdict}, median {percent(case.median_bps)} (pass above 95 %, fail at 85 % or below)"


def _row(seat: SeatView) -> tuple[str, ...]:
    score = percent(min(seat.scores)) if seat.scores else BLANK
    each = " ".join(percent(value).removesuffix(" %") for value in seat.scores) or BLANK
    return (str(seat.seat), short(seat.node), seat.state, short(seat.commitment), score, each)


def _money(case: CaseView) -> Iterator[tuple[str, str]]:
    """Only what has moved."""
    amounts = (
        ("price", case.price_wei, ""),
        ("burned", case.burned_wei, ""),
        ("to the node", case.reward_wei, ""),
        ("bonus", case.bonus_wei, " to the node"),
        ("to the pool", case.pooled_wei, " for verifiers"),
        ("refunded", case.refunded_wei, " to the clients"),
        ("slashed", case.slashed_wei, " of the node's stake"),
    )
    for name, wei, to in amounts:
        yield name, f"{exact_coins(wei)}{to}" if wei else ""
