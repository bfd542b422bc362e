"""`vcoin node score`: a reputation term by term, and the batch, case or duty behind every change of it."""

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from node.api.views import ChangeView, ScoreView, read
from node.cli.ui import output
from node.cli.ui.daemon_socket import client
from node.cli.ui.options import COMMON, Common
from node.cli.ui.phrases import BLANK, coins, exact_coins, points, short, span

SHOWN_HARMLESS = 10
"""The newest of the changes that cost nothing; every one that did is shown."""
SECONDS_A_DAY = 86_400


def score(node: str = "me", /, *, common: Common = COMMON) -> int:
    """Show a node's reputation, what it is made of, and the batches, cases and duties behind that.

    Parameters
    ----------
    node
        Its id, or the beginning of it; me is this node.
    """
    raw = client(common.data_dir).get("score", node)
    return output.show(common.json, raw, lambda: explanation(read(ScoreView, raw)))


def explanation(view: ScoreView) -> list[str]:
    """A score, term by term."""
    terms = output.table(("term", "points", "of", "because"), _terms(view))
    head = [f"node {view.node_id}", f"score {points(view.score)} of 100", "", *terms, "", *_consequences(view)]
    return [*head, *_history(view)]


def _terms(view: ScoreView) -> Iterator[tuple[str, str, str, str]]:
    mean = span((view.response_ms + 20 * 60_000) // (view.total + 20))
    counted = f"{view.successes} + 10 of {view.total} + 20 jobs passed"
    days = f"checked in on {view.check_in_days} days, {view.days_active} + 7 are counted"
    yield "success", points(view.success), "50", counted
    yield "speed", points(view.speed), "20", f"{mean} a job, with 20 of a minute added; a minute gives half"
    yield "uptime", points(view.uptime), "20", days
    yield "stake", points(view.stake), "10", f"{coins(view.stake_wei)} of {coins(view.recommended_stake_wei)}"
    yield "penalty", points(-view.penalty), "", _penalty(view)


def _penalty(view: ScoreView) -> str:
    if not view.penalised:
        return "no case was lost and no duty missed"
    events = sum(change.penalty > 0 for change in view.changes)
    healed = f"{points(view.healed)} came back, 0.1 with every job that counted"
    return f"{points(view.penalised)} for {events} {'event' if events == 1 else 'events'} below; {healed}"


def _consequences(view: ScoreView) -> Iterator[str]:
    share = 5_000 + min(view.score, 10_000) // 2
    yield f"It is paid {share / 100:.2f} % of a price after the burn; {view.rate_bps / 100:g} % of its jobs are drawn."
    if view.samples_left:
        yield f"It is on probation for {view.samples_left} more jobs: all of them are drawn."
    if any(_hurts(change) for change in view.changes):
        yield "vcoin node why-slashed tells what was behind each of the events that cost it something."
    if view.recent_failures:
        yield f"{view.recent_failures} of its last 50 jobs failed; above 10, half of them are drawn."


def _history(view: ScoreView) -> list[str]:
    """The changes of the record, oldest first."""
    shown = _shown(view.changes)
    if not shown:
        return []
    head = ("block", "behind it", "passed", "failed", "took", "penalty", "score", "transaction")
    more = len(view.changes) + view.left_out - len(shown)
    rest = [f"{more} more that cost nothing; vcoin node score --json has the newest of them"] if more else []
    return ["", *output.table(head, [_row(change) for change in shown]), *rest]


def _shown(changes: Sequence[ChangeView]) -> list[ChangeView]:
    harmless = [change for change in changes if not _hurts(change)]
    newest = harmless[-SHOWN_HARMLESS:]
    return [change for change in changes if _hurts(change) or change in newest]


def _hurts(change: ChangeView) -> bool:
    return bool(change.penalty > 0 or change.lost or change.lost_wei)


def _row(change: ChangeView) -> tuple[str, ...]:
    return (
        str(change.block),
        _behind(change),
        str(change.counted) if change.counted else BLANK,
        str(change.lost) if change.lost else BLANK,
        span(change.response_ms) if change.response_ms else BLANK,
        f"{'+' if change.penalty > 0 else ''}{points(change.penalty)}" if change.penalty else BLANK,
        points(change.score) if change.score else BLANK,
        change.transaction[:18],
    )


def _behind(change: ChangeView) -> str:
    batch = short(change.batch_id)
    lost = f", {exact_coins(change.lost_wei)} of the stake lost" if change.lost_wei else ""
    jobs = f": {'job' if len(change.jobs) == 1 else 'jobs'} {', '.join(map(short, change.jobs))}" if change.jobs else ""
    match change.cause:
        case "batch":
            return f"batch {batch} final{jobs}"
        case "case":
            return f"case {batch}: {change.verdict}{lost}{jobs}"
        case "seat":
            return f"silent on seat {change.seat} of case {batch}{lost}"
        case "classes":
            return "other device classes: probation"
        case "offline":
            return "two signs of life missed: the day is taken back"
        case "check_in":
            return f"checked in, {datetime.fromtimestamp(change.day * SECONDS_A_DAY, UTC):%Y-%m-%d}"
        case "absence":
            return f"away for more than a week{lost}"
        case "audit":
            return f"found wanting in the audit of case {batch}{lost}"
        case "release":
            return "left jail: probation"
        case other:
            return f"{other} {batch}"
