"""`vcoin node why-slashed`: all that was held against a node, what was behind it, and why its work is checked."""

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from node.api.faults import not_found
from node.api.prefix import complete
from node.cli.ui import output
from node.cli.ui.contracts import with_network
from node.cli.ui.options import COMMON, Common
from node.cli.ui.phrases import VERDICTS, exact_coins, moment, percent, points, short, span
from node.cli.ui.settings import config_of
from node.cli.ui.standing import drawn_and_seats

if TYPE_CHECKING:
    from chain.read.penalties import Penalties, Penalty
    from node.cli.ui.types import Config, Deployment, Network
    from protocol.proof.file import CasePaper

ME = "me"
LIES = "code alone has proved: "


def why_slashed(node: str = ME, /, *, common: Common = COMMON) -> int:
    """Show every slash, jail and penalty of a node, what was behind each, and why so much of its work is checked.

    Reads the chain, asks no daemon.

    Parameters
    ----------
    node
        Its id or its operator's address, or the beginning of its id; me is the node of this data directory.
    """
    config = config_of(common.data_dir)
    found = with_network(config, lambda network, deployment: _look(config, network, deployment, node))
    return output.show(common.json, plain(found), lambda: told(found))


async def _look(config: "Config", network: "Network", deployment: "Deployment", name: str) -> "Penalties":
    from chain.read.penalties import read_penalties
    from node.wallet.home import Home
    from protocol.wire.ids import Address, checksum, is_address

    if name == ME:
        wanted = await network.stakes.id_of(Home(config.node.data_dir).operator_address())
    elif is_address(name) and (known := await network.stakes.node_of_operator(Address(name))):
        wanted = known
    else:
        every = await network.stakes.registered(deployment.block, await network.ethereum.head())
        wanted = checksum(complete(name, every, "node"))
    found = await read_penalties(network, wanted, deployment.block)
    if found is None:
        raise not_found("node", wanted)
    return found


# --- for people -----------------------------------------------------------------------------------------------------
def told(found: "Penalties") -> list[str]:
    """The node as it stands, then each event with the case behind it."""
    lines = output.pairs(_standing(found))
    if not any(_hurts(penalty) for penalty in found.penalties):
        lines += ["", "nothing was ever taken from it: no slash, no jail, no penalty"]
    for penalty in found.penalties:
        lines += ["", *_event(penalty)]
    return lines


def _standing(found: "Penalties") -> Iterator[tuple[str, str]]:
    node = found.node
    yield "node", found.node_id
    yield "state", _state(found)
    yield "score", f"{points(node.score_hundredths)} of 100, with {points(node.penalty_tenths * 10)} of penalty in it"
    yield "stake", exact_coins(node.active_stake)
    for number, line in enumerate(rate_reasons(found)):
        yield "" if number else "checked", line


def _state(found: "Penalties") -> str:
    node = found.node
    name = node.state.name.lower()
    if name != "jailed":
        return name
    left = node.jailed_until_s - found.now
    until = f"until {moment(node.jailed_until_s)}"
    return f"jailed {until}, {span(left * 1000)} more" if left > 0 else f"jailed {until}; vcoin node unjail ends it"


def rate_reasons(found: "Penalties") -> Iterator[str]:
    """The share of the node's work that is drawn now, its reason and its end."""
    from chain.read.penalties import FAILURES_ALERT

    node = found.node
    if node.samples_left:
        since = _since_probation(found)
        yield f"{percent(node.rate_bps)} of its jobs: on probation{since}"
        yield f"ends with {node.samples_left} more jobs that count, at most 20 a day"
    elif node.recent_failures > FAILURES_ALERT:
        yield f"{percent(node.rate_bps)} of its jobs: {node.recent_failures} of its last 50 failed"
        yield f"ends once no more than {FAILURES_ALERT} of 50 have"
    else:
        yield f"{percent(node.rate_bps)} of its jobs, as of every node in good standing"
    if found.book.accusations:
        yield "all that it has open now: three seats have found fraud; ends with the verdict"
    elif found.book.jailed:
        yield "all that it had open when it was jailed; ends with its first batch afterwards"


def _since_probation(found: "Penalties") -> str:
    raised = [penalty for penalty in found.penalties if penalty.rate_after == 10_000 and penalty.rate_before != 10_000]
    released = [penalty for penalty in found.penalties if penalty.change.cause.value == "release"]
    last = max((*raised, *released), key=lambda penalty: penalty.change.block, default=None)
    if last is None:
        return ", as every new node"
    return f" since block {last.change.block}: {_cause(last)}"


def _hurts(penalty: "Penalty") -> bool:
    return bool(
        penalty.change.penalty_tenths > 0 or penalty.change.lost or penalty.change.lost_wei or penalty.jailed_until_s
    )


def _event(penalty: "Penalty") -> list[str]:
    change = penalty.change
    rows = [
        (f"block {change.block}", _cause(penalty)),
        ("cost", ", ".join(_costs(penalty))),
        ("", _lost_to(penalty)),
        ("checked", _rate_change(penalty)),
        *_basis(penalty),
        ("sent in", f"0x{change.transaction.hex()}"),
        ("look at", _links(penalty)),
    ]
    return output.pairs(rows)


def _lost_to(penalty: "Penalty") -> str:
    lost = f"of the stake {exact_coins(penalty.burned)} burned, {exact_coins(penalty.pooled)} to the pool"
    return lost if penalty.burned else ""


