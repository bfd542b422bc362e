"""Models by name or id, wherever they are: what is not known here is described by peers, or fetched from them."""

import random
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterable
from contextlib import aclosing, asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

import trio

from executor.model_shapes import shape_of_stored
from executor.models import ModelUnusable
from node.api import views as api
from node.api.admission import find_model
from node.api.backend import ModelStep
from node.api.faults import Fault
from node.daemon.parts import Parts
from node.daemon.pull import PullProgress
from node.daemon.remover import NO_MODEL
from node.daemon.views import Views
from p2p.folders import size_of
from p2p.holdings import Holding
from p2p.store import StoreFull
from protocol.effects import FetchModel
from protocol.errors import AdapterError, P2PError
from protocol.events import ModelAdded
from protocol.stages.blob import ModelManifest
from protocol.stages.model_shape import ModelShape
from protocol.wire.ids import Cid, PeerId, TimestampMs

T = TypeVar("T")
DESCRIBED_WITHIN_S = 25.0
"""A manifest and a tokenizer are some megabytes; the command that waits for them waits 30 s."""
MAX_ASKED = 8
"""Peers that are asked for one description."""
MAX_SOUGHT = 16
"""Models of the network that are described to find one by its name."""
UPDATE_S = 0.5
"""Between two looks at a pull."""
MORE_ROOM = "vcoin model list shows what can be unpinned or removed; executor.store_bytes is the quota"
_FULL_ID = re.compile(r"[0-9a-f]{64}")


@dataclass(slots=True)
class _Fetch:
    """A pull in the background, and how it ended."""

    ended: trio.Event = field(default_factory=trio.Event)
    fault: Fault | None = None


