"""Jobs on account of a key: the most that they may cost is set aside first, and what they did cost is counted after."""

import logging
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass, field, replace

import trio

from node.api.admission import able_nodes, find_model
from node.api.backend import Backend, JobAsk
from node.api.embeddings import answered
from node.api.faults import Fault, vcn
from node.api.gateway.budgets import KeyBudgets
from node.api.gateway.key_file import KeyFile, Reservation
from node.api.gateway.keys import GatewayKey
from node.api.gateway.refusals import GatewayRefusal
from node.api.views import ANSWERED, JobView, ModelView
from protocol.errors import NodeError
from protocol.stages.assignment import order_total
from protocol.stages.offer import price_of
from protocol.wire.ids import Wei

log = logging.getLogger("vcoin.api.gateway")

SETTLE_S = 30.0
"""Between two looks at the jobs under way."""


@dataclass(slots=True)
class PlacedJob:
    """A job of a request; `asked` is set once it has an id or `error` says why not."""

    reservation_id: int
    amount_wei: int
    job_id: str = ""
    error: NodeError | None = None
    asked: trio.Event = field(default_factory=trio.Event)


@dataclass(frozen=True, slots=True)
class PlacedJobs:
    """The jobs of a request, all of one ask; `model` is its whole name."""

    model: str
    prompt_tokens: int
    jobs: tuple[PlacedJob, ...]


async def usable_models(key: GatewayKey, backend: Backend) -> tuple[ModelView, ...]:
    """The models, whole or described here, that a key may use; its holder hears of no others."""
    models = await backend.shelf.models()
    return tuple(each for each in models if each.state != "partial" and key.may_use(each.name, each.manifest))


