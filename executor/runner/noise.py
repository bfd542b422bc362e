"""Kind `noise`: many texts read in one container, and how far an honest check lies from each reading.

What a model's constants for embeddings and classification are made from, in two halves as in `calibrate`: without
readings.npz among the inputs, the texts of texts.json are read as a worker does, and readings.npz is written; then
every text is read alone, and noise.json says what a check measures of it.
"""

import time

import numpy as np

from . import classify, embed
from .events import emit
from .fingerprint import Doubles
from .job import INPUT, OUTPUT, BadInput, Job, canonical, read_object, write
from .model import Model
from .texts import BATCH_TEXTS, SCALE, AskedTexts

MAX_TEXTS = 10_000


def run(job: Job, model: Model) -> dict[str, object]:
    """Returns how long both halves took; raises Refused."""
    job.number("temperature_milli", 0, 0)
    given = read_object("texts.json")
    texts, label_sets = given.get("texts"), given.get("labels")
    if not isinstance(texts, list) or not 0 < len(texts) <= MAX_TEXTS or not isinstance(label_sets, list):
        raise BadInput("bad_input", "texts.json must hold a list of texts, and one of lists of labels")
    emit("ready")
    started = time.monotonic()
    if (INPUT / "readings.npz").exists():
        stored = np.load(INPUT / "readings.npz", allow_pickle=False)
        theirs = [stored[name] for name in sorted(stored.files, key=int)]
    else:
        theirs = readings(model, texts, label_sets, BATCH_TEXTS)
        np.savez(OUTPUT / "readings.npz", **{str(number): each for number, each in enumerate(theirs)})
    read = time.monotonic()
    ours = readings(model, texts, label_sets, 1)
    write("noise.json", canonical(measured(ours, theirs)))
    return {"read_ms": round((read - started) * 1000), "check_ms": round((time.monotonic() - read) * 1000)}


def readings(model: Model, texts: list[str], label_sets: list[list[str]], at_once: int) -> list[Doubles]:
    """The embeddings of texts, then their logits for each set of labels, in whole millionths."""
    pooled, _ = model.read([model.prompts.text_ids(text) for text in texts], at_once)
    found = [embed.in_millionths(pooled)]
    for labels in label_sets:
        asked = AskedTexts("", texts, labels)
        _, last = model.read(classify.prompts_of(asked, model), at_once)
        found.append(classify.in_millionths(model.logits_of(last, classify.label_ids(asked, model))))
        emit("progress", step=len(found), total=1 + len(label_sets))
    return found


def measured(ours: list[Doubles], theirs: list[Doubles]) -> dict[str, object]:
    """What a check measures, in ppm: of each text its distance; for each set of labels and text difference and lead."""
    vectors, *logits = [
        np.rint(measure(mine, other) * SCALE).astype(np.int64).tolist()
        for mine, other, measure in zip(
            ours, theirs, [embed.distances, *[classify.differences] * (len(ours) - 1)], strict=True
        )
    ]
    return {"embed": vectors, "classify": logits}