class ModelShelf:
    """Finds models for jobs, fetches them from peers, and keeps those in the store. Implements ModelCare."""

    def __init__(self, parts: Parts, views: Views) -> None:
        self._parts = parts
        self._views = views

    async def find(self, name: str) -> ModelManifest:
        """The model that is meant: known here, by its full id from peers, or calibrated on this network under its name.

        Raises: Fault unknown_model, ambiguous, bad_model; unavailable if no peer has shown it in time.
        """
        try:
            return self._known(name)
        except Fault as fault:
            if fault.code != "unknown_model":
                raise
        if _FULL_ID.fullmatch(name.lower()):
            return await self.describe(Cid(bytes.fromhex(name)))
        await self._describe_calibrated()
        return self._known(name)

    async def describe(self, cid: Cid) -> ModelManifest:
        """Have the manifest and the tokenizer of a model here. Raises: Fault bad_model, unavailable."""
        reason = f"none did within {DESCRIBED_WITHIN_S:.0f} s"
        with trio.move_on_after(DESCRIBED_WITHIN_S):
            try:
                manifest = await self._parts.peers.blobs.fetch_description(cid, self.holders(cid))
            except P2PError as error:
                if not error.transient:
                    raise Fault("bad_model", str(error), "check the id: vcoin model list") from error
                reason = str(error)
            else:
                self._parts.known.add(manifest)
                return manifest
        hint = "try again while a node that holds it is online: vcoin status --nodes"
        raise Fault("unavailable", f"no peer has shown model {cid.hex()[:12]}: {reason}", hint)

    def holders(self, cid: Cid) -> tuple[PeerId, ...]:
        """Peers to ask for a model: first those that say they hold it, in any order, so that none is always first."""
        parts = self._parts
        told = list(parts.machine.member.holders(cid, TimestampMs(parts.clock())))
        others = sorted(parts.peers.connected - set(told))
        random.shuffle(told)
        random.shuffle(others)
        return tuple((*told, *others)[:MAX_ASKED])

    def _known(self, name: str) -> ModelManifest:
        found = self._parts.known.get(Cid(bytes.fromhex(find_model(name, self._views.models()).manifest)))
        assert found is not None
        return found

    async def _describe_calibrated(self) -> None:
        """Describe the models that the network has calibrated: a name is known only from a manifest."""
        calibrated = {cid for cid, _ in self._parts.machine.member.calibrations}
        missing = sorted(cid for cid in calibrated if self._parts.known.get(cid) is None)

        async def describe(cid: Cid) -> None:
            with suppress(Fault):
                await self.describe(cid)

        async with trio.open_nursery() as nursery:
            for cid in missing[:MAX_SOUGHT]:
                nursery.start_soon(describe, cid)

    # --- the user's orders ------------------------------------------------------------------------------------------
    async def models(self) -> tuple[api.ModelView, ...]:
        """See ModelCare."""
        return self._shown(await _on_disk(self._parts.holdings.all))

    async def model(self, name: str) -> api.ModelView:
        """See ModelCare."""
        holding, view = await self._held(name)
        files = tuple(
            api.ModelFileView(each.path, each.sha256.hex(), each.size)
            for each in sorted(holding.manifest.files, key=lambda each: each.path)
        )
        return replace(view, files=files)

    async def shape(self, name: str) -> ModelShape:
        """See ModelCare."""
        manifest = await self.find(name)
        try:
            return await trio.to_thread.run_sync(shape_of_stored, self._parts.models, manifest)
        except ModelUnusable as error:
            raise Fault("bad_model", str(error), "check the id: vcoin model list") from error

    async def take_step(self, step: ModelStep, name: str) -> api.ModelView:
        """See ModelCare."""
        holding, view = await self._held(name)
        if step is ModelStep.REMOVE:
            if self._parts.peers.blobs.progress(holding.manifest.cid) is not None:
                raise Fault("in_use", f"{holding.manifest.name} is being fetched", "end the pull first, then remove it")
            await self._parts.remover.remove(holding)
            return view
        is_pinned = step is ModelStep.PIN
        await _on_disk(lambda: self._parts.holdings.pin(holding.manifest.cid, is_pinned=is_pinned))
        return replace(view, pinned=is_pinned)

    async def put(self, source: Path, copy: Callable[[], ModelManifest]) -> ModelManifest:
        """Have `copy` add a local model, and evict what it takes the place of.

        What has to go goes after the copy, which may fail; before it only if the disk has no room for both.
        Raises: Fault store_full; what `copy` raises.
        """
        remover = self._parts.remover
        try:
            size = await trio.to_thread.run_sync(size_of, source)
            over = await remover.require_room(NO_MODEL, size)
            if over and not await trio.to_thread.run_sync(self._parts.store.has_room, size):
                await remover.make_room(NO_MODEL, size)
        except StoreFull as error:
            raise Fault("store_full", str(error), MORE_ROOM) from error
        except OSError as error:
            raise _disk_fault(error) from error
        manifest = await trio.to_thread.run_sync(copy)
        await remover.enforce(manifest.cid)
        return manifest

    @asynccontextmanager
    async def pull(self, name: str) -> AsyncIterator[AsyncIterator[api.PullView]]:
        """See ModelCare."""
        manifest, fetch = await self.find(name), _Fetch()
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._fetch, manifest, fetch)
            try:
                async with aclosing(self._watch(manifest, fetch)) as updates:
                    yield updates
            except Exception as error:
                # Out of the nursery as it is, not in a group.
                failure = error
            # The reader may have left; what has come stays for the next pull.
            nursery.cancel_scope.cancel()
        if failure is not None:
            raise failure

    async def _fetch(self, manifest: ModelManifest, fetch: _Fetch) -> None:
        parts, cid = self._parts, manifest.cid
        try:
            await parts.remover.pause()
            await parts.peers.perform(FetchModel(cid, self.holders(cid)))
            await trio.to_thread.run_sync(parts.models.require_format, manifest)
            await parts.driver.deliver(ModelAdded(manifest))
            await parts.remover.touch(cid)
        except AdapterError as error:
            fetch.fault = _fault_of_pull(error)
        finally:
            fetch.ended.set()

    async def _watch(self, manifest: ModelManifest, fetch: _Fetch) -> AsyncGenerator[api.PullView, None]:
        progress = PullProgress(manifest)
        while not fetch.ended.is_set():
            begun = self._parts.peers.blobs.progress(manifest.cid)
            yield progress.look(trio.current_time(), begun.done_bytes if begun else None)
            with trio.move_on_after(UPDATE_S):
                await fetch.ended.wait()
        if fetch.fault is not None:
            raise fetch.fault
        yield progress.end()

    async def _held(self, name: str) -> tuple[Holding, api.ModelView]:
        held = {each.manifest.cid.hex(): each for each in await _on_disk(self._parts.holdings.all)}
        view = find_model(name, self._shown(held.values()))
        return held[view.manifest], view

    def _shown(self, held: Iterable[Holding]) -> tuple[api.ModelView, ...]:
        in_use = self._parts.remover.needed() | self._parts.remover.asked_for()
        return tuple(
            replace(
                self._views.model(holding.manifest),
                state=holding.state.value,
                held_bytes=holding.held_bytes,
                used_ms=round(holding.used_s * 1000),
                pinned=holding.is_pinned,
                in_use=holding.manifest.cid in in_use,
            )
            for holding in held
        )


async def _on_disk(call: Callable[[], T]) -> T:
    """Raises: Fault preflight if the disk refuses."""
    try:
        return await trio.to_thread.run_sync(call)
    except OSError as error:
        raise _disk_fault(error) from error


def _disk_fault(error: OSError) -> Fault:
    return Fault("preflight", f"the content store failed: {error}", "check the disk of executor.store")


def _fault_of_pull(error: AdapterError) -> Fault:
    if isinstance(error, StoreFull):
        return Fault("store_full", str(error), MORE_ROOM)
    if error.transient:
        return Fault("unavailable", str(error), "run it again: it goes on from where it stopped")
    return Fault("bad_model", str(error), "check the id: vcoin model list")
