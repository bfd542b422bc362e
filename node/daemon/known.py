"""The models that this node can ask for and read: whole in the store, or described there without their weights."""

import trio

from p2p.store import ContentStore
from protocol.roles.machine import Machine
from protocol.stages.blob import ModelManifest
from protocol.wire.ids import Cid


class KnownModels:
    """Manifests by id: whole models as the machine has them, described ones as the store had them at the last look."""

    def __init__(self, machine: Machine, store: ContentStore) -> None:
        self._machine = machine
        self._store = store
        self._described: dict[Cid, ModelManifest] = {}

    def get(self, cid: Cid) -> ModelManifest | None:
        """The manifest of a model; None if neither it nor its description is here."""
        return self._machine.member.models.get(cid) or self._described.get(cid)

    def all(self) -> tuple[ModelManifest, ...]:
        """Every model, whole ones first."""
        whole = self._machine.member.models
        return (*whole.values(), *(each for cid, each in self._described.items() if cid not in whole))

    def add(self, manifest: ModelManifest) -> None:
        """A description has come into the store."""
        self._described[manifest.cid] = manifest

    async def look(self) -> None:
        """Read from the disk what is described: another node of the machine may have fetched or removed it."""
        found = await trio.to_thread.run_sync(self._store.descriptions)
        self._described = {manifest.cid: manifest for manifest in found}
