"""Two proofs of one job as one: what one side knows and the other does not, each of it still to be checked."""

from dataclasses import fields, replace

from protocol.errors import Malformed
from protocol.proof.file import JobPapers, LeafPath, Proof
from protocol.proof.papers import job_of


def filled(ours: Proof, theirs: Proof) -> Proof:
    """Our proof with what it lacks and theirs has: papers, the way to the root, the model; never the content.

    Nothing of ours is replaced, and the chain's parts stay ours. Raises: Malformed if they are about another attempt.
    """
    if ours.place != theirs.place or job_of(ours) != job_of(theirs):
        raise Malformed("it is about another job, or another attempt at it")
    return replace(
        ours,
        papers=_papers(ours.papers, theirs.papers),
        leaf=_leaf(ours.leaf, theirs.leaf) if _is_of_one_batch(ours, theirs) else ours.leaf,
        model=ours.model or theirs.model,
    )


def _papers(ours: JobPapers, theirs: JobPapers) -> JobPapers:
    lacking = [field.name for field in fields(ours) if getattr(ours, field.name) is None]
    return replace(ours, **{name: getattr(theirs, name) for name in lacking})


def _is_of_one_batch(ours: Proof, theirs: Proof) -> bool:
    return ours.batch is not None and theirs.batch is not None and ours.batch.batch_id == theirs.batch.batch_id


def _leaf(ours: LeafPath | None, theirs: LeafPath | None) -> LeafPath | None:
    if ours is None or theirs is None:
        return ours or theirs
    return ours if ours.siblings is not None else replace(ours, siblings=theirs.siblings)
