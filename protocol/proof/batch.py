"""The batch: that the job is a leaf of it, at its price and in its place, and that its sums are those of its tree."""

from collections.abc import Iterator

from protocol.judging.fraud_proofs import OpenedLeaf, Papers, SignedResult, depth_of, fraud_kinds_in, is_in_batch
from protocol.params import MAX_BATCH_LEAVES
from protocol.proof.check import Check, absent, compared
from protocol.proof.file import BatchPaper, JobPapers, LeafPath, Proof
from protocol.proof.papers import is_sound, order_of
from protocol.stages.assignment import charge_of
from protocol.stages.commitment import Leaf, LeafStatus, batch_id, contents_hash, leaf_of, unpaid_leaf
from protocol.wire.merkle import climb

NOT_IN_A_BATCH = "no batch of its node has the job yet"
NO_PATH = "the way from the leaf to the root: only the node has it, and its own vcoin job proof holds it"


def check_batch(proof: Proof) -> Iterator[Check]:
    """The leaf against its papers, the tree against the batch, the batch against itself."""
    batch, leaf = proof.batch, proof.leaf
    yield _leaf(proof)
    if batch is None:
        yield from (absent(name, NOT_IN_A_BATCH) for name in ("batch named", "contents", "money locked", "number"))
        yield from (absent(name, NOT_IN_A_BATCH) for name in ("leaf in root", "sums", "no lie"))
        return
    yield compared(
        "batch named",
        batch.batch_id == batch_id(proof.worker.node, batch.slot, batch.block)
        and batch.class_id == proof.papers.offer.class_id
        and batch.leaf_count <= MAX_BATCH_LEAVES,
        f"{batch.batch_id.hex()}, of slot {batch.slot} and block {batch.block}",
        "its id is not that of its node, slot and block, or it is of another class than the offer",
    )
    yield compared(
        "contents",
        contents_hash(batch.contents) == batch.contents_hash,
        f"{len(batch.contents.debits)} lanes, root {batch.contents.root.hex()}",
        "root, largest charge and debits are not those that the chain keeps the hash of",
    )
    yield _locked(batch)
    yield _number(proof, batch)
    yield from _tree(proof, batch, leaf)


def _leaf(proof: Proof) -> Check:
    if proof.leaf is None:
        return absent("leaf", NOT_IN_A_BATCH)
    return compared(
        "leaf",
        proof.leaf.leaf in _possible(proof.papers, proof.batch),
        "client, number, charge, bonus, time and hashes are those of the papers",
        "it is not the one that the papers give",
    )


def _possible(papers: JobPapers, batch: BatchPaper | None) -> list[Leaf]:
    """The leaves that these papers give: paid by the receipt, or without one by its tokens, or not at all."""
    unpaid = [unpaid_leaf(papers.order, status) for status in (LeafStatus.FAILED, LeafStatus.CLIENT_FAULT)]
    if papers.result is None or not is_sound(papers):
        return unpaid
    order, result = order_of(papers), papers.result.result
    if papers.receipt is not None and not (batch and batch.unreceipted):
        return [leaf_of(order, result, 0, papers.receipt.receipt), *unpaid]
    # How many tokens came says only the content: a charge without a receipt is one of as many numbers.
    counts = range(papers.details.max_new_tokens + 1)
    return [*(leaf_of(order, result, count, None) for count in _distinct(papers, counts)), *unpaid]


def _distinct(papers: JobPapers, counts: range) -> list[int]:
    details = papers.details
    charges = {charge_of(details.price, count, details.max_new_tokens): count for count in counts}
    return list(charges.values())


def _locked(batch: BatchPaper) -> Check:
    debits, sums = batch.contents.debits, batch.sums
    taken = sum(debit.amount for debit in debits)
    owed = sums.charge + sums.bonus + batch.fee
    return compared(
        "money locked",
        taken == owed,
        f"{taken} wei of its lanes: charges, bonuses and the fee for checks",
        f"its lanes lost {taken} wei, and charges, bonuses and fee are {owed}",
    )


def _number(proof: Proof, batch: BatchPaper) -> Check:
    order, end = proof.papers.order, 0
    for debit in batch.contents.debits:
        first, end = end, end + debit.leaves
        place = end - 1 - (debit.index - order.index)
        if (debit.client, debit.signer) == (order.client, order.signer) and first <= place < end:
            position = proof.leaf.position if proof.leaf else place
            return compared(
                "number",
                position == place and sum(each.leaves for each in batch.contents.debits) == batch.leaf_count,
                f"{order.index} of its lane is leaf {place} of {batch.leaf_count}",
                f"{order.index} of its lane is leaf {place}, not {position}, or the lanes do not fill the batch",
            )
    return compared("number", False, "", f"the batch takes no number {order.index} from this client's lane")


def _tree(proof: Proof, batch: BatchPaper, leaf: LeafPath | None) -> Iterator[Check]:
    if leaf is None or leaf.siblings is None:
        yield from (absent(name, NO_PATH) for name in ("leaf in root", "sums", "no lie"))
        return
    opened = OpenedLeaf(leaf.position, leaf.leaf, leaf.siblings)
    inside = is_in_batch(opened, batch)
    yield compared(
        "leaf in root",
        inside,
        f"{depth_of(batch.leaf_count)} siblings lead from leaf {leaf.position} to it",
        "leaf and siblings do not lead to it",
    )
    top = climb(leaf.leaf.node, leaf.position, leaf.siblings[:64])
    sums = batch.sums
    yield compared(
        "sums",
        (top.charge, top.bonus, top.ms) == (sums.charge, sums.bonus, sums.ms)
        and sums.ok_count + sums.failed_count <= batch.leaf_count
        and batch.contents.max_leaf <= sums.charge
        and (batch.leaf_count > 1 or batch.contents.max_leaf == sums.charge),
        f"of its tree: charges {sums.charge}, bonuses {sums.bonus} wei, {sums.ms} ms",
        "its tree has others than the batch says",
    )
    papers = proof.papers
    receipt = papers.receipt.receipt if papers.receipt else None
    signed = SignedResult(papers.result.result, papers.result.signature) if papers.result else None
    known = Papers(papers.order, papers.details, receipt, signed)
    worker = proof.worker
    fraud_kinds = fraud_kinds_in(opened, batch, known, worker.node, worker.operator, proof.place.domain)
    yield compared(
        "no lie",
        inside and not fraud_kinds,
        "nothing that code could prove against the node",
        f"the papers prove {', '.join(kind.name.lower().replace('_', ' ') for kind in fraud_kinds) or 'nothing'}",
    )
