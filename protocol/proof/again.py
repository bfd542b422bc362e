"""The judgement of an own computation on an answer: its score by a seat's check, and how far a fresh one agrees."""

from protocol.judging.kinds import Facts, score_of
from protocol.judging.similarity import structured_similarity_bps, text_similarity_bps
from protocol.proof.check import Check, CheckOutcome, absent, compared
from protocol.proof.content import LEFT_OUT, facts_of
from protocol.proof.file import ContentPaper, Proof
from protocol.proof.papers import job_of
from protocol.stages.assignment import kind_of
from protocol.stages.execution import InvalidResult, RunSpec, validate_fingerprint
from protocol.stages.request import GENERATE
from protocol.stages.verdict import verdict_of
from protocol.stages.verification import UNCALIBRATED, Verdict, margin_distances, points

SCORE, FRESH = "score again", "fresh answer"
WITHIN_MILLIONTHS = 1_000
"""Numbers of a reading are millionths."""
MEANS = {Verdict.PASS: "a pass", Verdict.REVIEW: "a doubt", Verdict.SEVERE: "a failure"}


def spec_of(proof: Proof, memory_bytes: int) -> RunSpec:
    """The run that the job was, in at most so much memory."""
    papers = proof.papers
    return RunSpec.of(job_of(proof), papers.details, papers.offer.class_id, memory_bytes, papers.request.timeout_ms)


def answer_of(proof: Proof) -> Facts | None:
    """The answer in the file; None if it has none that a seat would look at."""
    try:
        return facts_of(proof)
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
        return Check(SCORE, CheckOutcome.FAILED, f"no seat could give a score but 0: {problem or 'there is no answer'}")
    calibration = proof.noise.calibration if proof.noise else UNCALIBRATED
    kind, rows = kind_of(proof.papers.details), facts.rows
    try:
        if _has_fingerprint(content, rows):
            assert content.fingerprint is not None
            found, by = score_of(kind, content.fingerprint, check, rows, calibration), "fingerprint and check"
        elif kind == GENERATE:
            found, by = points(margin_distances(check, rows), rows, calibration), "the margins of its tokens alone"
        else:
            return absent(SCORE, "a fingerprint, without which a reading has no score")
    except ValueError as error:
        return Check(SCORE, CheckOutcome.UNKNOWN, f"the pass here has left nothing to compare: {error}")
    words = f"{found} bp by {by}: {MEANS[verdict_of(found)]}{_beside(proof)}"
    return compared(SCORE, verdict_of(found) is Verdict.PASS, words, words)


def check_fresh(kind: int, given: str, fresh: str) -> Check:
    """How far a fresh answer to the same question agrees; no judgement, as near ties may fall either way.

    Args: given and fresh, the texts of the answers, or of a reading the JSON of its result.
    """
    return Check(FRESH, CheckOutcome.OK, f"{agreement_bps(kind, given, fresh) / 100:g} % of {agreeing(kind)} agree")


def agreement_bps(kind: int, given: str, fresh: str) -> int:
    """The share of words in their order, or of a reading's numbers within a thousandth, that agree."""
    if kind == GENERATE:
        return text_similarity_bps(fresh, given)
    return structured_similarity_bps(fresh.encode(), given.encode(), atol_e9=WITHIN_MILLIONTHS * 10**9)


def agreeing(kind: int) -> str:
    """The subject of `agreement_bps`."""
    return "its words, in their order," if kind == GENERATE else "its numbers, within a thousandth,"


def _has_fingerprint(content: ContentPaper, count: int) -> bool:
    if content.fingerprint is None:
        return False
    try:
        validate_fingerprint(content.fingerprint, count)
    except InvalidResult:
        return False
    return True


def _beside(proof: Proof) -> str:
    """The scores that the seats gave the same leaf."""
    if proof.leaf is None or proof.draw is None or proof.case is None or proof.leaf.position not in proof.draw.leaves:
        return "; no seat has judged this leaf"
    at = proof.draw.leaves.index(proof.leaf.position)
    scores = [str(seat.scores[at]) for seat in proof.case.seats if seat.scores and at < len(seat.scores)]
    return f"; the seats gave it {', '.join(scores) or 'nothing'}"
