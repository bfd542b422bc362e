"""Batches: submitted, brought to court, paid, refunded; the seeds of their epochs; the node's daily check-in."""

from collections.abc import Awaitable, Callable

from chain.abi.enums import BatchState
from chain.contracts.network import Network
from chain.contracts.settlement import contents_of
from chain.perform.transactor import ContractCall, Payer, Performer, Transactor, performer
from chain.rpc.ethereum import refusal_name
from protocol import effects as fx
from protocol.effects.subjects import InSlot
from protocol.errors import Reverted
from protocol.events import BatchMined, TransactionMined
from protocol.stages.commitment import batch_id, contents_hash

ENDED = frozenset({BatchState.FINAL, BatchState.REFUNDED})


async def submit(at: Transactor, effect: fx.SubmitBatch) -> BatchMined:
    """Commit a batch, once. Raises: Reverted."""
    batch, settlement = effect.batch, at.network.settlement
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
        receipt = await at.operator.send(settlement.submit(batch), effect)
    except Reverted:
        if answer := await mined():
            return answer
        raise
    return BatchMined(batch_id(batch.node, batch.slot, receipt.block), batch.slot, receipt.block, batch.root)


async def seal(at: Transactor, effect: fx.SealEpoch) -> TransactionMined:
    """Seal an epoch's seed. Raises: Reverted, transient if the seed was lost and the epoch re-armed."""
    beacon = at.network.beacon

    async def sealed() -> bool:
        return (await beacon.seed_of(effect.epoch)).value is not None

    try:
        return await at.do(effect, ContractCall(beacon.seal(effect.epoch), sealed, Payer.ANYONE))
    except Reverted as error:
        if refusal_name(error) != "SeedLost":
            raise
        # The chain no longer knows the hash: the epoch gets one more block, and is sealed when asked again.
        await (await at.sender(Payer.ANYONE)).send(beacon.rearm(effect.epoch), effect)
        raise Reverted(f"{error}; the epoch was re-armed", transient=True) from error


def check_in(network: Network, effect: fx.CheckIn) -> ContractCall:
    """The node's sign of life of a day, which does not show before it is tried: a second one is refused."""

    async def never() -> bool:
        return False

    return ContractCall(network.stakes.check_in(effect.node), never)


def finalize(network: Network, effect: fx.FinalizeBatch) -> ContractCall:
    """Pay a batch."""
    return ContractCall(
        network.settlement.finalize(effect.node, effect.slot), in_state(network, effect, ENDED), Payer.ANYONE
    )


def refund(network: Network, effect: fx.RefundBatch) -> ContractCall:
    """Return the money of a void batch."""
    call = network.settlement.refund(effect.node, effect.slot, effect.contents)
    return ContractCall(call, in_state(network, effect, ENDED), Payer.ANYONE)


def void_starved(network: Network, effect: fx.VoidStarved) -> ContractCall:
    """Void a batch that was not judged in time."""
    call = network.court.void_starved(effect.node, effect.slot, effect.contents)
    return ContractCall(call, in_state(network, effect, ENDED | {BatchState.VOID}), Payer.ANYONE)


def convene(network: Network, effect: fx.ConveneCourt) -> ContractCall:
    """Bring a drawn batch to court."""
    call = network.court.convene(effect.node, effect.slot, effect.contents)
    done_in = frozenset(BatchState) - {BatchState.NONE, BatchState.PENDING}
    return ContractCall(call, in_state(network, effect, done_in), Payer.ANYONE)


def in_state(network: Network, effect: InSlot, states: frozenset[BatchState]) -> Callable[[], Awaitable[bool]]:
    """The question whether a batch has come to one of these states, or has left its slot to another batch."""

    async def is_done() -> bool:
        settlement = network.settlement
        # Another batch in the slot: ours has ended long ago.
        if await settlement.batch_id_of(effect.node, effect.slot) != effect.batch_id:
            return True
        return (await settlement.batch_of(effect.node, effect.slot)).state in states

    return is_done


PERFORMERS: dict[type, Performer] = {
    fx.SubmitBatch: submit,
    fx.SealEpoch: seal,
    fx.CheckIn: performer(check_in),
    fx.FinalizeBatch: performer(finalize),
    fx.RefundBatch: performer(refund),
    fx.VoidStarved: performer(void_starved),
    fx.ConveneCourt: performer(convene),
}
