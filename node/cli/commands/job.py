"""`vcoin job`: ask for a job, follow it, look at jobs."""

import sys
from collections.abc import Iterator
from typing import Annotated

from cyclopts import Parameter

from node.api.faults import Fault
from node.api.views import ANSWERED, JobView, read
from node.cli.commands.proof import proof, verify
from node.cli.ui import output
from node.cli.ui.answer import Follower
from node.cli.ui.call import TERMS, Terms, send
from node.cli.ui.choices import CHOICES, Choices
from node.cli.ui.daemon_socket import client
from node.cli.ui.options import COMMON, AskedModel, Common, Flag, noun
from node.cli.ui.phrases import BLANK, coins, exact_coins, percent, short, span, state

app = noun("job", "Ask for jobs, follow them, and prove what became of them.")
app.command("node.cli.commands.reading:embed", name="embed", help="Turn texts into vectors, the nearer the more alike.")
app.command("node.cli.commands.reading:classify", name="classify", help="Say which label fits each text best.")
app.command(proof)
app.command(verify)
MAX_QUESTION_CHARS = 8 * 2**20
"""The daemon takes no longer body."""


@app.command
def run(
    prompt: Annotated[str, Parameter(allow_leading_hyphen=True)],
    /,
    *,
    asked: AskedModel,
    system: str = "",
    max_tokens: int = 256,
    raw: Flag = False,
    alone: Flag = False,
    choices: Choices = CHOICES,
    terms: Terms = TERMS,
    common: Common = COMMON,
) -> int:
    """Ask the network a question; the answer comes to stdout as it is made.

    Exit code: 0 answered, 5 the job failed, 75 no able node now, 130 detached: the job goes on, until `vcoin job stop`.

    Parameters
    ----------
    prompt
        The question; - reads it from stdin.
    system
        Words to the model before the question.
    max_tokens
        Length of the answer at most; the price is for so many.
    raw
        Let the model go on with the question as it stands, which is no chat then.
    alone
        Have the answer written in a container without jobs of other clients, which starts seconds later.
    """
    question = typed() if prompt == "-" else prompt
    messages = [{"role": "system", "content": system}] if system else []
    if raw and system:
        raise Fault("bad_request", "--raw and --system: a text that is no chat has no system message")
    isolated: dict[str, object] = {"alone": True} if alone else {}
    content = {"prompt": question} if raw else {"messages": [*messages, {"role": "user", "content": question}]}
    return send(
        {"model": asked.name, **content, "max_new_tokens": max_tokens, **choices.fields, **isolated}, terms, common
    )


def typed() -> str:
    """The text on stdin. Raises: Fault."""
    try:
        content = sys.stdin.read(MAX_QUESTION_CHARS + 1)
    except UnicodeDecodeError as error:
        raise Fault("bad_request", "what is on stdin is not text in UTF-8") from error
    if len(content) > MAX_QUESTION_CHARS:
        raise Fault("too_large", f"what is on stdin has more than {MAX_QUESTION_CHARS} characters")
    return content


@app.command
def show(job: str, /, *, follow: Flag = False, common: Common = COMMON) -> int:
    """Show where a job is, and what each next step takes at most.

    Parameters
    ----------
    job
        Its id, or the beginning of it.
    follow
        Stay until the job has ended.
    """
    door = client(common.data_dir)
    if follow:
        return Follower(door, job, to_the_end=True, as_json=common.json).run()
    raw = door.get("jobs", job)
    return output.show(common.json, raw, lambda: description(read(JobView, raw)))


@app.command
def stop(job: str, /, *, common: Common = COMMON) -> int:
    """Stop a job of yours at its next token; it then costs what was written, at least a tenth of its price.

    A job without a token ends for nothing, unless its node has had it for seconds. One with its answer stays as it is.

    Parameters
    ----------
    job
        Its id, or the beginning of it.
    """
    raw = client(common.data_dir).post("jobs", job, "stop", body={})
    return output.show(common.json, raw, lambda: [_stopped(read(JobView, raw))])


def _stopped(job: JobView) -> str:
    if job.state in ANSWERED or job.ended:
        return f"job {job.id[:8]} has ended: {state(job.state)}, cost {exact_coins(job.cost_wei)}"
    return f"job {job.id[:8]} ends at its next token: vcoin job show {job.id[:8]}"


