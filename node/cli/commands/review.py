"""`vcoin case review`: what people need to judge a case: scores, both outputs, the deadline and what to do."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from node.api.faults import Fault
from node.api.views import LeafView, LeavesView, plain, read
from node.cli.ui import output, standing
from node.cli.ui.columns import beside, terminal_width, wrapped
from node.cli.ui.contracts import ask_network
from node.cli.ui.daemon_socket import client
from node.cli.ui.options import COMMON, Common, Flag
from node.cli.ui.phrases import BLANK, percent, short
from node.cli.ui.settings import config_of

if TYPE_CHECKING:
    from node.cli.ui.rerun import ContainerBench

MOST_ROWS = 20
"""Leaves whose scores are shown, the worst ones first where there are more."""
MEANING = (
    "above 95 % a leaf passes, above 85 % it is a doubt, else a failure; a seat is as good as its worst leaf,",
    "and the median of the seats decides.",
)
TERMS = {
    "act": "hidden states as a whole",
    "chunk": "the worst 32 tokens of them",
    "tok": "mean margin of the tokens",
    "worst": "largest margin of a token",
}


@dataclass(frozen=True)
class Fresh:
    """This machine's answer to the same question, and its agreement in basis points."""

    text: str
    agrees_bps: int


def review(case: str, /, *, rerun: Flag = False, common: Common = COMMON) -> int:
    """Show what is needed to judge a case: scores of every seat, what they mean, both outputs, deadline and default.

    Everybody sees the scores, which are on chain. The outputs are shown only by nodes that keep them: those of its
    seats, of its provider and of its client.

    Parameters
    ----------
    case
        The id of its batch, or the beginning of it; with a daemon also that of a job in it.
    rerun
        Have the model answer again in a container of this machine, and show that beside the answer.
    """
    held, lack = _held(case, common)
    name = held.id if held else case
    seen = ask_network(common.data_dir, lambda network, deployment: standing.read_standing(network, deployment, name))
    leaves = held.leaves if held else ()
    fresh = _computed(leaves, common) if rerun else {}
    everything = shown_to_programs(seen, leaves, fresh)
    code = output.show(common.json, everything, lambda: shown(seen, leaves, fresh, terminal_width()))
    if lack and not common.json:
        output.words(lack)
    return code


def _held(case: str, common: Common) -> tuple[LeavesView | None, str]:
    """The leaves of the case that this node holds, or why they are not known."""
    try:
        return read(LeavesView, client(common.data_dir).get("cases", case, "leaves")), ""
    except Fault as fault:
        if fault.code == "no_daemon":
            return None, "no daemon runs here, so what this node holds of the leaves is not shown: vcoin node run"
        if fault.code != "not_found":
            raise
        return None, "this node's daemon does not know the case, so it holds nothing of it"


def _computed(leaves: tuple[LeafView, ...], common: Common) -> dict[int, Fresh]:
    """Raises: Fault where nothing is held; ConfigError, ExecutorError where this machine cannot run the model."""
    from node.cli.ui.rerun import open_bench

    ready = [leaf for leaf in leaves if leaf.asked and leaf.answer]
    if not ready:
        raise Fault("not_found", "this node holds no answer that it could compute again", "leave out --rerun")
    memory = config_of(common.data_dir).executor.memory
    with open_bench(common) as bench:
        return {leaf.leaf: answered(leaf, bench, memory) for leaf in ready}


def answered(leaf: LeafView, bench: "ContainerBench", memory_bytes: int) -> Fresh:
    """A fresh answer to a leaf's question. Raises: ExecutorError."""
    from node.cli.ui.rerun import told
    from protocol.params import INFERENCE_TIMEOUT_MS
    from protocol.proof.again import agreement_bps
    from protocol.stages.execution import RunSpec
    from protocol.stages.request import KINDS

    spec = RunSpec(
        job_id=bytes.fromhex(leaf.job_id),
        manifest=bytes.fromhex(leaf.manifest),
        class_id=leaf.class_id,
        max_new_tokens=leaf.max_new_tokens,
        temperature=leaf.temperature_milli,
        seed=bytes.fromhex(leaf.seed),
        memory_bytes=memory_bytes,
        timeout_ms=leaf.timeout_ms or INFERENCE_TIMEOUT_MS,
        kind=KINDS.index(leaf.kind),
    )
    given, fresh = leaf.answer.encode(), bench.answer(spec, leaf.asked.encode())
    ours, theirs = told(bench, spec, fresh), told(bench, spec, given)
    return Fresh(ours, agreement_bps(spec.kind, theirs, ours))


# --- for people -----------------------------------------------------------------------------------------------------
def shown(seen: standing.CaseStanding, leaves: tuple[LeafView, ...], fresh: dict[int, Fresh], width: int) -> list[str]:
    """The whole review."""
    lines = [*output.pairs(_facts(seen)), "", *_score_table(seen), "", *MEANING]
    for leaf in leaves:
        lines += ["", *_leaf(leaf, fresh.get(leaf.leaf), width)]
    if missing := _missing(seen, leaves):
        lines += ["", *wrapped(missing, width)]
    return lines


