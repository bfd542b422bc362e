"""Runs in the runner image: what llama.cpp is given of a model, beside what other programs read and compute of it.

It leaves /output/found.json.
"""

import json
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import gguf
import numpy as np
import torch
from runner.engine import Written
from runner.gumbel import Chooser
from runner.head import Head
from runner.job import BadInput
from runner.llama.batch import LlamaBatch
from runner.llama.gguf_view import GgufView
from runner.llama.last_matrix import LastMatrix, WordRows
from runner.weights import StoredTensors
from transformers import LlamaConfig, LlamaForCausalLM

HEADS, SHARED, SIZE = 4, 2, 16
VOCAB, STOP = 101, 100
PASS_TOKENS = 256
STATES = 5 * np.eye(VOCAB, dtype=np.float32)


def model(folder: Path, *, tied: bool = True) -> dict[str, torch.Tensor]:
    """Write a model of two layers with random weights, and give them back by name."""
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=5_000,
        hidden_size=HEADS * SIZE,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=HEADS,
        num_key_value_heads=SHARED,
        max_position_embeddings=1024,
        initializer_range=0.2,
        tie_word_embeddings=tied,
    )
    net = LlamaForCausalLM(config).to(torch.bfloat16)
    for name, weight in net.named_parameters():
        if name.endswith("norm.weight"):
            weight.data = torch.randn(weight.shape).to(torch.bfloat16)
    net.save_pretrained(folder, safe_serialization=True)
    return dict(net.named_parameters())


