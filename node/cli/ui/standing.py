"""The standing of a case: its state in words, its deadline, what happens then, and who may act."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from node.api.faults import Fault
from node.api.prefix import complete
from node.cli.ui.phrases import VERDICTS, moment, percent, span

if TYPE_CHECKING:
    from chain.contracts.court import ChainCase
    from chain.contracts.network import Deployment, Network
    from chain.read.batch_history import BatchHistory
    from protocol.proof.file import SeatPaper

DEFAULTS = {
    "decided": "the finding stands: the node is slashed and jailed, its clients get their money back",
    "arbiter": "void: the doubt stays; clients get their money back, the node loses 5 points and no stake",
    "data_challenge": "the node withheld it: it loses up to ten times the batch, is jailed, clients are refunded",
}


@dataclass(frozen=True)
class Votes:
    """Of the arbiters, so far."""

    passes: int
    voids: int
    quorum: int
    arbiters: int


@dataclass(frozen=True)
class CaseStanding:
    """A case as the chain has it; `now` is the time of its newest block, in seconds."""

    id: str
    history: "BatchHistory"
    case: "ChainCase"
    votes: Votes
    now: int


async def read_standing(network: "Network", deployment: "Deployment", prefix: str) -> CaseStanding:
    """The case that a prefix begins. Raises: Fault not_found or ambiguous, ChainError."""
    from chain.read.batch_history import read_batch_history
    from chain.read.cases import read_cases
    from protocol.wire.ids import BatchId

    block = await network.ethereum.block()
    known = [each.batch_id.hex() for each in await read_cases(network, deployment.block, block.number)]
    name = complete(prefix, known, "case")
    batch_id = BatchId(bytes.fromhex(name))
    history = await read_batch_history(network, batch_id, deployment.block, block.number, whole=False)
    if history is None:
        raise Fault("not_found", f"the chain has no batch of case {name}", "vcoin case list")
    panel = await network.panel()
    votes = Votes(*await panel.votes_of(batch_id), await panel.quorum(), len(await panel.arbiters()))
    return CaseStanding(name, history, await network.court.case_of(batch_id), votes, block.timestamp)


def drawn_and_seats(history: "BatchHistory | None") -> dict[str, Any]:
    """The drawn leaves of a batch and the scores of its seats, for JSON."""
    draw, case = (history.draw, history.case) if history else (None, None)
    seats = case.seats if case else ()
    return {
        "drawn": list(draw.leaves) if draw else [],
        "seats": [{"node": each.node, "silent": each.silent, "scores": list(each.scores or ())} for each in seats],
    }


def state_of(seen: CaseStanding) -> str:
    """The state of the case, in words."""
    case = seen.case
    match case.state.name:
        case "CLOSED":
            word = case.verdict.name.lower()
            return f"closed: {word}{f', {VERDICTS[word]}' if word in VERDICTS else ', the batch is honest'}"
        case "DECIDED":
            return f"the seats found fraud at a median of {percent(case.median)}; open to an appeal"
        case "ARBITER":
            return f"the seats doubt it at a median of {percent(case.median)}; arbiters decide"
        case "DATA_CHALLENGE":
            return "a seat has asked the node on chain to show a leaf"
        case _:
            seats = _bench(seen)
            revealed = sum(seat.scores is not None for seat in seats)
            return f"open, round {case.round + 1}: {revealed} of {len(seats)} seats have shown their scores"


def _bench(seen: CaseStanding) -> tuple["SeatPaper", ...]:
    """The seats of the present round."""
    seats = seen.history.case.seats if seen.history.case else ()
    return tuple(seat for seat in seats[seen.case.first_seat :] if not seat.silent)


def margins_of(seen: CaseStanding) -> str:
    """The sum of the tokens of many cases, if this one has counted any; see docs/contracts.md."""
    from protocol.judging.margins import HEAD_START, RUNNING_ALARM

    counted = seen.history.case.margin if seen.history.case else None
    if counted is None:
        return ""
    sums = f"{counted.confirmed} of {RUNNING_ALARM} over all its cases, at which it is fraud"
    said = f"the case counted {counted.llr_millinats} thousandths of a nat against the node, which has {sums}"
    return f"{said} ({HEAD_START} before the first)"


def deadline_of(seen: CaseStanding) -> str:
    """When anyone may end it, by the clock here and by the chain; empty for a case that is closed."""
    until = seen.case.until
    if not until:
        return ""
    left = f"{span((until - seen.now) * 1000)} left" if until > seen.now else "over: anyone may end it now"
    return f"{moment(until)}, {until} in the chain's seconds, which has {seen.now} now: {left}"


def default_of(seen: CaseStanding) -> str:
    """The outcome without any action."""
    name = seen.case.state.name.lower()
    if name == "data_challenge" and seen.case.standing.name == "SEVERE":
        name = "decided"
    if name != "open":
        return DEFAULTS.get(name, "")
    if seen.case.round:
        word = seen.case.standing.name.lower()
        return f"what the first round found stands: {word}, {VERDICTS.get(word, 'the batch passes')}"
    return "void, and the clients get their money back; if a seat had found anything, the node is jailed for it"


def commands_for(seen: CaseStanding) -> Iterator[str]:
    """The actions that are open now."""
    name = seen.id[:16]
    match seen.case.state.name:
        case "ARBITER":
            yield f"as an arbiter: vcoin panel vote {name} --pass --key FILE, or --void"
        case "DECIDED":
            yield f"as the node's owner or operator: vcoin case appeal {name} --owner-key FILE"
        case "CLOSED":
            yield f"vcoin case show {name}: where the money went"
