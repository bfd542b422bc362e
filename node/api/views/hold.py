"""Holds: the reasons for which a node takes no new work, and what still runs."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class HoldView:
    """A reason: drain, pause or hours, in words for people. from_ms: orders are refused from then on."""

    hold: str
    words: str
    from_ms: int


@dataclass(frozen=True, slots=True)
class HoldsView:
    """All reasons, and the work under way.

    jobs_left: jobs of others that were taken and have not ended. checks_left: passes that this node's seats wait for.
    batches_open: this node's batches that are not final; they go on as long as the daemon runs.
    """

    holds: tuple[HoldView, ...]
    jobs_left: int
    checks_left: int
    batches_open: int

    @property
    def is_idle(self) -> bool:
        """Whether no job and no check is left."""
        return not self.jobs_left and not self.checks_left
