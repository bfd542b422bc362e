"""Audits on Anvil."""

from protocol.events import CaseConvened
from protocol.stages.verification import audit_commitment
from protocol.wire.ids import Address
from tests.support.jobs import key, named
from tests.support.scenes.chain_courts import VERIFIERS, Hearing

ANYBODY = key("anybody")
KEYS = {verifier.address: verifier for verifier in VERIFIERS}
SALT = named("salt")


async def drawn_for_audit(at: Hearing, *, wanted: bool = True) -> int:
    """Seal the epoch in which the case passed with a hash under which it is drawn, or is not."""
    network = at.ledger.network
    epoch = await at.ledger.draw_audit(at.name, drawn=wanted)
    await at.ledger.send(ANYBODY, network.beacon.seal(epoch))
    assert await network.audits.read("isDrawn", at.name) is wanted
    return epoch


async def passed(at: Hearing) -> CaseConvened:
    await at.ledger.give(ANYBODY)
    case = await at.convene()
    await at.pass_it(case)
    return case


async def hear(at: Hearing, auditors: tuple[Address, ...], off: tuple[int, ...], score: int) -> None:
    audits = at.ledger.network.audits
    for index, node in enumerate(auditors):
        sealed = audit_commitment(at.name, index, off, score, SALT)
        await at.ledger.send(KEYS[node], audits.commit(at.name, index, sealed))
    for index, node in enumerate(auditors):
        await at.ledger.send(KEYS[node], audits.reveal(at.name, index, off, score, SALT))
    await at.ledger.send(ANYBODY, audits.close(at.name))
