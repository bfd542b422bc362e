"""Acts of one node's keys on the contracts in memory: an effect done, or found done already."""

from dataclasses import dataclass, replace

from chain.abi.enums import BatchState, SeatState
from chain.contracts.settlement import contents_of
from protocol.effects import (
    AbstainSeat,
    AnswerDemand,
    ChainEffect,
    ChallengeLeaf,
    CheckIn,
    CloseAudit,
    CommitAudit,
    CommitSeat,
    ConfirmLane,
    ConveneAudit,
    ConveneCourt,
    DemandData,
    EndChallenge,
    FinalizeBatch,
    LandLane,
    OpenLane,
    ProveFraud,
    RefundBatch,
    ReplaceSeat,
    ResolveCase,
    RevealAudit,
    RevealSeat,
    SealEpoch,
    SubmitBatch,
    TryLane,
    VoidStarved,
    about,
)
from protocol.events import AuditNotDrawn, BatchMined, LaneConfirmed, LaneTried, TransactionMined
from protocol.stages.assignment import LaneOpen
from protocol.stages.lane_notice import lane_open_id, total_after
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address, BatchId
from tests.fakes.audits import Audits
from tests.fakes.contracts import Refused

_ENDED = (BatchState.FINAL, BatchState.REFUNDED)


@dataclass(frozen=True)
class Hand:
    """The addresses that a node signs its transactions with."""

    operator: Address
    client: Address

    def do(self, contracts: Audits, effect: ChainEffect) -> None:
        """Change the contracts as the effect's transaction would. Raises: Refused."""
        match effect:
            case OpenLane(order, signature):
                lane = contracts.lane(order.client, order.signer, order.node)
                if self.client == order.client:
                    # It sends the order itself, so it may say anew what the lane had before.
                    order = replace(order, prev_total=max(order.prev_total, lane.left + lane.mark))
                contracts.open_lane(self.client, order, signature)
            case LandLane(order, signature):
                contracts.open_lane(self.operator, order, signature)
            case SubmitBatch(batch):
                contracts.submit(self.operator, batch)
            case SealEpoch(epoch):
                contracts.seal(epoch)
            case ConveneCourt(_, node, slot, contents):
                contracts.convene(self.operator, node, slot, contents)
            case CommitSeat(name, seat, commitment):
                contracts.commit_seat(self.operator, BatchId(name), seat, commitment)
            case RevealSeat(name, seat, digest, scores, salt, llr_millinats):
                contracts.reveal_seat(self.operator, BatchId(name), seat, digest, scores, salt, llr_millinats)
            case AbstainSeat(name, seat, contents):
                contracts.abstain(self.operator, BatchId(name), seat, contents)
            case ReplaceSeat(name, seat, contents):
                contracts.replace_seat(BatchId(name), seat, contents)
            case ResolveCase(name, contents):
                contracts.resolve(BatchId(name), contents)
            case DemandData(name, seat, leaf, key):
                contracts.demand_data(self.operator, BatchId(name), seat, leaf, key)
            case AnswerDemand(name, data):
                contracts.answer_data(self.operator, BatchId(name), data)
            case ProveFraud(_, node, slot, contents, fraud_kind, leaves, papers):
                contracts.prove_fraud(node, slot, contents, fraud_kind, leaves, papers)
            case ChallengeLeaf(_, node, slot, contents, position):
                contracts.challenge_leaf(self.client, node, slot, contents, position)
            case EndChallenge(_, node, slot, block):
                contracts.end_challenge(node, slot, block)
            case ConveneAudit(name, node, slot, contents, auditor):
                contracts.seal_for_audit(BatchId(name))
                if not contracts.has_none(BatchId(name), node, slot, contents, auditor):
                    contracts.convene_audit(node, slot, contents)
            case CommitAudit(name, auditor, commitment):
                contracts.commit_audit(self.operator, BatchId(name), auditor, commitment)
            case RevealAudit(name, auditor, off, score, salt):
                contracts.reveal_audit(self.operator, BatchId(name), auditor, off, score, salt)
            case CloseAudit(name):
                contracts.close_audit(BatchId(name))
            case VoidStarved(_, node, slot, contents):
                contracts.void_starved(node, slot, contents)
            case FinalizeBatch(_, node, slot):
                contracts.finalize(node, slot)
            case RefundBatch(_, node, slot, contents):
                contracts.refund(node, slot, contents)
            case CheckIn(node):
                contracts.check_in(self.operator, node)


def tried(contracts: Audits, effect: TryLane) -> LaneTried:
    """Whether an order for a lane would count in the next block."""
    draft, refusal = contracts.fork(), ""
    if not _has_counted(contracts, effect.order):
        try:
            draft.open_lane(effect.order.node, effect.order, effect.signature)
        except Refused as error:
            refusal = str(error)
    return LaneTried(lane_open_id(effect.order), refusal, effect.risk_wei)


