"""The court as plain Python: verifiers, cases, seats, rounds and verdicts.

Left out: arbiters: a network without any voids what its last round doubts.
"""

import copy
from dataclasses import dataclass, field, replace
from typing import Self

from chain.abi.enums import BatchState, SeatState
from protocol.events import (
    CaseConvened,
    CaseDecided,
    CaseGrown,
    CaseResolved,
    DataAnswered,
    DataDemanded,
    SeatAdded,
    SeatCommitted,
    SeatRevealed,
    SeatSilenced,
)
from protocol.judging.margins import SequentialTest, median_llr
from protocol.params import (
    FULL_BENCH,
    LARGEST_BENCH,
    MAX_ANSWER_BYTES,
    NO_SHOW_BPS,
    PASS_ABOVE_BPS,
    PENALTY_LIGHT,
    PENALTY_MEDIUM,
    PENALTY_SEVERE,
    REVIEW_ABOVE_BPS,
    SPREAD_MAX_BPS,
)
from protocol.stages.commitment import BatchContents
from protocol.stages.sampling import ListSlot, batch_seed, draw_order, epoch_of
from protocol.stages.settlement import convene_pay, seat_pay
from protocol.stages.verification import Verdict, seat_commitment
from protocol.wire.ids import ZERO_HASH, Address, BatchId
from tests.fakes.contracts import Contracts, MemoryBatch

TICKETS_PER_SEAT = 64
FOREVER = 2**40 - 1
STAKE_FACTOR = 5
FULL_WEIGHT_STAKES = 20
ABSTAIN_DIVISOR = 4
EPOCH_BITS = 16
"""The epoch in which a case passed."""


@dataclass
class MemorySeat:
    """One seat of a case."""

    node: Address
    since: int
    state: SeatState = SeatState.DRAWN
    score: int = 0
    commitment: bytes = ZERO_HASH
    llr_millinats: int = 0


@dataclass
class MemoryCase:
    """A case and the order in which its seats are drawn."""

    batch: MemoryBatch
    drawn: tuple[int, ...]
    order: list[Address]
    seats: list[MemorySeat] = field(default_factory=list)
    verdict: Verdict = Verdict.NONE
    round: int = 0
    first_seat: int = 0
    standing: Verdict = Verdict.NONE
    """The finding of the last round, if the case goes on after it."""
    median: int = 0
    since: int = 0
    """When the second round or the time to appeal began, in seconds."""
    decided: bool = False
    accuses: bool = False
    """Three seats found fraud, and an appeal may still come or is heard."""
    appellant: Address | None = None
    bond: int = 0
    convener_paid: bool = False
    demanded_at: int = 0
    resumed_at: int = 0
    waits_for_data: bool = False
    passed_in: int = 0
    """The lowest bits of the epoch in which it passed, and the first ticket of its auditors."""

    def fork(self, batches: dict[tuple[Address, int], MemoryBatch]) -> "MemoryCase":
        """A copy over the copy of its batch, as long as that one is still in its slot."""
        now = batches[self.batch.batch.node, self.batch.batch.slot]
        batch = now if now.batch_id == self.batch.batch_id else self.batch
        return replace(self, batch=batch, seats=[copy.copy(seat) for seat in self.seats])

    @property
    def bench(self) -> list[MemorySeat]:
        """The seats of the present round."""
        return self.seats[self.first_seat :]

    @property
    def revealed(self) -> list[MemorySeat]:
        """Those of them who have revealed."""
        return [seat for seat in self.bench if seat.state is SeatState.REVEALED]


