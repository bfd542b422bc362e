"""Runs in the runner image: tiny models of each family by llama.cpp, beside what transformers computes of them.

It leaves /output/found.json.
"""

import json
import os
import tempfile
from pathlib import Path
from typing import Any

os.environ.setdefault("MAX_MEMORY", str(2 << 30))

import numpy as np
import torch
from runner import lora, model
from runner.gumbel import Chooser
from runner.llama import engine
from runner.llama.gguf_view import GgufView
from runner.llama.last_matrix import LastMatrix
from runner.llama.net import LlamaNet
from runner.model import value_of
from runner.weights import StoredTensors
from safetensors.torch import save_file
from tiny_model import SPREAD, tokenizer  # type: ignore[import-not-found]
from transformers import AutoConfig, AutoModelForCausalLM

VOCAB = 257
SIZES = {
    "vocab_size": VOCAB,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
    "initializer_range": SPREAD,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "pad_token_id": 0,
}
SLOW = {"rope_type": "linear", "factor": 4.0, "rope_theta": 5_000.0}
LLAMA3 = {
    "rope_type": "llama3",
    "rope_theta": 500_000.0,
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 64,
}
# Caps and windows so small that they tell.
GEMMA = {"head_dim": 24, "query_pre_attn_scalar": 24, "sliding_window": 20, "hidden_activation": "gelu_pytorch_tanh"}
TURNS = {
    "full_attention": {**SLOW, "rope_theta": 100_000.0},
    "sliding_attention": {"rope_type": "default", "rope_theta": 3_000.0},
}
FAMILIES: dict[str, dict[str, Any]] = {
    "llama, tied": {"model_type": "llama", "tie_word_embeddings": True},
    "llama, slow positions": {"model_type": "llama", "rope_parameters": SLOW},
    "llama 3": {"model_type": "llama", "rope_parameters": LLAMA3},
    "mistral": {"model_type": "mistral", "head_dim": 24, "sliding_window": None},
    "qwen2": {"model_type": "qwen2"},
    "qwen3": {"model_type": "qwen3", "head_dim": 24, "tie_word_embeddings": True},
    "phi3": {"model_type": "phi3", "sliding_window": None},
    "phi3, turned in part": {
        "model_type": "phi3",
        "sliding_window": None,
        "rope_parameters": {"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 0.5},
    },
    "gemma": {"model_type": "gemma", "head_dim": 24},
    "gemma2": {"model_type": "gemma2", **GEMMA, "attn_logit_softcapping": 2.0, "final_logit_softcapping": 3.0},
    "gemma3": {"model_type": "gemma3_text", **GEMMA, "num_hidden_layers": 7, "rope_parameters": TURNS},
}
LEFT: dict[str, dict[str, Any]] = {
    "mistral, window": {"model_type": "mistral", "sliding_window": 64},
    "phi": {"model_type": "phi"},
    "gemma2, wide scores": {"model_type": "gemma2", **GEMMA, "query_pre_attn_scalar": 64},
}
"""What is left to torch."""
TOKENS, LENGTH, ROOM = 100, 12, 128


def made(folder: Path, plain: dict[str, Any], dtype: torch.dtype) -> Any:
    """A model with random weights in a folder. Returns: the same as transformers has it."""
    torch.manual_seed(3)
    net = AutoModelForCausalLM.from_config(AutoConfig.for_model(**{**SIZES, **plain}))
    for name, weight in net.named_parameters():
        # Norms and biases are born as ones and zeros.
        if weight.ndim == 1:
            weight.data = torch.randn(weight.shape) * (0.3 if "norm" in name else SPREAD) + weight.data
    net = net.to(dtype).eval()
    net.save_pretrained(folder, safe_serialization=True)
    tokenizer().save_pretrained(folder)
    manifest = {"eos_ids": [0], "hidden": 64, "vocab": VOCAB, "context": 512, "dtype": "bf16"}
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return net


def apart(plain: dict[str, Any]) -> dict[str, float]:
    """How far states and logits of both are apart, in float32, in parts of their size."""
    with tempfile.TemporaryDirectory() as home:
        theirs = made(Path(home), plain, torch.float32)
        view = GgufView(Path(home))
        net = LlamaNet(view)
        net.open(sequences=1, cells=ROOM, at_once=ROOM, outputs=ROOM, threads=1)
        ids = np.random.default_rng(1).integers(1, VOCAB, TOKENS).tolist()
        rough, states = net.run(ids, range(TOKENS), [0] * TOKENS, wanted=TOKENS)
        with torch.inference_mode():
            told = theirs(input_ids=torch.tensor([ids]), output_hidden_states=True)
        logits, hidden = told.logits[0].numpy(), told.hidden_states[-1][0].numpy()
        exact = LastMatrix(view.last_matrix, view.cap).logits(rough[-1], states[-1]).exactly(np.arange(VOCAB))
        return {
            "states": spread(states, hidden),
            "rough": spread(rough, logits),
            "exact": spread(exact, logits[-1]),
        }


def spread(ours: Any, theirs: Any) -> float:
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs))


