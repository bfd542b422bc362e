"""How exactly a model in half precision is computed: matrices in its own format, what they are added up to in float32.

A layer gives little, and adds it to all that was there before. Were that sum kept in bfloat16, too, every layer would
round all of it anew, by as much as honest machines then differ, and cheap weights hide among them. So the sum stays in
float32, from the embedding to the last norm, and only what goes into a matrix is rounded; head.py does the same for
logits. That takes no time that could be measured, and leaves less than half of what honest machines differ by.
"""

from collections.abc import Callable
from typing import Any

import torch


def widened(load: Callable[[], Any]) -> Any:
    """The model of transformers that `load` gives, computed so. One in float32 does already.

    One that puts the sum itself into a matrix, as a few do whose norms stand elsewhere, stays as it was written.
    """
    net = load()
    if net.dtype == torch.float32:
        return net
    widen(net)
    try:
        with torch.inference_mode():
            net.base_model(input_ids=torch.zeros((1, 1), dtype=torch.long, device=net.device), use_cache=False)
    except RuntimeError:
        return load()
    return net


def widen(net: Any) -> None:
    """Change a loaded model to compute so. Layers that do not bear it raise RuntimeError when they are run."""
    dtype = net.dtype

    def narrow(_module: Any, _given: Any, found: Any) -> Any:
        return tuple(each.to(dtype) for each in found) if isinstance(found, tuple) else found.to(dtype)

    net.get_input_embeddings().register_forward_hook(lambda _module, _given, found: found.float())
    for name, module in net.named_modules():
        kind = type(module).__name__
        if kind.endswith("Norm"):
            module.float()
            # Matrices follow those within the layers, which are numbered; the head follows the last one.
            if any(part.isdigit() for part in name.split(".")):
                module.register_forward_hook(narrow)
        elif kind.endswith("RotaryEmbedding"):
            module.register_forward_hook(narrow)
