"""`vcoin model fit`: which cards and processors can serve a model, with how much context and how many streams."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from cyclopts import Parameter

from node.api.faults import Fault
from node.cli.ui import output
from node.cli.ui.daemon_socket import client
from node.cli.ui.options import COMMON, Common, converter
from node.cli.ui.phrases import size

if TYPE_CHECKING:
    from protocol.stages.fitting import ModelFit
    from protocol.stages.model_shape import ModelShape

UNITS = {"GB": 10**9, "GiB": 1 << 30, "MB": 10**6, "MiB": 1 << 20}
MAX_BYTES = 1 << 50
NO_CARD = "no graphics card is known: NVML does not answer here; --memory 24GB stands for a card"
ESTIMATED = "the rows of cards are estimates: no engine was measured on a card"


def memory_bytes(text: str) -> int:
    """An amount of memory as people write it, 24GB or 16GiB, in bytes. Raises: ValueError."""
    for unit, factor in UNITS.items():
        digits = text.removesuffix(unit)
        if digits != text and digits.isascii() and digits.isdigit() and len(digits) < 16:
            found = int(digits) * factor
            if 0 < found <= MAX_BYTES:
                return found
    raise ValueError(f"{text!r} is no memory: a whole number and one of {', '.join(UNITS)}, for example 24GB")


Memory = Annotated[int, Parameter(converter=converter(memory_bytes), metavar="SIZE")]
"""An amount of memory on the command line, in bytes in the code."""


class ServingDevice(NamedTuple):
    """A card or the processors of this machine. `kind` and `formats`, of which none stands for all: see fitting.py."""

    kind: str
    name: str
    total_bytes: int
    free_bytes: int
    formats: tuple[str, ...] = ()


def fit(
    model: str,
    /,
    *,
    context: int = 0,
    streams: int = 0,
    memory: Memory = 0,
    common: Common = COMMON,
) -> int:
    """Say which cards and processors of this machine can serve a model, with how much context and how many streams.

    Counted from the shape of the model, for each engine and number format; nothing is loaded, and nothing is fetched
    but the manifest of a model that only peers hold.

    Parameters
    ----------
    model
        Its name or id; or the path of a folder with config.json, of a config.json alone, or of a GGUF file.
    context
        Tokens of each stream, prompt and answer together; nothing: the longest that fits.
    streams
        Answers side by side; nothing: as many as fit.
    memory
        Stands for a card with so much free memory, for example 24GB; the devices of this machine are left out.
    """
    for name, value in (("--context", context), ("--streams", streams)):
        if not 0 <= value < 1 << 31:
            raise Fault("bad_request", f"{name} must be a whole number from 1 to {(1 << 31) - 1}")
    shape = _shape(model, common.data_dir)
    devices, words = _devices(memory)
    for line in words:
        output.words(line)
    found = [(device, each) for device in devices for each in fits_of(device, shape, context, streams)]
    return output.show(
        common.json,
        {"model": model, "fits": [_plain(device, each) for device, each in found], "words": words},
        lambda: [*output.pairs(_facts(model, shape)), "", *output.table(HEAD, (_row(*each) for each in found))],
    )


def fits_of(device: ServingDevice, shape: "ModelShape", context: int, streams: int) -> Iterator["ModelFit"]:
    """What each engine of a device can do with a model that it can load."""
    from protocol.stages.fitting import ENGINES, can_load, fit

    for engine in ENGINES:
        is_there = engine.device == device.kind and (not device.formats or engine.dtype in device.formats)
        if is_there and can_load(shape, engine):
            yield fit(shape, engine, device.free_bytes, context, streams)


def _shape(model: str, data_dir: Path | None) -> "ModelShape":
    """Raises: Fault if there is no such model, or none whose shape can be told."""
    from protocol.stages.model_shape import ModelShape

    if os.sep not in model and Path(model).suffix not in (".json", ".gguf"):
        from node.api.views import read

        return read(ModelShape, client(data_dir).get("models", model, "shape"))
    from executor.model_shapes import shape_of_path
    from executor.models import ModelUnusable

    try:
        return shape_of_path(Path(os.path.expanduser(model)))
    except ModelUnusable as error:
        raise Fault("bad_model", str(error), "give a folder, a config.json, a GGUF file or a name") from error


def _devices(memory: int) -> tuple[list[ServingDevice], list[str]]:
    """The devices to look at, and what is to be said of them."""
    from executor import devices
    from executor.cards import nvml
    from protocol.stages.execution import CLASS_DTYPES
    from protocol.stages.fitting import CARD, PROCESSOR

    if memory:
        return [ServingDevice(CARD, f"a card of {size(memory)}", memory, memory)], [ESTIMATED]
    reading = nvml.read_once()
    cards, words = reading.sound, [ESTIMATED if reading.sound else NO_CARD]
    if reading.fault is not None:
        words = [f"the graphics cards cannot be read: {reading.words}; --memory 24GB stands for a card"]
    formats = tuple(CLASS_DTYPES[class_id] for class_id in devices.class_ids())
    total, free = (devices.memory_of(devices.MEMINFO.read_text(), name) for name in ("MemTotal", "MemAvailable"))
    found = [ServingDevice(CARD, card.facts.model, card.facts.total_bytes, card.free_bytes) for card in cards]
    return [*found, ServingDevice(PROCESSOR, "processors", total, free, formats)], words


HEAD = ("device", "free", "engine", "format", "fits", "context", "streams", "weights", "kept", "work", "needs")


def _row(device: ServingDevice, found: "ModelFit") -> tuple[str, ...]:
    peak = found.peak
    does_fit = "yes" if found.streams else "no"
    sizes = (peak.weights_bytes, peak.kept_bytes, peak.runtime_bytes + peak.work_bytes, peak.held_bytes)
    names = (device.name, size(device.free_bytes), found.engine.engine, found.engine.dtype, does_fit)
    return (*names, str(found.context if found.streams else 0), str(found.streams), *map(size, sizes))


def _facts(model: str, shape: "ModelShape") -> list[tuple[str, str]]:
    facts = f"{shape.parameters:,} weights in {shape.dtype}, {size(shape.stored_bytes)}"
    return [("model", model), ("shape", facts), ("context", f"{shape.context:,} tokens at most")]


def _plain(device: ServingDevice, found: "ModelFit") -> dict[str, Any]:
    peak = found.peak
    return {
        "device": device.name,
        "kind": device.kind,
        "total_bytes": device.total_bytes,
        "free_bytes": device.free_bytes,
        "engine": found.engine.engine,
        "format": found.engine.dtype,
        "is_measured": found.engine.is_measured,
        "fits": found.streams > 0,
        "context": found.context if found.streams else 0,
        "streams": found.streams,
        "weights_bytes": peak.weights_bytes,
        "kept_bytes": peak.kept_bytes,
        "runtime_bytes": peak.runtime_bytes,
        "work_bytes": peak.work_bytes,
        "needs_bytes": peak.held_bytes,
        "peak_bytes": peak.peak_bytes,
    }
