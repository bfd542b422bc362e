"""The holds of the node: the owner's word on new work, the owner's hours, and who waits until nothing runs."""

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, asynccontextmanager

import trio

from node.api import views as api
from node.api.backend import HoldStep
from node.api.faults import Fault
from node.daemon.parts import Parts
from node.hours import Local, parse_hours
from protocol.events import Event, Hold, HoldBegun, HoldEnded
from protocol.roles.holds import HOLD_RULES, Holds

STEPS: dict[HoldStep, tuple[tuple[Hold, ...], tuple[Hold, ...]]] = {
    HoldStep.DRAIN: ((Hold.DRAIN,), (Hold.PAUSE,)),
    HoldStep.PAUSE: ((Hold.PAUSE,), ()),
    HoldStep.RESUME: ((), (Hold.DRAIN, Hold.PAUSE)),
}
"""The holds that a word of the owner begins, and those that it ends."""


class HoldDesk:
    """Implements node.api.backend.HoldCare."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._machine = parts.machine
        self._hours = parse_hours(parts.config.executor.hours)

    async def view(self) -> api.HoldsView:
        """See HoldCare."""
        return self.look()

    def look(self) -> api.HoldsView:
        """The holds, and what still runs."""
        pending = self._parts.driver.pending
        return api.HoldsView(
            holds=tuple(api.HoldView(hold.value, HOLD_RULES[hold].words, at) for hold, at in self._holds),
            # A job that was given up ends before its container does.
            jobs_left=max(self._machine.provider.load, pending.get("RunContainer", 0)),
            checks_left=pending.get("ReplaySample", 0),
            batches_open=len(self._machine.settler.own.open),
        )

    async def take_step(self, step: HoldStep) -> api.HoldsView:
        """See HoldCare."""
        if self._parts.runner is None:
            words = "this node runs no jobs of others, so there is no work to hold back"
            raise Fault("preflight", words, self._parts.no_runner or "vcoin status shows what it does")
        for event in planned(step, self._holds, self._parts.clock()):
            await self._parts.driver.deliver(event)
        return self.look()

    @asynccontextmanager
    async def follow(self) -> AsyncIterator[AsyncIterator[api.HoldsView]]:
        """See HoldCare."""
        events = self._parts.driver.subscribe()
        try:
            async with aclosing(self._changes(events)) as changes:
                yield changes
        finally:
            events.close()

    async def _changes(self, events: trio.MemoryReceiveChannel[Event]) -> AsyncGenerator[api.HoldsView, None]:
        shown = None
        while True:
            view = self.look()
            if view != shown:
                yield view
                shown = view
            if view.is_idle:
                return
            await events.receive()

    async def look_at_hours(self, local: Local) -> None:
        """Tell the machine whether the owner's hours last, if that is news."""
        closed_from_ms = None
        if self._parts.runner is not None:
            closed_from_ms = self._hours.closed_from_ms(self._parts.clock(), local)
        is_held = self._holds.from_ms(Hold.HOURS) is not None
        if closed_from_ms is not None and not is_held:
            await self._parts.driver.report(HoldBegun(Hold.HOURS, closed_from_ms))
        elif closed_from_ms is None and is_held:
            await self._parts.driver.report(HoldEnded(Hold.HOURS))

    @property
    def _holds(self) -> Holds:
        return self._machine.member.holds


def planned(step: HoldStep, holds: Holds, now_ms: int) -> tuple[HoldBegun | HoldEnded, ...]:
    """The events that carry out an owner's word; those that would change nothing are left out.

    A drain takes the place of a pause: what stood still goes on to its end.
    """
    begins, ends = STEPS[step]
    # A new hold first, so that no order comes in between.
    begun = (HoldBegun(hold, now_ms) for hold in begins if holds.from_ms(hold) is None)
    return *begun, *(HoldEnded(hold) for hold in ends if holds.from_ms(hold) is not None)
