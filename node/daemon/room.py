"""Tells the machine which models the content store has no room for: a node offers nothing that it could not fetch."""

from collections.abc import Callable

import trio

from node.daemon.known import KnownModels
from node.daemon.remover import ModelRemover
from p2p.adapter import Inbox
from p2p.store import StoreFull
from protocol.events import RoomReported
from protocol.roles.machine import Machine
from protocol.stages.blob import ModelManifest
from protocol.wire.ids import Cid

MOST = 1_024
"""Models that are told, more than a node describes."""


class StoreRoom:
    """Looks at the models that are described and not whole.

    require_room: raises StoreFull if a fetch finds no room for a model of so many bytes, as the store is now; blocks.
    """

    def __init__(
        self,
        machine: Machine,
        inbox: Inbox,
        known: KnownModels,
        remover: ModelRemover,
        require_room: Callable[[Cid, int], None],
    ) -> None:
        self._machine = machine
        self._inbox = inbox
        self._known = known
        self._remover = remover
        self._require_room = require_room

    async def look(self) -> None:
        """Tell the machine, if something has changed. Raises: OSError if the store cannot be read."""
        await self._known.look()
        member = self._machine.member
        missing = [each for each in self._known.all() if each.cid not in member.models][:MOST]
        lacking = sorted([each.cid for each in missing if not await self._has_room(each)])
        if frozenset(lacking) != member.no_room:
            await self._inbox.report(RoomReported(tuple(lacking)))

    async def _has_room(self, manifest: ModelManifest) -> bool:
        size = sum(file.size for file in manifest.files)
        try:
            evicted = await self._remover.require_room(manifest.cid, size)
            if not evicted:
                await trio.to_thread.run_sync(self._require_room, manifest.cid, size)
        except StoreFull:
            return False
        return True
