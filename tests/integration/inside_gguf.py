"""Runs in the runner image: what both engines are given of a GGUF file, beside what other programs read of it.

It leaves /output/found.json. `gguf_files.py` lies beside it.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
from gguf.quants import dequantize, quantize
from transformers import AutoModelForCausalLM

sys.path.insert(0, str(Path(__file__).parent))

import gguf_files
import gguf_maker
from runner import dequantised
from runner.gguf.header import Q8_0, read_header
from runner.gguf.layout import config_of
from runner.gguf.tensors import widened
from runner.gguf.tokenizer import tokenizer_files
from runner.job import BadInput
from runner.llama.gguf_view import GgufView
from runner.llama.last_matrix import BlockRows, LastMatrix

TYPE = gguf.GGMLQuantizationType.Q8_0


def folder_of(data: bytes, folder: Path) -> Path:
    """A model's folder as the store has it."""
    (folder / "model.gguf").write_bytes(data)
    header = read_header(folder / "model.gguf")
    config = config_of(header)
    (folder / "config.json").write_text(json.dumps(config))
    for name, content in tokenizer_files(header, config["max_position_embeddings"]).items():
        (folder / name).write_bytes(content)
    return folder


def numbers() -> dict[str, bool]:
    """Whether blocks stand for the numbers that the package gguf, and with it llama.cpp, takes them for."""
    dice = np.random.default_rng(1)
    rows = (dice.standard_normal((40, 96)) * 10.0 ** dice.integers(-6, 3, (40, 1))).astype(np.float32)
    rows[3] = 0
    blocks = quantize(rows, TYPE)
    edges = dice.integers(0, 256, (9, 68), np.uint8)
    edges[:, [1, 35]] &= 0x7B
    return {
        "written": gguf_maker.q8_0(rows) == blocks.tobytes(),
        "read": widened(blocks, Q8_0).tobytes() == dequantize(blocks, TYPE).tobytes(),
        "edges": widened(edges, Q8_0).tobytes() == dequantize(edges, TYPE).tobytes(),
    }


def in_torch(folder: Path) -> dict[str, bool]:
    """Whether the weights are those that transformers makes of the same file, by its own reader."""
    ours = dequantised.load(folder, "q8_0").state_dict()
    theirs = AutoModelForCausalLM.from_pretrained(folder, gguf_file="model.gguf", local_files_only=True).state_dict()
    found = {name: bool((ours.pop(name) == rows).all()) for name, rows in theirs.items()}
    return {**found, "others": not ours}


def in_llama(folder: Path) -> dict[str, bool]:
    """Whether llama.cpp is given the blocks as they are, and none of the words that a stranger wrote."""
    view = GgufView(folder)
    view.write(folder / "given.gguf")
    given, stored = gguf.GGUFReader(folder / "given.gguf"), gguf.GGUFReader(folder / "model.gguf")
    theirs = {each.name: each for each in stored.tensors}
    found = {each.name: each.data.tobytes() == theirs.pop(each.name).data.tobytes() for each in given.tensors}
    words = [name for name in given.fields if name.startswith("tokenizer.")]
    return {**found, "others": not theirs, "no words": words == ["tokenizer.ggml.model"]}


def last_matrix() -> list[dict[str, float]]:
    """Exact logits, and rough ones of a state that was rounded as llama.cpp does it."""
    dice, found = np.random.default_rng(2), []
    for spread in (0.01, 1.0, 30.0):
        wide = dice.standard_normal((500, 96)).astype(np.float32)
        blocks = quantize(wide, TYPE)
        state = (dice.standard_normal(96) * spread).astype(np.float32)
        state[7] *= 20
        rounded = dequantize(quantize(state[None], TYPE), TYPE)[0]
        rough = (dequantize(blocks, TYPE) @ rounded).astype(np.float32)
        ours = LastMatrix(BlockRows(blocks, Q8_0)).logits(rough, state)
        every = ours.exactly(np.arange(500))
        true = dequantize(blocks, TYPE).astype(np.float64) @ state.astype(np.float64)
        found.append(
            {
                "apart": float(np.abs(every - true).max() / np.abs(true).max()),
                "rough": float(np.abs(every - rough).max()),
                "off": ours.off,
            }
        )
    return found


def said(call: Callable[[], Any]) -> str:
    try:
        call()
    except BadInput as error:
        return str(error)
    return "taken"


def refusals(folder: Path) -> dict[str, str]:
    """What is said of a folder whose files do not fit each other, as a peer may have made it."""
    config = json.loads((folder / "config.json").read_bytes())
    found = {"format": said(lambda: dequantised.load(folder, "bf16"))}
    for name, value in {"num_hidden_layers": 2, "hidden_size": 128, "vocab_size": 7, "head_dim": None}.items():
        (folder / "config.json").write_text(json.dumps({**config, name: value}))
        found[name] = said(lambda: dequantised.load(folder, "q8_0"))
        found[f"{name} in llama.cpp"] = said(lambda: GgufView(folder))
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.gguf").write_bytes((folder / "model.gguf").read_bytes()[:-40])
    found["cut"] = said(lambda: GgufView(folder))
    return found


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        data = gguf_files.whole(
            gguf_files.facts(**{"llama.vocab_size": len(gguf_files.tokens())}), gguf_files.by_chance()
        )
        folder = folder_of(data, Path(made))
        found = {
            "numbers": numbers(),
            "torch": in_torch(folder),
            "llama": in_llama(folder),
            "last_matrix": last_matrix(),
            "refusals": refusals(folder),
        }
    Path("/output/found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
