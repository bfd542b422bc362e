"""The content, where the file has it: that what was asked and answered is what the papers name by hashes."""

import hashlib
import json
from collections.abc import Callable, Iterator

from protocol.proof.check import Check, absent, compared
from protocol.proof.file import Content, Papers, Proof
from protocol.proof.papers import is_sound, job_of
from protocol.stages.assignment import charge_of
from protocol.stages.commitment import LeafStatus
from protocol.stages.execution import InvalidResult, ResultFacts, validate_proof, validate_result
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


def _answer(proof: Proof, content: Content) -> tuple[ResultFacts | None, str]:
    assert content.result is not None
    assert proof.papers.result is not None
    if hashlib.sha256(content.result).digest() != proof.papers.result.result.result_hash:
        return None, "it has not the hash that the node signed"
    if proof.model is None:
        return None, "it cannot be read without the model's manifest, which is missing"
    try:
        facts = validate_result(
            content.result, job_of(proof), proof.model, proof.papers.details.max_new_tokens, _salt_of(content.input)
        )
    except InvalidResult as error:
        return None, f"no seat would take it: {error}"
    return facts, f"{len(facts.output_ids)} tokens, ended by {facts.finish}"


def _salt_of(chat: bytes) -> str | None:
    try:
        plain = json.loads(chat)
    except (ValueError, RecursionError):
        return None
    salt = plain.get("salt") if isinstance(plain, dict) else None
    return salt if isinstance(salt, str) else None


def _fingerprint(papers: Papers, content: Content, facts: ResultFacts | None) -> Check:
    if content.proof is None or papers.proof_hash is None:
        return absent("fingerprint", "proof.bin, which only the node and the seats have")
    if hashlib.sha256(content.proof).digest() != papers.proof_hash:
        return compared("fingerprint", False, "", "proof.bin has not the hash in the commitment")
    try:
        validate_proof(content.proof, len(facts.output_ids) if facts else 0)
    except InvalidResult as error:
        return compared("fingerprint", False, "", str(error))
    return compared("fingerprint", True, f"{len(content.proof)} bytes, by their hash in the commitment", "")


def _charge(proof: Proof, facts: ResultFacts | None) -> Check:
    sound = is_sound(proof.papers)
    if proof.leaf is None or facts is None or proof.leaf.leaf.status != LeafStatus.OK or not sound:
        return absent("charge", "no leaf that charges for it")
    details, charge = proof.papers.details, proof.leaf.leaf.charge
    least = charge_of(details.price, len(facts.output_ids), details.max_new_tokens)
    return compared(
        "charge",
        charge >= least if proof.papers.receipt else charge == least,
        f"{charge} wei for {len(facts.output_ids)} of at most {details.max_new_tokens} tokens",
        f"{charge} wei, where so many tokens cost {least}",
    )
