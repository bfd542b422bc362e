"""The chain as the driver sees it: performs chain and wallet effects, and reports what the chain says."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import trio

from chain.abi.enums import BatchState, CaseState, SeatState
from chain.contracts.network import Deployment, Network
from chain.contracts.profiles import POLL_S
from chain.contracts.settlement import contents_of
from chain.perform.liveness import Signs
from chain.read.watcher import Send, Watcher
from chain.rpc.clock import HINT, ChainClock, now_ms
from chain.rpc.endpoints import REST_S, Unreachable, open_rpc
from chain.rpc.ethereum import Call, Ethereum, refusal_name
from chain.rpc.quorum import Witnesses
from chain.tx.pending import Record, Recorded
from chain.tx.transactions import MAX_FEE, MAX_PAUSE_S, Sender, look_after
from chain.tx.wallet import Key, Wallet
from protocol.effects import (
    AbstainSeat,
    AnswerDemand,
    ChainEffect,
    ChallengeLeaf,
    CheckIn,
    CloseAudit,
    CommitAudit,
    CommitSeat,
    ConveneAudit,
    ConveneCourt,
    DemandData,
    EndChallenge,
    FinalizeBatch,
    OpenLane,
    ProveFraud,
    RefundBatch,
    ReplaceSeat,
    ResolveCase,
    RevealAudit,
    RevealSeat,
    SealEpoch,
    SignMessage,
    SubmitBatch,
    VoidStarved,
    about,
)
from protocol.errors import ChainError, Reverted
from protocol.events import AuditNotDrawn, BatchMined, Event, MessageSigned, TransactionMined
from protocol.judging.margins import median_evidence
from protocol.params import AUDIT_LATEST_EPOCHS, FULL_BENCH, PASS_ABOVE_BPS, ChainRules
from protocol.stages.assignment import Assignment, LaneOpen
from protocol.stages.commitment import BatchContents, batch_id, contents_hash
from protocol.stages.offer import Offer
from protocol.stages.request import Request
from protocol.stages.sampling import epoch_of, is_audited
from protocol.stages.verification import Calibration, Verdict
from protocol.wire.ids import Address, BatchId, Cid, Hash32, Wei

Done = Callable[[], Awaitable[bool]]
_DONE_REFUSALS = frozenset({"SameDay", "AlreadySealed", "DemandedBefore", "AlreadyConvened"})
STAYS = "this node stepped down once today and stays; it loses stake if it does not judge in time"
_NO_CONTENTS = BatchContents(bytes(32), Wei(0), ())
LOOK_AFTER_POLLS = 4
LANE_TRIES = 5
NEXT_BLOCK_POLLS = 8
_NO_AUDIT = frozenset({"NotDrawn", "NotPassed", "TooFewAuditors", "TooLate", "WrongState", "WrongContents"})
_WITH_DEADLINE = (Request, Offer, Assignment, LaneOpen)
_ANYBODYS = (
    FinalizeBatch,
    RefundBatch,
    VoidStarved,
    ConveneCourt,
    ReplaceSeat,
    ResolveCase,
    ProveFraud,
    EndChallenge,
    ConveneAudit,
    CloseAudit,
)
"""What several nodes may want at once."""
_ENDED = frozenset({BatchState.FINAL, BatchState.REFUNDED})


class ChainAdapter:
    """One node's hold on one network. Made by `open_chain`."""

    def __init__(
        self,
        network: Network,
        deployment: Deployment,
        rules: ChainRules,
        wallet: Wallet,
        record: Record,
        watcher: Watcher,
        clock: ChainClock,
        poll_s: float,
        most_fee: Wei,
    ) -> None:
        self.network = network
        self.deployment = deployment
        self.rules = rules
        self.wallet = wallet
        self.watcher = watcher
        self.clock = clock
        self._poll_s = poll_s
        depth = rules.final_depth

        def sender(key: Key) -> Sender:
            return Sender(network.ethereum, key, record, depth=depth, poll_s=poll_s, most_fee=most_fee)

        self._operator = sender(wallet.operator)
        client = wallet.client
        # One key may play both parts; its nonces still have one owner.
        self._client = self._operator if client is None or client.address == wallet.operator.address else sender(client)

    async def run(self, send_event: Send, *, task_status: Any = trio.TASK_STATUS_IGNORED) -> None:
        """Report the chain until cancelled; see Watcher."""
        await self.watcher.follow(send_event, task_status=task_status)

    async def look_after(self) -> None:
        """Send again, or for more, what was sent and no final block has, until cancelled."""
        await look_after(self._senders, self._poll_s * LOOK_AFTER_POLLS)

    async def give_signs(self, node: Address) -> None:
        """Answer liveness challenges on the chain until cancelled."""
        await Signs(self.network, self._operator, node).give(self._poll_s * LOOK_AFTER_POLLS)

    @property
    def _senders(self) -> tuple[Sender, ...]:
        return (self._operator,) if self._client is self._operator else (self._operator, self._client)

    async def resume(self, recorded: Sequence[Recorded]) -> None:
        """Before anything is performed: take up the recorded transactions that no final block has, see Sender.

        Raises: ChainError, transient, if no endpoint answers.
        """
        for sender in self._senders:
            await sender.resume(recorded)

    def sender_of(self, address: Address) -> Sender:
        """The one owner of a key's nonces, for other senders with the same key.

        Raises: ChainError if the key is not on this machine.
        """
        for sender in (self._operator, self._client):
            if sender.address == address:
                return sender
        raise ChainError(f"the key of {address} is not on this machine")

    async def calibration(self, manifest: Cid, class_id: int) -> Calibration:
        """The noise constants of a model on a class; UNCALIBRATED if there are none."""
        return await self.network.params.calibration(manifest, class_id)

    async def perform(self, effect: ChainEffect | SignMessage) -> Event:
        """Do what an effect asks, unless it is done already, and say so.

        Waits while no endpoint answers.

        Raises: Reverted, transient where only time or somebody else's turn is missing; ChainError, for a message with a
        deadline while this machine's clock is wrong, too.
        """
        match effect:
            case SignMessage():
                return self._sign(effect)
            case _:
                return await self._perform_when_reached(effect)

    def _sign(self, effect: SignMessage) -> MessageSigned:
        if isinstance(effect.message, _WITH_DEADLINE) and self.clock.trouble:
            raise ChainError(f"{self.clock.trouble}; {HINT}")
        return self.wallet.perform(effect)

    async def _perform_when_reached(self, effect: ChainEffect) -> Event:
        """Wait while no endpoint answers, so that an outage costs an effect nothing but time."""
        pause_s = self._poll_s
        while True:
            try:
                return await self._perform(effect)
            except Unreachable:
                # Who watches the chain has said so.
                await trio.sleep(pause_s)
                pause_s = min(pause_s * 2, MAX_PAUSE_S)

    async def _perform(self, effect: ChainEffect) -> Event:
        match effect:
            case SubmitBatch():
                return await self._submit(effect)
            case SealEpoch():
                return await self._seal(effect)
            case CheckIn(node):
                return await self._do(effect, self.network.stakes.check_in(node), self._operator, _never)
            case OpenLane():
                return await self._open_lane(effect)
            case FinalizeBatch() | RefundBatch() | VoidStarved() | ConveneCourt():
                return await self._do_batch(effect)
            case ProveFraud():
                return await self._prove(effect)
            case ChallengeLeaf() | EndChallenge():
                return await self._challenge(effect)
            case AbstainSeat():
                return await self._abstain(effect)
            case ConveneAudit():
                return await self._convene_audit(effect)
            case CommitAudit() | RevealAudit() | CloseAudit():
                return await self._do_audit(effect)
            case CommitSeat() | RevealSeat() | ReplaceSeat() | ResolveCase() | DemandData() | AnswerDemand():
                return await self._do_case(effect)

    # ---- one way for each kind of call

    async def _submit(self, effect: SubmitBatch) -> BatchMined:
        batch, settlement = effect.batch, self.network.settlement
        wanted = contents_hash(contents_of(batch))

        async def mined() -> BatchMined | None:
            stored = await settlement.batch_of(batch.node, batch.slot)
            if stored.state is BatchState.NONE or stored.contents_hash != wanted:
                return None
            name = batch_id(batch.node, batch.slot, stored.commit_block)
            return BatchMined(name, batch.slot, stored.commit_block, batch.root)

        if answer := await mined():
            return answer
        try:
            receipt = await self._operator.send(settlement.submit(batch), effect)
        except Reverted:
            if answer := await mined():
                return answer
            raise
        return BatchMined(batch_id(batch.node, batch.slot, receipt.block), batch.slot, receipt.block, batch.root)

    async def _seal(self, effect: SealEpoch) -> TransactionMined:
        beacon = self.network.beacon

        async def sealed() -> bool:
            return (await beacon.seed_of(effect.epoch)).value is not None

        try:
            return await self._do(effect, beacon.seal(effect.epoch), await self._anyone(), sealed)
        except Reverted as error:
            if refusal_name(error) != "SeedLost":
                raise
            # It was not sealed while the chain knew the hash: it gets one more block, and is sealed when asked again.
            await (await self._anyone()).send(beacon.rearm(effect.epoch), effect)
            raise Reverted(f"{error}; the epoch was re-armed", transient=True) from error

    async def _open_lane(self, effect: OpenLane) -> TransactionMined:
        order, settlement = effect.order, self.network.settlement

        async def total() -> int:
            lane = await settlement.lane_of(order.client, order.signer, order.node)
            return lane.left + lane.mark

        async def opened() -> bool:
            # The total never falls while the lane is open, so the message has counted once the lane is past it.
            return await total() >= order.prev_total + order.amount

        client = self.wallet.client
        ours = client is not None and client.address in (order.client, order.signer)
        for left in reversed(range(LANE_TRIES)):
            call = settlement.open_lane(order, effect.signature)
            if ours and order.prev_total < (now := await total()):
                # A batch moved the lane since the order was signed, and would again before we heard of it as final.
                newer = replace(order, prev_total=now)
                call = settlement.open_lane(newer, self._sign(SignMessage(newer)).signature)
            try:
                # The requester pays for its lanes; a node that opens one for its client pays itself.
                return await self._do(effect, call, self._client, opened)
            except Reverted as error:
                if not ours or not left or refusal_name(error) != "LaneMoved":
                    raise
                await self._next_block()
        raise AssertionError("the last try returns")

    async def _next_block(self) -> None:
        """Wait for what is in the pool: endpoints that simulate on theirs refuse by it what no block says yet."""
        head = await self.network.ethereum.head()
        for _ in range(NEXT_BLOCK_POLLS):
            await trio.sleep(self._poll_s)
            if await self.network.ethereum.head() != head:
                return

    async def _do_batch(self, effect: FinalizeBatch | RefundBatch | VoidStarved | ConveneCourt) -> TransactionMined:
        settlement, court = self.network.settlement, self.network.court
        node, slot = effect.node, effect.slot
        done_in: frozenset[BatchState]
        match effect:
            case FinalizeBatch():
                call, done_in = settlement.finalize(node, slot), _ENDED
            case RefundBatch(contents=contents):
                call, done_in = settlement.refund(node, slot, contents), _ENDED
            case VoidStarved(contents=contents):
                call, done_in = court.void_starved(node, slot, contents), _ENDED | {BatchState.VOID}
            case ConveneCourt(contents=contents):
                call = court.convene(node, slot, contents)
                done_in = frozenset(BatchState) - {BatchState.NONE, BatchState.PENDING}

        return await self._do(effect, call, await self._anyone(), lambda: self._batch_is(effect, done_in))

    async def _prove(self, effect: ProveFraud) -> TransactionMined:
        """A batch that is void or final takes no proof any more."""
        call = self.network.evidence.prove_fraud(
            effect.node, effect.slot, effect.contents, effect.lie, effect.leaves, effect.papers
        )
        return await self._do(effect, call, self._operator, lambda: self._batch_is(effect, _ENDED | {BatchState.VOID}))

    async def _challenge(self, effect: ChallengeLeaf | EndChallenge) -> TransactionMined:
        evidence, batch = self.network.evidence, BatchId(effect.batch_id)

        async def is_bonded() -> bool:
            _, bond = await evidence.challenge_of(batch)
            return bond != 0

        async def is_over() -> bool:
            return not await is_bonded()

        match effect:
            case ChallengeLeaf(contents=contents, position=position):
                call = evidence.challenge_leaf(effect.node, effect.slot, contents, position)
                return await self._do(effect, call, self._client, is_bonded)
            case EndChallenge(block=block):
                call = evidence.end_challenge(effect.node, effect.slot, block)
                return await self._do(effect, call, await self._anyone(), is_over)

    async def _do_case(
        self, effect: CommitSeat | RevealSeat | ReplaceSeat | ResolveCase | DemandData | AnswerDemand
    ) -> TransactionMined:
        court, case = self.network.court, BatchId(effect.batch_id)
        match effect:
            case CommitSeat(seat=seat, commitment=commitment):
                call, sender = court.commit_seat(case, seat, commitment), self._operator
                return await self._do(effect, call, sender, lambda: self._committed(case, seat, commitment))
            case RevealSeat(seat=seat, digest=digest, scores=scores, salt=salt, evidence=evidence):
                call, sender = court.reveal_seat(case, seat, digest, scores, salt, evidence), self._operator
                return await self._do(effect, call, sender, lambda: self._seat_is(case, seat, SeatState.REVEALED))
            case DemandData(seat=seat, leaf_index=leaf, hpke_key=key):
                call, sender = court.demand_data(case, seat, leaf, key), self._operator
                return await self._do(effect, call, sender, lambda: self._demanded(case))
            case AnswerDemand(data=data):
                call, sender = court.answer_data(case, data), self._operator
                return await self._do(effect, call, sender, lambda: self._answered(case))
            case ReplaceSeat(seat=seat, contents=contents):
                call, sender = court.replace_seat(case, seat, contents), await self._anyone()
                return await self._do(effect, call, sender, lambda: self._seat_is(case, seat, SeatState.SILENT))
            case ResolveCase(contents=contents):
                shown = _NO_CONTENTS if await self._passes(case) else contents
                call, sender = court.resolve(case, shown), await self._anyone()
                return await self._do(effect, call, sender, lambda: self._closed(case))

    async def _abstain(self, effect: AbstainSeat) -> TransactionMined:
        case, seat = BatchId(effect.batch_id), effect.seat
        call = self.network.court.abstain(case, seat, effect.contents)
        try:
            return await self._do(effect, call, self._operator, lambda: self._seat_is(case, seat, SeatState.SILENT))
        except Reverted as error:
            if refusal_name(error) != "AbstainedToday":
                raise
            raise Reverted(f"{error}: {STAYS}") from error

    async def _convene_audit(self, effect: ConveneAudit) -> TransactionMined | AuditNotDrawn:
        """Nineteen of twenty cases are not drawn: that costs a few questions, and no gas."""
        audits, case = self.network.audits, BatchId(effect.batch_id)

        async def convened() -> bool:
            return (await audits.audit_of(case)).since != 0

        if await convened():
            return await self._mined(effect)
        epoch = await self._audit_epoch(case)
        if epoch is None:
            return AuditNotDrawn(case)
        await self._seal(SealEpoch(epoch))
        try:
            drawn = await audits.preview(effect.node, effect.slot, effect.contents)
            if effect.auditor not in drawn:
                return AuditNotDrawn(case)
            return await self._do(
                effect, audits.convene(effect.node, effect.slot, effect.contents), self._operator, convened
            )
        except Reverted as error:
            if error.transient or refusal_name(error) not in _NO_AUDIT:
                raise
            return AuditNotDrawn(case)

    async def _audit_epoch(self, case: BatchId) -> int | None:
        """The epoch whose seed draws a case that passed for an audit; None if it does not, or did too long ago.

        Raises: Reverted, transient, before that can be known.
        """
        network, passed = self.network, await self.network.court.case_of(case)
        if passed.verdict is not Verdict.PASS:
            return None
        head = await network.ethereum.head()
        now = epoch_of(head, self.rules.epoch)
        # Court keeps 16 bits of it.
        epoch = now - (now - passed.next_try) % (1 << 16)
        if now - epoch > AUDIT_LATEST_EPOCHS:
            return None
        seed = (await network.beacon.seed_of(epoch)).value
        if seed is None:
            at = await network.beacon.seed_block_of(epoch)
            if head <= at:
                raise Reverted(f"NoSeed: block {at} draws what is audited", transient=True)
            seed = (await network.ethereum.block(at)).hash
        return epoch if is_audited(seed, case) else None

    async def _do_audit(self, effect: CommitAudit | RevealAudit | CloseAudit) -> TransactionMined:
        audits, case = self.network.audits, BatchId(effect.batch_id)
        match effect:
            case CommitAudit(auditor=auditor, commitment=commitment):
                call, sender = audits.commit(case, auditor, commitment), self._operator
                return await self._do(
                    effect, call, sender, lambda: self._auditor_is(case, auditor, SeatState.COMMITTED)
                )
            case RevealAudit(auditor=auditor, off=off, score=score, salt=salt):
                call, sender = audits.reveal(case, auditor, off, score, salt), self._operator
                return await self._do(effect, call, sender, lambda: self._auditor_is(case, auditor, SeatState.REVEALED))
            case CloseAudit():
                call, sender = audits.close(case), await self._anyone()
                return await self._do(effect, call, sender, lambda: self._audit_ended(case))

    async def _do(self, effect: ChainEffect, call: Call, sender: Sender, done: Done) -> TransactionMined:
        """Ask whether it is done; if not, do it; if that is refused because somebody was faster, it is done too."""
        if await done():
            return await self._mined(effect)
        try:
            receipt = await sender.send(call, effect)
        except Reverted as error:
            if refusal_name(error) in _DONE_REFUSALS or await done():
                return await self._mined(effect)
            if error.transient or not isinstance(effect, _ANYBODYS):
                raise
            # Somebody else may have done it in the pool, by which an endpoint may refuse it before a block tells.
            await self._next_block()
            if not await done():
                raise
            return await self._mined(effect)
        return TransactionMined(type(effect), about(effect), receipt.block)

    async def _mined(self, effect: ChainEffect) -> TransactionMined:
        return TransactionMined(type(effect), about(effect), await self.network.ethereum.head())

    # ---- done already?

    async def _batch_is(
        self,
        effect: FinalizeBatch | RefundBatch | VoidStarved | ConveneCourt | ProveFraud,
        states: frozenset[BatchState],
    ) -> bool:
        settlement = self.network.settlement
        # Another batch in the slot: ours has ended long ago.
        if await settlement.batch_id_of(effect.node, effect.slot) != effect.batch_id:
            return True
        return (await settlement.batch_of(effect.node, effect.slot)).state in states

    async def _committed(self, case: BatchId, seat: int, commitment: bytes) -> bool:
        seats = await self.network.court.seats_of(case)
        return seat < len(seats) and seats[seat].is_bound_to(commitment)

    async def _seat_is(self, case: BatchId, seat: int, state: SeatState) -> bool:
        seats = await self.network.court.seats_of(case)
        return (seat < len(seats) and seats[seat].state is state) or await self._closed(case)

    async def _auditor_is(self, case: BatchId, auditor: int, state: SeatState) -> bool:
        """Whether an auditor has come so far; after the end of its audit it comes no further."""
        auditors = await self.network.audits.auditors_of(case)
        reached = auditor < len(auditors) and auditors[auditor].state >= state
        return reached or await self._audit_ended(case)

    async def _audit_ended(self, case: BatchId) -> bool:
        return (await self.network.audits.audit_of(case)).ended

    async def _demanded(self, case: BatchId) -> bool:
        """Whether a demand waits for its answer; one that was answered shows by the refusal of the next."""
        return (await self.network.court.case_of(case)).state in (CaseState.DATA_CHALLENGE, CaseState.CLOSED)

    async def _passes(self, case: BatchId) -> bool:
        """Whether every seat has found that the batch passes: then no seat is drawn by its contents any more.

        Unless what they say of its margins is the drop too many.
        """
        court = self.network.court
        heard = [seat for seat in await court.seats_of(case) if seat.state is not SeatState.SILENT]
        if not heard or any(seat.state is not SeatState.REVEALED or seat.score <= PASS_ABOVE_BPS for seat in heard):
            return False
        if all(seat.evidence <= 0 for seat in heard):
            return True
        seen, evidence = await court.case_of(case), median_evidence([seat.evidence for seat in heard])
        running = await court.running_of(seen.node, seen.class_id)
        if len(heard) < FULL_BENCH:
            return not running.is_suspect(evidence)
        return not running.after(evidence, bench=True).is_alarm

    async def _answered(self, case: BatchId) -> bool:
        return (await self.network.court.case_of(case)).state is not CaseState.DATA_CHALLENGE

    async def _closed(self, case: BatchId) -> bool:
        return (await self.network.court.case_of(case)).state is CaseState.CLOSED

    # ---- who pays

    async def _anyone(self) -> Sender:
        """For calls that anyone may send: the operator, or where it has nothing for gas, the client."""
        if self._client is self._operator or await self.network.ethereum.balance(self._operator.address):
            return self._operator
        return self._client


