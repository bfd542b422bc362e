"""The small model of set-up as a GGUF file of type Q8_0, in a store of its own."""

from __future__ import annotations

from pathlib import Path

from executor.models import ModelStore
from protocol.stages.blob import ModelManifest
from tests.support import gguf_files
from tests.support.runner_context import open_context, run_inside
from tests.support.source_tree import REPOSITORY

MAKER = REPOSITORY / "tests" / "integration" / "gguf_maker.py"
ROOM_BYTES = 256 << 20


def small_gguf(home: Path) -> tuple[ModelStore, ModelManifest]:
    """Made anew from the small model; takes some seconds. The file itself stays as `home`/kept/model.gguf."""
    writer = Path(gguf_files.__file__)
    with open_context() as context:
        inputs = {writer.name: writer.read_bytes()}
        made = run_inside(context, MAKER, inputs, home, with_model=True, output_bytes=ROOM_BYTES)
    models = ModelStore(home / "store")
    return models, models.add(made / "model.gguf", "small-Q8_0")
