"""Audits of passed cases: drawn at the cost of some reads, convened, committed, revealed, closed."""

from collections.abc import Awaitable, Callable

from chain.abi.enums import SeatState
from chain.contracts.network import Network
from chain.perform.batches import seal
from chain.perform.transactor import ContractCall, Payer, Performer, Transactor, performer
from chain.rpc.ethereum import refusal_name
from protocol.effects import CloseAudit, CommitAudit, ConveneAudit, RevealAudit, SealEpoch
from protocol.errors import Reverted
from protocol.events import AuditNotDrawn, TransactionMined
from protocol.params import AUDIT_LATEST_EPOCHS
from protocol.stages.sampling import epoch_of, is_audited
from protocol.stages.verification import Verdict
from protocol.wire.ids import BatchId

_NO_AUDIT = frozenset({"NotDrawn", "NotPassed", "TooFewAuditors", "TooLate", "WrongState", "WrongContents"})


async def convene(at: Transactor, effect: ConveneAudit) -> TransactionMined | AuditNotDrawn:
    """Open an audit. Nineteen of twenty cases are not drawn: that costs some reads, and no gas. Raises: Reverted."""
    audits, case = at.network.audits, BatchId(effect.batch_id)

    async def convened() -> bool:
        return (await audits.audit_of(case)).since != 0

    if await convened():
        return await at.mined(effect)
    epoch = await _epoch_of_audit(at, case)
    if epoch is None:
        return AuditNotDrawn(case)
    await seal(at, SealEpoch(epoch))
    try:
        drawn = await audits.preview(effect.node, effect.slot, effect.contents)
        if effect.auditor not in drawn:
            return AuditNotDrawn(case)
        return await at.do(effect, ContractCall(audits.convene(effect.node, effect.slot, effect.contents), convened))
    except Reverted as error:
        if error.transient or refusal_name(error) not in _NO_AUDIT:
            raise
        return AuditNotDrawn(case)


async def _epoch_of_audit(at: Transactor, case: BatchId) -> int | None:
    """The epoch whose seed draws a passed case for an audit; None if it does not, or did too long ago.

    Raises: Reverted, transient, before that can be known.
    """
    network, passed = at.network, await at.network.court.case_of(case)
    if passed.verdict is not Verdict.PASS:
        return None
    head = await network.ethereum.head()
    now = epoch_of(head, at.rules.epoch)
    # Court keeps 16 bits of it.
    epoch = now - (now - passed.next_try) % (1 << 16)
    if now - epoch > AUDIT_LATEST_EPOCHS:
        return None
    seed = (await network.beacon.seed_of(epoch)).value
    if seed is None:
        seed_block = await network.beacon.seed_block_of(epoch)
        if head <= seed_block:
            raise Reverted(f"NoSeed: block {seed_block} draws what is audited", transient=True)
        seed = (await network.ethereum.block(seed_block)).hash
    return epoch if is_audited(seed, case) else None


def commit(network: Network, effect: CommitAudit) -> ContractCall:
    """Bind an auditor to its finding."""
    call = network.audits.commit(effect.batch_id, effect.auditor, effect.commitment)
    return ContractCall(call, _auditor_is(network, effect, SeatState.COMMITTED))


def reveal(network: Network, effect: RevealAudit) -> ContractCall:
    """Show an auditor's finding."""
    call = network.audits.reveal(effect.batch_id, effect.auditor, effect.off, effect.score, effect.salt)
    return ContractCall(call, _auditor_is(network, effect, SeatState.REVEALED))


def close(network: Network, effect: CloseAudit) -> ContractCall:
    """End an audit."""

    async def is_ended() -> bool:
        return (await network.audits.audit_of(effect.batch_id)).ended

    return ContractCall(network.audits.close(effect.batch_id), is_ended, Payer.ANYONE)


def _auditor_is(network: Network, effect: CommitAudit | RevealAudit, state: SeatState) -> Callable[[], Awaitable[bool]]:
    """The question whether an auditor has come so far; after the end of its audit it comes no further."""

    async def is_done() -> bool:
        auditors = await network.audits.auditors_of(effect.batch_id)
        reached = effect.auditor < len(auditors) and auditors[effect.auditor].state >= state
        return reached or (await network.audits.audit_of(effect.batch_id)).ended

    return is_done


PERFORMERS: dict[type, Performer] = {
    ConveneAudit: convene,
    CommitAudit: performer(commit),
    RevealAudit: performer(reveal),
    CloseAudit: performer(close),
}