async def _never() -> bool:
    """A day's check-in does not show before it is tried: the contract refuses a second one."""
    return False


@asynccontextmanager
async def open_chain(
    urls: Sequence[str],
    deployment: Deployment,
    wallet: Wallet,
    *,
    record: Record,
    cursor: int | None = None,
    cursor_hash: Hash32 | None = None,
    clock_ms: Callable[[], int] = now_ms,
    timeout_s: float = 10.0,
    rest_s: float = REST_S,
    poll_s: float | None = None,
    most_fee: Wei = MAX_FEE,
) -> AsyncIterator[ChainAdapter]:
    """Connect to a network: endpoints in order of preference, where its contracts are, this machine's keys.

    Args: record, keeps each transaction before it is sent; cursor, the `final` of the last BlockSeen whose
    predecessors are all kept, None for a node that knows nothing, and cursor_hash, that block's where it is known;
    clock_ms, this machine's clock; timeout_s, for each call; rest_s, how long an endpoint that failed is left alone at
    first; poll_s, how often to ask for blocks, None for what suits the profile; most_fee, wei per gas that no
    transaction pays more than.
    Raises: ChainError if no endpoint answers, one serves another chain, or the contracts are not there; ConfigError for
    a profile that this release does not know.
    """
    async with open_rpc(urls, deployment.chain_id, timeout_s, rest_s) as rpc:
        network = Network(Ethereum(rpc), deployment.addresses)
        await network.require(deployment)
        rules = await network.params.rules(deployment.addresses.settlement, deployment.addresses.stakes)
        pause_s = POLL_S[rules.profile] if poll_s is None else poll_s
        witnesses, clock = Witnesses(rpc), ChainClock(clock_ms)
        watcher = Watcher(
            Network(Ethereum(witnesses), deployment.addresses),
            witnesses,
            clock,
            first_block=deployment.block,
            epoch_blocks=rules.epoch,
            final_depth=rules.final_depth,
            cursor=cursor,
            cursor_hash=cursor_hash,
            poll_s=pause_s,
        )
        yield ChainAdapter(network, deployment, rules, wallet, record, watcher, clock, pause_s, most_fee)
