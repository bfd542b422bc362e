"""Where the network's own coins are, and what is about to change, from the contracts alone."""

from dataclasses import dataclass

from chain.interface import interface
from chain.network import Network
from chain.settlement import StoredBatch
from chain.states import BatchState
from chain.timelock import Operation
from protocol.wire.ids import Address, Wei


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


def title(network: Network, operation: Operation) -> str:
    """What the governor is going to call, as a person reads it."""
    names = {address: name for name, address in network.by_name()}
    name = names.get(operation.target)
    for function in interface(name).functions.values() if name else ():
        try:
            values = function.decode_input(operation.data)
        except ValueError:
            continue
        shown = (f"{each.name}={_shown(value)}" for each, value in zip(function.inputs, values, strict=True))
        return f"{name}.{function.name}({', '.join(shown)})"
    return f"{operation.target} with 0x{operation.data.hex()[:72]}"


def _shown(value: object) -> str:
    return f"0x{value.hex()}" if isinstance(value, bytes) else str(value)
