"""The Court contract: verifiers, cases and their seats. A case has the id of its batch."""

from dataclasses import dataclass
from typing import Any

from chain.abi.enums import CaseState, SeatState
from chain.contracts.contract import CallTo, Contract, ContractStruct, DecodedLog
from chain.contracts.facts import Fact
from protocol import events as ev
from protocol.judging.margins import SequentialTest
from protocol.stages.commitment import BatchContents
from protocol.stages.sampling import ListSlot
from protocol.stages.verification import Verdict
from protocol.wire.ids import Address, Wei

KEPT_BYTES = 21


@dataclass(frozen=True, slots=True)
class ChainCase(ContractStruct):
    """A case as it stands; the fields of CaseView.

    Seats from `first_seat` on are of the present round; `standing` and `median` are what the last round found; `until`
    is when anyone may end the case, in seconds, 0 once it is closed.
    """

    node: Address
    slot: int
    class_id: int
    state: CaseState
    verdict: Verdict
    round: int
    seats_wanted: int
    seat_count: int
    next_try: int
    drawn_count: int
    first_seat: int
    standing: Verdict
    median: int
    until: int
    appellant: Address
    bond: Wei


@dataclass(frozen=True, slots=True)
class Seat(ContractStruct):
    """A seat as it stands: its score in basis points, the start of its turn in seconds, its ratio in millinats.

    The chain keeps the first KEPT_BYTES of a commitment until it is opened; zeros follow.
    """

    node: Address
    state: SeatState
    score: int
    since: int
    commitment: bytes
    llr_millinats: int

    def is_bound_to(self, commitment: bytes) -> bool:
        """Whether this is what the seat has committed to, or has opened: no other party can open it."""
        return self.state is SeatState.REVEALED or self.commitment[:KEPT_BYTES] == commitment[:KEPT_BYTES]


class Court(Contract):
    """The Court contract, which judges batches by the checks of drawn leaves."""

    NAME = "Court"

    # ---- verifiers

    async def verifiers_of(self, class_id: int) -> list[ListSlot]:
        """The whole list of a class, tombstones included."""
        return [ListSlot(*values) for values in await self.read("verifiersOf", class_id)]

    join_verifiers = CallTo[Address, int]("joinVerifiers")
    """(node, class_id) Put a node on the list of a class; its operator or owner."""

    leave_verifiers = CallTo[Address, int]("leaveVerifiers")
    """(node, class_id) Take a node off the list; its operator or owner."""

    # ---- cases

    async def case_of(self, case: bytes) -> ChainCase:
        """A case; its state is NONE if it was never convened."""
        return ChainCase(*await self.read("caseOf", case))

    async def seats_of(self, case: bytes) -> list[Seat]:
        """The seats of a case, in order, silent ones included."""
        return [Seat(*values) for values in await self.read("seatsOf", case)]

    async def running_of(self, node: Address, class_id: int) -> SequentialTest:
        """The running margin of a node on a class."""
        return SequentialTest(*await self.read("runningOf", node, class_id))

    convene = CallTo[Address, int, BatchContents]("convene")
    """(node, slot, contents) Open the case of a drawn batch; anyone, once its seed is sealed."""

    commit_seat = CallTo[bytes, int, bytes]("commitSeat")
    """(case, seat, commitment) Bind a seat to its own projections; the seat's operator."""

    reveal_seat = CallTo[bytes, int, bytes, tuple[int, ...], bytes, int]("revealSeat")
    """(case, seat, digest, scores, salt, llr_millinats) Open a seat's commitment, give its scores, and what it says of
    the margins; the seat's operator."""

    replace_seat = CallTo[bytes, int, BatchContents]("replaceSeat")
    """(case, seat, contents) Seat the next of the draw order for one that was silent for a whole turn; anyone."""

    abstain = CallTo[bytes, int, BatchContents]("abstain")
    """(case, seat, contents) Step down from a seat within a quarter of its first turn; the seat's operator, once a day.
    """

    resolve = CallTo[bytes, BatchContents]("resolve")
    """(case, contents) Take a case as far as it goes now: count a round, seat more, or end what has waited; anyone."""

    void_starved = CallTo[Address, int, BatchContents]("voidStarved")
    """(node, slot, contents) Void a batch that no court decided in time; anyone."""

    demand_data = CallTo[bytes, int, int, bytes]("demandData")
    """(case, seat, leaf, key) Ask the node to open a drawn leaf on chain; the seat's operator, once a case."""

    answer_data = CallTo[bytes, bytes]("answerData")
    """(case, data) Answer a demand with up to MAX_ANSWER_BYTES; the node's owner or operator."""

    async def appeal_bond_of(self, node: Address) -> Wei:
        """The cost of an appeal of this node now."""
        return Wei(await self.read("appealBondOf", node))

    appeal = CallTo[bytes, BatchContents]("appeal")
    """(case, contents) Ask a larger bench; the node's owner or operator. The contract takes the bond from an allowance.
    """

    async def panel_address(self) -> Address:
        """The Panel contract, where the arbiters of this court vote."""
        return Address(await self.read("panel"))

    # ---- logs

    def fact(self, entry: DecodedLog) -> Fact | None:
        """The fact in a log of this contract; `timestamp` is 0, the caller fills in the block's own."""
        values: tuple[Any, ...] = entry.values
        match entry.event, values:
            case "CaseConvened", (case, node, slot, class_id, seats, drawn):
                return ev.CaseConvened(case, node, slot, class_id, drawn, seats, 0)
            case "SeatAdded", (case, seat, node):
                return ev.SeatAdded(case, seat, node, 0)
            case "SeatReplaced", (case, seat, node):
                return ev.SeatSilenced(case, seat, node)
            case "SeatCommitted", (case, seat, *_):
                return ev.SeatCommitted(case, seat)
            case "SeatRevealed", (case, seat, node, scores, digest, llr_millinats):
                return ev.SeatRevealed(case, seat, node, scores, digest, llr_millinats)
            case "CaseGrown", (case, round_number, first_seat, standing, median):
                return ev.CaseGrown(case, round_number, first_seat, Verdict(standing), median)
            case "CaseDecided", (case, verdict, median, until):
                return ev.CaseDecided(case, Verdict(verdict), median, until)
            case "DataDemanded", (case, seat, leaf, key, until):
                return ev.DataDemanded(case, seat, leaf, key, until)
            case "DataAnswered", (case, data):
                return ev.DataAnswered(case, data, 0)
            case "CaseResolved", (case, _, _, verdict, median):
                return ev.CaseResolved(case, Verdict(verdict), median, entry.log.block)
        return None