def answers(plain: dict[str, Any]) -> dict[str, Any]:
    """Each engine writes, and both read what each has written.

    Returns: how far the states are apart that they find, and by how much a token lay behind the best one.
    """
    with tempfile.TemporaryDirectory() as home:
        made(Path(home), plain, torch.bfloat16)
        engines = {"llama.cpp": engine.load(Path(home), "bf16"), "torch": model.load(Path(home), "bf16")}
        found: dict[str, Any] = {}
        for name, ours in engines.items():
            prompt = ours.prompts.prompt_ids([{"role": "user", "content": "Where do rivers end?"}], LENGTH)
            batch = ours.batch()
            batch.join(1, prompt, LENGTH, Chooser(800, b"seed"))
            told = []
            while batch.is_reading or batch.is_writing:
                if not batch.is_writing:
                    batch.read(16)
                    continue
                told += batch.choose()
                batch.advance()
            output = [each.token for each in told if each.token]
            states = np.array([each.state for each in told if each.token])
            seen = {}
            for reader, theirs in engines.items():
                trace = value_of(theirs.tracing(prompt, output, Chooser(800, b"seed")))
                seen[reader] = spread(trace.states, states)
                seen[f"{reader}, margin"] = float(max(trace.margins))
            found[name] = {"tokens": len(output), **seen}
    return found


def refused(plain: dict[str, Any]) -> str:
    with tempfile.TemporaryDirectory() as home:
        made(Path(home), plain, torch.bfloat16)
        try:
            engine.load(Path(home), "bf16")
        except engine.Unfit as error:
            return str(error)
    return ""


def adapter(net: Any, targets: tuple[str, ...], rank: int, seed: int) -> dict[str, torch.Tensor]:
    """An adapter of random numbers, by the names that PEFT gives its tensors."""
    dice = torch.Generator().manual_seed(seed)
    found = {}
    for name, weight in net.named_parameters():
        if name.removesuffix(".weight").endswith(targets):
            module = lora.PREFIX + name.removesuffix(".weight")
            found[module + lora.DOWN] = torch.randn(rank, weight.shape[1], generator=dice)
            found[module + lora.UP] = torch.randn(weight.shape[0], rank, generator=dice) * 0.03
    return found


def adapted(plain: dict[str, Any], targets: tuple[str, ...]) -> dict[str, Any]:
    """A model with an adapter: both engines beside the model whose weights are the sums, and beside the base."""
    with tempfile.TemporaryDirectory() as home:
        folder, rank, alpha = Path(home), 4, 3.0
        net = made(folder, plain, torch.bfloat16)
        before = {name: weight.detach().clone() for name, weight in net.named_parameters()}
        found = {"base": states_of(folder)["torch"]}
        matrices = adapter(net, targets, rank, 5)
        save_file(matrices, folder / lora.WEIGHTS)
        (folder / lora.CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": rank, "lora_alpha": alpha}))
        found |= states_of(folder)
        ours = model.load(folder, "bf16")._net
        stored, same = StoredTensors(folder), True
        for name, weight in ours.named_parameters():
            pair = lora.pairs_of(matrices).get(name)
            wanted = before[name]
            if pair:
                product = matrices[pair.up].double() @ matrices[pair.down].double()
                wanted = (wanted.double() + alpha / rank * product).float().to(torch.bfloat16)
            same = same and bool((weight.to(torch.bfloat16) == wanted).all())
            same = same and stored.merged(name).tobytes() == wanted.view(torch.int16).numpy().tobytes()
        return {
            "same": same,
            "engines": spread(found["llama.cpp"], found["torch"]),
            "moved": spread(found["base"], found["torch"]),
        }


def states_of(folder: Path) -> dict[str, Any]:
    """The states of one text, by engine."""
    ids, found = np.random.default_rng(1).integers(1, VOCAB, TOKENS).tolist(), {}
    for name, load in (("llama.cpp", engine.load), ("torch", model.load)):
        trace = value_of(load(folder, "bf16").tracing(ids[:10], ids[10:], Chooser(0, b"")))
        found[name] = np.array(trace.states)
    return found


def strange_adapters() -> dict[str, str]:
    """What is said of adapters that do not fit, or hold no numbers."""
    found = {}
    with tempfile.TemporaryDirectory() as home:
        folder = Path(home)
        net = made(folder, {"model_type": "llama"}, torch.bfloat16)
        (folder / lora.CONFIG).write_text(json.dumps({"peft_type": "LORA", "r": 4, "lora_alpha": 8}))
        good = adapter(net, ("q_proj",), 4, 6)
        first = min(name for name in good if lora.UP in name)
        for name, changed in {
            "wider": {first: torch.zeros(65, 4)},
            "no numbers": {first: torch.full_like(good[first], float("inf"))},
        }.items():
            save_file({**good, **changed}, folder / lora.WEIGHTS)
            try:
                model.load(folder, "bf16")
            except model.BadInput as error:
                found[name] = str(error)
    return found


def unknown_logits() -> str:
    """What torch says of a model that scales its logits."""
    with tempfile.TemporaryDirectory() as home:
        made(Path(home), {"model_type": "granite", "logits_scaling": 8.0}, torch.bfloat16)
        try:
            model.load(Path(home), "bf16")
        except model.BadInput as error:
            return str(error)
    return ""


def main() -> None:
    found = {
        "apart": {name: apart(plain) for name, plain in FAMILIES.items()},
        "answers": {name: answers(plain) for name, plain in FAMILIES.items()},
        "adapted": {
            "llama": adapted({"model_type": "llama", "tie_word_embeddings": True}, ("q_proj", "v_proj", "down_proj")),
            "phi3": adapted({"model_type": "phi3", "sliding_window": None}, ("qkv_proj", "gate_up_proj")),
        },
        "strange adapters": strange_adapters(),
        "left": {name: refused(plain) for name, plain in LEFT.items()},
        "unknown logits": unknown_logits(),
    }
    Path("/output/found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
