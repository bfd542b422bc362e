"""Stores with the small model: as it is, or with something else under its name."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

from scripts.setup import model


def copy_model(store: Path, manifest: bytes) -> Path:
    """The small model in a store of one's own; its folder. Files are shared with the cache where the disk allows."""
    folder = store / "models" / manifest.hex()
    folder.mkdir(parents=True)
    for path in (model.store() / "models" / manifest.hex()).iterdir():
        try:
            os.link(path, folder / path.name)
        except OSError:
            shutil.copyfile(path, folder / path.name)
    return folder


def copy_shallow(store: Path, manifest: bytes, layers: int) -> Path:
    """The small model without its last layers, by its name: it takes less time, and no check looks into a folder."""
    folder = copy_model(store, manifest)
    config = folder / "config.json"
    shallow = {**json.loads(config.read_bytes()), "num_hidden_layers": layers}
    # The file is shared: another one takes its place.
    config.unlink()
    config.write_text(json.dumps(shallow))
    return folder
