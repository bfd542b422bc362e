"""The formulas of the specification, written from its text: money, record, draws. All amounts in wei, all integers."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field

from eth_utils.crypto import keccak

# ---- money


def ceil_div(a: int, b: int) -> int:
    return -(-a // b)


def verify_fee(charge: int, *, checked: bool) -> int:
    """On top of a claim's charges 5%, or half where its clients pay to have every job checked; rounded up."""
    return ceil_div(charge, 2 if checked else 20)


def split(price: int, score: int) -> tuple[int, int, int]:
    """A tenth is burned; half of the rest and, by the score, the other half are the node's; what remains is pooled."""
    burned = ceil_div(price, 10)
    reward = (price - burned) * (10_000 + score) // 20_000
    return burned, reward, price - burned - reward


def slashed(total: int, bps: int) -> int:
    """Rounded against the node."""
    return ceil_div(total * bps, 10_000)


def without_a_sign(total: int, days: int) -> int:
    """The rest after days that cost a hundredth each: rounded down, and a wei less where that is even."""
    return ceil_div(total * 99**days, 100**days) - 1


# ---- record


@dataclass
class Record:
    """The parts of a score. `last`: the last fifty leaves or lost cases, True where one failed."""

    day: int
    good: int = 0
    total: int = 0
    ms: int = 0
    days_seen: int = 0
    penalty: int = 0
    """Tenths of a point."""
    probation: int = 20
    last: list[bool] = field(default_factory=list)
    counted: dict[int, int] = field(default_factory=dict)
    seen: set[int] = field(default_factory=set)
    last_day: int = 0
    """That of the last sign, or from which on signs are due."""

    def __post_init__(self) -> None:
        self.last_day = self.last_day or self.day

    def see(self, today: int) -> None:
        """The node was there today; who was not for 48 hours starts on probation again."""
        if today in self.seen:
            return
        if today - self.last_day >= 3:
            self.probation = 20
        self.seen.add(today)
        self.days_seen += 1
        self.last_day = today

    def score(self, stake: int, recommended: int, today: int) -> int:
        """Hundredths of a point."""
        points = 5_000 * (self.good + 10) // (self.total + 20)
        mean_ms = (self.ms + 20 * 60_000) // (self.total + 20)
        points += 2_000 * 60_000 // (60_000 + mean_ms)
        points += 2_000 * self.days_seen // (today - self.day + 7)
        points += 1_000 * min(stake, recommended) // recommended
        return max(0, min(10_000, points - 10 * self.penalty))

    def rate_percent(self) -> int:
        """The share of leaves that is drawn."""
        if self.probation:
            return 100
        return 50 if sum(self.last) > 10 else 10

    def settle(self, ok: int, failed: int, burned: int, ms: int, min_burn: int, today: int) -> None:
        """A batch became final: at most twenty good jobs a day count, and only as many as burned their share."""
        counts = min(ok, burned // min_burn, 20 - self.counted.get(today, 0))
        if counts:
            self.counted[today] = self.counted.get(today, 0) + counts
            self.good += counts
            self.total += counts
            self.ms += ms * counts // ok
            self.penalty = max(0, self.penalty - counts)
            self.probation = max(0, self.probation - counts)
        self._remember(ok, failed)

    def punish(self, tenths: int, *, lost: bool) -> None:
        self.penalty = min(1_000, self.penalty + tenths)
        if lost:
            self.total += 1
            self.probation = 20
            self._remember(0, 1)

    def _remember(self, ok: int, failed: int) -> None:
        leaves = ok + failed
        if leaves >= 50:
            bad = ceil_div(50 * failed, leaves)
            self.last = [False] * (50 - bad) + [True] * bad
        else:
            self.last = (self.last + [False] * ok + [True] * failed)[-50:]


# ---- draws


def word(data: bytes) -> int:
    return int.from_bytes(data, "big")


def word_of(value: int | str) -> bytes:
    """An unsigned number or an address as the ABI has it; eth_abi takes fifty times as long."""
    return value.to_bytes(32, "big") if isinstance(value, int) else bytes(12) + bytes.fromhex(value[2:])


def drawn_leaves(seed: bytes, leaves: int, rate_percent: int) -> list[int]:
    """One of every stratum; a last, partial stratum is hit with the probability of its share."""
    size = 100 // rate_percent
    picks = (stratum * size + word(keccak(seed + word_of(stratum))) % size for stratum in range(ceil_div(leaves, size)))
    return [pick for pick in picks if pick < leaves]


ALARM = 21_417
"""ln(10^5 cases x 2 x 10^4), in thousandths of a nat."""
HEAD = 11_512
"""ln(10^5): where sums begin."""
STAYS = (1 << 40) - 1


@dataclass(frozen=True)
class Place:
    """A verifier on the list of its class."""

    node: str
    since_block: int
    weight: int
    until_block: int = STAYS


def drawn_seats(
    places: Sequence[Place],
    seed: bytes,
    batch_id: bytes,
    commit_block: int,
    first_try: int,
    wanted: int,
    seated: Collection[str],
    is_party: Callable[[str], bool],
) -> tuple[list[str], int]:
    """The next seats of a batch's order, and where the order goes on. At most 64 tries a seat."""
    active = [place for place in places if place.since_block < commit_block]
    found: list[str] = []
    at = first_try
    while active and len(found) < wanted and at < first_try + 64 * wanted:
        x = word(keccak(seed + batch_id + word_of(0) + word_of(at)))
        place = active[(x & (1 << 64) - 1) % len(active)]
        at += 1
        if (x >> 64 & (1 << 64) - 1) % 10_000 >= place.weight or place.until_block < commit_block:
            continue
        if place.node not in seated and place.node not in found and not is_party(place.node):
            found.append(place.node)
    return found, at


def weighed(total: int, llr_millinats: int) -> int:
    """A sum of what margins say after one more case: from 0 to the alarm, and no more than a quarter of it at once."""
    return max(0, min(ALARM, total + min(llr_millinats, ceil_div(ALARM, 4))))
