"""A seat of this node: what it knows and has asked for by itself, and the same beside the public case."""

from dataclasses import dataclass, field

from protocol.court.docket import DocketBatch, DocketCase, DocketSeat
from protocol.effects import ProveFraud
from protocol.roles.verifier.leaf import DrawnLeaf
from protocol.timers import Timer
from protocol.wire.ids import Address, BatchId, TimestampMs
from protocol.wire.merkle import has_no_leaf


@dataclass(slots=True)
class OwnSeat:
    """State of this node in one case."""

    seat: int | None = None
    """Its number; None while this node does not sit there, or no more."""
    since: int = 0
    """When this seat's turn to commit began, in seconds of the chain."""
    leaves: dict[int, DrawnLeaf] = field(default_factory=dict)
    kept: dict[int, DrawnLeaf] = field(default_factory=dict)
    """Leaves of this node's seat in an earlier round, kept for auditors."""
    digest: bytes = b""
    llr_millinats: int = 0
    """Log-likelihood ratio of the margins in thousandths of a nat, bound together with the digest."""
    committing: bool = False
    revealing: bool = False
    leaving: bool = False
    """Whether this seat has asked to step down."""
    demanding: bool = False
    """Whether this seat has asked for data on chain."""
    fraud_proof: ProveFraud | None = None
    """The first fraud proof that this node found, and the only one that it sends."""
    proving: bool = False
    """Whether this node has asked for that to be sent."""
    asked_ms: TimestampMs = field(default=TimestampMs(0), compare=False)
    tried_ms: TimestampMs = field(default=TimestampMs(0), compare=False)
    """When it last tried again what had failed here."""
    tries: int = field(default=0, compare=False)
    """How often this seat has asked its node again since this process began; like heads, not in the journal."""
    timer: Timer | None = field(default=None, compare=False)
    """The timer that StallHandler waits for since this process began."""
    asked_at_block: int | None = field(default=None, compare=False)
    """The head when this seat last asked for a transaction; heads are not in the journal."""
    all_bound_at_s: int = field(default=0, compare=False)
    """When this node saw that every seat has committed, in seconds of the chain; 0 before."""

    @property
    def shown(self) -> dict[int, DrawnLeaf]:
        """The leaves that auditors may ask for."""
        return self.leaves if self.seat is not None else self.kept

    def leave(self, *, revealed: bool) -> None:
        """This node sits here no more; what it has revealed is kept."""
        if revealed:
            self.kept = self.leaves
        self.seat, self.leaves = None, {}
        self.committing = self.revealing = self.leaving = self.demanding = False
        self.since, self.asked_at_block, self.all_bound_at_s, self.tries, self.timer = 0, None, 0, 0, None


@dataclass(frozen=True, slots=True)
class Sitting:
    """A seat of this node, and the batch whose case it is in."""

    own: OwnSeat
    batch: DocketBatch

    @property
    def case(self) -> DocketCase:
        """The public case."""
        assert self.batch.case is not None
        return self.batch.case

    @property
    def batch_id(self) -> BatchId:
        """The name of the batch and of its case."""
        return self.batch.batch_id

    @property
    def node(self) -> Address:
        """The node whose batch it is."""
        return self.batch.submitted.node

    @property
    def class_id(self) -> int:
        """The device class of its jobs."""
        return self.batch.submitted.class_id

    @property
    def is_open(self) -> bool:
        """Whether this node sits in a case without a verdict."""
        return self.own.seat is not None and self.case.is_open

    @property
    def rank(self) -> int:
        """This seat's place among those that sit: they take turns in what one of them has to do."""
        return sum(seat < (self.own.seat or 0) for seat in self.case.sitting)

    @property
    def has_revealed(self) -> bool:
        """Whether the chain has this seat's scores."""
        return self._public is not None and self._public.has_revealed

    @property
    def is_bound(self) -> bool:
        """Whether this seat has committed."""
        return self._public is not None and self._public.is_bound

    @property
    def are_all_bound(self) -> bool:
        """Whether every seat has committed, this one too."""
        return self.is_bound and self.case.are_all_bound

    @property
    def unshown(self) -> int | None:
        """The first drawn leaf of which this seat lacks what it needs for its next step; None if it lacks nothing."""
        return next((index for index in self.case.drawn if self.lacks(index)), None)

    def lacks(self, index: int) -> bool:
        """Whether this seat has not been shown what it needs of a leaf for its next step."""
        leaf = self.own.leaves.get(index)
        if leaf is None:
            return False
        return self.are_all_bound and leaf.score is None if self.is_bound else leaf.is_unshown

    def proves_no_leaf(self, index: int) -> bool:
        """Whether what was opened of the batch's tree shows that it has no leaf there.

        The contract counts more than the node has where a reorganisation refused the batch before.
        """
        known = ((other, leaf.opening) for other, leaf in self.own.leaves.items() if leaf.opening is not None)
        return any(has_no_leaf(other, opening.siblings, index) for other, opening in known)

    @property
    def _public(self) -> DocketSeat | None:
        return self.case.seats.get(self.own.seat) if self.own.seat is not None else None
