"""Budgets of keys beside the event loop: the file of keys, asked in a thread, one call at a time."""

import logging
import sqlite3
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, TypeVar

import trio

from node.api.faults import Fault
from node.api.gateway.key_file import KeyFile, Reservation
from node.api.gateway.keys import GatewayKey

log = logging.getLogger("vcoin.api.gateway")

T = TypeVar("T")


class KeyBudgets:
    """See KeyFile for what each call does. All raise Fault unavailable where the disk refuses."""

    def __init__(self, file: KeyFile) -> None:
        self._file = file
        self._turn = trio.CapacityLimiter(1)

    async def find(self, key_id: str) -> GatewayKey | None:
        """See KeyFile."""
        return await self._call(self._file.find, key_id)

    async def reserve(self, key_id: str, amounts_wei: Sequence[int]) -> tuple[int, ...]:
        """See KeyFile."""
        return await self._call(self._file.reserve, key_id, amounts_wei)

    async def name_job(self, reservation_id: int, job_id: str) -> None:
        """See KeyFile."""
        await self._call(self._file.name_job, reservation_id, job_id)

    async def adjust(self, reservation_id: int, amount_wei: int) -> None:
        """See KeyFile."""
        await self._call(self._file.adjust, reservation_id, amount_wei)

    async def settle(self, reservation_id: int, cost_wei: int) -> None:
        """See KeyFile."""
        await self._call(self._file.settle, reservation_id, cost_wei)

    async def reservations(self) -> tuple[Reservation, ...]:
        """See KeyFile."""
        return await self._call(self._file.reservations)

    async def _call(self, act: Callable[..., T], *arguments: Any) -> T:
        try:
            return await trio.to_thread.run_sync(partial(act, *arguments), limiter=self._turn)
        except sqlite3.Error as error:
            log.error("the gateway's keys cannot be read or written: %s", error)
            raise Fault("unavailable", "the gateway's keys cannot be read or written", "its log says more") from error
