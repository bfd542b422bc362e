"""Histories by chance: who does what next, mostly what may be done, often something that may not."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from protocol.stages.assignment import Assignment, LaneOpen
from protocol.wire.ids import Address
from tests.proof.histories.ledger import HASHES
from tests.proof.histories.rules import STAYS, verify_fee
from tests.proof.histories.scene import CLASS, VCN, Look, address, look, members
from tests.proof.histories.staking import VERIFIERS, StakeMoves
from tests.proof.histories.state import Arbiters, Batch, Case, Claim
from tests.proof.histories.table import CLIENTS, PROVIDERS

ARBITERS = ("arbiter 0", "arbiter 1", "arbiter 2", "arbiter 3")
UNRECEIPTED, UNCALIBRATED, CHECKED = 1, 2, 32
LARGEST_ANSWER = 16 * 1024
DETAILS = hashlib.sha256(b"details").digest()
FIRST_SLOTS = (10, 11, 12)
"""Of the batches with which a history begins; their margins are nearly too much already."""


class Player(StakeMoves):
    """Clients, nodes, seats and everybody else."""

    # ---- clients

    def deposit(self) -> None:
        client = self._client()
        amount = self.dice.choice([10 * VCN, 10 * VCN - 1, self.dice.randint(10, 300) * VCN, 10_000 * VCN])
        self.do(
            *(client, "Settlement", "deposit", [amount]),
            lambda: self.ledger.deposit(client, client, amount),
            lambda: (self.account(client),),
        )

    def withdraw(self) -> None:
        client = self._client()
        free = self.ledger.free[client]
        amount = self.dice.choice([0, free, free + 1, free // 2])
        self.do(
            *(client, "Settlement", "withdraw", [amount]),
            lambda: self.ledger.withdraw(client, amount),
            lambda: (self.account(client),),
        )

    def set_signer(self) -> None:
        client, signer = self._client_and_signer()
        budget, expiry = self.dice.randint(0, 60) * VCN, self.ledger.time + self.dice.randint(-10, 600)
        self.do(
            *(client, "Settlement", "setSigner", [signer, budget, expiry]),
            lambda: self.ledger.set_signer(client, signer, budget, expiry),
        )

    def open_lane(self) -> None:
        lane = self._lane()
        client, signer, node = lane
        there = self.ledger.lanes.get(lane)
        free = self.ledger.free[client]
        amount = self._mostly(min(free, self.dice.randint(1, 80) * VCN), 0, free + 1, free, free)
        total = self._mostly(there.left + there.mark if there else 0, 1)
        deadline = self._mostly(
            self.ledger.time + self.dice.randint(0, 3_600), self.ledger.time - 1, 3_601 + self.ledger.time
        )
        sender = self.dice.choice([client, client, signer, node, address("thief")])
        signed = self.dice.choice([client, signer, address("thief")])
        message = LaneOpen(Address(client), Address(signer), Address(node), amount, total, deadline)
        signature = self.scene.lane_message(signed, message)
        self.do(
            *(sender, "Settlement", "openLane", [*lane, amount, total, deadline, signature]),
            lambda: self.ledger.open_lane(sender, lane, amount, total, deadline, signed),
            lambda: (self.lane(lane), self.account(client)),
        )

    def close_lane(self) -> None:
        lane = self._lane()
        sender = self.dice.choice([lane[0], lane[1], lane[2]])
        self.do(
            *(sender, "Settlement", "closeLane", lane),
            lambda: self.ledger.close_lane(sender, lane),
            lambda: (self.lane(lane),),
        )

    def reclaim_lane(self) -> None:
        closing = [key for key, lane in self.ledger.lanes.items() if lane.close_at]
        if not closing and not self._rarely():
            return
        lane = self.dice.choice(closing or [self._lane()])
        if closing and self.dice.random() < 0.3:
            self.ledger.time = max(self.ledger.time, self.ledger.lanes[lane].close_at - self._mostly(0, 1))
        self.do(
            *(address("thief"), "Settlement", "reclaimLane", lane),
            lambda: self.ledger.reclaim_lane(lane),
            lambda: (self.lane(lane), self.account(lane[0])),
        )

    # ---- nodes

    def submit(self) -> None:
        node = address(self.dice.choice(PROVIDERS))
        one = self.ledger.nodes[node]
        open_lanes = [
            key for key, lane in self.ledger.lanes.items() if key[2] == node and (lane.left or self._rarely())
        ]
        self.dice.shuffle(open_lanes)
        checked = self.dice.random() < 0.2
        claims, room = [], one.own // 2 - one.open_value
        most = 20 if one.record.probation else self.dice.choice([20, 60, 120])
        for lane in open_lanes[: self.dice.randint(1, 3)]:
            claims.append(self._claim(lane, room // 4, max(1, most // 4), checked=checked))
            room -= claims[-1].charge
        if self.dice.random() < 0.03:
            claims.append(self._naming(node))
        leaves = sum(
            claim.index - (lane.jobs if (lane := self.ledger.lanes.get((claim.client, claim.signer, node))) else 0)
            for claim in claims
        )
        self._submit(node, claims, self._mostly(leaves, leaves + 1), checked=checked)

    def _claim(self, lane: tuple[str, str, str], room: int, most: int, *, checked: bool) -> Claim:
        there = self.ledger.lanes[lane]
        # With the fee and the largest bonus on top.
        dearest = there.left * (20 if checked else 28) // 32
        count = self._mostly(self.dice.randint(1, most), 0, most * 8)
        charge = self.dice.randint(0, max(0, min(dearest, room)))
        charge = self.dice.choice([charge, charge // 50, charge // 50 * 50, 7])
        if self._rarely():
            count, charge = most, dearest
        bonus = self.dice.choice([0, 0, charge * 9 // 100, charge // 50])
        owed = charge + verify_fee(charge, checked=checked) + bonus
        cumulative = there.mark + self._mostly(owed, owed + self.dice.randint(0, 10**17), owed - 1)
        signed = self._mostly(lane[1], address("thief"))
        return Claim(*lane[:2], there.jobs + count, max(0, cumulative), charge, bonus, signed)

    def _naming(self, node: str) -> Claim:
        """A claim of nothing that names another node as its client and is signed by the node itself."""
        return Claim(address(self.dice.choice(VERIFIERS)), node, 1, 0, 0, 0, node)

    def _slot_for(self, node: str) -> int:
        """One that is free; often one whose batch is ready to be final, once it may be."""
        numbers, slots = self.ledger.numbers, (0, 1, 2, 63)
        there = (self.ledger.batches.get((node, slot)) for slot in slots)
        ready = [batch for batch in there if batch and batch.state in {"pending", "passed"} and self._is_ready(batch)]
        if ready and self.dice.random() < 0.5:
            batch = self.dice.choice(ready)
            if not self._rarely():
                self.ledger.time = max(self.ledger.time, batch.time + numbers.challenge_seconds)
            return batch.slot
        free = [slot for slot in slots if self.ledger.is_free(node, slot)]
        return self._mostly(self.dice.choice(free or [0]), 0, 64)

    def _submit(self, node: str, claims: Sequence[Claim], leaves: int, *, checked: bool) -> None:
        chosen = self._slot_for(node)
        price, bonus = sum(each.charge for each in claims), sum(each.bonus for each in claims)
        failed = self._mostly(self.dice.choice([0, 0, min(leaves // 2, 1), leaves // 3]), leaves)
        ok = max(0, leaves - failed - self.dice.choice([0, 0, 0, 1]))
        mean = -(-price // ok) if ok else price
        told = {
            "root": hashlib.sha256(b"root %d" % len(self.steps)).digest(),
            "ok": ok,
            "failed": failed,
            "ms": self.dice.randint(0, 90_000) * ok,
            "max_leaf": self._mostly(
                self.dice.choice([mean, min(price, mean * 2)]), mean - 1 if mean else 0, price + 1
            ),
            "price": self._mostly(price, price + 1),
            "bonus": self._mostly(bonus, bonus + 1),
            "mine_by": self._mostly(0, self.ledger.time, self.ledger.time, self.ledger.time - 1),
            "uncalibrated": self._mostly(False, True),
            "checked": checked,
        }
        sender = self._mostly(node, self.ledger.nodes[node].owner)
        submission = {
            "node": node,
            "slot": chosen,
            "classId": CLASS,
            "flags": sum(
                flag
                for flag, name in ((UNRECEIPTED, "mine_by"), (UNCALIBRATED, "uncalibrated"), (CHECKED, "checked"))
                if told[name]
            ),
            "root": told["root"],
            "priceSum": told["price"],
            "bonusSum": told["bonus"],
            "msSum": told["ms"],
            "okCount": ok,
            "failedCount": failed,
            "maxLeaf": told["max_leaf"],
            "mineBy": told["mine_by"],
        }
        self.do(
            *(sender, "Settlement", "submit", [submission, [self.signed(node, each) for each in claims]]),
            lambda: self.ledger.submit(sender, node, chosen, claims, **told),
            lambda: (
                *self.node(node),
                *(self.lane((each.client, each.signer, node)) for each in claims),
                *self._shown(node, chosen),
            ),
        )

    def signed(self, node: str, claim: Claim) -> dict[str, Any]:
        parties = Address(claim.client), Address(claim.signer), Address(node)
        order = Assignment(*parties, claim.index, claim.cumulative, DETAILS)
        r, vs = self.scene.order(claim.signed, order)
        return {
            "client": claim.client,
            "signer": claim.signer,
            "index": claim.index,
            "cumulative": claim.cumulative,
            "details": DETAILS,
            "charge": claim.charge,
            "bonus": claim.bonus,
            "r": r,
            "vs": vs,
        }

    def _shown(self, node: str, slot: int) -> Sequence[Look]:
        batch = self.ledger.batches.get((node, slot))
        return self.batch(batch) if batch else ()

    def seal(self) -> None:
        pending = {self.ledger.epoch(each) for each in self.ledger.batches.values()} - self.ledger.seeds.keys()
        if not pending:
            return None
        epoch = min(pending)
        seed_block = self.ledger.seed_block(epoch)
        if not self._rarely():
            self.ledger.block = max(self.ledger.block, seed_block + 1)
            self.ledger.time += 1
        if self._rarely():
            return self._lose(epoch)
        # Later the hash is out of the machine's reach.
        self.ledger.block = min(self.ledger.block, seed_block + 250)
        return self._seal(epoch)

    def _seal(self, epoch: int) -> None:
        value = hashlib.sha256(self.dice.randbytes(8)).digest()
        seed_block = self.ledger.seed_block(epoch)
        is_known = seed_block < self.ledger.block <= seed_block + HASHES
        self.do(
            *(address("thief"), "EpochBeacon", "seal", [epoch]),
            lambda: self.ledger.seal(epoch, value),
            hashed=(seed_block, value) if is_known else (0, bytes(32)),
        )

    def _lose(self, epoch: int) -> None:
        """It was not sealed in time: it is armed again, and the second time its batches are void."""
        self.ledger.block = max(self.ledger.block, self.ledger.seed_block(epoch) + self._mostly(HASHES + 1, HASHES))
        thief, second = address("thief"), epoch in self.ledger.second_blocks
        lost = [each for each in self.ledger.batches.values() if self.ledger.epoch(each) == epoch]
        if self._rarely():
            self._seal(epoch)
        if not second or self._rarely():
            self.do(thief, "EpochBeacon", "rearm", [epoch], lambda: self.ledger.rearm(epoch))
        if second or self._rarely():
            batch = self.dice.choice(lost)
            self.do(
                *(thief, "Settlement", "voidLost", [batch.node, batch.slot]),
                lambda: self.ledger.void_lost(batch.node, batch.slot),
                lambda: (*self.node(batch.node), *self.batch(batch)),
            )
        elif epoch not in self.ledger.seeds and self.dice.random() < 0.4:
            self._lose(epoch)

    def finalize(self) -> None:
        ready = [each for each in self.ledger.batches.values() if self._is_ready(each)]
        batch = self.dice.choice(ready) if ready and not self._rarely() else self._batch("pending", "passed")
        if batch and (ready or self._rarely()):
            if not self._rarely():
                self.ledger.time = max(self.ledger.time, batch.time + self.ledger.numbers.challenge_seconds)
            self.do(
                *(address("thief"), "Settlement", "finalize", [batch.node, batch.slot]),
                lambda: self.ledger.finalize(batch.node, batch.slot),
                lambda: (*self.node(batch.node), *self.batch(batch), *self.money()),
            )

    def _is_ready(self, batch: Batch) -> bool:
        """But for the time that it must wait."""
        if batch.state != "pending":
            return batch.state == "passed"
        return self.ledger.epoch(batch) in self.ledger.seeds and not self.ledger.drawn(batch)[1]

    def refund(self) -> None:
        if batch := self._batch("void"):
            self.do(
                *(address("thief"), "Settlement", "refund", [batch.node, batch.slot, contents_of(batch)]),
                lambda: self.ledger.refund(batch.node, batch.slot),
                lambda: [self.lane((debit.client, debit.signer, batch.node)) for debit in batch.debits],
            )

    def claim(self) -> None:
        rich = [node for node, one in self.ledger.nodes.items() if one.rewards or self._rarely()]
        if not rich:
            return
        node = self.dice.choice(rich)
        payout = self.ledger.nodes[node].payout
        self.do(
            *(address("thief"), "Settlement", "claim", [node]),
            lambda: self.ledger.claim(node),
            lambda: (look("VCoin", "balanceOf", payout, value=self.ledger.wallets.get(payout, 0)),),
        )

    def flush_burn(self) -> None:
        if self.ledger.to_burn or self._rarely():
            self.do(address("thief"), "Settlement", "flushBurn", [], self.ledger.flush_burn, self.money)

    # ---- court

    def convene(self) -> None:
        sealed = [
            each
            for each in self.ledger.batches.values()
            if each.state == "pending" and self.ledger.epoch(each) in self.ledger.seeds
        ]
        last = self.ledger.time - self.ledger.numbers.starved_seconds
        drawn = [each for each in sealed if each.time >= last and self.ledger.drawn(each)[1]]
        if not sealed or (not drawn and not self._rarely()):
            return
        batch = self.dice.choice(drawn if drawn and not self._rarely() else sealed)
        convened = self.do(
            *(address("thief"), "Court", "convene", [batch.node, batch.slot, contents_of(batch)]),
            lambda: self.ledger.convene(address("thief"), batch.node, batch.slot),
            lambda: [
                *self.batch(batch),
                *self.money(),
                *(self.case(case) if (case := self.ledger.cases.get(batch.id)) else []),
            ],
        )
        if convened:
            self._step_down(self.ledger.cases[batch.id])

    def _step_down(self, case: Case) -> None:
        """In time only soon after the draw."""
        if self.dice.random() < 0.15:
            self.wait(self._mostly(1, self.ledger.numbers.seat_seconds // 4))
            self._abstain(case, self.dice.randrange(len(case.seats)))

    def seats(self) -> None:
        """Every seat of an open case that can do something does it, or one is silent, steps down or asks for data."""
        open_cases = [case for case in self.ledger.cases.values() if not case.verdict and case.state == "open"]
        if not open_cases:
            return
        case = self.dice.choice(open_cases)
        score = self.dice.choice([10_000, 10_000, 9_800, 9_501, 9_500, 8_501, 8_500, 4_000, 0])
        present = range(case.first_seat, len(case.seats))
        silent = self.dice.choice(present) if self.dice.random() < 0.15 else None
        if self.dice.random() < 0.08:
            self._abstain(case, self.dice.choice(present))
        if self.dice.random() < 0.15 and self._demand(case, self.dice.choice(present)):
            return
        for number in present:
            if case.seats[number].state == "drawn" and number != silent:
                self._commit(case, number)
        if self.dice.random() < 0.1 and self._demand(case, self.dice.choice(present)):
            return
        for number in present:
            if case.seats[number].state == "committed" and number != silent:
                self._reveal(case, number, self._mostly(score, 9_000, 10_000, 0))
        if silent is not None:
            self._replace(case, silent)
        self._resolve(case)
        if case.state == "decided" and self.dice.random() < 0.5:
            self._appeal(case)

    def _abstain(self, case: Case, number: int) -> None:
        sender = self._mostly(case.seats[number].node, address("thief"))
        self.do(
            *(sender, "Court", "abstain", [case.batch.id, number, contents_of(case.batch)]),
            lambda: self.ledger.abstain(sender, case, number),
            lambda: (*self.case(case), *self.node(case.seats[number].node)),
        )

    def _demand(self, case: Case, number: int) -> bool:
        """Whether the case waits for the node now; most nodes answer at once."""
        sender = self._mostly(case.seats[number].node, address("thief"))
        leaf = self._mostly(self.dice.choice(case.drawn), case.batch.leaves)
        asked = self.do(
            *(sender, "Court", "demandData", [case.batch.id, number, leaf, DETAILS]),
            lambda: self.ledger.demand(sender, case, number, leaf),
            lambda: self.case(case),
        )
        if asked and self.dice.random() < 0.6:
            self._answer(case)
        return case.state != "open"

    def _answer(self, case: Case) -> None:
        one = self.ledger.nodes[case.batch.node]
        sender = self._mostly(self.dice.choice([one.owner, case.batch.node]), address("thief"))
        size = self._mostly(100, 0, LARGEST_ANSWER, LARGEST_ANSWER + 1)
        self.wait(self._mostly(1, self.ledger.numbers.data_seconds, self.ledger.numbers.data_seconds + 1))
        self.do(
            *(sender, "Court", "answerData", [case.batch.id, bytes(size)]),
            lambda: self.ledger.answer(sender, case, size),
            lambda: self.case(case),
        )

    def _commit(self, case: Case, number: int) -> None:
        sender = self._mostly(case.seats[number].node, address("thief"))
        self.do(
            *(sender, "Court", "commitSeat", [case.batch.id, number, sealed(case, number)]),
            lambda: self.ledger.commit(sender, case, number),
        )

    def _reveal(self, case: Case, number: int, score: int) -> None:
        llr_millinats = told_of(case, number)
        scores = [10_000] * len(case.drawn)
        scores[self.dice.randrange(len(scores))] = score
        scores = self._mostly(scores, scores[1:], [*scores[:-1], 10_001])
        if not scores:
            scores = [score, score]
        sender = case.seats[number].node
        digest, salt = secrets_of(number)
        self.do(
            *(sender, "Court", "revealSeat", [case.batch.id, number, digest, scores, salt, llr_millinats]),
            lambda: self.ledger.reveal(sender, case, number, scores, llr_millinats),
        )

    def _replace(self, case: Case, number: int) -> None:
        if not self._rarely():
            self.wait(self.ledger.numbers.seat_seconds + 1)
        node = case.seats[number].node
        self.do(
            *(address("thief"), "Court", "replaceSeat", [case.batch.id, number, contents_of(case.batch)]),
            lambda: self.ledger.replace(case, number),
            lambda: (*self.case(case), *self.node(node), *self.holdings(node), *self.money()),
        )

    def _resolve(self, case: Case) -> None:
        self.do(
            *(address("thief"), "Court", "resolve", [case.batch.id, contents_of(case.batch)]),
            lambda: self.ledger.resolve(case),
            lambda: (
                *(*self.case(case), *self.node(case.batch.node), *self.batch(case.batch), *self.money()),
                *self.holdings(case.batch.node),
                *(each for seat in case.seats for each in self.node(seat.node)),
            ),
        )

    def rulings(self) -> None:
        """A case that waits is ended once no party may appeal, answer or vote any more, or some do so too late."""
        waiting = [case for case in self.ledger.cases.values() if not case.verdict and case.state != "open"]
        if not waiting:
            return None
        case = self.dice.choice(waiting)
        if case.state == "arbiters" and self.dice.random() < 0.7:
            return self._votes(case)
        if not self._rarely():
            self.ledger.time = max(self.ledger.time, self.ledger.until(case) + 1)
        if self._rarely():
            return self._answer(case) if case.state == "asked" else self._appeal(case)
        return self._resolve(case)

    def change_bench(self) -> None:
        """A node goes on the list of verifiers or off it."""
        node = self._node()
        one = self.ledger.nodes[node]
        sits = any(place.node == node and place.until_block == STAYS for place in self.ledger.places)
        sender = self._mostly(self.dice.choice([one.owner, node]), address("thief"), address("thief"))
        name = self._mostly("leaveVerifiers" if sits else "joinVerifiers", "leaveVerifiers", "joinVerifiers")
        told = self.ledger.leave if name == "leaveVerifiers" else self.ledger.join
        self.do(sender, "Court", name, [node, CLASS], lambda: told(sender, node), self.bench)

    def name_arbiters(self) -> None:
        """The arbiters of doubts from now on, or none."""
        count = self.dice.choice([3, 3, 3, 4, 1, 0])
        names = tuple(sorted(map(address, self.dice.sample(ARBITERS, count)), key=lambda who: int(who, 16)))
        quorum = count // 2 + 1 if count else 0
        arbiters = Arbiters(names, quorum)
        self.do(
            *(self.scene.contracts["Timelock"], "Panel", "setArbiters", [list(names), quorum]),
            lambda: setattr(self.ledger, "arbiters", arbiters),
        )

    def _votes(self, case: Case) -> None:
        passes = self.dice.random() < 0.5
        for name in self.dice.sample(ARBITERS, len(ARBITERS)):
            if case.verdict and not self._rarely():
                return
            sender, vote = address(name), self._mostly(passes, not passes)
            if self._rarely():
                self.wait(self.ledger.numbers.arbiter_seconds)
            self.do(
                *(sender, "Panel", "vote", [case.batch.id, vote]),
                lambda sender=sender, vote=vote: self.ledger.vote(sender, case, vote),
                lambda: (*self.case(case), *self.node(case.batch.node), *self.batch(case.batch), *self.money()),
            )

    def _appeal(self, case: Case) -> None:
        owner = self.ledger.nodes[case.batch.node].owner
        sender = self._mostly(owner, address("thief"))
        self.do(
            *(sender, "Court", "appeal", [case.batch.id, contents_of(case.batch)]),
            lambda: self.ledger.appeal(sender, case),
            lambda: (*self.case(case), look("VCoin", "balanceOf", owner, value=self.ledger.wallets[owner])),
        )

    def starve(self) -> None:
        if batch := self._batch("pending", "in court"):
            if self.ledger.epoch(batch) not in self.ledger.seeds:
                return
            if self.dice.random() < 0.5:
                self.wait(self.ledger.numbers.starved_seconds * self.dice.choice([1, 2]))
            self.do(
                *(address("thief"), "Court", "voidStarved", [batch.node, batch.slot, contents_of(batch)]),
                lambda: self.ledger.starve(batch.node, batch.slot),
                lambda: (*self.node(batch.node), *self.batch(batch), *self.money()),
            )

    # ---- chance

    def play(self, count: int) -> None:
        """`count` moves that find something to do, each some seconds after the last, and a look at everything."""
        moves: dict[Callable[[], None], int] = {
            self.deposit: 2,
            self.withdraw: 1,
            self.set_signer: 1,
            self.open_lane: 5,
            self.close_lane: 1,
            self.reclaim_lane: 2,
            self.submit: 9,
            self.seal: 9,
            self.finalize: 9,
            self.refund: 3,
            self.claim: 2,
            self.flush_burn: 1,
            self.owner_moves: 3,
            self.staker_moves: 8,
            self.terms: 2,
            self.check_in: 1,
            self.be_away: 1,
            self.convene: 9,
            self.seats: 11,
            self.rulings: 3,
            self.starve: 2,
            self.name_arbiters: 1,
            self.change_bench: 1,
        }
        if self.dice.random() < 0.7:
            self.name_arbiters()
        made = 0
        while made < count:
            before = len(self.steps)
            self.wait(self.dice.choice([1, 1, 2, 5, 15]))
            self.dice.choices(list(moves), list(moves.values()))[0]()
            made += len(self.steps) > before
        self.do(address("thief"), "Settlement", "flushBurn", [], self.ledger.flush_burn, self.everything)

    def _client(self) -> str:
        return address(self.dice.choice(CLIENTS))

    def _client_and_signer(self) -> tuple[str, str]:
        name = self.dice.choice(CLIENTS)
        return address(name), address(self.dice.choice([f"signer of {name}", f"signer of {name}", name]))

    def _lane(self) -> tuple[str, str, str]:
        if self.ledger.lanes and self.dice.random() < 0.6:
            return self.dice.choice(list(self.ledger.lanes))
        return *self._client_and_signer(), address(self.dice.choice(PROVIDERS))

    def _batch(self, *states: str) -> Batch | None:
        found = [each for each in self.ledger.batches.values() if each.state in states]
        return self.dice.choice(found) if found else None


def contents_of(batch: Batch) -> dict[str, Any]:
    told = members("Court", "convene", "contents", "debits")
    debits = [{name: value for name, value in vars(debit).items() if name in told} for debit in batch.debits]
    return {"root": batch.root, "maxLeaf": batch.max_leaf, "debits": debits}


def secrets_of(seat: int) -> tuple[bytes, bytes]:
    return hashlib.sha256(b"digest %d" % seat).digest(), hashlib.sha256(b"salt %d" % seat).digest()


def sealed(case: Case, seat: int) -> bytes:
    """The commitment of a seat: its case, round, place, projections, what it says of margins, and salt."""
    kinds = ["bytes32", "uint8", "uint8", "bytes32", "int32", "bytes32"]
    digest, salt = secrets_of(seat)
    return bytes(keccak(encode(kinds, [case.batch.id, case.round, seat, digest, told_of(case, seat), salt])))


def told_of(case: Case, seat: int) -> int:
    """The ratio that a seat tells: mostly what the others say; of some nodes that mostly speaks against them."""
    cheats = keccak(text=case.batch.node)[0] % 3 != 0
    usual = (4_000, 6_000, 5_355, 900, 100_000) if cheats else (-700, -100, 0, 60, 2_500)
    if case.batch.slot in FIRST_SLOTS:
        # With the head start, one full case away from fraud.
        return 2_500
    shared, own = keccak(case.batch.id), keccak(case.batch.id + bytes([seat]))
    if own[0] % 8 == 0:
        return (2**31 - 1, -(2**31), -5_000, 4_605)[own[1] % 4]
    return usual[shared[0] % len(usual)] + own[2] % 3
