"""One call of a history, and what is looked at after it."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from protocol.wire.ids import Address
from tests.proof.histories.ledger import Ledger
from tests.proof.histories.rules import HEAD, word_of
from tests.proof.histories.scene import CLASS, Look, Scene, Step, address, calldata, functions, look
from tests.proof.histories.state import Batch, Case, Refused

PROVIDERS = ("node 0", "node 1", "node 2")
CLIENTS = ("client 0", "client 1", "client 2")
NO_ADDRESS = "0x" + 40 * "0"
STAKERS = ("staker 0", "staker 1", "staker 2")
_LANE_STATES = ("none", "open", "closing", "reclaimed")
_NODE_STATES = ("none", "active", "jailed", "exiting", "gone")
_BATCH_STATES = ("none", "pending", "in court", "passed", "void", "final", "refunded")
_CASE_STATES = ("none", "open", "closed", "asked", "arbiters", "decided")
_VERDICTS = ("", "pass", "review", "severe", "short", "starved", "withheld")


@dataclass
class Table:
    """Tells a history to the ledger and writes down each call with what the ledger makes of it."""

    scene: Scene
    ledger: Ledger
    dice: random.Random
    steps: list[Step] = field(default_factory=list)

    # ---- one call

    def do(
        self,
        sender: str,
        contract: str,
        name: str,
        arguments: Sequence[Any],
        told: Callable[[], object] | None = None,
        looks: Callable[[], Sequence[Look]] = tuple,
        hashed: tuple[int, bytes] = (0, bytes(32)),
    ) -> bool:
        """`told`: the same call of the ledger, None where it has nothing to say. Returns: whether it succeeds."""
        succeeds, words = True, f"{name} by {sender}"
        try:
            if told:
                told()
        except Refused as why:
            succeeds, words = False, f"{words}, refused: {why}"
        data = calldata(contract, name, *arguments)
        self.steps.append(
            Step(
                *(self.ledger.time, self.ledger.block, Address(sender), contract, name, data, succeeds, words),
                tuple(looks()),
                *hashed,
            )
        )
        return succeeds

    def wait(self, seconds: int) -> None:
        """Some blocks pass, a second or more each."""
        self.ledger.time += seconds
        self.ledger.block += max(1, min(seconds, self.dice.randint(1, 8)))

    # ---- what is looked at

    def account(self, client: str) -> Look:
        return look("Settlement", "accountOf", client, value=self.ledger.free.get(client, 0))

    def lane(self, lane: tuple[str, str, str]) -> Look:
        there = self.ledger.lanes.get(lane)
        if there is None:
            return look("Settlement", "laneOf", *lane, left=0, mark=0, jobs=0, closeAt=0, state=0)
        state = "reclaimed" if there.reclaimed else "closing" if there.close_at else "open"
        return look(
            *("Settlement", "laneOf", *lane),
            left=there.left,
            mark=there.mark,
            jobs=there.jobs,
            closeAt=there.close_at,
            state=_LANE_STATES.index(state),
        )

    def node(self, node: str) -> Sequence[Look]:
        one = self.ledger.nodes[node]
        record = one.record
        clock = {"unlockAt": one.unlock_at_s[one.owner] if one.leaving.of(one.owner) else 0}
        return (
            look(
                *("Settlement", "bookOf", node),
                rewards=one.rewards,
                openValue=one.open_value,
                openBatches=one.open_batches,
                accusations=sum(case.accuses and case.batch.node == node for case in self.ledger.cases.values()),
            ),
            look(
                *("StakeManager", "nodeOf", node),
                state=_NODE_STATES.index(one.state),
                scoreHundredths=self.ledger.score(node),
                activeStake=one.active,
                ownStake=one.own,
                unbondingStake=one.unbonding,
                **clock,
                jailedUntil=one.jailed_until_s,
                rateBps=record.rate_percent() * 100,
                successes=record.good,
                total=record.total,
                responseMs=record.ms,
                checkInDays=record.days_seen,
                penaltyTenths=record.penalty,
                samplesLeft=record.probation,
            ),
        )

    def holdings(self, node: str) -> Sequence[Look]:
        """Everybody's part of a node, and the terms on which others have theirs."""
        one = self.ledger.nodes[node]
        others = {*one.staked.held, *one.leaving.held, *one.earnings.due, *one.earnings.rewards} - {one.owner}
        return (
            look(
                *("StakeManager", "termsOf", node),
                rewardsHeld=one.earnings.kept,
                commissionBps=one.commission,
                nextCommissionBps=one.next_commission,
                commissionAt=one.commission_at_s,
                nextPayout=one.next_payout or NO_ADDRESS,
                payoutAt=one.payout_at_s,
            ),
            *(self._part(node, who) for who in sorted(others)),
        )

    def _part(self, node: str, who: str) -> Look:
        one = self.ledger.nodes[node]
        return look(
            *("StakeManager", "delegationOf", node, who),
            active=one.staked.worth(who),
            unbonding=one.leaving.worth(who),
            unlockAt=one.unlock_at_s[who] if one.leaving.of(who) else 0,
            rewards=one.earnings.of(who, one.for_others(), one.owner, one.staked),
        )

    def batch(self, batch: Batch) -> Sequence[Look]:
        shown = look(
            *("Settlement", "batchOf", batch.node, batch.slot),
            state=_BATCH_STATES.index(batch.state),
            ratePercent=batch.rate,
            charge=batch.price,
            fee=batch.fee,
            bonus=batch.bonus,
            leafCount=batch.leaves,
            scoreHundredths=batch.score,
        )
        if self.ledger.epoch(batch) not in self.ledger.seeds:
            return (shown,)
        drawn = self.ledger.drawn(batch)[1]
        data = calldata("Settlement", "sampledLeaves", batch.node, batch.slot)
        words = [len(drawn), *drawn]
        return shown, Look(
            "Settlement", data, tuple(range(1, 1 + len(words))), tuple(word.to_bytes(32, "big") for word in words)
        )

    def case(self, case: Case) -> Sequence[Look]:
        members = [each["name"] for each in functions("Court")["seatsOf"]["outputs"][0]["components"]]
        at = [2 + number * len(members) + members.index("node") for number in range(len(case.seats))]
        nodes = [bytes(12) + bytes.fromhex(seat.node[2:]) for seat in case.seats]
        count = len(case.seats).to_bytes(32, "big")
        node = case.batch.node
        return (
            Look("Court", calldata("Court", "seatsOf", case.batch.id), (1, *at), (count, *nodes)),
            look(
                *("Court", "runningOf", node, CLASS),
                told=self.ledger.told.get(node, HEAD),
                confirmed=self.ledger.confirmed.get(node, HEAD),
            ),
            look(
                *("Court", "caseOf", case.batch.id),
                state=_CASE_STATES.index("closed" if case.verdict else case.state),
                verdict=_VERDICTS.index(case.verdict),
                standing=_VERDICTS.index(case.standing),
                round=case.round,
                bond=case.bond,
                until=self.ledger.until(case),
            ),
        )

    def bench(self) -> Sequence[Look]:
        """The whole list, the places of those who left included."""
        places = self.ledger.places
        rows = [(place.node, place.since_block, place.until_block, place.weight) for place in places]
        values = [len(places), *(value for row in rows for value in row)]
        words = tuple(range(1, 1 + len(values)))
        return (Look("Court", calldata("Court", "verifiersOf", CLASS), words, tuple(map(word_of, values))),)

    def money(self) -> Sequence[Look]:
        ledger, contracts = self.ledger, self.scene.contracts
        return (
            look("Settlement", "pool", value=ledger.pool),
            look("Settlement", "burnPending", value=ledger.to_burn),
            look("VCoin", "balanceOf", contracts["Settlement"], value=ledger.held_by_settlement()),
            look("VCoin", "balanceOf", contracts["StakeManager"], value=ledger.held_by_stakes()),
            look("VCoin", "balanceOf", contracts["Court"], value=ledger.held_by_court()),
            look("VCoin", "totalSupply", value=10**27 - ledger.burned),
        )

    def everything(self) -> Sequence[Look]:
        ledger = self.ledger
        return (
            *self.money(),
            *self.bench(),
            *(self.account(address(name)) for name in CLIENTS),
            *(self.lane(lane) for lane in ledger.lanes),
            *(each for node in ledger.nodes for each in (*self.node(node), *self.holdings(node))),
            *(each for case in ledger.cases.values() for each in self.case(case)),
            *(each for batch in ledger.batches.values() for each in self.batch(batch)),
            *(look("VCoin", "balanceOf", who, value=amount) for who, amount in ledger.wallets.items()),
        )

    # ---- chance

    def _rarely(self) -> bool:
        return self.dice.random() < 0.08

    def _mostly(self, usual: Any, *others: Any) -> Any:
        return self.dice.choice(others) if self.dice.random() < 0.06 else usual
