"""Models by name or id, wherever they are: what is not known here is described by peers."""

import random
import re
from contextlib import suppress

import trio

from node.api.admission import find_model
from node.api.faults import Fault
from node.daemon.parts import Parts
from node.daemon.views import Views
from protocol.errors import P2PError
from protocol.stages.blob import ModelManifest
from protocol.wire.ids import Cid, PeerId, TimestampMs

DESCRIBED_WITHIN_S = 25.0
"""A manifest and a tokenizer are some megabytes; the command that waits for them waits 30 s."""
MAX_ASKED = 8
"""Peers that are asked for one description."""
MAX_SOUGHT = 16
"""Models of the network that are described to find one by its name."""
_FULL_ID = re.compile(r"[0-9a-f]{64}")


class ModelShelf:
    """Finds models for jobs and fetches them from peers."""

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
