"""The evidence of an audit: leaves, fingerprints and passes as seats show them, and the auditor's own pass."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from protocol.court.docket import Docket
from protocol.effects import Effect
from protocol.events import BatchSubmitted, SampleOpened, SampleReplayed
from protocol.roles.member import Member
from protocol.roles.verifier.audit import Audit
from protocol.roles.verifier.checking import Checking, condemn_or_keep, fetch_or_open, require_in_batch
from protocol.roles.verifier.leaf import DrawnLeaf
from protocol.stages.commitment import LeafStatus
from protocol.stages.verification import CheckOpening, FingerprintOpening, SampleOpening
from protocol.wire.ids import BatchId, PeerId

NOTHING_TO_CHECK_BPS = 10_000


@dataclass(slots=True)
class Examination:
    """The leaves of this node's audits. `audits` is shared with the auditor."""

    member: Member
    docket: Docket
    audits: Mapping[BatchId, Audit]
    _checking: Checking = field(init=False)

    def __post_init__(self) -> None:
        self._checking = Checking(self.member)

    def find(self, peer_id: PeerId, batch_id: bytes, index: int) -> tuple[Audit, int, DrawnLeaf] | None:
        """The audit and the leaf that a peer may show something of, and the peer's seat; None if there is none."""
        audit = self.audits.get(BatchId(batch_id))
        if audit is None or audit.findings is not None or index not in audit.leaves:
            return None
        seats = (seat for seat, each in audit.seats.items() if self.member.operates(peer_id, each.node))
        seat = next(seats, None)
        return (audit, seat, audit.leaves[index]) if seat is not None else None

    def sample(self, peer_id: PeerId, opening: SampleOpening) -> tuple[Audit | None, tuple[Effect, ...]]:
        """The first seat that shows a leaf as it is in the batch; papers that are not those cost it.

        Returns: the audit if the leaf needs no pass, and what comes next.
        Raises: Malformed if the leaf is not in the batch.
        """
        found, batch = self.find(peer_id, opening.batch_id, opening.leaf_index), self._batch(opening.batch_id)
        if found is None or batch is None:
            return None, ()
        audit, seat, leaf = found
        if leaf.opening is not None or opening.leaf_index in audit.seats[seat].spoilt:
            return None, ()
        require_in_batch(opening, batch)
        leaf.opening, audit.shown_by[opening.leaf_index] = opening, seat
        job = opening.entry.job
        if opening.entry.leaf.status != LeafStatus.OK or job is None:
            leaf.score, leaf.check = NOTHING_TO_CHECK_BPS, b""
            return audit, ()
        return None, (fetch_or_open(opening, (peer_id,)),)

    def fetched(self, cid: bytes) -> tuple[Effect, ...]:
        """Content was fetched."""
        effects: list[Effect] = []
        for audit in self.audits.values():
            for index, leaf in audit.leaves.items():
                if leaf.opening is not None and audit.findings is None:
                    effects += self._checking.fetched(leaf, cid, self._holder(audit, index))
        return tuple(effects)

    def take_content(self, opened: SampleOpened) -> tuple[Effect, ...]:
        """The content of a leaf was unsealed, or is not what its seat was shown."""
        audit, batch = self.audits.get(BatchId(opened.batch_id)), self._batch(opened.batch_id)
        leaf = audit.leaves.get(opened.leaf_index) if audit else None
        if audit is None or batch is None or leaf is None or leaf.opening is None or leaf.check is not None:
            return ()
        if opened.problem:
            # This seat has shown another content than the node sealed to it; ask another seat.
            audit.seats[audit.shown_by.pop(opened.leaf_index)].spoilt.add(opened.leaf_index)
            leaf.opening = None
            return ()
        return self._checking.run_opened(batch, opened, leaf, self._holder(audit, opened.leaf_index))

    def run_waiting(self) -> tuple[Effect, ...]:
        """A model has come."""
        found = ((self._batch(audit.batch_id), audit.leaves) for audit in self.audits.values())
        return tuple(effect for batch, leaves in found if batch for effect in self._checking.run_waiting(batch, leaves))

    def take_pass(self, replayed: SampleReplayed) -> Audit | None:
        """Our own pass over a leaf is done. Returns: its audit."""
        audit = self.audits.get(BatchId(replayed.batch_id))
        leaf = audit.leaves.get(replayed.leaf_index) if audit else None
        if audit is None or leaf is None or leaf.check is not None:
            return None
        condemn_or_keep(leaf, replayed)
        self._score(audit, leaf)
        return audit

    def take_fingerprint(self, peer_id: PeerId, opening: FingerprintOpening) -> Audit | None:
        """The fingerprint is bound by what the node has signed, so any seat may show it. Returns: its audit."""
        found = self.find(peer_id, opening.batch_id, opening.leaf_index)
        if found is None:
            return None
        audit, _, leaf = found
        if leaf.score is None:
            leaf.fingerprint = opening.fingerprint
            self._score(audit, leaf)
        return audit

    def take_check(self, peer_id: PeerId, shown: CheckOpening) -> Audit | None:
        """A seat shows its own pass over a leaf. Returns: its audit."""
        found = self.find(peer_id, shown.batch_id, shown.leaf_index)
        if found is None:
            return None
        audit, seat, _ = found
        audit.seats[seat].checks.setdefault(shown.leaf_index, shown.check)
        return audit

    def _score(self, audit: Audit, leaf: DrawnLeaf) -> None:
        batch = self._batch(audit.batch_id)
        if leaf.job is None or batch is None or not leaf.check:
            return
        if leaf.new_tokens and not leaf.fingerprint:
            # Not shown yet; that of an answer without tokens is empty.
            return
        points, problem = self._checking.score(batch, leaf, leaf.fingerprint)
        # A seat may have shown another fingerprint than the node's: that is held against no one.
        leaf.score = None if problem else points
        leaf.fingerprint = b"" if problem else leaf.fingerprint

    def _holder(self, audit: Audit, index: int) -> PeerId | None:
        return self.member.peer_of(audit.seats[audit.shown_by[index]].node)

    def _batch(self, batch_id: bytes) -> BatchSubmitted | None:
        batch = self.docket.batch(batch_id)
        return batch.submitted if batch else None
