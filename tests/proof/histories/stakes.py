"""The effect of each call on a node's stake, the owner's and that of others, by the specification."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from tests.proof.histories.rules import ceil_div, slashed, without_a_sign
from tests.proof.histories.state import DAY, Node, Numbers, Refused, require

GRACE_DAYS = 7


@dataclass
class Stakes:
    """Wallets, nodes, and the money without an owner. `time` and `block` are those of the next call."""

    numbers: Numbers
    time: int
    block: int
    wallets: dict[str, int] = field(default_factory=dict)
    nodes: dict[str, Node] = field(default_factory=dict)
    pool: int = 0
    burned: int = 0

    @property
    def today(self) -> int:
        return self.time // DAY

    def score(self, node: str) -> int:
        one = self.nodes[node]
        return one.record.score(one.active, self.numbers.recommended_stake, self.today)

    # ---- in, out, and back in

    def stake(self, sender: str, node: str, amount: int) -> None:
        with self._whole(node) as one:
            require(sender == one.owner, "not the owner")
            self._pay(sender, amount)
            self._before_shares_move(one)
            self._start_days(one)
            one.staked.add(sender, amount)
            self._come_back(one)

    def delegate(self, sender: str, node: str, amount: int) -> None:
        with self._whole(node) as one:
            require(sender != one.owner, "the owner stakes")
            require(amount >= self.numbers.min_deposit, "below the least")
            self._pay(sender, amount)
            self._before_shares_move(one)
            self._join(one, sender, amount)

    def unbond(self, sender: str, node: str, amount: int) -> None:
        with self._whole(node) as one:
            self._before_shares_move(one)
            one.earnings.settle(sender)
            require(0 < amount <= one.staked.worth(sender), "nothing, or more than there is")
            one.staked.take(sender, amount)
            if sender == one.owner and one.staked.of(sender):
                self._require_own_part(one)
            elif sender == one.owner and one.state == "active":
                one.state = "exiting"
            elif one.staked.of(sender):
                require(one.staked.worth(sender) >= self.numbers.min_deposit, "too little would stay")
            one.leaving.add(sender, amount)
            one.unlock_at_s[sender] = self.time + self.numbers.unbonding_seconds

    def rebond(self, sender: str, node: str, amount: int) -> None:
        with self._whole(node) as one:
            self._before_shares_move(one)
            require(0 < amount <= one.leaving.worth(sender), "nothing, or more than there is")
            if sender == one.owner:
                self._start_days(one)
            one.leaving.take(sender, amount)
            if sender == one.owner:
                one.staked.add(sender, amount)
                self._come_back(one)
            else:
                self._join(one, sender, amount)

    def withdraw_stake(self, sender: str, node: str) -> None:
        with self._whole(node) as one:
            amount = one.leaving.worth(sender)
            require(amount > 0 and self.time >= one.unlock_at_s[sender], "nothing, or not yet")
            one.leaving.take(sender, amount)
            self._give(sender, amount)
            if sender == one.owner and one.state == "exiting":
                one.state = "gone"

    # ---- what it earns

    def claim(self, node: str) -> None:
        one = self.nodes[node]
        require(one.rewards > 0, "nothing to claim")
        self._share(one)

    def claim_rewards(self, sender: str, node: str) -> None:
        with self._whole(node) as one:
            self._share(one)
            one.earnings.settle(sender)
            amount = one.earnings.rewards.pop(sender)
            require(amount > 0, "earned nothing")
            one.earnings.kept -= amount
            self._give(sender, amount)

    def announce(self, sender: str, node: str, commission: int) -> None:
        one = self.nodes[node]
        require(sender == one.owner and commission <= 10_000, "not the owner, or more than all")
        one.next_commission, one.commission_at_s = commission, self.time + self.numbers.timelock_seconds

    def confirm(self, node: str) -> None:
        """Earnings until now are shared on the terms until now."""
        one = self.nodes[node]
        require(0 < one.commission_at_s <= self.time, "nothing announced, or not yet")
        self._share(one)
        one.commission, one.next_commission, one.commission_at_s = one.next_commission, 0, 0

    def call_off(self, sender: str, node: str) -> None:
        one = self.nodes[node]
        require(sender == one.owner and one.commission_at_s > 0, "not the owner, or nothing announced")
        one.next_commission, one.commission_at_s = 0, 0

    def announce_payout(self, sender: str, node: str, payout: str) -> None:
        one = self.nodes[node]
        require(sender == one.owner, "not the owner")
        one.next_payout, one.payout_at_s = payout, self.time + self.numbers.timelock_seconds

    def confirm_payout(self, node: str) -> None:
        """Earnings until now belong to the old payout address."""
        one = self.nodes[node]
        require(0 < one.payout_at_s <= self.time, "nothing announced, or not yet")
        self._share(one)
        one.payout, one.next_payout, one.payout_at_s = one.next_payout, "", 0

    def call_payout_off(self, sender: str, node: str) -> None:
        one = self.nodes[node]
        require(sender in {one.owner, one.payout} and one.payout_at_s > 0, "not theirs, or nothing announced")
        one.next_payout, one.payout_at_s = "", 0

    # ---- signs, and jail

    def check_in(self, sender: str, node: str) -> None:
        require(sender == node, "not the operator")
        require(self.today not in self.nodes[node].record.seen, "once a day")
        self._see(self.nodes[node])

    def penalize_offline(self, node: str) -> None:
        require(self._charge_absence(self.nodes[node]) > 0, "it was there")

    def unjail(self, sender: str, node: str) -> None:
        one = self.nodes[node]
        require(sender == one.owner, "not the owner")
        require(one.state == "jailed" and self.time >= one.jailed_until_s, "not jailed, or still")
        self._require_own_part(one)
        require(one.open_batches == 0, "open batches")
        one.state, one.jailed_until_s = "active", 0
        one.record.probation = 20

    # ---- what others may do to it

    def _slash(self, one: Node, bps: int) -> None:
        """Of everybody's, active and unbonding. A tenth of what is lost goes to the pool, the rest is burned."""
        lost = one.staked.lower(slashed(one.active, bps)) + one.leaving.lower(slashed(one.unbonding, bps))
        self.pool += lost // 10
        self.burned += lost - lost // 10

    def _see(self, one: Node) -> None:
        """A sign of the day. Days before it that were not charged are charged now."""
        if self.today not in one.record.seen:
            self._charge_absence(one)
        one.record.see(self.today)

    def _charge_absence(self, one: Node) -> int:
        """For each day but the first week a hundredth, burned. An owner without own stake owes no sign."""
        missed = self.today - one.record.last_day - GRACE_DAYS
        if missed <= 0 or one.state not in {"active", "jailed"} or not one.staked.of(one.owner):
            return 0
        lost = one.staked.lower(one.active - without_a_sign(one.active, missed))
        one.record.last_day = self.today - GRACE_DAYS
        self.burned += lost
        return lost

    # ---- inside

    @contextmanager
    def _whole(self, node: str) -> Iterator[Node]:
        """All of a call or nothing of it."""
        saved = copy.deepcopy(self.nodes[node]), dict(self.wallets), self.burned
        try:
            yield self.nodes[node]
        except Refused:
            self.nodes[node], self.wallets, self.burned = saved
            raise

    def _pay(self, who: str, amount: int) -> None:
        require(0 < amount <= self.wallets.get(who, 0), "nothing, or more than the wallet holds")
        self.wallets[who] -= amount

    def _give(self, who: str, amount: int) -> None:
        self.wallets[who] = self.wallets.get(who, 0) + amount

    def _before_shares_move(self, one: Node) -> None:
        """Earnings and losses belong to the holders of the shares now."""
        self._charge_absence(one)
        if one.staked.others(one.owner):
            self._share(one)

    def _share(self, one: Node) -> None:
        others = one.for_others()
        self._give(one.payout, one.rewards - others)
        one.earnings.share(others, one.owner, one.staked)
        one.rewards = 0

    def _join(self, one: Node, who: str, amount: int) -> None:
        self._share(one)
        one.earnings.settle(who)
        require(one.state == "active", "takes no stake")
        one.staked.add(who, amount)
        self._require_own_part(one)

    def _come_back(self, one: Node) -> None:
        if one.state in {"exiting", "gone"}:
            self._require_own_part(one)
            one.state = "active"
            one.record.probation = 20

    def _start_days(self, one: Node) -> None:
        """An owner who had left owes no sign for the days in between."""
        if not one.staked.of(one.owner):
            one.record.last_day = self.today

    def _require_own_part(self, one: Node) -> None:
        least = max(self.numbers.min_stake, ceil_div(one.active, 10))
        require(one.own >= least, "the owner keeps the least stake, and a tenth")
