"""`python -m quantised`: the honest runner, but its model loading rounds every layer to a few bits.

Symmetric levels, -7..7 for the usual 4 bits, in blocks of 32 weights, scaled by the largest of the block: about what a
file of the model in so many bits would compute. Everything else, proof included, is the runner's own.
"""

import os
import sys
from pathlib import Path
from typing import Any

import torch
from runner import __main__, model

BITS = int(os.environ["QUANTISED_BITS"])
BLOCK = 32


def quantised(weight: Any) -> Any:
    """The weight as its levels would give it back."""
    top = 2 ** (BITS - 1) - 1
    blocks = weight.float().reshape(-1, BLOCK)
    scale = blocks.abs().amax(dim=1, keepdim=True) / top
    scale[scale == 0] = 1
    return ((blocks / scale).round().clamp(-top, top) * scale).reshape(weight.shape).to(weight.dtype)


def load(path: Path, dtype: str) -> model.Model:
    loaded = honest_load(path, dtype)
    for name, layer in loaded._net.named_modules():
        if isinstance(layer, torch.nn.Linear) and "layers" in name:
            layer.weight.data = quantised(layer.weight.data)
    return loaded


honest_load = model.load
model.load = load

if __name__ == "__main__":
    sys.exit(__main__.main())
