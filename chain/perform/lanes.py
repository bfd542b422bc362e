"""Lanes: opened by their client's order, which may have to be signed anew when a batch moved the lane."""

from dataclasses import replace

from chain.perform.transactor import ContractCall, Payer, Performer, Transactor
from chain.rpc.ethereum import refusal_name
from protocol.effects import OpenLane
from protocol.errors import Reverted
from protocol.events import TransactionMined

LANE_TRIES = 5


async def open_lane(at: Transactor, effect: OpenLane) -> TransactionMined:
    """Lock money in a lane, once. Raises: Reverted."""
    order, settlement = effect.order, at.network.settlement

    async def total() -> int:
        lane = await settlement.lane_of(order.client, order.signer, order.node)
        return lane.left + lane.mark

    async def opened() -> bool:
        # The total never falls while the lane is open, so the message has counted once the lane is past it.
        return await total() >= order.prev_total + order.amount

    client = at.signer.wallet.client
    ours = client is not None and client.address in (order.client, order.signer)
    for left in reversed(range(LANE_TRIES)):
        call = settlement.open_lane(order, effect.signature)
        if ours and order.prev_total < (now := await total()):
            # A batch moved the lane since the order was signed, and would again before we heard of it as final.
            newer = replace(order, prev_total=now)
            call = settlement.open_lane(newer, at.signer.sign(newer).signature)
        try:
            # The requester pays for its lanes; a node that opens one for its client pays itself.
            return await at.do(effect, ContractCall(call, opened, Payer.CLIENT))
        except Reverted as error:
            if not ours or not left or refusal_name(error) != "LaneMoved":
                raise
            await at.next_block()
    raise AssertionError("the last try returns")


PERFORMERS: dict[type, Performer] = {OpenLane: open_lane}
