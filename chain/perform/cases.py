"""Seats of a case: commitments, reveals, data demands, replacements, verdicts."""

from collections.abc import Awaitable, Callable

from chain.abi.enums import CaseState, SeatState
from chain.contracts.network import Network
from chain.perform.transactor import ContractCall, Payer, Performer, Transactor, performer
from chain.rpc.ethereum import refusal_name
from protocol import effects as fx
from protocol.effects.subjects import OfSeat
from protocol.errors import Reverted
from protocol.events import TransactionMined
from protocol.judging.margins import median_llr
from protocol.params import FULL_BENCH, PASS_ABOVE_BPS
from protocol.stages.commitment import BatchContents
from protocol.wire.ids import Wei

STAYS = "this node stepped down once today and stays; it loses stake if it does not judge in time"
_NO_CONTENTS = BatchContents(bytes(32), Wei(0), ())


def commit(network: Network, effect: fx.CommitSeat) -> ContractCall:
    """Bind a seat to its scores."""
    court, seat = network.court, effect.seat

    async def is_bound() -> bool:
        seats = await court.seats_of(effect.batch_id)
        return seat < len(seats) and seats[seat].is_bound_to(effect.commitment)

    return ContractCall(court.commit_seat(effect.batch_id, seat, effect.commitment), is_bound)


def reveal(network: Network, effect: fx.RevealSeat) -> ContractCall:
    """Show a seat's scores."""
    said = (effect.digest, effect.scores, effect.salt, effect.llr_millinats)
    call = network.court.reveal_seat(effect.batch_id, effect.seat, *said)
    return ContractCall(call, _seat_is(network, effect, SeatState.REVEALED))


def demand(network: Network, effect: fx.DemandData) -> ContractCall:
    """Ask on chain for a leaf that the node did not show. An answered demand shows by the refusal of the next."""
    call = network.court.demand_data(effect.batch_id, effect.seat, effect.leaf_index, effect.hpke_key)
    return ContractCall(call, _case_is(network, effect.batch_id, CaseState.DATA_CHALLENGE, CaseState.CLOSED))


def answer(network: Network, effect: fx.AnswerDemand) -> ContractCall:
    """Show on chain what a seat has demanded."""
    others = tuple(state for state in CaseState if state is not CaseState.DATA_CHALLENGE)
    call = network.court.answer_data(effect.batch_id, effect.data)
    return ContractCall(call, _case_is(network, effect.batch_id, *others))


def replace(network: Network, effect: fx.ReplaceSeat) -> ContractCall:
    """Draw another verifier in place of a silent one."""
    call = network.court.replace_seat(effect.batch_id, effect.seat, effect.contents)
    return ContractCall(call, _seat_is(network, effect, SeatState.SILENT), Payer.ANYONE)


async def resolve(at: Transactor, effect: fx.ResolveCase) -> TransactionMined:
    """Have the court decide a case. Raises: Reverted."""
    case = effect.batch_id
    call = at.network.court.resolve(case, _NO_CONTENTS if await _passes(at.network, case) else effect.contents)
    return await at.do(effect, ContractCall(call, _case_is(at.network, case, CaseState.CLOSED), Payer.ANYONE))


async def abstain(at: Transactor, effect: fx.AbstainSeat) -> TransactionMined:
    """Step down from a seat. Raises: Reverted."""
    call = at.network.court.abstain(effect.batch_id, effect.seat, effect.contents)
    try:
        return await at.do(effect, ContractCall(call, _seat_is(at.network, effect, SeatState.SILENT)))
    except Reverted as error:
        if refusal_name(error) != "AbstainedToday":
            raise
        raise Reverted(f"{error}: {STAYS}") from error


def _seat_is(network: Network, effect: OfSeat, state: SeatState) -> Callable[[], Awaitable[bool]]:
    """The question whether a seat has come to a state, or its case has closed."""

    async def is_done() -> bool:
        seats = await network.court.seats_of(effect.batch_id)
        if effect.seat < len(seats) and seats[effect.seat].state is state:
            return True
        return (await network.court.case_of(effect.batch_id)).state is CaseState.CLOSED

    return is_done


def _case_is(network: Network, case: bytes, *states: CaseState) -> Callable[[], Awaitable[bool]]:
    async def is_done() -> bool:
        return (await network.court.case_of(case)).state in states

    return is_done


async def _passes(network: Network, case: bytes) -> bool:
    """Whether every seat passed the batch, so that its contents draw no further seat.

    The seats' margins may still raise the alarm of the sequential test.
    """
    court = network.court
    heard = [seat for seat in await court.seats_of(case) if seat.state is not SeatState.SILENT]
    if not heard or any(seat.state is not SeatState.REVEALED or seat.score <= PASS_ABOVE_BPS for seat in heard):
        return False
    if all(seat.llr_millinats <= 0 for seat in heard):
        return True
    seen, llr_millinats = await court.case_of(case), median_llr([seat.llr_millinats for seat in heard])
    running = await court.running_of(seen.node, seen.class_id)
    if len(heard) < FULL_BENCH:
        return not running.is_suspect(llr_millinats)
    return not running.after(llr_millinats, bench=True).is_alarm


PERFORMERS: dict[type, Performer] = {
    fx.CommitSeat: performer(commit),
    fx.RevealSeat: performer(reveal),
    fx.DemandData: performer(demand),
    fx.AnswerDemand: performer(answer),
    fx.ReplaceSeat: performer(replace),
    fx.ResolveCase: resolve,
    fx.AbstainSeat: abstain,
}