class JobDesk:
    """Asks for jobs. `nursery` outlives requests, so a caller that leaves cannot make a job that is not counted."""

    def __init__(self, backend: Backend, budgets: KeyBudgets, nursery: trio.Nursery, *, checked: bool) -> None:
        self._backend = backend
        self._budgets = budgets
        self._nursery = nursery
        self._checked = checked

    async def place(self, key: GatewayKey, ask: JobAsk, count: int) -> PlacedJobs:
        """Ask for `count` jobs; returns once each has an id.

        Raises: GatewayRefusal 402 if the budget does not hold them all; Fault unknown_model, also for a model that the
        key may not use; Fault, as Backend.ask_job.
        """
        model = find_model(ask.model, await usable_models(key, self._backend))
        ask = replace(ask, model=model.manifest)
        size = await self._backend.measure(ask)
        checked = self._checked if ask.checked is None else ask.checked
        ask = replace(ask, max_new_tokens=size.max_new_tokens, checked=checked)
        # A cap that at least half of the able nodes keep. With three or more neither the dearest nor the cheapest one
        # sets it alone; of two it is the dearer price, so that the cheaper one cannot shut the other out.
        snapshot = await self._backend.snapshot()
        able = able_nodes(ask, model, snapshot.nodes, snapshot.me.owner)
        prices = sorted(price_of(Wei(node.price_wei), ask.max_new_tokens) for node in able)
        ask = replace(ask, max_price_wei=prices[len(prices) // 2])
        most_wei = order_total(ask.max_price_wei, with_bonus=ask.with_bonus, checked=checked)
        placed = await self._reserve(key, most_wei, count)
        for index, each in enumerate(placed):
            # With the seed of its client each choice would be the same.
            self._nursery.start_soon(self._ask, each, replace(ask, rules=ask.rules.of_choice(index)))
        try:
            for each in placed:
                await each.asked.wait()
        except trio.Cancelled:
            self.leave(placed)
            raise
        log.info("jobs ordered", extra={"key": key.id, "jobs": count, "most_wei": str(most_wei * count)})
        for each in placed:
            if each.error is not None:
                raise each.error
        return PlacedJobs(model.name, size.prompt_tokens, placed)

    async def _reserve(self, key: GatewayKey, most_wei: int, count: int) -> tuple[PlacedJob, ...]:
        ids = await self._budgets.reserve(key.id, [most_wei] * count)
        if not ids:
            now = await self._budgets.find(key.id)
            left_wei = now.left_wei if now else 0
            words = f"this key has {vcn(left_wei)} VCN left of its budget, the request may cost {vcn(most_wei * count)}"
            raise GatewayRefusal(402, words, kind="insufficient_quota", code="insufficient_quota")
        return tuple(PlacedJob(reservation_id, most_wei) for reservation_id in ids)

    async def _ask(self, placed: PlacedJob, ask: JobAsk) -> None:
        try:
            placed.job_id = await self._backend.ask_job(ask)
        except NodeError as error:
            placed.error = error
            # A request that is not signed yet may still become a job, so its reservation stays until the next start.
            if not (isinstance(error, Fault) and error.code == "busy"):
                await self._note(self._budgets.settle(placed.reservation_id, 0))
        except Exception:
            log.exception("a job could not be asked for")
            placed.error = Fault("internal", "the job could not be asked for")
        else:
            await self._note(self._budgets.name_job(placed.reservation_id, placed.job_id))
        finally:
            placed.asked.set()

    def leave(self, jobs: Sequence[PlacedJob]) -> None:
        """Stop jobs that no client hears any more, whose answers then cost what was written by now."""
        for each in jobs:
            self._nursery.start_soon(self._stop, each)

    async def _stop(self, placed: PlacedJob) -> None:
        await placed.asked.wait()
        if not placed.job_id:
            return
        try:
            await self._backend.stop_job(placed.job_id)
            job = await answered(self._backend, placed.job_id)
        except NodeError as error:
            # It has ended without an answer, or goes on: `settle` looks at it later.
            log.debug("a job without a client: %s", error, extra={"job": placed.job_id})
        except Exception:
            log.exception("a job without a client could not be stopped")
        else:
            await self.answered(placed, job)

    async def answered(self, placed: PlacedJob, job: JobView) -> None:
        """The answer is here, and so its cost: the rest of what was set aside is free again."""
        await self._note(self._budgets.adjust(placed.reservation_id, job.cost_wei))

    async def _note(self, change: Awaitable[None]) -> None:
        """Change a reservation. If the disk refuses, the key stays charged with the most, and its answer comes."""
        try:
            await change
        except NodeError as error:
            log.error("a reservation stays as it is: %s", error)

    async def keep_settled(self) -> None:
        """Settle jobs as they end, until cancelled."""
        while True:
            try:
                await self.settle()
            except NodeError as error:
                log.error("budgets could not be settled: %s", error)
            except Exception:
                log.exception("budgets could not be settled")
            await trio.sleep(SETTLE_S)

    async def settle(self) -> None:
        """Count what the jobs under way cost by now, and settle those that have ended."""
        reservations = [each for each in await self._budgets.reservations() if each.job_id]
        if not reservations:
            return
        jobs = {job.id: job for job in await self._backend.jobs() if job.side == "requester"}
        for reservation in reservations:
            await self._settle(reservation, jobs.get(reservation.job_id))

    async def _settle(self, reservation: Reservation, job: JobView | None) -> None:
        if job is None:
            # The journal has forgotten the job, so nothing about its cost will be heard any more.
            await self._budgets.settle(reservation.id, reservation.amount_wei)
        elif job.ended:
            await self._budgets.settle(reservation.id, job.cost_wei)
        elif job.state in ANSWERED and job.cost_wei != reservation.amount_wei:
            await self._budgets.adjust(reservation.id, job.cost_wei)


def settle_lost(file: KeyFile) -> None:
    """Reservations without a job are of a daemon that was killed: their jobs may have cost all of it.

    Call it before the first job is placed. It blocks.
    """
    for reservation in file.reservations():
        if not reservation.job_id:
            log.warning("a job of a killed daemon counts in full", extra={"key": reservation.key_id})
            file.settle(reservation.id, reservation.amount_wei)
