"""This machine's Docker Engine, runner image and small model, for the tests and benchmarks that run real containers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

from executor import images
from executor.containers import DEFAULT_HOST, Engine
from executor.models import ModelStore
from executor.station import Station
from protocol.stages.blob import ModelManifest
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
    """A station without calibration; `image` replaces the honest runner's."""
    engine = Engine(node, docker_host())
    try:
        yield Station(engine, image or images.find(docker_host()), ModelStore(model.store()), lambda manifest: None)
    finally:
        engine.close()
