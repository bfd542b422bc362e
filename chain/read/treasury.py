"""The network's own coins and its coming changes, from the contracts alone."""

from collections.abc import Mapping
from dataclasses import dataclass

from chain.abi.enums import BatchState
from chain.abi.interface import call_in_words, interface
from chain.contracts.network import Network
from chain.contracts.settlement import StoredBatch
from chain.rpc.ethereum import Call
from protocol.wire.ids import ZERO_ADDRESS, Address, Wei


@dataclass(frozen=True, slots=True)
class Treasury:
    """Amounts in wei. `in_court` is what the batches before a court are worth, fees and bonuses included."""

    pool: Wei
    burn_pending: Wei
    supply: Wei
    burned: Wei
    cases: int
    in_court: Wei


async def treasury(network: Network, first: int) -> Treasury:
    """Look at the books of the network.

    Args: first, the block of the deployment: cases are found by their logs.
    Raises: ChainError.
    """
    settlement, token = network.settlement, network.token
    supply = await token.total_supply()
    batches = await _in_court(network, first)
    return Treasury(
        pool=Wei(await settlement.read("pool")),
        burn_pending=Wei(await settlement.read("burnPending")),
        supply=supply,
        burned=Wei(await token.read("INITIAL_SUPPLY") - supply),
        cases=len(batches),
        in_court=Wei(sum(each.charge + each.fee + each.bonus for each in batches)),
    )


async def _in_court(network: Network, first: int) -> list[StoredBatch]:
    settlement = network.settlement
    entries = await settlement.entries("BatchInCourt", first, await network.ethereum.head())
    slots: set[tuple[Address, int]] = {(entry.values[0], entry.values[1]) for entry in entries}
    # A slot may have been heard and settled many times since; what it holds now is what counts.
    found = await settlement.read_many("batchOf", sorted(slots)) if slots else []
    batches = [StoredBatch(*values) for values in found]
    return [each for each in batches if each.state is BatchState.IN_COURT]


def title(names: Mapping[Address, str], call: Call) -> str:
    """A coming call of the governor in words; `names` of the contracts by their addresses."""
    known = names.get(call.to or ZERO_ADDRESS)
    asked = call_in_words(call.data)
    if known and asked.partition("(")[0] in interface(known).functions:
        return f"{known}.{asked}"
    return f"{call.to} with 0x{call.data.hex()[:72]}"
