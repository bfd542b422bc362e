"""What a computation of one's own says of an answer: its score by a seat's check, and how far a fresh one agrees."""

from protocol.proof.check import Check, Outcome, absent, compared
from protocol.proof.content import LEFT_OUT
from protocol.proof.file import Content, Proof
from protocol.proof.papers import job_of
from protocol.stages.execution import (
    InvalidResult,
    ResultFacts,
    RunSpec,
    sampling_seed,
    validate_proof,
    validate_result,
)
from protocol.stages.similarity import text_similarity_bps
from protocol.stages.verdict import verdict_of
from protocol.stages.verification import UNCALIBRATED, Verdict, margin_distances, points, score

SCORE, FRESH = "score again", "fresh answer"
MEANS = {Verdict.PASS: "a pass", Verdict.REVIEW: "a doubt", Verdict.SEVERE: "a failure"}


def spec_of(proof: Proof, memory_bytes: int) -> RunSpec:
    """The run that the job was, in at most so much memory."""
    details, request, job = proof.papers.details, proof.papers.request, job_of(proof)
    return RunSpec(
        job_id=job,
        manifest=details.manifest,
        class_id=proof.papers.offer.class_id,
        max_new_tokens=details.max_new_tokens,
        temperature=details.temperature,
        seed=sampling_seed(job, details.seed_nonce),
        memory_bytes=memory_bytes,
        timeout_ms=request.timeout_ms,
    )


def answer_of(proof: Proof) -> ResultFacts | None:
    """The answer in the file; None if it has none that a seat would look at."""
    if proof.content is None or proof.content.result is None or proof.model is None:
        return None
    try:
        limit = proof.papers.details.max_new_tokens
        return validate_result(proof.content.result, job_of(proof), proof.model, limit)
    except InvalidResult:
        return None


def nothing_to_compute() -> tuple[Check, Check]:
    """For a file without content."""
    return absent(SCORE, LEFT_OUT), absent(FRESH, LEFT_OUT)


def check_score(proof: Proof, check: bytes, problem: str) -> Check:
    """The score that this machine gives.

    Args: check, check.bin of a pass here; problem, why there is none, in the runner's words.
    """
    facts, content = answer_of(proof), proof.content
    if facts is None or content is None or problem:
        return Check(SCORE, Outcome.FAILED, f"no seat could give a score but 0: {problem or 'there is no answer'}")
    calibration = proof.noise.calibration if proof.noise else UNCALIBRATED
    count = len(facts.output_ids)
    try:
        if _has_fingerprint(content, count):
            assert content.proof is not None
            found, by = score(content.proof, check, count, calibration), "fingerprint and margins"
        else:
            found, by = points(margin_distances(check, count), count, calibration), "the margins of its tokens alone"
    except ValueError as error:
        return Check(SCORE, Outcome.UNKNOWN, f"the pass here has left nothing to compare: {error}")
    words = f"{found} bp by {by}: {MEANS[verdict_of(found)]}{_beside(proof)}"
    return compared(SCORE, verdict_of(found) is Verdict.PASS, words, words)


def check_fresh(given: str, fresh: str) -> Check:
    """How far a fresh answer to the same question agrees; no judgement, as near ties may fall either way."""
    share = text_similarity_bps(fresh, given)
    return Check(FRESH, Outcome.OK, f"{share / 100:g} % of its words agree in their order with those in the file")


def _has_fingerprint(content: Content, count: int) -> bool:
    if content.proof is None:
        return False
    try:
        validate_proof(content.proof, count)
    except InvalidResult:
        return False
    return True


def _beside(proof: Proof) -> str:
    """What the seats gave the same leaf."""
    if proof.leaf is None or proof.draw is None or proof.case is None or proof.leaf.position not in proof.draw.leaves:
        return "; no seat has judged this leaf"
    at = proof.draw.leaves.index(proof.leaf.position)
    scores = [str(seat.scores[at]) for seat in proof.case.seats if seat.scores and at < len(seat.scores)]
    return f"; the seats gave it {', '.join(scores) or 'nothing'}"
