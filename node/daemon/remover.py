"""Removes models from the store: at the user's word, or the least recently used ones of a store that is full.

A model that a job or a check needs stays. This node knows its own needs; each process that shares the store shows them
to the others by a lock, which the kernel frees if the process is killed.
"""

import logging
import os
import time
from collections.abc import Awaitable, Callable, Iterator

import trio

from node.api.faults import Fault
from node.daemon.known import KnownModels
from p2p.adapter import Inbox
from p2p.eviction import HeldModel, plan_eviction
from p2p.holdings import Holding, HoldingState, ModelHoldings, ModelInUse
from p2p.store import StoreFull
from protocol.events import ModelAdded, ModelRemoved
from protocol.job import TERMINAL, Stage
from protocol.roles.machine import Machine
from protocol.wire.ids import Cid

log = logging.getLogger(__name__)


class ModelRemover:
    """Removes models that are not needed. `named`: those that the operator's settings name, which are never evicted.

    limit_bytes: the quota of the store, 0 for none. let_go: ends what has a model loaded without work.
    """

    def __init__(
        self,
        machine: Machine,
        inbox: Inbox,
        known: KnownModels,
        holdings: ModelHoldings,
        *,
        named: frozenset[Cid],
        limit_bytes: int,
        let_go: Callable[[bytes], Awaitable[None]] | None = None,
    ) -> None:
        self._machine = machine
        self._inbox = inbox
        self._known = known
        self._holdings = holdings
        self._named = named
        self._limit_bytes = limit_bytes
        self._let_go = let_go
        self._locks: dict[Cid, int] = {}
        self.turn = trio.Lock()
        """Held while models are removed, so that what is just leaving the disk is not told to the machine again."""

    def needed(self) -> frozenset[Cid]:
        """Models whose weights a job or a check of this node needs."""
        return frozenset(_needs_of(self._machine))

    def asked_for(self) -> frozenset[Cid]:
        """Models whose description this node needs for jobs of its own that have not ended."""
        return frozenset(Cid(job.manifest) for job in self._machine.requester.jobs if job.stage not in TERMINAL)

    async def show_needs(self) -> None:
        """Lock what this node needs against removal by another process, and free what it needs no more."""
        try:
            await self._lock_needs()
        except OSError as error:
            log.warning("models that jobs need cannot be locked: %s", error)

    async def _lock_needs(self) -> None:
        needed = self.needed()
        for cid in self._locks.keys() - needed:
            os.close(self._locks.pop(cid))
        for cid in needed - self._locks.keys():
            descriptor = await trio.to_thread.run_sync(self._holdings.hold, cid)
            if cid in self._locks:
                os.close(descriptor)
            else:
                self._locks[cid] = descriptor

    def close(self) -> None:
        """Free all locks."""
        while self._locks:
            os.close(self._locks.popitem()[1])

    async def remove(self, holding: Holding) -> None:
        """Remove all of a model. Raises: Fault in_use."""
        cid, name = holding.manifest.cid, holding.manifest.name
        if holding.is_pinned:
            raise Fault("in_use", f"{name} is pinned", f"vcoin model unpin {cid.hex()[:12]}, then remove it")
        async with self.turn:
            reason = "jobs that this node has asked for need it" if cid in self.asked_for() else ""
            if not reason:
                reason = await self._retire(holding, keep_description=False)
        if reason:
            raise Fault("in_use", f"{name} stays: {reason}", "try again when they have ended: vcoin job list")
        await self._known.look()

    async def make_room(self, model: Cid, size_bytes: int) -> None:
        """Evict models until one of so many bytes fits the quota, with what of it is here already.

        Raises: StoreFull if all that could be evicted is not enough; then nothing is.
        """
        if not self._limit_bytes:
            return
        async with self.turn:
            # What cannot be retired now is passed over, and the next one is tried in its place.
            stays = self._named | self.needed() | {model}
            while True:
                # Measured anew each time: another node of the machine may evict at the same moment.
                held = {each.manifest.cid: each for each in await trio.to_thread.run_sync(self._holdings.all)}
                begun = held[model].held_bytes if model in held else 0
                plan = plan_eviction(
                    (_evictable(each, stays) for each in held.values()),
                    total_bytes=await trio.to_thread.run_sync(self._holdings.total_bytes),
                    wanted_bytes=max(size_bytes - begun, 0),
                    limit_bytes=self._limit_bytes,
                )
                if plan.missing_bytes:
                    raise StoreFull(_full(plan.missing_bytes, self._limit_bytes))
                if not plan.victims:
                    return
                victim = held[plan.victims[0]]
                # Each is tried once: one that leaves nothing free would be chosen again without end.
                stays |= {victim.manifest.cid}
                if not await self._retire(victim, keep_description=True):
                    await self._known.look()
                    log.info("model evicted: the store is full", extra={"manifest": victim.manifest.cid.hex()})

    async def enforce(self) -> None:
        """Evict what is over the quota, for example after it was lowered."""
        try:
            await self.make_room(Cid(bytes(32)), 0)
        except StoreFull as error:
            log.warning("the content store is over its quota: %s", error)
        except OSError as error:
            log.warning("the content store cannot be read: %s", error)

    async def _retire(self, holding: Holding, *, keep_description: bool) -> str:
        """Remove a model that nothing needs. Returns: why it stays, empty if it is gone."""
        cid = holding.manifest.cid
        was_whole = cid in self._machine.member.models
        if was_whole:
            # First, so that no job begins that counts on it.
            await self._inbox.deliver(ModelRemoved(cid))
        try:
            if self._let_go is not None:
                # An engine that has it loaded would keep its files on the disk.
                await self._let_go(cid)
            # A job that began meanwhile locks its model against this removal as well.
            await self._lock_needs()
            await trio.to_thread.run_sync(lambda: self._holdings.retire(cid, keep_description=keep_description))
        except ModelInUse as error:
            return str(error)
        except OSError as error:
            return f"the content store failed: {error}"
        else:
            was_whole = False
            return ""
        finally:
            if was_whole:
                with trio.CancelScope(shield=True):
                    await self._inbox.report(ModelAdded(holding.manifest))

    async def pause(self) -> None:
        """Wait until no model is being removed."""
        async with self.turn:
            return

    async def touch(self, cid: Cid) -> None:
        """A model is used now; that it cannot be noted is no reason not to use it."""
        try:
            await trio.to_thread.run_sync(self._holdings.touch, cid, time.time())
        except OSError as error:
            log.warning("the last use of a model cannot be noted: %s", error)


def _needs_of(machine: Machine) -> Iterator[Cid]:
    yield from (Cid(job.manifest) for job in machine.provider.jobs if job.stage in (Stage.ASSIGNED, Stage.RUNNING))
    seats = (each.own.leaves for each in machine.verifier.sittings if not each.batch.is_over)
    audits = (each.leaves for each in machine.auditor.audits if each.findings is None)
    for leaves in (*seats, *audits):
        yield from (leaf.manifest for leaf in leaves.values() if leaf.manifest is not None)


def _evictable(holding: Holding, stays: frozenset[Cid]) -> HeldModel:
    cid = holding.manifest.cid
    is_kept = holding.is_pinned or holding.state is HoldingState.DESCRIBED or cid in stays
    return HeldModel(cid, holding.weights_bytes, holding.used_s, is_kept)


def _full(missing_bytes: int, limit_bytes: int) -> str:
    return (
        f"{missing_bytes} bytes too many for the store, of which {limit_bytes} may be used (executor.store_bytes):"
        " what is left is pinned, in use, or named in executor.models"
    )