def _cause(penalty: "Penalty") -> str:
    change = penalty.change
    batch = short(change.batch_id.hex()) if change.batch_id else ""
    match change.cause.value:
        case "case":
            word = change.verdict.name.lower()
            return f"case {batch} about its batch ended as {word}: {VERDICTS.get(word, word)}"
        case "seat":
            return f"it was silent on seat {change.seat} of case {batch}"
        case "audit" if penalty.sat:
            return f"an audit of case {batch} found that its seat had not computed what it was bound to"
        case "audit":
            return f"it was silent as an auditor of case {batch}"
        case "offline":
            return "it missed two signs of life that two owners had asked for"
        case "absence":
            return f"it was away for more than a week: {penalty.days} days are charged, a hundredth of the stake each"
        case "classes":
            return "its owner changed its device classes"
        case "release":
            return "it left jail"
        case "batch":
            failed = f", {change.lost} failed" if change.lost else ""
            return f"its batch {batch} became final: {change.counted} jobs passed{failed}"
        case other:
            return f"{other} {batch}"


def _costs(penalty: "Penalty") -> Iterator[str]:
    change = penalty.change
    if change.lost_wei:
        yield f"{exact_coins(change.lost_wei)} of the stake"
    if change.penalty_tenths > 0:
        yield f"{points(change.penalty_tenths * 10)} points"
    if change.lost and change.cause.value == "case":
        yield "a lost case in its record"
    if penalty.jailed_until_s:
        yield f"jail until {moment(penalty.jailed_until_s)}"


def _rate_change(penalty: "Penalty") -> str:
    if penalty.rate_before == penalty.rate_after:
        return ""
    return f"{percent(penalty.rate_before)} of its jobs before, {percent(penalty.rate_after)} after"


def _basis(penalty: "Penalty") -> Iterator[tuple[str, str]]:
    """The finding of the seats, or the fraud that code has proved."""
    from protocol.judging.fraud_proofs import FraudKind

    if penalty.fraud_kind is not FraudKind.NONE:
        yield "because", LIES + penalty.fraud_kind.name.lower().replace("_", " ")
    case = penalty.history.case if penalty.history else None
    if case is None:
        return
    leaves = penalty.history.draw.leaves if penalty.history and penalty.history.draw else ()
    for number, seat in enumerate(case.seats):
        silent = "was silent" if seat.silent else "has not shown any score"
        yield f"seat {number}", f"{short(seat.node)} {_scores(seat.scores, leaves) if seat.scores else silent}"
    if penalty.change.cause.value == "audit" and penalty.sat:
        yield "because", "two auditors or more computed the leaves again, and its seat's digest was of something else"
    if penalty.change.cause.value == "case" and case.seats:
        yield "because", _rule(case)


def _scores(scores: tuple[int, ...], leaves: tuple[int, ...]) -> str:
    """The worst leaf of a seat, and which it is."""
    at = scores.index(min(scores))
    where = f" on leaf {leaves[at]} of {len(scores)} drawn" if at < len(leaves) else ""
    return f"{min(scores)} bp{where}"


def _rule(case: "CasePaper") -> str:
    from protocol.judging.margins import RUNNING_ALARM

    if case.proven:
        return "an audit or a proof has overruled the seats"
    if case.demanded and not case.answered:
        return "a seat asked for a leaf on chain, and no answer came in time"
    if case.median is None:
        return ""
    if case.margin is not None and case.margin.confirmed >= RUNNING_ALARM:
        return "each answer passes, but the margins of its tokens add up to another model's over many cases"
    return f"the median is {case.median} bp: above 9500 passes, above 8500 is a doubt, else fraud"


def _links(penalty: "Penalty") -> str:
    change = penalty.change
    if change.batch_id is None:
        return ""
    name = short(change.batch_id.hex())
    shown = f"vcoin case review {name}"
    own = change.cause.value in ("case", "batch")
    return f"{shown}; vcoin job proof JOB for a job in it, which vcoin case show {name} lists" if own else shown


# --- for programs ---------------------------------------------------------------------------------------------------
def plain(found: "Penalties") -> dict[str, Any]:
    """Everything, for JSON; amounts in wei as strings."""
    node = found.node
    return {
        "node_id": found.node_id,
        "state": node.state.name.lower(),
        "jailed_until_s": node.jailed_until_s,
        "now": found.now,
        "score": node.score_hundredths,
        "penalty": node.penalty_tenths * 10,
        "stake_wei": str(node.active_stake),
        "rate_bps": node.rate_bps,
        "rate_reasons": list(rate_reasons(found)),
        "samples_left": node.samples_left,
        "recent_failures": node.recent_failures,
        "accusations": found.book.accusations,
        "events": [_plain_blow(penalty) for penalty in found.penalties],
    }


def _plain_blow(penalty: "Penalty") -> dict[str, Any]:
    change, case = penalty.change, penalty.history.case if penalty.history else None
    return {
        "block": change.block,
        "transaction": f"0x{change.transaction.hex()}",
        "cause": change.cause.value,
        "words": _cause(penalty),
        "batch_id": change.batch_id.hex() if change.batch_id else "",
        "verdict": change.verdict.name.lower() if change.verdict else "",
        "fraud_kind": penalty.fraud_kind.name.lower() if penalty.fraud_kind else "",
        "penalty": change.penalty_tenths * 10,
        "lost_wei": str(change.lost_wei),
        "burned_wei": str(penalty.burned),
        "pooled_wei": str(penalty.pooled),
        "jailed_until_s": penalty.jailed_until_s,
        "days": penalty.days,
        "rate_before_bps": penalty.rate_before,
        "rate_after_bps": penalty.rate_after,
        "median_bps": case.median if case else None,
        **drawn_and_seats(penalty.history),
    }