def _facts(seen: standing.CaseStanding) -> Iterator[tuple[str, str]]:
    batch = seen.history.batch
    yield "case", seen.id
    yield "about", f"a batch of {batch.leaf_count} leaves of node {seen.history.node}, device class {batch.class_id}"
    yield "state", standing.state_of(seen)
    yield "margins", standing.margins_of(seen)
    yield "deadline", standing.deadline_of(seen)
    yield "if it passes", standing.default_of(seen)
    if seen.case.state.name == "ARBITER":
        votes = seen.votes
        yield "votes", f"{votes.passes} to pass, {votes.voids} to void; {votes.quorum} of {votes.arbiters} decide"
    for number, line in enumerate(standing.commands_for(seen)):
        yield "" if number else "you may", line


def _score_table(seen: standing.CaseStanding) -> list[str]:
    """A row a leaf, a column a seat."""
    drawn = seen.history.draw.leaves if seen.history.draw else ()
    seats = seen.history.case.seats if seen.history.case else ()
    if not seats:
        return ["no seat has sat"]
    rows = [(leaf, [_score(seat, at) for seat in seats]) for at, leaf in enumerate(drawn)]
    rows.sort(key=lambda row: min((score for score in row[1] if score is not None), default=10_000))
    kept = sorted(rows[:MOST_ROWS])
    head = ("leaf", *(f"{number} {short(seat.node)}" for number, seat in enumerate(seats)))
    body = [(str(leaf), *(BLANK if score is None else percent(score) for score in scores)) for leaf, scores in kept]
    body.append(("seat", *(_word(seat) for seat in seats)))
    more = [f"{len(rows) - MOST_ROWS} leaves with better scores are left out"] if len(rows) > MOST_ROWS else []
    return [*output.table(head, body), *more]


def _score(seat: Any, at: int) -> int | None:
    return seat.scores[at] if seat.scores and at < len(seat.scores) else None


def _word(seat: Any) -> str:
    if seat.scores:
        return percent(min(seat.scores))
    return "silent" if seat.silent else "bound" if seat.commitment else "drawn"


def _leaf(leaf: LeafView, fresh: Fresh | None, width: int) -> list[str]:
    """One leaf: what was asked, how it was scored here, and two outputs beside each other."""
    title = f"leaf {leaf.leaf}, job {short(leaf.job_id)}, {leaf.model}, held here as its {leaf.holder}"
    lines = [title, *wrapped(f"asked: {leaf.question}", width)]
    if leaf.problem:
        lines += wrapped(f"this seat found: {leaf.problem}", width)
    if leaf.terms:
        lines += output.table(("term", "score", "distance", "passes to", "fails from", "of"), _terms(leaf))
    given = ("the node's answer", leaf.text or "not here")
    if fresh is not None:
        agrees = f"computed again here: {percent(fresh.agrees_bps)} of it agrees"
        return [*lines, *beside(given, (agrees, fresh.text), width)]
    if any(token.margin_ppm >= 0 for token in leaf.tokens):
        marked = ("this seat's pass over it: [token|nats by which it would have said something else]", _marked(leaf))
        return [*lines, *beside(given, marked, width)]
    return [*lines, f"-- {given[0]}", *wrapped(given[1], width), "to see another beside it: --rerun"]


def _terms(leaf: LeafView) -> Iterator[tuple[str, ...]]:
    for term in leaf.terms:
        bounds = str(term.pass_ppm), str(term.fail_ppm)
        yield term.name, percent(term.score_bps), str(term.distance_ppm), *bounds, TERMS.get(term.name, "")


def _marked(leaf: LeafView) -> str:
    tokens = "".join(
        f"[{token.text}|{token.margin_ppm / 1e6:.2f}]" if token.margin_ppm > 0 else token.text for token in leaf.tokens
    )
    return f"{tokens}[end|{leaf.stop_margin_ppm / 1e6:.2f}]" if leaf.stop_margin_ppm > 0 else tokens


def _missing(seen: standing.CaseStanding, leaves: tuple[LeafView, ...]) -> str:
    """The leaves that are not here, and their holders."""
    drawn = seen.history.draw.leaves if seen.history.draw else ()
    here = {leaf.leaf for leaf in leaves if leaf.text}
    absent = [str(leaf) for leaf in drawn if leaf not in here]
    if not absent:
        return ""
    numbers = ", ".join(absent[:12]) + (", ..." if len(absent) > 12 else "")
    return (
        f"not here: the content of leaf {numbers}. Seats, node {short(seen.history.node)} and client have it. "
        "What the node or client writes with vcoin job proof JOB --with-content can be computed again: "
        "vcoin job verify FILE --rerun"
    )


# --- for programs ---------------------------------------------------------------------------------------------------
def shown_to_programs(
    seen: standing.CaseStanding, leaves: tuple[LeafView, ...], fresh: dict[int, Fresh]
) -> dict[str, Any]:
    """Everything, for JSON."""
    case = seen.case
    return {
        "id": seen.id,
        "node": seen.history.node,
        "state": case.state.name.lower(),
        "verdict": case.verdict.name.lower() if case.verdict else "",
        "round": case.round,
        "first_seat": case.first_seat,
        "median_bps": case.median,
        "now": seen.now,
        "until": case.until,
        "default": standing.default_of(seen),
        "commands": list(standing.commands_for(seen)),
        "votes": {"passes": seen.votes.passes, "voids": seen.votes.voids, "quorum": seen.votes.quorum},
        **standing.drawn_and_seats(seen.history),
        "leaves": [plain(leaf) for leaf in leaves],
        "fresh": {str(leaf): {"text": each.text, "agrees_bps": each.agrees_bps} for leaf, each in fresh.items()},
    }
