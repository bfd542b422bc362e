"""Runs in the runner image: products as the runner makes them on each kind of processor, beside those in float64."""

import json
from pathlib import Path
from typing import Any

import torch
from runner import product as products
from runner.product import FEW, PIECE, flags, multiply_widely, product
from torch.nn.functional import linear
from transformers import AutoModelForCausalLM, LlamaConfig

PROCESSORS = {"instructions": frozenset({"avx512_bf16"}), "unit": frozenset({"amx_bf16", "avx512_bf16"})}
ROWS, WIDTH = 70, 96
SIZES = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}


def error(dtype: torch.dtype, height: int, *, biased: bool) -> float:
    """How far a product lies from the exact one, in roundings of the format."""
    rows, matrix = (torch.randn(*shape, WIDTH).to(dtype) for shape in ((2, ROWS // 2), (height,)))
    bias = torch.randn(height).to(dtype) if biased else None
    found = product(rows, matrix, bias)
    assert found.dtype == dtype
    true = rows.double() @ matrix.double().T + (0 if bias is None else bias.double())
    return float((found.double() - true).abs().max() / true.abs().max() / torch.finfo(dtype).eps)


def errors() -> dict[str, float]:
    torch.manual_seed(1)
    heights = {"small": 50, "in pieces": PIECE // WIDTH + 7}
    return {
        f"{processor}, {form}, {size}, {'biased' if biased else 'plain'}": _on(said, dtype, height, biased)
        for processor, said in PROCESSORS.items()
        for form, dtype in {"bf16": torch.bfloat16, "fp32": torch.float32}.items()
        for size, height in heights.items()
        for biased in (False, True)
    }


def _on(said: frozenset[str], dtype: torch.dtype, height: int, biased: bool) -> float:
    products.flags = lambda: said
    return error(dtype, height, biased=biased)


def formats() -> dict[str, list[str]]:
    """In which formats each processor multiplies the matrices of a model, for so many tokens."""
    net = AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=50, **SIZES)).to(torch.bfloat16)
    multiply_widely(net)
    seen: list[Any] = []

    def watched(rows: torch.Tensor, matrix: torch.Tensor, bias: torch.Tensor | None) -> torch.Tensor:
        seen.append(str(rows.dtype))
        return linear(rows, matrix, bias)

    products.linear = watched
    told = {}
    for processor, said in PROCESSORS.items():
        products.flags = lambda said=said: said
        for tokens in (FEW - 1, FEW):
            seen.clear()
            with torch.inference_mode():
                net.base_model(input_ids=torch.ones((1, tokens), dtype=torch.long), use_cache=False)
            told[f"{processor}, {tokens}"] = list(seen)
    return told


def main() -> None:
    found = {
        "flags": sorted(flags()),
        "errors": errors(),
        "formats": formats(),
    }
    Path("/output/found.json").write_text(json.dumps(found))


if __name__ == "__main__":
    main()
