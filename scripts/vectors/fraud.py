"""The cases of tests/vectors/fraud.json: opened leaves, honest and not, and which lies code finds in them."""

import dataclasses
import random
from collections.abc import Callable, Iterator
from dataclasses import astuple, dataclass, replace
from typing import Any

from eth_abi.abi import encode
from eth_account import Account

from chain.abi.interface import interface
from chain.contracts.fraud_proofs import DETAILS, ORDER, RECEIPT, RESULT
from protocol.events import BatchSubmitted
from protocol.judging.fraud_proofs import FraudKind, OpenedLeaf, Papers, SignedResult, fraud_kinds_in
from protocol.params import RETRY_AFTER_DEADLINE_S, VCN
from protocol.stages import assignment, commitment
from protocol.wire.envelope import digest, sign_digest, struct_hash
from protocol.wire.ids import ZERO_HASH, Address, checksum
from protocol.wire.merkle import EMPTY, SumNode, path, root
from scripts.vectors.frame import DOMAIN, Case, case, word

MINED_S = 1_800_000_000
OPERATOR_KEY = word("operator")
OPERATOR: Address = checksum(Account.from_key(OPERATOR_KEY).address)


@dataclass(frozen=True, slots=True)
class PaidJob:
    """A job as both sides signed it, and the honest leaf of it."""

    details: assignment.JobDetails
    order: assignment.Assignment
    receipt: commitment.Receipt
    result: commitment.Result
    leaf: commitment.Leaf


