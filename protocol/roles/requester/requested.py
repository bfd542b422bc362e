"""A request of this node's user, and where it stands."""

from dataclasses import dataclass, field

from protocol.events import JobAsked, LaneSeen
from protocol.job import TERMINAL, JobState, Stage, move
from protocol.stages.assignment import Assignment, JobDetails, SignedAccept, order_total, verify_fee
from protocol.stages.commitment import ResultDelivery, SignedReceipt, debit_of
from protocol.stages.offer import SignedOffer
from protocol.stages.request import SignedRequest
from protocol.stages.stop_order import SignedStopOrder
from protocol.stages.token_rules import milli_of
from protocol.timers import RoundTimer
from protocol.wire.envelope import struct_hash
from protocol.wire.ids import Address, BatchId, JobId, PeerId, RequestId, TimestampMs, Wei, address_bytes


@dataclass(frozen=True, slots=True)
class Attempt:
    """An order that was given up: whose it was, and its number in the lane."""

    peer_id: PeerId
    node: Address
    index: int


@dataclass(frozen=True, slots=True)
class SignedOrder:
    """The assignment of an attempt, as our signer signed it."""

    assignment: Assignment
    signature: bytes


@dataclass(slots=True)
class RequestedJob:
    """One request of ours and the attempt that it is at."""

    ask: JobAsked
    asked_ms: TimestampMs
    stage: Stage = Stage.REQUESTED
    signed: SignedRequest | None = None
    request_id: RequestId | None = None
    round: int = 0
    called: bool = False
    """Whether this round's call for offers went out, or has its turn."""
    offers: dict[Address, tuple[SignedOffer, PeerId]] = field(default_factory=dict)
    tried: set[Address] = field(default_factory=set)
    attempt: int = 0
    given_up: dict[JobId, Attempt] = field(default_factory=dict)
    """Attempts that another one took the place of."""
    late_cost: Wei = Wei(0)
    """The cost of attempts given up: their nodes worked before they heard of it."""
    check_cost: Wei = Wei(0)
    """The cost of an ordered check that ended in doubt; all else came back."""
    chosen: SignedOffer | None = None
    peer_id: PeerId | None = None
    details: JobDetails | None = None
    sealed_key: bytes = b""
    order: SignedOrder | None = None
    promise: SignedAccept | None = None
    job_id: JobId | None = None
    index: int = 0
    cumulative: int = 0
    """The wei that its order claims of the lane, with all orders before it."""
    accepted_ms: TimestampMs | None = None
    heard_ms: TimestampMs = TimestampMs(0)
    """When the node was last heard, or asked; not in the journal, so nothing but a question may rest on it."""
    dead_block: int = 0
    """A block by when this attempt's order could be settled no more; not in the journal, so found again."""
    delivery: ResultDelivery | None = None
    receipt: SignedReceipt | None = None
    stop_asked: bool = False
    """Whether its user wants no more of it: no other node is hired."""
    stop_order: SignedStopOrder | None = None
    """Signed for this attempt; its node may deliver a short answer."""
    new_tokens: int = 0
    finish: str = ""
    charge: Wei = Wei(0)
    bonus: Wei = Wei(0)
    batch_id: BatchId | None = None
    position: int = 0
    reason: str = ""
    next_step_ms: int | None = None
    history: list[tuple[Stage, TimestampMs]] = field(default_factory=list)

    @property
    def is_unassigned(self) -> bool:
        """Whether no provider has its order yet."""
        return self.stage in (Stage.REQUESTED, Stage.OFFERED)

    @property
    def is_open(self) -> bool:
        """Whether it looks for a node."""
        return self.is_unassigned and self.chosen is None

    @property
    def node(self) -> Address | None:
        """The node that this attempt is with."""
        return self.chosen.offer.node_id if self.chosen else None

    def offer_of(self, node: Address) -> SignedOffer | None:
        """The offers of nodes for this attempt."""
        found = self.offers.get(node)
        return found[0] if found else None

    def is_offer_over(self, now_ms: TimestampMs) -> bool:
        """Whether the node that was chosen would refuse an order for its offer by now."""
        return self.chosen is not None and self.chosen.offer.valid_until * 1000 <= now_ms

    def waits_for(self, about: bytes) -> bool:
        """Whether an effect on the way to this attempt's order is about this; see `effects.about`."""
        if self.job_id is not None or not self.is_unassigned:
            return False
        if self.signed is None:
            return about == self.ask.nonce.to_bytes(8, "big")
        if self.details is not None:
            return about == struct_hash(self.details)
        return self.node is not None and about in (self.ask.input_cid, address_bytes(self.node))

    @property
    def bill(self) -> Wei:
        """The debt of its lanes for it, once a receipt is signed: charge, fee and bonus; and late attempts."""
        is_free = self.stage in (Stage.UNSERVED, Stage.REFUNDED)
        return Wei((self.check_cost if is_free else self.own_bill) + self.late_cost)

    @property
    def own_bill(self) -> Wei:
        """The cost of this attempt by its receipt; 0 without one."""
        return Wei(debit_of(self.charge, self.bonus, checked=self.ask.checked) if self.receipt else 0)

    def end_unserved(self, reason: str, now_ms: TimestampMs) -> None:
        """No provider will do it."""
        self.reason, self.next_step_ms = reason, None
        if self.stage not in TERMINAL:
            self.stage = Stage.UNSERVED
            self.history.append((Stage.UNSERVED, now_ms))

    def end_reclaimed(self, fact: LaneSeen, now_ms: TimestampMs) -> None:
        """Its node never brought it on chain, and can no more: the lane's money is back with the client."""
        if self.stage is Stage.DELIVERED:
            move(self, fact, Stage.REFUNDED, now_ms)
            self.charge = self.bonus = Wei(0)
            self.reason = "the lane was reclaimed before its node brought the job on chain"

    def start_over(self) -> None:
        """Give the last attempt up; the nodes that were tried are remembered."""
        if self.job_id is not None and self.peer_id is not None:
            assert self.node is not None
            self.given_up[self.job_id] = Attempt(self.peer_id, self.node, self.index)
        self.chosen = self.peer_id = self.details = self.job_id = self.accepted_ms = self.delivery = None
        self.order = self.promise = self.stop_order = None
        self.offers.clear()
        self.round = self.new_tokens = self.dead_block = 0
        self.stage = Stage.REQUESTED

    @property
    def at_round(self) -> tuple[bytes, int, int]:
        """The name of this round of offers in its timers."""
        return self.ask.ask_id, self.attempt, self.round

    def awaits(self, timer: RoundTimer) -> bool:
        """Whether a timer belongs to the round of offers that it is at."""
        return self.is_open and (timer.ask_id, timer.attempt, timer.round) == self.at_round

    def view(self, client: Address | None) -> JobState:
        """As it is shown."""
        price = Wei(self.chosen.offer.price if self.chosen else 0)
        return JobState(
            request_id=self.request_id,
            job_id=self.job_id,
            ask_id=self.ask.ask_id,
            stage=self.stage,
            node=self.node,
            client=client,
            manifest=self.ask.manifest,
            input_cid=self.ask.input_cid,
            kind=self.ask.kind,
            max_new_tokens=self.ask.max_new_tokens,
            temperature=milli_of(self.ask.temperature),
            new_tokens=self.new_tokens,
            finish=self.finish,
            checked=self.ask.checked,
            max_price=Wei(self.ask.max_price),
            price=price,
            most=Wei(order_total(price, with_bonus=self.ask.with_bonus, checked=self.ask.checked) if price else 0),
            charge=self.charge,
            fee=Wei(verify_fee(self.charge, checked=self.ask.checked) if self.charge else self.check_cost),
            bonus=self.bonus,
            debit=self.bill,
            attempt=self.attempt,
            batch_id=self.batch_id,
            position=self.position if self.batch_id else None,
            reason=self.reason,
            asked_ms=self.asked_ms,
            history=tuple(self.history),
            next_step_ms=None if self.stage in TERMINAL else self.next_step_ms,
        )
