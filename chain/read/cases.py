"""The cases of a network, open and closed, from the logs of its court."""

from dataclasses import dataclass, replace

from chain.abi.enums import CaseState
from chain.contracts.court import ChainCase
from chain.contracts.network import Network
from protocol.wire.ids import Address, BatchId


@dataclass(frozen=True, slots=True)
class CaseSummary(ChainCase):
    """A case as it stands. block: of its first log; median: behind the verdict, or of the last round so far."""

    batch_id: BatchId
    block: int

    @property
    def is_open(self) -> bool:
        """Whether something may still happen in it."""
        return self.state is not CaseState.CLOSED


async def read_cases(network: Network, first: int, last: int, node: Address | None = None) -> list[CaseSummary]:
    """Every case that these blocks tell of, as it stands now, in the order of their first logs.

    Args: node, for those about its batches alone. A batch that was not brought to court in time counts as a case, too.
    Raises: ChainError.
    """
    about = {} if node is None else {"node": node}
    entries = await network.court.entries(("CaseConvened", "CaseResolved"), first, last, **about)
    begun: dict[BatchId, int] = {}
    medians: dict[BatchId, int] = {}
    for entry in entries:
        case = BatchId(entry.values[0])
        begun.setdefault(case, entry.log.block)
        if entry.event == "CaseResolved":
            medians[case] = entry.values[4]
    stand = await network.court.read_many("caseOf", [(case,) for case in begun]) if begun else []
    found = (CaseSummary(*(*values, *each)) for each, values in zip(begun.items(), stand, strict=True))
    return [replace(case, median=medians.get(case.batch_id, case.median)) for case in found]


async def cases_before_panel(network: Network, first: int, last: int) -> list[CaseSummary]:
    """The cases that wait for arbiters now. Raises: ChainError."""
    called = {BatchId(entry.values[0]) for entry in await network.court.entries("PanelCalled", first, last)}
    found = await read_cases(network, first, last) if called else []
    return [each for each in found if each.batch_id in called and each.state is CaseState.ARBITER]
