"""What a seat and an auditor do alike with a drawn leaf: find it in its batch, open it, run over it, score it."""

import hashlib

from protocol.effects import Effect, FetchBlob, OpenSample, ReplaySample
from protocol.errors import Malformed
from protocol.events import BatchSubmitted
from protocol.judging.kinds import score_of
from protocol.judging.margins import evidence_of
from protocol.params import ChainRules
from protocol.roles.cases import DrawnLeaf
from protocol.roles.identity import Settings
from protocol.stages.commitment import output_commit, require_papers
from protocol.stages.execution import InvalidResult, RunSpec, sampling_seed
from protocol.stages.request import GENERATE
from protocol.stages.verification import Calibration, SampleOpening, token_margins
from protocol.wire.ids import BatchId, JobId, PeerId
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
    """What comes after the papers of a leaf with a job: what did not fit its message is fetched first, one by one."""
    assert opening.entry.job is not None
    job = opening.entry.job
    if not opening.sealed_input:
        return FetchBlob(job.details.input_cid, holders)
    if not opening.sealed_result:
        return FetchBlob(job.result.blob_cid, holders)
    return open_sample(opening)


def after_fetch(opening: SampleOpening, cid: bytes, holder: PeerId | None) -> tuple[Effect, ...]:
    """What comes after content that was fetched, if it is of this leaf."""
    assert opening.entry.job is not None
    job = opening.entry.job
    if cid == job.details.input_cid and not opening.sealed_result and holder:
        return (FetchBlob(job.result.blob_cid, (holder,)),)
    return (open_sample(opening),) if cid in (job.details.input_cid, job.result.blob_cid) else ()


def replay_sample(
    batch_id: BatchId, index: int, leaf: DrawnLeaf, class_id: int, settings: Settings, rules: ChainRules
) -> ReplaySample:
    """One pass over a leaf that was opened, under the terms that its client signed."""
    assert leaf.opening is not None
    assert leaf.opening.entry.job is not None
    job = leaf.opening.entry.job
    spec = RunSpec(
        job_id=job.job_id,
        manifest=job.details.manifest,
        class_id=class_id,
        max_new_tokens=job.details.max_new_tokens,
        temperature=job.details.temperature,
        seed=sampling_seed(job.job_id, job.details.seed_nonce),
        memory_bytes=settings.memory_bytes,
        timeout_ms=rules.seat_window_s * 1_000,
        kind=leaf.kind,
    )
    return ReplaySample(batch_id, index, spec)


def score_leaf(leaf: DrawnLeaf, proof: bytes, class_id: int, calibration: Calibration) -> tuple[int, str]:
    """What a leaf is worth by its node's fingerprint and our own pass, in basis points, and the problem if any."""
    assert leaf.opening is not None
    assert leaf.opening.entry.job is not None
    job = leaf.opening.entry.job
    bound = output_commit(
        job.assignment.node,
        JobId(job.job_id),
        class_id,
        job.result.result_hash,
        hashlib.sha256(proof).digest(),
        job.result.blob_cid,
        job.salt,
    )
    if bound != job.result.output_commit:
        return 0, "the fingerprint is not the one committed to"
    try:
        return score_of(leaf.kind, proof, leaf.check or b"", leaf.new_tokens, calibration), ""
    except InvalidResult as error:
        return 0, str(error)


def leaf_evidence(kind: int, check: bytes, token_count: int, calibration: Calibration) -> int:
    """What a pass says of a leaf's margins, in thousandths of a nat.

    0 where there are no tokens, if their margins were not weighed, or nothing was computed. A check.bin that is
    none says nothing either: what is wrong with it shows in the score.
    """
    if kind != GENERATE or calibration.margins is None or not check:
        return 0
    try:
        return evidence_of(token_margins(check, token_count), calibration.margins)
    except ValueError:
        return 0
