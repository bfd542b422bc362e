"""The penalties of a node: every slash, jail, penalty and change of its rate, with the event and the case behind it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from chain.contracts.network import Network
from chain.contracts.settlement import Book
from chain.contracts.stakes import StakedNode
from chain.read.batch_history import BatchHistory, read_batch_history
from chain.read.reputation import Cause, Change, read_record
from protocol.judging.fraud_proofs import FraudKind
from protocol.params import BPS
from protocol.wire.ids import Address, BatchId, Hash32, Wei

FAILURES_ALERT = 10
"""Failed ones of the last fifty jobs, above which half of them are drawn."""
RATE_FAILING_BPS = 5_000
RATE_COMMON_BPS = 1_000
MOST_CASES = 24
"""The newest cases whose scores are read: each takes a dozen questions to the endpoint."""


@dataclass(frozen=True, slots=True)
class Penalty:
    """A change that hurt, or that changed what share of the node's work is checked.

    rate_before, rate_after: in basis points. burned and pooled: where what it lost went, in wei. jailed_until: in
    seconds, 0 if it was not. days: for which it was charged. fraud_kind: what code has proved.
    sat: whether the node sat in the case, so that an audit was about its seat; else it was an auditor.
    history: the batch and its case, None for older ones and where there is none.
    """

    change: Change
    rate_before: int
    rate_after: int
    burned: Wei = Wei(0)
    pooled: Wei = Wei(0)
    jailed_until_s: int = 0
    days: int = 0
    fraud_kind: FraudKind = FraudKind.NONE
    sat: bool = False
    history: BatchHistory | None = None


@dataclass(frozen=True, slots=True)
class Penalties:
    """A node as it stands, `now` in seconds, and all that has hurt it, oldest first."""

    node_id: Address
    node: StakedNode
    book: Book
    now: int
    penalties: tuple[Penalty, ...]


async def read_penalties(network: Network, node_id: Address, first: int) -> Penalties | None:
    """Everything that was held against a node; None if it is not registered.

    Args: first, a block before the node was registered.
    Raises: ChainError.
    """
    block = await network.ethereum.block()
    (node,) = await network.stakes.nodes_of([node_id], block.number)
    if node is None:
        return None
    told = _Told(network, node_id, first, block.number)
    await told.read()
    changes = await read_record(network, node_id, first, block.number)
    penalties = told.penalties(changes)
    penalties = [*penalties[:-MOST_CASES], *[await told.with_case(penalty) for penalty in penalties[-MOST_CASES:]]]
    return Penalties(node_id, node, await network.settlement.book_of(node_id), block.timestamp, tuple(penalties))


def rate_of(samples_left: int, recent_failures: int) -> int:
    """The share of a node's leaves that is drawn, in basis points; twin of ReputationLib."""
    if samples_left:
        return BPS
    return RATE_FAILING_BPS if recent_failures > FAILURES_ALERT else RATE_COMMON_BPS


class _Told:
    """Facts of the logs beside the record, by their transactions."""

    def __init__(self, network: Network, node_id: Address, first: int, last: int) -> None:
        self._network, self._node, self._first, self._last = network, node_id, first, last
        self._slashes: dict[Hash32, tuple[int, int]] = {}
        self._jails: dict[Hash32, int] = {}
        self._days: dict[Hash32, int] = {}
        self._fraud_kinds: dict[Hash32, FraudKind] = {}

    async def read(self) -> None:
        """Raises: ChainError."""
        span = self._first, self._last
        for entry in await self._network.stakes.entries(
            ("Slashed", "Jailed", "OfflinePenalized"), *span, id=self._node
        ):
            at = entry.log.transaction
            match entry.event, entry.values:
                case "Slashed", (*_, burned, pooled):
                    before = self._slashes.get(at, (0, 0))
                    self._slashes[at] = (before[0] + burned, before[1] + pooled)
                case "Jailed", (_, _, until):
                    self._jails[at] = until
                case "OfflinePenalized", (_, days, _):
                    self._days[at] = days
        for entry in await self._network.fraud_proofs.entries("FraudProven", *span, node=self._node):
            self._fraud_kinds[entry.log.transaction] = FraudKind(entry.values[3])

    def penalties(self, changes: Sequence[Change]) -> list[Penalty]:
        """Changes that hurt, or that moved the rate. A node begins on probation."""
        rate, failures, found = BPS, 0, []
        for change in changes:
            before = rate
            failures = failures if change.recent_failures is None else change.recent_failures
            if change.samples_left is not None:
                rate = rate_of(change.samples_left, failures)
            hurts = change.penalty_tenths > 0 or change.lost > 0 or change.lost_wei > 0
            if hurts or rate != before or change.cause is Cause.RELEASE:
                found.append(self._penalty(change, before, rate))
        return found

    def _penalty(self, change: Change, before: int, after: int) -> Penalty:
        at = change.transaction
        burned, pooled = self._slashes.get(at, (0, 0))
        if change.cause is Cause.ABSENCE:
            burned = change.lost_wei
        own = change.cause is Cause.CASE
        return Penalty(
            change=change,
            rate_before=before,
            rate_after=after,
            burned=Wei(burned),
            pooled=Wei(pooled),
            jailed_until_s=self._jails.get(at, 0) if own else 0,
            days=self._days.get(at, 0),
            fraud_kind=self._fraud_kinds.get(at, FraudKind.NONE) if own else FraudKind.NONE,
        )

    async def with_case(self, penalty: Penalty) -> Penalty:
        """With the case behind it. Raises: ChainError."""
        change = penalty.change
        if change.batch_id is None or change.cause is Cause.BATCH:
            return penalty
        history = await read_batch_history(
            self._network, BatchId(change.batch_id), self._first, self._last, whole=False
        )
        seats = history.case.seats if history and history.case else ()
        return replace(penalty, history=history, sat=any(seat.node == self._node for seat in seats))
