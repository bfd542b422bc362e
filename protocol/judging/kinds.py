"""The differences between kinds of jobs in validation, score and comparison, behind one set of functions."""

import json

from protocol.judging.reading import ReadingFacts, read_texts, reading_score, split_check, validate_reading
from protocol.stages.blob import ModelManifest
from protocol.stages.execution import InvalidResult, ResultFacts, validate_fingerprint, validate_result
from protocol.stages.request import CLASSIFY, EMBED, GENERATE, KINDS
from protocol.stages.token_rules import rules_of
from protocol.stages.verification import Calibration, checks_differ, passes_differ, score, token_margins
from protocol.wire.ids import JobId

Facts = ResultFacts | ReadingFacts


def validate(
    kind: int,
    raw: bytes,
    job_id: JobId,
    manifest: ModelManifest,
    max_new_tokens: int,
    input_json: bytes,
    *,
    stop_ordered: bool = False,
) -> Facts:
    """Local validation of a result of any kind, as an answer to its input.

    Args: raw, the bytes of result.json; stop_ordered, whether a stop order may have ended it.
    Raises: InvalidResult, also for an input to which there is no honest result.
    """
    _require_served(kind)
    if kind == GENERATE:
        rules = rules_of(input_json)
        salt = _salt(input_json)
        return validate_result(raw, job_id, manifest, max_new_tokens, salt, rules, stop_ordered=stop_ordered)
    return validate_reading(kind, raw, job_id, manifest, max_new_tokens, read_texts(kind, input_json))


def rows_of(kind: int, raw: bytes) -> int:
    """Hidden states that a check of a result has: for who cannot validate it yet, lacking the model's manifest.

    Raises: InvalidResult, also for a kind that is not served.
    """
    _require_served(kind)
    try:
        rows = json.loads(raw)["output_token_ids" if kind == GENERATE else "tokens"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise InvalidResult("result.json is not a result") from error
    if not isinstance(rows, list):
        raise InvalidResult("result.json is not a result")
    return len(rows)


def _salt(input_json: bytes) -> str | None:
    """The part that the result must repeat; None where the input has none, which is for the runner to judge."""
    try:
        salt = json.loads(input_json)["salt"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return salt if isinstance(salt, str) else None


def _require_served(kind: int) -> None:
    # The papers of a leaf name it, and a client and its node may agree on anything.
    if kind >= len(KINDS):
        raise InvalidResult(f"there are no jobs of kind {kind}")


def is_calibrated(kind: int, calibration: Calibration) -> bool:
    """Whether a row of Params has constants for a kind, so that a node may be slashed for it."""
    measured = {EMBED: calibration.embed, CLASSIFY: calibration.classify}
    return calibration.calibrated and measured.get(kind, calibration.act) is not None


def score_of(kind: int, fingerprint: bytes, check: bytes, rows: int, calibration: Calibration) -> int:
    """The score of one leaf in basis points, by a fingerprint and a check.bin of so many hidden states.

    Raises: InvalidResult for a bad fingerprint; ValueError for a bad check.bin.
    """
    validate_fingerprint(fingerprint, rows)
    if kind == GENERATE:
        return score(fingerprint, check, rows, calibration)
    return reading_score(kind, fingerprint, check, rows, calibration)


def is_check(kind: int, check: bytes, rows: int) -> bool:
    """Whether bytes are a check.bin of so many hidden states."""
    try:
        if kind == GENERATE:
            token_margins(check, rows)
        else:
            split_check(kind, check, rows)
    except (ValueError, KeyError):
        return False
    return True


def differ(kind: int, own: bytes, theirs: bytes, rows: int, calibration: Calibration) -> bool:
    """Whether another seat's check.bin is not a pass over the same leaf; see `verification.checks_differ`."""
    if kind == GENERATE:
        return checks_differ(own, theirs, rows, calibration)
    return passes_differ(own, theirs, lambda check: split_check(kind, check, rows)[0], calibration)
