"""The Audits contract: passed cases that are checked once more, and who sat in them."""

from collections.abc import Iterable
from dataclasses import dataclass

from chain.abi.enums import SeatState
from chain.contracts.contract import CallTo, Contract, ContractStruct, DecodedLog
from chain.contracts.facts import Fact
from chain.rpc.ethereum import Call
from protocol.events import AuditCommitted, AuditConvened, AuditEnded, AuditRevealed
from protocol.stages.commitment import BatchContents
from protocol.wire.ids import Address, BatchId, Wei


@dataclass(frozen=True, slots=True)
class ChainAudit:
    """An audit as it stands: since when, in seconds, 0 if it was never convened; what its auditors share at its end."""

    node: Address
    slot: int
    since: int
    ended: bool
    due: Wei


@dataclass(frozen=True, slots=True)
class ChainAuditor(ContractStruct):
    """One of its three auditors; bit i of `off`: it says that seat i has not computed what it bound itself to."""

    node: Address
    state: SeatState
    score: int
    commitment: bytes
    off: int


@dataclass(frozen=True, slots=True)
class AuditSeen:
    """The result of an audit by its logs: the seats that it caught, and whether the node was condemned."""

    batch_id: BatchId
    node: Address
    slot: int
    block: int
    auditors: tuple[Address, ...]
    ended: bool = False
    caught: tuple[int, ...] = ()
    fraud: bool = False


class Audits(Contract):
    """The Audits contract, which checks the seats themselves."""

    NAME = "Audits"

    async def preview(self, node: Address, slot: int, contents: BatchContents) -> tuple[Address, ...]:
        """The auditors that convene would draw now; refused as convene is."""
        return tuple(await self.read("preview", node, slot, contents))

    async def audit_of(self, case: bytes) -> ChainAudit:
        """The audit of a case."""
        return ChainAudit(*await self.read("auditOf", case))

    async def auditors_of(self, case: bytes) -> list[ChainAuditor]:
        """Its auditors, in order; none before it is convened."""
        return [ChainAuditor(*values) for values in await self.read("auditorsOf", case)]

    convene = CallTo[Address, int, BatchContents]("convene")
    """(node, slot, contents) Open the audit of a case that is drawn for one; anyone."""

    commit = CallTo[bytes, int, bytes]("commit")
    """(case, auditor, commitment) Bind an auditor to its findings; its operator."""

    def reveal(self, case: bytes, auditor: int, off: Iterable[int], score: int, salt: bytes) -> Call:
        """Open an auditor's findings; its operator, once all have committed or their turn is over."""
        return self.call("reveal", case, auditor, flags_of(off), score, salt)

    close = CallTo[bytes]("close")
    """(case) End an audit that all have revealed in, or whose time is over; anyone."""

    # ---- logs

    def fact(self, entry: DecodedLog) -> Fact | None:
        """The fact in a log of this contract; `timestamp` is 0, the caller fills in the block's own."""
        match entry.event, entry.values:
            case "AuditConvened", (case, node, _, auditors):
                return AuditConvened(case, node, tuple(auditors), 0)
            case "AuditCommitted", (case, auditor, *_):
                return AuditCommitted(case, auditor)
            case "AuditRevealed", (case, auditor, *_):
                return AuditRevealed(case, auditor)
            case "AuditEnded", (case, caught, fraud):
                return AuditEnded(case, seats_of(caught), fraud)
        return None

    async def seen(self, first: int, last: int) -> list[AuditSeen]:
        """The audits that these blocks tell of, in the order in which they were convened. Raises: ChainError."""
        entries = await self.entries(("AuditConvened", "AuditEnded"), first, last)
        ends = {BatchId(e.values[0]): e.values[1:] for e in entries if e.event == "AuditEnded"}
        found = []
        for entry in entries:
            if entry.event != "AuditConvened":
                continue
            case, node, slot, auditors = entry.values
            caught, fraud = ends.get(BatchId(case), (0, False))
            found.append(
                AuditSeen(
                    batch_id=BatchId(case),
                    node=node,
                    slot=slot,
                    block=entry.log.block,
                    auditors=tuple(auditors),
                    ended=BatchId(case) in ends,
                    caught=seats_of(caught),
                    fraud=fraud,
                )
            )
        return found


def flags_of(seats: Iterable[int]) -> int:
    """Seats as the contract takes them: bit i for seat i."""
    return sum(1 << seat for seat in seats)


def seats_of(flags: int) -> tuple[int, ...]:
    """The seats that the contract names, ascending."""
    return tuple(bit for bit in range(flags.bit_length()) if flags >> bit & 1)
