"""Proofs of jobs, made by hand: real signatures and trees, and a chain that is only what it says."""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from itertools import count

from node.wallet.sealing import seal
from protocol.params import VCN
from protocol.proof.file import (
    VERSION,
    BatchPaper,
    CasePaper,
    ContentPaper,
    DrawPaper,
    Finding,
    JobPapers,
    LeafPath,
    Listed,
    MarginPaper,
    NoisePaper,
    PayPaper,
    Place,
    Proof,
    ResultPaper,
    SeatPaper,
    Step,
    Worker,
)
from protocol.stages.assignment import (
    Accept,
    Assignment,
    AssignmentOrder,
    JobDetails,
    SignedAccept,
    bonus_cap,
    charge_of,
    job_id,
    kind_flags,
    order_total,
    verify_fee,
)
from protocol.stages.blob import ModelFile, ModelManifest
from protocol.stages.commitment import (
    BatchContents,
    BatchSums,
    LaneDebit,
    Leaf,
    Receipt,
    Result,
    SignedReceipt,
    batch_id,
    contents_hash,
    debit_of,
    leaf_of,
    output_commit,
)
from protocol.stages.execution import fingerprint_size
from protocol.stages.offer import Offer, SignedOffer
from protocol.stages.request import GENERATE, Request, SignedRequest
from protocol.stages.sampling import ListSlot, batch_seed, draw_order, draw_samples, epoch_of, seed_block
from protocol.stages.settlement import split
from protocol.stages.verdict import median_of, verdict_of
from protocol.stages.verification import Calibration, Tolerance, Verdict, seat_commitment
from protocol.wire.envelope import Domain, digest, struct_hash
from protocol.wire.ids import Address, BatchId, cid_of
from protocol.wire.merkle import path, root
from tests.support.jobs import key, named

PLACE = Place(31_337, key("settlement").address, 16, 4)
DOMAIN: Domain = PLACE.domain
CLIENT, OTHER, NODE, OWNER = key("client"), key("other client"), key("node"), key("owner")
CLASS, BLOCK, TOKENS, PRICE, SCORE = 1, 1_000, 40, 2 * VCN, 5_100
MODEL = ModelManifest("tiny", (ModelFile("t.json", cid_of(b"t"), 1),), "t.json", (0,), 0, "fp32", 8, 400, 1, 4_096, 1)
NOISE = Calibration(
    Tolerance(32_000, 36_000), Tolerance(36_000, 44_000), Tolerance(15_000, 30_000), Tolerance(10**6, 2 * 10**6)
)
LLR_MILLINATS = 120
KEY = named("content key")
INPUT = json.dumps({"messages": [], "salt": "5a"}).encode()
MINE = 7
"""The place of the job in its batch."""
LEAVES = 23


@dataclass(frozen=True)
class Bench:
    """The reveals, seat by seat, None for a silent one; a second round, and the finding before it."""

    first: tuple[int | None, ...] = (9_900, 9_800, 9_700)
    second: tuple[int | None, ...] = ()
    appealed: bool = False
    arbiters: bool = False
    verdict: Verdict | None = None
    median: int | None = None
    confirmed: int = 120


PASSED = Bench()


@dataclass
class Chain:
    """The logs that a case leaves, one a block."""

    blocks: count[int]
    steps: list[Step] = field(default_factory=list)

    def tell(self, event: str, times: int = 1) -> None:
        for _ in range(times):
            number = next(self.blocks)
            self.steps.append(Step(event, named(f"transaction {number}"), number))


@dataclass(frozen=True)
class Answered:
    """An answer by hand or by a machine: result.json, proof.bin, and how many tokens they are."""

    result: bytes
    fingerprint: bytes
    tokens: int


Answer = Callable[[bytes, bytes], Answered]
"""From a job's id and the nonce of its seed."""


def proof_of(
    bench: Bench = PASSED,
    *,
    kind: int = GENERATE,
    model: ModelManifest = MODEL,
    asked: bytes = INPUT,
    answer: Answer | None = None,
) -> Proof:
    """A job in a batch of two clients, a tenth of which was drawn, the job among it."""
    papers, content, tokens = _papers(kind, model, asked, answer or answer_by_hand)
    leaves = _leaves(papers, tokens)
    batch = _batch(leaves)
    draw = _draw(batch)
    listed = _listed()
    end = BLOCK + 2 * PLACE.epoch_blocks
    chain = Chain(count(end))
    case = _case(batch, draw, listed, bench, chain)
    pay = _pay(batch, case, chain)
    submitted = Step("BatchSubmitted", named("submitted"), BLOCK)
    sealed = Step("EpochSealed", named("sealed"), end - 1)
    siblings = path([leaf.node for leaf in leaves], MINE)
    return Proof(
        v=VERSION,
        place=PLACE,
        worker=Worker(NODE.address, OWNER.address, NODE.address),
        papers=papers,
        leaf=LeafPath(MINE, leaves[MINE], siblings),
        batch=batch,
        draw=draw,
        case=case,
        pay=pay,
        steps=(submitted, sealed, *chain.steps),
        noise=NoisePaper(NOISE, named("weights"), bytes(32)),
        model=model,
        content=content,
    )