@app.command(name="list")
def list_(
    *, ids: Annotated[bool, Parameter(name=["--ids", "-q"], negative="")] = False, common: Common = COMMON
) -> int:
    """List the jobs that this node asked for or did, newest first.

    Parameters
    ----------
    ids
        Print ids only.
    """
    raw = client(common.data_dir).get("jobs")
    return output.show(common.json, raw, lambda: _list([read(JobView, job) for job in raw], ids=ids))


def _list(jobs: list[JobView], *, ids: bool) -> list[str]:
    head = ("job", "side", "state", "model", "node", "tokens", "cost VCN")
    return [job.id for job in jobs] if ids else output.table(head, [_row(job) for job in jobs])


def _row(job: JobView) -> tuple[str, ...]:
    tokens = f"{job.tokens}/{job.max_new_tokens}"
    cost = coins(job.cost_wei).removesuffix(" VCN") if job.cost_wei else BLANK
    return (short(job.id), job.side, state(job.state), job.model, short(job.node), tokens, cost)


def description(job: JobView) -> list[str]:
    """A job with its steps."""
    return [*output.pairs(_facts(job)), "", *output.table(("step", "reached", "at most"), _steps(job))]


def _facts(job: JobView) -> Iterator[tuple[str, str]]:
    yield "job", job.id
    yield "state", state(job.state)
    yield "side", job.side
    yield "model", job.model
    yield "node", job.node
    yield "attempt", str(job.attempt + 1) if job.attempt else ""
    yield "kind", "" if job.kind == "generate" else job.kind
    yield _unit(job), f"{job.tokens} of at most {job.max_new_tokens}{_end(job)}"
    if job.finish == "dead_end":
        yield "schema", "let no token follow, though the answer does not fit it yet: change the schema"
    yield "temperature", f"{job.temperature_milli / 1000:g}" if job.temperature_milli else ""
    yield "price", _price(job)
    yield "check", _check(job)
    if job.cost_wei:
        beside = job.cost_wei - job.charge_wei - job.fee_wei - job.bonus_wei
        parts = (
            (job.charge_wei, "charge"),
            (job.fee_wei, "verify fee"),
            (job.bonus_wei, "bonus"),
            (beside, "attempts given up"),
        )
        sum_of = " + ".join(f"{exact_coins(wei).removesuffix(' VCN')} {name}" for wei, name in parts if wei)
        yield "cost", f"{exact_coins(job.cost_wei)} = {sum_of}"
    yield "took", span(job.actual_ms) if job.actual_ms else ""
    yield "assignment", job.job_id
    yield "batch", f"{job.batch_id} (vcoin case show {short(job.batch_id)})" if job.batch_id else ""
    if job.failure:
        yield "failed", job.failure.message
        yield "hint", job.failure.hint
    for number, line in enumerate(job.text.splitlines()):
        yield "" if number else "answer", line or " "


def _end(job: JobView) -> str:
    return f", ended by {'its client' if job.finish == 'stop_order' else job.finish}" if job.finish else ""


def _unit(job: JobView) -> str:
    return "tokens" if job.kind == "generate" else "units"


def _check(job: JobView) -> str:
    ordered = "ordered: drawn for certain" if job.checked else ""
    found = ", ".join(map(percent, job.scores_bps))
    return "; ".join(filter(None, (ordered, f"seats have found {found}" if found else "")))


def _price(job: JobView) -> str:
    if job.price_wei:
        most = f", {exact_coins(job.most_wei)} at most with check and bonus"
        return f"{exact_coins(job.price_wei)} for all {job.max_new_tokens} {_unit(job)}{most}"
    return f"at most {exact_coins(job.max_price_wei)}" if job.max_price_wei else ""


def _steps(job: JobView) -> Iterator[tuple[str, str, str]]:
    """Reached: how long after it was asked. Open: how long after the step before, at most."""
    before = job.asked_ms
    for step in job.steps:
        if step.reached_ms:
            yield state(step.state), f"+{span(step.reached_ms - job.asked_ms)}", ""
            before = step.reached_ms
        else:
            yield state(step.state), BLANK, span(step.at_most_ms - before) if step.at_most_ms else BLANK
            before = max(before, step.at_most_ms)