@dataclass
class Court(Contracts):
    """Contracts with a court over them."""

    verifiers: list[ListSlot] = field(default_factory=list)
    cases: dict[BatchId, MemoryCase] = field(default_factory=dict)
    wallets: dict[Address, int] = field(default_factory=dict)
    """Payments for bonds, below zero, and their refunds."""
    abstained: dict[Address, int] = field(default_factory=dict)
    """The last day on which a node stepped down."""
    running: dict[tuple[Address, int], SequentialTest] = field(default_factory=dict)
    """The running margin of each node on each class."""

    def fork(self) -> Self:
        """A copy that may change on its own; what never changes is shared. It has said nothing yet."""
        other = copy.copy(self)
        other.events = []
        for name in ("free", "lanes", "seeds", "rewards", "wallets", "abstained", "running"):
            setattr(other, name, dict(getattr(self, name)))
        other.nodes = {key: copy.copy(node) for key, node in self.nodes.items()}
        other.batches = {key: copy.copy(batch) for key, batch in self.batches.items()}
        other.verifiers = list(self.verifiers)
        other.cases = {name: case.fork(other.batches) for name, case in self.cases.items()}
        return other

    def is_clear(self, batch: MemoryBatch) -> bool:
        node = batch.batch.node
        return not any(case.accuses and case.batch.batch.node == node for case in self.cases.values())

    def join_verifiers(self, node: Address) -> None:
        known, full = self.node(node), FULL_WEIGHT_STAKES * self.profile.min_stake
        self.require(known.active, "NotActive")
        self.require(known.stake >= STAKE_FACTOR * self.profile.min_stake, "StakeTooLow")
        self.require(all(each.node != node or each.until_block != FOREVER for each in self.verifiers), "AlreadyJoined")
        weight = min(known.stake, full) * self.score(node) // full
        self.verifiers.append(ListSlot(node, self.block, FOREVER, max(weight, self.profile.verifier_weight_floor_bps)))

    def convene(self, sender: Address, node: Address, slot: int, contents: BatchContents) -> None:
        batch, drawn = self._drawn_for(node, slot, contents)
        self.require(batch.state is BatchState.PENDING, "WrongState")
        self.require(self.timestamp <= batch.timestamp + self.profile.starved_seconds, "TooLate")
        case = MemoryCase(batch, drawn, self._order(batch, drawn))
        wanted = self._seats_wanted(batch, drawn)
        case.seats = [MemorySeat(seat, self.timestamp) for seat in case.order[:wanted]]
        self.require(bool(case.seats), "NoSeats")
        self.cases[batch.batch_id] = case
        batch.state = BatchState.IN_COURT
        seats = tuple(seat.node for seat in case.seats)
        self.emit(CaseConvened(batch.batch_id, node, slot, batch.batch.class_id, drawn, seats, self.timestamp))
        self._pay_convener(case, sender)

    def commit_seat(self, sender: Address, name: BatchId, index: int, commitment: bytes) -> None:
        seat = self._own_seat(sender, name, index)
        self.require(commitment != ZERO_HASH, "ZeroCommitment")
        self.require(seat.state is SeatState.DRAWN, "AlreadyCommitted")
        seat.state, seat.commitment, seat.since = SeatState.COMMITTED, commitment, self.timestamp
        self.emit(SeatCommitted(name, index))

    def reveal_seat(
        self,
        sender: Address,
        name: BatchId,
        index: int,
        digest: bytes,
        scores: tuple[int, ...],
        salt: bytes,
        llr_millinats: int,
    ) -> None:
        seat, case = self._own_seat(sender, name, index), self.cases[name]
        self.require(seat.state is SeatState.COMMITTED, "NotCommitted")
        self.require(all(each.state is not SeatState.DRAWN for each in case.bench), "SeatsMissing")
        bound = seat_commitment(name, case.round, index, digest, salt, llr_millinats)
        self.require(seat.commitment == bound, "CommitmentMismatch")
        self.require(len(scores) == len(case.drawn), "WrongScoreCount")
        self.require(all(score <= 10_000 for score in scores), "ScoreOutOfRange")
        seat.state, seat.score, seat.llr_millinats = SeatState.REVEALED, min(scores), llr_millinats
        self.emit(SeatRevealed(name, index, seat.node, scores, digest, llr_millinats))

    def replace_seat(self, name: BatchId, index: int, contents: BatchContents) -> None:
        case = self._open_case(name)
        self.require(index < len(case.seats), "SeatNotSilent")
        seat = case.seats[index]
        self.require(self.timestamp > self._turn_end(case, seat), "SeatStillHasTime")
        shown = any(each.state in (SeatState.COMMITTED, SeatState.REVEALED) for each in case.bench)
        seat.state = SeatState.SILENT
        self.emit(SeatSilenced(name, index, seat.node))
        self._seat_more(name, case, contents, 1)
        if shown:
            self.slash(seat.node, name, NO_SHOW_BPS)
        self.penalise(seat.node, PENALTY_LIGHT, lost_case=False)

    def abstain(self, sender: Address, name: BatchId, index: int, contents: BatchContents) -> None:
        seat = self._own_seat(sender, name, index)
        self.require(seat.state is SeatState.DRAWN, "AlreadyCommitted")
        self.require(self.timestamp <= seat.since + self.profile.seat_seconds // ABSTAIN_DIVISOR, "TooLateToAbstain")
        self.require(self.abstained.get(seat.node) != self._today, "AbstainedToday")
        self.abstained[seat.node] = self._today
        seat.state = SeatState.SILENT
        self.emit(SeatSilenced(name, index, seat.node))
        self._seat_more(name, self.cases[name], contents, 1)

    def demand_data(self, sender: Address, name: BatchId, index: int, leaf: int, key: bytes) -> None:
        seat, case = self._own_seat(sender, name, index), self.cases[name]
        self.require(seat.state is not SeatState.REVEALED, "AlreadyRevealed")
        if seat.state is SeatState.COMMITTED:
            self.require(all(each.state is not SeatState.DRAWN for each in case.bench), "SeatsMissing")
        self.require(not case.demanded_at, "DemandedBefore")
        self.require(leaf in case.drawn, "LeafNotDrawn")
        case.demanded_at, case.waits_for_data = self.timestamp, True
        self.emit(DataDemanded(name, index, leaf, key, self.timestamp + self.profile.data_seconds))

    def answer_data(self, sender: Address, name: BatchId, data: bytes) -> None:
        case = self.cases.get(name)
        self.require(case is not None and case.waits_for_data, "NothingDemanded")
        assert case is not None
        node = case.batch.batch.node
        self.require(sender in (node, self.nodes[node].owner), "NotOfNode")
        self.require(self.timestamp <= case.demanded_at + self.profile.data_seconds, "TooLate")
        self.require(0 < len(data) <= MAX_ANSWER_BYTES, "BadAnswer")
        case.waits_for_data, case.resumed_at = False, self.timestamp
        self.emit(DataAnswered(name, data, self.timestamp))

    def resolve(self, name: BatchId, contents: BatchContents) -> None:
        waiting = self.cases.get(name)
        if waiting is not None and (waiting.decided or waiting.waits_for_data):
            self.require(self.timestamp > self._until(waiting.batch), "RulingWaits")
            return self._end_waiting(name, waiting)
        case = self._open_case(name)
        revealed = case.revealed
        sitting = sum(seat.state is not SeatState.SILENT for seat in case.bench)
        self.require(bool(revealed) and len(revealed) == sitting, "NotAllRevealed")
        scores = [seat.score for seat in revealed]
        median = _median_of(scores)
        if case.round:
            return self._end_round(name, case, median, len(revealed))
        if len(revealed) >= FULL_BENCH:
            return self._end_full_bench(name, case, contents, scores)
        verdict, llr_millinats = _verdict_of(median), median_llr([seat.llr_millinats for seat in revealed])
        passes = verdict is Verdict.PASS
        if not passes or self._running_of(case).is_suspect(llr_millinats):
            if self._seat_more(name, case, contents, FULL_BENCH - len(revealed)):
                return None
            verdict = verdict if passes else Verdict.SHORT
        if passes:
            self._weigh(case, llr_millinats, bench=False)
        return self._close(name, case, verdict, median)

    def appeal(self, sender: Address, name: BatchId, contents: BatchContents) -> None:
        case = self.cases.get(name)
        self.require(case is not None and case.decided, "NothingToAppeal")
        assert case is not None
        node = case.batch.batch.node
        self.require(self.timestamp <= case.since + self.profile.appeal_seconds, "AppealOver")
        self.require(sender in (node, self.nodes[node].owner), "NotOfNode")
        case.appellant, case.bond = sender, -(-self.nodes[node].stake // 100)
        self.require(self._grow(name, case, contents, case.standing, case.median), "CannotGrow")
        self._pay_wallet(sender, -case.bond)

    def void_starved(self, node: Address, slot: int, contents: BatchContents) -> None:
        batch = self.batch(node, slot)
        self.require(batch.state in (BatchState.PENDING, BatchState.IN_COURT), "WrongState")
        self.require(self.timestamp > self._until(batch), "NotStarved")
        if batch.state is BatchState.PENDING:
            return self._void_unheard(node, slot, contents)
        case = self.cases[batch.batch_id]
        if case.decided or case.waits_for_data:
            return self._end_waiting(batch.batch_id, case)
        if case.round:
            median = _median_of([seat.score for seat in case.revealed])
            worse = len(case.revealed) >= FULL_BENCH and _verdict_of(median) > case.standing
            return self._end_round(batch.batch_id, case, median, len(case.revealed) if worse else 0)
        lowest = min((seat.score for seat in case.revealed), default=0)
        found = bool(case.revealed) and _verdict_of(lowest) is not Verdict.PASS
        return self._close(batch.batch_id, case, Verdict.SHORT if found else Verdict.STARVED, lowest)

    def condemn(self, batch: MemoryBatch) -> None:
        """A proven fraud ends the case of a batch, or its batch before there was one."""
        case = self.cases.setdefault(batch.batch_id, MemoryCase(batch, (), []))
        case.waits_for_data = False
        self._settle_bond(case, Verdict.SEVERE)
        self._close(batch.batch_id, case, Verdict.SEVERE, 0, proven=True)

    # ---- inside: rounds

    def _end_full_bench(self, name: BatchId, case: MemoryCase, contents: BatchContents, scores: list[int]) -> None:
        median = _median_of(scores)
        verdict = _verdict_of(median)
        doubtful = verdict is Verdict.REVIEW or max(scores) - min(scores) > SPREAD_MAX_BPS
        if doubtful and self._grow(name, case, contents, verdict, median):
            return None
        verdict = self._weighed(case, verdict)
        if (
            not doubtful
            and verdict is Verdict.SEVERE
            and not case.batch.batch.uncalibrated
            and self._larger_bench(case, contents)
        ):
            case.decided, case.standing, case.median, case.since = True, verdict, median, self.timestamp
            case.accuses = True
            return self.emit(CaseDecided(name, verdict, median, self.timestamp + self.profile.appeal_seconds))
        return self._close(name, case, verdict, median)

    def _end_round(self, name: BatchId, case: MemoryCase, median: int, count: int) -> None:
        verdict = _verdict_of(median)
        if count < FULL_BENCH:
            verdict, median = case.standing, case.median
        else:
            verdict = self._weighed(case, verdict)
        self._settle_bond(case, verdict)
        self._close(name, case, verdict, median)

    def _end_waiting(self, name: BatchId, case: MemoryCase) -> None:
        verdict = case.standing
        if case.waits_for_data:
            case.waits_for_data = False
            verdict = Verdict.SEVERE if verdict is Verdict.SEVERE else Verdict.WITHHELD
            self._settle_bond(case, verdict)
        self._close(name, case, verdict, case.median)

    # ---- inside: margins

    def _running_of(self, case: MemoryCase) -> SequentialTest:
        return self.running.get(_margin_key(case), SequentialTest())

    def _weigh(self, case: MemoryCase, llr_millinats: int, *, bench: bool) -> bool:
        """Add a case that passes, unless that is one too many."""
        running = self._running_of(case).after(llr_millinats, bench=bench)
        if not running.is_alarm:
            self.running[_margin_key(case)] = running
        return running.is_alarm

    def _weighed(self, case: MemoryCase, verdict: Verdict) -> Verdict:
        """The finding of three seats and more, their margins added to those before."""
        llr_millinats = median_llr([seat.llr_millinats for seat in case.revealed])
        alarm = verdict is Verdict.PASS and self._weigh(case, llr_millinats, bench=True)
        return Verdict.SEVERE if alarm else verdict

    def _settle_bond(self, case: MemoryCase, found: Verdict) -> None:
        if case.appellant is None:
            return
        if found >= case.standing:
            self.pool += case.bond
        else:
            self._pay_wallet(case.appellant, case.bond)
        case.appellant, case.bond = None, 0

    @property
    def bonds(self) -> int:
        """The bonds that the court holds."""
        return sum(case.bond for case in self.cases.values())

    def _pay_wallet(self, who: Address, amount: int) -> None:
        self.wallets[who] = self.wallets.get(who, 0) + amount

    def _grow(self, name: BatchId, case: MemoryCase, contents: BatchContents, standing: Verdict, median: int) -> bool:
        bench = self._larger_bench(case, contents)
        if not bench:
            return False
        case.round, case.first_seat, case.decided = 1, len(case.seats), False
        case.standing, case.median, case.since = standing, median, self.timestamp
        self.emit(CaseGrown(name, case.round, case.first_seat, standing, median))
        self._add_seats(name, case, bench)
        return True

    def _larger_bench(self, case: MemoryCase, contents: BatchContents) -> list[Address]:
        """The largest odd number up to seven: new ones first, then those who revealed; none if it is no larger."""
        if case.round or len(self.verifiers) < len(case.seats) + 2:
            return []
        self.require(contents == case.batch.contents, "WrongContents")
        case.order = self._order(case.batch, case.drawn, FULL_BENCH + LARGEST_BENCH)
        old = [seat.node for seat in case.revealed]
        bench = (case.order[len(case.seats) :][:LARGEST_BENCH] + old)[:LARGEST_BENCH]
        if len(bench) % 2 == 0:
            bench.pop()
        return bench if len(bench) > len(old) else []

    def _until(self, batch: MemoryBatch) -> int:
        """When anyone may end a batch that no court has ended, in seconds."""
        starved = self.profile.starved_seconds
        if batch.state is BatchState.PENDING:
            return batch.timestamp + starved
        case = self.cases[batch.batch_id]
        if case.waits_for_data:
            return case.demanded_at + self.profile.data_seconds
        if case.decided:
            return case.since + self.profile.appeal_seconds
        until = case.since + starved if case.round else batch.timestamp + 2 * starved
        return until + self.profile.data_seconds if case.demanded_at else until

    # ---- inside: seats

    def _drawn_for(self, node: Address, slot: int, contents: BatchContents) -> tuple[MemoryBatch, tuple[int, ...]]:
        batch = self.batch(node, slot)
        self.require(contents == batch.contents, "WrongContents")
        drawn = self.drawn(batch)
        self.require(bool(drawn), "NotDrawn")
        return batch, drawn

    def _seats_wanted(self, batch: MemoryBatch, drawn: tuple[int, ...]) -> int:
        value = min(batch.contents.max_leaf * len(drawn), batch.batch.price_sum)
        return 1 if value < self.profile.court_value else FULL_BENCH

    def _order(self, batch: MemoryBatch, drawn: tuple[int, ...], seats: int = FULL_BENCH) -> list[Address]:
        seed = batch_seed(self.seeds[epoch_of(batch.block, self.profile.epoch_blocks)], batch.batch_id)
        excluded, tickets = self._excluded(batch, drawn), TICKETS_PER_SEAT * seats
        return draw_order(seed, batch.batch_id, batch.block, self.verifiers, frozenset(excluded), tickets)

    def _excluded(self, batch: MemoryBatch, drawn: tuple[int, ...]) -> set[Address]:
        """The nodes that have a hand in a batch."""
        owner, parties = self.nodes[batch.batch.node].owner, self._parties(batch.contents, drawn)
        return {node for node, known in self.nodes.items() if known.owner == owner or parties & {node, known.owner}}

    def _parties(self, contents: BatchContents, drawn: tuple[int, ...]) -> set[Address]:
        parties: set[Address] = set()
        first = 0
        for debit in contents.debits:
            if debit.amount and any(first <= index < first + debit.leaves for index in drawn):
                parties |= {debit.client, debit.signer}
            first += debit.leaves
        return parties

    def _seat_more(self, name: BatchId, case: MemoryCase, contents: BatchContents, wanted: int) -> int:
        self.require(contents == case.batch.contents, "WrongContents")
        # An old seat that sits again is a seat more, but no place of the order.
        found = [node for node in case.order if all(seat.node != node for seat in case.seats)][:wanted]
        self._add_seats(name, case, found)
        return len(found)

    def _add_seats(self, name: BatchId, case: MemoryCase, nodes: list[Address]) -> None:
        for node in nodes:
            case.seats.append(MemorySeat(node, self.timestamp))
            self.emit(SeatAdded(name, len(case.seats) - 1, node, self.timestamp))

    def _turn_end(self, case: MemoryCase, seat: MemorySeat) -> int:
        if seat.state is SeatState.DRAWN:
            return max(seat.since, case.resumed_at) + self.profile.seat_seconds
        waiting = any(each.state is SeatState.DRAWN for each in case.bench)
        self.require(seat.state is SeatState.COMMITTED and not waiting, "SeatNotSilent")
        last = max(each.since for each in case.bench if each.state is not SeatState.SILENT)
        return max(last, case.resumed_at) + self.profile.seat_seconds

    def _close(self, name: BatchId, case: MemoryCase, verdict: Verdict, median: int, *, proven: bool = False) -> None:
        batch, node, before = case.batch, case.batch.batch.node, case.batch.state
        if verdict is Verdict.SEVERE:
            self.running.pop(_margin_key(case), None)
        # A proven fraud is no noise, whatever the class.
        if batch.batch.uncalibrated and not proven and verdict in (Verdict.SEVERE, Verdict.SHORT):
            verdict = Verdict.REVIEW
        case.verdict, case.decided, case.accuses = verdict, False, False
        self.emit(CaseResolved(name, verdict, median, self.block))
        self._punish(name, node, verdict, batch.batch.uncalibrated)
        if verdict is Verdict.PASS:
            case.passed_in = epoch_of(self.block, self.profile.epoch_blocks) % (1 << EPOCH_BITS)
            batch.state = BatchState.PASSED
            self.pool += batch.fee
        else:
            if before in (BatchState.PASSED, BatchState.AUDITED):
                self._take_fee_back(batch)
            looked = any(seat.state is SeatState.REVEALED for seat in case.seats)
            batch.fee_kept = batch.batch.checked and batch.fee > 0 and looked and self.nodes[node].active
            self.void(batch)
        if before is BatchState.IN_COURT:
            self._pay(case)

    def _take_fee_back(self, batch: MemoryBatch) -> None:
        """It went to the pool when the court let the batch pass; now it goes back with all the rest."""
        self.require(batch.fee <= self.pool, "PoolTooLow")
        self.pool -= batch.fee

    def _punish(self, name: BatchId, node: Address, verdict: Verdict, uncalibrated: bool) -> None:
        if verdict is Verdict.REVIEW:
            self.penalise(node, PENALTY_LIGHT, lost_case=not uncalibrated)
        if verdict is Verdict.WITHHELD and self.profile.slash_bps:
            loss, stake = 10 * self.cases[name].batch.value * 10_000, self.nodes[node].stake
            self.slash(node, name, min(self.profile.slash_bps, -(-loss // stake)) if stake else self.profile.slash_bps)
        if verdict in (Verdict.SHORT, Verdict.WITHHELD):
            self.penalise(node, PENALTY_MEDIUM, lost_case=True)
        if verdict is Verdict.SEVERE:
            if self.profile.slash_bps:
                self.slash(node, name, self.profile.slash_bps)
            self.penalise(node, PENALTY_SEVERE, lost_case=True)
        if verdict in (Verdict.SHORT, Verdict.SEVERE, Verdict.WITHHELD):
            self.nodes[node].active = False
            self.verifiers = [
                replace(each, until_block=self.block) if each.node == node else each for each in self.verifiers
            ]
            self.show(node)

    def _pay(self, case: MemoryCase) -> None:
        self._share(self._seats_due(case), [seat.node for seat in case.seats if seat.state is SeatState.REVEALED])

    def _seats_due(self, case: MemoryCase) -> int:
        """The pay that its seats share, without the part of the convening account."""
        due = seat_pay(case.batch.fee, len(case.drawn), case.batch.leaf_count, case.batch.rate_bps)
        return due - convene_pay(case.batch.fee) if case.convener_paid else due

    def _share(self, due: int, nodes: list[Address]) -> None:
        share = min(due, self.pool) // max(1, len(nodes))
        for node in nodes:
            self.pool -= share
            self.reward(node, share)

    def _pay_convener(self, case: MemoryCase, sender: Address) -> None:
        share = convene_pay(case.batch.fee)
        if sender == case.batch.batch.node:
            case.convener_paid, case.batch.owed = True, share
            return
        if not share or share > self.pool:
            return
        case.convener_paid = True
        self.pool -= share
        if sender in self.nodes:
            self.reward(sender, share)
        else:
            self.add_free(sender, share)

    def _void_unheard(self, node: Address, slot: int, contents: BatchContents) -> None:
        batch, drawn = self._drawn_for(node, slot, contents)
        case = MemoryCase(batch, drawn, self._order(batch, drawn), verdict=Verdict.STARVED)
        self.cases[batch.batch_id] = case
        self.emit(CaseResolved(batch.batch_id, Verdict.STARVED, 0, self.block))
        if case.order:
            self.penalise(node, PENALTY_MEDIUM, lost_case=True)
        self.void(batch)

    def _own_seat(self, sender: Address, name: BatchId, index: int) -> MemorySeat:
        case = self._open_case(name)
        self.require(index < len(case.seats), "NotSeated")
        seat = case.seats[index]
        self.require(seat.state is not SeatState.SILENT and seat.node == sender, "NotSeated")
        return seat

    def _open_case(self, name: BatchId) -> MemoryCase:
        self.require(name in self.cases, "NoSuchCase")
        self.require(self.cases[name].verdict is Verdict.NONE, "CaseClosed")
        self.require(not self.cases[name].decided and not self.cases[name].waits_for_data, "CaseWaits")
        return self.cases[name]


def _margin_key(case: MemoryCase) -> tuple[Address, int]:
    return case.batch.batch.node, case.batch.batch.class_id


def _median_of(scores: list[int]) -> int:
    """The middle one, of an even number the lower of two; 0 of none."""
    return sorted(scores)[(len(scores) - 1) // 2] if scores else 0


def _verdict_of(score: int) -> Verdict:
    if score > PASS_ABOVE_BPS:
        return Verdict.PASS
    return Verdict.REVIEW if score > REVIEW_ABOVE_BPS else Verdict.SEVERE
