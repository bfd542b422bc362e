"""The content, where the file has it: that what was asked and answered is what the papers name by hashes."""

import hashlib
from collections.abc import Callable, Iterator

from protocol.judging.kinds import Facts, validate
from protocol.proof.check import Check, absent, compared
from protocol.proof.file import ContentPaper, JobPapers, Proof
from protocol.proof.papers import is_sound, job_of
from protocol.stages.assignment import charge_of, kind_of
from protocol.stages.commitment import LeafStatus
from protocol.stages.execution import InvalidResult, ResultFacts, validate_fingerprint
from protocol.stages.stop_order import stop_order_in
from protocol.wire.ids import cid_of

Seal = Callable[[bytes, bytes, bytes], bytes]
"""Key, label and content to the sealed bytes, always the same ones: a cipher is no business of the core."""
LEFT_OUT = "the content, which is left out unless it is asked for: --with-content"


def check_model(proof: Proof) -> Check:
    """The manifest of the model against its id."""
    if proof.model is None:
        return absent("model", "its manifest, which the writer does not hold")
    right = proof.model.cid == proof.papers.details.manifest
    return compared("model", right, f"{proof.model.name}, by its id", "its manifest has another id")


def check_content(proof: Proof, seal: Seal) -> Iterator[Check]:
    """Key, input, answer, fingerprint, and the charge that so many tokens cost."""
    content, papers = proof.content, proof.papers
    names = ("content key", "input", "answer", "answer sealed", "fingerprint", "charge")
    if content is None:
        yield from (absent(name, LEFT_OUT) for name in names)
        return
    details = papers.details
    yield compared(
        "content key",
        hashlib.sha256(content.key).digest() == details.content_key_hash,
        "the one that the order names",
        "not the one that the order names",
    )
    yield compared(
        "input",
        cid_of(seal(content.key, b"input", content.input)) == details.input_cid,
        f"{len(content.input)} bytes, which seal to the id in the order",
        "it does not seal to the id in the order",
    )
    if content.result is None or papers.result is None:
        yield from (absent(name, "no answer has come yet") for name in names[2:])
        return
    facts, words = _answer(proof, content)
    yield compared("answer", facts is not None, words, words)
    label = b"result" + job_of(proof)
    yield compared(
        "answer sealed",
        cid_of(seal(content.key, label, content.result)) == papers.result.result.blob_cid,
        "to the id that the node signed",
        "not to the id that the node signed",
    )
    yield _fingerprint(papers, content, facts)
    yield _charge(proof, facts)


def facts_of(proof: Proof) -> Facts:
    """The answer in a file, by the rules that a seat of its kind of job applies. Raises: InvalidResult."""
    content, details = proof.content, proof.papers.details
    if content is None or content.result is None:
        raise InvalidResult("there is no answer")
    if proof.model is None:
        raise InvalidResult("it cannot be read without the model's manifest, which is missing")
    limit, is_ordered = details.max_new_tokens, stop_order_of(proof) is not None
    kind, job = kind_of(details), job_of(proof)
    return validate(kind, content.result, job, proof.model, limit, content.input, stop_ordered=is_ordered)


def stop_order_of(proof: Proof) -> bytes | None:
    """The signature of the client's order to stop, if the answer holds it."""
    if proof.content is None or proof.content.result is None:
        return None
    return stop_order_in(proof.content.result, proof.papers.order, proof.place.domain)


def _answer(proof: Proof, content: ContentPaper) -> tuple[Facts | None, str]:
    assert content.result is not None
    assert proof.papers.result is not None
    if hashlib.sha256(content.result).digest() != proof.papers.result.result.result_hash:
        return None, "it has not the hash that the node signed"
    try:
        facts = facts_of(proof)
    except InvalidResult as error:
        return None, f"no seat would take it: {error}"
    if isinstance(facts, ResultFacts):
        return facts, f"{facts.delivered} tokens, ended by {facts.finish}"
    return facts, f"{facts.rows} texts, {facts.delivered} units"


def _fingerprint(papers: JobPapers, content: ContentPaper, facts: Facts | None) -> Check:
    if content.fingerprint is None or papers.fingerprint_hash is None:
        return absent("fingerprint", "proof.bin, which only the node and the seats have")
    if hashlib.sha256(content.fingerprint).digest() != papers.fingerprint_hash:
        return compared("fingerprint", False, "", "proof.bin has not the hash in the commitment")
    try:
        validate_fingerprint(content.fingerprint, facts.rows if facts else 0)
    except InvalidResult as error:
        return compared("fingerprint", False, "", str(error))
    return compared("fingerprint", True, f"{len(content.fingerprint)} bytes, by their hash in the commitment", "")


def _charge(proof: Proof, facts: Facts | None) -> Check:
    sound = is_sound(proof.papers)
    if proof.leaf is None or facts is None or proof.leaf.leaf.status != LeafStatus.OK or not sound:
        return absent("charge", "no leaf that charges for it")
    details, charge = proof.papers.details, proof.leaf.leaf.charge
    least = charge_of(details.price, facts.delivered, details.max_new_tokens)
    return compared(
        "charge",
        charge >= least if proof.papers.receipt else charge == least,
        f"{charge} wei for {facts.delivered} of at most {details.max_new_tokens} tokens",
        f"{charge} wei, where so many tokens cost {least}",
    )
