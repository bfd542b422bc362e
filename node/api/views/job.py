"""A job from one side, and what is new of it."""

from dataclasses import dataclass

from node.api.views.trouble import Trouble

ANSWERED = frozenset({"delivered", "in_batch", "drawn", "passed", "review", "spendable"})
"""States of a job whose client has its answer; only the money is still under way."""


@dataclass(frozen=True, slots=True)
class StepView:
    """One step of a job: when it was reached, or the latest moment by which it should be (both ms since 1970)."""

    state: str
    reached_ms: int
    at_most_ms: int


@dataclass(frozen=True, slots=True)
class JobView:
    """A job from this node's side (`requester` or `provider`); its id is the request's. Temperature in thousandths.

    `text` is the answer so far (for its requester only); of a kind that only reads it is a line of JSON for each text,
    and the tokens are units of 32 tokens read. `checked`: its client pays to have it checked, whatever the draw;
    scores_bps: what seats have found of it. most_wei is what it may cost, check and bonus included; cost_wei is
    charge, fee and bonus as far as they are known, and what attempts cost beside that were given up.
    """

    id: str
    side: str
    state: str
    model: str
    manifest: str
    node: str
    job_id: str
    batch_id: str
    attempt: int
    kind: str
    max_new_tokens: int
    temperature_milli: int
    checked: bool
    scores_bps: tuple[int, ...]
    tokens: int
    finish: str
    text: str
    max_price_wei: int
    price_wei: int
    most_wei: int
    charge_wei: int
    fee_wei: int
    bonus_wei: int
    cost_wei: int
    asked_ms: int
    actual_ms: int
    steps: tuple[StepView, ...]
    failure: Trouble | None

    @property
    def ended(self) -> bool:
        """Whether the job is in its last state: paid, given back, or never delivered."""
        return self.state in ("spendable", "refunded") or (self.state == "failed" and not self.batch_id)


@dataclass(frozen=True, slots=True)
class JobUpdate:
    """One line of a followed job.

    kind `state`: `job` is the newest view, with all of the text so far. kind `text`: `text` follows what came before,
    produced by attempt `attempt`; where that number changes another node has begun again.
    """

    kind: str
    job: JobView | None = None
    text: str = ""
    attempt: int = 0
