"""Histories by chance: who does what next, mostly what may be done, often something that may not."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from eth_abi.abi import encode
from eth_utils.crypto import keccak

from protocol.stages.assignment import Assignment, LaneOpen
from protocol.wire.ids import Address
from tests.proof.histories.ledger import Batch, Case, Claim, Ledger, Refused
from tests.proof.histories.rules import verify_fee
from tests.proof.histories.scene import CLASS, VCN, Look, Scene, Step, address, calldata, functions, look, members

PROVIDERS = ("node 0", "node 1", "node 2")
CLIENTS = ("client 0", "client 1", "client 2")
_LANE_STATES = ("none", "open", "closing", "reclaimed")
_NODE_STATES = ("none", "active", "jailed", "exiting", "gone")
_BATCH_STATES = ("none", "pending", "in court", "passed", "void", "final", "refunded")
DETAILS = hashlib.sha256(b"details").digest()


@dataclass
class Player:
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
                *(self.ledger.time, self.ledger.block, Address(sender), contract, data, succeeds, words),
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
        return (
            look(
                *("Settlement", "bookOf", node),
                rewards=one.rewards,
                openValue=one.open_value,
                openBatches=one.open_batches,
            ),
            look(
                *("StakeManager", "nodeOf", node),
                state=_NODE_STATES.index(one.state),
                scoreHundredths=self.ledger.score(node),
                activeStake=one.active,
                unbondingStake=one.unbonding,
                rateBps=record.rate_percent() * 100,
                successes=record.good,
                total=record.total,
                responseMs=record.ms,
                checkInDays=record.days_seen,
                penaltyTenths=record.penalty,
                samplesLeft=record.probation,
            ),
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

    def case(self, case: Case) -> Look:
        members = [each["name"] for each in functions("Court")["seatsOf"]["outputs"][0]["components"]]
        at = [2 + number * len(members) + members.index("node") for number in range(len(case.seats))]
        nodes = [bytes(12) + bytes.fromhex(seat.node[2:]) for seat in case.seats]
        count = len(case.seats).to_bytes(32, "big")
        return Look("Court", calldata("Court", "seatsOf", case.batch.id), (1, *at), (count, *nodes))

    def money(self) -> Sequence[Look]:
        ledger, contracts = self.ledger, self.scene.contracts
        return (
            look("Settlement", "pool", value=ledger.pool),
            look("Settlement", "burnPending", value=ledger.to_burn),
            look("VCoin", "balanceOf", contracts["Settlement"], value=ledger.held_by_settlement()),
            look("VCoin", "balanceOf", contracts["StakeManager"], value=ledger.held_by_stakes()),
            look("VCoin", "totalSupply", value=10**27 - ledger.burned),
        )

    def everything(self) -> Sequence[Look]:
        ledger = self.ledger
        return (
            *self.money(),
            *(self.account(address(name)) for name in CLIENTS),
            *(self.lane(lane) for lane in ledger.lanes),
            *(each for node in ledger.nodes for each in self.node(node)),
            *(each for batch in ledger.batches.values() for each in self.batch(batch)),
            *(look("VCoin", "balanceOf", who, value=amount) for who, amount in ledger.wallets.items()),
        )

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
        amount = self._mostly(min(free, self.dice.randint(1, 80) * VCN), 0, free + 1)
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
        lane = self.dice.choice(closing or [self._lane()])
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
        claims, room = [], one.active // 2 - one.open_value
        most = 20 if one.record.probation else self.dice.choice([20, 60, 120])
        for lane in open_lanes[: self.dice.randint(1, 3)]:
            claims.append(self._claim(lane, room // 4, max(1, most // 4)))
            room -= claims[-1].charge
        leaves = sum(
            claim.index - (lane.jobs if (lane := self.ledger.lanes.get((claim.client, claim.signer, node))) else 0)
            for claim in claims
        )
        self._submit(node, claims, self._mostly(leaves, leaves + 1))

    def _claim(self, lane: tuple[str, str, str], room: int, most: int) -> Claim:
        there = self.ledger.lanes[lane]
        count = self._mostly(self.dice.randint(1, most), 0, most * 8)
        charge = self.dice.randint(0, max(0, min(there.left * 20 // 23, room)))
        charge = self.dice.choice([charge, charge // 50, charge // 50 * 50, 7])
        bonus = self.dice.choice([0, 0, charge * 9 // 100, charge // 50])
        owed = charge + verify_fee(charge) + bonus
        cumulative = there.mark + self._mostly(owed, owed + self.dice.randint(0, 10**17), owed - 1)
        signed = self._mostly(lane[1], address("thief"))
        return Claim(*lane[:2], there.jobs + count, max(0, cumulative), charge, bonus, signed)

    def _submit(self, node: str, claims: Sequence[Claim], leaves: int) -> None:
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
        }
        free = [slot for slot in (0, 1, 2, 63) if self.ledger.is_free(node, slot)]
        chosen = self._mostly(self.dice.choice(free or [0]), 0, 64)
        sender = self._mostly(node, self.ledger.nodes[node].owner)
        submission = {
            "node": node,
            "slot": chosen,
            "classId": CLASS,
            "flags": int(told["mine_by"] != 0),
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
            return
        epoch = min(pending)
        seed_block = self.ledger.seed_block(epoch)
        if not self._rarely():
            self.ledger.block = max(self.ledger.block, seed_block + 1)
            self.ledger.time += 1
        # Later the hash is out of the machine's reach.
        self.ledger.block = min(self.ledger.block, seed_block + 250)
        value = hashlib.sha256(self.dice.randbytes(8)).digest()
        self.do(
            *(address("thief"), "EpochBeacon", "seal", [epoch]),
            lambda: self.ledger.seal(epoch, value),
            hashed=(seed_block, value) if seed_block < self.ledger.block else (0, bytes(32)),
        )

    def finalize(self) -> None:
        ready = [each for each in self.ledger.batches.values() if self._is_ready(each)]
        batch = self.dice.choice(ready) if ready and self.dice.random() < 0.8 else self._batch("pending", "passed")
        if batch:
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
        node = self.dice.choice(rich or [address("node 0")])
        payout = self.ledger.nodes[node].payout
        self.do(
            *(address("thief"), "Settlement", "claim", [node]),
            lambda: self.ledger.claim(node),
            lambda: (look("VCoin", "balanceOf", payout, value=self.ledger.wallets.get(payout, 0)),),
        )

    def flush_burn(self) -> None:
        self.do(address("thief"), "Settlement", "flushBurn", [], self.ledger.flush_burn, self.money)

    # ---- owners

    def owner_moves(self) -> None:
        node = address(self.dice.choice(PROVIDERS))
        one = self.ledger.nodes[node]
        owner = self._mostly(one.owner, node)
        amount = self.dice.randint(1, 2_000) * VCN + self.dice.choice([0, 1])
        moves: dict[str, tuple[list[Any], Callable[[], None]]] = {}
        more = self._mostly(amount, 0)
        out = self.dice.choice([amount, one.active, max(0, one.active - self.ledger.numbers.min_stake), one.active + 1])
        back = self.dice.choice([one.unbonding, one.unbonding + 1, one.unbonding // 2])
        moves["stake"] = [node, more], lambda: self.ledger.stake(owner, node, more)
        moves["unbond"] = [node, out], lambda: self.ledger.unbond(owner, node, out)
        moves["rebond"] = [node, back], lambda: self.ledger.rebond(owner, node, back)
        moves["withdraw"] = [node], lambda: self.ledger.withdraw_stake(owner, node)
        moves["unjail"] = [node], lambda: self.ledger.unjail(owner, node)
        name = "unjail" if one.state == "jailed" and self.dice.random() < 0.5 else self.dice.choice(list(moves))
        if name == "withdraw" and self.dice.random() < 0.3:
            self.wait(self.ledger.numbers.unbonding_seconds)
        arguments, told = moves[name]
        self.do(owner, "StakeManager", name, arguments, told, lambda: self.node(node))

    def check_in(self) -> None:
        node = address(self.dice.choice(PROVIDERS))
        sender = self._mostly(node, self.ledger.nodes[node].owner)
        if self.dice.random() < 0.5:
            self.wait(self.dice.randint(20_000, 90_000))
        self.do(
            *(sender, "StakeManager", "checkIn", [node]),
            lambda: self.ledger.check_in(sender, node),
            lambda: self.node(node),
        )

    # ---- court

    def convene(self) -> None:
        sealed = [
            each
            for each in self.ledger.batches.values()
            if each.state == "pending" and self.ledger.epoch(each) in self.ledger.seeds
        ]
        drawn = [each for each in sealed if self.ledger.drawn(each)[1]]
        if not sealed:
            return
        batch = self.dice.choice(drawn if drawn and not self._rarely() else sealed)
        self.do(
            *(address("thief"), "Court", "convene", [batch.node, batch.slot, contents_of(batch)]),
            lambda: self.ledger.convene(address("thief"), batch.node, batch.slot),
            lambda: [
                *self.batch(batch),
                *self.money(),
                *([self.case(case)] if (case := self.ledger.cases.get(batch.id)) else []),
            ],
        )

    def seats(self) -> None:
        """Every seat of an open case that can do something does it, or one is silent; then the case may end."""
        open_cases = [case for case in self.ledger.cases.values() if not case.verdict and case.state == "open"]
        if not open_cases:
            return
        case = self.dice.choice(open_cases)
        score = self.dice.choice([10_000, 10_000, 9_800, 9_501, 9_500, 8_501, 8_500, 4_000, 0])
        present = range(case.first_seat, len(case.seats))
        silent = self.dice.choice(present) if self.dice.random() < 0.15 else None
        for number in present:
            if case.seats[number].state == "drawn" and number != silent:
                self._commit(case, number)
        for number in present:
            if case.seats[number].state == "committed" and number != silent:
                self._reveal(case, number, self._mostly(score, 9_000, 10_000, 0))
        if silent is not None:
            self._replace(case, silent)
        self._resolve(case)
        if case.state == "decided" and self.dice.random() < 0.5:
            self._appeal(case)

    def _commit(self, case: Case, number: int) -> None:
        sender = self._mostly(case.seats[number].node, address("thief"))
        self.do(
            *(sender, "Court", "commitSeat", [case.batch.id, number, sealed(case, number)]),
            lambda: self.ledger.commit(sender, case, number),
        )

    def _reveal(self, case: Case, number: int, score: int) -> None:
        scores = [10_000] * len(case.drawn)
        scores[self.dice.randrange(len(scores))] = score
        scores = self._mostly(scores, scores[1:], [*scores[:-1], 10_001])
        if not scores:
            scores = [score, score]
        sender = case.seats[number].node
        digest, salt = secrets_of(number)
        self.do(
            *(sender, "Court", "revealSeat", [case.batch.id, number, digest, scores, salt]),
            lambda: self.ledger.reveal(sender, case, number, scores),
        )

    def _replace(self, case: Case, number: int) -> None:
        if not self._rarely():
            self.wait(self.ledger.numbers.seat_seconds + 1)
        node = case.seats[number].node
        self.do(
            *(address("thief"), "Court", "replaceSeat", [case.batch.id, number, contents_of(case.batch)]),
            lambda: self.ledger.replace(case, number),
            lambda: (self.case(case), *self.node(node)),
        )

    def _resolve(self, case: Case) -> None:
        self.do(
            *(address("thief"), "Court", "resolve", [case.batch.id, contents_of(case.batch)]),
            lambda: self.ledger.resolve(case),
            lambda: (
                *(self.case(case), *self.node(case.batch.node), *self.batch(case.batch), *self.money()),
                *(each for seat in case.seats for each in self.node(seat.node)),
            ),
        )

    def rulings(self) -> None:
        """A case that waits is ended once nobody may appeal any more, or appealed too late."""
        waiting = [case for case in self.ledger.cases.values() if not case.verdict and case.state == "decided"]
        if not waiting:
            return None
        case = self.dice.choice(waiting)
        if self._rarely():
            return self._appeal(case)
        if not self._rarely():
            self.ledger.time = max(self.ledger.time, case.since + self.ledger.numbers.appeal_seconds + 1)
        return self._resolve(case)

    def _appeal(self, case: Case) -> None:
        owner = self.ledger.nodes[case.batch.node].owner
        sender = self._mostly(owner, address("thief"))
        self.do(
            *(sender, "Court", "appeal", [case.batch.id, contents_of(case.batch)]),
            lambda: self.ledger.appeal(sender, case),
            lambda: (self.case(case), look("VCoin", "balanceOf", owner, value=self.ledger.wallets[owner])),
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
        """`count` moves, each some seconds after the last, and a look at everything."""
        moves: dict[Callable[[], None], int] = {
            self.deposit: 2,
            self.withdraw: 1,
            self.set_signer: 1,
            self.open_lane: 5,
            self.close_lane: 1,
            self.reclaim_lane: 2,
            self.submit: 9,
            self.seal: 7,
            self.finalize: 7,
            self.refund: 3,
            self.claim: 1,
            self.flush_burn: 1,
            self.owner_moves: 3,
            self.check_in: 1,
            self.convene: 7,
            self.seats: 7,
            self.rulings: 3,
            self.starve: 2,
        }
        for move in self.dice.choices(list(moves), list(moves.values()), k=count):
            self.wait(self.dice.choice([1, 1, 2, 5, 15]))
            move()
        self.do(address("thief"), "Settlement", "flushBurn", [], self.ledger.flush_burn, self.everything)

    def _rarely(self) -> bool:
        return self.dice.random() < 0.08

    def _mostly(self, usual: Any, *others: Any) -> Any:
        return self.dice.choice(others) if self.dice.random() < 0.06 else usual

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
    """What a seat commits to: its case, round, place, projections and salt."""
    kinds = ["bytes32", "uint8", "uint8", "bytes32", "bytes32"]
    return bytes(keccak(encode(kinds, [case.batch.id, case.round, seat, *secrets_of(seat)])))
