"""Who shares a container: jobs that wait for a turn go along with the one that gets it, if they are of its kind."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass, field
from typing import Protocol

import trio

from executor.runs.generation import QueuedRun
from protocol.stages.execution import RunResult, RunSpec, sharing_key, side_by_side_ms

TIME_SHARE = 2
"""A shared run should need no more than this part, a half, of the time of any of its jobs."""

OnTokens = Callable[[tuple[int, ...]], Awaitable[None]]
Ended = tuple[RunResult, bytes]


def companions(first: RunSpec, waiting: Iterable[RunSpec], at_once: int, ms_per_token: int) -> list[RunSpec]:
    """Of jobs that wait, in their order, those that a container of the first one takes along.

    Args: at_once, answers in one container; ms_per_token, of an answer by itself.
    """
    chosen, key = [first], sharing_key(first)
    for spec in waiting:
        if len(chosen) == at_once:
            break
        if key is not None and sharing_key(spec) == key and _is_in_time([*chosen, spec], ms_per_token):
            chosen.append(spec)
    return chosen[1:]


def _is_in_time(specs: Sequence[RunSpec], ms_per_token: int) -> bool:
    longest = max(spec.max_new_tokens for spec in specs)
    needed_ms = longest * side_by_side_ms(ms_per_token, len(specs))
    return TIME_SHARE * needed_ms <= min(spec.timeout_ms for spec in specs)


@dataclass(eq=False, slots=True)
class Guest:
    """One job from when it begins to wait until it has ended. `ended` is None where it must be run by itself."""

    order: QueuedRun
    on_tokens: OnTokens
    queue: trio.CancelScope = field(default_factory=trio.CancelScope)
    over: trio.Event = field(default_factory=trio.Event)
    is_gone: bool = False
    ended: Ended | None = None
    party: "Party | None" = None

    def settle(self, ended: Ended) -> None:
        """It has ended."""
        self.ended = ended
        self.over.set()

    def leave(self) -> None:
        """No task waits for it any more."""
        self.is_gone = True
        if self.party is not None and all(guest.is_gone for guest in self.party.guests):
            self.party.scope.cancel()


@dataclass(eq=False, slots=True)
class Party:
    """Those that share a container, and what ends it."""

    guests: list[Guest]
    scope: trio.CancelScope = field(default_factory=trio.CancelScope)


class ContainerHost(Protocol):
    """What runs containers."""

    async def alone(self, order: QueuedRun, on_tokens: OnTokens) -> Ended:
        """Run a job in a container of its own. Raises: ExecutorError."""
        ...

    async def together(self, guests: Sequence[Guest]) -> None:
        """Run jobs in one container, and settle those that it settles. Never raises ours."""
        ...

    def speed(self) -> int:
        """Milliseconds a token, of an answer by itself."""
        ...


class Sharing:
    """Lets jobs wait for a turn, and take others along. Only while it is served; else each is run by itself."""

    def __init__(
        self, host: ContainerHost, turn: Callable[[], AbstractAsyncContextManager[None]], at_once: int
    ) -> None:
        """Args: turn, holds one of the machine's turns; left by another task than it was entered by."""
        self._host = host
        self._turn = turn
        self._at_once = at_once
        self._waiting: list[Guest] = []
        self._house: trio.Nursery | None = None

    async def serve(self) -> None:
        """Be where shared containers live, until cancelled: none is any one job's."""
        async with trio.open_nursery() as house:
            self._house = house
            try:
                await trio.sleep_forever()
            finally:
                self._house = None

    async def run(self, order: QueuedRun, on_tokens: OnTokens, *, alone: bool) -> Ended:
        """Run a job to its end, by itself or, unless it must be `alone`, with others. Raises: ExecutorError."""
        if self._at_once > 1 and not alone and sharing_key(order.spec) is not None:
            guest = Guest(order, on_tokens)
            self._waiting.append(guest)
            try:
                ended = await self._as_guest(guest)
            finally:
                guest.leave()
                self._forget(guest)
            if ended is not None:
                return ended
        async with self._turn():
            return await self._host.alone(order, on_tokens)

    async def _as_guest(self, guest: Guest) -> Ended | None:
        """How it ended, in the turn that it got or in the one that took it along."""
        with guest.queue:
            async with AsyncExitStack() as turn:
                await turn.enter_async_context(self._turn())
                if guest.party is None:
                    along = self._along(guest)
                    if not along or self._house is None:
                        self._forget(guest)
                        return await self._host.alone(guest.order, guest.on_tokens)
                    self._house.start_soon(self._entertain, self._gather([guest, *along]), turn.pop_all())
        await guest.over.wait()
        return guest.ended

    def _along(self, first: Guest) -> list[Guest]:
        others = {guest.order.spec: guest for guest in self._waiting if guest is not first}
        chosen = companions(first.order.spec, others, self._at_once, self._host.speed())
        return [others[spec] for spec in chosen]

    def _gather(self, guests: list[Guest]) -> Party:
        party = Party(guests)
        for guest in guests:
            guest.party = party
            self._forget(guest)
            guest.queue.cancel()
        return party

    def _forget(self, guest: Guest) -> None:
        if guest in self._waiting:
            self._waiting.remove(guest)

    async def _entertain(self, party: Party, turn: AsyncExitStack) -> None:
        async with turn:
            try:
                with party.scope:
                    await self._host.together(party.guests)
            finally:
                for guest in party.guests:
                    guest.over.set()
