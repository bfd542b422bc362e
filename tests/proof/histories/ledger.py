"""The effect of each call on accounts, lanes, batches and cases, by the specification. Stake is in stakes.py.

A call that must not succeed raises Refused and leaves everything as it was. Nothing here reads a contract or the
project's own code.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from eth_utils.crypto import keccak

from tests.proof.histories.rules import (
    ALARM,
    HEAD,
    STAYS,
    Place,
    ceil_div,
    drawn_leaves,
    drawn_seats,
    split,
    verify_fee,
    weighed,
)
from tests.proof.histories.stakes import Stakes
from tests.proof.histories.state import Arbiters, Batch, Case, Claim, Debit, Lane, Node, Numbers, Refused, Seat, require

SLOTS = 64
HASHES = 256
"""The machine knows the hashes of so many blocks."""
LARGEST_BENCH = 7
COURT_FEE = 5 * 10**16
WORSE = ("pass", "review", "severe")
"""Each verdict of a bench before those that are worse for the node."""
LARGEST_ANSWER = 16 * 1024
MOST_LEAVES = 2_560
PROBATION_LEAVES = 20


@dataclass
class Ledger(Stakes):
    """All of it."""

    free: dict[str, int] = field(default_factory=dict)
    grants: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    lanes: dict[tuple[str, str, str], Lane] = field(default_factory=dict)
    batches: dict[tuple[str, int], Batch] = field(default_factory=dict)
    cases: dict[bytes, Case] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)
    seeds: dict[int, bytes] = field(default_factory=dict)
    second_blocks: dict[int, int] = field(default_factory=dict)
    """Of the epochs whose first seed was lost."""
    to_burn: int = 0
    arbiters: Arbiters = field(default_factory=Arbiters)
    stepped_down: dict[str, int] = field(default_factory=dict)
    """The day on which each seat did so last."""
    told: dict[str, int] = field(default_factory=dict)
    """The sum of each node's ratios, by all seats."""
    confirmed: dict[str, int] = field(default_factory=dict)
    """The same, where only three and more count against it."""

    # ---- accounts and lanes

    def deposit(self, sender: str, client: str, amount: int) -> None:
        require(amount >= self.numbers.min_deposit, "below the least deposit")
        require(amount <= self.wallets.get(sender, 0), "more than the wallet holds")
        self.wallets[sender] -= amount
        self.free[client] = self.free.get(client, 0) + amount

    def withdraw(self, client: str, amount: int) -> None:
        require(0 < amount <= self.free.get(client, 0), "more than is free, or nothing")
        self.free[client] -= amount
        self.wallets[client] = self.wallets.get(client, 0) + amount

    def set_signer(self, client: str, signer: str, budget: int, expiry: int) -> None:
        self.grants[client, signer] = budget, expiry

    def open_lane(
        self, sender: str, lane: tuple[str, str, str], amount: int, prev_total: int, deadline: int, signed: str
    ) -> None:
        """`signed`: whose signature comes along; the client needs none for its own call."""
        client, signer, node = lane
        require(amount > 0 and node in self.nodes, "nothing, or for no node")
        require(self.time <= deadline <= self.time + 3_600, "the message has its hour")
        there = self.lanes.get(lane, Lane())
        require(there.left + there.mark == prev_total, "the lane has moved")
        require(amount <= self.free.get(client, 0), "more than is free")
        if sender != client and signed != client:
            require(signed == signer, "signed by neither client nor signer")
            budget, expiry = self.grants.get((client, signer), (0, 0))
            require(self.time <= expiry and amount <= budget, "the signer may not")
            self.grants[client, signer] = budget - amount, expiry
        self.free[client] -= amount
        self.lanes[lane] = Lane(there.left + amount, there.mark, there.jobs)

    def close_lane(self, sender: str, lane: tuple[str, str, str]) -> None:
        there = self.lanes.get(lane)
        require(sender in lane[:2], "neither client nor signer")
        require(there is not None and not there.close_at and not there.reclaimed, "not open")
        assert there is not None
        there.close_at = self.time + self.numbers.lane_close_seconds

    def reclaim_lane(self, lane: tuple[str, str, str]) -> None:
        there = self.lanes.get(lane)
        require(there is not None and there.close_at > 0 and not there.reclaimed, "not closing")
        assert there is not None
        require(self.time >= there.close_at, "still closing")
        self.free[lane[0]] += there.left
        # Orders against the money that is gone count no more.
        self.lanes[lane] = Lane(0, there.mark + there.left, there.jobs, reclaimed=True)

    # ---- batches

    def submit(self, sender: str, node: str, slot: int, claims: Sequence[Claim], **told: Any) -> None:
        """The events are as in `_take`. A batch that is ready to be final becomes so first and leaves its slot."""
        require(slot < SLOTS, "no such slot")
        if self.is_free(node, slot):
            return self._take(sender, node, slot, claims, **told)
        before = copy.deepcopy(vars(self))
        try:
            self.finalize(node, slot)
            self._take(sender, node, slot, claims, **told)
        except Refused:
            vars(self).update(before)
            raise

    def _take(
        self,
        sender: str,
        node: str,
        slot: int,
        claims: Sequence[Claim],
        *,
        root: bytes,
        ok: int,
        failed: int,
        ms: int,
        max_leaf: int,
        price: int,
        bonus: int,
        mine_by: int = 0,
        uncalibrated: bool = False,
        checked: bool = False,
    ) -> None:
        """`mine_by`: not 0 for jobs without receipts, which have until then. `uncalibrated`: of unknown noise.

        `checked`: all of it is, for which its clients pay.
        """
        one = self.nodes[node]
        require(sender == node and one.state == "active", "not the operator, or not active")
        require(one.own >= self.numbers.min_stake, "too little stake")
        require(mine_by == 0 or self.time <= mine_by, "too late for jobs without receipts")
        require(len(claims) > 0, "no claims")
        lanes = {key: Lane(**vars(lane)) for key, lane in self.lanes.items()}
        debits = []
        for claim in claims:
            require(claim.signed == claim.signer, "not signed by the signer")
            require((claim.client, claim.signer, node) in lanes, "no such lane")
            lane = lanes[claim.client, claim.signer, node]
            owed = claim.charge + verify_fee(claim.charge, checked=checked) + claim.bonus
            require(claim.index > lane.jobs and owed <= claim.cumulative - lane.mark, "above what was signed")
            require(owed <= lane.left, "above what the lane holds")
            debits.append(Debit(claim.client, claim.signer, claim.index - lane.jobs, owed, claim.index))
            lane.left, lane.mark, lane.jobs = lane.left - owed, claim.cumulative, claim.index
        total = sum(claim.charge for claim in claims)
        fee = sum(verify_fee(claim.charge, checked=checked) for claim in claims)
        leaves = sum(debit.leaves for debit in debits)
        require(total == price and sum(claim.bonus for claim in claims) == bonus, "sums differ")
        require(ok + failed <= leaves, "more leaves told than there are")
        require(max_leaf <= total <= max_leaf * ok, "a largest leaf that cannot be")
        require(bonus <= (0 if mine_by else total * 9 // 100), "too much bonus")
        require(leaves <= (PROBATION_LEAVES if one.record.probation else MOST_LEAVES), "too many leaves")
        require(max_leaf <= one.own // 40, "one leaf too large for the stake")
        require(one.open_value + total + fee + bonus <= one.own // 2, "too much open for the stake")
        rate = 100 if mine_by or uncalibrated or checked else one.record.rate_percent()
        batch = Batch(
            node, slot, 1, total, fee, bonus, leaves, ok, failed, ms, self.score(node), rate, self.block, self.time,
            root, max_leaf, debits, uncalibrated, checked,
        )  # fmt: skip
        self.lanes = lanes
        self.batches[node, slot] = batch
        one.open_value += batch.value
        one.open_batches += 1

    def is_free(self, node: str, slot: int) -> bool:
        there = self.batches.get((node, slot))
        return there is None or there.state in {"final", "refunded"}

    def seal(self, epoch: int, block_hash: bytes) -> None:
        require(epoch not in self.seeds, "sealed before")
        require(self.block > self.seed_block(epoch), "not yet")
        require(not self._is_out_of_reach(epoch), "lost")
        self.seeds[epoch] = block_hash

    def rearm(self, epoch: int) -> None:
        """One more block for a seed that was not sealed in time."""
        require(epoch not in self.seeds and epoch not in self.second_blocks, "sealed, or rearmed before")
        require(self._is_out_of_reach(epoch), "still there")
        self.second_blocks[epoch] = self.block + self.numbers.lag_blocks

    def void_lost(self, node: str, slot: int) -> None:
        batch = self._batch(node, slot, "pending")
        epoch = self.epoch(batch)
        require(epoch not in self.seeds and epoch in self.second_blocks, "not lost")
        require(self._is_out_of_reach(epoch), "not lost twice")
        self._ended(batch, "void")

    def _is_out_of_reach(self, epoch: int) -> bool:
        return self.block > self.seed_block(epoch) + HASHES

    def seed_block(self, epoch: int) -> int:
        if epoch in self.second_blocks:
            return self.second_blocks[epoch]
        return (epoch + 1) * self.numbers.epoch_blocks + self.numbers.lag_blocks

    def epoch(self, batch: Batch) -> int:
        return batch.block // self.numbers.epoch_blocks

    def drawn(self, batch: Batch) -> tuple[bytes, list[int]]:
        """The batch's seed and its drawn leaves; all of them while its node is in jail or accused of fraud."""
        require(self.epoch(batch) in self.seeds, "no seed yet")
        seed = bytes(keccak(self.seeds[self.epoch(batch)] + batch.id))
        return seed, drawn_leaves(seed, batch.leaves, self._rate(batch))

    def _rate(self, batch: Batch) -> int:
        """Fixed once a court has it."""
        if batch.state != "pending":
            return batch.rate
        if self._is_suspect(batch.node):
            return 100
        return max(batch.rate, 50) if self.epoch(batch) in self.second_blocks else batch.rate

    def _is_suspect(self, node: str) -> bool:
        accused = any(case.accuses and case.batch.node == node for case in self.cases.values())
        return accused or self.nodes[node].state == "jailed"

    def finalize(self, node: str, slot: int) -> None:
        batch = self._batch(node, slot, "pending", "passed")
        require(self.time >= batch.time + self.numbers.challenge_seconds, "the window is open")
        if batch.state == "pending":
            require(not self.drawn(batch)[1], "drawn: a court decides")
            self.pool += batch.fee
        burned, reward, pooled = split(batch.price, batch.score)
        one = self._ended(batch, "final")
        one.rewards += reward + batch.bonus
        self.pool += pooled
        self._pay_owed(batch)
        self.to_burn += burned
        one.record.settle(batch.ok, batch.failed, burned, batch.ms, self.numbers.min_burn, self.today)
        self._see(one)

    def refund(self, node: str, slot: int) -> None:
        batch = self._batch(node, slot, "void")
        batch.state = "refunded"
        for debit in batch.debits:
            kept = batch.kept_of(debit)
            self.pool += kept
            lane = self.lanes[debit.client, debit.signer, node]
            if lane.reclaimed:
                self.free[debit.client] += debit.amount - kept
            else:
                lane.left += debit.amount - kept

    def flush_burn(self) -> None:
        require(self.to_burn > 0, "nothing to burn")
        self.burned += self.to_burn
        self.to_burn = 0

    def _batch(self, node: str, slot: int, *states: str) -> Batch:
        batch = self.batches.get((node, slot))
        require(batch is not None and batch.state in states, f"not {' or '.join(states)}")
        assert batch is not None
        return batch

    def _ended(self, batch: Batch, state: str) -> Node:
        """final or void: no longer open."""
        batch.state = state
        one = self.nodes[batch.node]
        one.open_value -= batch.value
        one.open_batches -= 1
        return one

    def _pay_owed(self, batch: Batch) -> None:
        if batch.owed <= self.pool:
            self.pool -= batch.owed
            self.nodes[batch.node].rewards += batch.owed

    # ---- court

    def convene(self, sender: str, node: str, slot: int) -> Case:
        batch = self._batch(node, slot, "pending")
        _, drawn = self.drawn(batch)
        require(len(drawn) > 0, "not drawn")
        require(self.time <= batch.time + self.numbers.starved_seconds, "too late")
        wanted = 1 if min(batch.price, batch.max_leaf * len(drawn)) < self.numbers.court_value else 3
        found, next_try = self._seats(batch, drawn, 0, wanted, ())
        require(len(found) > 0, "no verifier to sit")
        batch.rate = self._rate(batch)
        batch.state = "in court"
        case = Case(batch, drawn, [Seat(each, self.time) for each in found], next_try)
        self.cases[batch.id] = case
        self._pay_convener(sender, case)
        return case

    def _pay_convener(self, sender: str, case: Case) -> None:
        """Up to a fifth of the fee, above what is the seats' alone; all or nothing, to the node itself at the end."""
        fee = case.batch.fee
        share = max(0, min(fee // 5, fee - COURT_FEE))
        if sender == case.batch.node:
            case.convener_share = case.batch.owed = share
            return
        if share > self.pool:
            return
        case.convener_share = share
        self.pool -= share
        if sender in self.nodes:
            self.nodes[sender].rewards += share
        else:
            self.free[sender] = self.free.get(sender, 0) + share

    def _seats(
        self, batch: Batch, drawn: Sequence[int], first_try: int, wanted: int, seated: Sequence[str]
    ) -> tuple[list[str], int]:
        seed = bytes(keccak(self.seeds[self.epoch(batch)] + batch.id))
        parties = self._parties(batch, drawn)
        owner = self.nodes[batch.node].owner

        def is_party(node: str) -> bool:
            return self.nodes[node].owner == owner or not parties.isdisjoint((node, self.nodes[node].owner))

        return drawn_seats(self.places, seed, batch.id, batch.block, first_try, wanted, seated, is_party)

    @staticmethod
    def _parties(batch: Batch, drawn: Sequence[int]) -> set[str]:
        """Clients and signers who pay for drawn leaves."""
        found: set[str] = set()
        first = 0
        for debit in batch.debits:
            if debit.amount and any(first <= leaf < first + debit.leaves for leaf in drawn):
                found |= {debit.client, debit.signer}
            first += debit.leaves
        return found

    def join(self, sender: str, node: str) -> None:
        one = self.nodes[node]
        require(sender in {node, one.owner}, "neither owner nor operator")
        require(self._may_sit(one), "not active, or too little stake")
        require(all(place.node != node or place.until_block != STAYS for place in self.places), "on the list")
        # In a local network every weight is full.
        self.places.append(Place(node, self.block, 10_000))

    def leave(self, sender: str, node: str) -> None:
        """Anyone strikes out who may no longer sit."""
        one = self.nodes[node]
        require(sender in {node, one.owner} or not self._may_sit(one), "neither owner nor operator")
        require(self._strike(node), "not on the list")

    def _may_sit(self, one: Node) -> bool:
        return one.state == "active" and one.active >= 5 * self.numbers.min_stake

    def _strike(self, node: str) -> bool:
        """Off the list, where the place stays empty. Returns: whether it was there."""
        for at, place in enumerate(self.places):
            if place.node == node and place.until_block == STAYS:
                self.places[at] = replace(place, until_block=self.block)
                return True
        return False

    def commit(self, sender: str, case: Case, seat: int) -> None:
        sitting = self._sitting(sender, case, seat, "drawn")
        sitting.state, sitting.since = "committed", self.time

    def reveal(self, sender: str, case: Case, seat: int, scores: Sequence[int], llr_millinats: int) -> None:
        sitting = self._sitting(sender, case, seat, "committed")
        present = case.seats[case.first_seat :]
        require(all(each.state != "drawn" for each in present), "not all have committed")
        require(len(scores) == len(case.drawn) and max(scores) <= 10_000, "not a score for each leaf")
        sitting.state, sitting.score, sitting.llr_millinats = "revealed", min(scores), llr_millinats

    def replace(self, case: Case, seat: int) -> None:
        self._open(case)
        require(seat < len(case.seats), "no such seat")
        sitting = case.seats[seat]
        require(self.time > self._turn_end(case, sitting), "its turn is not over")
        # If no seat of the round has bound itself, the node may have shown nothing.
        shown = any(each.state in {"committed", "revealed"} for each in case.seats[case.first_seat :])
        sitting.state = "silent"
        self._seat_more(case, 1)
        if shown:
            self._slash(self.nodes[sitting.node], 50)
        self.nodes[sitting.node].record.punish(50, lost=False)

    def abstain(self, sender: str, case: Case, seat: int) -> None:
        sitting = self._sitting(sender, case, seat, "drawn")
        require(self.time <= sitting.since + self.numbers.seat_seconds // 4, "too late to step down")
        require(self.stepped_down.get(sender) != self.today, "once a day")
        self.stepped_down[sender] = self.today
        sitting.state = "silent"
        self._seat_more(case, 1)

    def demand(self, sender: str, case: Case, seat: int, leaf: int) -> None:
        self._open(case)
        require(seat < len(case.seats) and case.seats[seat].node == sender, "not its seat")
        require(case.seats[seat].state in {"drawn", "committed"}, "not sitting, or done")
        bound = all(each.state != "drawn" for each in case.seats[case.first_seat :])
        require(case.seats[seat].state == "drawn" or bound, "fingerprints are for those who have bound themselves")
        require(not case.asked_at, "once a case")
        require(leaf in case.drawn, "not drawn")
        case.state, case.asked_at = "asked", self.time

    def answer(self, sender: str, case: Case, size: int) -> None:
        require(not case.verdict and case.state == "asked", "not asked")
        require(sender in {case.batch.node, self.nodes[case.batch.node].owner}, "neither owner nor operator")
        require(self.time <= case.asked_at + self.numbers.data_seconds, "too late")
        require(0 < size <= LARGEST_ANSWER, "nothing, or too much")
        case.state, case.answered_at_s = "open", self.time

    def _turn_end(self, case: Case, sitting: Seat) -> int:
        if sitting.state == "drawn":
            return max(sitting.since, case.answered_at_s) + self.numbers.seat_seconds
        present = case.seats[case.first_seat :]
        waits = any(each.state == "drawn" for each in present)
        require(sitting.state == "committed" and not waits, "not its turn")
        last = max(each.since for each in present if each.state != "silent")
        return max(last, case.answered_at_s) + self.numbers.seat_seconds

    def resolve(self, case: Case) -> None:
        """One seat can only pass; too few to condemn: void, and medium. Three that doubt or quarrel are followed by a
        larger bench, three that condemn wait for an appeal to one. Margins that add up to too much are fraud.
        """
        require(not case.verdict, "closed")
        if case.state != "open":
            return self._end_waiting(case)
        sitting = [each for each in case.seats[case.first_seat :] if each.state != "silent"]
        require(len(sitting) > 0 and all(each.state == "revealed" for each in sitting), "not all have revealed")
        found = self._found(sitting)
        if case.round:
            found = self._with_margins(case, found, sitting) if len(sitting) >= 3 else case.standing
            return self._end_round(case, found)
        if len(sitting) < 3:
            if (found != "pass" or self._needs_more(case, sitting)) and self._seat_more(case, 3 - len(sitting)):
                return None
            if found == "pass":
                self._add_margins(case.batch.node, self._median_llr(sitting), full=False)
            return self._close(case, found if found == "pass" else "short", sitting)
        scores = [each.score for each in sitting]
        quarrel = found == "review" or max(scores) - min(scores) > 1_000
        if quarrel and self._grow(case, found):
            return None
        found = self._with_margins(case, found, sitting)
        if not quarrel and found == "severe" and not case.batch.uncalibrated and self._larger_bench(case)[0]:
            case.state, case.standing, case.since = "decided", found, self.time
            case.accuses = True
            return None
        return self._conclude(case, found, sitting)

    def _end_waiting(self, case: Case) -> None:
        """No appeal came, no arbiter ruled, or the node did not answer; fraud that was found is no better for that."""
        require(self.time > self.until(case), "an answer, an appeal or a ruling may come")
        if case.state == "asked":
            self._settle_bond(case, better=False)
            return self._close(case, "severe" if case.standing == "severe" else "withheld", case.revealed())
        return self._close(case, case.standing, case.revealed())

    def until(self, case: Case) -> int:
        """From when on anyone may end the case as it is; 0 once it is closed."""
        numbers = self.numbers
        if case.verdict:
            return 0
        if case.state == "asked":
            return case.asked_at + numbers.data_seconds
        if case.state in {"decided", "arbiters"}:
            return case.since + (numbers.appeal_seconds if case.state == "decided" else numbers.arbiter_seconds)
        begun = case.since if case.round else case.batch.time + numbers.starved_seconds
        return begun + numbers.starved_seconds + (numbers.data_seconds if case.asked_at else 0)

    @staticmethod
    def _found(seats: Sequence[Seat]) -> str:
        """By the middle score; by the lower of two."""
        median = sorted(each.score for each in seats)[(len(seats) - 1) // 2]
        return "pass" if median > 9_500 else "review" if median > 8_500 else "severe"

    @staticmethod
    def _median_llr(seats: Sequence[Seat]) -> int:
        return sorted(each.llr_millinats for each in seats)[(len(seats) - 1) // 2]

    def _needs_more(self, case: Case, seats: Sequence[Seat]) -> bool:
        """From 4,605 on, ln(100), two more look at a case that itself speaks against the node."""
        llr_millinats = self._median_llr(seats)
        return llr_millinats > 0 and self.told.get(case.batch.node, HEAD) + llr_millinats >= 4_605

    def _add_margins(self, node: str, llr_millinats: int, *, full: bool) -> bool:
        """Returns: whether they are too many; then they stay as they were."""
        told, confirmed = (weighed(sums.get(node, HEAD), llr_millinats) for sums in (self.told, self.confirmed))
        if llr_millinats > 0 and not full:
            confirmed = self.confirmed.get(node, HEAD)
        if confirmed < ALARM:
            self.told[node], self.confirmed[node] = told, confirmed
        return confirmed >= ALARM

    def _with_margins(self, case: Case, found: str, seats: Sequence[Seat]) -> str:
        if found != "pass" or not self._add_margins(case.batch.node, self._median_llr(seats), full=True):
            return found
        case.alarms += 1
        return "severe"

    def _end_round(self, case: Case, found: str) -> None:
        self._settle_bond(case, better=WORSE.index(found) < WORSE.index(case.standing))
        self._conclude(case, found, case.revealed())

    def _settle_bond(self, case: Case, *, better: bool) -> None:
        if case.appellant and better:
            self.wallets[case.appellant] += case.bond
        else:
            self.pool += case.bond
        case.bond = 0

    def _conclude(self, case: Case, found: str, seats: Sequence[Seat]) -> None:
        """The last round has spoken; a doubt is for the arbiters, if there are any."""
        if found != "review" or not self.arbiters.quorum or case.batch.uncalibrated:
            return self._close(case, found, seats)
        case.state, case.standing, case.since = "arbiters", found, self.time
        return None

    def vote(self, sender: str, case: Case, passes: bool) -> None:
        """The vote that decides comes in time or not at all."""
        require(not case.verdict and case.state == "arbiters", "not before the arbiters")
        require(sender in self.arbiters.names, "no arbiter")
        votes = self.arbiters.votes.setdefault(case.batch.id, {})
        require(sender not in votes, "voted before")
        decides = list(votes.values()).count(passes) + 1 >= self.arbiters.quorum
        require(not decides or self.time <= case.since + self.numbers.arbiter_seconds, "too late")
        votes[sender] = passes
        if decides:
            self._close(case, "pass" if passes else "review", case.revealed())

    def _larger_bench(self, case: Case) -> tuple[list[str], int]:
        """The largest odd number up to seven, new verifiers first; none if that is no more than sat."""
        if case.round or len(self.places) < len(case.seats) + 2:
            return [], 0
        before = sum(place.since_block < case.batch.block for place in self.places)
        wanted = min(LARGEST_BENCH, before - len(case.seats))
        seated = [each.node for each in case.seats]
        fresh, next_try = self._seats(case.batch, case.drawn, case.next_try, wanted, seated)
        old = [each.node for each in case.revealed()]
        size = min(LARGEST_BENCH, len(fresh) + len(old))
        size -= 1 - size % 2
        return ((fresh + old)[:size] if size > len(old) else []), next_try

    def _grow(self, case: Case, found: str) -> bool:
        bench, next_try = self._larger_bench(case)
        if not bench:
            return False
        case.state, case.round, case.first_seat, case.next_try = "open", 1, len(case.seats), next_try
        case.standing, case.since = found, self.time
        case.seats += [Seat(each, self.time) for each in bench]
        return True

    def appeal(self, sender: str, case: Case) -> None:
        require(not case.verdict and case.state == "decided", "nothing to appeal")
        require(self.time <= case.since + self.numbers.appeal_seconds, "too late")
        one = self.nodes[case.batch.node]
        require(sender in {case.batch.node, one.owner}, "neither owner nor operator")
        bond = ceil_div(one.active + one.unbonding, 100)
        require(bond <= self.wallets.get(sender, 0), "more than there is")
        self.wallets[sender] -= bond
        case.appellant, case.bond = sender, bond
        self._grow(case, case.standing)

    def starve(self, node: str, slot: int) -> None:
        batch = self._batch(node, slot, "pending", "in court")
        if batch.state == "in court":
            return self._starve_case(self.cases[batch.id])
        require(self.time > batch.time + self.numbers.starved_seconds, "not starved yet")
        _, drawn = self.drawn(batch)
        require(len(drawn) > 0, "not drawn")
        if self._seats(batch, drawn, 0, 1, ())[0]:
            self.nodes[node].record.punish(150, lost=True)
        self._ended(batch, "void")
        return None

    def _starve_case(self, case: Case) -> None:
        if case.state != "open":
            return self._end_waiting(case)
        require(self.time > self.until(case), "not starved yet")
        present = case.revealed(case.first_seat)
        if case.round:
            found = case.standing
            if len(present) >= 3 and WORSE.index(self._found(present)) > WORSE.index(found):
                found = self._found(present)
            return self._end_round(case, found)
        bad = any(each.score <= 9_500 for each in present)
        return self._close(case, "short" if bad else "starved", present)

    def _seat_more(self, case: Case, wanted: int) -> int:
        seated = [each.node for each in case.seats]
        found, case.next_try = self._seats(case.batch, case.drawn, case.next_try, wanted, seated)
        case.seats += [Seat(each, self.time) for each in found]
        return len(found)

    def _close(self, case: Case, verdict: str, seats: Sequence[Seat]) -> None:
        batch = case.batch
        if verdict == "severe":
            self.told[batch.node] = self.confirmed[batch.node] = HEAD
        if batch.uncalibrated and verdict in {"short", "severe"}:
            verdict = "review"
        case.verdict, case.accuses = verdict, False
        one = self.nodes[batch.node]
        if verdict == "severe":
            self._slash(one, self.numbers.slash_bps)
        if verdict == "withheld":
            self._slash(one, self._withheld_bps(batch))
        penalty = {"review": 50, "short": 150, "withheld": 150, "severe": 300}.get(verdict)
        if penalty:
            one.record.punish(penalty, lost=verdict != "review" or not batch.uncalibrated)
        if verdict in {"short", "withheld", "severe"}:
            one.state = "jailed"
            one.jailed_until_s = self.time + self.numbers.jail_seconds
            self._strike(batch.node)
        if verdict == "pass":
            batch.state = "passed"
            self.pool += batch.fee
        else:
            batch.fee_kept = batch.checked and len(seats) > 0 and one.state != "jailed"
            self._ended(batch, "void")
            self._pay_owed(batch)
        if seats:
            due = case.pay() - case.convener_share
            share = min(due, self.pool) // len(seats)
            self.pool -= share * len(seats)
            for seat in seats:
                self.nodes[seat.node].rewards += share

    def _withheld_bps(self, batch: Batch) -> int:
        """Ten times the batch, rounded up, but no more than for fraud."""
        one = self.nodes[batch.node]
        stake = one.active + one.unbonding
        most = self.numbers.slash_bps
        return min(most, ceil_div(10 * batch.value * 10_000, stake)) if stake else most

    def _sitting(self, sender: str, case: Case, seat: int, state: str) -> Seat:
        self._open(case)
        require(seat < len(case.seats) and case.seats[seat].node == sender, "not its seat")
        require(case.seats[seat].state == state, f"not {state}")
        return case.seats[seat]

    @staticmethod
    def _open(case: Case) -> None:
        require(not case.verdict and case.state == "open", "closed, or waiting")

    # ---- the whole

    def held_by_settlement(self) -> int:
        """Every coin that Settlement must hold."""
        open_batches = sum(each.open_value for each in self.nodes.values())
        void = sum(
            sum(debit.amount for debit in batch.debits) for batch in self.batches.values() if batch.state == "void"
        )
        passed = sum(batch.fee for batch in self.batches.values() if batch.state == "passed")
        lanes = sum(lane.left for lane in self.lanes.values())
        rewards = sum(each.rewards for each in self.nodes.values())
        # The fee of a batch that passed is in the pool already, while the batch is still open.
        return sum(self.free.values()) + lanes + open_batches + void + rewards + self.pool + self.to_burn - passed

    def held_by_stakes(self) -> int:
        return sum(each.active + each.unbonding + each.earnings.kept for each in self.nodes.values())

    def held_by_court(self) -> int:
        return sum(case.bond for case in self.cases.values())


__all__ = ["Batch", "Case", "Claim", "Ledger", "Numbers", "Refused", "ceil_div"]
