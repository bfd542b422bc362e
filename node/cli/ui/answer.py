"""A job that is followed: its answer to stdout as it comes, its states to stderr, its end as an exit code."""

from typing import Any

from node.api.client import Client
from node.api.faults import KINDS, Exit
from node.api.views import ANSWERED, JobUpdate, JobView, read
from node.cli.ui import output
from node.cli.ui.phrases import exact_coins, short, span, state


class Follower:
    """Follows one job. Ctrl-C leaves the job alone: it goes on, and may be followed again.

    `stops`: the first Ctrl-C ends the answer instead, with what is written of it.
    """

    def __init__(
        self,
        door: Client,
        job_id: str,
        *,
        to_the_end: bool,
        as_json: bool,
        with_states: bool = True,
        stops: bool = False,
    ) -> None:
        self._door = door
        self._id = job_id
        self._to_the_end = to_the_end
        self._as_json = as_json
        self._with_states = with_states and not as_json
        self._stops = stops
        self._job: JobView | None = None
        self._raw: Any = None
        self._printed = ""
        self._is_mid_line = False
        self._attempt = 0
        self._said = ""

    @property
    def job(self) -> JobView:
        """The job as it was last heard of. It must have run."""
        assert self._job is not None, "a stream begins with the job"
        return self._job

    def run(self) -> int:
        """Until the answer is there, or the money has moved where `to_the_end`. Returns: the exit code.

        Raises: Fault, as the daemon says.
        """
        while True:
            try:
                self._follow()
                return self._end()
            except KeyboardInterrupt:
                self._break_line()
                name = self._job.id[:8] if self._job else self._id
                if self._stops:
                    self._stops = False
                    self._door.post("jobs", self._id, "stop", body={})
                elif self._detaches():
                    output.words(f"detached; the job goes on: vcoin job show {name} --follow")
                    output.words(f"end it, and what it costs, by: vcoin job stop {name}")
                    return Exit.INTERRUPTED

    def _follow(self) -> None:
        for raw in self._door.lines("jobs", self._id, "events"):
            update = read(JobUpdate, raw)
            if self._as_json and self._to_the_end:
                output.as_json(raw, one_line=True)
            if update.job is not None:
                self._job, self._raw = update.job, raw["job"]
                self._catch_up(update.job)
                if update.job.ended or (update.job.state in ANSWERED and not self._to_the_end):
                    return
            else:
                self._say(update.text, update.attempt)

    def _catch_up(self, job: JobView) -> None:
        """Say whatever of the text did not come as a part of its own, and a new state."""
        if job.attempt == self._attempt and job.text.startswith(self._printed):
            self._say(job.text[len(self._printed) :], job.attempt)
        elif job.text:
            # Parts were lost or another node began again: the text of the view is what counts.
            self._begin_again(job.attempt)
            self._say(job.text, job.attempt)
        if job.state != self._said and self._with_states:
            self._said = job.state
            self._break_line()
            output.words(f"{job.id[:8]} {state(job.state)}{_by(job)}{_for(job)}")

    def _say(self, text: str, attempt: int) -> None:
        if attempt != self._attempt:
            self._begin_again(attempt)
        self._printed += text
        if text and not self._as_json:
            output.text(text)
            self._is_mid_line = not text.endswith("\n")

    def _begin_again(self, attempt: int) -> None:
        if self._printed and not self._as_json:
            self._break_line()
            output.words("the answer begins again:")
        self._attempt, self._printed = attempt, ""

    def _break_line(self) -> None:
        if self._is_mid_line:
            output.text("\n")
            self._is_mid_line = False

    def _end(self) -> int:
        job = self.job
        self._break_line()
        if self._as_json and not self._to_the_end:
            output.as_json(self._raw)
        output.words(_summary(job))
        if job.failure is not None:
            output.error(job.failure.message, job.failure.hint)
            return KINDS[job.failure.code].exit if job.failure.code in KINDS else Exit.JOB_FAILED
        if job.state == "refunded":
            back = "its money is back in the account"
            hint = f"{back}, but for what its check cost" if job.fee_wei else back
            output.error("the answer did not pass its check", hint)
        return Exit.JOB_FAILED if job.state in ("failed", "refunded") else Exit.OK

    def _detaches(self) -> bool:
        if self._as_json or not output.is_interactive():
            return True
        return output.confirm("leave? The job goes on without you.")


def _by(job: JobView) -> str:
    open_steps = [step.at_most_ms for step in job.steps if not step.reached_ms and step.at_most_ms]
    reached = max((step.reached_ms for step in job.steps), default=0)
    until = f", next within {span(open_steps[0] - reached)}" if open_steps and reached else ""
    return f" by {short(job.node)}{until}" if job.node else until


def _for(job: JobView) -> str:
    """The most that a job may cost, shown when it is ordered."""
    if job.state != "assigned":
        return ""
    return f", for at most {exact_coins(job.most_wei)}{', check included' if job.checked else ''}"


def _summary(job: JobView) -> str:
    node = f" node {short(job.node)}" if job.node else ""
    check = f" of which its check {exact_coins(job.fee_wei)}" if job.checked and job.fee_wei else ""
    return f"job {job.id[:16]} cost {exact_coins(job.cost_wei)}{check}{node} state {state(job.state)}"
