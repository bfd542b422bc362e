"""The manifest of a model of any files, in the smallest sizes that a manifest may state."""

from collections.abc import Mapping

from protocol.stages.blob import ModelFile, ModelManifest
from protocol.wire.ids import cid_of


def model_of(files: Mapping[str, bytes], name: str = "test") -> ModelManifest:
    """A model of these files."""
    return ModelManifest(
        name=name,
        files=tuple(ModelFile(path, cid_of(data), len(data)) for path, data in files.items()),
        tokenizer="tokenizer.json",
        eos_ids=(2,),
        pad_id=2,
        dtype="bf16",
        hidden=1,
        vocab=1,
        layers=1,
        context=1,
        needs_bytes=1,
    )
