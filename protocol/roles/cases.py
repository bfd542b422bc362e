"""A case as any node sees it, this node's seat in it, and what the seat knows of each drawn leaf."""

from dataclasses import dataclass, field

from protocol.effects import Effect, FetchBlob, OpenSample, ProveFraud
from protocol.params import MAX_ANSWER_BYTES, REVIEW_ABOVE_BPS
from protocol.stages.assignment import kind_of
from protocol.stages.execution import proof_size
from protocol.stages.request import GENERATE
from protocol.stages.verification import SampleOpening, Verdict
from protocol.timers import Timer
from protocol.wire.ids import Address, BatchId, Cid, TimestampMs
from protocol.wire.merkle import has_no_leaf

ROOM_FOR_NAMES = 256
"""Bytes of an answer on chain that are not the fingerprint in it."""


@dataclass(slots=True)
class DrawnLeaf:
    """What this seat knows of one drawn leaf. `score` is set once there is nothing more to find out."""

    opening: SampleOpening | None = None
    on_chain: bool = False
    """Whether the opening was shown on chain, at this seat's demand."""
    new_tokens: int = 0
    check: bytes | None = None
    score: int | None = None
    problem: str = ""
    proof: bytes = b""
    """The fingerprint that it was scored by, for auditors."""
    failed: type[Effect] | None = None
    """The effect that this leaf stands still for."""
    missing: bytes = b""
    """The content that could not be fetched."""

    @property
    def manifest(self) -> Cid | None:
        """The model that it has to be checked with; None where that is not known, or there is nothing to check."""
        if self.opening is None or self.opening.entry.job is None or self.check is not None:
            return None
        return Cid(self.opening.entry.job.details.manifest)

    @property
    def kind(self) -> int:
        """What kind of job it is; text where nothing is known of it."""
        job = self.opening.entry.job if self.opening else None
        return GENERATE if job is None else kind_of(job.details)

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
        return proof_size(self.new_tokens) + ROOM_FOR_NAMES <= MAX_ANSWER_BYTES

    def condemn(self, problem: str) -> None:
        """Find the worst of it: its node has not proved what it had to."""
        self.score, self.problem, self.failed = 0, problem, None
        if self.check is None:
            self.check = b""


@dataclass(frozen=True, slots=True)
class Revealed:
    """Who has revealed on a seat, the digest of what it had computed, and what it says of the margins in that."""

    node: Address
    digest: bytes
    evidence: int = 0


@dataclass(slots=True)
class Case:
    """A case as any node sees it, and this node's seat in it."""

    batch_id: BatchId
    node: Address
    class_id: int
    drawn: tuple[int, ...]
    seats: dict[int, Address]
    seats_told: int
    """How many seats it ever had: one that was silenced does not come back when it is told again."""
    commitments: set[int] = field(default_factory=set)
    scores: dict[int, tuple[int, ...]] = field(default_factory=dict)
    revealed: dict[int, Revealed] = field(default_factory=dict)
    """Of all rounds; `scores` as well."""
    kept: dict[int, DrawnLeaf] = field(default_factory=dict)
    """What this node has computed on a seat of an earlier round, for auditors."""
    seat: int | None = None
    since: int = 0
    """When this seat's turn to commit began, in seconds of the chain."""
    leaves: dict[int, DrawnLeaf] = field(default_factory=dict)
    digest: bytes = b""
    evidence: int = 0
    """What this seat has found of the margins, and bound itself to with the digest."""
    committing: bool = False
    revealing: bool = False
    leaving: bool = False
    """Whether this seat has asked to step down."""
    demanding: bool = False
    """Whether this seat has asked for data on chain."""
    demanded: int | None = None
    """The seat whose demand this case had, its only one."""
    demanded_leaf: int = 0
    proof: ProveFraud | None = None
    """What this node can prove by code; its first find, and the only one that it sends."""
    proving: bool = False
    """Whether this node has asked for that to be sent."""
    data_until: int = 0
    """Until when the case waits for data, in seconds of the chain; 0 while it does not."""
    asked_ms: TimestampMs = field(default=TimestampMs(0), compare=False)
    tried_ms: TimestampMs = field(default=TimestampMs(0), compare=False)
    """When it last tried again what had failed here."""
    tries: int = field(default=0, compare=False)
    """How often this seat has asked its node again since this process began; like heads, not in the journal."""
    timer: Timer | None = field(default=None, compare=False)
    """The timer that its recourse waits for since this process began; see Recourse."""
    asked_at: int | None = field(default=None, compare=False)
    """The head when this seat last asked for a transaction; heads are not in the journal."""
    all_bound_at: int = field(default=0, compare=False)
    """When this node saw that every seat has committed, in seconds of the chain; 0 before."""
    round: int = 0
    appeal_until: int = 0
    """When a finding of fraud has waited long enough, in seconds of the chain; 0 while there is none."""
    verdict: Verdict = Verdict.NONE
    median: int = 0

    @property
    def rank(self) -> int:
        """This seat's place among those that sit: they take turns in what one of them has to do."""
        return sum(seat < (self.seat or 0) for seat in self.seats)

    @property
    def is_bound(self) -> bool:
        """Whether this seat has committed."""
        return self.seat in self.commitments

    @property
    def are_all_bound(self) -> bool:
        """Whether every seat has committed: only then may any of them be shown a fingerprint, and reveal."""
        return self.is_bound and set(self.seats) <= self.commitments

    @property
    def unshown(self) -> int | None:
        """The first drawn leaf of which this seat lacks what it needs for its next step; None if it lacks nothing."""
        return next((index for index in self.drawn if self.lacks(index)), None)

    def lacks(self, index: int) -> bool:
        """Whether this seat has not been shown what it needs of a leaf for its next step."""
        leaf = self.leaves.get(index)
        if leaf is None:
            return False
        return self.are_all_bound and leaf.score is None if self.is_bound else leaf.is_unshown

    def proves_no_leaf(self, index: int) -> bool:
        """Whether what was opened of the batch's tree shows that it has no leaf there.

        The contract counts more than the node has where a reorganisation refused the batch before.
        """
        known = ((other, leaf.opening) for other, leaf in self.leaves.items() if leaf.opening is not None)
        return any(has_no_leaf(other, opening.siblings, index) for other, opening in known)

    def leave(self) -> None:
        """This node sits here no more."""
        if self.seat in self.revealed:
            self.kept = self.leaves
        self.seat, self.leaves = None, {}
        self.committing = self.revealing = self.leaving = self.demanding = False
        self.since, self.asked_at, self.all_bound_at, self.tries, self.timer = 0, None, 0, 0, None
