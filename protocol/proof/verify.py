"""The whole check of a proof, without a network: a list, in the order in which a job goes."""

from protocol.proof.batch import check_batch
from protocol.proof.check import Check, CheckOutcome
from protocol.proof.content import Seal, check_content, check_model
from protocol.proof.court import check_court
from protocol.proof.file import Proof
from protocol.proof.money import check_money
from protocol.proof.papers import check_papers
from protocol.wire.document import Document


def verify(document: Document[Proof], seal: Seal) -> tuple[Check, ...]:
    """Every check of a proof. It holds as far as it goes if none has failed.

    Args: seal, the sealing of contents, see `content.Seal`.
    """
    proof = document.value
    return (
        *check_papers(proof),
        *check_batch(proof),
        *check_court(proof),
        *check_money(proof),
        _noise(proof),
        check_model(proof),
        *check_content(proof, seal),
        *(
            Check(name, CheckOutcome.UNKNOWN, "this version does not know it; a newer one may")
            for name in document.strange
        ),
    )


def has_failed(checks: tuple[Check, ...]) -> bool:
    """Whether something in a proof is wrong."""
    return any(check.outcome is CheckOutcome.FAILED for check in checks)


def _noise(proof: Proof) -> Check:
    """The calibration row is the chain's; what it must be to be one can be said here."""
    name = "noise constants"
    if proof.batch is not None and proof.noise is None and not proof.batch.uncalibrated:
        return Check(name, CheckOutcome.ABSENT, "the row of the calibration table that the scores go by")
    if proof.noise is None:
        return Check(name, CheckOutcome.ABSENT, "there are none for this model and class, or not yet")
    row = proof.noise.calibration
    bands = (row.act, row.chunk, row.tok, row.worst)
    if not row.calibrated or any(not 0 < band.d0 < band.d1 for band in bands):
        return Check(name, CheckOutcome.FAILED, "these are no constants")
    if proof.batch is not None and proof.batch.uncalibrated:
        return Check(name, CheckOutcome.FAILED, "the batch says that there are none")
    return Check(name, CheckOutcome.OK, "measured for the model and its class; the chain confirms them")
