"""All that the chain tells of one batch, as the parts of a proof: submitted, drawn, judged, paid, and by which logs."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

from chain.contracts.contract import Contract, DecodedLog
from chain.contracts.network import Network
from chain.contracts.settlement import StoredBatch
from protocol.court.docket import BatchEvent, DocketBatch, DocketCase, DocketSeat
from protocol.court.phases import BatchPhase, SeatPhase
from protocol.events import BatchSubmitted
from protocol.proof import file
from protocol.stages.sampling import batch_seed, draw_samples, epoch_of
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address, BatchId, Cid, Hash32

_SETTLEMENT = (
    "BatchSubmitted",
    "BatchInCourt",
    "BatchPassed",
    "BatchAudited",
    "BatchFinal",
    "BatchVoided",
    "BatchRefunded",
)
_COURT = (
    "CaseConvened",
    "SeatAdded",
    "SeatCommitted",
    "SeatRevealed",
    "SeatReplaced",
    "CaseGrown",
    "CaseDecided",
    "CaseAppealed",
    "PanelCalled",
    "DataDemanded",
    "DataAnswered",
    "CaseResolved",
    "MarginCounted",
)


@dataclass(frozen=True, slots=True)
class BatchHistory:
    """The parts of a proof that are the chain's, as far as the batch has come."""

    node: Address
    batch: file.BatchPaper
    draw: file.DrawPaper | None
    case: file.CasePaper | None
    pay: file.PayPaper | None
    steps: tuple[file.Step, ...]


async def read_batch_history(
    network: Network, batch_id: BatchId, first: int, last: int, *, whole: bool = True
) -> BatchHistory | None:
    """The history of a batch in these blocks; None if none of them has it.

    Args: first, a block not after the one that has it; whole, with the salts of the seats and the list of verifiers,
    which a check needs and a person does not.
    Raises: ChainError.
    """
    submitted = await network.settlement.entries("BatchSubmitted", first, last, batchId=batch_id)
    if not submitted:
        return None
    node, _, _, stored_values, _ = submitted[-1].values
    stored = StoredBatch(*stored_values)
    since = stored.commit_block
    epoch = epoch_of(stored.commit_block, (await network.params.profile()).epoch_blocks)
    told = [
        *await network.settlement.entries(_SETTLEMENT, since, last, batchId=batch_id),
        *await network.court.entries(_COURT, since, last, caseId=batch_id),
        *await network.beacon.entries(("EpochSealed", "EpochRearmed"), since, last, epoch=epoch),
        *await _entries(network.fraud_proofs, ("FraudProven", "LeafChallenged"), since, last, batch_id),
        *await network.audits.entries(("AuditConvened", "AuditEnded"), since, last, caseId=batch_id),
        *await network.stakes.entries(("Slashed", "Jailed"), since, last, caseId=batch_id),
    ]
    told.sort(key=lambda entry: (entry.log.block, entry.log.index))
    docket = _docket(network, [submitted[-1], *told])
    batch = _batch(docket.submitted, stored)
    case = _case(docket.case, told) if docket.case else None
    if case is not None and whole:
        case = await _completed(network, batch, case, told)
    steps = tuple(file.Step(each.event, each.log.transaction, each.log.block) for each in told)
    return BatchHistory(node, batch, _draw(batch, epoch, told), case, _pay(docket), steps)


async def read_noise(network: Network, manifest: Cid, class_id: int) -> file.NoisePaper | None:
    """The row of the calibration table for a model on a class. Raises: ChainError."""
    row = await network.params.row(manifest, class_id)
    return file.NoisePaper(row.calibration, row.act_weights_hash, row.margin_scores_hash) if row else None


async def has_operated(network: Network, node: Address, operator: Address, first: int, last: int) -> bool:
    """Whether this key ever signed for the node. Raises: ChainError."""
    if operator == node:
        return await network.stakes.is_registered(node)
    return bool(await network.stakes.entries("OperatorChanged", first, last, id=node, operator=operator))


async def _entries(
    contract: Contract, events: Sequence[str], first: int, last: int, batch_id: BatchId
) -> list[DecodedLog]:
    """Logs whose batch stands at another place in each of the events."""
    return [entry for event in events for entry in await contract.entries(event, first, last, batchId=batch_id)]


def _docket(network: Network, told: Sequence[DecodedLog]) -> DocketBatch:
    """A batch as every node has it, folded from its logs, of which the first is that of its submission."""
    submitted, *facts = (network.fact(each.log) for each in told)
    assert isinstance(submitted, BatchSubmitted)
    docket = DocketBatch(submitted)
    for fact in facts:
        if isinstance(fact, BatchEvent):
            docket.apply(fact)
    return docket