def confirmed(state: Audits, final: Audits, effect: ConfirmLane) -> LaneConfirmed | None:
    """The answer to a wait for a lane by the state that is deep enough. Raises: Refused if its order never counts."""
    order = effect.order
    if _has_counted(state, order):
        return LaneConfirmed(lane_open_id(order), state.lane(order.client, order.signer, order.node), state.block)
    final.require(final.timestamp <= order.deadline or _has_counted(final, order), "DeadlinePassed")
    return None


def _has_counted(contracts: Audits, order: LaneOpen) -> bool:
    lane = contracts.lane(order.client, order.signer, order.node)
    return lane.left + lane.mark >= total_after(order)


def answer_of(
    contracts: Audits, effect: ChainEffect
) -> BatchMined | TransactionMined | AuditNotDrawn | LaneTried | None:
    """The answer to an effect that is done already; None if it is not done."""
    done = False
    match effect:
        case SubmitBatch(batch):
            found = contracts.batches.get((batch.node, batch.slot))
            if found is None or found.contents != contents_of(batch):
                return None
            return BatchMined(found.batch_id, batch.slot, found.block, batch.root)
        case OpenLane(order) | LandLane(order):
            done = _has_counted(contracts, order)
        case TryLane():
            return tried(contracts, effect)
        case SealEpoch(epoch):
            done = epoch in contracts.seeds
        case ConveneCourt(name):
            done = BatchId(name) in contracts.cases
        case FinalizeBatch(name, node, slot) | RefundBatch(name, node, slot):
            done = _state(contracts, name, node, slot) in _ENDED
        case VoidStarved(name, node, slot) | ProveFraud(name, node, slot):
            done = _state(contracts, name, node, slot) in (*_ENDED, BatchState.VOID)
        case ChallengeLeaf(name):
            done = BatchId(name) in contracts.challenges
        case EndChallenge(name):
            done = BatchId(name) not in contracts.challenges
        case CommitSeat(name, seat, commitment):
            done = _seat(contracts, name, seat)[1] == commitment
        case RevealSeat(name, seat):
            done = _seat(contracts, name, seat)[0] is SeatState.REVEALED or _is_closed(contracts, name)
        case AbstainSeat(name, seat) | ReplaceSeat(name, seat):
            done = _seat(contracts, name, seat)[0] is SeatState.SILENT or _is_closed(contracts, name)
        case DemandData(name):
            case_ = contracts.cases.get(BatchId(name))
            done = case_ is not None and (bool(case_.demanded_at) or case_.verdict is not Verdict.NONE)
        case AnswerDemand(name):
            case_ = contracts.cases.get(BatchId(name))
            done = case_ is not None and not case_.waits_for_data
        case ResolveCase(name):
            done = _is_closed(contracts, name)
        case ConveneAudit(name, node, slot, contents, auditor):
            done = BatchId(name) in contracts.audits
            if not done and contracts.has_none(BatchId(name), node, slot, contents, auditor):
                return AuditNotDrawn(name)
        case CommitAudit(name, auditor):
            done = _auditor_is(contracts, name, auditor, SeatState.COMMITTED)
        case RevealAudit(name, auditor):
            done = _auditor_is(contracts, name, auditor, SeatState.REVEALED)
        case CloseAudit(name):
            done = _is_audit_over(contracts, name)
    return mined(contracts, effect) if done else None


def mined(contracts: Audits, effect: ChainEffect) -> TransactionMined:
    """The answer to an effect that is in the newest block."""
    return TransactionMined(type(effect), about(effect), contracts.block)


def _state(contracts: Audits, name: bytes, node: Address, slot: int) -> BatchState:
    found = contracts.batches.get((node, slot))
    return found.state if found is not None and found.batch_id == name else BatchState.FINAL


def _seat(contracts: Audits, name: bytes, seat: int) -> tuple[SeatState, bytes]:
    case = contracts.cases.get(BatchId(name))
    if case is None or seat >= len(case.seats):
        return SeatState.NONE, b""
    return case.seats[seat].state, case.seats[seat].commitment


def _is_closed(contracts: Audits, name: bytes) -> bool:
    case = contracts.cases.get(BatchId(name))
    return case is not None and case.verdict is not Verdict.NONE


def _auditor_is(contracts: Audits, name: bytes, auditor: int, state: SeatState) -> bool:
    """Whether an auditor has reached a state, or its audit is over and it can reach no other."""
    audit = contracts.audits.get(BatchId(name))
    reached = audit is not None and auditor < len(audit.auditors) and audit.auditors[auditor].state >= state
    return reached or _is_audit_over(contracts, name)


def _is_audit_over(contracts: Audits, name: bytes) -> bool:
    audit = contracts.audits.get(BatchId(name))
    return audit is not None and audit.ended
