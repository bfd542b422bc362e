"""Jobs on account of a key: the most that they may cost is set aside first, and what they did cost is counted after."""

import logging
from dataclasses import dataclass, field, replace

import trio

from node.api.admission import able_nodes, find_model
from node.api.backend import Backend, JobAsk
from node.api.faults import Fault, vcn
from node.api.gateway.budgets import KeyBudgets
from node.api.gateway.key_file import OpenOrder
from node.api.gateway.keys import GatewayKey
from node.api.gateway.refusals import GatewayRefusal
from node.api.views import ANSWERED, JobView
from protocol.errors import NodeError
from protocol.stages.assignment import order_total
from protocol.stages.offer import price_of
from protocol.wire.ids import Wei

log = logging.getLogger("vcoin.api.gateway")

SETTLE_S = 30.0
"""Between two looks at the jobs under way."""


@dataclass(slots=True)
class PlacedOrder:
    """A job of a request; `asked` is set once it has an id or `error` says why not."""

    order_id: int
    amount_wei: int
    job_id: str = ""
    error: NodeError | None = None
    asked: trio.Event = field(default_factory=trio.Event)


@dataclass(frozen=True, slots=True)
class PlacedOrders:
    """The jobs of a request, all of one ask; `model` is its whole name."""

    model: str
    prompt_tokens: int
    orders: tuple[PlacedOrder, ...]


class JobDesk:
    """Asks for jobs. `nursery` outlives requests, so a caller that leaves cannot make a job that is not counted."""

    def __init__(self, backend: Backend, budgets: KeyBudgets, nursery: trio.Nursery, *, checked: bool) -> None:
        self._backend = backend
        self._budgets = budgets
        self._nursery = nursery
        self._checked = checked

    async def place(self, key: GatewayKey, ask: JobAsk, count: int) -> PlacedOrders:
        """Ask for `count` jobs; returns once each has an id.

        Raises: GatewayRefusal 402 if the budget does not hold them all, 404 for a model that the key may not use;
        Fault, as Backend.ask_job.
        """
        model = find_model(ask.model, await self._backend.models())
        if not key.may_use(model.name, model.manifest):
            raise GatewayRefusal(404, f"this key may not use {model.name}", code="model_not_found", param="model")
        size = await self._backend.measure(ask)
        checked = self._checked if ask.checked is None else ask.checked
        ask = replace(ask, max_new_tokens=size.max_new_tokens, checked=checked)
        # A cap that half of the able nodes keep: neither the dearest nor the cheapest one can set it.
        snapshot = await self._backend.snapshot()
        able = able_nodes(ask, model, snapshot.nodes, snapshot.me.owner)
        prices = sorted(price_of(Wei(node.price_wei), ask.max_new_tokens) for node in able)
        ask = replace(ask, max_price_wei=prices[len(prices) // 2])
        most_wei = order_total(ask.max_price_wei, with_bonus=ask.with_bonus, checked=checked)
        orders = await self._reserve(key, most_wei, count)
        for order in orders:
            self._nursery.start_soon(self._ask, order, ask)
        for order in orders:
            await order.asked.wait()
        log.info("jobs ordered", extra={"key": key.id, "jobs": count, "most_wei": str(most_wei * count)})
        for order in orders:
            if order.error is not None:
                raise order.error
        return PlacedOrders(model.name, size.prompt_tokens, orders)

    async def _reserve(self, key: GatewayKey, most_wei: int, count: int) -> tuple[PlacedOrder, ...]:
        ids = await self._budgets.reserve(key.id, [most_wei] * count)
        if not ids:
            now = await self._budgets.find(key.id)
            left_wei = now.left_wei if now else 0
            words = f"this key has {vcn(left_wei)} VCN left of its budget, the request may cost {vcn(most_wei * count)}"
            raise GatewayRefusal(402, words, kind="insufficient_quota", code="insufficient_quota")
        return tuple(PlacedOrder(order_id, most_wei) for order_id in ids)

    async def _ask(self, order: PlacedOrder, ask: JobAsk) -> None:
        try:
            order.job_id = await self._backend.ask_job(ask)
            await self._budgets.name_job(order.order_id, order.job_id)
        except NodeError as error:
            order.error = error
            await self._give_up(order, error)
        except Exception:
            log.exception("a job could not be asked for")
            order.error = Fault("internal", "the job could not be asked for")
        finally:
            order.asked.set()

    async def _give_up(self, order: PlacedOrder, error: NodeError) -> None:
        """A job that was refused costs nothing; one whose request may still be signed counts until the next start."""
        if order.job_id or (isinstance(error, Fault) and error.code == "busy"):
            return
        try:
            await self._budgets.close_order(order.order_id, 0)
        except NodeError as second:
            log.error("an order stays open: %s", second)

    async def answered(self, order: PlacedOrder, job: JobView) -> None:
        """The answer is here, and so its cost: the rest of what was set aside is free again."""
        await self._budgets.adjust(order.order_id, job.cost_wei)

    async def close_lost(self) -> None:
        """Orders without a job are of a daemon that was killed: they may have cost all that was set aside.

        Call it before the first order is placed.
        """
        for order in await self._budgets.orders():
            if not order.job_id:
                log.warning("an order of a killed daemon counts in full", extra={"key": order.key_id})
                await self._budgets.close_order(order.id, order.amount_wei)

    async def keep_settled(self) -> None:
        """Settle jobs as they end, until cancelled."""
        while True:
            try:
                await self.settle()
            except NodeError as error:
                log.error("budgets could not be settled: %s", error)
            await trio.sleep(SETTLE_S)

    async def settle(self) -> None:
        """Count what the jobs under way cost by now, and close the orders of those that have ended."""
        orders = [order for order in await self._budgets.orders() if order.job_id]
        if not orders:
            return
        jobs = {job.id: job for job in await self._backend.jobs() if job.side == "requester"}
        for order in orders:
            await self._settle(order, jobs.get(order.job_id))

    async def _settle(self, order: OpenOrder, job: JobView | None) -> None:
        if job is None:
            # The journal has forgotten the job, so nothing about its cost will be heard any more.
            await self._budgets.close_order(order.id, order.amount_wei)
        elif job.ended:
            await self._budgets.close_order(order.id, job.cost_wei)
        elif job.state in ANSWERED and job.cost_wei != order.amount_wei:
            await self._budgets.adjust(order.id, job.cost_wei)
