"""Stake as the specification has it: pools of shares, and what the stake of others earns.

No share is ever worth more than a wei. The mover bears the rounding; a slash is rounded up and reaches every share.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from tests.proof.histories.rules import ceil_div

PARTS = 2**96
"""Earnings of a share are counted in this part of a wei."""
_SPENT = 2**22


@dataclass
class Pool:
    """The stake on a node, or leaving it. `held`: the shares of each holder."""

    total: int = 0
    held: dict[str, int] = field(default_factory=dict)

    @property
    def shares(self) -> int:
        return sum(self.held.values())

    def of(self, who: str) -> int:
        return self.held.get(who, 0)

    def worth(self, who: str) -> int:
        return self.total * self.of(who) // self.shares if self.held else 0

    def others(self, owner: str) -> int:
        """Shares that are not the owner's."""
        return self.shares - self.of(owner)

    def add(self, who: str, amount: int) -> None:
        """The first share of a pool costs a wei."""
        minted = amount * self.shares // self.total if self.total and self.held else amount
        self.held[who] = self.of(who) + minted
        self.total += amount

    def take(self, who: str, amount: int) -> None:
        """At most what `who` has there, and all of its shares for all of that."""
        gone = self.of(who) if amount == self.worth(who) else ceil_div(amount * self.shares, self.total)
        self.held[who] -= gone
        if not self.held[who]:
            del self.held[who]
        self.total -= amount

    def lower(self, amount: int) -> int:
        """Everybody's shares lose alike. A pool of which next to nothing is left ends, with its shares.

        Returns: what was taken.
        """
        if (self.total - amount) * _SPENT < self.shares:
            amount = self.total
            self.held.clear()
        self.total -= amount
        return amount


@dataclass
class Earnings:
    """The earnings of stakers other than the owner: `due` in parts of a wei since they last moved; `rewards` in wei;
    `kept`, what is there for all of them.
    """

    due: dict[str, int] = field(default_factory=dict)
    rewards: dict[str, int] = field(default_factory=dict)
    kept: int = 0

    def share(self, amount: int, owner: str, pool: Pool) -> None:
        """`amount` is for the shares of others, each of which gets the same."""
        self.kept += amount
        for who, part in self._parts(amount, owner, pool).items():
            self.due[who] = self.due.get(who, 0) + part

    def of(self, who: str, amount: int, owner: str, pool: Pool) -> int:
        """The part of `who` once `amount` more is shared."""
        due = self.due.get(who, 0) + self._parts(amount, owner, pool).get(who, 0)
        return self.rewards.get(who, 0) + due // PARTS

    def settle(self, who: str) -> None:
        """Before `who` has other shares than before. Parts of a wei are lost."""
        self.rewards[who] = self.rewards.get(who, 0) + self.due.pop(who, 0) // PARTS

    @staticmethod
    def _parts(amount: int, owner: str, pool: Pool) -> dict[str, int]:
        if not amount:
            return {}
        each = amount * PARTS // pool.others(owner)
        return {who: shares * each for who, shares in pool.held.items() if who != owner}
