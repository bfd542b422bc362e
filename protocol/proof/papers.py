"""The signed papers of a job: every signature, and that each paper answers the one before it."""

from collections.abc import Iterator

from protocol.proof.check import Check, absent, compared, tried
from protocol.proof.file import JobPapers, Proof
from protocol.stages.assignment import Accept, AssignmentOrder, charge_of, job_id, require_consistent
from protocol.stages.commitment import Result, output_commit, require_receipt
from protocol.stages.offer import SignedOffer
from protocol.stages.request import SignedRequest
from protocol.wire.envelope import is_signed_by
from protocol.wire.ids import JobId


def job_of(proof: Proof) -> JobId:
    """The id of the attempt that a proof is about."""
    return job_id(proof.papers.order, proof.place.domain)


def order_of(papers: JobPapers) -> AssignmentOrder:
    """The order as it was sent, but for what was sealed."""
    return AssignmentOrder(
        request=SignedRequest(papers.request, papers.request_signature),
        offer=SignedOffer(papers.offer, papers.offer_signature),
        assignment=papers.order,
        details=papers.details,
        signature=papers.order_signature,
        sealed_key=b"",
        sealed_input=b"",
    )


def is_sound(papers: JobPapers) -> bool:
    """Whether prices can be computed by an order: the request, which bounds it, is for as many tokens."""
    return papers.details.max_new_tokens == papers.request.max_new_tokens


def check_papers(proof: Proof) -> Iterator[Check]:
    """Request, offer, order, promise, result, receipt and commitment."""
    papers, worker, domain = proof.papers, proof.worker, proof.place.domain
    request, offer, order = papers.request, papers.offer, papers.order
    yield compared(
        "request signed",
        is_signed_by(request, papers.request_signature, domain, request.signer),
        f"by {request.signer}, who may spend for {request.client}",
        f"not by {request.signer}, whom it names",
    )
    yield compared(
        "offer signed",
        is_signed_by(offer, papers.offer_signature, domain, worker.operator) and offer.node_id == worker.node,
        f"by {worker.operator}, who operates {worker.node}",
        f"not by {worker.operator} for {worker.node}",
    )
    yield compared(
        "order signed",
        is_signed_by(order, papers.order_signature, domain, order.signer),
        f"by {order.signer}: number {order.index} of its lane",
        f"not by {order.signer}, whom it names",
    )
    yield tried(
        "order agrees",
        lambda: require_consistent(order_of(papers), domain),
        "with the request and the offer that it answers, in every term",
    )
    signed = papers.promise
    if signed is None:
        yield absent("promise signed", "the node's promise, which the requester need not have heard")
    else:
        yield _by_node(proof, "promise signed", signed.accept, signed.signature, "")
    if papers.result is None:
        yield absent("result signed", "no result has come yet")
    else:
        result = papers.result.result
        yield _by_node(proof, "result signed", result, papers.result.signature, f": {result.result_hash.hex()}")
    yield _receipt(proof)
    yield _commitment(proof)


def _by_node(proof: Proof, name: str, message: Accept | Result, signature: bytes, more: str) -> Check:
    holds = is_signed_by(message, signature, proof.place.domain, proof.worker.operator)
    return compared(
        name,
        holds and message.job_id == job_of(proof),
        f"by the node, for this job{more}",
        "not by the node, or for another job",
    )


def _receipt(proof: Proof) -> Check:
    papers = proof.papers
    if papers.receipt is None:
        return absent("receipt signed", "the client has given none, or not yet")
    if papers.result is None or not is_sound(papers):
        return compared("receipt signed", False, "", "there is no result or no order that it could be for")
    receipt, result, details = papers.receipt.receipt, papers.result.result, papers.details
    if not is_signed_by(receipt, papers.receipt.signature, proof.place.domain, papers.order.signer):
        return compared("receipt signed", False, "", f"not by {papers.order.signer}, who signed the order")
    least = charge_of(details.price, 0, details.max_new_tokens)
    return tried(
        "receipt signed",
        lambda: require_receipt(receipt, result, details, 0),
        f"by the client, for this result: a charge between {least} and {details.price} wei",
    )


def _commitment(proof: Proof) -> Check:
    papers, worker = proof.papers, proof.worker
    if papers.result is None or papers.salt is None or papers.fingerprint_hash is None:
        return absent("commitment opened", "only the node and the seats know its salt and the hash of proof.bin")
    result = papers.result.result
    opened = output_commit(
        worker.node,
        job_of(proof),
        papers.offer.class_id,
        result.result_hash,
        papers.fingerprint_hash,
        result.blob_cid,
        papers.salt,
    )
    return compared(
        "commitment opened",
        opened == result.output_commit,
        "by node, job, class, result, fingerprint and salt",
        "it is not that of this node, job, class, result, fingerprint and salt",
    )