def _batch(submitted: BatchSubmitted, stored: StoredBatch) -> file.BatchPaper:
    """All that its event says, and what it was paid and kept by."""
    told = {field.name: getattr(submitted, field.name) for field in fields(submitted)}
    del told["node"], told["lane_jobs"]
    return file.BatchPaper(**told, fee=stored.fee, score=stored.score_hundredths, contents_hash=stored.contents_hash)


def _draw(batch: file.BatchPaper, epoch: int, told: Sequence[DecodedLog]) -> file.DrawPaper | None:
    sealed = next((each for each in told if each.event == "EpochSealed"), None)
    if sealed is None:
        return None
    _, seed, seed_block = sealed.values
    brought = next((each.values[3] for each in told if each.event == "BatchInCourt"), batch.rate_bps)
    return file.DrawPaper(
        epoch=epoch,
        seed_block=seed_block,
        rearmed=any(each.event == "EpochRearmed" for each in told),
        seed=seed,
        rate_bps=brought,
        leaves=draw_samples(batch_seed(seed, BatchId(batch.batch_id)), batch.leaf_count, brought),
    )


def _pay(batch: DocketBatch) -> file.PayPaper | None:
    if paid := batch.settled:
        return file.PayPaper(paid.price, paid.burned, paid.reward, paid.bonus, paid.pooled)
    return file.PayPaper(refunded=batch.refunded) if batch.phase is BatchPhase.REFUNDED else None


# --- the case -------------------------------------------------------------------------------------------------------
def _case(case: DocketCase, told: Sequence[DecodedLog]) -> file.CasePaper:
    """A case as its docket has it, with what only its logs say."""
    events = {each.event for each in told}
    commitments: dict[int, bytes] = {}
    found: file.Finding | None = None
    margin: file.MarginPaper | None = None
    for each in told:
        match each.event, each.values:
            case "SeatCommitted", (_, seat, _, commitment):
                commitments[seat] = commitment
            case ("CaseGrown", (_, _, _, verdict, at)) | ("CaseDecided", (_, verdict, at, _)):
                found = file.Finding(Verdict(verdict), at)
            case "PanelCalled", (_, at, _) if not case.round:
                found = file.Finding(Verdict.REVIEW, at)
            case "MarginCounted", (_, _, _, llr_millinats, told_sum, confirmed):
                margin = file.MarginPaper(llr_millinats, told_sum, confirmed)
    audited = any(each.event == "AuditEnded" and each.values[2] for each in told)
    return file.CasePaper(
        seats=tuple(_seat(seat, commitments.get(number)) for number, seat in sorted(case.seats.items())),
        appealed="CaseAppealed" in events,
        arbiters="PanelCalled" in events,
        demanded=case.demand is not None,
        answered="DataAnswered" in events,
        proven="FraudProven" in events or audited,
        found=found,
        first_seat=case.first_seat if case.round else None,
        verdict=None if case.is_open else case.verdict,
        median=None if case.is_open else case.median,
        margin=margin,
    )


def _seat(seat: DocketSeat, commitment: bytes | None) -> file.SeatPaper:
    shown = (seat.digest, None, seat.scores, seat.llr_millinats) if seat.has_revealed else ()
    return file.SeatPaper(seat.node, seat.phase is SeatPhase.SILENT, commitment, *shown)


async def _completed(
    network: Network, batch: file.BatchPaper, case: file.CasePaper, told: Sequence[DecodedLog]
) -> file.CasePaper:
    seats = list(case.seats)
    for each in told:
        if each.event == "SeatRevealed":
            number = each.values[1]
            seats[number] = replace(seats[number], salt=await _salt(network, each.log.transaction))
    return replace(case, seats=tuple(seats), verifiers=await _listed(network, batch.class_id))


async def _salt(network: Network, transaction: Hash32) -> bytes | None:
    """The salt that a seat revealed with: in its call, in no log. None if somebody's contract has made the call."""
    data = await network.ethereum.input_of(transaction)
    try:
        _, _, _, _, salt, *_ = network.court.interface.functions["revealSeat"].decode_input(data or b"")
    except ValueError:
        return None
    found: bytes = salt
    return found


async def _listed(network: Network, class_id: int) -> tuple[file.Listed, ...] | None:
    """The verifier list of today: what a batch's draw sees of it does not change any more."""
    slots = await network.court.verifiers_of(class_id)
    if not slots or len(slots) > file.MAX_LISTED:
        return None
    nodes = await network.stakes.nodes_of([slot.node for slot in slots])
    return tuple(
        file.Listed(slot.node, node.owner, node.operator, slot.from_block, slot.until_block, slot.weight_bps)
        for slot, node in zip(slots, nodes, strict=True)
        if node is not None
    )
