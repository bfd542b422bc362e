"""Lanes: opened by their client's order, which may have to be signed anew when a batch moved the lane.

A node that holds its client's order asks whether it would count, waits until it has, or brings it on chain itself.
"""

from dataclasses import replace

import trio

from chain.contracts.network import Network
from chain.perform.transactor import ContractCall, Payer, Performer, Transactor, performer
from chain.rpc.ethereum import BlockTag, refusal_name
from protocol.effects import ConfirmLane, LandLane, OpenLane, TryLane
from protocol.errors import ChainError, Reverted
from protocol.events import LaneConfirmed, LaneTried, TransactionMined
from protocol.stages.assignment import Lane, LaneOpen
from protocol.stages.lane_notice import lane_open_id, total_after

LANE_TRIES = 5


async def open_lane(at: Transactor, effect: OpenLane) -> TransactionMined:
    """Lock money in a lane, once. Raises: Reverted."""
    order, settlement = effect.order, at.network.settlement

    async def total() -> int:
        lane = await _lane(at.network, order)
        return lane.left + lane.mark

    async def opened() -> bool:
        return has_counted(order, await _lane(at.network, order))

    client = at.signer.wallet.client
    ours = client is not None and client.address in (order.client, order.signer)
    for left in reversed(range(LANE_TRIES)):
        call = settlement.open_lane(order, effect.signature)
        if ours and order.prev_total < (now := await total()):
            # A batch moved the lane since the order was signed, and would again before we heard of it as final.
            newer = replace(order, prev_total=now)
            call = settlement.open_lane(newer, at.signer.sign(newer).signature)
        try:
            # The requester pays for its lanes.
            return await at.do(effect, ContractCall(call, opened, Payer.CLIENT))
        except Reverted as error:
            if not ours or not left or refusal_name(error) != "LaneMoved":
                raise
            await at.next_block()
    raise AssertionError("the last try returns")


async def try_lane(at: Transactor, effect: TryLane) -> LaneTried:
    """Ask whether an order would count now, beside what waits in the pool of the endpoint.

    That covers what no event tells yet: money that leaves the account, a signer's grant, a pause.
    """
    order = effect.order
    refusal = ""
    if not has_counted(order, await _lane(at.network, order, "pending")):
        call = at.network.settlement.open_lane(order, effect.signature)
        try:
            await at.network.ethereum.call(call, at.operator.address, "pending")
        except Reverted as error:
            # The client sends it at the same time: it may have come into the pool since we looked.
            if not has_counted(order, await _lane(at.network, order, "pending")):
                refusal = refusal_name(error) or "refused"
    return LaneTried(lane_open_id(order), refusal, effect.risk_wei)


async def confirm_lane(at: Transactor, effect: ConfirmLane) -> LaneConfirmed:
    """Wait until an order has counted for so many blocks.

    Raises: Reverted, once its deadline is final and it has not: it never will.
    """
    seen = -1
    while True:
        try:
            head = (await at.agreed.ethereum.block()).number
            if head != seen and (found := await _look(at, effect, head)) is not None:
                return found
            seen = head
        except ChainError as error:
            # Endpoints that are silent or differ say nothing about the lane.
            if not error.transient:
                raise
        await trio.sleep(at.poll_s)


async def _look(at: Transactor, effect: ConfirmLane, head: int) -> LaneConfirmed | None:
    """Whether an order has counted for long enough at a head, by all endpoints. Raises: as `confirm_lane`."""
    order, network = effect.order, at.agreed
    block = max(0, head - effect.confirmations + 1)
    lane = await _lane(network, order, block)
    if has_counted(order, lane):
        return LaneConfirmed(lane_open_id(order), lane, block)
    final = await network.ethereum.block(max(0, head - at.rules.final_depth))
    if final.timestamp > order.deadline and not has_counted(order, await _lane(network, order, final.number)):
        raise Reverted("ConfirmLane: DeadlinePassed()")
    return None


def land_lane(network: Network, effect: LandLane) -> ContractCall:
    """Send a client's order at the node's own cost."""

    async def opened() -> bool:
        return has_counted(effect.order, await _lane(network, effect.order))

    return ContractCall(network.settlement.open_lane(effect.order, effect.signature), opened)


def has_counted(order: LaneOpen, lane: Lane) -> bool:
    """Whether an order has counted: left and mark together never fall, so the lane is past what it makes of them."""
    return lane.left + lane.mark >= total_after(order)


async def _lane(network: Network, order: LaneOpen, block: BlockTag = "latest") -> Lane:
    return await network.settlement.lane_of(order.client, order.signer, order.node, block)


PERFORMERS: dict[type, Performer] = {
    OpenLane: open_lane,
    TryLane: try_lane,
    ConfirmLane: confirm_lane,
    LandLane: performer(land_lane),
}
