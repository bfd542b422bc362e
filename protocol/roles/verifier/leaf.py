"""One drawn leaf, as a seat or an auditor of this node knows it."""

from dataclasses import dataclass

from protocol.effects import Effect, FetchBlob, OpenSample
from protocol.params import MAX_ANSWER_BYTES, REVIEW_ABOVE_BPS
from protocol.stages.assignment import kind_of
from protocol.stages.commitment import SettledJob
from protocol.stages.execution import fingerprint_size
from protocol.stages.request import GENERATE
from protocol.stages.verification import SampleOpening
from protocol.wire.ids import Cid

ROOM_FOR_NAMES = 256
"""Bytes of an answer on chain that are not the fingerprint in it."""


@dataclass(slots=True)
class DrawnLeaf:
    """One drawn leaf. `score` is set once there is nothing more to find out."""

    opening: SampleOpening | None = None
    on_chain: bool = False
    """Whether the opening was shown on chain, at this seat's demand."""
    new_tokens: int = 0
    is_opened: bool = False
    """Whether its content lies here: an answer may have no token."""
    check: bytes | None = None
    score: int | None = None
    problem: str = ""
    fingerprint: bytes = b""
    """The fingerprint that it was scored by, for auditors."""
    failed: type[Effect] | None = None
    """The effect that this leaf stands still for."""
    missing: bytes = b""
    """The content that could not be fetched."""

    @property
    def job(self) -> SettledJob | None:
        """The papers of its job; None while it was not opened, or if it has none."""
        return self.opening.entry.job if self.opening else None

    @property
    def manifest(self) -> Cid | None:
        """The model that it has to be checked with; None where that is not known, or there is nothing to check."""
        return None if self.job is None or self.check is not None else Cid(self.job.details.manifest)

    @property
    def has_content(self) -> bool:
        """Whether its content lies here; state of an earlier version says so by the tokens alone."""
        return self.is_opened or self.new_tokens > 0

    @property
    def kind(self) -> int:
        """The kind of its job; text while the job is not known."""
        return GENERATE if self.job is None else kind_of(self.job.details)

    @property
    def is_fraud(self) -> bool:
        """Whether it was found to be nothing that the model says."""
        return self.score is not None and self.score <= REVIEW_ABOVE_BPS

    @property
    def is_unshown(self) -> bool:
        """Whether this seat has nothing that it could check, by what it was sent."""
        return self.check is None and (self.opening is None or self.failed in (FetchBlob, OpenSample))

    @property
    def fits_on_chain(self) -> bool:
        """Whether a node could show this leaf's fingerprint on chain."""
        return fingerprint_size(self.new_tokens) + ROOM_FOR_NAMES <= MAX_ANSWER_BYTES

    def condemn(self, problem: str) -> None:
        """Find the worst of it: its node has not proved what it had to."""
        self.score, self.problem, self.failed = 0, problem, None
        if self.check is None:
            self.check = b""
