"""`vcoin case`: who judged a batch, what they found, and where its money went."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter

from node.api.faults import Exit
from node.api.snapshot import CaseView, SeatView, read
from node.cli import output
from node.cli.door import client
from node.cli.options import COMMON, Common, DryRun, Yes, noun
from node.cli.phrases import BLANK, exact_coins, percent, short
from node.cli.settings import config_of
from node.cli.wallet import Wallet, carry_out_by

if TYPE_CHECKING:
    from chain.network import Network
    from chain.wallet import Key
    from node.moves import Move

app = noun("case", "Courts over batches, and where the money went.")


@app.command
def show(case: str, /, *, common: Common = COMMON) -> int:
    """Show a case: its seats, their commitments and scores, the verdict, the money.

    Parameters
    ----------
    case
        The id of its batch or of a job in it, or the beginning of one.
    """
    raw = client(common.data_dir).get("cases", case)
    if common.json:
        output.as_json(raw)
    else:
        output.data(description(read(CaseView, raw)))
    return Exit.OK


@app.command
def appeal(
    case: str,
    /,
    *,
    owner_key: Annotated[Path, Parameter(metavar="FILE")],
    password_file: Path | None = None,
    yes: Yes = False,
    dry_run: DryRun = False,
    common: Common = COMMON,
) -> int:
    """Appeal a finding of fraud: seven other seats decide, for a bond of a hundredth of the stake.

    The bond comes back if they find better, else it is lost. There is no appeal against their verdict.

    Parameters
    ----------
    case
        The id of its batch or of a job in it, or the beginning of one.
    owner_key
        The keystore file of the node's owner or operator, whose wallet pays the bond.
    password_file
        Its first line unlocks the key; nothing: VCOIN_PASSWORD, else a question.
    yes
        Send without asking.
    dry_run
        Only show what would happen.
    """
    config = config_of(common.data_dir)
    known = read(CaseView, client(common.data_dir).get("cases", case))
    wallet = Wallet(owner_key, password_file, yes, dry_run)
    return carry_out_by(wallet, "the key", config, common, lambda network, key: _appeal(network, key, known))


async def _appeal(network: "Network", key: "Key", case: CaseView) -> "Move":
    from node import moves
    from protocol.wire.ids import checksum

    return await moves.appeal(network, key, checksum(case.node), case.slot)


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