# --- papers ---------------------------------------------------------------------------------------------------------
def _papers(kind: int, model: ModelManifest, asked: bytes, answer: Answer) -> tuple[JobPapers, ContentPaper, int]:
    request = Request(
        client=CLIENT.address,
        signer=CLIENT.address,
        manifest=model.cid,
        kind=kind,
        max_new_tokens=TOKENS,
        input_bytes=64,
        max_price=PRICE,
        max_memory=0,
        classes=1 << CLASS,
        timeout_ms=120_000,
        deadline=2**33,
        min_reputation=0,
        requester_peer="/ip4/127.0.0.1/tcp/1/p2p/x",
        nonce=7,
    )
    offer = Offer(digest(request, DOMAIN), NODE.address, PRICE, 2_000, CLASS, True, named("hpke"), 2**33)
    details = JobDetails(
        request_id=digest(request, DOMAIN),
        offer_hash=digest(offer, DOMAIN),
        price=PRICE,
        bonus_cap=bonus_cap(PRICE),
        verify_fee=verify_fee(PRICE),
        manifest=model.cid,
        input_cid=cid_of(seal(KEY, b"input", asked)),
        content_key_hash=hashlib.sha256(KEY).digest(),
        temperature=0,
        seed_nonce=named("nonce"),
        max_new_tokens=TOKENS,
        classes=1 << CLASS,
        expected_ms=2_000,
        deadline=2**32,
        attempt=0,
        max_total=order_total(PRICE, with_bonus=True),
        flags=kind_flags(kind),
    )
    order = Assignment(CLIENT.address, CLIENT.address, NODE.address, MINE + 1, 50 * VCN, struct_hash(details))
    job = job_id(order, DOMAIN)
    given = answer(job, details.seed_nonce)
    blob = cid_of(seal(KEY, b"result" + job, given.result))
    hashes = hashlib.sha256(given.result).digest(), hashlib.sha256(given.fingerprint).digest()
    commit = output_commit(NODE.address, job, CLASS, *hashes, blob, named("output salt"))
    result = Result(job, hashes[0], commit, blob)
    receipt = Receipt(job, hashes[0], charge_of(PRICE, given.tokens, TOKENS), 900)
    accept = Accept(job, 1_700_000_000_000)
    papers = JobPapers(
        request=request,
        request_signature=CLIENT.sign(request, DOMAIN),
        offer=offer,
        offer_signature=NODE.sign(offer, DOMAIN),
        order=order,
        order_signature=CLIENT.sign(order, DOMAIN),
        details=details,
        promise=SignedAccept(accept, NODE.sign(accept, DOMAIN)),
        result=ResultPaper(result, NODE.sign(result, DOMAIN)),
        receipt=SignedReceipt(receipt, CLIENT.sign(receipt, DOMAIN)),
        fingerprint_hash=hashes[1],
        salt=named("output salt"),
    )
    return papers, ContentPaper(KEY, asked, given.result, given.fingerprint), given.tokens


IDS = list(range(1, 33))
ROWS = [3] * 8 * len(IDS)


def answer_by_hand(job: bytes, nonce: bytes) -> Answered:
    """An answer that ends by itself."""
    plain = {
        "v": 1,
        "job_id": job.hex(),
        "salt": "5a",
        "manifest_sha256": MODEL.cid.hex(),
        "dtype": "fp32",
        "device_class": CLASS,
        "prompt_token_ids_sha256": "0" * 64,
        "output_token_ids": IDS,
        "finish": "eos",
    }
    result = json.dumps(plain, sort_keys=True, separators=(",", ":")).encode()
    packed = struct.pack(f"<e{8 * len(IDS)}b", 1.0, *ROWS)
    assert len(packed) == fingerprint_size(len(IDS))
    return Answered(result, packed, len(IDS))


# --- batch ----------------------------------------------------------------------------------------------------------
def _leaves(papers: JobPapers, tokens: int) -> list[Leaf]:
    assert papers.result is not None
    assert papers.receipt is not None
    signed = SignedRequest(papers.request, b""), SignedOffer(papers.offer, b"")
    order = AssignmentOrder(*signed, papers.order, papers.details, papers.order_signature, b"", b"")
    mine = leaf_of(order, papers.result.result, tokens, papers.receipt.receipt)
    return [mine if place == MINE else _stranger(mine, place) for place in range(LEAVES)]


def _stranger(mine: Leaf, place: int) -> Leaf:
    """A leaf whose papers are not shown: of the same lane up to the tenth, then of another client's."""
    client, index = (CLIENT, place + 1) if place < 10 else (OTHER, place - 9)
    return replace(
        mine,
        client=client.address,
        signer=client.address,
        index=index,
        receipt_hash=named(f"receipt {place}"),
        result_hash=named(f"result {place}"),
    )


