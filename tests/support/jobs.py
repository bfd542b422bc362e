"""Finished jobs with real signatures, and the batches that settle them."""

import hashlib
from dataclasses import dataclass, field

from chain.tx.wallet import Key
from protocol.params import VCN
from protocol.stages.assignment import (
    CHECK_ORDERED,
    Assignment,
    AssignmentOrder,
    JobDetails,
    LaneOpen,
    bonus_cap,
    job_id,
    order_total,
    verify_fee,
)
from protocol.stages.commitment import (
    Batch,
    BatchSums,
    LeafEntry,
    Receipt,
    Result,
    SettledJob,
    SignedReceipt,
    claim_of,
    leaf_of,
)
from protocol.stages.offer import Offer, SignedOffer
from protocol.stages.request import Request, SignedRequest
from protocol.wire.envelope import Domain, digest, struct_hash
from protocol.wire.ids import Address
from protocol.wire.merkle import root

CLASS = 1
CLASSES = 1 << CLASS
FAR = 2**40 - 1
PRICE = 2 * VCN
TOKENS = 100


def key(name: str) -> Key:
    """The key of somebody in a test."""
    return Key(named(f"key of {name}"))


def named(text: str) -> bytes:
    """32 bytes that stand for something."""
    return hashlib.sha256(text.encode()).digest()


@dataclass
class Orders:
    """A client's orders to one node over one lane, job by job."""

    client: Key
    node: Key
    domain: Domain
    jobs: list[LeafEntry] = field(default_factory=list)
    index: int = 0
    cumulative: int = 0

    def lane_open(self, amount: int, deadline: int, prev_total: int = 0) -> tuple[LaneOpen, bytes]:
        """The message that opens the lane, signed."""
        order = LaneOpen(self.client.address, self.client.address, self.node.address, amount, prev_total, deadline)
        return order, self.client.sign(order, self.domain)

    def finish(
        self,
        *,
        price: int = PRICE,
        delivered: int = TOKENS,
        actual_ms: int = 900,
        receipted: bool = True,
        checked: bool = False,
    ) -> LeafEntry:
        """The next job of the lane, ordered, delivered, and with a receipt if the client gave one."""
        self.index += 1
        self.cumulative += order_total(price, with_bonus=True, checked=checked)
        order = self._order(price, checked=checked)
        job = job_id(order.assignment, self.domain)
        result = Result(job, named(f"result {self.index}"), named(f"output {self.index}"), named(f"blob {self.index}"))
        receipt = None
        if receipted:
            terms = Receipt(job, result.result_hash, price * delivered // TOKENS, actual_ms)
            receipt = SignedReceipt(terms, self.client.sign(terms, self.domain))
        leaf = leaf_of(order, result, delivered, receipt.receipt if receipt else None)
        papers = SettledJob(job, order.assignment, order.details, order.signature, receipt, result, named("salt"))
        entry = LeafEntry(leaf, papers)
        self.jobs.append(entry)
        return entry

    def _order(self, price: int, *, checked: bool) -> AssignmentOrder:
        request = Request(
            client=self.client.address,
            signer=self.client.address,
            manifest=named("model"),
            kind=0,
            max_new_tokens=TOKENS,
            input_bytes=64,
            max_price=price,
            max_memory=0,
            classes=CLASSES,
            timeout_ms=120_000,
            deadline=FAR,
            min_reputation=0,
            requester_peer="/ip4/127.0.0.1/tcp/1/p2p/x",
            nonce=self.index,
        )
        offer = Offer(digest(request, self.domain), self.node.address, price, 2_000, CLASS, True, named("hpke"), FAR)
        details = JobDetails(
            request_id=digest(request, self.domain),
            offer_hash=digest(offer, self.domain),
            price=price,
            bonus_cap=bonus_cap(price),
            verify_fee=verify_fee(price, checked=checked),
            manifest=request.manifest,
            input_cid=named("input"),
            content_key_hash=named("content key"),
            temperature=0,
            seed_nonce=named("nonce"),
            max_new_tokens=TOKENS,
            classes=CLASSES,
            expected_ms=2_000,
            deadline=FAR,
            attempt=0,
            max_total=order_total(price, with_bonus=True, checked=checked),
            flags=CHECK_ORDERED if checked else 0,
        )
        assignment = Assignment(
            self.client.address,
            self.client.address,
            self.node.address,
            self.index,
            self.cumulative,
            struct_hash(details),
        )
        return AssignmentOrder(
            request=SignedRequest(request, self.client.sign(request, self.domain)),
            offer=SignedOffer(offer, self.node.sign(offer, self.domain)),
            assignment=assignment,
            details=details,
            signature=self.client.sign(assignment, self.domain),
            sealed_key=b"",
            sealed_input=b"",
        )


def batch_of(node: Address, slot: int, *lanes: Orders, mine_by: int = 0, checked: bool = False) -> Batch:
    """The batch of every job of some lanes that no batch has taken yet; takes them."""
    taken = [lane.jobs for lane in lanes]
    for lane in lanes:
        lane.jobs = []
    return batch_with(node, slot, *taken, mine_by=mine_by, checked=checked)


def batch_with(node: Address, slot: int, *lanes: list[LeafEntry], mine_by: int = 0, checked: bool = False) -> Batch:
    """The batch of these leaves as they are, those of one lane together."""
    leaves = [entry.leaf for entries in lanes for entry in entries]
    top = root([leaf.node for leaf in leaves])
    return Batch(
        node=node,
        slot=slot,
        class_id=CLASS,
        uncalibrated=False,
        checked=checked,
        root=top.hash,
        price_sum=top.charge,
        bonus_sum=top.bonus,
        ms_sum=top.ms,
        ok_count=len(leaves),
        failed_count=0,
        max_leaf=max(leaf.charge for leaf in leaves),
        mine_by=mine_by,
        claims=tuple(claim_of(entries) for entries in lanes),
    )


def sums_of(batch: Batch) -> BatchSums:
    """The chain's record of a batch beside its contents."""
    return BatchSums(batch.price_sum, batch.bonus_sum, batch.ms_sum, batch.ok_count, batch.failed_count)