def paid_job(client: Address, number: int, dice: random.Random, *, receipted: bool) -> PaidJob:
    """An honest job of a lane whose client signs for itself."""
    price = dice.randrange(1, 250 * VCN)
    details = assignment.JobDetails(
        request_id=dice.randbytes(32),
        offer_hash=dice.randbytes(32),
        price=price,
        bonus_cap=assignment.bonus_cap(price) if dice.random() < 0.7 else 0,
        verify_fee=assignment.verify_fee(price),
        manifest=dice.randbytes(32),
        input_cid=dice.randbytes(32),
        content_key_hash=dice.randbytes(32),
        temperature=dice.randrange(2_000),
        seed_nonce=dice.randbytes(32),
        max_new_tokens=dice.randrange(1, 8_192),
        classes=2,
        expected_ms=dice.randrange(1_000, 120_000),
        deadline=MINED_S - RETRY_AFTER_DEADLINE_S + dice.randrange(600),
        attempt=dice.randrange(3),
        max_total=price + assignment.verify_fee(price),
        flags=0,
    )
    cumulative = number * 300 * VCN
    order = assignment.Assignment(client, client, OPERATOR, number, cumulative, struct_hash(details))
    charge = price - dice.randrange(price // 2 + 1)
    result = commitment.Result(digest(order, DOMAIN), dice.randbytes(32), dice.randbytes(32), dice.randbytes(32))
    receipt = commitment.Receipt(result.job_id, result.result_hash, charge, dice.randrange(1, 120_000))
    actual_ms = receipt.actual_ms if receipted else details.expected_ms
    leaf = commitment.Leaf(
        client=client,
        signer=client,
        index=number,
        details=order.details,
        charge=charge,
        bonus=assignment.bonus_of(charge, details.bonus_cap, actual_ms, details.expected_ms) if receipted else 0,
        actual_ms=actual_ms,
        result_hash=result.result_hash,
        output_commit=result.output_commit,
        receipt_hash=struct_hash(receipt) if receipted else ZERO_HASH,
        status=commitment.LeafStatus.OK,
    )
    return PaidJob(details, order, receipt, result, leaf)


@dataclass(slots=True)
class FraudStory:
    """A batch of two lanes with the job at `position` to look at; what is changed in it is a lie or none."""

    jobs: list[PaidJob]
    leaves: list[commitment.Leaf]
    receipted: bool
    position: int
    debits: tuple[commitment.LaneDebit, ...]
    stuffing: SumNode = EMPTY
    commit_time: int = MINED_S
    max_leaf: int = 0
    changes: Case = dataclasses.field(default_factory=dict)
    sums: Case = dataclasses.field(default_factory=dict)

    @property
    def leaf(self) -> commitment.Leaf:
        """The leaf that is looked at."""
        return self.leaves[self.position]

    def put(self, leaf: commitment.Leaf) -> None:
        """Have another leaf in its place."""
        self.leaves[self.position] = leaf

    def change(self, **values: Any) -> None:
        """Make the leaf another one."""
        self.put(replace(self.leaf, **values))

    def fail(self) -> None:
        """Make the leaf that of a job that the node failed to do."""
        self.put(commitment.unpaid_leaf(self.job.order, commitment.LeafStatus.FAILED))

    @property
    def job(self) -> PaidJob:
        """The papers of the leaf that is looked at."""
        return self.jobs[self.position]

    def told(self) -> tuple[BatchSubmitted, OpenedLeaf, Papers]:
        """The facts of the chain, the opened leaf, and its papers."""
        nodes = [leaf.node for leaf in self.leaves]
        width = 1 << (len(nodes) - 1).bit_length()
        if self.stuffing != EMPTY and len(nodes) < width:
            nodes += [EMPTY] * (width - len(nodes) - 1) + [self.stuffing]
        top, largest = root(nodes), max(leaf.charge for leaf in self.leaves)
        ok = [leaf.status == commitment.LeafStatus.OK for leaf in self.leaves]
        failed = [leaf.status == commitment.LeafStatus.FAILED for leaf in self.leaves]
        facts = BatchSubmitted(
            batch_id=ZERO_HASH,
            node=OPERATOR,
            contents=commitment.BatchContents(top.hash, self.max_leaf or largest, self.debits),
            sums=replace(commitment.BatchSums(top.charge, top.bonus, top.ms, sum(ok), sum(failed)), **self.sums),
            slot=0,
            class_id=1,
            block=0,
            timestamp=self.commit_time,
            rate_bps=0,
            leaf_count=len(self.leaves),
            unreceipted=not self.receipted,
            uncalibrated=False,
            checked=False,
            lane_jobs=(),
        )
        signed = SignedResult(self.job.result, sign_digest(digest(self.job.result, DOMAIN), OPERATOR_KEY))
        papers = Papers(self.job.order, self.job.details, self.job.receipt, signed)
        opened = OpenedLeaf(self.position, self.leaf, path(nodes, self.position))
        return replace(facts, **self.changes), opened, papers


def story(dice: random.Random, count: int, *, receipted: bool) -> FraudStory:
    """An honest batch of `count` jobs, in two lanes where there are enough."""
    clients = [checksum("0x" + dice.randbytes(20).hex()) for _ in range(2)]
    first = count if count == 1 else dice.randrange(1, count)
    before = [dice.randrange(1_000), dice.randrange(1_000)]
    jobs = [
        paid_job(
            clients[place >= first],
            before[place >= first] + 1 + (place if place < first else place - first),
            dice,
            receipted=receipted,
        )
        for place in range(count)
    ]
    lanes = [job for job in (jobs[:first], jobs[first:]) if job]
    debits = tuple(
        commitment.LaneDebit(
            lane[0].order.client,
            lane[0].order.signer,
            len(lane),
            commitment.debit_of(sum(job.leaf.charge for job in lane), sum(job.leaf.bonus for job in lane)),
            lane[-1].order.index,
        )
        for lane in lanes
    )
    return FraudStory(jobs, [job.leaf for job in jobs], receipted, dice.randrange(count), debits)


def _receipt_of_another(told: FraudStory) -> None:
    other = told.jobs[told.position - 1]
    told.jobs[told.position] = replace(told.job, receipt=other.receipt, order=other.order)
    receipt = other.receipt
    told.change(receipt_hash=struct_hash(receipt), charge=receipt.charge, actual_ms=receipt.actual_ms)
    told.change(result_hash=receipt.result_hash, bonus=0)


def _order(told: FraudStory, flags: int) -> None:
    details = replace(told.job.details, flags=flags)
    told.jobs[told.position] = replace(told.job, details=details)
    told.change(details=struct_hash(details))


def _agreed(told: FraudStory) -> None:
    _order(told, assignment.UNCALIBRATED_ACCEPTED)
    told.changes.update(uncalibrated=True)


def _checked(told: FraudStory) -> None:
    _order(told, assignment.CHECK_ORDERED)
    told.changes.update(checked=True)


def _failed_unchecked(told: FraudStory) -> None:
    _order(told, assignment.CHECK_ORDERED)
    details = told.leaf.details
    told.fail()
    told.change(details=details)


def _failed_elsewhere(told: FraudStory) -> None:
    told.fail()
    told.changes.update(class_id=2, uncalibrated=True)


CHANGES: dict[str, tuple[bool, Callable[[FraudStory], None]]] = {
    "honest": (True, lambda told: None),
    "honest, without receipts": (False, lambda told: None),
    "failed": (True, FraudStory.fail),
    "missing": (True, lambda told: told.put(_missing(told))),
    "sums of another tree": (True, lambda told: told.sums.update(charge=5 * VCN)),
    "time of another tree": (True, lambda told: told.sums.update(ms=1)),
    "stuffed": (True, lambda told: setattr(told, "stuffing", SumNode(ZERO_HASH, VCN, 0, 0))),
    "another number": (True, lambda told: told.change(index=told.leaf.index + 1)),
    "another client": (True, lambda told: told.change(client=OPERATOR)),
    "another signer": (True, lambda told: told.change(signer=OPERATOR)),
    "above the largest": (True, lambda told: setattr(told, "max_leaf", 1)),
    "failed and paid": (True, lambda told: told.change(status=commitment.LeafStatus.FAILED)),
    "no such status": (True, lambda told: told.change(status=3, charge=0, bonus=0, actual_ms=0)),
    "no receipt": (True, lambda told: told.change(receipt_hash=ZERO_HASH)),
    "ok and not counted": (True, lambda told: told.sums.update(ok_count=0, failed_count=0)),
    "overpriced": (True, lambda told: told.change(charge=told.job.details.price + 1)),
    "bonus above": (True, lambda told: told.change(bonus=told.job.details.bonus_cap + 1)),
    "bonus for being late": (True, lambda told: told.change(bonus=1, actual_ms=told.job.details.expected_ms)),
    "bonus at four fifths": (True, lambda told: told.change(bonus=1, actual_ms=_four_fifths(told))),
    "bonus without receipts": (False, lambda told: told.change(bonus=1)),
    "in time": (False, lambda told: setattr(told, "commit_time", told.job.details.deadline + 120)),
    "too late": (False, lambda told: setattr(told, "commit_time", told.job.details.deadline + 121)),
    "too fast": (False, lambda told: told.change(actual_ms=told.job.details.expected_ms - 1)),
    "another class": (True, lambda told: told.changes.update(class_id=2)),
    "no such class": (True, lambda told: told.changes.update(class_id=31)),
    "uncalibrated": (True, lambda told: told.changes.update(uncalibrated=True)),
    "uncalibrated, as agreed": (True, _agreed),
    "failed in another class, uncalibrated": (True, _failed_elsewhere),
    "checked, not ordered": (True, lambda told: told.changes.update(checked=True)),
    "checked, not ordered, without receipts": (False, lambda told: told.changes.update(checked=True)),
    "checked, as ordered": (True, _checked),
    "checked, as ordered, without receipts": (False, _checked),
    "not checked, though ordered": (True, lambda told: _order(told, assignment.CHECK_ORDERED)),
    "not checked, though ordered, without receipts": (False, lambda told: _order(told, assignment.CHECK_ORDERED)),
    "failed and not checked": (True, _failed_unchecked),
    "another charge": (True, lambda told: told.change(charge=told.job.receipt.charge - 1)),
    "another time": (True, lambda told: told.change(actual_ms=told.job.receipt.actual_ms + 1)),
    "another result": (True, lambda told: told.change(result_hash=ZERO_HASH)),
    "another output": (False, lambda told: told.change(output_commit=ZERO_HASH)),
    "receipt of another": (True, _receipt_of_another),
}
"""By name: whether the batch has receipts, and what is changed in an honest story."""


def _missing(told: FraudStory) -> commitment.Leaf:
    order = told.job.order
    return commitment.missing_leaf(order.client, order.signer, order.index)


def _four_fifths(told: FraudStory) -> int:
    return -(-told.job.details.expected_ms * 80 // 100)


def cases() -> Iterator[Case]:
    """Every change twice, in batches of different sizes."""
    dice = random.Random("evidence")
    for name, (receipted, change) in CHANGES.items():
        for count in (1, 6) if name not in ("stuffed", "receipt of another") else (3, 6):
            told = story(dice, count, receipted=receipted)
            change(told)
            yield _case(name, told)


def _case(name: str, told: FraudStory) -> Case:
    facts, opened, papers = told.told()
    shown = (told.job.details, told.job.receipt, told.job.result, told.job.order)
    prove = interface("FraudProofs").functions["proveFraud"]
    stored = interface("Settlement").functions["batchOf"].outputs
    proof = (facts.node, 0, FraudKind.NONE, facts.contents, [opened], b"")
    return case(
        name=name,
        chain_id=DOMAIN.chain_id,
        verifying_contract=DOMAIN.contract,
        batch=encode([each.kind for each in stored], [_batch(facts)]),
        proof=prove.encode([proof]).removeprefix(prove.selector),
        papers=encode([DETAILS, RECEIPT, RESULT, ORDER], [astuple(each) for each in shown]),
        fraud_kinds=fraud_kinds_in(opened, facts, papers, OPERATOR, OPERATOR, DOMAIN),
    )


def _batch(facts: BatchSubmitted) -> tuple[Any, ...]:
    """The contract's Batch, with zeros in what no proof reads."""
    sums = facts.sums
    counts = (facts.leaf_count, sums.ok_count, sums.failed_count)
    flags = int(facts.unreceipted) | 2 * facts.uncalibrated | 32 * facts.checked
    return (sums.charge, sums.bonus, sums.ms, 0, 0, *counts, 0, facts.timestamp, facts.class_id, 0, 0, flags, bytes(32))
