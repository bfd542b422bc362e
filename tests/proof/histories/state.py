"""The specification's state of lanes, nodes, batches and cases."""

from __future__ import annotations

from dataclasses import dataclass, field

from eth_utils.crypto import keccak

from tests.proof.histories.pools import Earnings, Pool
from tests.proof.histories.rules import Record, word_of

DAY = 86_400


class Refused(Exception):
    """The call must fail; why, in words for a person."""


def require(holds: bool, why: str) -> None:
    if not holds:
        raise Refused(why)


@dataclass
class Lane:
    left: int = 0
    mark: int = 0
    jobs: int = 0
    close_at: int = 0
    reclaimed: bool = False


@dataclass
class Node:
    """`unlock_at_s`: when each of those who have stake in `leaving` may withdraw it."""

    owner: str
    payout: str
    record: Record
    staked: Pool
    classes: int
    leaving: Pool = field(default_factory=Pool)
    unlock_at_s: dict[str, int] = field(default_factory=dict)
    earnings: Earnings = field(default_factory=Earnings)
    commission: int = 1_000
    next_commission: int = 0
    commission_at_s: int = 0
    next_payout: str = ""
    payout_at_s: int = 0
    state: str = "active"
    jailed_until_s: int = 0
    rewards: int = 0
    open_value: int = 0
    open_batches: int = 0

    @property
    def active(self) -> int:
        return self.staked.total

    @property
    def unbonding(self) -> int:
        return self.leaving.total

    @property
    def own(self) -> int:
        """The owner's part of the active stake; what the node may owe rests on it alone."""
        return self.staked.worth(self.owner)

    def for_others(self) -> int:
        """Of the rewards, what those who stake on somebody else's node get; the rounding is the payout's."""
        others = self.staked.others(self.owner)
        return self.rewards * (10_000 - self.commission) * others // (10_000 * self.staked.shares) if others else 0


@dataclass
class Claim:
    """`signed`: by whom; the order is worth nothing unless that is the signer."""

    client: str
    signer: str
    index: int
    cumulative: int
    charge: int
    bonus: int
    signed: str


@dataclass(frozen=True)
class Debit:
    """The debit of a batch on one lane for so many leaves; `index`: the number of the last of these jobs."""

    client: str
    signer: str
    leaves: int
    amount: int
    index: int


@dataclass
class Batch:
    node: str
    slot: int
    class_id: int
    price: int
    fee: int
    bonus: int
    leaves: int
    ok: int
    failed: int
    ms: int
    score: int
    rate: int
    block: int
    time: int
    root: bytes
    max_leaf: int
    debits: list[Debit]
    uncalibrated: bool
    checked: bool
    fee_kept: bool = False
    """Whether its clients pay for a check that ended in doubt."""
    state: str = "pending"
    owed: int = 0
    """The pay of its node, at its end, for having convened it."""

    @property
    def id(self) -> bytes:
        return bytes(keccak(word_of(self.node) + word_of(self.slot) + word_of(self.block)))

    @property
    def value(self) -> int:
        return self.price + self.fee + self.bonus

    def kept_of(self, debit: Debit) -> int:
        """The part of a debit that is not given back: its share of the fee."""
        return debit.amount * self.fee // self.value if self.fee_kept and self.fee else 0


@dataclass
class Seat:
    node: str
    since: int
    state: str = "drawn"
    score: int = 0
    llr_millinats: int = 0
    """The ratio that it tells."""


@dataclass
class Case:
    batch: Batch
    drawn: list[int]
    seats: list[Seat]
    next_try: int
    verdict: str = ""
    state: str = "open"
    round: int = 0
    first_seat: int = 0
    """Of the present round."""
    standing: str = ""
    """The finding of the first round, once a second one or an appeal may follow."""
    since: int = 0
    accuses: bool = False
    """Three seats found fraud, and an appeal may still come or is heard."""
    appellant: str = ""
    bond: int = 0
    convener_share: int = 0
    alarms: int = 0
    """Rounds that found too much in the margins."""
    asked_at: int = 0
    """When a seat asked for data on chain, which happens once."""
    answered_at_s: int = 0

    def pay(self) -> int:
        """For the convening account and the seats: the fees of what was drawn, over the rate at which it was drawn."""
        return self.batch.fee * len(self.drawn) * 100 // (self.batch.leaves * self.batch.rate)

    def revealed(self, first: int = 0) -> list[Seat]:
        return [each for each in self.seats[first:] if each.state == "revealed"]


@dataclass
class Arbiters:
    """How each of them has voted, by case; a panel that follows another one counts from nothing."""

    names: tuple[str, ...] = ()
    quorum: int = 0
    votes: dict[bytes, dict[str, bool]] = field(default_factory=dict)


@dataclass(frozen=True)
class Numbers:
    """The profile, by the names of its file."""

    epoch_blocks: int
    lag_blocks: int
    seat_seconds: int
    challenge_seconds: int
    starved_seconds: int
    appeal_seconds: int
    data_seconds: int
    arbiter_seconds: int
    timelock_seconds: int
    lane_close_seconds: int
    unbonding_seconds: int
    jail_seconds: int
    min_stake: int
    recommended_stake: int
    min_deposit: int
    min_burn: int
    court_value: int
    slash_bps: int
