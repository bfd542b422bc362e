"""Runs in the runner image: attention as the runner computes it, beside every pair written out in float64."""

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from runner.attention import attend, attend_widely, attends_widely
from transformers import AutoModelForCausalLM, LlamaConfig

HEADS, SHARED, SIZE = 6, 3, 16
CASES = {"alone": (1, 9, 9), "a prompt": (2, 40, 40), "one more token": (3, 1, 25), "some more": (1, 4, 25)}
"""Texts, tokens that look, and tokens that are seen."""
FORMATS = {"bf16": torch.bfloat16, "fp32": torch.float32}


def written_out(query: Any, key: Any, value: Any, seen: Any) -> Any:
    """Attention as its definition says."""
    keys, values = (each.double().repeat_interleave(SHARED, dim=1) for each in (key, value))
    scores = query.double() @ keys.transpose(2, 3) / SIZE**0.5
    return (scores.masked_fill(~seen, float("-inf")).softmax(dim=3) @ values).transpose(1, 2)


def error(texts: int, tokens: int, among: int, dtype: torch.dtype, *, padded: bool) -> float:
    """How far ours lies from that, in roundings of the format; the last tokens look, each at all before it."""
    query = torch.randn(texts, HEADS, tokens, SIZE).to(dtype) * 3
    key, value = (torch.randn(texts, HEADS // SHARED, among, SIZE).to(dtype) for _ in range(2))
    seen = torch.ones(tokens, among, dtype=torch.bool).tril(among - tokens).expand(texts, 1, tokens, among).clone()
    if padded:
        # On the left, as texts that are written side by side are filled up.
        seen[0, :, :, : among // 3] = False
        seen[0, :, : max(0, among // 3 - (among - tokens)), 0] = True
    needless = not padded and tokens in (1, among)
    found, _ = attend(SimpleNamespace(is_causal=True), query, key, value, None if needless else seen)
    assert found.dtype == dtype
    true = written_out(query, key, value, seen)
    return float((found.double() - true).abs().max() / true.abs().max() / torch.finfo(dtype).eps)


def errors() -> dict[str, float]:
    torch.manual_seed(1)
    return {
        f"{name}, {form}, {'filled up' if padded else 'whole'}": error(*case, dtype, padded=padded)
        for name, case in CASES.items()
        for form, dtype in FORMATS.items()
        for padded in (False, True)
    }


def chosen() -> dict[str, bool]:
    """Whether a model attends so by what its library would have taken."""
    config = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 2}
    found = {}
    for kind in ("sdpa", "eager"):
        net = AutoModelForCausalLM.from_config(LlamaConfig(vocab_size=50, **config), attn_implementation=kind)
        attend_widely(net)
        found[kind] = attends_widely(net)
    return found


def main() -> None:
    Path("/output/found.json").write_text(json.dumps({"errors": errors(), "chosen": chosen()}))


if __name__ == "__main__":
    main()
