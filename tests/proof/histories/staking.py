"""Random acts of owners and of delegators."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from tests.proof.histories.scene import VCN, Look, address, look
from tests.proof.histories.table import PROVIDERS, STAKERS, Table

VERIFIERS = tuple(f"verifier {number}" for number in range(6))
Told = Callable[[], None]


class StakeMoves(Table):
    """Owners, and those who stake on nodes of others."""

    def owner_moves(self) -> None:
        node = address(self.dice.choice(PROVIDERS))
        one = self.ledger.nodes[node]
        owner = self._mostly(one.owner, node)
        moves = self._moves(owner, node)
        more = self._mostly(self._amount(), 0)
        moves["stake"] = [node, more], lambda: self.ledger.stake(owner, node, more)
        moves["unjail"] = [node], lambda: self.ledger.unjail(owner, node)
        name = self._chosen(owner, node, ["stake", *(["unjail"] * 3 if one.state == "jailed" else ["unbond"])], moves)
        if name == "unjail" and not self._rarely():
            self.ledger.time = max(self.ledger.time, one.jailed_until_s)
        self._move(owner, node, name, *moves[name])

    def staker_moves(self) -> None:
        staker = address(self.dice.choice(STAKERS))
        there = [id_ for id_, one in self.ledger.nodes.items() if one.staked.of(staker) or one.leaving.of(staker)]
        node = self.dice.choice(there) if there and self.dice.random() < 0.7 else self._node()
        if rich := [id_ for id_ in there if self._earned(staker, id_)]:
            node = self._mostly(self.dice.choice(rich), node, node)
        one = self.ledger.nodes[node]
        moves = self._moves(staker, node)
        least, others = self.ledger.numbers.min_deposit, one.active - one.own
        room = max(least, min(9 * one.own - others, self.ledger.wallets[staker]))
        more = self._mostly(self.dice.choice([self._amount(), least, room]), least - 1, room + 1)
        who = self._mostly(staker, one.owner)
        moves["claimRewards"] = [node], lambda: self.ledger.claim_rewards(staker, node)
        moves["delegate"] = [node, more], lambda: self.ledger.delegate(who, node, more)
        earned = ["claimRewards"] if self._earned(staker, node) else []
        name = self._chosen(staker, node, ["delegate", *earned, *earned], moves)
        self._move(who if name == "delegate" else staker, node, name, *moves[name])

    def _chosen(self, who: str, node: str, others: Sequence[str], moves: dict[str, Any]) -> str:
        """Mostly something that can be done: one of the others, or with what there is."""
        one = self.ledger.nodes[node]
        is_rich = self.ledger.wallets.get(who, 0) >= self.ledger.numbers.min_deposit
        can = [*others] if is_rich or self._rarely() else [*others[1:]]
        if one.staked.worth(who):
            can.append("unbond")
        if one.leaving.worth(who):
            can += ["rebond", "withdraw"]
        return str(self._mostly(self.dice.choice(can or others), *moves))

    def _earned(self, staker: str, node: str) -> int:
        one = self.ledger.nodes[node]
        return one.earnings.of(staker, one.for_others(), one.owner, one.staked)

    def _moves(self, who: str, node: str) -> dict[str, tuple[list[Any], Told]]:
        """Acts that owners and others share."""
        one, least = self.ledger.nodes[node], self.ledger.numbers.min_stake
        has, leaves = one.staked.worth(who), one.leaving.worth(who)
        out = self.dice.choice([self._amount(), has // 2, max(0, has - least), has + 1, 1, self._amount() % (has + 1)])
        if who != one.owner or self._rarely():
            out = self.dice.choice([out, has])
        back = self.dice.choice([leaves, leaves, leaves + 1, leaves // 2, leaves - 1 if leaves else 0, 1])
        return {
            "unbond": ([node, out], lambda: self.ledger.unbond(who, node, out)),
            "rebond": ([node, back], lambda: self.ledger.rebond(who, node, back)),
            "withdraw": ([node], lambda: self.ledger.withdraw_stake(who, node)),
        }

    def _move(self, who: str, node: str, name: str, arguments: Sequence[Any], told: Told) -> None:
        if name == "withdraw" and self.dice.random() < 0.7:
            until = self.ledger.nodes[node].unlock_at_s.get(who, 0)
            self.ledger.time = max(self.ledger.time, self._mostly(until, until - 1, until - 1))
        self.do(who, "StakeManager", name, arguments, told, lambda: self._stake_looks(who, node))

    def _stake_looks(self, who: str, node: str) -> Sequence[Look]:
        wallets = dict.fromkeys([who, self.ledger.nodes[node].payout])
        return (
            *self.node(node),
            *self.holdings(node),
            *(look("VCoin", "balanceOf", each, value=self.ledger.wallets.get(each, 0)) for each in wallets),
        )

    def terms(self) -> None:
        """Commission and payout: announced, called off, in force once TIMELOCK is over."""
        if self.dice.random() < 0.5:
            return self._payout()
        announced = [node for node, one in self.ledger.nodes.items() if one.commission_at_s]
        if not announced or self.dice.random() < 0.25:
            return self._announce()
        node = self.dice.choice(announced)
        one = self.ledger.nodes[node]
        if self.dice.random() < 0.4:
            owner = self._mostly(one.owner, address("thief"))
            arguments, told = [node], lambda: self.ledger.call_off(owner, node)
            return self._move(owner, node, "cancelCommission", arguments, told)
        if not self._rarely():
            self.ledger.time = max(self.ledger.time, one.commission_at_s)
        return self._move(address("thief"), node, "confirmCommission", [node], lambda: self.ledger.confirm(node))

    def _payout(self) -> None:
        announced = [node for node, one in self.ledger.nodes.items() if one.payout_at_s]
        node = self.dice.choice(announced) if announced and not self._rarely() else self._node()
        one = self.ledger.nodes[node]
        who = self._mostly(self.dice.choice([one.owner, one.owner, one.payout]), address("thief"))
        if not one.payout_at_s or self.dice.random() < 0.2:
            payout = address(f"payout {self.dice.randrange(3)}")
            told: Told = lambda: self.ledger.announce_payout(who, node, payout)  # noqa: E731
            return self._move(who, node, "setPayout", [node, payout], told)
        if self.dice.random() < 0.4:
            return self._move(who, node, "cancelPayout", [node], lambda: self.ledger.call_payout_off(who, node))
        if not self._rarely():
            self.ledger.time = max(self.ledger.time, one.payout_at_s)
        return self._move(who, node, "confirmPayout", [node], lambda: self.ledger.confirm_payout(node))

    def _announce(self) -> None:
        node = self._node()
        commission = self.dice.choice([0, 500, 3_333, 10_000, 10_001])
        owner = self._mostly(self.ledger.nodes[node].owner, address("thief"))
        arguments, told = [node, commission], lambda: self.ledger.announce(owner, node, commission)
        self._move(owner, node, "setCommission", arguments, told)

    # ---- signs

    def check_in(self) -> None:
        node = address(self.dice.choice(PROVIDERS))
        sender = self._mostly(node, self.ledger.nodes[node].owner)
        if self.dice.random() < 0.3:
            self.wait(self.dice.randint(20_000, 90_000))
        self._move(sender, node, "checkIn", [node], lambda: self.ledger.check_in(sender, node))

    def be_away(self) -> None:
        """Days without a sign cost something from the second week on."""
        if self.dice.random() < 0.12:
            self.wait(self.dice.randint(1, 12) * 86_400)
        node = self._node()
        self._move(address("thief"), node, "penalizeOffline", [node], lambda: self.ledger.penalize_offline(node))

    # ---- chance

    def _node(self) -> str:
        return address(self.dice.choice([*PROVIDERS, *PROVIDERS, *VERIFIERS]))

    def _amount(self) -> int:
        return self.dice.randint(1, 2_000) * VCN + self.dice.choice([0, 1, self.dice.randrange(VCN)])
