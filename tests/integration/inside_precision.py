"""Runs in the runner image: in which number formats small models with random weights are computed, and how far off."""

import copy
import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from runner.precision import widened
from transformers import AutoModelForCausalLM, GPT2Config, LlamaConfig, Olmo2Config, Qwen3Config

SIZES = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_key_value_heads": 2}
CONFIGS = {
    "llama": (LlamaConfig, SIZES),
    "qwen3": (Qwen3Config, {**SIZES, "head_dim": 16}),
    "gpt2": (GPT2Config, {"n_embd": 64, "n_head": 4}),
    # Its norms stand behind its matrices, and the sum goes into those.
    "olmo2": (Olmo2Config, SIZES),
}
LAYERS = 4
TOKENS = 100


def watched(net: Any, ids: torch.Tensor) -> tuple[Any, dict[str, str]]:
    """One pass, with the number formats of what goes into a layer, into a matrix, is kept, and comes out."""
    formats: dict[str, str] = {}

    def note(name: str, _module: Any, given: tuple[Any, ...]) -> None:
        formats[name] = str(given[0].dtype)

    layers = next(each for each in net.modules() if isinstance(each, torch.nn.ModuleList) and len(each) == LAYERS)
    matrix = next(each for each in layers[1].modules() if type(each).__name__ in ("Linear", "Conv1D"))
    layers[1].register_forward_pre_hook(partial(note, "layer"))
    matrix.register_forward_pre_hook(partial(note, "matrix"))
    with torch.inference_mode():
        out = net.base_model(input_ids=ids, use_cache=True)
    formats["kept"] = str(out.past_key_values.layers[0].keys.dtype)
    formats["state"] = str(out.last_hidden_state.dtype)
    return out.last_hidden_state.float(), formats


def seen(name: str) -> dict[str, Any]:
    """Formats, and the relative error against float32, of one architecture."""
    torch.manual_seed(1)
    kind, sizes = CONFIGS[name]
    config = kind(vocab_size=300, num_hidden_layers=LAYERS, pad_token_id=0, bos_token_id=0, eos_token_id=0, **sizes)
    narrow = AutoModelForCausalLM.from_config(config).eval().to(torch.bfloat16)
    ids = torch.randint(1, 300, (1, TOKENS))
    true, _ = watched(copy.deepcopy(narrow).float(), ids)
    errors = {}
    for way, net in (("narrow", narrow), ("wide", widened(partial(copy.deepcopy, narrow)))):
        states, formats = watched(net, ids)
        errors[way] = float((states - true).norm() / true.norm())
    return {"formats": formats, **errors}


def main() -> None:
    Path("/output/found.json").write_text(json.dumps({name: seen(name) for name in CONFIGS}))


if __name__ == "__main__":
    main()
