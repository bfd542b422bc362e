"""Steps that a seat and an auditor share: find a drawn leaf in its batch, open it, run over it, score it."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass

from protocol.effects import Effect, FetchBlob, FetchModel, OpenSample, ReplaySample
from protocol.errors import Malformed
from protocol.events import BatchSubmitted, SampleOpened, SampleReplayed
from protocol.judging.kinds import is_check, score_of
from protocol.judging.margins import margin_llr
from protocol.roles.member import Member
from protocol.roles.verifier.leaf import DrawnLeaf
from protocol.stages.commitment import output_commit, require_papers
from protocol.stages.execution import InvalidResult, RunSpec
from protocol.stages.request import GENERATE
from protocol.stages.verification import Calibration, SampleOpening, token_margins
from protocol.wire.ids import Cid, JobId, PeerId
from protocol.wire.merkle import climb


def require_in_batch(opening: SampleOpening, batch: BatchSubmitted) -> None:
    """Raises: Malformed if a leaf is not at its place in the batch's tree, or contradicts its papers."""
    top = climb(opening.entry.leaf.node, opening.leaf_index, opening.siblings)
    if top.hash != batch.contents.root or 1 << len(opening.siblings) >= 2 * max(batch.leaf_count, 1):
        raise Malformed("the leaf is not in the batch")
    require_papers(opening.entry)


def open_sample(opening: SampleOpening) -> OpenSample:
    """Unseal what was shown of a leaf with a job."""
    assert opening.entry.job is not None
    return OpenSample(
        batch_id=opening.batch_id,
        leaf_index=opening.leaf_index,
        job=opening.entry.job,
        sealed_key=opening.sealed_key,
        sealed_input=opening.sealed_input,
        sealed_result=opening.sealed_result,
    )


def fetch_or_open(opening: SampleOpening, holders: tuple[PeerId, ...]) -> Effect:
    """The step after the papers of a leaf with a job: fetch content that did not fit the message, else open it."""
    assert opening.entry.job is not None
    job = opening.entry.job
    if not opening.sealed_input:
        return FetchBlob(job.details.input_cid, holders)
    if not opening.sealed_result:
        return FetchBlob(job.result.blob_cid, holders)
    return open_sample(opening)


@dataclass(slots=True)
class Checking:
    """This node's own passes over drawn leaves, each leaf of a batch of one device class."""

    member: Member

    def run(self, batch: BatchSubmitted, index: int, leaf: DrawnLeaf) -> ReplaySample:
        """One pass over a leaf that was opened, under the terms that its client signed."""
        job = leaf.job
        assert job is not None
        memory_bytes, timeout_ms = self.member.settings.memory_bytes, self.member.rules.seat_window_s * 1_000
        spec = RunSpec.of(JobId(job.job_id), job.details, batch.class_id, memory_bytes, timeout_ms)
        return ReplaySample(batch.batch_id, index, spec)

    def run_opened(
        self, batch: BatchSubmitted, opened: SampleOpened, leaf: DrawnLeaf, holder: PeerId | None
    ) -> tuple[Effect, ...]:
        """The content of a leaf lies here: run over it, once its model is here as well.

        A model that the node may not fetch does not come, and the node steps down from its seat.
        """
        leaf.new_tokens, leaf.is_opened, leaf.failed = opened.new_tokens, True, None
        assert leaf.manifest is not None
        if leaf.manifest in self.member.models:
            return (self.run(batch, opened.leaf_index, leaf),)
        if not self.member.may_fetch(leaf.manifest, batch.class_id, leaf.kind):
            return ()
        return (FetchModel(leaf.manifest, (holder,) if holder else ()),)

    def run_waiting(self, batch: BatchSubmitted, leaves: Mapping[int, DrawnLeaf]) -> tuple[Effect, ...]:
        """A model has come: the leaves that may have waited for it."""
        return tuple(
            self.run(batch, index, leaf)
            for index, leaf in leaves.items()
            if leaf.has_content and leaf.manifest is not None and leaf.manifest in self.member.models
        )

    def fetched(self, leaf: DrawnLeaf, cid: bytes, holder: PeerId | None) -> tuple[Effect, ...]:
        """The step after a fetch: the next fetch or the opening, if the content is of this leaf."""
        job = leaf.job
        if leaf.opening is None or job is None or leaf.check is not None:
            return ()
        if leaf.failed is FetchBlob and leaf.missing == cid:
            leaf.failed, leaf.missing = None, b""
        if cid == job.details.input_cid and not leaf.opening.sealed_result and holder:
            return (FetchBlob(job.result.blob_cid, (holder,)),)
        return (open_sample(leaf.opening),) if cid in (job.details.input_cid, job.result.blob_cid) else ()

    def score(self, batch: BatchSubmitted, leaf: DrawnLeaf, fingerprint: bytes) -> tuple[int, str]:
        """Score a leaf by its node's fingerprint and our own pass. Returns: basis points, and the problem if any."""
        job = leaf.job
        assert job is not None
        bound = output_commit(
            job.assignment.node,
            JobId(job.job_id),
            batch.class_id,
            job.result.result_hash,
            hashlib.sha256(fingerprint).digest(),
            job.result.blob_cid,
            job.salt,
        )
        if bound != job.result.output_commit:
            return 0, "the fingerprint is not the one committed to"
        calibration = self.member.calibration(Cid(job.details.manifest), batch.class_id)
        try:
            return score_of(leaf.kind, fingerprint, leaf.check or b"", leaf.new_tokens, calibration), ""
        except InvalidResult as error:
            return 0, str(error)

    def llr_millinats(self, batch: BatchSubmitted, leaf: DrawnLeaf) -> int:
        """Log-likelihood ratio of a leaf's margins by our own pass; see `leaf_llr`."""
        if leaf.job is None or not leaf.check:
            return 0
        calibration = self.member.calibration(Cid(leaf.job.details.manifest), batch.class_id)
        return leaf_llr(leaf.kind, leaf.check, leaf.new_tokens, calibration)


def condemn_or_keep(leaf: DrawnLeaf, replayed: SampleReplayed) -> None:
    """Take our own pass over a leaf; a run that the runner refuses to repeat is no honest node's."""
    if replayed.problem:
        leaf.condemn(replayed.problem)
    elif not is_check(leaf.kind, replayed.check, leaf.new_tokens):
        # Our own runner is at fault, not the node.
        leaf.failed = ReplaySample
    else:
        leaf.check, leaf.failed = replayed.check, None


def leaf_llr(kind: int, check: bytes, token_count: int, calibration: Calibration) -> int:
    """Log-likelihood ratio of a leaf's margins by one pass, in thousandths of a nat.

    0 without tokens, without a calibration of their margins, or without a pass. A malformed check.bin gives 0, too: its
    fault shows in the score.
    """
    if kind != GENERATE or calibration.margins is None or not check:
        return 0
    try:
        return margin_llr(token_margins(check, token_count), calibration.margins)
    except ValueError:
        return 0