def _batch(leaves: list[Leaf]) -> BatchPaper:
    top = root([leaf.node for leaf in leaves])
    debits = (_debit(leaves[:10]), _debit(leaves[10:]))
    contents = BatchContents(top.hash, max(leaf.charge for leaf in leaves), debits)
    return BatchPaper(
        batch_id=batch_id(NODE.address, 3, BLOCK),
        slot=3,
        class_id=CLASS,
        block=BLOCK,
        timestamp=1_700_000_100,
        rate_bps=1_000,
        leaf_count=len(leaves),
        unreceipted=False,
        uncalibrated=False,
        checked=False,
        fee=sum(debit.amount for debit in debits) - top.charge - top.bonus,
        score=SCORE,
        sums=BatchSums(top.charge, top.bonus, top.ms, len(leaves), 0),
        contents=contents,
        contents_hash=contents_hash(contents),
    )


def _debit(leaves: list[Leaf]) -> LaneDebit:
    charge, bonus = sum(leaf.charge for leaf in leaves), sum(leaf.bonus for leaf in leaves)
    last = leaves[-1]
    return LaneDebit(last.client, last.signer, len(leaves), debit_of(charge, bonus), last.index)


# --- court ----------------------------------------------------------------------------------------------------------
def _draw(batch: BatchPaper) -> DrawPaper:
    """By the first of some seeds that draws the job."""
    epoch, name = epoch_of(BLOCK, PLACE.epoch_blocks), BatchId(batch.batch_id)
    for number in range(1_000):
        seed = named(f"seed {number}")
        drawn = draw_samples(batch_seed(seed, name), batch.leaf_count, batch.rate_bps)
        if MINE in drawn:
            at = seed_block(epoch, PLACE.epoch_blocks, PLACE.lag_blocks)
            return DrawPaper(epoch, at, False, seed, batch.rate_bps, drawn)
    raise AssertionError("one seed in ten draws a leaf")


def _listed() -> tuple[Listed, ...]:
    nodes = [key(f"verifier {number}").address for number in range(12)]
    return tuple(Listed(node, key(f"owner of {node}").address, node, 10, 2**40 - 1, 9_000) for node in nodes)


def _case(batch: BatchPaper, draw: DrawPaper, listed: tuple[Listed, ...], bench: Bench, chain: Chain) -> CasePaper:
    slots = [ListSlot(each.node, each.from_block, each.until_block, each.weight_bps) for each in listed]
    name = BatchId(batch.batch_id)
    order = draw_order(batch_seed(draw.seed, name), name, BLOCK, slots, frozenset(), 640)
    chain.tell("CaseConvened")
    seats = _round(name, order, bench.first, 0, 0, len(draw.leaves), chain)
    lows = [score for score in bench.first if score is not None]
    grown = bool(bench.second)
    if bench.appealed:
        chain.tell("CaseAppealed")
    if grown:
        chain.tell("CaseGrown")
        seats += _round(name, order, bench.second, len(seats), 1, len(draw.leaves), chain)
        lows = [score for score in bench.second if score is not None]
    median = median_of(lows) if bench.median is None else bench.median
    verdict = bench.verdict or verdict_of(median)
    weighed = verdict_of(median_of(lows)) is Verdict.PASS
    chain.tell("MarginCounted", int(weighed))
    chain.tell("PanelCalled", int(bench.arbiters))
    chain.tell("CaseResolved")
    before = [score for score in bench.first if score is not None]
    waits = grown or bench.arbiters
    return CasePaper(
        seats=tuple(seats),
        appealed=bench.appealed,
        arbiters=bench.arbiters,
        demanded=False,
        answered=False,
        proven=False,
        found=Finding(verdict_of(median_of(before)), median_of(before)) if waits else None,
        first_seat=len(bench.first) if grown else None,
        verdict=verdict,
        median=median,
        margin=MarginPaper(LLR_MILLINATS, bench.confirmed, bench.confirmed) if weighed else None,
        verifiers=listed,
    )


def _round(
    name: BatchId,
    order: list[Address],
    lows: tuple[int | None, ...],
    first: int,
    number: int,
    drawn: int,
    chain: Chain,
) -> list[SeatPaper]:
    seats = []
    for seat, low in enumerate(lows, first):
        if low is None:
            chain.tell("SeatReplaced")
            seats.append(SeatPaper(order[seat], True))
            continue
        checks, salt = named(f"checks {seat}"), named(f"salt {seat}")
        bound = seat_commitment(name, number, seat, checks, salt, LLR_MILLINATS)
        chain.tell("SeatCommitted")
        scores = (low, *[10_000] * (drawn - 1))
        seats.append(SeatPaper(order[seat], False, bound, checks, salt, scores, LLR_MILLINATS))
    chain.tell("SeatRevealed", sum(not seat.silent for seat in seats))
    return seats


def _pay(batch: BatchPaper, case: CasePaper, chain: Chain) -> PayPaper:
    if case.verdict is not Verdict.PASS:
        chain.tell("BatchRefunded")
        return PayPaper(refunded=sum(debit.amount for debit in batch.contents.debits))
    chain.tell("BatchFinal")
    paid = split(batch.sums.charge, batch.fee, batch.sums.bonus, SCORE)
    return PayPaper(batch.sums.charge, paid.burned, paid.reward, paid.bonus, paid.pooled)