def turned(weight: torch.Tensor, heads: int) -> torch.Tensor:
    """Rows of each head by the pairs that are turned together: the first with that in the middle, and so on."""
    parts = weight.reshape(heads, SIZE, -1)
    order = [place for pair in range(SIZE // 2) for place in (pair, pair + SIZE // 2)]
    return parts[:, order].reshape(weight.shape)


def tensors(path: Path, weights: dict[str, torch.Tensor]) -> dict[str, bool]:
    """Whether another program reads from our file what the model holds."""
    read = {each.name: each for each in gguf.GGUFReader(path).tensors}
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, 2)
    found = {}
    for name, weight in weights.items():
        ours = read.pop(names.get_name(name, (".weight",)))
        wanted = weight.detach()
        if "q_proj" in name or "k_proj" in name:
            wanted = turned(wanted, HEADS if "q_proj" in name else SHARED)
        data = wanted.float().numpy() if wanted.ndim == 1 else wanted.view(torch.uint16).numpy()
        found[name] = ours.data.tobytes() == data.tobytes()
    return {**found, "others": not read}


def pieces(view: GgufView, whole: bytes) -> Iterator[bool]:
    """Whether pieces from anywhere are those of the whole file."""
    dice = np.random.default_rng(1)
    yield view.size == len(whole)
    for start in dice.integers(view.size, size=2_000).tolist():
        length = int(dice.integers(1, 70_000))
        piece = view.read(start, length).tobytes()
        yield 0 < len(piece) <= length
        yield piece == whole[start : start + len(piece)]
    yield not len(view.read(view.size, 1))


def refusals(folder: Path) -> dict[str, str]:
    """What is said of models that llama.cpp would compute otherwise, or that are none."""
    config = json.loads((folder / "config.json").read_bytes())
    changes: dict[str, dict[str, Any]] = {
        "architecture": {"model_type": "falcon"},
        "bias": {"attention_bias": True},
        "rope": {"rope_parameters": {"rope_type": "yarn", "rope_theta": 1.0}},
        "rope without facts": {"rope_parameters": {"rope_type": "llama3", "rope_theta": 1.0}},
        "layers": {"num_hidden_layers": 3},
        "fewer": {"num_hidden_layers": 1},
        "nonsense": {"rms_norm_eps": "much"},
    }
    found = {}
    for name, change in changes.items():
        (folder / "config.json").write_text(json.dumps({**config, **change}))
        found[name] = said(folder)
    (folder / "config.json").write_text(json.dumps(config))
    data = (folder / "model.safetensors").read_bytes()
    for name, damaged in {
        "cut": data[:5],
        "short": data[:-2],
        "header": b"\xff" * 16,
        "list": b"\2" + b"\0" * 7 + b"[]",
    }.items():
        (folder / "model.safetensors").write_bytes(damaged)
        found[name] = said(folder)
    (folder / "model.safetensors").unlink()
    found["none"] = said(folder)
    return found


def said(folder: Path) -> str:
    with suppress(BadInput):
        GgufView(folder)
        return "taken"
    return "refused"


def last_matrix() -> Iterator[dict[str, float]]:
    """How the exact logits of numpy and of torch differ, and what both say of the rough ones."""
    torch.manual_seed(2)
    for spread in (0.01, 1.0, 30.0):
        head = torch.nn.Linear(96, 9_000, bias=False).to(torch.bfloat16)
        state = torch.randn(96) * spread
        (theirs,) = Head(SimpleNamespace(config=None, get_output_embeddings=lambda head=head: head)).logits(state[None])
        words = head.weight.detach().view(torch.uint16).numpy()
        rough = (state.to(torch.bfloat16).float() @ head.weight.float().T).detach().numpy()
        ours = LastMatrix(WordRows(words)).logits(rough, state.numpy())
        every = np.arange(9_000)
        exact = ours.exactly(every)
        yield {
            "apart": float(np.abs(exact - theirs.exactly(every)).max()),
            "largest": float(np.abs(exact).max()),
            "rough": float(np.abs(exact - rough).max()),
            "off": ours.off,
            "theirs": theirs.off,
        }


class ToldNet:
    """Stands for llama.cpp: the next token follows from the sum of all before it, which it has to have been shown."""

    kept_bytes = 10

    def __init__(self) -> None:
        self.kept: dict[int, list[int]] = {}
        self.passes: list[int] = []
        self.most_kept = 0

    def read(self, tokens: list[int], places: list[int], sequences: list[int]) -> None:
        self.passes.append(len(tokens))
        self._keep(tokens, places, sequences)

    def run(self, tokens: list[int], places: list[int], sequences: list[int], wanted: int) -> tuple[Any, Any]:
        self.passes.append(len(tokens))
        seen = self._keep(tokens, places, sequences)[-wanted:]
        states = np.array([STATES[following(each)] for each in seen])
        return states.copy(), states

    def _keep(self, tokens: list[int], places: list[int], sequences: list[int]) -> list[list[int]]:
        seen = []
        for token, place, sequence in zip(tokens, places, sequences, strict=True):
            row = self.kept.setdefault(sequence, [])
            assert place == len(row), f"token {place} of sequence {sequence} comes after {len(row)}"
            row.append(token)
            seen.append(list(row))
        self.most_kept = max(self.most_kept, sum(map(len, self.kept.values())))
        return seen

    def forget(self, sequence: int) -> None:
        self.kept.pop(sequence, None)


def following(seen: list[int]) -> int:
    return (3 * sum(seen) + len(seen)) % VOCAB


def alone(prompt: list[int], length: int) -> list[int]:
    """The answer to a prompt, without an engine."""
    found: list[int] = []
    while len(found) < length and STOP not in found:
        found.append(following(prompt + found))
    return found


def batch(net: ToldNet) -> LlamaBatch:
    # One, in bfloat16.
    matrix = 0x3F80 * np.eye(VOCAB, dtype=np.uint16)
    return LlamaBatch(net, LastMatrix(WordRows(matrix)), [STOP], PASS_TOKENS)


def step(ours: LlamaBatch) -> list[Written]:
    """One turn: prompts are read on beside what is written."""
    if not ours.is_writing:
        ours.read(PASS_TOKENS)
        return []
    found = ours.choose(PASS_TOKENS)
    ours.advance()
    return found


def joined() -> dict[str, Any]:
    """Jobs that join and leave while others are written."""
    net = ToldNet()
    ours = batch(net)
    prompts = {0: [1, 2, 3], 1: [5] * 1_000, 2: [4], 3: [6, 6]}
    lengths = {0: 300, 1: 7, 2: 40, 3: 300}
    told: dict[int, list[int]] = {number: [] for number in prompts}
    steps: dict[int, list[int]] = {number: [] for number in prompts}
    same = True

    def go(turn: int) -> None:
        nonlocal same
        for number, token, state in step(ours):
            told[number].append(token)
            steps[number].append(turn)
            same = same and bool((state == STATES[token]).all())

    chooser = Chooser(0, b"")
    ours.join(0, prompts[0], lengths[0], chooser)
    go(0)
    for number in (1, 2):
        ours.join(number, prompts[number], lengths[number], chooser)
    turn = 1
    while (ours.is_reading or ours.is_writing) and turn < 400:
        go(turn)
        turn += 1
        if turn == 40:
            ours.join(3, prompts[3], lengths[3], chooser)
        if turn == 45:
            ours.leave(3)
    return {
        "told": told,
        "alone": {number: alone(prompts[number], lengths[number]) for number in told},
        "steps": {number: each[:3] for number, each in steps.items()},
        "gaps": max(later - earlier for each in steps.values() for earlier, later in pairwise(each)),
        "largest": max(net.passes),
        "states": same,
        "kept": len(net.kept),
    }


def shared() -> dict[str, Any]:
    """Two prompts of 300 tokens that are read together."""
    net = ToldNet()
    ours = batch(net)
    for number in (0, 1):
        ours.join(number, [number + 1] * 300, 1, Chooser(0, b""))
    steps = []
    while ours.is_reading or ours.is_writing:
        steps.append([number for number, _, _ in step(ours)])
    return {"passes": net.passes, "steps": steps}


def main() -> None:
    found: dict[str, Any] = {}
    for tied in (True, False):
        with tempfile.TemporaryDirectory() as made:
            folder = Path(made)
            weights = model(folder, tied=tied)
            view = GgufView(folder)
            view.write(folder / "model.gguf")
            whole = (folder / "model.gguf").read_bytes()
            last = weights["model.embed_tokens.weight" if tied else "lm_head.weight"].detach()
            found["tied" if tied else "untied"] = {
                "tensors": tensors(folder / "model.gguf", weights),
                "pieces": all(pieces(view, whole)),
                "last": bool((view.last_matrix.wide(slice(None)) == last.float().numpy()).all()),
                "kept_bytes": view.kept_bytes,
                "names": sorted(StoredTensors(folder)) == sorted(weights),
            }
            found["refusals"] = refusals(folder)
    found |= {"last_matrix": list(last_matrix()), "joined": joined(), "shared": shared()}
    Path("/output/found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
