"""This machine's Docker Engine, runner image and small model, for the tests and benchmarks that run real containers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from chain.calibration import packaged_for
from executor import images
from executor.containers import DEFAULT_HOST, Engine
from executor.models import ModelStore
from executor.station import Station
from protocol.stages.blob import ModelManifest
from protocol.wire.ids import Cid
from scripts.setup import model

NODE = "0x00000000000000000000000000000000000000T1"


def docker_host() -> str:
    return os.environ.get("DOCKER_HOST", DEFAULT_HOST)


def small_model() -> ModelManifest:
    """The model that set-up converted."""
    cid = model.manifest_id()
    assert cid is not None, "the small model is not on this machine: run ./scripts/test, which fetches it"
    return ModelStore(model.store()).manifest(cid)


@contextmanager
def open_station(image: str | None = None, node: str = NODE) -> Iterator[Station]:
    """A station with the calibration of this release; `image` replaces the honest runner's."""
    engine = Engine(node, docker_host())
    try:
        yield Station(engine, image or images.find(docker_host()), ModelStore(model.store()), _act_weights)
    finally:
        engine.close()


def _act_weights(manifest: bytes) -> bytes | None:
    found = packaged_for(Cid(manifest))
    return found.act_weights if found else None
